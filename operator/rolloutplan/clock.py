"""The operator's clock: the wall clock, as long as that goes evenly and is not far from the API server's.

The pure packages get the time as an argument; everything else that dates something asks `now`. All evidence is dated by
it, so a clock that is wrong by minutes would take samples of before a weight for samples of that weight. Every answer
of the API server says what time it is there, and `compare` gets that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import structlog

FOLLOWED: Final = 1.0
"""Seconds by which the wall clock may differ from an even course: NTP moves it by less than this."""
AGREES: Final = 5.0
FAR: Final = 30.0
"""Seconds. Clocks that are kept right differ by less than a second, so this is a fault; less is only a delay."""
FORGOTTEN: Final = 60.0
"""Seconds without any agreeing answer after which the API server is believed: one of several may be wrong."""
_RESOLUTION: Final = 1.0
"""Seconds: a Date header leaves out the rest."""

log = structlog.stdlib.get_logger("rolloutplan")


class Clock:
    """A clock that no step of the wall clock moves before the API server agrees. Instants are in seconds.

    `wall` is the time since 1970, `steady` that of a clock which cannot be set.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        """What is added to the steady clock."""
        self._agreed: float | None = None
        """When an answer agreed last, by the steady clock."""
        self._confirmed = False
        """Whether a ClusterMetricSource agreed with the wall clock, and none has contradicted it since."""
        self.ahead = 0.0
        """By how much the wall clock is ahead of the API server's at least, in seconds; negative where it is behind."""

    def now(self) -> datetime:
        """The present instant, to the millisecond, as in a status."""
        steady = self._steady()
        offset = self._wall() - steady
        if abs(offset - self._offset) < FOLLOWED:
            self._offset = offset
        at = datetime.fromtimestamp(steady + self._offset, UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def compare(self, date: str, sent: float, received: float) -> None:
        """Take the Date header of an answer of the API server, and the steady instants at which it was asked for."""
        there = _read(date)
        if there is None:
            return
        wall = self._wall() - self._steady()
        self.ahead = _ahead(there, sent + wall, received + wall)
        ours = _ahead(there, sent + self._offset, received + self._offset)
        if abs(self.ahead) < AGREES:
            self._follow(wall, received)
        elif abs(ours) < AGREES:
            self._agreed = received
        elif abs(ours) > FAR and not self._confirmed and (self._agreed is None or received - self._agreed > FORGOTTEN):
            self._offset, self._agreed = there - received, received
            log.warning(
                "the clock of this machine is wrong: the API server's is used; set it right (NTP)", ahead=self.ahead
            )

    def confirm(self, date: str, sent: float, received: float) -> None:
        """Take that of a ClusterMetricSource. Where the wall clock agrees, these are two, and it is used.

        Evidence is dated by both, so it is right where they agree, whatever the API server says. Sources of a
        namespace have no say: their answers are their tenant's.
        """
        there, wall = _read(date), self._wall() - self._steady()
        if there is None:
            return
        off = abs(_ahead(there, sent + wall, received + wall))
        self._confirmed = off < AGREES or (self._confirmed and off <= FAR)
        if off < AGREES:
            self._follow(wall, received)

    def _follow(self, wall: float, at: float) -> None:
        if abs(wall - self._offset) >= FOLLOWED:
            log.info("the clock of this machine was set, and others agree with it", by=wall - self._offset)
        self._offset, self._agreed = wall, at


def _read(date: str) -> float | None:
    """The instant of a Date header, in seconds since 1970; None where it cannot be read."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _ahead(there: float, sent: float, received: float) -> float:
    """By how many seconds a clock is ahead at least, which showed these instants when it asked and was answered.

    `there` is what the other clock showed at some time between both, without the fraction of the second.
    """
    return max(0.0, sent - there - _RESOLUTION) - max(0.0, there - received)


_CLOCK = Clock()
now = _CLOCK.now
compare = _CLOCK.compare
confirm = _CLOCK.confirm


def ahead() -> float:
    """By how many seconds the wall clock is ahead of the API server's at least; negative where it is behind."""
    return _CLOCK.ahead
