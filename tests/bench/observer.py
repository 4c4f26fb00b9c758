"""An outside observer of plans and routes, who asks the API server alone and says where an invariant was broken.

`Observer` is what a test or benchmark holds; the observer itself is a process: `python -m tests.bench.observer
KUBECONFIG`. Every version of an object has a number of one sequence, so the two watches tell what stood when.
"""

import asyncio
import json
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

from tests.bed import Bed
from tests.bed.api import Manifest
from tests.bed.node import Client
from tests.bed.processes import Process, python_path

PLANS = "/apis/rolloutplan.dev/v1alpha1/rolloutplans"
ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"
EVENTS = "/apis/events.k8s.io/v1/events"
LATE = 60.0
"""Seconds that a watch may be behind what can be listed."""

FORWARD = ("StageStarted", "WeightShifted", "StageProved", "Succeeded")
GOING_BACK = ("RollingBack", "RolledBack")

Key = tuple[str, str]
"""Namespace and name."""
Weights = tuple[tuple[str, int], ...]
"""The backends of one rule, in their order."""
Rules = dict[int, Weights]
"""By the index of the rule."""


class Observer:
    """The observer as a child process that has begun to watch. Use it as a context manager."""

    def __init__(self, bed: Bed) -> None:
        command = [sys.executable, "-m", "tests.bench.observer", str(bed.kubeconfig())]
        self.process = Process("observer", command, bed.workdir, env=python_path(), pipes=True)

    def __enter__(self) -> Self:
        self.process.start()
        self.findings()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def findings(self) -> "Findings":
        """All that it has found until now."""
        stdin, stdout = self.process.child.stdin, self.process.child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"the observer has ended; see {self.process.log}")
        return Findings(**json.loads(answer))


@dataclass
class Findings:
    """What was seen. Plans go by `namespace/name`."""

    violations: dict[str, list[str]]
    """What was broken, by plan; plans that have kept to everything are not in it."""
    untold: dict[str, list[str]]
    """Decisions that have no Event by now, and Events without a decision, by plan."""
    versions: int = 0
    moves: int = 0
    """Changes of a route's weights."""
    decisions: dict[str, int] = field(default_factory=dict)
    """How often each reason was given."""


# ---- what is kept of each version ------------------------------------------------------------------------------------


class PlanVersion(NamedTuple):
    version: int
    phase: str
    new: str
    held: dict[str, list[Rules]]
    """By route: every set of weights that the plan stands for, the snapshot first."""


class RouteVersion(NamedTuple):
    version: int
    rules: Rules


@dataclass
class Plan:
    """One plan (by its uid), as far as it was seen."""

    key: Key
    name: str
    routes: list[str]
    versions: list[PlanVersion] = field(default_factory=list)
    decisions: dict[int, Manifest] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def take(self, raw: Manifest) -> None:
        """Take in its next version."""
        status = raw.get("status", {})
        weights, intent = status.get("weights", {}), status.get("intent", {})
        held: dict[str, list[Rules]] = defaultdict(list)
        for route in (*weights.get("snapshot", ()), *weights.get("written", ()), *intent.get("routes", ())):
            held[route["name"]].append({rule["index"]: _stated(rule) for rule in route.get("rules", ())})
        self.versions.append(PlanVersion(_version(raw), status.get("phase", ""), weights.get("new", ""), held))
        for decision in status.get("decisions", ()):
            self._hear(decision)

    def _hear(self, decision: Manifest) -> None:
        """Hold a decision against all that went before it."""
        seq, known = decision["seq"], self.decisions.get(decision["seq"])
        if known is not None:
            if known != decision:
                fields = {key: (known.get(key), decision.get(key)) for key in known.keys() | decision.keys()}
                changed = {key: pair for key, pair in fields.items() if pair[0] != pair[1]}
                self.broken.append(f"decision {_words(known)} was written anew: {changed}")
                self.decisions[seq] = decision
            return
        if seq != len(self.decisions) + 1:
            self.broken.append(f"decision {seq} ({_words(decision)}) follows {len(self.decisions)}")
        run = decision.get("run")
        failed = next((d for d in self.decisions.values() if self._leads_back(d) and d.get("run") == run), None)
        if failed is not None and decision["reason"] in FORWARD:
            self.broken.append(f"{_words(decision)} comes after {_words(failed)} in run {run}")
        self.decisions[seq] = decision

    def _leads_back(self, decision: Manifest) -> bool:
        """Whether it began a way back that ends the run; after one for pods that are away, the run is held instead."""
        later = (d["reason"] for seq, d in sorted(self.decisions.items()) if seq > decision["seq"])
        ends = next((reason for reason in later if reason in ("RolledBack", "Held")), "")
        return decision["reason"] == "RollbackStarted" and ends != "Held"

    def at(self, version: int) -> PlanVersion | None:
        """How it stood just before a version of something else."""
        place = bisect_left(self.versions, version, key=lambda seen: seen.version)
        return self.versions[place - 1] if place else None


