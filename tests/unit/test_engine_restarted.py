"""A restart of the new side's pods, or a default that nobody wrote, is no other version: it is waited for.

A revision has three parts (cluster/revision.py): the whole template, it without marks of a restart, what was written.
"""

import pytest

from tests.situations import BACK, OLD_WEIGHTS, SHIFTED, Case, P, fresh, judging, m, pods, run, s, then, wait
from tests.world import Deployment, World

FIRST, RESTARTED, DEFAULTED, SECOND = "1.a.x", "2.a.x", "3.b.x", "4.c.y"
NEW = Deployment("v2", revision=FIRST)


def refuted() -> World:
    world = judging(new=NEW)()
    world.says["errors"] = 0.2
    world.until(P.ROLLED_BACK)
    world.says["errors"] = 0.0
    return world


def restarting(world: World) -> None:
    """The pods are replaced one after the other."""
    world.pods(revision=RESTARTED, settled=False, outdated=4)
    for left in range(3, -1, -1):
        world.advance(s(5))
        world.pods(outdated=left, ready=3)
        world.advance(s(5))
        world.pods(ready=4)
    world.pods(settled=True)


CASES = [
    Case("restarted in mid-stage", judging(stage="half", new=NEW), restarting, P.JUDGING),
    Case("restarted again and again", judging(stage="half", new=NEW),
         then(pods(revision=RESTARTED), wait(s(2)), pods(revision="9.a.x"), wait(s(2)), pods(revision=FIRST)),
         P.JUDGING, "", []),
    Case("the next weight waits until the restart is over", judging(stage="half", new=NEW),
         then(pods(revision=RESTARTED, settled=False, outdated=2), wait(m(5)), pods(settled=True, outdated=0)),
         P.JUDGING, "", ["StageProved", "Held", "Resumed", *SHIFTED]),
    Case("a refuted version that is restarted gets no traffic", refuted, then(restarting, wait(m(12))), P.ROLLED_BACK,
         "GuardTripped", [], "", OLD_WEIGHTS),
    Case("nor by a default that the API server begins to write", refuted, then(pods(revision=DEFAULTED), wait(m(12))),
         P.ROLLED_BACK, "GuardTripped", [], "", OLD_WEIGHTS),
    Case("such a default in mid-run", judging(new=NEW), then(pods(revision=DEFAULTED), wait(s(30))), P.JUDGING, "", []),
    Case("before the first weight", fresh(new=Deployment("v2", ready=1, revision=FIRST)),
         then(wait(s(20)), pods(revision=RESTARTED), wait(s(20)), pods(ready=4), wait(s(10))), P.JUDGING, "",
         ["Started", "NewSideReady", *SHIFTED]),
    Case("another version supersedes the run", judging(new=NEW), then(pods(revision=SECOND), wait(s(5))), P.JUDGING,
         "", [*BACK, "Started", "NewSideReady", *SHIFTED]),
    Case("and has its try after a rollback", refuted, then(pods(revision=SECOND), wait(s(5))), P.JUDGING, "",
         ["Started", "NewSideReady", *SHIFTED]),
    Case("what a former operator recorded is still the same version", judging(new=Deployment("v2", revision="1")),
         then(pods(revision=FIRST), wait(s(5))), P.JUDGING, "", []),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_only_another_version_is_another_hypothesis(case: Case) -> None:
    run(case)
