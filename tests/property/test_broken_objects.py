"""Objects that are broken in every way that JSON allows, through the real readers, into a decision.

What a cluster holds may have been written by hand, by another version, or by nobody who meant well. Reading it and
deciding on it never raises; whoever looks is told why nothing goes on; and no weight moves forward for a plan that
cannot be read. Only what the API server itself writes of an object is sound: its name, namespace, uid and version.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache, reduce
from itertools import count
from random import Random
from typing import Any, cast

import pytest

from rolloutplan.api.command import Verb
from rolloutplan.api.status import Phase
from rolloutplan.api.tasks import JOBS_LABEL
from rolloutplan.cluster import jobs, plans, pods, scale, workloads
from rolloutplan.cluster.client import Api
from rolloutplan.cluster.endpoints import SERVICE_LABEL
from rolloutplan.cluster.paths import service_account
from rolloutplan.cluster.revision import revision
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.actions import (
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    ReconcileResult,
    RunJob,
    RunPreflight,
    Scale,
)
from rolloutplan.engine.model.effects import (
    PREFLIGHT,
    Effect,
    Evaluate,
    Failure,
    LintQueries,
    ListPods,
    Publish,
    Record,
    Result,
)
from rolloutplan.engine.model.grants import EVERYTHING
from rolloutplan.engine.model.snapshot import Facts, PreflightResult, ServiceView, Snapshot
from rolloutplan.engine.model.weights import pair
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import CLUSTER_SOURCES, DEPLOYMENTS, PLANS, POLICIES, SOURCES, TEMPLATES, Store
from rolloutplan.loop.versions import Versions
from rolloutplan.publish import events
from rolloutplan.traffic import ROUTE_KINDS, undo_command
from tests import situations
from tests.property.test_status_by_hand import PLAUSIBLE, places
from tests.provider import HOSTS
from tests.refusals import POLICY, TEMPLATE
from tests.repetition import times
from tests.world import HTTPROUTES, SINKS, START, World, after, merged

CLUSTERS = 400
"""In a batch: in each something is broken, by its own seed."""
KEY = "ns/plan"
SLICES = "endpointslices"
Raw = dict[str, Any]
Objects = dict[str, Raw]

WRITTEN_BY_THE_SERVER = frozenset({"name", "namespace", "uid", "resourceVersion", "apiVersion", "kind"})
ROUNDS = 3

# ---- what there is ---------------------------------------------------------------------------------------------------


def _spoken(command: str) -> Callable[[], World]:
    def given() -> World:
        world = situations.judging()()
        world.say(command)
        return world

    return given


SITUATIONS: Mapping[str, Callable[[], World]] = {
    "applied": situations.fresh(),
    "probing": situations.probing(),
    "expanding": situations.expanding,
    "adding": situations.adding(),
    "shifting": situations.shifting(),
    "judging": situations.judging(),
    "counting": situations.judging({"guards[0]": {"name": "many", "events": {"bad": "b", "total": "t"}, "is": "> 5%"}}),
    "on two routes": situations.two_routes,
    "held in a conflict": situations.held_conflict,
    "held blind": situations.held_blind,
    "held by a failure": situations.held_failed,
    "held by a plan that cannot be read": situations.held_invalid,
    "paused": situations.paused,
    "awaiting": situations.awaiting,
    "baking": situations.baking,
    "contracting": situations.contracting(),
    "held by a failed contract": situations.contract_failed,
    "reverting": situations.reverting(),
    "rolled back": situations.rolled_back,
    "succeeded": situations.succeeded,
    "invalid": situations.invalid,
    **{f"told to {verb}": _spoken(f"{verb} c1") for verb in Verb},
}


@cache
def objects(situation: str) -> tuple[World, Objects]:
    """The objects of a situation as they stand in the API server, by their kind and name."""
    world = SITUATIONS[situation]()
    status = copy.deepcopy(world.status_raw)
    if "revision" in status:
        status["revision"] = revision({"spec": {"template": _template_of_pods("v2")}})
    found: Objects = {
        f"{SOURCES} default": _object("default", {"prometheus": {"url": "http://nowhere"}, "scrapeInterval": "15s"}),
        f"{CLUSTER_SOURCES} default": _object("default", {"prometheus": {"url": "http://nowhere"}}, namespace=""),
        f"{POLICIES} all": _object("all", {**POLICY, "selector": {"namespaces": ["*"]}, "freeze": {}}, namespace=""),
        f"{TEMPLATES} errors": _object("errors", TEMPLATE),
        f"{DEPLOYMENTS} v1": _deployment("v1"),
        f"{DEPLOYMENTS} v2": _deployment("v2"),
        f"{SLICES} v1": _slice("v1"),
        f"{SLICES} v2": _slice("v2"),
        "service v1": _service("v1"),
        "service v2": _service("v2"),
        f"{PLANS} plan": _plan(world, status),
        "job": _job(world, status),
        "pods": _pods(),
        "autoscalers": {"items": [{"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "Deployment"}}}]},
    }
    for name, raw in world.routes.items():
        condition = {"type": "Accepted", "status": "True", "observedGeneration": raw["metadata"]["generation"]}
        found[f"{place_of(HTTPROUTES).resource} {name}"] = {**raw, "status": {"parents": [{"conditions": [condition]}]}}
    return world, cast("Objects", json.loads(json.dumps(found)))


def _object(name: str, spec: Raw, namespace: str = "ns", **meta: Any) -> Raw:
    common = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    return {"metadata": {**common, **({"namespace": namespace} if namespace else {}), **meta}, "spec": spec}


def _slice(service: str) -> Raw:
    """Four ready pods and one that is not."""
    pods = [{"kind": "Pod", "name": f"{service}-5d8f-abcd{place}"} for place in range(5)]
    endpoints = [
        {"addresses": [f"10.0.0.{place}"], "conditions": {"ready": place < 4}, "targetRef": pod}
        for place, pod in enumerate(pods)
    ]
    return _object(f"{service}-x", {}, labels={SERVICE_LABEL: service}) | {
        "endpoints": endpoints,
        "ports": [{"port": 80}],
    }


def _service(name: str) -> Raw:
    return _object(name, {"selector": {"app": name}, "type": "ClusterIP", "clusterIP": "10.1.0.1"})


def _plan(world: World, status: Raw) -> Raw:
    entry = {
        "manager": "kubectl",
        "operation": "Update",
        "time": "2026-03-01T09:00:00Z",
        "fieldsV1": {"f:metadata": {"f:annotations": {"f:rolloutplan.dev/command": {}}}},
    }
    meta = {
        "uid": "0123456789",
        "generation": world.generation,
        "creationTimestamp": "2026-03-01T08:59:00Z",
        "finalizers": ["rolloutplan.dev/restore"] if world.finalizer else [],
        "annotations": {"rolloutplan.dev/command": world.command, "rolloutplan.dev/revert": world.undo_annotation},
        "labels": {"tier": "prod"},
        "managedFields": [entry],
    }
    return _object("plan", world.spec) | {"status": status} | {"metadata": {**_object("plan", {})["metadata"], **meta}}


def _template_of_pods(deployment: str) -> Raw:
    return {"metadata": {"labels": {"app": deployment}}, "spec": {"containers": [{"name": "app"}]}}


def _deployment(name: str) -> Raw:
    spec = {
        "replicas": 4,
        "selector": {
            "matchLabels": {"app": name},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
        },
        "template": _template_of_pods(name),
    }
    condition = {"type": "Progressing", "status": "True", "lastUpdateTime": "2026-03-01T08:00:00Z"}
    counts = {"replicas": 4, "updatedReplicas": 4, "readyReplicas": 4, "availableReplicas": 4, "observedGeneration": 1}
    return _object(name, spec) | {"status": {**counts, "conditions": [condition]}}


def _job(world: World, status: Raw) -> Raw:
    marks = {"rolloutplan.dev/plan": "plan", "rolloutplan.dev/run": "1", "rolloutplan.dev/task": "cache"}
    condition = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}
    raw = _object(status.get("task", {}).get("job", "job"), {}, labels=marks, ownerReferences=[{"uid": "0123456789"}])
    return raw | {"status": {"conditions": [condition] if world.job_fails else []}}


def _pods() -> Raw:
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "last words"}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    container = {"restartCount": 2, "ready": False, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
    condition = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "not ready"}
    pod = {
        "metadata": {"name": "v2-abc", "creationTimestamp": "2026-03-01T08:00:00Z"},
        "status": {"phase": "Running", "containerStatuses": [container], "conditions": [condition]},
    }
    return {"items": [pod, {"metadata": {"name": "v2-def"}, "status": {"phase": "Failed", "reason": "Evicted"}}]}


# ---- how it is broken ------------------------------------------------------------------------------------------------

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 3.5, 2**63, 10**30, 1e300, "", " ", "\n", "\x00", "x", "😀", "5", "100%", "half"),
    *([], {}, [None], [[]], [{}], [{"name": None}], {"a": None}, {"": {}}, {"name": "x"}, ["x"], [0], "null", "{}"),
    *("x" * 100_000, ["x"] * 1000, {f"k{i}": i for i in range(1000)}, "9" * 400, "-", "2026-13-45T99:99:99Z"),
    *("2026-03-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1", "0", "True", "Unknown", "False"),
)
DEEP: Any = json.loads("[" * 60 + "]" * 60)
COMMANDS = (
    "", " ", "\n", "abort", "abort ", "abrot a1", "abort a1 a2", "pause a1 --reason", "pause a1 --reason \x00\n'\"",
    "x" * 20_000, "skip " + "t" * 65, "promote \t p1", "resume é", "retry --reason x", "revert 1;rm", "approve a1",
    *(f"{verb} b1" for verb in Verb),
)  # fmt: skip


def broken(situation: str, random: Random) -> tuple[Objects, list[str]]:
    """Some objects of a situation, each with a few places broken, and which."""
    raw, touched, told = objects(situation)[1], dict[str, Raw](), list[str]()
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        name = random.choice((f"{PLANS} plan", f"{PLANS} plan", *raw))
        touched.setdefault(name, anew(raw[name]))
        told.append(f"{name}: {_break(touched[name], random)}")
    return touched, told


def anew(raw: Raw) -> Raw:
    """A copy of an object as it is after an edit."""
    same: Raw = json.loads(json.dumps(raw))
    if "metadata" in same:
        same["metadata"] |= {"resourceVersion": "2", "generation": same["metadata"].get("generation", 0) + 1}
    return same


def _break(raw: Raw, random: Random) -> str:
    if "annotations" in raw.get("metadata", {}) and random.random() < 0.15:
        command = random.choice(COMMANDS)
        if isinstance(raw["metadata"]["annotations"], dict):
            raw["metadata"]["annotations"]["rolloutplan.dev/command"] = command
        return f"the command {command[:80]!r}"
    part = random.choice([part for part in raw if part != "metadata" or raw[part].keys() - WRITTEN_BY_THE_SERVER])
    within = places(raw[part], without=WRITTEN_BY_THE_SERVER if part == "metadata" else ())
    paths = [(part, *path) for path in within] + [(part,)] * (part != "metadata")
    *above, last = random.choice(paths)
    place: Any = raw
    for key in above:
        place = place[key]
    where = ".".join(map(str, (*above, last)))
    match random.randrange(6):
        case 0 if isinstance(place, dict) and above:
            del place[last]
            return f"{where} is gone"
        case 1 if isinstance(place, list):
            place.insert(0, copy.deepcopy(random.choice(place)))
            return f"{where} twice"
        case 2:
            value = copy.deepcopy(random.choice(_values(raw, paths)))
        case 3:
            value = random.choice(PLAUSIBLE)
        case _:
            value = copy.deepcopy(random.choice((*HOSTILE, DEEP)))
    place[last] = value
    return f"{where} = {repr(value)[:80]}"


def _values(raw: Any, paths: Sequence[tuple[str | int, ...]]) -> list[Any]:
    """What stands at the first of these paths."""
    return [reduce(lambda place, key: place[key], path, raw) for path in paths[:40]]


# ---- what comes of it ------------------------------------------------------------------------------------------------


class Server:
    """The API server, as far as Jobs and sizes are asked of it."""

    def __init__(self, raw: Objects) -> None:
        self._raw = raw

    async def get(self, path: str) -> Raw:
        if path == service_account("ns", "jobs"):
            return {"metadata": {"labels": {JOBS_LABEL: "true"}}}
        return self._raw["job"] if "/jobs/" in path else {"metadata": _object("v1", {})["metadata"], "spec": {}}

    async def list(self, path: str, **_: str) -> Raw:
        return self._raw["pods" if path.endswith("pods") else "autoscalers"]

    async def patch(self, path: str, body: Raw, **_: object) -> Raw:
        return body


def at_once(work: Any) -> Any:
    """What comes of work that has nothing to wait for."""
    with pytest.raises(StopIteration) as done:
        work.send(None)
    return done.value.value


@cache
def stocked(situation: str) -> Store:
    """The store with everything in it as it should be."""
    store = Store(HOSTS, grants=EVERYTHING)
    _, raw = objects(situation)
    store.endpoints.listed(None, {("ns", "v1"), ("ns", "v2")}, ())
    for name in raw:
        offer(store, name, raw[name])
    return store


def offer(store: Store, name: str, raw: Raw) -> None:
    kind, _, named = name.partition(" ")
    if kind == SLICES:
        store.endpoints.changed("MODIFIED", raw)
    elif kind != "service" and named:
        store.apply(kind, "MODIFIED", raw)


def twin(situation: str) -> Store:
    """Another store in which all is the same so far, and that takes an object whatever version it has."""
    first = stocked(situation)
    # What is never changed is most of what there is to copy.
    memo: dict[int, Any] = {id(kind): kind for kind in ROUTE_KINDS.values()}
    memo |= {id(part): part for plan in first.plans.values() for part in (plan.view, plan.status, plan.raw_status)}
    shared, known = first.shared, (first.workloads, first.objects.views, first.policies.views, first.policies.objects)
    memo |= {id(part): part for each in (*known, shared.sources, shared.templates) for part in each.values()}
    same = copy.deepcopy(first, memo)
    same.versions = same.needs.versions = Versions()
    return same


class Shop:
    """A host without a network: the store, the run that it has facts for, and what its effects need of the server."""

    def __init__(self, situation: str, touched: Objects) -> None:
        world, known = objects(situation)
        self.store, self.raw, self.now = twin(situation), {**known, **touched}, world.now
        self._server, self._epoch = cast("Api", Server(self.raw)), world.epoch
        self._versions = count(3)
        for name, raw in touched.items():
            offer(self.store, name, raw)
        self.run = PlanRun(self.facts(), START, undo_command=undo_command)
        self.run.measurements = world.operator.measurements
        spec = self.store.plans[KEY].view.spec
        if spec is not None:
            self.run.results[PREFLIGHT] = PreflightResult(world.now, spec.judged_hash(), self._services(), {})

    def _services(self) -> dict[str, ServiceView]:
        return {name: workloads.service(self.raw[f"service {name}"]) for name in ("v1", "v2")}

    def facts(self) -> Facts:
        facts = PlanFacts(self.store).of(KEY, epoch=self._epoch, claim_at=lambda _: self.now)
        assert facts is not None
        return replace(facts, sinks=SINKS)

    def snapshot(self) -> Snapshot:
        return self.run.snapshot(self.facts(), self.now)

    def carry_out(self) -> list[Effect]:
        """Write and do what can be done without a network."""
        effects = self.run.advance(self.facts(), self.now).todo
        for effect in effects:
            self.run.on_result(effect, self._done(effect), self.now)
        self.now += timedelta(seconds=20)
        return [*effects]

    def _done(self, effect: Effect) -> Result:
        snapshot, work = effect.snapshot, effect.work
        match work:
            case Record():
                self._write(work)
            case PatchRoute():
                view = snapshot.routes[work.target.id]
                with contextlib.suppress(LookupError):
                    HTTPROUTES.patch(view, work.target, token=work.fencing_token, undo=work.undo_command)
            case PatchPlanMetadata():
                plans.metadata_patch(snapshot.plan, finalizer=work.finalizer, undo_annotation=work.undo_annotation)
            case RunJob():
                return cast("Result", at_once(jobs.run(self._server, "ns", work, self.now)))
            case Scale():
                return cast("Result", at_once(scale.to(self._server, "ns", work, self.now)))
            case ListPods():
                return pods.read(self.raw["pods"], work.containers)
            case Publish():
                events.event(snapshot.plan, work.decision, instance="test", revert=snapshot.status.revert)
            case LintQueries():
                return ""
            case Evaluate() | RunPreflight() | CheckGate() | FindUsers() | QueryOnce():
                return Failure(0, "Timeout", "nobody answers here")
        return None

    def _write(self, work: Record) -> None:
        meta: Raw = {**self.raw[f"{PLANS} plan"]["metadata"], "resourceVersion": str(next(self._versions))}
        status = merged(self.store.plans[KEY].raw_status, json.loads(json.dumps(work.patch)))
        self.store.apply(PLANS, "MODIFIED", {**self.raw[f"{PLANS} plan"], "metadata": meta, "status": status})


def promised(snapshot: Snapshot, step: ReconcileResult) -> None:
    """What holds of every decision."""
    status = after(snapshot, step)
    assert status.phase in Phase
    if step.status is None and not step.actions and not (snapshot.plan.deleting and not snapshot.plan.finalizer):
        assert status.reason and status.message, f"it stands still as {status.phase} and does not say why"
    if snapshot.plan.spec is None:
        assert not [action for action in step.actions if isinstance(action, PatchRoute) and forward(snapshot, action)]


def forward(snapshot: Snapshot, action: PatchRoute) -> bool:
    """Whether a write would give the new side more than it has, in any rule."""
    sides = snapshot.status.weights.old, snapshot.status.weights.new
    there = {rule.index: pair(rule, *sides) for rule in snapshot.routes[action.target.id].rules}
    asked = [(there[rule.index], pair(rule, *sides)) for rule in action.target.rules if rule.index in there]
    return any(new_then * (old + new) > new * (old_then + new_then) for (old, new), (old_then, new_then) in asked)


@pytest.mark.parametrize("batch", range(times(1)))
def test_whatever_is_broken_is_decided_upon_and_says_why(batch: int) -> None:
    seen = Counter[str]()
    for number in range(CLUSTERS * batch, CLUSTERS * (batch + 1)):
        random = Random(f"broken {number}")
        situation = random.choice(list(SITUATIONS))
        touched, told = broken(situation, random)
        try:
            shop = Shop(situation, touched)
            for _ in range(ROUNDS):
                snapshot = shop.snapshot()
                step = decide(snapshot)
                promised(snapshot, step)
                done = shop.carry_out()
                seen.update([str(after(snapshot, step).phase), *(type(effect.work).__name__ for effect in done)])
                seen["a plan that cannot be read"] += snapshot.plan.spec is None
                seen["a status that cannot be read"] += bool(snapshot.status.damaged)
        except Exception as error:
            error.add_note(f"number {number}, {situation}: {'; '.join(told)}")
            raise
    much = {
        *Phase,
        "PatchRoute",
        "RunJob",
        "PatchPlanMetadata",
        "a plan that cannot be read",
        "a status that cannot be read",
    }
    assert much <= seen.keys(), f"never seen: {much - seen.keys()}"


def test_a_plan_that_can_no_longer_be_read_while_the_new_side_is_awaited_says_so() -> None:
    plan = anew(objects("expanding")[1][f"{PLANS} plan"])
    plan["spec"]["stages"] = []
    shop = Shop("expanding", {f"{PLANS} plan": plan})
    for _ in range(2):
        snapshot = shop.snapshot()
        step = decide(snapshot)
        shop.carry_out()
    status = after(snapshot, step)
    assert (status.phase, status.reason) == (Phase.INVALID, "InvalidSpec"), status.message
