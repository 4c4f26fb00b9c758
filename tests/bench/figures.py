"""How each figure is measured. Times of writes are those of the API server's audit log."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tests.bed import Bed, objects
from tests.bed.api import JSON_PATCH
from tests.bed.processes import until
from tests.bench.table import Row, percentile
from tests.shop import ROUTES, Operator, Shop

WINDOW = "4s"
"""Four scrapes: a guard's window has one length from the start, so that the poller asks what the operator asks."""
POLL = 0.05
BAD = (
    '1 - sum(rate(http_requests_total{namespace="%s",deployment="checkout-v2",code="200"}[%s])) / '
    'sum(rate(http_requests_total{namespace="%s",deployment="checkout-v2"}[%s]))'
)


def guard(namespace: str) -> dict[str, str]:
    return {"name": "errors", "query": BAD % (namespace, WINDOW, namespace, WINDOW), "is": "> 5%", "window": WINDOW}


# ---- the audit log ---------------------------------------------------------------------------------------------------


def ours(bed: Bed, since: float = 0.0, until_: float = float("inf")) -> Iterator[dict[str, Any]]:
    """The operator's requests in a stretch of time, without watches, and without its elector's, which do not grow."""
    for entry in bed.audit():
        asked = entry.get("userAgent", "").startswith("rolloutplan") and entry["verb"] != "watch"
        elector = entry.get("objectRef", {}).get("resource") == "leases"
        if asked and not elector and since <= instant(entry["requestReceivedTimestamp"]) <= until_:
            yield entry


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def last_write(bed: Bed, namespace: str, route: str, since: float) -> float:
    """When the API server had answered our last patch of a route."""
    return max(
        instant(entry["stageTimestamp"])
        for entry in ours(bed, since)
        if entry["verb"] == "patch"
        and entry["objectRef"]["resource"] == "httproutes"
        and entry["objectRef"]["namespace"] == namespace
        and entry["objectRef"]["name"] == route
    )


# ---- from the first bad sample to the old weights ------------------------------------------------------------------


