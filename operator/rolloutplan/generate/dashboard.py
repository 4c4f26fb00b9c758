"""The dashboard for Grafana, made of the queries on the operator's own metrics that are listed here.

`deploy/grafana/rolloutplan.json` is its rendering: import it, and choose the Prometheus that scrapes the operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

_COLUMNS: Final = 24
"""The width of a dashboard in Grafana's units."""
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_BARS: Final = "bars"
_WITHOUT_VALUES: Final = {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}
"""A table shows labels: the value of an info metric is always 1."""
_TEAM: Final = '{namespace=~"$namespace",owner=~"$owner"}'


class Query(NamedTuple):
    """A query, and the name of each series in Grafana's notation, such as `{{phase}}`."""

    promql: str
    legend: str = ""


class Colour(NamedTuple):
    """The colour of a value from a number on; None: of all below the next one."""

    name: str
    since: float | None = None


_PLAIN: Final = (Colour("green"),)
"""Written out, because Grafana shows every value from 80 on in red where nothing is said."""
_BAD: Final = (Colour("green"), Colour("red", 1))
_NOTABLE: Final = (Colour("green"), Colour("orange", 1))


class Panel(NamedTuple):
    """A panel: `kind` is Grafana's, `unit` one of its units; the values of a `stat` or a `table` are those of now.

    `bars` are time series of what was counted in each interval, which no line connects.
    """

    title: str
    words: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    colours: Sequence[Colour] = _PLAIN


def _grown(series: str, window: str) -> str:
    """By how much counters grew. `increase` misses the first count of a series that begins with it."""
    return f"(max_over_time({series}[{window}]) unless {series} offset {window} or increase({series}[{window}]))"


def _quantiles(name: str, window: str, labels: str = "", by: str = "") -> Sequence[Query]:
    """The median and the 90 % quantile of a histogram."""
    buckets = f"sum by ({', '.join(filter(None, ('le', by)))}) {_grown(f'{name}_bucket{labels}', window)}"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        Query(f"histogram_quantile({share}, {buckets})", word + legend)
        for share, word in ((0.5, "median"), (0.9, "p90"))
    ]


def _in_phase(phase: str) -> Query:
    return Query(f'max(rolloutplan_plans{{phase="{phase}"}}) or vector(0)')


_BEGUN: Final = 'rolloutplan_decisions_total{reason="RollbackStarted"}'
_FAILED: Final = _grown(f"rolloutplan_change_failures_total{_TEAM}", "$__range")
_CHANGED: Final = _grown(f"rolloutplan_changes_total{_TEAM}", "$__range")

