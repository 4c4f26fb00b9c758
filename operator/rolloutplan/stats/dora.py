"""The figures of many changes together: how many failed, how long they took, how soon the old weights were back.

They come from records, one `DoraFigures` a change. What is unknown of a change is left out of that figure alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

from rolloutplan.api.record import DoraFigures

_MEDIAN: Final = 0.5
_P90: Final = 0.9


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` values the median, the 90th percentile and the largest: each is one of them, by its nearest rank."""

    count: int
    median: float
    p90: float
    largest: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of some changes. None: it is known of none of them."""

    changes: int
    failures: int
    lead: Spread | None
    """Seconds from the commit to the end of a success."""
    restore: Spread | None
    """Seconds from the sample that showed the fault to the old weights, of those that failed."""
    exposed: float | None
    """Requests that were exposed to the faults, as far as they were counted."""

    @property
    def failure_rate(self) -> float | None:
        """The part of the changes that failed, from 0 to 1."""
        return self.failures / self.changes if self.changes else None


def together(changes: Collection[DoraFigures]) -> Figures:
    """The figures of these changes together."""
    failed = [each for each in changes if each.failed]
    exposed = [each.exposed_requests for each in failed if each.exposed_requests is not None]
    return Figures(
        changes=len(changes),
        failures=len(failed),
        lead=spread(each.lead_seconds for each in changes),
        restore=spread(each.restore_seconds for each in failed),
        exposed=sum(exposed) if exposed else None,
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of the values that are known; None where none is."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return Spread(len(known), _ranked(known, _MEDIAN), _ranked(known, _P90), known[-1])


def _ranked(ordered: list[float], part: float) -> float:
    """The smallest value that so many of all do not exceed."""
    return ordered[ceil(part * len(ordered)) - 1]