def _words(decision: Manifest) -> str:
    return f"{decision['seq']} {decision['reason']} {decision.get('stage', '')} {decision.get('weightTo', '')}".strip()


def _stated(rule: Manifest) -> Weights:
    """The weights of a rule as a plan's status states them; a weight of 0 may be left out."""
    return tuple((backend["service"], backend.get("weight", 0)) for backend in rule.get("backends", ()))


def _rules(raw: Manifest) -> Rules:
    """The weights of a route as it is."""
    return {
        index: tuple((ref["name"], ref.get("weight", 1)) for ref in rule.get("backendRefs", ()))
        for index, rule in enumerate(raw["spec"]["rules"])
    }


def _version(raw: Manifest) -> int:
    return int(raw["metadata"]["resourceVersion"])


# ---- the invariants that take both -----------------------------------------------------------------------------------


def unheld(plan: Plan, route: str, seen: list[RouteVersion]) -> Iterator[str]:
    """Weights that came to stand in a route while the plan did not hold them, or was on its way back."""
    for before, after in pairwise(seen):
        stood = plan.at(after.version)
        if stood is None or before.rules == after.rules:
            continue
        if after.rules not in [{**after.rules, **rules} for rules in stood.held.get(route, ())]:
            held = " or ".join(map(str, stood.held.get(route, ()))) or "nothing"
            yield f"{route} went from {before.rules} to {after.rules} while {stood.phase} held {held}"
        if stood.phase in GOING_BACK and _of(stood.new, after.rules) > _of(stood.new, before.rules):
            yield f"{route} went from {before.rules} to {after.rules} while {stood.phase}"


def unrestored(plan: Plan, route: str, seen: list[RouteVersion]) -> Iterator[str]:
    """The plan says RolledBack, and the route does not hold the snapshot."""
    for before, after in pairwise(plan.versions):
        snapshot = after.held.get(route, [])[:1]
        if before.phase == after.phase or after.phase != "RolledBack" or not snapshot:
            continue
        stands = seen[bisect_left(seen, after.version, key=lambda one: one.version) - 1].rules
        if any(stands.get(index) != weights for index, weights in snapshot[0].items()):
            yield f"RolledBack with {route} at {stands}, the snapshot is {snapshot[0]}"


def _of(service: str, rules: Rules) -> int:
    return sum(weight for weights in rules.values() for name, weight in weights if name == service)


# ---- the process -----------------------------------------------------------------------------------------------------


