"""Whether the samples behind a value are of the present weight. Pure: `provider.py` sends the PromQL.

A selector without a range gives the last sample of the last five minutes, which may be from before the weight. What was
pushed to a Pushgateway is scraped again and again, so there the time of the push counts, which the gateway has as
`push_time_seconds` with the same grouping labels.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rolloutplan.stats.verdict import Answer, Why
from rolloutplan.tools.promql.queries import InstantSelector

_FIX = "wait for newer samples, or write a range such as max_over_time(x[$window])"


def oldest_sample(selector: InstantSelector) -> str:
    """The query for the time of the oldest sample that a selector without a range gives, in seconds."""
    pushed = f"push_time_seconds{{{selector.matchers}}} and on (job, instance) {selector.text}"
    return f'min(timestamp({selector.text}) or label_replace({pushed}, "pushed", "1", "", ""))'


def stale(selector: InstantSelector, oldest: Answer, since: datetime) -> Answer | None:
    """The gap for a value with a sample from before `since`, or whose age is not known; None where it is new enough."""
    if oldest.gap is Why.SOURCE_DOWN:
        return oldest
    if oldest.value is None or oldest.value >= since.timestamp():
        return None
    at = datetime.fromtimestamp(max(oldest.value, 0), UTC)  # any source may answer any number
    words = f"{selector.text} has a sample of {at:%Y-%m-%d %H:%M:%S}, before this weight ({since:%H:%M:%S}): {_FIX}"
    return Answer(gap=Why.STALE_SAMPLES, detail=words)
