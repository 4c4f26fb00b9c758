"""Strict parsing of specs: the base of their models, and errors that name the field and the fix.

Errors: every parser raises `SpecError`, whose text has one line for each violation, at most three.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain, islice
from typing import Annotated, Any, ClassVar, Final, Self, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from rolloutplan.api import misplaced
from rolloutplan.api.printable import HIDDEN, printable
from rolloutplan.api.shown import shown

_MAX_LINES: Final = 3

RENAMED: Final = {"onBlind": "onMetricsUnavailable", "speaks": "indicates"}
"""Renamed fields: the former name to the present one."""
MISSING: Final = "required field is missing"


def renamed(name: str) -> str:
    """The message for a field under its former name."""
    return f"{name} is called {RENAMED[name]} now: write {RENAMED[name]}"


class SpecModel(BaseModel):
    """Base of all spec models: camelCase in JSON, snake_case in Python, frozen, no unknown fields.

    A known field that is null counts as left out, as in the API server. `refused` are fields that another kind has,
    each with the message for one that is written here.
    """

    refused: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The copy with these fields changed; what was worked out once of the original is worked out again."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, raw: object) -> object:
        if not isinstance(raw, Mapping) or None not in raw.values():
            return raw
        known = {field.alias for field in cls.model_fields.values()}
        return {name: value for name, value in raw.items() if value is not None or name not in known}


def _without_nulls(raw: object) -> object:
    return {key: value for key, value in raw.items() if value is not None} if isinstance(raw, Mapping) else raw


DropNulls: Final = BeforeValidator(_without_nulls)
"""Removes the null values of a mapping, as the API server does."""


def _integral(number: object) -> object:
    return int(number) if isinstance(number, float) and number.is_integer() else number


Integral: Final = BeforeValidator(_integral)
"""Accepts 3.0 as a whole number, as the API server does."""
StrictInt: TypeAlias = Annotated[int, Field(strict=True), Integral]
"""A whole number; neither a text nor a boolean."""


class SpecError(ValueError):
    """An invalid spec. The message names the field and what to write instead.

    `violations` are all of them, a line each, of which the message has the first. They can be read once: where there
    are thousands, nobody waits for those that nobody reads.
    """

    def __init__(self, message: str, violations: Iterator[str] | None = None) -> None:
        super().__init__(message)
        self.violations = iter((message,)) if violations is None else violations


FieldErrors: TypeAlias = Iterator[tuple[str, str]]
"""The violations of one rule between fields: pairs of path and message."""


class Violations(ValueError):  # noqa: N818 - several, and carried by pydantic's own error
    """Violated rules between the fields of one model: pairs of a path below that model and a message."""

    def __init__(self, *refusals: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{where}: {why}" for where, why in refusals))
        self.refusals = refusals


Model = TypeVar("Model", bound=SpecModel)


def is_lenient(info: ValidationInfo) -> bool:
    """Whether a spec is read with which a run began: rules that came after that do not count."""
    return bool(info.context)


def read(model: type[Model], raw: Mapping[str, Any], *, lenient: bool = False) -> Model:
    """Parse an object's `spec`. Raises SpecError.

    An error that only follows from another below it is left out: a list is "too short" without its bad items.
    """
    try:
        return model.model_validate(raw, by_alias=True, by_name=False, context=lenient)
    except ValidationError as error:
        details = [_hidden(detail) for detail in error.errors(include_url=False)]
        above = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
        own = [detail for detail in details if detail["loc"] not in above]
        lines = (printable(line) for detail in own for line in _lines(model, detail))
        first = list(islice(lines, _MAX_LINES))
        more = sum(map(_number_of_lines, own)) - len(first)
        message = "\n".join((*first, f"and {more} more") if more else first)
        raise SpecError(message, chain(first, lines)) from None
    except UnicodeError:  # half a surrogate pair in an address
        raise SpecError("spec: a text is not valid Unicode: write it again") from None


def _hidden(detail: ErrorDetails) -> ErrorDetails:
    """The same error without the value, where that may be a credential."""
    return {**detail, "input": HIDDEN} if detail["loc"][:1] in (("headers",), ("params",)) else detail


def _number_of_lines(detail: ErrorDetails) -> int:
    """How many lines `_lines` gives for an error; writing them all takes long where there are thousands."""
    cause = detail.get("ctx", {}).get("error")
    return len(cause.refusals) if isinstance(cause, Violations) else 1


def _lines(model: type[SpecModel], detail: ErrorDetails) -> Iterator[str]:
    loc, named = detail["loc"], ""
    if loc[-1:] == ("[key]",):  # the name of an entry in a mapping
        loc, named = loc[:-2], "a name in it: "
    where = _path(("spec", *loc))
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Violations):
        yield from (f"{where}.{below}: {why}" if below else f"{where}: {why}" for below, why in cause.refusals)
    elif detail["type"] == "extra_forbidden" and detail["loc"][-1] in RENAMED:
        yield f"{where}: {renamed(str(detail['loc'][-1]))}"
    elif detail["type"] == "extra_forbidden" and detail["loc"][0] in model.refused:
        yield f"{where}: {model.refused[str(detail['loc'][0])]}"
    elif detail["type"] == "extra_forbidden":
        yield f"{where}: unknown field{misplaced.unknown(model, detail['loc'])}"
    else:
        yield f"{where}: {named}{cause or _sentence(detail)}"


def _path(loc: Sequence[str | int]) -> str:
    """A location in kubectl's form: `spec.stages[0].pass[1].is`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _sentence(detail: ErrorDetails) -> str:
    """The message, with the fix, for an error that pydantic itself finds."""
    ctx = detail.get("ctx", {})
    written = detail["input"]
    value, kind = shown(written), detail["type"]
    sentences: Mapping[str, Callable[[], str]] = {
        "missing": lambda: MISSING,
        "literal_error": lambda: choices(written, re.findall("'([^']*)'", str(ctx.get("expected")))),
        "string_too_short": lambda: f"too short: write at least {ctx.get('min_length')}",
        "string_too_long": lambda: f"too long: write at most {ctx.get('max_length')}",
        "too_short": lambda: f"too few: write at least {ctx.get('min_length')}",
        "too_long": lambda: f"too many: write at most {ctx.get('max_length')}",
        "greater_than_equal": lambda: f"{value} is too small: write at least {ctx.get('ge')}",
        "less_than_equal": lambda: f"{value} is too large: write at most {ctx.get('le')}",
        "string_type": lambda: f"{value} is not a string: put it in quotes",
        "model_type": lambda: f"{value} is not a mapping: write {_mapping(detail)}",
        "dict_type": lambda: f"{value} is not a mapping: write its fields below it",
        "tuple_type": lambda: f'{value} is not a list: begin each entry with "- ", or write [ ] around them',
        "invalid_key": lambda: f"{value} is not a name: put it in quotes",
    }
    if kind in sentences:
        return sentences[kind]()
    if kind.startswith("bool"):
        return f"{value} is neither true nor false: write one of them, without quotes"
    return f"{value} is not a whole number: write {_whole(written) or 'one'}"


def _mapping(detail: ErrorDetails) -> str:
    field = next((part for part in detail["loc"][-1:] if isinstance(part, str)), "")
    return misplaced.mapping(str(detail.get("ctx", {}).get("class_name")), field, detail["input"])


def choices(written: object, known: Sequence[str]) -> str:
    """What to write for a word that is none of some: the one that was meant, or all of them."""
    words = {choice.lower(): choice for choice in known}
    meant = get_close_matches(str(written).lower(), words, n=1) if isinstance(written, str) else []
    if len(known) > 1 and meant:
        return f"{shown(written)} is not one of the choices ({', '.join(known)}): write {words[meant[0]]}"
    return f"{shown(written)} is not one of the choices: write {' or '.join(known)}"


def _whole(written: object) -> str:
    """A number in quotes, without them; empty for anything else."""
    return f"{written} without quotes" if isinstance(written, str) and re.fullmatch("-?[0-9]{1,9}", written) else ""
