"""Which tests run on any cluster, and why the others do not."""

from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Final

import pytest

MARK: Final = "any_cluster"
"""The mark of a test that needs no part of the bed: tests/conftest.py says what it has instead."""

NEEDS: Final[Mapping[str, str]] = {
    "behave": "changes how the pods of the bed behave",
    "load": "sends requests through the bed's gateway",
    "audit": "reads the audit log of the bed's API server",
    "created_jobs": "reads the audit log of the bed's API server",
    "proxy": "puts a proxy before the API server",
    "helm": "tries the chart, with users of the bed",
    "prometheus": "stops the bed's Prometheus, or scrapes with another one",
    "query": "reads what the bed's Prometheus has scraped",
    "job": "has pods of Jobs that end as the test says",
}
"""What a test names, and what that says of it: the first that is found counts."""
OTHERWISE: Final = "reads or writes routes of the bed's gateway, or needs other parts of the bed"


def chosen(items: Iterable[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Those that run on any cluster, and those that do not."""
    every = [*items]
    run = [item for item in every if item.get_closest_marker(MARK)]
    return run, [item for item in every if not item.get_closest_marker(MARK)]


def needs(function: object, fixtures: Iterable[str] = ()) -> str:
    """What a test does that wants the bed; empty where it does nothing of the kind."""
    names = {*_names(function, set()), *fixtures}
    return next((words for name, words in NEEDS.items() if name in names), "")


def told(items: Iterable[pytest.Item]) -> Iterator[str]:
    """A line for each reason for which tests are left out, with their number and their files."""
    found: dict[str, list[str]] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        found.setdefault(needs(item.function, item.fixturenames) or OTHERWISE, []).append(item.path.name)
    for words, files in sorted(found.items(), key=lambda each: -len(each[1])):
        yield f"{len(files):4} {words}: {', '.join(sorted({*files}))}"


def _names(function: object, seen: set[str]) -> set[str]:
    """The names that a function has, and those that it calls of its own module."""
    if not isinstance(function, FunctionType) or function.__qualname__ in seen:
        return set()
    seen.add(function.__qualname__)
    own = _of_code(function.__code__)
    called = (function.__globals__.get(name) for name in own)
    here = [each for each in called if getattr(each, "__module__", "") == function.__module__]
    return own.union(*(_names(each, seen) for each in here))


def _of_code(code: CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names}.union(*map(_of_code, inner))
