"""The bed itself: its parts are real, and do what the other tests build on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.bed import Bed, objects, until
from tests.bed.api import JSON_PATCH, ApiError
from tests.bed.load import Key

RATE = 'sum(rate(http_requests_total{{namespace="{}",code=~"{}"}}[4s]))'


@pytest.fixture
def namespace(bed: Bed) -> Iterator[str]:
    """A namespace with `web-v1` and `web-v2`, two ready pods each, behind one route of 95 to 5."""
    name = f"bed-{uuid4().hex[:6]}"
    bed.apply(objects.namespace(name))
    for version in ("v1", "v2"):
        bed.apply(objects.deployment(f"web-{version}", name, version), objects.service(f"web-{version}", name))
    bed.apply(objects.httproute("web", {"web-v1": 95, "web-v2": 5}, name, f"{name}.example.com"))
    for version in ("v1", "v2"):
        bed.wait_ready(name, f"web-{version}")
    yield name
    bed.end_loads(f"{name}.example.com")
    bed.delete(objects.namespace(name))


def route(namespace: str) -> str:
    return f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/web"


def set_weights(bed: Bed, namespace: str, old: int, new: int) -> None:
    path = "/spec/rules/0/backendRefs/{}/weight"
    changes = [{"op": "replace", "path": path.format(i), "value": weight} for i, weight in enumerate((old, new))]
    bed.api("PATCH", route(namespace), changes, JSON_PATCH)


def accepted(bed: Bed, namespace: str) -> bool:
    """Whether the gateway has accepted the route as it is now."""
    stored = bed.get(route(namespace))
    parents = stored.get("status", {}).get("parents", [])
    conditions = [condition for parent in parents for condition in parent["conditions"]]
    return {c["observedGeneration"] for c in conditions} == {stored["metadata"]["generation"]}


def share(counts: dict[Key, int], version: str) -> float:
    return sum(n for (by, _), n in counts.items() if by == version) / sum(counts.values())


def test_traffic_follows_the_weights(bed: Bed, namespace: str) -> None:
    load = bed.load(f"{namespace}.example.com", rate=200, seconds=3)
    assert share(load.wait(), "v2") == pytest.approx(0.05, abs=0.01)
    set_weights(bed, namespace, 50, 50)
    until(lambda: accepted(bed, namespace), 30, "the route's acceptance")
    load = bed.load(f"{namespace}.example.com", rate=200, seconds=3)
    assert share(load.wait(), "v2") == pytest.approx(0.5, abs=0.02)
    assert load.lost() == 0


def test_faults_are_seen(bed: Bed, namespace: str) -> None:
    query = f"{RATE.format(namespace, '500')} / {RATE.format(namespace, '.*')}"
    load = bed.load(f"{namespace}.example.com", rate=100, seconds=30)
    until(lambda: bed.query(query) == 0, 30, "the first rate")
    bed.behave("web-v1", namespace, errors=0.2)
    until(lambda: (bed.query(query) or 0) > 0.15, 30, "the error rate")
    bed.behave("web-v2", namespace, crashloop=True)
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/web-v2"
    until(lambda: bed.get(deployment)["status"].get("readyReplicas", 0) == 0, 30, "the crash")
    until(lambda: load.lost() > 0, 30, "lost answers")
    bed.behave("web-v2", namespace, ready=True)
    bed.wait_ready(namespace, "web-v2")
    load.stop()


def test_prometheus_keeps_its_data(bed: Bed, namespace: str) -> None:
    samples = f'sum(count_over_time(up{{namespace="{namespace}"}}[5m]))'
    until(lambda: (bed.query(samples) or 0) >= 8, 30, "samples")
    bed.prometheus.kill()
    bed.prometheus.start()
    assert (bed.query(samples) or 0) >= 8


def test_each_user_is_audited(bed: Bed) -> None:
    with pytest.raises(ApiError, match="forbidden"):
        bed.client("operator").get("/api/v1/secrets?labelSelector=audited")
    uris = [event["requestURI"] for event in bed.audit("operator")]
    assert uris.count("/api/v1/secrets?labelSelector=audited") == 1


def programs_of(folder: Path) -> list[str]:
    """The command lines of running programs that name a folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            lines.append((process / "cmdline").read_text().replace("\0", " "))
    return [line for line in lines if str(folder) in line]


def test_a_killed_bed_leaves_no_program(tmp_path: Path) -> None:
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "tests.bed"], env=env, stdout=subprocess.PIPE, text=True) as bed:
        assert bed.stdout is not None
        assert any("Ctrl-C" in line for line in bed.stdout)
        assert len(programs_of(tmp_path)) == 6
        bed.kill()
    until(lambda: not programs_of(tmp_path), 30, "the end of all programs")
