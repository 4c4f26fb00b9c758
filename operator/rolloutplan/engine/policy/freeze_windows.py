"""Freeze windows: converts their wall clock times to instants.

At a change to or from daylight saving time, the wall clock skips an hour or shows an hour twice. A window that begins
or ends in a skipped hour does so at the change. In a repeated hour it begins the first time and ends the last time, so
that a freeze is never shorter than its wall clock times say.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from rolloutplan.api.policy import Recurring, Weekly, Window


def spans(window: Window, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Start and end (exclusive) of a window: every span that contains `now`, and the next one."""
    if window.recurring is not None:
        yield from _occurrences(window.recurring, ZoneInfo(window.time_zone), now)
    else:
        assert window.from_ is not None and window.to is not None
        yield window.from_.astimezone(UTC), window.to.astimezone(UTC)


def _occurrences(recurring: Recurring, zone: ZoneInfo, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The spans of the previous period, which may last until now, of this one, and of two more: one may be skipped."""
    start = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if isinstance(recurring, Weekly):
        start -= timedelta(days=start.weekday())
    for turn in range(-1, 3):
        begin = start + turn * recurring.period + recurring.from_
        span = _instant(begin, zone), _instant(begin + recurring.length, zone, last=True)
        if span[0] < span[1]:
            yield span


def _instant(wall: datetime, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """When a clock of the zone shows `wall`, the first or the last time; the change of the clock if it skips it."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return second if last else first

    def shown(seconds: int) -> datetime:
        return (second + timedelta(seconds=seconds)).astimezone(zone).replace(tzinfo=None)

    return second + timedelta(seconds=bisect_left(range((first - second) // timedelta(seconds=1)), wall, key=shown))
