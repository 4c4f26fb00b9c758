"""A plan that is too large does not start; one that becomes so during its run is held, and goes back when told to."""

import pytest

from rolloutplan.api.limits import KIB
from rolloutplan.api.status import Phase
from tests.world import PLAN, World

JOB = {"template": {"spec": {"template": {"spec": {"serviceAccountName": "jobs"}, "x": "y" * 200 * KIB}}}}
TOO_LARGE = {"assumptions": [{"name": "a", "belief": "b", "impact": 1, "uncertainty": 1, "job": JOB}]}


def test_a_plan_that_is_too_large_is_invalid_and_says_the_limit() -> None:
    world = World(spec=PLAN | TOO_LARGE)
    world.settle()
    assert (world.phase, world.status.reason) == (Phase.INVALID, "TooLarge")
    assert "write at most 128 KiB" in world.status.message


def test_an_edit_that_makes_a_run_too_large_holds_it_on_its_last_valid_version() -> None:
    world = World().until(Phase.JUDGING)
    before = world.weights()
    world.edit(TOO_LARGE)
    world.settle()
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Invalid")
    assert world.weights() == before
    assert world.status.predicates, "the guards stay on"


@pytest.mark.parametrize("way", ["abort a", "delete"])
def test_a_run_that_became_too_large_still_goes_back(way: str) -> None:
    world = World().until(Phase.JUDGING)
    world.edit(TOO_LARGE)
    world.settle()
    if way == "delete":
        world.delete()
    else:
        world.say(way)
    world.settle()
    assert world.gone if way == "delete" else world.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    assert dict(world.weights()[0])["v2"] == 0
