"""A dashboard in Grafana's form: rows of panels, each with its queries, units and colours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

BARS: Final = "bars"
"""Time series of what was counted in each interval, which no line connects."""

_COLUMNS: Final = 24
"""The width of a dashboard in Grafana's units."""
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_REFS: Final = "ABCDEFGH"
"""The names of the queries of a panel."""


class Query(NamedTuple):
    """A query, and the name of each series in Grafana's notation, such as `{{phase}}`.

    Of a table with several queries: the title and the unit of the column that it makes.
    """

    promql: str
    title: str = ""
    unit: str = "short"


class Colour(NamedTuple):
    """The colour of a value from a number on; None: of all below the next one."""

    name: str
    since: float | None = None


PLAIN: Final = (Colour("text"),)
"""Neither good nor bad. Written out, because Grafana shows every value from 80 on in red where nothing is said."""
BAD: Final = (Colour("green"), Colour("red", 1))
NOTABLE: Final = (Colour("green"), Colour("orange", 1))

_OUTCOMES: Final[Mapping[str, Sequence[str]]] = {
    "green": ("Proved", "Succeeded", "StageProved", "Promoted", "delivered", "sent"),
    "red": ("Tripped", "Refuted", "RollbackStarted", "RollingBack", "RolledBack", "Stalled", "given_up", "lost"),
    "orange": ("Held", "Undecided", "Invalid", "failed"),
}
"""The colours of the series that are good or bad by name, or by the last word of it. Others are blue."""


class Panel(NamedTuple):
    """A panel. `kind` is Grafana's or BARS, `unit` one of its units; a `stat` or a `table` shows the values of now."""

    title: str
    words: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = _HEIGHT
    colours: Sequence[Colour] = PLAIN
    since: str = ""
    """A time range of its own, such as `7d`."""
    outcomes: bool = False
    """Whether its series are good or bad by name."""
    signed: bool = False
    """Whether values below 0 mean something."""
    alarms: bool = False
    """Whether no data is a fault."""


def board(rows: Mapping[str, Sequence[Panel]], choices: Mapping[str, str]) -> str:
    """The dashboard as JSON. `choices` are labels to choose values of, with the words before the choice."""
    variables = [_source(), *(_choice(label, words) for label, words in choices.items())]
    made = {
        "uid": "rolloutplan",
        "title": "RolloutPlan",
        "tags": ["rolloutplan"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "annotations": {"list": []},
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": [panel | {"id": number} for number, panel in enumerate(_panels(rows), 1)],
    }
    return json.dumps(made, indent=2) + "\n"


def _source() -> Mapping[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(label: str, words: str) -> Mapping[str, Any]:
    """A variable with all values of a label. An owner may be empty, so All is everything."""
    return {
        "name": label,
        "label": words,
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


def _panels(rows: Mapping[str, Sequence[Panel]]) -> Iterator[dict[str, Any]]:
    """All rows and panels, each with its place: from left to right, in as many lines as they need."""
    top = 0
    for title, panels in rows.items():
        yield {"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, _COLUMNS, 1), "panels": []}
        left, top, height = 0, top + 1, 0
        for panel in panels:
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            yield _panel(panel) | {"gridPos": _place(left, top, panel.width, panel.height)}
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _place(x: int, y: int, w: int, h: int) -> Mapping[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: Panel) -> dict[str, Any]:
    shown = {"table": _as_table, "stat": _as_number}.get(panel.kind, _as_graph)(panel)
    field = shown.pop("field")
    return {
        "type": "timeseries" if panel.kind == BARS else panel.kind,
        "title": panel.title,
        "description": panel.words,
        "datasource": _SOURCE,
        **({"timeFrom": panel.since} if panel.since else {}),
        "fieldConfig": {"defaults": _defaults(panel) | field, "overrides": shown.pop("overrides", [])},
        **shown,
        "targets": [_target(panel, query, ref) for ref, query in zip(_REFS, panel.queries, strict=False)],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    """How all values of a panel are shown."""
    steps = [{"value": colour.since, "color": colour.name} for colour in panel.colours]
    counts = {"decimals": 0} if panel.unit == "short" else {}
    return {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, **counts}


def _as_number(panel: Panel) -> dict[str, Any]:
    """A number for each series. Grafana shows what is missing in the lowest colour, which may be green."""
    without = {"text": "No data", "color": "orange"} if panel.alarms else {"text": "none", "color": "text"}
    options = {
        "graphMode": "none",  # an instant query has no history
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"]},
    }
    if panel.height == _HEIGHT:
        options["text"] = {"valueSize": 60}  # a word of this size fits, one of the size of a digit does not
    missing = {"type": "special", "options": {"match": "null+nan", "result": without}}
    return {"field": {"mappings": [missing]}, "options": options}


def _as_graph(panel: Panel) -> dict[str, Any]:
    """Lines or bars over time. Bars that do not begin at 0 would hide a single count."""
    field: dict[str, Any] = {} if panel.signed else {"min": 0}
    custom: dict[str, Any] = {"drawStyle": "bars", "fillOpacity": 80} if panel.kind == BARS else {}
    if panel.unit in ("short", "percentunit"):
        custom["axisSoftMax"] = 1  # zeros alone would have an axis up to 100
    overrides = []
    if panel.outcomes:
        field["color"] = {"mode": "shades", "fixedColor": "blue"}
        overrides = [
            _override("byRegexp", f"/(^| )({'|'.join(names)})$/", color={"mode": "fixed", "fixedColor": colour})
            for colour, names in _OUTCOMES.items()
        ]
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    options = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": legend}
    return {"field": field | ({"custom": custom} if custom else {}), "overrides": overrides, "options": options}


def _as_table(panel: Panel) -> dict[str, Any]:
    """The labels of a query whose value is always 1; or a column for each query, joined by their labels."""
    if len(panel.queries) == 1:
        order = {"owner": 0, "namespace": 1, "plan": 2}
        without = {"Time": True, "Value": True}
        named = {label: label.capitalize() for label in order}
        organized = {"excludeByName": without, "indexByName": order, "renameByName": named}
        return {"field": {}, "transformations": [{"id": "organize", "options": organized}]}
    organized = {"excludeByName": {"Time": True}, "renameByName": {"owner": "Owner"}}
    return {
        "field": {},
        "overrides": [_column(ref, query) for ref, query in zip(_REFS, panel.queries, strict=False)],
        "transformations": [{"id": "merge", "options": {}}, {"id": "organize", "options": organized}],
    }


def _column(ref: str, query: Query) -> Mapping[str, Any]:
    decimals = 1 if query.unit == "s" else 0
    return _override(
        "byName", f"Value #{ref}", displayName=query.title, unit=query.unit, decimals=decimals, noValue="-"
    )


def _override(by: str, what: str, **properties: Any) -> Mapping[str, Any]:
    listed = [{"id": name, "value": value} for name, value in properties.items()]
    return {"matcher": {"id": by, "options": what}, "properties": listed}


def _target(panel: Panel, query: Query, name: str) -> Mapping[str, Any]:
    now = panel.kind in ("stat", "table")
    return {
        "refId": name,
        "datasource": _SOURCE,
        "expr": query.promql,
        "legendFormat": query.title or panel.title,
        "instant": now,
        "range": not now,
        "format": "table" if panel.kind == "table" else "time_series",
    }
