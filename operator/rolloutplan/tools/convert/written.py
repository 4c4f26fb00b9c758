"""A draft as YAML, with each note as a comment at its place, once the operator's own reader and lint accept it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

import yaml

from rolloutplan.api.parsing import SpecError
from rolloutplan.api.printable import line
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.convert.draft import API, CannotConvertError, Draft, Note, Raw
from rolloutplan.tools.lint.plans import lint_plan
from rolloutplan.tools.lint.routes import lint_routes

_PLAIN: Final = re.compile(r"[A-Za-z/$]([A-Za-z0-9_./$:-]*[A-Za-z0-9_/$])?|[0-9]+%|([0-9]+[dhms])+")
_SHARE: Final = re.compile(r"[0-9]+%")
_WIDTH: Final = 116
_WORDS: Final = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
_LINES: Final = re.compile(r"(?![\s#%])[ -~\n]*")
"""A text of several lines that a block of YAML can hold as it is."""


def written(draft: Draft) -> str:
    """The objects as YAML. Raises CannotConvertError where the operator would refuse the plan."""
    _check(draft)
    plan = {**draft.named(API, "RolloutPlan", draft.new), "spec": draft.spec}
    documents: list[Raw] = [*draft.workloads, *draft.sources, *draft.templates.values(), plan]
    comments = _comments(draft.notes, documents)
    return "".join("---\n" + "".join(_document(each, comments[i])) for i, each in enumerate(documents))


def _check(draft: Draft) -> None:
    """Refuse what the operator or lint would. Templates are checked where they are added."""
    try:
        spec = read_plan_spec(draft.spec)
    except SpecError as error:
        raise CannotConvertError(f"the plan made of it would be refused: {error}") from None
    for finding in (*lint_plan(spec, None), *lint_routes(spec)):
        if finding.severity == "error":
            raise CannotConvertError(f"the plan made of it cannot work: {finding.path}: {finding.words}")


def _comments(notes: Sequence[Note], documents: Sequence[Raw]) -> list[dict[str, list[str]]]:
    """The comments of each document by the path of their field; those of a place that is not there begin the plan."""
    kinds = [each["kind"] for each in documents]
    paths = set(_paths(documents[-1]["spec"], "spec"))
    found: list[dict[str, list[str]]] = [{} for _ in documents]
    for note in notes:
        words = f"{note.what}: {note.path}: {note.words}"
        if note.at in kinds:
            last = len(kinds) - 1 - kinds[::-1].index(note.at)
            found[last].setdefault("", []).append(words)
        else:
            found[-1].setdefault(note.at if note.at in paths else "", []).append(words)
    return found


def _paths(value: object, path: str) -> Iterator[str]:
    yield path
    for name, each in _named(value, path):
        yield from _paths(each, name)


def _named(value: object, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"{path}.{key}".lstrip("."), each) for key, each in value.items()]
    return [(f"{path}[{i}]", each) for i, each in enumerate(value)] if isinstance(value, list) else []


def _document(value: Raw, comments: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield from _commented(comments, "", "")
    yield from _block(value, "", "", comments)


def _commented(comments: Mapping[str, Sequence[str]], path: str, indent: str) -> Iterator[str]:
    for words in comments.get(path, ()):
        first, *rest = wrap(line(words), _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        yield f"{indent}# {first}\n"
        yield from (f"{indent}#   {each}\n" for each in rest)


def _block(value: Any, path: str, indent: str, comments: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty."""
    keys = [f"{_scalar(key)}:" for key in value] if isinstance(value, Mapping) else ["-"] * len(value)
    for key, (name, each) in zip(keys, _named(value, path), strict=True):
        yield from _commented(comments, name, indent)
        yield from _item(key, name, each, indent, comments)


def _item(key: str, path: str, value: Any, indent: str, comments: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if isinstance(value, list) and value and all(isinstance(each, str) and _SHARE.fullmatch(each) for each in value):
        yield f"{indent}{key} [{', '.join(value)}]\n"
    elif isinstance(value, Mapping | list) and value:
        inner = list(_block(value, path, f"{indent}  ", comments))
        if key == "-" and not inner[0].lstrip().startswith("#"):
            inner[0] = f"{indent}- {inner[0].lstrip()}"
            yield from inner
        else:
            yield f"{indent}{key}\n"
            yield from inner
    elif (
        isinstance(value, str) and "\n" in value and _LINES.fullmatch(value) and not any(map(str.isspace, _ends(value)))
    ):
        yield f"{indent}{key} |\n"
        yield from (f"{indent}  {each}\n" if each else "\n" for each in value[:-1].split("\n"))
    else:
        yield f"{indent}{key} {_scalar(value)}\n"


def _ends(text: str) -> list[str]:
    """The last characters of lines that a block would lose or read otherwise; a line break at the end is kept."""
    if not text.endswith("\n") or text.endswith("\n\n"):
        return [" "]
    return [each[-1] for each in text.split("\n") if each]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
