"""Simulated requests: how many each side got, how many went wrong or were slow, as counters that are scraped.

Requests arrive independently of each other (Poisson), and each goes wrong, and is slow, by chance (binomial).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from rolloutplan.engine.model.queries import Side
from rolloutplan.tools.rehearsal.draws import Draws

SIDES: Final[tuple[Side, ...]] = ("new", "old")
_LOOK_BACK: Final = timedelta(minutes=5)
"""How old a sample may be that Prometheus shows."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Counters:
    """What one side has counted so far: all requests, those that went wrong, and those that were slow."""

    total: int = 0
    bad: int = 0
    slow: int = 0
    slowed: int = 0
    """The requests that took several times the usual."""

    def __sub__(self, other: Counters) -> Counters:
        return Counters(
            self.total - other.total, self.bad - other.bad, self.slow - other.slow, self.slowed - other.slowed
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """What happens to the requests of one side: how many come a second, and the chance of each to go wrong."""

    rate: float
    bad: float
    slow: float
    slowed: bool = False


@dataclass(frozen=True, slots=True)
class Increase:
    """What a side counted between two scrapes."""

    counted: Counters
    seconds: float


@dataclass
class Traffic:
    """The counters of both sides, scraped at whole multiples of an interval since the epoch."""

    draws: Draws
    scrape: timedelta
    now: datetime
    counters: dict[Side, Counters] = field(default_factory=lambda: {side: Counters() for side in SIDES})
    """As they are now."""
    _at: list[datetime] = field(default_factory=list)
    _scraped: list[Mapping[Side, Counters]] = field(default_factory=list)

    def __post_init__(self) -> None:
        last = _EPOCH + (self.now - _EPOCH) // self.scrape * self.scrape
        self._at, self._scraped = [last], [dict(self.counters)]

    def flow(self, flows: Mapping[Side, Flow], until: datetime, *, scraped: bool = True) -> None:
        """Let requests come in the same way until an instant. Nobody scrapes while the metric source is down."""
        while self.now < until:
            scrape_at = _EPOCH + ((self.now - _EPOCH) // self.scrape + 1) * self.scrape
            step = min(scrape_at, until)
            for side, flow in flows.items():
                self.counters[side] = self._after(self.counters[side], flow, (step - self.now).total_seconds())
            self.now = step
            if step == scrape_at and scraped:
                self._at.append(step)
                self._scraped.append(dict(self.counters))

    def _after(self, before: Counters, flow: Flow, seconds: float) -> Counters:
        came = self.draws.poisson(flow.rate * seconds)
        return Counters(
            before.total + came,
            before.bad + self.draws.binomial(came, flow.bad),
            before.slow + self.draws.binomial(came, flow.slow),
            before.slowed + (came if flow.slowed else 0),
        )

    def at(self, side: Side, at: datetime) -> Counters | None:
        """What the last scrape up to an instant found; None where that is too long ago, or was none."""
        place = bisect_right(self._at, at) - 1
        return self._scraped[place][side] if place >= 0 and at - self._at[place] < _LOOK_BACK else None

    def increase(self, side: Side, at: datetime, window: timedelta) -> Increase | None:
        """What was counted between the first and the last scrape of a window; None where it has less than two."""
        first, last = bisect_left(self._at, at - window), bisect_right(self._at, at) - 1
        if last <= first:
            return None
        counted = self._scraped[last][side] - self._scraped[first][side]
        return Increase(counted, (self._at[last] - self._at[first]).total_seconds())
