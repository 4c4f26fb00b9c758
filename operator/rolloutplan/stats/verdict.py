"""Answers of metric sources, and the verdicts on predicates: Proved, Refuted, or Undecided with the reason.

Providers (`metrics/`) make answers; the other modules of `stats` make verdicts of them for the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    PROVED = "Proved"
    REFUTED = "Refuted"
    UNDECIDED = "Undecided"


class Why(StrEnum):
    """Why a predicate is Undecided. None of these is a pass, and none is a failure."""

    NO_DATA = "NoData"
    STALE_SAMPLES = "StaleSamples"
    NO_ALERT_SERIES = "NoAlertSeries"
    NAN = "NaN"
    MANY_SERIES = "ManySeries"
    WARNINGS = "Warnings"
    PARTIAL = "Partial"
    NOT_COUNTERS = "NotCounters"
    SOURCE_DOWN = "SourceDown"
    QUERY_REJECTED = "QueryRejected"
    WARMUP = "Warmup"
    WINDOW_NOT_FILLED = "WindowNotFilled"
    TOO_FEW_SAMPLES = "TooFewSamples"
    NOT_YET = "NotYet"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a metric source to one query.

    Either `value` is one number, which may be infinite, and `gap` is None, or `gap` says why there is no such number
    and `detail` holds the source's message.
    """

    value: float | None = None
    gap: Why | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one predicate.

    `value` is what was compared: the new side's value, or with vsOld the change (0.05 is +5 %), difference or
    ratio. `holds` is whether the comparison itself is true of `value`; it is None where there was nothing to
    compare. It differs from `outcome` while a `for` is still running. `outweighed` is whether the value, which is
    that of all evaluations together, says otherwise than a test that took them one after the other. `lacks_old` is
    whether there is a value of the new side, and none of the old side to compare it with.
    """

    outcome: Outcome
    value: float | None = None
    samples: float | None = None
    why: Why | None = None
    detail: str = ""
    holds: bool | None = None
    lacks_old: bool = False
    outweighed: bool = False
