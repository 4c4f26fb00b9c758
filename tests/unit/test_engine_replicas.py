"""Replicas: the share is the ratio of ready pods behind one Service, and there are never too few of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import REVERT, SEQ, EndpointsView, ServiceView
from tests.behind import Behind
from tests.world import World, crash

S = timedelta(seconds=1)


def slowly(world: Behind, *, every: timedelta = 10 * S, limit: timedelta = timedelta(minutes=30)) -> Iterator[Behind]:
    """Let one pod of each side become ready every so often, and look at what is there before and after that."""
    world.pods_start, end = False, world.now + limit
    while world.now < end:
        world.settle()
        yield world
        world.start(1)
        yield world
        world.advance(every)


def test_a_rollout_moves_pods_and_keeps_their_number() -> None:
    world = Behind()
    sizes = []
    for stage in ("w10", "w50", "w100"):
        world.until(Phase.JUDGING, stage=stage)
        sizes.append(world.sizes)
    assert sizes == [(9, 1), (5, 5), (0, 10)]
    world.until(Phase.SUCCEEDED)
    assert world.sizes == (0, 10)


def test_no_pod_is_taken_away_before_another_is_ready_in_its_place() -> None:
    world = Behind()
    for _ in slowly(world):
        assert world.ready() >= 10
        if world.phase is Phase.SUCCEEDED:
            break
    assert world.sizes == (0, 10)


def test_a_larger_size_is_written_before_a_smaller_one() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert isinstance(world, Behind)
    written = [(each.name, each.after) for each in world.resized]
    assert written == [("v2", 1), ("v1", 9), ("v2", 5), ("v1", 5)]


def test_a_failure_at_half_takes_all_pods_of_the_new_side_away_at_once() -> None:
    """Half of the pods can carry a rollback, as availability.old says."""
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert isinstance(world, Behind)
    world.pods_start = False
    world.says["errors"] = 0.5
    before = len(world.resized)
    world.until(Phase.ROLLING_BACK)
    assert [(each.name, each.after) for each in world.resized[before:]] == [("v1", 10), ("v2", 0)]
    world.start()
    world.until(Phase.ROLLED_BACK)
    assert world.sizes == (10, 0)
    assert not world.routes["shop"]["metadata"]["annotations"].get(REVERT)


def test_a_failure_at_full_weight_goes_back_pod_by_pod() -> None:
    world = Behind().until(Phase.JUDGING, stage="w100")
    assert isinstance(world, Behind)
    world.pods_start = False
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK)
    assert world.sizes == (10, 10), "the old side is asked for first"
    seen = []
    for _ in slowly(world):
        seen.append(world.sizes)
        assert world.ready() >= 10 or world.sizes == (10, 0)
        if world.phase is Phase.ROLLED_BACK:
            break
    assert seen[-1] == (10, 0)
    assert (10, 8) in seen, "the new side falls with the pods that are ready in its place"
    assert (10, 5) not in seen, "half of the old pods can carry all"


def test_a_rollback_whose_pods_do_not_start_leaves_those_that_answer() -> None:
    world = Behind().until(Phase.JUDGING, stage="w100")
    assert isinstance(world, Behind) and world.old is not None
    world.pods_start = False
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK)
    world.old = replace(world.old, hindered="FailedCreate: exceeded quota")
    world.advance(timedelta(minutes=10))
    assert (world.phase, world.sizes) == (Phase.ROLLING_BACK, (10, 10))
    assert "10/10" in world.status.message


def test_pods_that_never_start_end_the_run_with_their_reason() -> None:
    world = Behind(pods_start=False)
    world.until(Phase.SHIFTING)
    assert world.new is not None
    world.new = replace(world.new, hindered="FailedCreate: exceeded quota")
    world.until(Phase.ROLLED_BACK)
    assert world.sizes == (10, 0)
    assert "10% was not accepted within 2m: Replicas shop: 0 of 1 pods of v2 are ready" in world.status.failed
    assert "exceeded quota" in world.status.failed


@pytest.mark.parametrize("point", ["route", "resize", "routed", "recorded"])
@pytest.mark.parametrize("stage", ["w10", "w100"])
def test_an_operator_that_dies_on_the_way_leaves_no_pod_too_few(point: str, stage: str) -> None:
    world = Behind()
    if stage != "w10":
        world.until(Phase.JUDGING, stage="w50")
    world.interrupted(point)
    for _ in slowly(world):
        assert world.ready() >= 10
        if world.phase is Phase.SUCCEEDED:
            break
    assert world.sizes == (0, 10)


def test_a_rollback_that_was_interrupted_between_both_sizes_goes_on() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert isinstance(world, Behind)
    world.says["errors"] = 0.5

    def second(each: World) -> None:
        each.traps["resize"] = crash

    world.traps["resize"] = second
    world.until(Phase.ROLLED_BACK)
    assert world.epoch == 2
    assert world.sizes == (10, 0)
    assert "Interrupted" in world.told() or "RollbackStarted" in world.told()


def test_the_undo_command_scales_both_deployments_the_old_one_first() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert world.status.revert == (
        "kubectl scale deployment/v1 -n ns --replicas=10 && kubectl scale deployment/v2 -n ns --replicas=0"
    )
    assert world.routes["shop"]["metadata"]["annotations"][REVERT] == world.status.revert
    assert world.routes["shop"]["metadata"]["annotations"][SEQ]


def test_pods_that_somebody_adds_to_the_old_side_hold_the_run() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert world.old is not None
    world.old = replace(world.old, wanted=12, ready=12, sized_by="kubectl-scale (Update)")
    world.until(Phase.HELD)
    assert world.status.held_for == "Conflict"
    assert "Replicas shop rule 0 has weights 12/5, not 5/5, last changed by kubectl-scale" in world.status.message


def test_pods_that_somebody_takes_from_the_old_side_are_asked_for_again() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert isinstance(world, Behind) and world.old is not None
    world.old = replace(world.old, wanted=2, ready=2)
    world.advance(10 * S)
    assert (world.phase, world.sizes) == (Phase.JUDGING, (5, 5))


def test_a_share_that_no_number_of_pods_has_is_refused_before_the_run() -> None:
    world = Behind()
    world.edit({"stages": [{"weights": ["5%", "100%"], "soak": "2m", "deadline": "10m"}]})
    world.until(Phase.INVALID)
    assert "Replicas shop rule 0: its weights cannot give v2 the 5% of stage w5" in world.status.message
    assert "the finest step is 10%" in world.status.message
    assert world.sizes == (10, 0)


def test_an_autoscaler_of_a_side_is_refused_before_the_run() -> None:
    world = Behind(scaled_by="HorizontalPodAutoscaler by-load")
    world.until(Phase.INVALID)
    assert world.status.reason == "Autoscaled"
    assert world.status.message.startswith(
        "HorizontalPodAutoscaler by-load sets the number of pods of Deployment ns/v2"
    )
    assert world.sizes == (10, 0)


def test_a_service_that_selects_one_side_alone_is_refused() -> None:
    world = Behind()
    world.selects["shop"] = ServiceView(frozenset({("app", "v1")}))
    world.until(Phase.INVALID)
    assert "the pods of Deployment v2 do not have these labels" in world.status.message


def test_endpoints_of_a_third_deployment_are_refused() -> None:
    world = Behind()
    world.served["shop"] = EndpointsView((("v1", 10), ("worker", 2)))
    world.until(Phase.INVALID)
    assert "also sends to pods of worker" in world.status.message


def test_a_success_is_reverted_from_no_pods_of_the_old_side() -> None:
    world = Behind().until(Phase.SUCCEEDED)
    assert isinstance(world, Behind)
    world.say("revert 1")
    for _ in slowly(world):
        assert world.ready() >= 10 or world.sizes == (10, 0)
        if world.phase is Phase.ROLLED_BACK:
            break
    assert world.sizes == (10, 0)


def test_a_plan_that_is_deleted_in_a_run_puts_the_pods_back() -> None:
    world = Behind().until(Phase.JUDGING, stage="w50")
    assert isinstance(world, Behind)
    world.delete()
    world.advance(timedelta(minutes=2))
    assert world.gone
    assert world.sizes == (10, 0)
