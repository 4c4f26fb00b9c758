"""What an edit of a plan changes, field by field, and what becomes of its run."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.policy import read_policy
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.spec_digest import spec_digest
from rolloutplan.api.status import Status, read_status
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.tools.edit import Other, conflicts, differences, held_by, locked_stages, merge_patch, run_effect
from tests.refusals import PLAN

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
SPEC: dict[str, Any] = {
    **PLAN,
    "stages": [
        {"name": "canary", "weight": "5%"},
        {"name": "half", "weight": "50%"},
        {"name": "all", "weight": "100%"},
    ],
}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"bake": "1h"}, {"bake": "2h"}, ['spec.bake: "1h" becomes "2h"']),
        ({}, {"bake": "2h"}, ['spec.bake: "2h" is added']),
        ({"old": {"a": 1, "b": 2}}, {"old": {"a": 1}}, ["spec.old.b: 2 is removed"]),
        ({"bake": "1h"}, {"bake": {"for": "1h"}}, ['spec.bake: "1h" becomes {for: 1h}']),
        (
            {"stages": [{"weight": 5}]},
            {"stages": [{"weight": 6}]},
            ["spec.stages: [{weight: 5}] becomes [{weight: 6}]"],
        ),
        (
            {"guards": [{"name": "a", "is": "> 1"}, {"name": "b", "is": "> 2"}]},
            {"guards": [{"name": "b", "is": "> 3"}, {"name": "c", "is": "> 1"}]},
            [
                "spec.guards[a]: {name: a, is: > 1} is removed",
                'spec.guards[b].is: "> 2" becomes "> 3"',
                "spec.guards[c]: {name: c, is: > 1} is added",
            ],
        ),
    ],
)
def test_each_field_is_told_in_plain_words(before: Any, after: Any, words: list[str]) -> None:
    told = [each.words.replace('"> 1"}', "> 1}") for each in differences(before, after, "spec")]
    assert told == words
    assert list(differences(before, deepcopy(before), "spec")) == []


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def patched(value: Any, patch: Any) -> Any:
    """A JSON merge patch, as RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    value = dict(value) if isinstance(value, dict) else {}
    for key, new in patch.items():
        if new is None:
            value.pop(key, None)
        else:
            value[key] = patched(value.get(key), new)
    return value


@given(*(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3) for _ in range(2)))
def test_a_merge_patch_leads_from_one_value_to_the_other(before: Any, after: Any) -> None:
    assert patched(before, merge_patch(before, after)) == after
    assert merge_patch(after, after) == {}


# ---- the run ---------------------------------------------------------------------------------------------------------


def spec(**changed: Any) -> PlanSpec:
    return read_plan_spec({**SPEC, **changed})


def status(phase: str, **known: Any) -> Status:
    """A run of SPEC, at its first stage."""
    begun = spec()
    parts = [part.to_raw() for part in spec_digest(begun)]
    raw = {"phase": phase, "run": 3, "planHash": begun.plan_hash(), "specDigest": parts, "weights": {"desired": "5%"}}
    return read_status(raw | {"stage": {"name": "canary", "index": 0}, "lockedStages": ["canary"]} | known)


LATER = spec(stages=[SPEC["stages"][0], {"name": "half", "weight": "40%"}, SPEC["stages"][2]])
OTHER = spec(hypothesis="it is faster", new={"deployment": "checkout-v3"})


@pytest.mark.parametrize(
    ("now", "after", "words", "begins"),
    [
        (Status(), spec(), "run 1 begins: ", True),
        (status("Invalid"), OTHER, "as soon as nothing stands against it", True),
        (status("Succeeded"), spec(), "its meaning stays the same: run 3 is over, and none follows", False),
        (status("Succeeded"), OTHER, "run 4 begins: ", True),
        (status("RolledBack"), OTHER, "run 4 begins: ", True),
        (status("Judging"), spec(), "its meaning stays the same: run 3 goes on as it is", False),
        (status("Judging"), LATER, "run 3 goes on with the edit (Adapt)", False),
        (status("Contracting"), spec(bake="2h"), "run 3 goes on with the edit (Adapt)", False),
        (
            status("Judging"),
            OTHER,
            "run 3 is superseded: the old weights are restored first (now 5%), then run 4",
            True,
        ),
        (status("Expanding"), OTHER, "run 3 has moved no weight yet, and begins again with the edit", True),
        (status("RollingBack"), LATER, "run 3 comes to its end first (RollingBack), then run 4 begins", True),
    ],
)
def test_what_becomes_of_the_run(now: Status, after: PlanSpec, words: str, begins: bool) -> None:
    found = run_effect(now, after)
    assert words in found.words
    assert found.begins == begins


def test_a_stage_that_has_started_is_named_where_an_edit_touches_it() -> None:
    first, *others = SPEC["stages"]
    assert locked_stages(status("Judging"), spec(), LATER) == []
    assert locked_stages(status("Judging"), spec(), spec(stages=[{**first, "soak": "7m"}, *others])) == ["canary"]
    assert locked_stages(status("Judging"), spec(), spec(stages=others)) == ["canary"]


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("Judging", "this one waits for the end of its run 3 (Judging)"),
        ("Pending", "has not begun (Pending): one waits for the other"),
        ("Succeeded", None),
        ("RolledBack", None),
    ],
)
def test_plans_on_the_same_route_wait_for_each_other(phase: str, words: str | None) -> None:
    told = list(conflicts(spec(), [Other("cart-v7", OTHER, status(phase))]))
    assert [words in each for each in told] == [True] * (words is not None) if words else told == []
    owned = spec(traffic={**SPEC["traffic"], "ownership": "Owned"})
    assert list(conflicts(owned, [Other("cart-v7", OTHER, status(phase))])) == told, "whichever route has the traffic"
    elsewhere = spec(traffic={"routes": [{"kind": "HTTPRoute", "name": "elsewhere"}]})
    assert list(conflicts(spec(), [Other("cart-v7", elsewhere, status(phase))])) == []


def test_policies_that_hold_the_run_are_named() -> None:
    frozen = PolicyView("frost", read_policy({"freeze": {"now": "the end of the year"}}))
    asking = PolicyView("asking", read_policy({"require": {"approvals": ["Last"]}}))
    broken = PolicyView("broken", None, "no")
    assert list(held_by([frozen, asking], spec(), "a demand", NOW)) == [
        "no weight rises: policy frost: the end of the year",
        "no weight rises: a demand",
        "policy asking asks for a person's approval before all",
    ]
    assert "policy broken is invalid" in next(held_by([broken], spec(), "", NOW))
    assert list(held_by([], spec(), "", NOW)) == []
