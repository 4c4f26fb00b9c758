"""What can be said of a predicate: Proved, Refuted, or Undecided with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    PROVED = "Proved"
    REFUTED = "Refuted"
    UNDECIDED = "Undecided"


class Why(StrEnum):
    """Why a predicate is Undecided. None of these is ever a pass, and none is ever a failure."""

    NO_DATA = "NoData"
    NAN = "NaN"
    MANY_SERIES = "ManySeries"
    WARNINGS = "Warnings"
    PARTIAL = "Partial"
    NOT_COUNTERS = "NotCounters"
    SOURCE_DOWN = "SourceDown"
    QUERY_REJECTED = "QueryRejected"
    WINDOW_NOT_FILLED = "WindowNotFilled"
    TOO_FEW_SAMPLES = "TooFewSamples"
    NOT_YET = "NotYet"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a metric source said to one question.

    Either `value` is one finite number and `gap` is None, or `gap` says why there is no such number and `detail`
    holds the source's own words.
    """

    value: float | None = None
    gap: Why | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from the answers for one predicate.

    `value` is what was compared: the new side's value, or with vsOld the change (0.05 is +5 %), difference or ratio.
    `holds` says whether the comparison itself is true of `value`; it is None where there was nothing to compare. It
    differs from `outcome` while a `for` is still running.
    """

    outcome: Outcome
    value: float | None = None
    samples: float | None = None
    why: Why | None = None
    detail: str = ""
    holds: bool | None = None
