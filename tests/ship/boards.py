"""What boards and alerts are made of, tried by the programs that read it. Only `make ship-check` runs this."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.bed import extras
from tests.shop import ROOT

RULES = ROOT / "deploy/helm/rolloutplan/alerts.yaml"
BOARD = ROOT / "deploy/grafana/rolloutplan.json"
PROMETHEUS = {"type": "prometheus"}
STORIES = Path(__file__).with_name("alerts.yaml")


@pytest.mark.extras("promtool")
def test_each_alert_fires_when_its_cause_has_lasted_and_no_longer(
    record_property: Callable[[str, object], None],
) -> None:
    rules = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    stories = STORIES.read_text()
    assert [rule for rule in rules if f'alertname="{rule}"' not in stories] == []
    for command in (["check", "rules", "--lint=all", "--lint-fatal", str(RULES)], ["test", "rules", str(STORIES)]):
        done = subprocess.run([str(extras.program("promtool")), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    record_property("alerts tested by promtool, with their for", len(rules))


@pytest.mark.extras("grafana")
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"panel": []}, "unexpected field 'panel'"),
        (
            {"panels": [{"type": "stat", "targets": [{"datasource": PROMETHEUS, "exp": "up"}]}]},
            "unexpected field 'exp'",
        ),
    ],
    ids=["as it is", "with a field that there is not", "with a query that is none"],
)
def test_the_schema_of_grafana_takes_the_dashboard(
    change: dict[str, object], fault: str, record_property: Callable[[str, object], None]
) -> None:
    board = json.loads(BOARD.read_text())
    done = subprocess.run(
        [str(extras.program("grafana"))], input=json.dumps(board | change), capture_output=True, text=True, check=False
    )
    assert fault in done.stderr
    assert (done.returncode != 0) == bool(fault), done.stderr
    if not fault:
        record_property(
            "panels that the schema of Grafana takes", sum(each["type"] != "row" for each in board["panels"])
        )
