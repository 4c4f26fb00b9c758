"""PromQL for alerts: a number comes out whether any fires or not. Pure.

An alert is its set of labels: whatever differs in one is another.
"""

from __future__ import annotations

from rolloutplan.engine.model.queries import AlertQuery
from rolloutplan.tools.promql import firing_alerts


def alert_query(query: AlertQuery) -> str:
    """The query for how many fire, or for how many fire that did not at an instant."""
    series = firing_alerts(query.matchers)
    if query.since is None:
        return f"count({series}) or vector(0)"
    return f"count({series} unless {series} @ {query.since.timestamp():.3f}) or vector(0)"
