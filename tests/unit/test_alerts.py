"""What is said of the operator's metrics: the page names each of them; alerts and dashboard ask for what there is."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from rolloutplan.api.policy_status import Places
from rolloutplan.api.record import DoraFigures, RecordSpec, RecordStatus, RolloutRecord, RunOutcome
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.tools.promql.syntax import read_syntax

ROOT = Path(__file__).parents[2]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/helm/rolloutplan/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
BOARD = [
    target["expr"]
    for panel in json.loads((ROOT / "deploy/grafana/rolloutplan.json").read_text())["panels"]
    for target in panel.get("targets", ())
]
FROM_SCRAPING = {"instance", "pod"}
PAGE = (ROOT / "docs/observing.md").read_text()


def exported() -> set[str]:
    """The names of all series of the operator's own, without the parts of histograms."""
    metrics = Metrics(page_for=0)
    metrics.set_plan_counter(lambda: {"Held": 1}, lambda: 0, lambda: 0.0)
    metrics._computed = metrics._compute()
    suffix = {"counter": "_total", "info": "_info"}
    families = [family for family in metrics._registry.collect() if family.name.startswith("rolloutplan_")]
    return {family.name + suffix.get(family.type, "") for family in families}


def test_the_page_has_a_row_for_every_metric_and_for_no_other() -> None:
    assert set(re.findall(r"^\| `(rolloutplan_\w+)` \|", PAGE, re.MULTILINE)) == exported()


def test_the_page_has_a_row_for_every_alert_and_for_no_other() -> None:
    told = set(re.findall(r"^\| `(RolloutPlan\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert told == {(rule["alert"], rule["labels"]["severity"]) for rule in RULES}


def labels_of_series() -> dict[str, set[str]]:
    """The labels of each series, as Prometheus stores it, of an operator that has met all that it counts."""
    metrics = Metrics(page_for=0)
    metrics.set_plan_counter(lambda: {"Held": 1}, lambda: 0, lambda: 0.0, lambda: [("shop", "web", "team")])
    metrics.count_decision("Rollback", "RollbackStarted")
    metrics.count_source_request("prometheus", 200, 0.1)
    metrics.record_answer("prometheus", datetime.now(UTC))
    metrics.count_limit("bytes")
    metrics.count_api_request("GET", "/api/v1/pods", 200, 0.1)
    metrics.keep_notifiers(["told"])
    metrics.count_notification("told", "delivered")
    figures = DoraFigures(failed=True, restore_seconds=1.0, lead_seconds=1.0, exposed_requests=1)
    record = RolloutRecord(
        spec=RecordSpec(owner="team"), status=RecordStatus(outcome=RunOutcome.ROLLED_BACK, dora=figures)
    )
    metrics.changes.count("shop", None, record)
    metrics.set_places([Places(group="policy production", taken=1, of=2)])
    metrics._computed = metrics._compute()
    samples = (sample for family in metrics._registry.collect() for sample in family.samples)
    return {sample.name: set(sample.labels) for sample in samples}


SERIES = labels_of_series()


def labels_in(query: str) -> set[str]:
    """The labels that a query names in selectors and groups."""
    named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
    groups = re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", query)
    return named | {label.strip() for group in groups for label in group.split(",")}


@pytest.mark.parametrize("query", [*(str(rule["expr"]) for rule in RULES), *BOARD])
def test_a_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    read_syntax(query.replace("$__rate_interval", "1m").replace("$__range", "6h"))
    asked = set(re.findall(r"rolloutplan_\w+", query))
    assert asked
    assert asked <= SERIES.keys()
    assert labels_in(query) <= set.union(FROM_SCRAPING, *(SERIES[name] for name in asked))


def test_each_metric_of_the_operator_is_on_the_dashboard() -> None:
    unshown = {"rolloutplan_build_info", "rolloutplan_epoch"}
    shown = {name.removesuffix("_bucket") for query in BOARD for name in re.findall(r"rolloutplan_\w+", query)}
    assert exported() - shown == unshown


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
