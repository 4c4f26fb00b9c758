"""The focus of a policy, in both of its forms: a word, and a word with the failure rate at which it shifts.

`focus: Throughput`, and `focus: {base: Throughput, stability: {failureRate: "> 20%", over: 20}}`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from rolloutplan.api.parsing import Integral, SpecModel, choices
from rolloutplan.api.text_format import OR_TEXT, TextFormat

FocusWord: TypeAlias = Literal["Stability", "Balanced", "Throughput"]

MOST_RELEASES: Final = 100
"""The most releases of which a rate is taken: more are of a time that says little about the present."""
_WORDS: Final[tuple[str, ...]] = get_args(FocusWord)
_FAILURE_RATE: Final = TextFormat(
    called="failure rate",
    pattern="^> ?(0|[1-9][0-9]?)%$",
    longest=8,
    fix='is not a bound of a failure rate: write ">" and a whole percentage from 0% to 99%, such as "> 20%"',
)

FailureRate = Annotated[
    int,
    BeforeValidator(lambda value: int(_FAILURE_RATE.read(value).strip("> %"))),
    PlainSerializer(lambda percent: f"> {percent}%", return_type=str),
    WithJsonSchema(_FAILURE_RATE.schema()),
]
"""The percentage above which too many releases fail."""


class Shift(SpecModel):
    """When the focus is Stability, whatever `base` says."""

    failure_rate: FailureRate = Field(
        description='The share of the last releases above which too many have failed, such as "> 20%". At half of it,'
        " and below, the focus is `base` again."
    )
    over: Annotated[int, Field(strict=True, ge=1, le=MOST_RELEASES), Integral] = Field(
        description="Of how many releases the share is taken: the last ones of the plans that the policy selects. While"
        " there are fewer, those that are missing count as successes."
    )


class Focus(SpecModel):
    """What matters most, and when that changes by itself."""

    base: FocusWord = Field(description="The focus as long as few releases fail.")
    stability: Shift | None = Field(default=None, description="When the focus is Stability instead.")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, raw: object) -> object:
        if isinstance(raw, Mapping | Focus):
            return raw
        if raw not in _WORDS:
            raise ValueError(choices(raw, _WORDS))
        return {"base": raw}


FOCUS_WORD: Final[dict[str, Any]] = {
    "default": "Balanced",
    OR_TEXT: {
        "type": "string",
        "enum": [*_WORDS],
        "maxLength": max(map(len, _WORDS)),
        "pattern": f"^({'|'.join(_WORDS)})$",
    },
}
"""The schema of the word next to that of the mapping."""
