"""Paths into objects, as the description of a kind of route writes them: `spec.rules[].backendRefs[]`.

`a.b` is a field of a field, `["a.b"]` a field whose name has dots, `[]` each item of a list, `{}` each value of a
mapping, `[0]` one item, and `x|y` the first of two that is there. Reading never raises: what an object does not have,
or has with another type, is not there. `pointer` gives a place as JSON Patch names it (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple


class Each(Enum):
    """A step to several places."""

    ITEM = "[]"
    VALUE = "{}"


Path = tuple[str | int | Each, ...]
At = tuple[str | int, ...]
"""A place: the keys and indexes that lead to it."""
_STEP: Final = re.compile(
    r"""\.?(?P<key>[A-Za-z_$][A-Za-z0-9_-]*)|\["(?P<quoted>[^"]+)"\]|\[(?P<index>[0-9]{1,4})\]|(?P<each>\[\]|\{\})"""
)


class Place(NamedTuple):
    """A value, and where it was found."""

    at: At
    value: Any


@lru_cache(maxsize=1024)
def parse(text: str) -> Path:
    """The steps of a path without alternatives. Raises ValueError with the part that is no path."""
    steps: list[str | int | Each] = []
    end = 0
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None or (found[0].startswith(".") == (end == 0) and found["key"]):
            raise ValueError(f'"{text}" is not a path from "{text[end:]}" on: write it as spec.routes[].services[]')
        end = found.end()
        if found["index"]:
            steps.append(int(found["index"]))
        else:
            steps.append(Each(found["each"]) if found["each"] else found["key"] or found["quoted"])
    return tuple(steps)


def alternatives(text: str) -> tuple[Path, ...]:
    """The paths of `x|y`, in their order. Raises ValueError."""
    return tuple(parse(part) for part in text.split("|"))


def places(raw: object, path: Path, at: At = (), *, any_case: bool = False) -> list[Place]:
    """Every place to which a path leads from `raw`, which is itself at `at`; with `any_case`, `Name` is `name` too."""
    found = [Place(at, raw)]
    for step in path:
        found = [deeper for place in found for deeper in _deeper(place.at, place.value, step, any_case)]
    return found


def first(raw: object, paths: Sequence[Path], at: At = (), *, any_case: bool = False) -> Place | None:
    """The first place of the first path that leads to anything but null."""
    for path in paths:
        for place in places(raw, path, at, any_case=any_case):
            if place.value is not None:
                return place
    return None


def fixed(path: Path) -> At:
    """A path without its steps to several places."""
    return tuple(step for step in path if not isinstance(step, Each))


def pointer(at: At) -> str:
    """A place as a JSON pointer: `/spec/rules/0`."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in at)


def steps(text: str) -> tuple[str, ...]:
    """The steps of a JSON pointer."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def _deeper(at: At, value: object, step: str | int | Each, any_case: bool) -> list[Place]:
    if isinstance(value, dict):
        if step is Each.VALUE:
            return [Place((*at, key), each) for key, each in value.items()]
        if any_case and step not in value and isinstance(step, str):
            step = next((key for key in value if key.lower() == step.lower()), step)
        return [Place((*at, step), value[step])] if step in value and isinstance(step, str) else []
    if not isinstance(value, list):
        return []
    if step is Each.ITEM:
        return [Place((*at, index), each) for index, each in enumerate(value)]
    return [Place((*at, step), value[step])] if isinstance(step, int) and step < len(value) else []
