"""How long the loop stops for the largest objects and for hostile ones, and what memory they cost.

Everything runs in this process, without a cluster: objects are decoded in a thread, as the watch does it, and stored in
a loop beside a heartbeat. `python -m tests.bench.limits` prints the table alone.
"""

import asyncio
import copy
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rolloutplan.api.limits import KIB, MAX_JOBS, MAX_POLICY, MAX_SOURCE, MAX_TEMPLATE
from rolloutplan.cluster.decoding import shortened
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.preflight import try_queries
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.traffic import undo_command
from tests.bench.table import Row, text
from tests.provider import FakeProvider

Raw = dict[str, Any]
BAR: Final = 0.05
"""Seconds that the loop may stop."""
MEMORY_BAR: Final = 2048
"""KiB that the largest plan may cost."""
NOW: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
_QUERY: Final = (
    'sum(rate(http_requests_total{deployment="$deployment",handler="/api/v1/orders/%d",code=~"5.."}[$window]))'
)
_TASK: Final = {"name": "a", "belief": "b", "impact": 1, "uncertainty": 1}


def made(name: str, spec: Mapping[str, Any], **more: Any) -> Raw:
    meta = {"name": name, "namespace": "ns", "uid": name, "generation": 1, "resourceVersion": "1"}
    return {"metadata": meta | {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, **more}


def plan(name: str = "large", stages: int = 50, predicates: int = 16, body: Any = None, **more: Any) -> Raw:
    """A plan of stages with predicates each, made by `body` from their numbers."""
    body = body or (lambda number: {"query": f"{_QUERY % number} / {_QUERY % number}", "is": "> 1%"})
    weights = [round(100 * (i + 1) / stages) for i in range(stages)]
    rows = [
        {
            "weight": f"{weight}%",
            "fail": [{"name": f"p{weight}-{i}", **body(100 * weight + i)} for i in range(predicates)],
        }
        for weight in weights
    ]
    spec = {"old": {"deployment": "v1"}, "new": {"deployment": "v2"}, "stages": rows}
    return made(name, {**spec, "traffic": {"routes": [{"kind": "HTTPRoute", "name": "r"}]}, **more})


def with_job(content: Any) -> Raw:
    pods = {"spec": {"serviceAccountName": "a"}, "x": content}
    return plan(stages=2, predicates=1, assumptions=[{**_TASK, "job": {"template": {"spec": {"template": pods}}}}])


def counted(query: str) -> Callable[[int], Raw]:
    return lambda _: {"events": {"bad": query, "total": query}, "vsOld": "> 1.5x"}


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = [value]
    return value


def objects() -> Iterator[tuple[str, str, Raw]]:
    """What it is, its kind, and the object: the largest that are legal, and those of attacks."""
    yield "a plan of 800 queries", PLANS, plan()
    yield "a plan of 800 counted predicates", PLANS, plan(body=counted('http_requests_total{deployment="$deployment"}'))
    longest = counted('m{a="' + ")" * 4085 + '"}')
    yield "a plan of counters with 4,085 brackets, as many as fit", PLANS, plan(stages=45, predicates=1, body=longest)
    yield (
        "a plan of 16 uses in each stage",
        PLANS,
        plan(predicates=15, body=lambda n: {"use": "g"}, guards=[{"name": "g", "query": "up", "is": "> 1"}]),
    )
    yield "a plan with Jobs of 125 KiB", PLANS, with_job([{}] * (MAX_JOBS // 3 - KIB))
    yield "a plan of 1.4 MiB", PLANS, with_job([[]] * 450_000)
    yield "a plan with 3,000 levels", PLANS, with_job("LEVELS")
    yield "a plan of 2,400 predicates", PLANS, plan(predicates=48)
    spaces = {"events": {"histogram": "x" + " " * 4000 + "{", "slowerThan": "500ms"}, "vsOld": "> 1.5x"}
    yield "a histogram of 4,000 spaces", PLANS, plan(stages=2, predicates=16, body=lambda _: spaces)
    guards = [{"name": f"g{i}", "query": f"$stage+{i}+" + "$a" * 2040, "is": "> 1"} for i in range(16)]
    yield "variables that make 1.6 GiB", PLANS, plan(predicates=0, guards=guards, variables={"a": "x" * 1024})
    template = {"indicates": "Failure", "is": "> 1", "query": "$(p)" * 1000, "minSamples": {"query": "x", "atLeast": 1}}
    yield "a template", "predicatetemplates", made("t", template | {"description": "x" * (MAX_TEMPLATE - 8 * KIB)})
    windows = [{"reason": "x" * 256, "daily": {"from": "09:00", "to": "10:00"}} for _ in range(32)]
    names = {"namespaces": [f"n{i:062}" for i in range(256)]}
    yield (
        "a policy",
        "rolloutpolicies",
        made("p", {"selector": names, "freeze": {"windows": windows}, "x": "y" * MAX_POLICY}),
    )
    headers = {f"X-H{i}": "x" * 1024 for i in range(16)}
    yield (
        "a metric source",
        "metricsources",
        made("s", {"prometheus": {"url": "http://p"}, "headers": headers, "x": MAX_SOURCE}),
    )
    backends = [{"name": f"s{i:062}", "weight": 1} for i in range(16)]
    yield (
        "an HTTPRoute of 16 rules with 16 backends",
        "httproutes",
        made("r", {"rules": [{"backendRefs": backends}] * 16}),
    )
    containers = [{"name": f"c{i}", "image": "x" * 400, "env": [{"name": "a", "value": "b"}] * 10} for i in range(400)]
    deployment = {"replicas": 1, "template": {"spec": {"containers": containers}}}
    yield "a Deployment of 400 KiB", "deployments", made("v1", deployment)


async def stopped(kind: str, line: bytes) -> float:
    """The longest stop of the loop, in seconds, from the event to the first look and the trial of its queries."""
    store, gaps, done = Store(), [0.0], asyncio.Event()
    if kind != PLANS:
        store.apply(PLANS, None, plan("small", 1, 1))

    async def heart() -> None:
        last = time.perf_counter()
        while not done.is_set():
            await asyncio.sleep(0)
            gaps.append((now := time.perf_counter()) - last)
            last = now

    beating = asyncio.create_task(heart())
    event = await asyncio.to_thread(lambda: json.loads(shortened(line)))
    store.apply(kind, "ADDED", event["object"])
    await asyncio.sleep(0)
    if kind == PLANS and (facts := PlanFacts(store).of("ns/large", epoch=1, claim_at=lambda _: NOW)):
        PlanRun(facts, NOW, undo_command=undo_command).advance(facts, NOW)
        await asyncio.sleep(0)
        if facts.plan.spec is not None:
            await try_queries(facts.plan, FakeProvider(), NOW)
    done.set()
    await beating
    return max(gaps)


def limits(runs: int = 5) -> list[Row]:
    """A row for each object, with the median of some runs, and those of memory."""
    rows = []
    for what, kind, raw in objects():
        line = json.dumps({"type": "ADDED", "object": raw}, separators=(",", ":"))
        line = line.replace('"LEVELS"', "[" * 3000 + "]" * 3000)
        took = sorted(asyncio.run(stopped(kind, line.encode())) for _ in range(runs))[runs // 2]
        size = f"{len(line) // KIB} KiB"
        rows.append(Row(f"longest stop of the loop: {what}", "<= 50 ms", f"{1000 * took:.0f} ms, {size}", took <= BAR))
    return [*rows, *_memory()]


def _memory() -> list[Row]:
    backends = [{"name": f"s{i:062}", "weight": 1} for i in range(16)]
    spec = {"rules": [{"backendRefs": backends}] * 16}
    costs = {
        "a plan of 800 queries, 211 KiB": (MEMORY_BAR, _cost(PLANS, lambda i: plan(f"p{i}"), 20)),
        "a plan of 800 queries, 38 KiB": (
            MEMORY_BAR,
            _cost(PLANS, lambda i: plan(f"p{i}", body=lambda _: {"query": "x", "is": "> 1"}), 20),
        ),
        "an HTTPRoute that no plan names": (
            1,
            _cost("httproutes", lambda i: made(f"r{i}", copy.deepcopy(spec)), 1000),
        ),
    }
    return [
        Row(f"memory: {what}", f"<= {bar} KiB", f"{cost:.1f} KiB", cost <= bar) for what, (bar, cost) in costs.items()
    ]


def _cost(kind: str, make: Callable[[int], Raw], number: int) -> float:
    """KiB that each of so many objects adds to this process."""
    store = Store()
    store.needs.fetch = lambda _: None
    store.apply(kind, None, make(-1))
    gc.collect()
    before = _resident()
    for i in range(number):
        store.apply(kind, None, json.loads(json.dumps(make(i))))
    gc.collect()
    return (_resident() - before) / number


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4.0


if __name__ == "__main__":
    print(text(limits()))
