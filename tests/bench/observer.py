"""An outside observer of plans, routes and endpoints, who asks the API server alone and says what was broken.

`Observer` is what a test or benchmark holds; the observer itself is a process: `python -m tests.bench.observer
KUBECONFIG`. `seen.py` has what it keeps and judges.
"""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

from tests.bed import Bed
from tests.bed.api import Manifest
from tests.bed.node import Client
from tests.bed.processes import Process, python_path
from tests.bench.seen import (
    Key,
    Plan,
    RouteVersion,
    Service,
    green_over_an_outage,
    route_version,
    sent_to_nobody,
    unheld,
    unrestored,
    version_of,
)

PLANS = "/apis/rolloutplan.dev/v1alpha1/rolloutplans"
ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
EVENTS = "/apis/events.k8s.io/v1/events"
LATE = 60.0
"""Seconds that a watch may be behind what can be listed."""


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
    """What was seen. Plans go by `namespace/name`; what was kept to has no entry."""

    violations: dict[str, list[str]]
    """Weights, decisions and ends that were not as the plan stated them, by plan."""
    untold: dict[str, list[str]]
    """Decisions that have no Event by now, and Events without a decision, by plan."""
    nobody: dict[str, list[str]]
    """Weights that were given to a Service without endpoints, by plan."""
    green: dict[str, list[str]]
    """Plans that came to say Succeeded over an outage."""
    undecided: dict[str, list[str]]
    """Stages that were called proved beside a guard without a verdict, by plan."""
    wordless: dict[str, list[str]]
    """States that wait without a word, or are Ready before the end, by plan."""
    proved: list[list[str]] = field(default_factory=list)
    """Plan, stage, when its weight was verified and when it was proved: every stage that was."""
    versions: int = 0
    moves: int = 0
    """Changes of a route's weights."""
    emptied: int = 0
    """How often a Service lost its last ready endpoint."""
    decisions: dict[str, int] = field(default_factory=dict)
    """How often each reason was given."""


class Watcher:
    """Keeps what was seen, and judges it when it is asked to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._plans: dict[str, Plan] = {}
        self._routes: dict[Key, list[RouteVersion]] = defaultdict(list)
        self._services: dict[Key, Service] = defaultdict(Service)
        self._gaps: list[str] = []
        self._versions = 0
        self._newest: dict[str, int] = {}
        """The newest version of each object that was seen, by its uid."""
        self.listed = asyncio.Barrier(4)

    async def follow(self, path: str, take: Callable[[str, Manifest], None]) -> None:
        """List once, and then watch for ever; a version that is missed is a gap, and said."""
        listing = await self._client("GET", path)
        for item in sorted(listing["items"], key=version_of):
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
        self._newest[raw["metadata"]["uid"]] = version_of(raw)

    async def _catch_up(self) -> None:
        """Wait until the watches have told of all that can be listed now: each comes in its own time."""
        items = [item for path in (PLANS, ROUTES, SLICES) for item in (await self._client("GET", path))["items"]]
        async with asyncio.timeout(LATE):
            while any(self._newest.get(item["metadata"]["uid"], 0) < version_of(item) for item in items):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def take_plan(self, event: str, raw: Manifest) -> None:
        meta = raw["metadata"]
        plan = self._plans.get(meta["uid"])
        if plan is None:
            routes = [ref["name"] for ref in raw["spec"]["traffic"]["routes"]]
            plan = self._plans[meta["uid"]] = Plan((meta["namespace"], meta["name"]), routes)
        if event != "DELETED":
            plan.take(raw, time.monotonic())

    def take_route(self, event: str, raw: Manifest) -> None:
        meta = raw["metadata"]
        if event != "DELETED":
            self._routes[meta["namespace"], meta["name"]].append(route_version(raw, time.monotonic()))

    def take_slice(self, event: str, raw: Manifest) -> None:
        name = raw["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
        self._services[raw["metadata"]["namespace"], name].take(event, raw, time.monotonic())

    async def findings(self) -> Findings:
        """Judge all that has happened until now."""
        told = await self._told()
        await self._catch_up()
        untold = {}
        for uid, plan in self._plans.items():
            decided = Counter(f"{plan.key[1]}.{uid[:8]}.{seq}" for seq in plan.decisions)
            if decided != told[uid]:
                untold[plan.name] = sorted(((decided - told[uid]) + (told[uid] - decided)).elements())
        gaps = {"the observer": self._gaps} if self._gaps else {}
        return Findings(
            violations=gaps | self._by_plan(self._broken),
            untold=untold,
            nobody=self._by_plan(self._nobody),
            green=self._by_plan(self._green),
            undecided=self._by_plan(lambda plan: iter(plan.undecided)),
            wordless=self._by_plan(lambda plan: iter(dict.fromkeys(plan.wordless))),
            proved=[list(proved) for plan in self._plans.values() for proved in plan.proved],
            versions=self._versions,
            moves=sum(a.rules != b.rules for seen in self._routes.values() for a, b in pairwise(seen)),
            emptied=sum(
                bool(a.ready) and not b.ready for each in self._services.values() for a, b in pairwise(each.versions)
            ),
            decisions=dict(Counter(d["reason"] for plan in self._plans.values() for d in plan.decisions.values())),
        )

    def _by_plan(self, judge: Callable[[Plan], Iterator[str]]) -> dict[str, list[str]]:
        return {plan.name: found for plan in self._plans.values() if (found := list(judge(plan)))}

    def _broken(self, plan: Plan) -> Iterator[str]:
        yield from plan.broken
        for route in plan.routes:
            yield from unheld(plan, route, self._routes[plan.key[0], route])
            yield from unrestored(plan, route, self._routes[plan.key[0], route])

    def _nobody(self, plan: Plan) -> Iterator[str]:
        for route in plan.routes:
            yield from sent_to_nobody(plan, route, self._routes[plan.key[0], route], self._services)

    def _green(self, plan: Plan) -> Iterator[str]:
        for route in plan.routes:
            yield from green_over_an_outage(plan, route, self._routes[plan.key[0], route], self._services)

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
        tasks.create_task(watcher.follow(SLICES, watcher.take_slice))
        tasks.create_task(watcher.report())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
