"""What follows from what: a situation, what happens in it, and what the plan says and does then.

Each row is a promise. The world begins with a healthy plan of three stages.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from rolloutplan.api.changes import change
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import RouteConflict
from rolloutplan.stats.verdict import Answer, Why
from tests.refusals import GONE
from tests.situations import (
    ALL,
    BACK,
    HALF,
    NAMESAKE,
    OLD_WEIGHTS,
    RIVAL,
    SHIFTED,
    UP,
    Case,
    P,
    Situation,
    assumption,
    baking,
    delete,
    drift,
    edit,
    expanding,
    fresh,
    held_blind,
    held_conflict,
    held_failed,
    ids,
    judging,
    m,
    phase_is,
    pods,
    put,
    reverting,
    rolled_back,
    run,
    s,
    same,
    say,
    says,
    settle,
    shifting,
    succeeded,
    then,
    trap,
    undecided,
    wait,
)
from tests.world import PLAN, SHOP, START, Deployment, World, crash, http_route, refuse

SLOW_GATEWAY = {"traffic.acceptedWithin": GONE}
"""A plan that leaves the time of its gateway to the default."""

INTENTS = [
    Case(
        "a weight that its gateway does not accept within 30 s goes back",
        shifting(lag=None), wait(s(60)), P.ROLLED_BACK, "RestoredNotAccepted", BACK, "5% was not accepted within 30s",
        OLD_WEIGHTS,
    ),
    Case(
        "without acceptedWithin a gateway has two minutes, and the guards are on meanwhile",
        fresh(SLOW_GATEWAY, lag=s(119)), wait(s(119)), P.JUDGING, "Soaking", None, "", {"v1": 95, "v2": 5},
    ),
    Case(
        "and then the weight goes back, with the field that would give it more",
        fresh(SLOW_GATEWAY, lag=m(9)), wait(s(121)), P.ROLLING_BACK, "WeightNotAccepted", None,
        "5% was not accepted within 2m: HTTPRoute shop", OLD_WEIGHTS,
    ),
    Case(
        "the old weights too have as long to be accepted",
        fresh(SLOW_GATEWAY, lag=m(3) + s(59)), wait(m(6)), P.ROLLED_BACK, "RestoredNotAccepted", None,
        "has not accepted it", OLD_WEIGHTS,
    ),
    Case(
        "a plan gives its gateway as long as it needs",
        fresh(SLOW_GATEWAY | {"traffic.acceptedWithin": "10m"}, lag=m(9)), wait(m(9)), P.JUDGING, "Soaking", None, "",
        {"v1": 95, "v2": 5},
    ),
    Case(
        "a weight that the gateway refuses waits no longer than 30 s, however slow the gateway may be",
        fresh(SLOW_GATEWAY, lag=m(9)), then(settle, put(refusal="UnsupportedValue", lag=s(0)), wait(s(31))),
        P.ROLLING_BACK, "", None,
        "5% was not accepted within 30s: HTTPRoute shop: UnsupportedValue", OLD_WEIGHTS,
    ),
    Case(
        "a guard rolls back while a slow gateway is waited for",
        fresh(SLOW_GATEWAY, lag=m(9)), then(wait(s(40)), says(errors=0.5), wait(s(60))), P.ROLLING_BACK,
        "GuardTripped", None, "", OLD_WEIGHTS,
    ),
    Case(
        "an operator that was away for longer than any gateway may take goes back",
        fresh(SLOW_GATEWAY, lag=m(60)), then(settle, lambda w: w.crash(), put(now=START + m(5)), settle),
        P.ROLLING_BACK, "WeightNotAccepted", None, "5% could not be judged within 5m", OLD_WEIGHTS,
    ),
    Case("before 30 s are over nothing is said", shifting(lag=None), wait(s(29.9)), P.SHIFTING, "Shifting", []),
    Case(
        "a weight that its gateway refuses goes back after 30 s, with the gateway's word",
        shifting(), then(put(refusal="UnsupportedValue", lag=s(0)), wait(s(60))), P.ROLLED_BACK, "", None,
        "UnsupportedValue", OLD_WEIGHTS,
    ),
    Case(
        "a weight that is accepted late is judged from then on",
        shifting(lag=s(29)), wait(s(29)), P.JUDGING, "Soaking", ["WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "killed between the intent and the weight: the weight is written after the restart",
        fresh(), trap(route=crash), P.JUDGING, "Soaking",
        ["Started", "NewSideReady", "StageStarted", "WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "killed after the weight was written: it is told once",
        fresh(), trap(routed=crash), P.JUDGING, "Soaking",
        ["Started", "NewSideReady", "StageStarted", "WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "a weight that cannot be written does not start a stage",
        fresh(), then(put(broken={"route"}), wait(s(20))), P.SHIFTING, "Shifting", None, "", OLD_WEIGHTS,
    ),
    Case(
        "no weight is written where the seal could not be",
        fresh(), then(put(broken={"record"}), wait(m(2))), P.PENDING, "", [], "", OLD_WEIGHTS,
    ),
    Case(
        "a rollback that cannot write goes on trying, and is done when it can",
        reverting(), then(wait(m(10)), put(broken=set()), wait(s(2))), P.ROLLED_BACK, "GuardTripped", ["RolledBack"],
        "", OLD_WEIGHTS,
    ),
    Case(
        "a rollback writes the weights though its record cannot be written",
        judging(), then(put(broken={"record"}), says(errors=0.2), wait(s(20)),
                        lambda w: same(w.weights()[0], OLD_WEIGHTS), put(broken=set()), wait(s(5))),
        P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS,
    ),
    Case(
        "neither its record nor its first attempt at the weights went through: the weights go back all the same",
        judging(), then(put(broken={"record"}), trap(route=refuse), says(errors=0.2), wait(s(20)),
                        lambda w: same(w.weights()[0], OLD_WEIGHTS), put(broken=set()), wait(s(5))),
        P.ROLLED_BACK, "GuardTripped", BACK, "", OLD_WEIGHTS,
    ),
    Case(
        "somebody moves the weights during a rollback: they go back again",
        reverting(), then(drift({"v1": 0, "v2": 100}), put(broken=set()), wait(s(2))), P.ROLLED_BACK, "GuardTripped",
        ["RolledBack"], "", OLD_WEIGHTS,
    ),
    Case(
        "the route is gone: there is nothing to put back, and it says so",
        reverting(), then(lambda w: w.routes.clear(), wait(s(40))), P.ROLLED_BACK, "GuardTripped", ["RolledBack"],
        "HTTPRoute shop is gone",
    ),
    Case(
        "old weights that no gateway accepts are not called accepted",
        judging(), then(put(lag=None), says(errors=0.2), wait(m(1))), P.ROLLED_BACK, "RestoredNotAccepted", BACK,
        "the gateway has not accepted it", OLD_WEIGHTS,
    ),
]  # fmt: skip

DELETIONS = [
    Case("a deletion during the run restores", judging(), delete, P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
    Case("a deletion in the bake restores", baking, delete, P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
    Case("a deletion while held restores", held_conflict, delete, P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS),
    Case("a deletion after onFail: Hold restores", held_failed, delete, P.ROLLED_BACK, "Deleted", BACK, "",
         OLD_WEIGHTS),
    Case("a deletion while shifting restores, whatever the gateway says", shifting(), delete, P.ROLLED_BACK, "", BACK,
         "deleted during the run", OLD_WEIGHTS),
    Case(
        "a deletion needs no spec that can be read",
        judging(), then(edit({"stages": []}), delete), P.ROLLED_BACK, "Deleted", None, "", OLD_WEIGHTS,
    ),
    Case(
        "a deletion needs neither pods nor source nor the old side",
        judging(), then(put(new=None, old=None, source=None), delete), P.ROLLED_BACK, "Deleted", BACK, "", OLD_WEIGHTS,
    ),
    Case("Keep leaves the weights", judging({"deletionPolicy": "Keep"}), delete, P.JUDGING, "", [], "",
         {"v1": 95, "v2": 5}),
    Case("after a success the weights stay", succeeded, delete, P.SUCCEEDED, "", [], "", {"v1": 0, "v2": 100}),
    Case("a plan that never moved a weight is let go", expanding, delete, P.EXPANDING, "", [], "", OLD_WEIGHTS),
    Case("a route that is gone holds up no deletion", judging(), then(lambda w: w.routes.clear(), delete), P.JUDGING),
    Case(
        "a deletion whose weights cannot be written is let go after a minute",
        judging(), then(put(broken={"route"}), delete, wait(m(1))), P.ROLLING_BACK, "Deleted",
    ),
]  # fmt: skip

SUPERSEDED = [
    Case(
        "another pod template during the run: the old weights first, then the next run",
        judging(), then(pods(revision="second"), lambda w: w.settle()), P.JUDGING, "",
        [*BACK, "Started", "NewSideReady", "StageStarted", "WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "another plan during the run: the old weights first, then the next run",
        judging(stage="half"), edit({"stages[1].weight": "40%"}), P.JUDGING, "",
        [*BACK, "Started", "NewSideReady", "StageStarted", "WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "another plan after onFail: Hold is another hypothesis: back first, then a new run",
        held_failed, then(says(errors=0.0), edit({"onFail": "Rollback"})), P.JUDGING, "",
        [*BACK, "Started", "NewSideReady", "StageStarted", "WeightShifted"], "", {"v1": 95, "v2": 5},
    ),
    Case(
        "another template before the first weight starts the run anew, and nothing is put back",
        expanding, pods(revision="second"), P.EXPANDING, "", ["Started"], "run 2", OLD_WEIGHTS,
    ),
    Case(
        "a finished plan stays finished, whatever the template becomes",
        succeeded, then(pods(revision="second"), wait(m(15))), P.SUCCEEDED, "Succeeded",
        ["UnjudgedChange"], "", {"v1": 0, "v2": 100},
    ),
    Case(
        "a finished plan starts again for another plan, if there is anything to try",
        succeeded, then(drift(OLD_WEIGHTS), edit({"bake": "1m"})), P.JUDGING, "", None, "", {"v1": 95, "v2": 5},
    ),
    Case(
        "a rolled-back plan does not start again for the same plan and template",
        rolled_back, then(lambda w: w.crash(), wait(timedelta(days=2))), P.ROLLED_BACK, "GuardTripped", [],
    ),
    Case("nor when what it does on deletion is changed", rolled_back, edit({"deletionPolicy": "Keep"}), P.ROLLED_BACK,
         "GuardTripped", []),
    Case("nor when a default is written out", rolled_back, edit({"onUndecided": "Hold"}), P.ROLLED_BACK, "GuardTripped",
         []),
    Case("a rolled-back plan starts for another template", rolled_back, pods(revision="second"), P.JUDGING, "Soaking",
         ["Started", "NewSideReady", "StageStarted", "WeightShifted"]),
    Case("a rolled-back plan starts for another plan", rolled_back, edit({"guards[0].is": "> 5%"}), P.JUDGING,
         "Soaking",
         ["Started", "NewSideReady", "StageStarted", "WeightShifted"]),
]  # fmt: skip

AVAILABILITY = [
    Case("none ready: back at once, with the pod's reason", judging(),
         then(pods(ready=3, worst="CrashLoopBackOff: exit code 1 (pod v2-abc)"), settle, pods(ready=0)),
         P.ROLLED_BACK, "NewSideDown", BACK,
         "CrashLoopBackOff: exit code 1 (pod v2-abc)", OLD_WEIGHTS),
    Case("scaled to nothing is none ready", judging(), pods(wanted=0, ready=0), P.ROLLED_BACK, "NewSideDown", BACK,
         "v2 is scaled to 0", OLD_WEIGHTS),
    Case("and it is not waited until the last of them is gone", judging(), pods(wanted=0), P.ROLLED_BACK, "NewSideDown",
         BACK, "v2 is scaled to 0", OLD_WEIGHTS),
    Case("the Deployment is gone", judging(), put(new=None), P.ROLLED_BACK, "NewSideGone", BACK, "v2", OLD_WEIGHTS),
    Case("below minReady, within grace: nothing", judging(), then(pods(ready=1), wait(s(9))), P.JUDGING, "", []),
    Case("below minReady for grace: back", judging(), then(pods(ready=1, worst="OOMKilled"), wait(s(10))),
         P.ROLLED_BACK,
         "NewSideShort", BACK, "OOMKilled", OLD_WEIGHTS),
    Case("ready again within grace: nothing", judging(),
         then(pods(ready=1), wait(s(8)), pods(ready=2), wait(s(8)), pods(ready=1), wait(s(8))), P.JUDGING, "", []),
    Case("exactly minReady is enough", judging(), then(pods(ready=2), wait(s(60))), P.JUDGING, "", []),
    Case("as many restarts as are allowed: nothing", judging(), pods(restarts=3), P.JUDGING, "", []),
    Case("one restart more: back", judging(), pods(restarts=4, worst="Error, exit code 1"), P.ROLLED_BACK,
         "NewSideRestarting", BACK, "restarted 4 times, 3 are allowed: Error, exit code 1"),
    Case("restarts before the run do not count", judging(new=Deployment("v2", restarts=100)), pods(restarts=103),
         P.JUDGING, "", []),
    Case("in the bake too", baking, pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("while a weight is being written too", shifting(), then(pods(ready=0), wait(m(1))), P.ROLLED_BACK,
         "", BACK, "none of 4", OLD_WEIGHTS),
    Case("while held and blind too", held_blind, pods(ready=0), P.ROLLED_BACK, "NewSideDown", BACK, "", OLD_WEIGHTS),
    Case("an unready old side keeps no rollback", judging(),
         then(lambda w: setattr(w.old, "ready", 0), pods(ready=0)), P.ROLLED_BACK, "NewSideDown", BACK, "",
         OLD_WEIGHTS),
    Case("onFail: Hold leaves the weights, and never goes on by itself", judging({"onFail": "Hold"}),
         then(pods(ready=0), lambda w: w.settle(), pods(ready=4), wait(m(12))), P.HELD, "Failed", ["Held"], "onFail",
         {"v1": 95, "v2": 5}),
]  # fmt: skip

PROOFS = [
    Case("a guard proved at the first window acts then", fresh(), then(says(errors=0.011), wait(m(1))), P.ROLLED_BACK,
         "GuardTripped", None, "guard errors tripped: 1.1% > 1%", OLD_WEIGHTS),
    Case("the bound itself is not above the bound", fresh(), then(says(errors=0.01), wait(m(2))), P.JUDGING),
    Case("nothing is judged before four scrapes are in", fresh(), then(says(errors=0.9), wait(s(59))), P.JUDGING),
    Case("a fail predicate of the stage", judging(), then(says(wrong=1), wait(s(10))), P.ROLLED_BACK, "FailTripped",
         BACK,
         "fail wrong tripped: 1 > 0", OLD_WEIGHTS),
    Case("a fail predicate of an earlier stage is no longer in force", judging(stage="half"),
         then(says(wrong=1), wait(s(20))), P.JUDGING, "", []),
    Case("a guard in the bake", baking, then(says(errors=0.2), wait(s(10))), P.ROLLED_BACK, "GuardTripped", BACK,
         "", OLD_WEIGHTS),
    Case("a guard while held for a conflict", held_conflict, then(says(errors=0.2), wait(s(20))), P.ROLLED_BACK,
         "GuardTripped", BACK, "", OLD_WEIGHTS),
    Case("a guard while held undecided", undecided(), then(wait(m(5)), says(errors=0.2), wait(s(20))), P.ROLLED_BACK,
         "GuardTripped", ["Held", *BACK], "", OLD_WEIGHTS),
    Case("with the old side gone", judging(), then(put(old=None), says(errors=0.2), wait(s(20))), P.HELD,
         "OldSideDown", ["Held", "Held"], "its Deployment is gone", UP),
    Case("onFail: Hold leaves the weights, and a cure does not make it go on", judging({"onFail": "Hold"}),
         then(says(errors=0.2), wait(s(20)), says(errors=0.0), wait(m(12))), P.HELD, "Failed", ["Held"],
         "onFail is Hold", {"v1": 95, "v2": 5}),
    Case("a false pass predicate is nothing before the deadline", judging(), then(says(hits=0.1), wait(m(5))),
         P.JUDGING,
         "", []),
    Case("no data is no failure", judging(), then(says(errors=Why.NO_DATA, wrong=Why.NAN), wait(s(60))), P.JUDGING, "",
         []),
]  # fmt: skip

STARTS = [
    Case("without the new Deployment", fresh(new=None), wait(s(0)), P.INVALID, "DeploymentNotFound", ["Stalled"],
         "Deployment ns/v2 does not exist"),
    Case("without the old Deployment", fresh(old=None), wait(s(0)), P.INVALID, "DeploymentNotFound", ["Stalled"],
         "ns/v1"),
    Case("without the route", fresh(routes={"x": http_route("x", [])}), wait(s(0)), P.INVALID, "RouteNotFound",
         ["Stalled"], "HTTPRoute ns/shop does not exist"),
    Case("a route with one side", fresh(routes={"shop": http_route("shop", [{"v1": 1, "v3": 0}])}), wait(s(0)),
         P.INVALID,
         "RouteWithoutBothServices", ["Stalled"], "v1, v3"),
    Case("a route without traffic", fresh(routes={"shop": http_route("shop", [{"v1": 0, "v2": 0}])}), wait(s(0)),
         P.INVALID, "NoTrafficToShift", ["Stalled"]),
    Case("a rule that is not there", fresh({"traffic.routes[0].rules": ["reads"]}), wait(s(0)), P.INVALID,
         "RuleNotFound", ["Stalled"], "reads"),
    Case("the new side serves already", fresh(routes={"shop": http_route("shop", [{"v1": 94, "v2": 6}])}), wait(s(0)),
         P.INVALID, "NewSideAlreadyServing", ["Stalled"], "6%"),
    Case("without a Service", fresh(services=frozenset({"v1"})), wait(s(0)), P.INVALID, "ServiceNotFound", ["Stalled"],
         "Service ns/v2"),
    Case("a query that is refused, in the source's words",
         fresh(rejected={"hits": "the source refuses it: parse error at char 3"}), wait(s(0)),
         P.INVALID, "QueryRejected", ["Stalled"], "predicate hits: the source refuses it: parse error"),
    Case("a query that is refused, of a dry run that binds where it is used",
         fresh({"stages[0].fail": [{"name": "odd", "query": "odd", "is": "> 0", "dryRun": True}],
                "stages[1].fail": [{"use": "odd"}]}, rejected={"odd": "parse error"}), wait(s(0)),
         P.INVALID, "QueryRejected", ["Stalled"], "predicate odd: parse error"),
    Case("a query that is refused, of an assumption that a dry run is named like",
         fresh({"assumptions": [assumption("wrong", predicate={"query": "wrong", "is": "< 1"})],
                "stages[0].fail[0].dryRun": True},
               rejected={"wrong": "of the dry run", "assumption wrong": "parse error"}), wait(s(0)),
         P.INVALID, "QueryRejected", ["Stalled"], "assumption wrong: parse error"),
    Case("without the metric source", fresh(source=None), wait(s(0)), P.INVALID, "MetricSourceNotFound", ["Stalled"]),
    Case("a source that is down", fresh(down="connection refused"), wait(s(0)), P.PENDING, "MetricsUnavailable",
         ["Stalled"],
         "connection refused"),
    Case("a plan that cannot be read", fresh({"stages": []}), wait(s(0)), P.INVALID, "InvalidSpec", ["Stalled"],
         "spec.stages"),
    Case("a route that another plan moves", fresh(route_conflicts=(RIVAL,)), wait(s(0)), P.PENDING, "Conflict",
         ["Stalled"],
         "HTTPRoute shop is in use by plan ns/other"),
    Case("an elder plan that is about to start", fresh(route_conflicts=(RouteConflict("ns/other", frozenset({SHOP}),
         False, True,
         START - m(15), "0"),)), wait(s(0)), P.PENDING, "Conflict", ["Stalled"]),
]  # fmt: skip


def test_a_plan_starts_beside_one_that_moves_a_route_of_another_kind_with_the_same_name() -> None:
    world = World(route_conflicts=(NAMESAKE,))
    world.settle()
    assert (world.status.phase, world.weights()) == (P.JUDGING, (UP,))


def mended(world: World) -> None:
    """Everything that a plan needs is there."""
    found = World()
    world.old, world.new, world.source, world.services = found.old, found.new, found.source, found.services
    world.routes, world.rejected, world.down, world.route_conflicts = found.routes, {}, "", ()
    world.edit({"traffic.routes": [{"kind": "HTTPRoute", "name": "shop"}], "stages": found.spec["stages"]})


WAITS = [
    Case("a new side that never becomes ready: no weight moves, with the pod's own reason", expanding, wait(m(5)),
         P.ROLLED_BACK, "NewSideNotReady", ["Stalled"], "ImagePullBackOff: no such image (pod v2-abc)", OLD_WEIGHTS),
    Case("before readyWithin is over it waits", expanding, wait(m(4) - s(1)), P.EXPANDING, "", [], "", OLD_WEIGHTS),
    Case("ready in time", expanding, pods(ready=4), P.JUDGING, "", ["NewSideReady", "StageStarted", "WeightShifted"]),
    Case("pods of an older template do not count", expanding, pods(ready=4, settled=False), P.EXPANDING, "", []),
    Case("a side scaled to nothing is not ready", expanding, pods(wanted=0, ready=0), P.EXPANDING, "", []),
    Case("a killed operator does not make readyWithin longer", expanding, then(lambda w: w.crash(), wait(m(4))),
         P.ROLLED_BACK, "NewSideNotReady", ["Stalled"]),
    Case("never ready, and then another template: the next run", expanding,
         then(wait(m(5)), pods(ready=4, revision="second")), P.JUDGING, "",
         ["Stalled", "Started", "NewSideReady", "StageStarted", "WeightShifted"]),
]  # fmt: skip

DRIFT = [
    Case("weights moved up by somebody are put right at once", judging(), drift({"v1": 80, "v2": 20}), P.JUDGING,
         "Soaking", ["WeightDrift"], "80/20, not 95/5", {"v1": 95, "v2": 5}),
    Case("weights moved back by somebody are not pushed forward again", judging(), then(drift(OLD_WEIGHTS),
         wait(m(15))),
         P.HELD, "Conflict", ["Held"], "100/0, not 95/5", OLD_WEIGHTS),
    Case("put back as they were, it goes on", held_conflict, drift({"v1": 95, "v2": 5}), P.JUDGING, "Soaking",
         ["Resumed"], "", {"v1": 95, "v2": 5}),
    Case("in the bake", baking, drift({"v1": 50, "v2": 50}), P.HELD, "Conflict", ["Held"]),
    Case("the same share in other numbers is drift too", judging(), drift({"v1": 950, "v2": 50}), P.JUDGING, "Soaking",
         ["WeightDrift"], "950/50, not 95/5", {"v1": 95, "v2": 5}),
    Case("another backend is not ours", judging(routes={"shop": http_route("shop", [{"v1": 100, "v2": 0, "v0": 9}])}),
         drift({"v0": 500}), P.JUDGING, "", []),
    Case("the route is gone", judging(), lambda w: w.routes.clear(), P.HELD, "Conflict", ["Held"],
         "HTTPRoute shop is gone"),
    Case("the way back is gone", judging(), put(old=None), P.HELD, "OldSideDown", ["Held"],
         "Service v1 has no ready endpoint (its Deployment is gone), so no rollback is possible"),
    Case("somebody moves the weights up while we do", fresh(), trap(routed=lambda w: w.drift({"v1": 1, "v2": 2})),
         P.JUDGING, "Soaking", None, "", {"v1": 95, "v2": 5}),
    Case("a plan that can no longer be read is judged by what it was", judging(), then(edit({"guards[0].is": "lots"}),
         settle, says(errors=0.2), wait(s(30))), P.ROLLED_BACK, "GuardTripped", ["Held", *BACK], "errors tripped",
         OLD_WEIGHTS),
    Case("by its pods too", judging(), then(edit({"stages[1].pass": [{"use": "hitz"}]}), settle, pods(ready=0)),
         P.ROLLED_BACK, "NewSideDown", ["Held", *BACK], "none of 4 pods", OLD_WEIGHTS),
    Case("where nobody knows what it was, it is held", judging(), then(edit({"guards[0].is": "lots"}), World.crash,
         settle, says(errors=0.2), wait(s(30))), P.HELD, "Invalid", ["Held"], "so nothing can be judged", UP),
    Case("a plan that can no longer be read is held, and goes on when it can", judging(),
         then(edit({"stages": []}), lambda w: w.settle(), lambda w: phase_is(w, P.HELD, "Invalid"),
              edit({"stages": World().spec["stages"]})), P.JUDGING, "Soaking", ["Held", "Resumed"]),
]  # fmt: skip

METRICS_UNAVAILABLE = [
    Case("one answer that is missing is no blindness", judging(), then(put(down="timeout"), wait(s(15))), P.JUDGING, "",
         []),
    Case("no answer for three intervals", judging(), then(put(down="connection refused"), wait(s(40))), P.HELD,
         "MetricsUnavailable",
         ["Held"], "connection refused", UP),
    Case("an outage in mid-stage holds, and goes on by itself", held_blind, then(put(down=""), wait(s(15))), P.JUDGING,
         "Soaking", ["Resumed"], "", UP),
    Case("Hold for ever is the default", held_blind, wait(m(15)), P.HELD, "MetricsUnavailable", [], "", UP),
    Case("after onMetricsUnavailable.after comes onMetricsUnavailable.then",
         judging({"onMetricsUnavailable": {"action": "Hold", "after": "10m", "then": "Rollback"}}),
         then(put(down="timeout"), wait(m(11))), P.ROLLED_BACK, "MetricsUnavailable", ["Held", *BACK],
         "metrics unavailable for 10m", OLD_WEIGHTS),
    Case("before onMetricsUnavailable.after nothing", judging({"onMetricsUnavailable": {"action": "Hold",
         "after": "10m", "then": "Rollback"}}),
         then(put(down="timeout"), wait(m(9.9))), P.HELD, "MetricsUnavailable", ["Held"], "", UP),
    Case("onMetricsUnavailable.then: Hold holds on", judging({"onMetricsUnavailable": {"action": "Hold",
         "after": "10m", "then": "Hold"}}),
         then(put(down="timeout"), wait(m(15))), P.HELD, "MetricsUnavailable", ["Held"], "", UP),
    Case("onMetricsUnavailable: Rollback", judging({"onMetricsUnavailable": {"action": "Rollback"}}),
         then(put(down="timeout"), wait(s(40))),
         P.ROLLED_BACK, "MetricsUnavailable", BACK, "onMetricsUnavailable is Rollback", OLD_WEIGHTS),
    Case("onMetricsUnavailable: Rollback needs more than one missing answer after a restart",
         judging({"onMetricsUnavailable": {"action": "Rollback"}}),
         then(lambda w: w.crash(), put(down="timeout"), wait(s(15)), put(down=""), wait(s(15))), P.JUDGING, "", [], "",
         UP),
    Case("the source is deleted", judging(), put(source=None), P.HELD, "MetricsUnavailable", ["Held"],
         "no MetricSource ns/default"),
    Case("the source is created again", judging(),
         then(put(source=None), wait(m(1)), put(source=World().source), wait(s(61))), P.JUDGING, "Soaking",
         ["Held", "Resumed"]),
    Case("a killed operator is no reason to go on blind", held_blind, then(lambda w: w.crash(), wait(m(10))), P.HELD,
         "MetricsUnavailable", [], "", UP),
    Case("onMetricsUnavailable.after counts from the first blindness, not from another hold before it",
         judging({"onMetricsUnavailable": {"action": "Hold", "after": "10m", "then": "Rollback"}}),
         then(drift(OLD_WEIGHTS), wait(m(15)), put(down="timeout"), wait(m(1)), drift(UP), wait(m(9))), P.HELD,
         "MetricsUnavailable",
         ["Held", "Held"], "", UP),
]  # fmt: skip

DEADLINES = [
    Case("undecided, onUndecided: Hold", undecided(), wait(s(1)), P.HELD, "Undecided", ["Held"],
         "hits (NoData: no number for hits)", UP),
    Case("held undecided: goes on when it is decided", undecided(), then(wait(m(15)), says(hits=0.95), wait(s(20))),
         P.JUDGING, "", None, "", {"v1": 50, "v2": 50}),
    Case("onUndecided: Rollback", undecided({"onUndecided": "Rollback"}), wait(s(1)), P.ROLLED_BACK, "Undecided", BACK,
         "hits (NoData: no number for hits)", OLD_WEIGHTS),
    Case("onUndecided: Extend", undecided({"onUndecided": "Extend"}), wait(s(1)), P.JUDGING, "Judging",
         ["DeadlineExtended"], "7m more", UP),
    Case("extended, and decided in the new time", undecided({"onUndecided": "Extend"}),
         then(wait(m(2)), says(hits=0.95), wait(s(20))), P.JUDGING, "",
         ["DeadlineExtended", "StageProved", "StageStarted", "WeightShifted"]),
    Case("a pass predicate that is false at the deadline: onFail", judging(), then(says(hits=0.5), wait(m(9))),
         P.ROLLED_BACK, "PassRefuted", BACK, "hits: 0.5 is not > 0.9", OLD_WEIGHTS),
    Case("a pass predicate that is false at the deadline, onFail: Hold", judging({"onFail": "Hold"}),
         then(says(hits=0.5), wait(m(15))), P.HELD, "Failed", ["Held"], "", UP),
    Case("false before the deadline and true at it goes on", judging(),
         then(says(hits=0.5), wait(m(8)), says(hits=0.95), wait(s(20))), P.JUDGING, "", None, "", {"v1": 50, "v2": 50}),
    Case("a fail predicate that cannot be asked blocks forward",
         judging(), then(says(wrong=Why.QUERY_REJECTED), wait(m(10))), P.HELD, "Undecided", ["Held"], "wrong", UP),
    Case("guards only, and none has data: zero measurements never pass", judging(stage="half"),
         then(says(errors=Why.NO_DATA), wait(m(10))), P.HELD, "Undecided", ["Held"], "errors (NoData: no number"),
    Case("guards only: one measurement is needed and enough", judging(stage="half"), wait(s(31)), P.JUDGING, "",
         ["StageProved", "StageStarted", "WeightShifted"], "", {"v1": 0, "v2": 100}),
    Case("a deadline at the end of the soak leaves the time to ask", fresh({"stages[0].deadline": "3m",
         "onUndecided": "Rollback"}), wait(m(3) + s(10)), P.JUDGING, "", None, "", {"v1": 50, "v2": 50}),
    Case("NaN is never a pass", judging(), then(says(hits=Why.NAN), wait(m(10))), P.HELD, "Undecided", None,
         "hits (NaN: no number for hits)"),
    Case("several series are never a pass", judging(), then(says(hits=Why.MANY_SERIES), wait(m(10))), P.HELD,
         "Undecided"),
    Case("warnings are never a pass", judging(), then(says(hits=Why.WARNINGS), wait(m(10))), P.HELD, "Undecided"),
    Case("the deadline moves by the time held", judging(),
         then(says(hits=Why.NO_DATA), drift(OLD_WEIGHTS), wait(m(15)), drift(UP), wait(m(8))), P.JUDGING, "",
         ["Held", "Resumed"]),
]  # fmt: skip

STOPS = {"stages": PLAN["stages"][:2], "stopAt": "50%"}
ON = PLAN["stages"][2]

FORWARD = [
    Case("the soak is over and all is proved", judging(), wait(s(90)), P.JUDGING, "Soaking",
         ["StageProved", "StageStarted", "WeightShifted"], "", {"v1": 50, "v2": 50}),
    Case("not before the soak is over", judging(), wait(s(89.9)), P.JUDGING, "Soaking", [], "", UP),
    Case("a killed operator makes no soak shorter", judging(), then(lambda w: w.crash(), wait(s(89.9))), P.JUDGING,
         "", [],
         "", UP),
    Case("nor longer", judging(), then(lambda w: w.crash(), wait(s(90.1))), P.JUDGING, "", None, "", {"v1": 50,
         "v2": 50}),
    Case("all traffic is there: it bakes, with the guards on", judging(stage="all"), wait(s(31)), P.BAKING, "Baking",
         ["StageProved"], "", {"v1": 0, "v2": 100}),
    Case("the bake is over", baking, wait(m(4)), P.SUCCEEDED, "Succeeded", ["Succeeded"], "",
         {"v1": 0, "v2": 100}),
    Case("not before the bake is over", baking, wait(m(4) - s(0.1)), P.BAKING, "", []),
    Case("the drain is waited for where the bake is shorter", fresh({"bake": "0s", "traffic.drain": "20m"}),
         wait(m(20)), P.BAKING),
    Case("the last weight of a plan that stops below 100%: it bakes there, with the guards on",
         judging(STOPS, stage="half"), wait(s(31)), P.BAKING, "Baking", ["StageProved"], "it is the last weight", HALF),
    Case("and succeeds there", judging(STOPS, stage="half"), wait(s(31) + m(5)), P.SUCCEEDED, "Succeeded",
         ["StageProved", "Succeeded"], "v2 serves 50% of the traffic; v1 keeps the rest", HALF),
    Case("a guard in its bake", judging(STOPS, stage="half"), then(wait(m(1)), says(errors=0.2), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", ["StageProved", *BACK], "", OLD_WEIGHTS),
    Case("nothing is drained there", judging({**STOPS, "bake": "0s", "traffic.drain": "20m"}, stage="half"),
         wait(s(31)), P.SUCCEEDED, "Succeeded", None, "", HALF),
    Case("a person takes it back", judging(STOPS, stage="half"), then(wait(m(6)), say("revert r1")), P.ROLLED_BACK,
         "Reverted", None, "", OLD_WEIGHTS),
    Case("another plan goes on from there",
         judging(STOPS, stage="half"), then(wait(m(6)), edit({"stopAt": GONE, "stages": [ON]}), wait(m(8))),
         P.SUCCEEDED, "Succeeded", None, "v1 has none left", ALL),
    Case("a plan that would begin below it does not", judging(STOPS, stage="half"),
         then(wait(m(6)), edit({"stopAt": GONE, "stages": [*PLAN["stages"][:1], ON]})), P.INVALID,
         "NewSideAlreadyServing", None, "start the stages above it", HALF),
    Case("no second run follows a success", succeeded, then(lambda w: w.crash(), wait(timedelta(days=2))), P.SUCCEEDED,
         "Succeeded", [], "", {"v1": 0, "v2": 100}),
    Case("an answer to what was asked at another weight counts for nothing", judging(stage="half"),
         lambda w: w.answer("errors", {"new": Answer(0.9)}, w.now - m(5)), P.JUDGING, "", []),
]  # fmt: skip


EVIDENCE = [
    Case("measured while the weights were elsewhere, held undecided: it proves nothing when they are back",
         undecided(), then(wait(m(1)), drift(OLD_WEIGHTS), wait(m(5)), says(hits=0.95), wait(m(5)), drift(UP)), P.HELD,
         "", None, "", UP),
    Case("measured while the weights were elsewhere, then blind: it proves nothing when it sees again", judging(),
         then(drift(OLD_WEIGHTS), wait(m(12)), put(down="timeout"), wait(m(1)), drift(UP), wait(s(5)), put(down=""),
              wait(s(59)), lambda w: _windows_begin(w, w.moves[-1].at)), P.JUDGING, "", None, "", UP),
    Case("a guard stays in force while a weight is being written", judging(),
         then(put(lag=None), wait(s(90)), says(errors=0.5), wait(s(20))), P.ROLLING_BACK, "GuardTripped", None, "",
         OLD_WEIGHTS),
    Case("a guard stays in force when somebody moves the weights while we do", judging(),
         then(trap(routed=lambda w: w.drift({"v1": 40, "v2": 60})), wait(s(91)), says(errors=0.9), wait(m(10))),
         P.ROLLED_BACK, "GuardTripped", None, "", OLD_WEIGHTS),
    Case("restarts of pods that are gone allow the new ones none", rolled_back,
         then(pods(revision="second", restarts=50, ready=2, settled=False), wait(s(5)),
              pods(ready=4, settled=True, restarts=0), wait(s(10)), pods(restarts=4)), P.ROLLED_BACK,
         "NewSideRestarting", None, "restarted 4 times"),
    Case("a plan that can no longer be read while its weight is being written is held", shifting(lag=s(10)),
         then(edit({"stages": []}), wait(m(1))), P.HELD, "Invalid"),
]  # fmt: skip


CANARY = PLAN["stages"][0]
DRY = {
    "guards": [*PLAN["guards"], {"name": "trial", "query": "trial[$window]", "is": "> 1%", "dryRun": True}],
    "stages[0].pass": [*CANARY["pass"], {"name": "faster", "query": "faster", "is": "> 1", "dryRun": True}],
    "stages[0].fail": [*CANARY["fail"], {"name": "odd", "query": "odd", "is": "> 0", "dryRun": True}],
}
"""Dry runs of each role, beside those that bind."""
NEXT = ["StageProved", *SHIFTED]


def trying(**values: float | Why) -> Situation:
    """90 s at the first weight, with dry runs that say this."""

    def make() -> World:
        made = fresh(DRY)()
        made.says |= values
        made.until(P.JUDGING)
        made.advance(s(90))
        return made

    return make


DRY_RUNS = [
    Case("a guard, a fail and a pass predicate that speak against the new side",
         trying(trial=0.9, faster=0, odd=1), wait(s(90)), P.JUDGING, "Soaking", NEXT, "", HALF),
    Case("no word of them", trying(), wait(s(90)), P.JUDGING, "Soaking", NEXT, "", HALF),
    Case("their queries are refused", trying(trial=Why.QUERY_REJECTED, faster=Why.QUERY_REJECTED), wait(s(90)),
         P.JUDGING, "Soaking", NEXT, "", HALF),
    Case("a run starts though their queries are refused",
         fresh(DRY, rejected={"trial": "parse error", "faster": "parse error"}), wait(s(0)), P.JUDGING),
    Case("what they prove stands in no way of the bake",
         lambda: trying(trial=0.9)().until(P.BAKING), wait(m(5)), P.SUCCEEDED),
    Case("they answer, and all that bind are silent: that is blindness",
         trying(trial=0, faster=2, odd=0),
         then(says(errors=Why.SOURCE_DOWN, wrong=Why.SOURCE_DOWN, hits=Why.SOURCE_DOWN), wait(s(41))), P.HELD,
         "MetricsUnavailable"),
    Case("they are silent, and those that bind answer: that is none",
         trying(trial=Why.SOURCE_DOWN, faster=Why.SOURCE_DOWN, odd=Why.SOURCE_DOWN), wait(s(90)), P.JUDGING,
         "Soaking", NEXT, "", HALF),
    Case("that they are good is no measurement of what binds",
         trying(trial=0, faster=2, odd=0), then(says(errors=Why.NO_DATA, hits=Why.NO_DATA, wrong=Why.NO_DATA),
         wait(m(10))), P.HELD, "Undecided", ["Held"], "hits (NoData: no number for hits)", UP),
    Case("a deadline asks nothing of them", trying(faster=0, trial=0.9), then(says(hits=Why.NO_DATA), wait(m(10))),
         P.HELD, "Undecided", ["Held"], "at its deadline canary is undecided: hits (NoData: no number for hits)", UP),
    Case("beside them a proved guard goes back as ever", trying(trial=0.9), then(says(errors=0.2), wait(s(10))),
         P.ROLLED_BACK, "GuardTripped", BACK, "guard errors tripped", OLD_WEIGHTS),
]  # fmt: skip


def _windows_begin(world: World, since: datetime) -> None:
    """No question asked since reaches back before the instant at which the weights were put back."""
    for question in world.asked:
        if question.at > since:
            window = float(str(question.query).partition("[")[2].removesuffix("s]"))
            assert question.at - s(window) >= since, (
                f"{question.query} at {question.at:%H:%M:%S}, back at {since:%H:%M:%S}"
            )


@pytest.mark.parametrize("case", INTENTS, ids=ids)
def test_an_unfinished_intent(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", DELETIONS, ids=ids)
def test_a_deletion(case: Case) -> None:
    world = run(case)
    assert world.gone, "the plan is not let go"


@pytest.mark.parametrize("case", SUPERSEDED, ids=ids)
def test_another_hypothesis(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", AVAILABILITY, ids=ids)
def test_the_new_side_must_stand(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", PROOFS, ids=ids)
def test_a_proved_failure(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", STARTS, ids=ids)
def test_a_plan_that_cannot_start_says_why_and_heals_by_itself(case: Case) -> None:
    world = run(case)
    assert not world.moves, "a weight was moved"
    mended(world)
    world.advance(s(10))
    assert (world.phase, world.status.run, world.weights()[0]) == (P.JUDGING, 1, UP), world.status.message


@pytest.mark.parametrize("case", WAITS, ids=ids)
def test_before_the_first_weight_the_new_side_must_stand(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", DRIFT, ids=ids)
def test_drift(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", METRICS_UNAVAILABLE, ids=ids)
def test_blindness(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", DEADLINES, ids=ids)
def test_every_wait_ends(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", FORWARD, ids=ids)
def test_forward(case: Case) -> None:
    run(case)


@pytest.mark.parametrize("case", DRY_RUNS, ids=ids)
def test_nothing_follows_from_a_dry_run(case: Case) -> None:
    run(case)


def test_a_dry_run_is_judged_and_recorded_with_its_verdict() -> None:
    world = trying(trial=0.9, faster=0, odd=1)()
    world.advance(s(85))
    stands = {each.name: (each.verdict, each.dry_run) for each in world.status.predicates}
    assert (stands["trial"], stands["odd"], stands["errors"]) == (
        ("Tripped", True), ("Tripped", True), ("Clear", None),
    )  # fmt: skip
    assert world.status.verdict == "Undecided"  # of `hits`, which binds and was not asked yet
    world.advance(s(5))
    proved = next(each for each in world.trail.values() if each.reason == "StageProved")
    seen = {each.predicate: (each.verdict, each.value, each.dry_run) for each in proved.evidence}
    assert (seen["trial"], seen["faster"], seen["hits"]) == (
        ("Tripped", "90%", True), ("Refuted", "0", True), ("Proved", "0.95", None),
    )  # fmt: skip
    assert "trial (dry run): 90% > 1%" in proved.observed
    assert "trial" not in proved.believed
    assert [each.dry_run for each in proved.evidence] == [None, None, None, True, True, True]


@pytest.mark.parametrize("case", EVIDENCE, ids=ids)
def test_what_is_judged_is_what_runs(case: Case) -> None:
    run(case)


def test_after_a_lost_status_a_run_begins_with_its_first_stage() -> None:
    world = judging(stage="half")()
    weights = {key: value for key, value in world.status_raw["weights"].items() if key != "snapshot"}
    world.status_raw = {**world.status_raw, "weights": weights}
    world.settle()
    assert (world.phase, world.status.reason) == (P.INVALID, "StatusLost")
    world.drift(OLD_WEIGHTS)
    world.finalizer = False
    world.settle()
    assert world.status.stage is not None
    assert (world.status.stage.name, world.weights()[0]) == ("canary", UP)


@pytest.mark.parametrize("weights", ["nonsense", {"desired": "0%"}, None])
def test_a_rollback_whose_snapshot_is_lost_is_not_called_done(weights: object) -> None:
    world = reverting()()
    world.status_raw = {**world.status_raw, "weights": weights}
    world.broken = set()
    world.advance(m(5))
    assert (world.phase, world.status.reason, world.finalizer) == (P.INVALID, "StatusLost", True)
    assert "kubectl" in world.undo_annotation, "the way back by hand is thrown away"
    assert world.wake_at is None, "it waits for a person"


@pytest.mark.parametrize("given", [succeeded, rolled_back, judging(), held_blind])
def test_every_generation_is_observed(given: Situation) -> None:
    """A generation that is not observed is, to kstatus, being worked on for ever."""
    world = given()
    world.edit({"deletionPolicy": "Keep"})
    world.settle()
    assert world.status.observed_generation == world.generation


def test_an_equal_copy_of_the_status_is_nothing_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = succeeded().snapshot()
    monkeypatch.setattr(
        "rolloutplan.engine.decide.RULES", (lambda snapshot: ReconcileResult(snapshot.status.model_copy()),)
    )
    assert decide(snapshot).status is None
    monkeypatch.setattr(
        "rolloutplan.engine.decide.RULES", (lambda snapshot: ReconcileResult(change(snapshot.status, message="news")),)
    )
    status = decide(snapshot).status
    assert status is not None
    assert status.message == "news"


@pytest.mark.parametrize("message", ["", [], 7])
def test_a_message_that_was_edited_away_is_what_was_decided_last(message: object) -> None:
    world = baking()
    world.settle()
    said = world.status.message
    world.status_raw = {**world.status_raw, "message": message}
    world.version += 1
    world.settle()
    assert (world.phase, world.status.message) == (P.BAKING, said)
    assert said


def test_a_hold_with_many_words_begins_with_its_cause_and_is_told_once() -> None:
    world = judging()()
    world.down = "y" * 5_000
    world.until(P.HELD)
    world.advance(m(5))
    message = world.status.message
    assert message.startswith("the metric source has not answered for ")
    assert (len(message), message[-1]) == (1024, "…")
    assert world.told().count("Held") == 1
