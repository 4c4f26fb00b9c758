"""The pods of the new side: what speaks against its version, and what only changes its size."""

from collections.abc import Callable
from typing import Any

import pytest

from rolloutplan.engine.analysis.availability import baseline, restarted_too_often
from rolloutplan.engine.model.effects import Failure
from rolloutplan.engine.model.snapshot import Pods
from tests.situations import BACK, OLD_WEIGHTS, Case, P, baking, fresh, judging, m, pods, run, s, then, wait
from tests.world import Deployment, World


def sized(size: int, **more: Any) -> Callable[[], World]:
    """At 50 %, with a new side of so many pods."""
    return judging(stage="half", new=Deployment("v2", size, size, **more))


def long_bake() -> World:
    return fresh({"bake": "1h"})().until(P.BAKING)


def grown(before: int, after: int) -> Case:
    def slow(world: World) -> None:
        world.pods(wanted=after)
        world.advance(s(30))
        world.pods(ready=after)
        world.advance(s(30))

    return Case(f"an autoscaler makes {before} to {after}, and the pods are slow", sized(before), slow, P.JUDGING)


SIZES = [
    grown(1, 4),
    grown(2, 6),
    grown(4, 10),
    Case("in the bake too", baking, then(pods(wanted=12), wait(m(1)), pods(ready=12), wait(s(20))), P.BAKING, "", []),
    Case("added pods that never come up hold the next weight, and say why", sized(4),
         then(pods(wanted=10, away="Unschedulable: full", worst="Unschedulable: full"), wait(m(12))), P.HELD,
         "Capacity", ["StageProved", "Held"], "only 4 are available: Unschedulable: full"),
    Case("added pods that fail by themselves for longer than readyWithin", long_bake,
         then(pods(wanted=12, failed="ImagePullBackOff", worst="ImagePullBackOff"), wait(m(6))), P.ROLLED_BACK,
         "NewSideShort", BACK, "only 4 of 12 pods of v2 are ready, for 10s: ImagePullBackOff", OLD_WEIGHTS),
    Case("added pods that find no node do not, however long", long_bake,
         then(pods(wanted=12, away="Unschedulable", worst="Unschedulable"), wait(m(12))), P.BAKING, "", []),
    Case("ready pods that are lost while it grows speak against it", sized(4),
         then(pods(wanted=10), wait(s(20)), pods(ready=1, failed="OOMKilled"), wait(s(10))), P.ROLLED_BACK,
         "NewSideShort", BACK, "only 1 of 4 pods of v2 are ready, for 10s", OLD_WEIGHTS),
    Case("those that came up since count too", sized(1),
         then(pods(wanted=4), wait(s(9)), pods(ready=4), wait(s(5)), pods(ready=1), wait(s(10))), P.ROLLED_BACK,
         "NewSideShort", BACK, "only 1 of 4 pods", OLD_WEIGHTS),
    Case("a scale-down is no loss", long_bake,
         then(pods(wanted=2), wait(s(1)), pods(ready=2), wait(s(20)), pods(wanted=1, ready=1), wait(s(20))), P.BAKING,
         "", []),
    Case("what grows again after it was made smaller gets its time again", long_bake,
         then(pods(wanted=1, ready=1), wait(s(5)), pods(wanted=4), wait(s(40))), P.BAKING, "", []),
    Case("made smaller and at once larger again, before a pod was removed", long_bake,
         then(pods(wanted=1), wait(s(1)), pods(ready=1), wait(s(1)), pods(wanted=4), wait(s(40))), P.BAKING, "", []),
    Case("a rolling surge", sized(4), then(pods(wanted=4, ready=3, outdated=2), wait(s(20)),
         pods(ready=4, outdated=0), wait(s(5))), P.JUDGING, "", []),
]  # fmt: skip


@pytest.mark.parametrize("case", SIZES, ids=lambda case: case.promise)
def test_only_pods_that_were_ready_and_are_not_any_more_speak_against_a_version(case: Case) -> None:
    run(case)


