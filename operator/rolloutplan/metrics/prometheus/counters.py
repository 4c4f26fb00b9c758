"""PromQL for counts: the raw counters of each instance. Pure. `provider.py` passes the events and sends the queries.

`rate` and `increase` extrapolate, so the raw counters of two evaluations are subtracted instead. Slow requests come
from a histogram's buckets:

- A classic histogram has the requests up to T in the bucket `le` = T, so T must be a bound of its buckets. An instance
  without that bucket gives NaN, never 0 slow requests.
- A native histogram is cut at T by interpolation inside one bucket, and rounded to whole requests. This is exact where
  T is a bound: a power of two of its unit (250ms, 500ms, 1s, 2s) at any resolution, or any bound of a classic histogram
  that is stored as a native one. Elsewhere the error is less than the content of that one bucket, always in the same
  direction, and the count never decreases.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from rolloutplan.api.predicate import ONE_SELECTOR, Events
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.selector import Selector, read_selector, without_comments
from rolloutplan.metrics.prometheus.response import Counts

LARGEST_BOUND: Final = 1e9
"""Thirty years in seconds."""
_SUM: Final = "sum by (job, instance)"
_MILLISECOND: Final = timedelta(milliseconds=1)


def counter_queries(events: Events, *, native: bool = True) -> tuple[str, str]:
    """The queries for all requests and for the bad ones, each for `Source.sample`.

    With `native` they work for both kinds of histogram. VictoriaMetrics has only classic ones, and not the functions
    for native ones.
    """
    if events.histogram is None or events.slower_than is None:
        total, bad = (without_comments(text or "") for text in (events.total, events.bad))
        return f"{_SUM} ({total})", f"{_SUM} ({bad})"
    histogram = _selector(events.histogram)
    bound = events.slower_than / _unit(histogram.name)
    every, quick = (histogram.written("_bucket", le) for le in ('le="+Inf"', f'le=~"{_spellings(bound)}"'))
    total = f"{_SUM} ({every})"
    slow = f"{total} - {_SUM} ({quick})"
    if not native:
        return total, f"({slow}) or {total} * NaN"
    count = f"histogram_count({histogram.written()})"
    # An empty histogram's fraction is NaN, which is not >= 0: it is left out, and has no slow requests.
    part = f"histogram_fraction({bound!r}, +Inf, {histogram.written()}) >= 0"
    return f"{total} or {_SUM} ({count})", f"({slow}) or round({_SUM} ({count} * ({part}))) or {total} * NaN"


def bounds_query(events: Events) -> str:
    """The query for the bounds of a classic histogram's buckets, for `Source.sample`; `no_bound` reads its answer."""
    buckets = _selector(events.histogram or "").written("_bucket")
    return f'label_replace(group by (le) ({buckets}), "instance", "$1", "le", "(.*)")'


def no_bound(events: Events, found: Counts) -> str:
    """Why `slowerThan` cannot be counted, with the bounds that can; empty where it can, or without data yet."""
    if events.histogram is None or events.slower_than is None:
        return ""
    unit = _unit(_selector(events.histogram).name)
    numbers = (_bound(key.removeprefix("/")) for key in found)
    bounds = sorted(number * unit for number in numbers if number is not None)
    if not bounds or events.slower_than in bounds:
        return ""
    written = ", ".join(format_duration(bound) for bound in bounds if bound and not bound % _MILLISECOND)
    return f"{format_duration(events.slower_than)} is not a bucket bound of the histogram: write one of {written}"


def _bound(text: str) -> float | None:
    """A bound of a bucket, in the unit of its histogram; None for a label that is no bound, which any client may write.

    What takes longer than LARGEST_BOUND is none that somebody would name, and no duration can be made of it.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= LARGEST_BOUND else None


def unreadable(events: Events) -> str:
    """Why these cannot be counted, where a variable made something else of the histogram; empty where they can."""
    if events.histogram is None or read_selector(events.histogram) is not None:
        return ""
    return f"events.histogram: {events.histogram} {ONE_SELECTOR}"


def _selector(histogram: str) -> Selector:
    return read_selector(histogram) or Selector(histogram, "")


def _unit(name: str) -> timedelta:
    return _MILLISECOND if re.search(r"[._](milliseconds|ms)$", name) else timedelta(seconds=1)


def _spellings(bound: float) -> str:
    """How a bound may be written in `le`: Prometheus 3 writes 1.0 where earlier versions wrote 1."""
    whole, _, rest = f"{bound:.6f}".rstrip("0").partition(".")
    return f"{whole}[.]{rest}0*" if rest else f"{whole}([.]0+)?"
