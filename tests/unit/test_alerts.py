"""What is said of the operator's metrics: the page names each of them, and each alert asks for what there is."""

import re
from pathlib import Path

import pytest
import yaml

from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.tools.promql.syntax import read_syntax

ROOT = Path(__file__).parents[2]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/helm/rolloutplan/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_there_are_and_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    query = str(rule["expr"])
    read_syntax(query)
    asked = set(re.findall(r"rolloutplan_\w+", query))
    assert asked
    assert asked <= exported()
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
