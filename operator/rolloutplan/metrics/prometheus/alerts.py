"""PromQL for alerts: it gives a number whether any fires or not, and nothing where there are no alerts at all. Pure.

An alert is identified by its set of labels. `provider.py` passes the engine's `AlertQuery` and sends the PromQL.
"""

from __future__ import annotations

from typing import Final

from rolloutplan.engine.model.queries import AlertQuery
from rolloutplan.tools.promql.queries import firing_alerts

ANY_ALERT: Final = "count(last_over_time(ALERTS[1d]))"
"""How many alerts were pending or fired at any time in 24 h."""
NO_ALERTS: Final = (
    "the metric source has no series ALERTS of any kind in 24 h, so no alert would be seen. Alerts of Grafana, or of"
    " a ruler that writes elsewhere, are not there: name the source that has them, or add an alert that always fires"
)


def alert_query(query: AlertQuery) -> str:
    """The query for the number of firing alerts; with `since`, of those that did not fire at that instant.

    It has no answer where no alert is pending or fires: `ANY_ALERT` then tells quiet rules from none.
    """
    series = firing_alerts(query.matchers)
    firing = series if query.since is None else f"{series} unless {series} @ {query.since.timestamp():.3f}"
    return f"count({firing}) or 0 * count(ALERTS)"
