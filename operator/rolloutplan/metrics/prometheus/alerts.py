"""PromQL for alerts: it gives a number whether any fires or not. Pure.

An alert is identified by its set of labels. `provider.py` passes the engine's `AlertQuery` and sends the PromQL.
"""

from __future__ import annotations

from rolloutplan.engine.model.queries import AlertQuery
from rolloutplan.tools.promql import firing_alerts


def alert_query(query: AlertQuery) -> str:
    """The query for the number of firing alerts; with `since`, of those that did not fire at that instant."""
    series = firing_alerts(query.matchers)
    if query.since is None:
        return f"count({series}) or vector(0)"
    return f"count({series} unless {series} @ {query.since.timestamp():.3f}) or vector(0)"
