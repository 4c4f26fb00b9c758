"""Traffic goes to a new side that stands, and not in the moment in which it begins to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.decide import decide
from tests.world import World, after


@pytest.mark.parametrize(
    ("stood", "phase"),
    [
        (timedelta(seconds=0), Phase.EXPANDING),
        (timedelta(seconds=1.9), Phase.EXPANDING),
        (timedelta(seconds=2), Phase.SHIFTING),
        (timedelta(hours=1), Phase.SHIFTING),
        (timedelta(hours=-1), Phase.SHIFTING),
    ],
    ids=str,
)
def test_the_first_weight_waits_for_gateways_to_hear_of_the_pods(stood: timedelta, phase: Phase) -> None:
    world = World()
    while world.phase is not Phase.EXPANDING:
        world.turn()
    snapshot = world.snapshot()
    assert snapshot.new is not None
    step = decide(replace(snapshot, new=replace(snapshot.new, ready_since=snapshot.now - stood)))
    assert after(snapshot, step).phase is phase
    assert phase is Phase.SHIFTING or step.wake_at == snapshot.now - stood + timedelta(seconds=2)
