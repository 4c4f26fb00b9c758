"""Figures of trust: a person's word, weights moved by others, leaders that die. Times are those of the audit log."""

import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bed import Bed
from tests.bed.api import JSON_PATCH, MERGE_PATCH
from tests.bed.processes import answers, until
from tests.bench.figures import instant, many
from tests.bench.table import Row, percentile
from tests.shop import PLANS, ROUTES, Operator, Shop

VERDICTS = "rolloutplan_verdicts_total"
NEVER = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "4s"}


# ---- a person's word, and weights moved by others --------------------------------------------------------------------


def words_and_drift(bed: Bed, plans: int) -> list[Row]:
    """Each of the soaking plans gets its weights moved, one after the other, and is aborted, one after the other."""
    namespace, rng = "words", random.Random(7)
    names = [f"p{i}" for i in range(plans)]
    began = time.time()
    with many(bed, namespace, plans):
        for name in names:
            move = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 77}]
            bed.api("PATCH", ROUTES.format(namespace, name), move, JSON_PATCH)
            time.sleep(0.2 + rng.random() / 10)
        time.sleep(2)
        for name in names:
            word = {"metadata": {"annotations": {"rolloutplan.dev/command": "abort now"}}}
            bed.api("PATCH", PLANS.format(namespace, name), word, MERGE_PATCH)
            time.sleep(0.2 + rng.random() / 10)
        time.sleep(2)
    repaired, aborted = _answers(bed, namespace, began)
    assert len(repaired) == len(aborted) == plans, (len(repaired), len(aborted))
    return [
        _row(f"abort annotation -> snapshot weights in the API server, {plans} plans soaking", aborted, 0.3),
        _row(f"drift written -> repaired, {plans} plans soaking", repaired, 0.5),
    ]


def _row(figure: str, took: list[float], limit: float) -> Row:
    p99 = percentile(took, 99)
    words = f"p50 {1000 * percentile(took, 50):.0f} ms, p99 {1000 * p99:.0f} ms, max {1000 * max(took):.0f} ms"
    return Row(figure, f"p99 <= {limit} s", f"{words}, {len(took)} runs", p99 <= limit)


def _answers(bed: Bed, namespace: str, since: float) -> tuple[list[float], list[float]]:
    """Seconds from each foreign move of a route, and from each command, to the operator's next patch of that route."""
    asked: dict[str, tuple[str, float]] = {}
    took: dict[str, list[float]] = {"httproutes": [], "rolloutplans": []}
    for entry in bed.audit():
        ref, done = entry.get("objectRef", {}), instant(entry["stageTimestamp"])
        if ref.get("namespace") != namespace or entry["verb"] != "patch" or ref.get("subresource") or done < since:
            continue
        ours = entry["userAgent"].startswith("rolloutplan")
        query = entry["requestURI"]
        if not ours and "fieldManager" not in query:
            asked[ref["name"]] = ref["resource"], done
        elif ours and ref["resource"] == "httproutes" and ref["name"] in asked:
            what, at = asked.pop(ref["name"])
            took[what].append(done - at)
    return took["httproutes"], took["rolloutplans"]


# ---- leaders that die, and leaders that go ---------------------------------------------------------------------------


def failover(bed: Bed, operator: Operator, plans: int, runs: int) -> list[Row]:
    """Two replicas: the leader is killed, or told to end; until the other has judged every plan again."""
    killed: list[float] = []
    released: list[float] = []

    def all_judged(by: Operator, since: float) -> None:
        until(lambda: by.counted(VERDICTS) - since >= plans, 30, "all plans judged", every=0.01)

    with many(bed, "failover", plans), Operator(bed, port=8813, name="second", options=["--identity=second"]) as second:
        for run in range(2 * runs):
            leader, other = (operator, second) if operator.leads() else (second, operator)
            before, began = other.counted(VERDICTS), time.time()
            if run % 2:
                leader.process.child.terminate()
            else:
                leader.process.kill()
            until(other.leads, 30, "the other to lead", every=0.01)
            all_judged(other, before)
            (released if run % 2 else killed).append(time.time() - began)
            leader.process.child.wait(10)
            leader.process.start()
            time.sleep(3)
        until(lambda: operator.leads() or second.leads(), 30, "a leader")
        if second.leads():
            second.process.child.terminate()
            until(operator.leads, 10, "the first to lead again")
    return [
        Row(
            f"leader killed -9 -> another judges all {plans} plans again",
            "<= 17 s",
            f"max {max(killed):.1f} s, {len(killed)} runs",
            max(killed) <= 17,
        ),
        Row(
            f"leader ended by SIGTERM -> another judges all {plans} plans again",
            "<= 2 s",
            f"max {max(released):.2f} s, {len(released)} runs",
            max(released) <= 2,
        ),
    ]


