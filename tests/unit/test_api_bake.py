"""Both forms of `bake`: what they mean, and that the old one is to a run what it was before there was another."""

from typing import Any

import pytest

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.spec_digest import changes, is_allowed_edit, spec_digest
from tests.refusals import PLAN, changed

BEFORE = {"30m": "6aa1dca377c6ac53", "0s": "60e80e947dd27721"}
"""The hashes of the plan with such a bake, by the version that had no other form."""


def plan(bake: object, **more: Any) -> PlanSpec:
    return read_plan_spec(changed(PLAN, {"bake": bake, **more}))


def weights(spec: PlanSpec) -> dict[str, str]:
    return {step.name: format_weight(step.permille) for step in spec.steps()}


@pytest.mark.parametrize("bake", BEFORE)
def test_a_plan_of_the_old_form_has_the_hash_and_the_steps_that_it_had(bake: str) -> None:
    for form in (bake, {"for": bake}):
        spec = plan(form)
        assert spec.plan_hash() == BEFORE[bake]
        assert weights(spec) == {"canary": "5%", "ramp-w10": "10%", "ramp-w50": "50%", "w100": "100%"}
        assert (spec.holdback, spec.bake_step) == (0, spec.steps()[-1])
        assert spec.model_dump(mode="json")["bake"] == bake
        assert "holdback" not in {part.name for part in spec_digest(spec)}


@pytest.mark.parametrize(
    ("stages", "steps"),
    [
        ([{"weights": ["5%", "100%"]}], {"w5": "5%", "w99": "99%", "w100": "100%"}),
        ([{"weight": "100%"}], {"w99": "99%", "w100": "100%"}),
        ([{"name": "all", "weight": "100%"}], {"all": "99%", "all-w100": "100%"}),
        ([{"name": "up", "weights": ["98.9%", "100%"]}], {"up-w98-9": "98.9%", "up-w99": "99%", "up-w100": "100%"}),
    ],
)
def test_a_control_group_makes_two_steps_of_the_last_one(stages: list[Any], steps: dict[str, str]) -> None:
    spec = plan({"for": "30m", "holdback": "1%"}, stages=stages, guards=PLAN["guards"])
    assert weights(spec) == steps
    assert (format_weight(spec.bake_step.permille), spec.bake_step.held_back) == ("99%", 10)
    *earlier, last = spec.steps()
    assert last.completes
    assert not any(step.completes for step in earlier)
    assert (last.soak, last.pass_, last.fail, last.warn) == (spec.traffic.drain, (), (), ())
    assert {name for step in spec.steps() for name in spec.entries(step)} <= {"w5", "w100", "all", "up"}


def test_a_control_group_is_another_plan_and_so_is_another_one() -> None:
    forms = ["30m", {"for": "30m", "holdback": "1%"}, {"for": "30m", "holdback": "2%"}, {"for": "1h", "holdback": "1%"}]
    assert len({plan(form).plan_hash() for form in forms}) == len(forms)
    assert plan(forms[1]).plan_hash() == plan({"for": "0.5h", "holdback": "1.0%"}).plan_hash()


@pytest.mark.parametrize(("begun", "allowed"), [(3, True), (4, False)])
def test_it_may_be_edited_until_the_last_stage_has_begun(begun: int, allowed: bool) -> None:
    with_, without = spec_digest(plan({"for": "30m", "holdback": "1%"})), spec_digest(plan("30m"))
    assert changes(without, with_) == {
        "stage w100": "100% -> left out",
        "holdback": "left out -> 1%",
        "stage w99": "left out -> 99%",
    }
    assert is_allowed_edit(without, with_, begun) is is_allowed_edit(with_, without, begun) is allowed


def test_how_long_it_lasts_may_be_edited_at_any_time() -> None:
    one, other = (spec_digest(plan({"for": long, "holdback": "1%"})) for long in ("30m", "1h"))
    assert changes(one, other) == {"bake": "30m -> 1h"}
    assert is_allowed_edit(one, other, 5)