def detection(bed: Bed, runs: int, shops: int = 4) -> list[Row]:
    """A fault in mid-stage, many times: from when a query can see it to the old weights in the API server."""
    with ThreadPoolExecutor(shops) as pool:
        parts = list(pool.map(lambda i: _detections(bed, f"detect-{i}", runs // shops), range(shops)))
    took = [seconds for part in parts for seconds in part]
    p50, p99 = percentile(took, 50), percentile(took, 99)
    figure = f"fault visible to a query -> old weights in the API server, interval 1 s, {len(took)} runs"
    words = f"p50 {p50:.2f} s, p99 {p99:.2f} s (min {min(took):.2f}, max {max(took):.2f})"
    return [Row(figure, "p50 <= 0.65 s, p99 <= 1.2 s", words, p50 <= 0.65 and p99 <= 1.2)]


def _detections(bed: Bed, namespace: str, runs: int) -> list[float]:
    shop = Shop(bed, namespace).open()
    load = bed.load(shop.host, rate=50, seconds=600)
    took = []
    for run in range(runs):
        name = f"run-{run}"
        shop.start(name, guards=[guard(namespace)], stages=[{"weights": ["50%", "100%"], "soak": "10m"}])
        shop.until("Judging", name=name)
        time.sleep(7 + random.random())
        began = time.time()
        bed.behave("checkout-v2", namespace, errors=0.5)
        visible = _first_visible(bed, namespace)
        shop.until("RolledBack", name=name)
        took.append(last_write(bed, namespace, "checkout", began) - visible)
        bed.behave("checkout-v2", namespace, errors=0.0)
        shop.bed.kubectl("-n", namespace, "delete", "rp", name)
        time.sleep(1)
    load.kill()
    shop.close()
    return took


def _first_visible(bed: Bed, namespace: str) -> float:
    """Ask every 50 ms; returns when the first question that showed the fault was put."""
    deadline = time.time() + 20
    while time.time() < deadline:
        asked = time.time()
        value = bed.query(BAD % (namespace, WINDOW, namespace, WINDOW))
        if value is not None and value > 0.05:
            return asked
        time.sleep(POLL)
    raise TimeoutError("the fault never became visible")


# ---- from a known verdict to written weights ------------------------------------------------------------------------


def control(bed: Bed, operator: Operator, plans: int, bar: str, limit: float) -> list[Row]:
    """Many plans proved bad at one instant: the operator starts while the fault is there already."""
    namespace = f"storm-{plans}"
    with many(bed, namespace, plans):
        time.sleep(6)
        operator.process.kill()
        began = time.time()
        bed.behave("checkout-v2", namespace, errors=0.5)
        _first_visible(bed, namespace)
        time.sleep(2)
        operator.process.start()
        # A list of all plans costs the API server as much as several of the patches that are measured.
        until(lambda: _phases(bed, namespace).count("RolledBack") == plans, 60, "all rollbacks", every=3.0)
        known = {
            line["plan"].partition("/")[2]: instant(line["timestamp"])
            for line in operator.log()
            if line["event"] == "a predicate tripped" and line["plan"].startswith(namespace + "/")
        }
        written = {name: last_write(bed, namespace, name, began) for name in known}
        time.sleep(5)
        bare = _bare_patches(bed, namespace, list(known))
    took = [written[name] - known[name] for name in known]
    whole = max(written.values()) - min(known.values())
    words = f"p99 {1000 * percentile(took, 99):.0f} ms, max {1000 * max(took):.0f} ms"
    words += f"; first verdict -> last write {1000 * whole:.0f} ms"
    words += f"; the same patches from a bare client, here: {1000 * bare:.0f} ms"
    worst = max(took)
    return [Row(f"verdict known -> weights written, {plans} plans at once", bar, words, worst <= limit)]


def _bare_patches(bed: Bed, namespace: str, routes: list[str]) -> float:
    """Seconds that one patch of each route takes without us, eight at a time: what this machine allows."""
    move = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 7}]
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bed.api("PATCH", ROUTES.format(namespace, name), move, JSON_PATCH), routes))
    return time.monotonic() - began


def repeated_control(bed: Bed, operator: Operator, runs: int) -> list[Row]:
    """One plan, many times; the verdict's own line in the log to the write in the audit log."""
    shop = Shop(bed, "control").open()
    load = bed.load(shop.host, rate=50, seconds=600)
    took = []
    for run in range(runs):
        name = f"run-{run}"
        shop.start(name, guards=[guard("control")], stages=[{"weights": ["50%", "100%"], "soak": "10m"}])
        shop.until("Judging", name=name)
        time.sleep(4)
        began = time.time()
        bed.behave("checkout-v2", "control", errors=0.5)
        shop.until("RolledBack", name=name)
        known = next(
            instant(line["timestamp"])
            for line in operator.log()
            if line["event"] == "a predicate tripped" and line["plan"] == f"control/{name}"
        )
        took.append(last_write(bed, "control", "checkout", began) - known)
        bed.behave("checkout-v2", "control", errors=0.0)
        bed.kubectl("-n", "control", "delete", "rp", name)
        time.sleep(5)
    load.kill()
    shop.close()
    p99 = percentile(took, 99)
    words = f"p50 {1000 * percentile(took, 50):.0f} ms, p99 {1000 * p99:.0f} ms, {runs} runs"
    return [Row("verdict known -> weights written, one plan", "p99 <= 50 ms", words, p99 <= 0.05)]


@contextmanager
def many(bed: Bed, namespace: str, plans: int) -> Iterator[None]:
    """So many soaking plans: a route and a plan each, over the same two Deployments, with load on one of them."""
    shop = Shop(bed, namespace).open()
    names = [f"p{i}" for i in range(plans)]
    for name in names:
        bed.apply(objects.httproute(name, dict(shop.weights), namespace, f"{name}.{shop.host}"))
    load = bed.load(f"p0.{shop.host}", rate=50, seconds=600)
    for name in names:
        routes = {"routes": [{"kind": "HTTPRoute", "name": name}], "drain": "0s"}
        stages = [{"weights": ["50%", "100%"], "soak": "10m"}]
        shop.start(name, traffic=routes, guards=[guard(namespace)], stages=stages)
    until(lambda: _phases(bed, namespace).count("Judging") == plans, 60 + plans, "all plans judging")
    try:
        yield
    finally:
        load.kill()
        shop.close()