# ---- a single replica with many plans --------------------------------------------------------------------------------


def restart(bed: Bed, operator: Operator, plans: int) -> list[Row]:
    """So many soaking plans: one comes to its stage by itself and stays for a while, the others are copies of it."""
    shop = Shop(bed, "restart").open()
    routes = {"routes": [{"kind": "HTTPRoute", "name": "checkout"}], "drain": "0s"}
    stages = [{"weights": ["50%", "100%"], "soak": "2h"}]
    shop.start(traffic=routes, stages=stages, guards=[NEVER], interval="2m")
    shop.until("Judging/w50")
    until(lambda: _is_settled(shop.status()), 120, "a status that has all that was published and measured")
    operator.process.kill()
    models = [shop.stored(), bed.get(ROUTES.format(shop.namespace, "checkout"))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: _copy(bed, shop, models, f"p{i}"), range(plans - 1)))
    time.sleep(10)
    began = time.time()
    operator.process.spawn()
    until(lambda: answers(f"{operator.url}/livez"), 30, "the process", every=0.01)
    until(lambda: operator.counted(VERDICTS) >= plans, 120, "all plans judged", every=0.2)
    took, cpu = time.time() - began, operator.cpu()
    started = max(instant(line["timestamp"]) for line in operator.log() if line["event"] == "starting")
    time.sleep(5)
    phases = {shop.phase(f"p{i}") for i in range(0, plans - 1, max(1, plans // 20))}
    used = operator.memory()
    shop.close()
    words = f"{took:.1f} s, of these {started - began:.1f} s until Python runs; {cpu:.1f} s of CPU"
    words += f"; memory then {used:.0f} MiB; {phases}"
    return [Row(f"restart of a single replica with {plans} plans -> all judged again", "<= 5 s", words, took <= 5)]


def _is_settled(status: dict[str, Any]) -> bool:
    """Whether a soaking run will write no more than its looks."""
    published = set(status.get("publishedThrough", {}).values())
    return published == {status["seq"]} and all(each["verdict"] == "Clear" for each in status["predicates"])


def _copy(bed: Bed, shop: Shop, models: list[dict[str, Any]], name: str) -> None:
    """The plan and the route of a run as they stand, under another name."""
    text = re.sub(r'("name": "|httproutes\S* )checkout(?=["\s])', rf"\g<1>{name}", json.dumps(models))
    plan, _ = json.loads(text)
    kept = {key: plan["metadata"].get(key) for key in ("name", "namespace", "annotations", "finalizers")}
    made = bed.api("POST", PLANS.format(shop.namespace, "").rstrip("/"), plan | {"metadata": kept})
    plan, route = json.loads(text.replace(plan["metadata"]["uid"][:8], made["metadata"]["uid"][:8]))
    kept = {key: route["metadata"].get(key) for key in ("name", "namespace", "annotations")}
    bed.apply(route | {"metadata": kept, "spec": route["spec"] | {"hostnames": [f"{name}.{shop.host}"]}})
    status = plan["status"] | {"planHash": _hash(plan["spec"])}
    bed.api("PATCH", PLANS.format(shop.namespace, name) + "/status", {"status": status}, MERGE_PATCH)


def _hash(spec: dict[str, Any]) -> str:
    from rolloutplan.api.spec import read_plan_spec  # noqa: PLC0415 - the rest of the bench knows nothing of our code

    return read_plan_spec(spec).plan_hash()
