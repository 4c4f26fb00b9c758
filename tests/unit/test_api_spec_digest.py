"""The outline of a plan: a line a part, by which an edit is told."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.spec_digest import changes, is_allowed_edit, spec_digest
from rolloutplan.api.status import SpecSection
from tests.refusals import GONE, changed
from tests.world import PLAN

BEFORE = spec_digest(read_plan_spec(PLAN))


def after(edits: dict[str, Any]) -> tuple[SpecSection, ...]:
    return spec_digest(read_plan_spec(changed(PLAN, edits)))


def test_a_stage_is_a_line_and_so_is_every_part_that_is_not_its_default() -> None:
    lines = {part.name: part.text for part in BEFORE}
    assert lines["old"] == '{"deployment": "v1"}'
    assert lines["bake"] == "5m"
    assert lines["stage all"] == "100% soak 2m deadline 10m"
    assert lines["stage canary"].startswith("5% soak 3m deadline 10m pass hits#")
    assert "onFail" not in lines


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({}, {}),
        ({"onFail": "Rollback"}, {}),
        ({"deletionPolicy": "Keep"}, {}),
        ({"owner": "team-checkout", "runbook": "https://wiki/checkout", "recordsKept": 5}, {}),
        ({"onFail": "Hold"}, {"onFail": "left out -> Hold"}),
        ({"bake": GONE}, {"bake": "5m -> left out"}),
        ({"hypothesis": "it is " + 60 * "x"}, {"hypothesis": "v2 answers more reads from its cache -> #63085591"}),
        (
            {"stages[1].weights": ["50%"], "stages[1].weight": GONE},
            {
                "stage half": "50% soak 2m deadline 10m -> left out",
                "stage half-w50": "left out -> 50% soak 2m deadline 10m",
            },
        ),
    ],
    ids=str,
)
def test_what_changed_is_told_as_it_was_and_as_it_is(edits: dict[str, Any], told: dict[str, str]) -> None:
    assert changes(BEFORE, after(edits)) == told


@pytest.mark.parametrize(
    ("edits", "started", "may"),
    [
        ({"stages[1].soak": "9m"}, 1, True),
        ({"stages[1].soak": "9m"}, 2, False),
        ({"stages[0].soak": "9m"}, 0, True),
        ({"stages[0].pass[0].is": "> 0.8"}, 1, False),
        ({"stages[1].name": "other"}, 1, True),
        ({"bake": "1m"}, 3, True),
        ({"contract": {"scaleOld": 0}}, 3, True),
        ({"interval": "5s"}, 0, False),
        ({"guards": GONE, "stages[1].fail": [{"name": "a", "query": "a", "is": "> 0"}],
          "stages[2].fail": [{"name": "b", "query": "b", "is": "> 0"}]}, 1, False),
        ({"metrics": {"source": "other"}}, 0, False),
        ({"traffic.drain": "9s"}, 0, False),
        ({"variables": {"a": "b"}}, 0, False),
        ({"availability.minReady": "60%"}, 0, False),
        ({"new.deployment": "v3"}, 0, False),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_run_has_begun_with_may_not_be_edited(edits: dict[str, Any], started: int, may: bool) -> None:
    assert is_allowed_edit(BEFORE, after(edits), started) is may


@pytest.mark.parametrize("user", ["guards", "stages[0].fail", "stages[0].warn", "stages[0].pass"])
def test_what_a_part_uses_of_another_belongs_to_it(user: str) -> None:
    late = {"name": "late", "query": "up", "is": "> 0"}
    plan = changed(PLAN, {user: [{"name": "early", "use": "late"}], "stages[2].fail": [late]})
    before = spec_digest(read_plan_spec(plan))
    edited = spec_digest(read_plan_spec(changed(plan, {"stages[2].fail[0].is": "> 1"})))
    part = "guards" if user == "guards" else "stage canary"
    assert set(changes(before, edited)) == {part, "stage all"}
    assert not is_allowed_edit(before, edited, 1)


def test_an_edit_of_a_run_that_kept_no_outline_is_none() -> None:
    assert not is_allowed_edit((), BEFORE, 0)
