"""What a run adds to a rule of a route in addition to its weights: a mirror, a rule for testers, a sticky cookie.

A plan's stages and `traffic.sticky` say it; spec.py makes the `additions` of each step, short texts that the status and
the annotation of a route keep. traffic/ reads them back with `read_addition`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.parsing import FieldErrors, SpecModel, Violations
from rolloutplan.api.quantities import (
    Duration,
    at_least,
    at_most,
    format_duration,
    format_weight,
    parse_duration,
    parse_percentage,
)
from rolloutplan.api.text_format import TextFormat

TOKEN: Final = TextFormat(
    called="name of a header or cookie",
    pattern="^[A-Za-z0-9][-A-Za-z0-9_]{0,63}$",
    longest=64,
    fix="is not the name of a header or cookie: write at most 64 letters, digits, '-' and '_', such as x-staff",
)
TESTER: Final = TextFormat(
    called="value of a header or cookie",
    pattern="^[-A-Za-z0-9_.:/@=,~+]{1,128}$",
    longest=128,
    fix="is not a value that every kind of route can match: write at most 128 letters, digits and - _ . : / @ = , ~ +,"
    ' such as "yes"',
)
"""Neither a quote nor a word of a pattern: the value is put into texts and patterns of many kinds."""

_Name: TypeAlias = Annotated[str, BeforeValidator(TOKEN.read), WithJsonSchema(TOKEN.schema())]
_Value: TypeAlias = Annotated[str, BeforeValidator(TESTER.read), WithJsonSchema(TESTER.schema())]


class NamedValue(SpecModel):
    """A header or a cookie with one value."""

    name: _Name = Field(description="Its name.")
    value: _Value = Field(description="The value that it must have, exactly.")


class Match(SpecModel):
    """The requests of testers. All others stay on the side on which they are."""

    header: NamedValue | None = Field(default=None, description="Requests with this header. Set this or cookie.")
    cookie: NamedValue | None = Field(default=None, description="Requests with this cookie. Set this or header.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if refused := tuple(_refusals(self)):
            raise Violations(*refused)
        return self

    def addition(self, to: str) -> Addition:
        """The rule that sends these testers to a Service."""
        if self.header is not None:
            return Addition("header", self.header.name, self.header.value, to)
        assert self.cookie is not None
        return Addition("cookie", self.cookie.name, self.cookie.value, to)


ONE_MATCH: Final = "set exactly one of header and cookie"


def _refusals(match: Match) -> FieldErrors:
    if (match.header is None) == (match.cookie is None):
        yield "", ONE_MATCH


class Sticky(SpecModel):
    """A cookie that keeps a user on the side that answered first."""

    cookie: _Name = Field(description="The cookie's name.")
    for_: Annotated[Duration, at_least("1s"), at_most("168h")] = Field(
        alias="for", description="How long it is valid, from the first answer of a side on."
    )

    @property
    def addition(self) -> Addition:
        """The cookie."""
        return Addition("sticky", self.cookie, format_duration(self.for_))


Word: TypeAlias = Literal["mirror", "header", "cookie", "sticky"]
WORDS: Final[tuple[Word, ...]] = ("header", "cookie", "mirror", "sticky")
"""What can be added, in the order in which a rule has it."""


MOST_ADDED: Final = 256
"""Of one route. Sixteen rules with a mirror, a cookie and a dozen groups of testers each have fewer."""


@dataclass(frozen=True, slots=True, order=True)
class Addition:
    """One thing that is added to a rule. `str()` is the text that the status keeps."""

    word: Word
    name: str = ""
    """Of the header or cookie; empty for a mirror."""
    value: str = ""
    """Of the header or cookie; the lifetime of a sticky cookie; the share of a mirror."""
    to: str = ""
    """The Service that gets the copies, or the requests of testers; empty for a cookie that keeps users on a side."""

    def __str__(self) -> str:
        return f"{self.title} to {self.to}" if self.to else self.title

    @property
    def title(self) -> str:
        """What it is, without the Service: `mirror 10%`, `header x-staff=yes`."""
        match self.word:
            case "mirror":
                return f"mirror {self.value}"
            case "sticky":
                return f"sticky {self.name} for {self.value}"
        return f"{self.word} {self.name}={self.value}"

    @property
    def permille(self) -> int:
        """Of the requests, that a mirror copies."""
        return parse_percentage(self.value)

    @property
    def lifetime(self) -> timedelta:
        """Of a sticky cookie."""
        return parse_duration(self.value)


def mirrored(permille: int, to: str) -> Addition:
    """The mirror of this share of the requests to a Service."""
    return Addition("mirror", value=format_weight(permille), to=to)


_NAME: Final = "[-A-Za-z0-9_]{1,64}"
_TEXT: Final = re.compile(
    rf"(?P<word>mirror) (?P<value>[0-9.]{{1,5}}%) to (?P<to>[-a-z0-9.]{{1,253}})"
    rf"|(?P<sticky>sticky) (?P<cookie>{_NAME}) for (?P<lasts>[0-9a-z.]{{1,24}})"
    rf"|(?P<match>header|cookie) (?P<name>{_NAME})=(?P<is>[-A-Za-z0-9_.:/@=,~+]{{1,128}})"
    r" to (?P<side>[-a-z0-9.]{1,253})"
)


def read_addition(text: str) -> Addition | None:
    """The addition of a text; None where it is none, as another version or somebody else wrote it."""
    found = _TEXT.fullmatch(text)
    if found is None:
        return None
    try:
        made = _read(found)
    except ValueError:
        return None
    return made if str(made) == text else None


def _read(found: re.Match[str]) -> Addition:
    if found["word"]:
        return mirrored(parse_percentage(found["value"]), found["to"])
    if found["sticky"]:
        return Addition("sticky", found["cookie"], format_duration(parse_duration(found["lasts"])))
    return Addition("header" if found["match"] == "header" else "cookie", found["name"], found["is"], found["side"])