def _phases(bed: Bed, namespace: str) -> list[str]:
    plans = bed.get(f"/apis/rolloutplan.dev/v1alpha1/namespaces/{namespace}/rolloutplans")["items"]
    return [plan.get("status", {}).get("phase", "") for plan in plans]


# ---- what it costs, and what it loses --------------------------------------------------------------------------------


def requests_a_minute(bed: Bed) -> list[Row]:
    """The audit log over a minute, while nothing but this plan is there."""
    shop = Shop(bed, "quiet").open()
    load = bed.load(shop.host, rate=50, seconds=600)
    soaking = [{"weights": ["50%"], "soak": "90s"}, {"weight": "100%", "soak": "2s"}]
    shop.start(guards=[guard("quiet")], stages=soaking)
    shop.until("Judging/w50")
    time.sleep(10)
    began = time.time()
    time.sleep(60)
    while_soaking = list(ours(bed, began, began + 60))
    shop.until("Succeeded", timeout=60)
    time.sleep(10)
    began = time.time()
    time.sleep(60)
    while_idle = list(ours(bed, began, began + 60))
    load.kill()
    shop.close()
    return [
        Row("API requests a minute, idle plan (Succeeded)", "0", _verbs(while_idle), not while_idle),
        Row("API requests a minute, soaking plan", "<= 1", _verbs(while_soaking), len(while_soaking) <= 1),
    ]


def _verbs(entries: list[dict[str, Any]]) -> str:
    words = [f"{e['verb']} {e['objectRef']['resource']}" for e in entries]
    return f"{len(words)}" + (f" ({', '.join(sorted(set(words)))})" if words else "")


def lost_answers(bed: Bed) -> list[Row]:
    """A rollout, and then a rollback, at 200 requests a second."""
    shop = Shop(bed, "answers").open()
    load = bed.load(shop.host, rate=200, seconds=300)
    shop.start("good", guards=[guard("answers")], stages=[{"weights": ["5%", "25%", "50%", "100%"], "soak": "6s"}])
    shop.until("Succeeded", name="good", timeout=90)
    back = {"old": {"deployment": "checkout-v2"}, "new": {"deployment": "checkout-v1"}}
    errors = guard("answers") | {"query": guard("answers")["query"].replace("checkout-v2", "checkout-v1")}
    shop.start("bad", **back, guards=[errors], stages=[{"weights": ["25%", "100%"], "soak": "60s"}])
    shop.until("Judging", name="bad")
    time.sleep(6)
    bed.behave("checkout-v1", "answers", errors=0.2)
    shop.until("RolledBack", name="bad")
    time.sleep(2)
    counts = load.stop()
    served = sum(n for (_, code), n in counts.items() if code == 200)
    failed = sum(n for (version, code), n in counts.items() if code == 500 and version != "-")
    shop.close()
    words = f"{load.lost()} (served {served}, failed by the fault {failed})"
    figure = "answers lost by our own actions, a rollout and a rollback at 200 requests/s"
    return [Row(figure, "0", words, load.lost() == 0)]


def memory(bed: Bed, operator: Operator, plans: int, limit: float) -> list[Row]:
    """Resident memory of a fresh operator after half a minute of soaking."""
    with many(bed, f"memory-{plans}", plans):
        operator.process.kill()
        operator.process.start()
        stop = threading.Event()
        stop.wait(30)
        used = operator.memory()
    figure = f"memory of the operator, {plans} plan{'s' * (plans > 1)} soaking"
    return [Row(figure, f"<= {limit:.0f} MiB", f"{used:.0f} MiB", used <= limit)]
