"""The metrics of releases: each change is counted once, when its record says so, and no owner can make many series."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rolloutplan.api.record import DoraFigures, RecordSpec, RecordStatus, RolloutRecord, RunOutcome
from rolloutplan.telemetry.changes import MOST, MOST_OWNERS, ChangeMetrics

RUNNING, SUCCEEDED, BACK = RunOutcome.RUNNING, RunOutcome.SUCCEEDED, RunOutcome.ROLLED_BACK
LED = DoraFigures(lead_seconds=5400)
FAILED = DoraFigures(failed=True, restore_seconds=2.5, exposed_requests=120)


def record(outcome: RunOutcome, dora: DoraFigures | None, owner: str = "team-checkout") -> RolloutRecord:
    return RolloutRecord(spec=RecordSpec(owner=owner), status=RecordStatus(outcome=outcome, dora=dora))


def told(*steps: RolloutRecord | None) -> dict[str, float]:
    """The samples of one owner after a record was written in these states."""
    registry = CollectorRegistry()
    metrics = ChangeMetrics(registry)
    for before, after in pairwise(steps):
        assert after is not None
        metrics.count("shop", before, after)
    names = ("changes_total", "change_failures_total", "lead_seconds_sum", "restore_seconds_sum",
             "exposed_requests_total", "lead_seconds_count", "restore_seconds_count")  # fmt: skip
    labels = {"namespace": "shop", "owner": "team-checkout"}
    found = {name: registry.get_sample_value(f"rolloutplan_{name}", labels) for name in names}
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([None, record(RUNNING, DoraFigures())], {}),
        ([None, record(BACK, None)], {}),
        ([None, record(RunOutcome.ABANDONED, FAILED)], {}),
        ([None, record(RUNNING, DoraFigures()), record(SUCCEEDED, LED), record(SUCCEEDED, LED)],
         {"changes_total": 1, "lead_seconds_sum": 5400, "lead_seconds_count": 1}),
        ([record(RUNNING, FAILED), record(BACK, FAILED), record(BACK, FAILED)],
         {"changes_total": 1, "change_failures_total": 1, "restore_seconds_sum": 2.5, "restore_seconds_count": 1,
          "exposed_requests_total": 120}),
        ([record(RUNNING, LED), record(SUCCEEDED, LED), record(BACK, LED.model_copy(update={"failed": True}))],
         {"changes_total": 1, "change_failures_total": 1, "lead_seconds_sum": 5400, "lead_seconds_count": 1}),
        ([record(BACK, FAILED), record(BACK, FAILED)], {}),
    ],
    ids=["under way", "no traffic", "nobody knows its end", "a success", "a failure", "reverted later",
         "written again after a restart"],
)  # fmt: skip
def test_a_change_is_counted_once(steps: list[RolloutRecord | None], expected: dict[str, float]) -> None:
    assert told(*steps) == expected


def pairs(registry: CollectorRegistry) -> set[tuple[str, str]]:
    found = (sample.labels for family in registry.collect() for sample in family.samples)
    return {(labels["namespace"], labels["owner"]) for labels in found}


def test_many_owners_take_the_series_of_no_other_namespace() -> None:
    registry = CollectorRegistry()
    metrics = ChangeMetrics(registry)
    for number in range(500):
        metrics.count("flood", None, record(SUCCEEDED, LED, owner=f'o{number}"\n{{}}'))
    metrics.count("shop", None, record(SUCCEEDED, LED))
    assert len(pairs(registry)) == MOST_OWNERS + 2
    assert {("flood", "other"), ("shop", "team-checkout")} <= pairs(registry)
    assert registry.get_sample_value("rolloutplan_changes_total", {"namespace": "flood", "owner": "other"}) == (
        500 - MOST_OWNERS
    )


def test_of_many_namespaces_the_page_stays_small() -> None:
    registry = CollectorRegistry()
    metrics = ChangeMetrics(registry)
    for number in range(3 * MOST):
        metrics.count(f"ns-{number}", None, record(SUCCEEDED, LED))
    assert len(pairs(registry)) == MOST + 1
    assert ("other", "other") in pairs(registry)
    assert len(generate_latest(registry)) < 400_000
