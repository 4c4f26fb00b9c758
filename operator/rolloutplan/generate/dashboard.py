"""The dashboard for Grafana, made of the queries on the operator's own metrics that are listed here.

`deploy/grafana/rolloutplan.json` is its rendering: import it, and choose the Prometheus that scrapes the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rolloutplan.generate.grafana import BAD, BARS, NOTABLE, PLAIN, Colour, Panel, Query, board

_BEGUN: Final = 'rolloutplan_decisions_total{reason="RollbackStarted"}'
_TEAM: Final = '{namespace=~"$namespace",owner=~"$owner"}'


def _grown(series: str, window: str) -> str:
    """By how much counters grew. `increase` misses the first count of a series that begins with it."""
    return f"(max_over_time({series}[{window}]) unless {series} offset {window} or increase({series}[{window}]))"


def _quantile(share: float, name: str, window: str, labels: str = "", by: str = "le") -> str:
    """A quantile of a histogram; without observations nothing, and not NaN, for which Grafana shows a blank panel."""
    return f"histogram_quantile({share}, sum by ({by}) {_grown(f'{name}_bucket{labels}', window)}) >= 0"


def _quantiles(name: str, window: str) -> Sequence[Query]:
    return [Query(_quantile(share, name, window), word) for share, word in ((0.5, "median"), (0.9, "p90"))]


def _seen(promql: str) -> str:
    """The value, and 0 where there is none; nothing where no operator is scraped, since nobody knows then."""
    return f"{promql} or 0 * max(rolloutplan_leader)"


def _in_phase(phase: str) -> str:
    return _seen(f'max(rolloutplan_plans{{phase="{phase}"}})')


def _now(title: str, words: str, promql: str, colours: Sequence[Colour] = PLAIN, unit: str = "short") -> Panel:
    return Panel(title, words, [Query(promql)], unit, kind="stat", width=3, height=4, colours=colours, alarms=True)


def _by_owner(promql: str) -> str:
    """A series for each owner. Without a label `owner` it would have no name."""
    return f'label_replace({promql}, "owner", "(no owner)", "owner", "")'


def _counted(name: str) -> str:
    return f"sum by (owner) {_grown(f'rolloutplan_{name}_total{_TEAM}', '$__range')}"


def _time(name: str, share: float, title: str) -> Query:
    """A column of a time."""
    return Query(_by_owner(_quantile(share, f"rolloutplan_{name}_seconds", "$__range", _TEAM, "le, owner")), title, "s")


ROWS: Final[Mapping[str, Sequence[Panel]]] = {
    "Now": (
        _now(
            "Leaders",
            "Replicas that lead: 1 while all is well. Alert RolloutPlanNoLeader.",
            "sum(rolloutplan_leader) or vector(0)",
            (Colour("red"), Colour("green", 1), Colour("red", 2)),
        ),
        _now(
            "Oldest look at a run",
            "Age of the last look at the run that waits for one the longest; a minute is usual. "
            "Alert RolloutPlanRunNotLookedAt.",
            "max(rolloutplan_oldest_look_seconds)",
            (Colour("green"), Colour("red", 120)),
            "s",
        ),
        _now(
            "Operator faults",
            "Plans on which the operator itself fails. Alert RolloutPlanOperatorFault.",
            "max(rolloutplan_plans_failing)",
            BAD,
        ),
        _now(
            "Rolling back",
            "Plans whose old weights are on their way back. Alert RolloutPlanRollbackStuck.",
            _in_phase("RollingBack"),
            NOTABLE,
        ),
        _now(
            "Held",
            "Plans that wait at a weight, for a person or for evidence. Alert RolloutPlanHeldForLong.",
            _in_phase("Held"),
            NOTABLE,
        ),
        _now("Pending", "Plans that wait for their turn or a route.", _in_phase("Pending")),
        _now(
            "Plans not read",
            "There are too many, or too large ones. Alert RolloutPlanNotRead.",
            "max(rolloutplan_plans_over_budget)",
            BAD,
        ),
        _now(
            "Clock off by",
            "How far the clock of a machine is from the API server's at least. Alert RolloutPlanClockWrong.",
            "max(abs(rolloutplan_clock_ahead_seconds))",
            (Colour("green"), Colour("orange", 5)),
            "s",
        ),
    ),
    "Runs (all namespaces)": (
        Panel(
            "Plans in a run, by phase",
            "Without those that are Succeeded or RolledBack.",
            [Query('max by (phase) (rolloutplan_plans{phase!~"Succeeded|RolledBack"})', "{{phase}}")],
            width=12,
            outcomes=True,
        ),
        Panel(
            "Decisions",
            "By the reason of their Events.",
            [
                Query(
                    f"sum by (reason) {_grown('rolloutplan_decisions_total', '$__rate_interval')} > 0",
                    "{{reason}}",
                )
            ],
            kind=BARS,
            width=12,
            outcomes=True,
        ),
        Panel(
            "Verdicts per minute",
            "Predicates evaluated.",
            [Query("60 * sum by (verdict) (rate(rolloutplan_verdicts_total[$__rate_interval]))", "{{verdict}}")],
            unit="cpm",
            outcomes=True,
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
            "Rollbacks begun",
            "Within the time range.",
            [Query(_seen(f"sum{_grown(_BEGUN, '$__range')}"))],
            kind="stat",
            width=4,
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
            width=12,
        ),
    ),
    "Delivery (of the chosen namespaces and owners)": (
        Panel(
            "Delivery figures by owner",
            "Failed: the share of changes whose weights had to go back. Restore: from the first bad sample to the old "
            "weights. Lead: from the commit to the end of the success, of plans with rolloutplan.dev/committed-at. "
            "Exposed requests: those of the new side that a guard had counted when it tripped.",
            [
                Query(_by_owner(_counted("changes")), "Changes"),
                Query(
                    _by_owner(f"{_counted('change_failures')} / {_counted('changes')} >= 0"), "Failed", "percentunit"
                ),
                _time("restore", 0.5, "Restore, median"),
                _time("restore", 0.9, "Restore, p90"),
                _time("lead", 0.5, "Lead, median"),
                _time("lead", 0.9, "Lead, p90"),
                Query(_by_owner(_counted("exposed_requests")), "Exposed requests", "locale"),
            ],
            kind="table",
            width=24,
            since="7d",
        ),
        Panel(
            "Plans with an owner",
            "Those that name one.",
            [Query(f"max by (namespace, plan, owner) (rolloutplan_plan_info{_TEAM})")],
            kind="table",
            width=24,
            height=6,
        ),
    ),
    "Operator and what it asks": (
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
            "API requests that failed",
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
            "API request duration",
            "How long an answer took.",
            _quantiles("rolloutplan_api_request_seconds", "$__rate_interval"),
            unit="s",
        ),
        Panel(
            "Metric requests",
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
            "Metric request duration",
            "How long an answer took.",
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
            "Metric limits met",
            "Questions to metric sources, and answers.",
            [Query(f"sum by (limit) {_grown('rolloutplan_metric_limits_total', '$__rate_interval')} > 0", "{{limit}}")],
            kind=BARS,
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
            kind=BARS,
            outcomes=True,
        ),
        Panel(
            "Trace spans",
            "Of runs, for the receiver of traces: sent, lost.",
            [Query(f"sum by (result) {_grown('rolloutplan_spans_total', '$__rate_interval')}", "{{result}}")],
            kind=BARS,
            outcomes=True,
        ),
        Panel(
            "Size of all plans",
            "Bytes of the specs that are read.",
            [Query("max(rolloutplan_plans_bytes)")],
            unit="bytes",
            width=12,
        ),
        Panel(
            "Clock",
            "How far the machine's clock is ahead of the API server's at least.",
            [Query("rolloutplan_clock_ahead_seconds", "{{instance}}")],
            unit="s",
            width=12,
            signed=True,
        ),
    ),
}


def dashboard() -> str:
    """The dashboard as JSON. Always the same text for the same rows."""
    return board(ROWS, {"namespace": "Delivery: namespace", "owner": "Delivery: owner"})