class Watcher:
    """Keeps what was seen, and judges it when it is asked to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._plans: dict[str, Plan] = {}
        self._routes: dict[Key, list[RouteVersion]] = defaultdict(list)
        self._gaps: list[str] = []
        self._versions = 0
        self._newest: dict[str, int] = {}
        """The newest version of each object that was seen, by its uid."""
        self.listed = asyncio.Barrier(3)

    async def follow(self, path: str, take: Callable[[str, Manifest], None]) -> None:
        """List once, and then watch for ever; a version that is missed is a gap, and said."""
        listing = await self._client("GET", path)
        for item in listing["items"]:
            self._see(item)
            take("ADDED", item)
        await self.listed.wait()
        version: str = listing["metadata"]["resourceVersion"]
        while True:
            async for event in self._client.events(path, version):
                if event["type"] == "ERROR":
                    self._gaps.append(f"{path} could not be watched from {version} on: {event['object']}")
                    return
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._versions += 1
                    self._see(event["object"])
                    take(event["type"], event["object"])
            await asyncio.sleep(0.1)

    def _see(self, raw: Manifest) -> None:
        self._newest[raw["metadata"]["uid"]] = _version(raw)

    async def _catch_up(self) -> None:
        """Wait until both watches have told of all that can be listed now: each comes in its own time."""
        items = [item for path in (PLANS, ROUTES) for item in (await self._client("GET", path))["items"]]
        async with asyncio.timeout(LATE):
            while any(self._newest.get(item["metadata"]["uid"], 0) < _version(item) for item in items):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def take_plan(self, event: str, raw: Manifest) -> None:
        meta = raw["metadata"]
        plan = self._plans.get(meta["uid"])
        if plan is None:
            routes = [ref["name"] for ref in raw["spec"]["traffic"]["routes"]]
            plan = self._plans[meta["uid"]] = Plan((meta["namespace"], meta["name"]), meta["name"], routes)
        if event != "DELETED":
            plan.take(raw)

    def take_route(self, event: str, raw: Manifest) -> None:
        meta = raw["metadata"]
        if event != "DELETED":
            self._routes[meta["namespace"], meta["name"]].append(RouteVersion(_version(raw), _rules(raw)))

    async def findings(self) -> Findings:
        """Judge all that has happened until now."""
        told = await self._told()
        await self._catch_up()
        violations: dict[str, list[str]] = {"the observer": self._gaps} if self._gaps else {}
        untold = {}
        for uid, plan in self._plans.items():
            name = "/".join(plan.key)
            if broken := [*plan.broken, *self._broken(plan)]:
                violations.setdefault(name, []).extend(broken)
            decided = Counter(f"{plan.name}.{uid[:8]}.{seq}" for seq in plan.decisions)
            if decided != told[uid]:
                untold[name] = sorted(((decided - told[uid]) + (told[uid] - decided)).elements())
        return Findings(
            violations,
            untold,
            versions=self._versions,
            moves=sum(a.rules != b.rules for seen in self._routes.values() for a, b in pairwise(seen)),
            decisions=dict(Counter(d["reason"] for plan in self._plans.values() for d in plan.decisions.values())),
        )

    def _broken(self, plan: Plan) -> Iterator[str]:
        for route in plan.routes:
            seen = self._routes[plan.key[0], route]
            yield from unheld(plan, route, seen)
            yield from unrestored(plan, route, seen)

    async def _told(self) -> dict[str, Counter[str]]:
        """The names of the Events about each plan."""
        told: dict[str, Counter[str]] = defaultdict(Counter)
        for event in (await self._client("GET", EVENTS))["items"]:
            if event.get("regarding", {}).get("kind") == "RolloutPlan":
                told[event["regarding"]["uid"]][event["metadata"]["name"]] += 1
        return told

    async def report(self) -> None:
        """Answer for as long as there is someone who asks."""
        await self.listed.wait()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        while await reader.readline():
            print(json.dumps(asdict(await self.findings())), flush=True)


async def main(kubeconfig: Path) -> None:
    watcher = Watcher(Client(kubeconfig))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watcher.follow(PLANS, watcher.take_plan))
        tasks.create_task(watcher.follow(ROUTES, watcher.take_route))
        tasks.create_task(watcher.report())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
