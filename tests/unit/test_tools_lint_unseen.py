"""Kinds of faults that a plan stops looking for at 100 %: each is named, though something else acts there."""

from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.lint.unseen import lint_unseen
from tests.refusals import changed
from tests.world import PLAN

SIDE = 'd="$deployment"'
FAILED = f'sum(rate(all_total{{{SIDE},code=~"5.."}}[$window])) / sum(rate(all_total{{{SIDE}}}[$window]))'
P99 = f"histogram_quantile(0.99, sum by (le) (rate(took_seconds_bucket{{{SIDE}}}[$window])))"
COUNTS = {"bad": f'all_total{{{SIDE},code=~"5.."}}', "total": f"all_total{{{SIDE}}}"}
SLOW = {"histogram": f"took_seconds{{{SIDE}}}", "slowerThan": "500ms"}
FAILURES: dict[str, Any] = {"name": "failures", "query": FAILED, "is": "> 1%"}
MORE_FAILURES: dict[str, Any] = {"name": "more-failures", "events": COUNTS, "vsOld": "> 1.5x"}
LATENCY: dict[str, Any] = {"name": "latency", "query": P99, "is": "> 0.8"}
SLOWER: dict[str, Any] = {"name": "slower", "events": SLOW, "vsOld": "> 1.5x"}
ALERT: dict[str, Any] = {"name": "page", "alert": {"matchers": f'severity="page",{SIDE}'}}
QUEUE: dict[str, Any] = {"name": "queue", "query": f"max(queue_length{{{SIDE}}})", "is": "> 9"}
LONGER_QUEUE = {"name": "longer", "query": f"max(queue_length{{{SIDE}}})", "vsOld": "> 2x"}


@pytest.mark.parametrize(
    ("guards", "unseen"),
    [
        ([FAILURES, MORE_FAILURES], []),
        ([LATENCY, SLOWER], []),
        ([LATENCY, MORE_FAILURES], ["failures"]),
        ([FAILURES, SLOWER], ["latency"]),
        ([QUEUE, MORE_FAILURES, SLOWER], ["failures", "latency"]),
        ([LATENCY, {**MORE_FAILURES, "dryRun": True}], []),
        ([{**FAILURES, "dryRun": True}, LATENCY, MORE_FAILURES], ["failures"]),
        ([LATENCY, ALERT, MORE_FAILURES], []),  # an alert may be about anything
        ([LATENCY, LONGER_QUEUE], []),  # and nobody knows what this is
        ([MORE_FAILURES, SLOWER], []),  # nothing acts at all: `unguarded` says so
    ],
)
def test_what_is_only_compared_goes_unseen_at_full_weight(guards: list[dict[str, Any]], unseen: list[str]) -> None:
    found = list(lint_unseen(read_plan_spec(changed(PLAN, {"guards": guards}))))
    assert [each.words.partition(" nothing looks for ")[2].partition(":")[0] for each in found] == unseen
    assert all(each.severity == "warning" for each in found)


@pytest.mark.parametrize(
    "edit", [{"bake": {"for": "5m", "holdback": "1%"}}, {"stages[2].weight": "80%", "stopAt": "80%"}]
)
def test_where_the_old_side_keeps_traffic_a_comparison_sees(edit: dict[str, Any]) -> None:
    spec = changed(PLAN, {"guards": [LATENCY, MORE_FAILURES], **edit})
    assert list(lint_unseen(read_plan_spec(spec))) == []


def test_a_pass_predicate_of_the_last_stage_sees_where_there_is_no_bake() -> None:
    stages = {"stages[2].pass": [FAILURES], "guards": [LATENCY, MORE_FAILURES]}
    assert list(lint_unseen(read_plan_spec(changed(PLAN, {**stages, "bake": "0s"})))) == []
    (found,) = lint_unseen(read_plan_spec(changed(PLAN, {**stages, "bake": "5m"})))
    assert found.words == (
        "at 100% and in the bake nothing looks for failures: more-failures compares with the old side (vsOld), which"
        " has no traffic left there, and what can act (latency) measures something else; add a guard on failures that"
        " compares the new side with a number (is), or keep some of the old side to compare with:"
        " bake: {for: 5m, holdback: 1%}"
    )