COLD = Deployment("v2", 2, 2, available=0)
STARTS = [
    Case("ready is not available: no weight before minReadySeconds are over", fresh(new=COLD), wait(m(2)), P.EXPANDING,
         "", ["Started"], "it waits: 0 of 2 pods of v2 are available", OLD_WEIGHTS),
    Case("available pods get traffic", fresh(new=COLD), then(wait(m(2)), pods(available=2), wait(s(5))), P.JUDGING),
    Case("never available: it ends in time", fresh(new=COLD), wait(m(6)), P.ROLLED_BACK, "NewSideNotReady",
         None, "0 of 2 pods of v2 are available within 5m", OLD_WEIGHTS),
    Case("added pods that are only ready carry nothing yet", sized(2), then(pods(available=1), wait(m(3))), P.HELD,
         "Capacity", ["StageProved", "Held"], "needs 2 available pods of v2, only 1 are available"),
    Case("pods that are refused: the words come at once",
         fresh(new=Deployment("v2", 4, 1, settled=False, hindered="FailedCreate: exceeded quota")), wait(s(10)),
         P.EXPANDING, "", None, "1 of 4 pods of v2 are available: FailedCreate: exceeded quota"),
    Case("a paused Deployment whose pods are of the former template",
         fresh(new=Deployment("v2", settled=False, outdated=4, hindered="the Deployment is paused")), wait(s(10)),
         P.EXPANDING, "", None, "4 pods of v2 are not of its newest template: the Deployment is paused"),
    Case("and it says so when it ends",
         fresh(new=Deployment("v2", settled=False, outdated=4, hindered="the Deployment is paused")), wait(m(6)),
         P.ROLLED_BACK, "NewSideNotReady", None, "not of its newest template: the Deployment is paused within 5m"),
    Case("pods that are being replaced get no more traffic before that is done", sized(4),
         then(pods(outdated=2), wait(m(2))), P.HELD, "Capacity", None, "2 pods of v2 are still of its former template"),
]  # fmt: skip


@pytest.mark.parametrize("case", STARTS, ids=lambda case: case.promise)
def test_traffic_goes_to_available_pods_of_the_newest_template_only(case: Case) -> None:
    run(case)


@pytest.mark.parametrize(
    ("before", "after", "wanted", "words"),
    [
        ({}, {"a": 3}, 1, ""),
        ({}, {"a": 4}, 1, "restarted 4 times, 3 are allowed"),
        ({}, {"a": 2, "b": 2}, 4, "restarted 4 times, 3 are allowed"),
        # a node under four of twenty pods
        ({}, {str(i): int(i < 4) for i in range(20)}, 20, ""),
        ({}, {"a": 4, **{str(i): 0 for i in range(19)}}, 20, "restarted 4 times in one pod, 3 are allowed"),
        ({}, {str(i): 1 for i in range(20)}, 20, "restarted 20 times, 15 are allowed"),
        # what stood before does not count; nor does it for pods that came since
        ({"a": 100}, {"a": 103}, 4, ""),
        ({"a": 100}, {"a": 104}, 4, "restarted 4 times"),
        ({"a": 100}, {"b": 60, "c": 0, "d": 0, "e": 0}, 4, "restarted 60 times"),
        ({"a": 100}, {"a": 0}, 4, ""),
        ({}, {}, 0, ""),
    ],
)
def test_restarts_count_for_each_pod_and_for_all_by_their_number(
    before: dict[str, int], after: dict[str, int], wanted: int, words: str
) -> None:
    found = restarted_too_often(baseline(Pods(before)), Pods(after), wanted, 3)
    assert words in found
    assert bool(words) is bool(found)


def test_the_baseline_keeps_the_pods_with_most_restarts() -> None:
    kept = baseline(Pods({f"{i:03}": i for i in range(300)}))
    assert len(kept) == 200
    assert (kept[0].restarts, kept[-1].restarts) == (299, 100)


RESTARTS = [
    Case("pods replaced after many restarts, then a crash loop", judging(new=Deployment("v2", restarts=100)),
         then(pods(restarts=0, crashes={"second": 3}), wait(s(5)), pods(crashes={"second": 4})), P.ROLLED_BACK,
         "NewSideRestarting", BACK, "restarted 4 times", OLD_WEIGHTS),
    Case("a node under four of twenty pods", judging(new=Deployment("v2", 20, 20)),
         pods(crashes={str(i): int(i < 4) for i in range(19)}), P.JUDGING, "", []),
    Case("a pod that was never ready crashes: its Deployment does not change", judging(),
         then(pods(wanted=5), wait(s(5)), lambda world: setattr(world.new, "crashes", {"fifth": 9}), wait(s(10))),
         P.ROLLED_BACK, "NewSideRestarting", BACK, "restarted 9 times"),
]  # fmt: skip


@pytest.mark.parametrize("case", RESTARTS, ids=lambda case: case.promise)
def test_a_side_that_restarts_too_often_goes_back(case: Case) -> None:
    run(case)


def test_restarts_that_could_not_be_read_when_the_pods_changed_are_read_later() -> None:
    """All pods are available again, so nothing changes the Deployment any more."""
    world = judging()()
    world.refuses = {"pods": Failure(500, "InternalError", "etcd has no leader")}
    world.pods(restarts=4)
    world.advance(s(20))
    world.refuses = {}
    world.advance(m(1))
    assert world.phase is P.ROLLED_BACK