ROWS: Final[Mapping[str, Sequence[Panel]]] = {
    "Now": (
        Panel(
            "Leaders",
            "1 while all is well.",
            [Query("sum(rolloutplan_leader)")],
            kind="stat",
            width=4,
            colours=(Colour("red"), Colour("green", 1), Colour("red", 2)),
        ),
        Panel("Held", "Plans that wait at a weight.", [_in_phase("Held")], kind="stat", width=4, colours=_NOTABLE),
        Panel(
            "Rolling back",
            "Old weights on their way back.",
            [_in_phase("RollingBack")],
            kind="stat",
            width=4,
            colours=_NOTABLE,
        ),
        Panel("Waiting", "For their turn or a route.", [_in_phase("Pending")], kind="stat", width=4),
        Panel(
            "Operator faults",
            "Plans on which the operator itself fails.",
            [Query("max(rolloutplan_plans_failing)")],
            kind="stat",
            width=4,
            colours=_BAD,
        ),
        Panel(
            "Oldest look",
            "Age of the last look at the run that waits for one the longest; a minute is usual.",
            [Query("max(rolloutplan_oldest_look_seconds)")],
            unit="s",
            kind="stat",
            width=4,
            colours=(Colour("green"), Colour("red", 120)),
        ),
    ),
    "Runs": (
        Panel("Plans by phase", "", [Query("max by (phase) (rolloutplan_plans)", "{{phase}}")]),
        Panel(
            "Decisions",
            "By the reason of their Events.",
            [
                Query(
                    f"sum by (reason) {_grown('rolloutplan_decisions_total', '$__rate_interval')} > 0",
                    "{{reason}}",
                )
            ],
            kind=_BARS,
        ),
        Panel(
            "Verdicts",
            "Predicates evaluated, per second.",
            [Query("sum by (verdict) (rate(rolloutplan_verdicts_total[$__rate_interval]))", "{{verdict}}")],
            unit="ops",
        ),
        Panel(
            "Rollbacks",
            "Begun within the time range.",
            [Query(f"sum{_grown(_BEGUN, '$__range')} or vector(0)")],
            kind="stat",
        ),
        Panel(
            "Places taken",
            "The share of the places of each group of plans.",
            [Query("max by (group) (rolloutplan_places_taken) / max by (group) (rolloutplan_places)", "{{group}}")],
            unit="percentunit",
        ),
        Panel(
            "Plans that wait for a place",
            "By the group that has none left.",
            [Query("max by (group) (rolloutplan_places_waiting)", "{{group}}")],
        ),
        Panel(
            "From evidence to weights",
            "From the instant of the data that decided a rollback to its weights written.",
            _quantiles("rolloutplan_evidence_to_weights_seconds", "$__range"),
            unit="s",
            kind="stat",
        ),
        Panel(
            "Lateness of looks",
            "How late a plan was looked at after it was due.",
            _quantiles("rolloutplan_evaluation_lag_seconds", "$__rate_interval"),
            unit="s",
        ),
    ),
    "Delivery": (
        Panel("Changes", "", [Query(f"sum by (owner) {_CHANGED}", "{{owner}}")], kind="stat", width=6),
        Panel(
            "Failed",
            "The share of changes whose weights had to go back.",
            [Query(f"sum by (owner) {_FAILED} / sum by (owner) {_CHANGED}", "{{owner}}")],
            unit="percentunit",
            kind="stat",
            width=6,
        ),
        Panel(
            "Time to restore",
            "From the first bad sample to the old weights.",
            _quantiles("rolloutplan_restore_seconds", "$__range", _TEAM, "owner"),
            unit="s",
            kind="stat",
            width=6,
        ),
        Panel(
            "Lead time",
            "From the commit to the end of the success; of plans that have rolloutplan.dev/committed-at.",
            _quantiles("rolloutplan_lead_seconds", "$__range", _TEAM, "owner"),
            unit="s",
            kind="stat",
            width=6,
        ),
        Panel(
            "Exposed requests",
            "Requests of the new side that a guard had counted when it tripped.",
            [Query(f"sum by (owner) {_grown(f'rolloutplan_exposed_requests_total{_TEAM}', '$__range')}", "{{owner}}")],
            kind="stat",
            width=12,
        ),
        Panel(
            "Plans with an owner",
            "",
            [Query(f"max by (namespace, plan, owner) (rolloutplan_plan_info{_TEAM})")],
            kind="table",
            width=12,
        ),
    ),
    "Requests": (
        Panel(
            "API requests",
            "Per second.",
            [
                Query(
                    "sum by (method, code) (rate(rolloutplan_api_requests_total[$__rate_interval]))",
                    "{{method}} {{code}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "API requests refused",
            "Per second; code 0 where there was no answer. A 409 is sent again.",
            [
                Query(
                    'sum by (resource, code) (rate(rolloutplan_api_requests_total{code!~"2.."}[$__rate_interval])) > 0',
                    "{{resource}} {{code}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "API answers",
            "How long they took.",
            _quantiles("rolloutplan_api_request_seconds", "$__rate_interval"),
            unit="s",
        ),
        Panel(
            "Requests to metric sources",
            "Per second.",
            [
                Query(
                    "sum by (source, code) (rate(rolloutplan_metric_requests_total[$__rate_interval]))",
                    "{{source}} {{code}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            "Answers of metric sources",
            "How long they took.",
            _quantiles("rolloutplan_metric_request_seconds", "$__rate_interval"),
            unit="s",
        ),
        Panel(
            "Age of the newest sample",
            "Of sources that are asked.",
            [Query("max by (source) (rolloutplan_newest_sample_age_seconds)", "{{source}}")],
            unit="s",
        ),
        Panel(
            "Limits met",
            "Questions to metric sources, and answers.",
            [Query(f"sum by (limit) {_grown('rolloutplan_metric_limits_total', '$__rate_interval')} > 0", "{{limit}}")],
            kind=_BARS,
        ),
        Panel(
            "Notifications",
            "Decisions for webhooks: delivered, failed (an attempt), given_up.",
            [
                Query(
                    f"sum by (notifier, result) {_grown('rolloutplan_notifications_total', '$__rate_interval')} > 0",
                    "{{notifier}} {{result}}",
                )
            ],
            kind=_BARS,
        ),
        Panel(
            "Spans",
            "Of runs, for the receiver of traces: sent, lost.",
            [Query(f"sum by (result) {_grown('rolloutplan_spans_total', '$__rate_interval')}", "{{result}}")],
            kind=_BARS,
        ),
        Panel(
            "Size of the plans",
            "Bytes of the specs that are read.",
            [Query("max(rolloutplan_plans_bytes)")],
            unit="bytes",
        ),
        Panel(
            "Plans not read",
            "There are too many, or too large ones.",
            [Query("max(rolloutplan_plans_over_budget)")],
        ),
        Panel(
            "Clock",
            "How far the machine's clock is ahead of the API server's at least.",
            [Query("rolloutplan_clock_ahead_seconds", "{{instance}}")],
            unit="s",
        ),
    ),
}


def dashboard() -> str:
    """The dashboard as JSON. Always the same text for the same rows."""
    made = {
        "uid": "rolloutplan",
        "title": "RolloutPlan",
        "tags": ["rolloutplan"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "annotations": {"list": []},
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _choice("namespace"), _choice("owner")]},
        "panels": [panel | {"id": number} for number, panel in enumerate(_panels(), 1)],
    }
    return json.dumps(made, indent=2) + "\n"


def _source() -> Mapping[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(label: str) -> Mapping[str, Any]:
    """A variable with all values of a label. An owner may be empty, so All is everything."""
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f'label_values({{__name__=~"rolloutplan_plan_info|rolloutplan_changes_total"}}, {label})',
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[dict[str, Any]]:
    """All rows and panels, each with its place: from left to right, in as many lines as they need."""
    left, top = 0, 0
    for title, panels in ROWS.items():
        yield {"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, _COLUMNS, 1), "panels": []}
        left, top = 0, top + 1
        for panel in panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + _HEIGHT
            yield _panel(panel) | {"gridPos": _place(left, top, panel.width, _HEIGHT)}
            left += panel.width
        top += _HEIGHT


def _place(x: int, y: int, w: int, h: int) -> Mapping[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries" if panel.kind == _BARS else panel.kind,
        "title": panel.title,
        "description": panel.words,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        **({"transformations": [_WITHOUT_VALUES]} if panel.kind == "table" else {}),
        "targets": [_target(panel, query, "ABC"[number]) for number, query in enumerate(panel.queries)],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    """How all values of a panel are shown."""
    steps = [{"value": colour.since, "color": colour.name} for colour in panel.colours]
    return {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        **({"custom": {"drawStyle": "bars", "fillOpacity": 80}} if panel.kind == _BARS else {}),
    }


def _target(panel: Panel, query: Query, name: str) -> Mapping[str, Any]:
    now = panel.kind not in ("timeseries", _BARS)
    return {
        "refId": name,
        "datasource": _SOURCE,
        "expr": query.promql,
        "legendFormat": query.legend or panel.title,
        "instant": now,
        "range": not now,
        "format": "table" if panel.kind == "table" else "time_series",
    }
