"""The fault proxy itself: each way in which it fails, once."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest
import requests

from tests.bed import Bed, Stopwatch, objects, until
from tests.bed.api import MERGE_PATCH, Api, ApiError
from tests.bed.faults import FaultProxy, When

NAMESPACE = "faulty"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


@pytest.fixture(scope="module")
def started(bed: Bed) -> Iterator[FaultProxy]:
    bed.apply(objects.namespace(NAMESPACE))
    with FaultProxy(bed) as proxy:
        yield proxy
    bed.delete(objects.namespace(NAMESPACE))


@pytest.fixture
def proxy(started: FaultProxy) -> Iterator[FaultProxy]:
    """A proxy that passes everything on, before and after."""
    yield started
    started.faults(0)
    started.cut_watches(0)


@pytest.fixture
def api(proxy: FaultProxy) -> Api:
    return proxy.client()


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def refused(api: Api, path: str = MAPS) -> int:
    """The status of a GET; 200 where it is answered."""
    try:
        api.get(path)
    except ApiError as error:
        return error.status
    return 200


def stream(proxy: FaultProxy, **query: str) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {proxy.token()}"
    return session.get(proxy.url + MAPS, params={"watch": "true", **query}, stream=True, timeout=10)


def victim() -> "subprocess.Popen[bytes]":
    """A process that a trap may kill."""
    return subprocess.Popen(["sleep", "60"])


def test_left_alone_it_passes_everything_on_and_remembers_what_was_written(proxy: FaultProxy, api: Api) -> None:
    api("POST", MAPS, config_map("plain", a="1"))
    stored = api("PATCH", f"{MAPS}/plain", {"data": {"a": "2"}}, MERGE_PATCH)
    assert stored["data"] == {"a": "2"}
    assert [m["metadata"]["name"] for m in api.get(f"{MAPS}?fieldSelector=metadata.name%3Dplain")["items"]] == ["plain"]
    with pytest.raises(ApiError, match="already exists"):
        api("POST", MAPS, config_map("plain"))
    first, second, third = proxy.writes[-3:]
    assert [(w.method, w.path, w.status, w.told) for w in (first, second, third)] == [
        ("POST", MAPS, 201, 201),
        ("PATCH", f"{MAPS}/plain", 200, 200),
        ("POST", MAPS, 409, 409),
    ]
    assert second.body == {"data": {"a": "2"}}
    assert first.answered <= second.asked


def test_a_share_of_all_requests_is_answered_falsely(proxy: FaultProxy, api: Api) -> None:
    proxy.faults(0.5, [409, 429, 500, 503], seed=1)
    seen = Counter(refused(api) for _ in range(200))
    assert 70 <= seen[200] <= 130
    assert min(seen[code] for code in (429, 500, 503)) >= 10
    assert seen[409] == 0, "no API server answers a read with a conflict"


def test_its_refusals_are_what_an_api_server_says(proxy: FaultProxy) -> None:
    proxy.faults(1, [429])
    answer = requests.get(proxy.url + MAPS, timeout=5, proxies={"http": ""})
    assert answer.headers["Retry-After"] == "1"
    said = answer.json()
    assert (said["kind"], said["reason"], said["code"]) == ("Status", "TooManyRequests", 429)


def test_half_of_the_refused_writes_are_done_all_the_same_but_no_conflicts(proxy: FaultProxy, api: Api) -> None:
    for kind, least, most in ((500, 5, 35), (409, 0, 0)):
        proxy.faults(1, [kind], seed=2)
        for n in range(40):
            with pytest.raises(ApiError):
                api("POST", MAPS, config_map(f"half-{kind}-{n}"))
        proxy.faults(0)
        done = [m for m in api.get(MAPS)["items"] if m["metadata"]["name"].startswith(f"half-{kind}-")]
        assert least <= len(done) <= most
        assert sum(write.done for write in proxy.writes[-40:]) == len(done)


def test_a_timeout_is_no_answer_at_all(proxy: FaultProxy, api: Api) -> None:
    proxy.faults(1, ["timeout"])
    with pytest.raises(requests.Timeout):
        api("GET", MAPS, timeout=0.3)


def test_watches_are_passed_on_as_they_come_and_cut(proxy: FaultProxy, api: Api) -> None:
    version = api.get(MAPS)["metadata"]["resourceVersion"]
    watch = stream(proxy, resourceVersion=version)
    lines = watch.iter_lines()
    api("POST", MAPS, config_map("watched"))
    assert json.loads(next(lines))["object"]["metadata"]["name"] == "watched"
    proxy.cut_watches(0.2)
    with pytest.raises(requests.RequestException, match="ended prematurely"):
        next(lines)


def test_now_and_then_a_fresh_watch_is_told_that_its_version_is_too_old(proxy: FaultProxy) -> None:
    proxy.faults(0, seed=3)
    proxy.cut_watches(0.05)

    def told() -> bool:
        try:
            return any(json.loads(line)["object"].get("code") == 410 for line in stream(proxy).iter_lines())
        except requests.RequestException:
            return False

    until(told, 8, "the error in a stream")


def test_an_outage_refuses_everything_until_it_is_over(proxy: FaultProxy, api: Api) -> None:
    api.get(MAPS)
    proxy.down()
    with pytest.raises(requests.ConnectionError):
        api.get(MAPS)
    proxy.up()
    assert refused(api) == 200


def test_a_namespace_can_be_forbidden_and_a_token_run_out(proxy: FaultProxy, api: Api) -> None:
    proxy.forbid(NAMESPACE)
    assert (refused(api), refused(api, "/api/v1/namespaces")) == (403, 200)
    proxy.allow(NAMESPACE)
    proxy.expire(proxy.token())
    assert (refused(api), refused(proxy.client("node"))) == (401, 200)
    proxy.renew(proxy.token())
    assert refused(api) == 200


@pytest.mark.parametrize(("when", "done"), [("before", ["1"]), ("after", ["1", "2"])])
def test_a_trap_kills_at_the_write_that_says_what_it_waits_for_and_at_no_other(
    proxy: FaultProxy, api: Api, when: When, done: list[str]
) -> None:
    name = f"{when}-trap"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
    with victim() as process:
        proxy.trap(f"POST configmaps {name}-2", when, process.pid)
        api("POST", MAPS, config_map(f"{name}-1"))
        api("POST", LEASES, lease)
        assert not proxy.sprung
        with pytest.raises(requests.ConnectionError):
            api("POST", MAPS, config_map(f"{name}-2"))
        assert proxy.sprung
        assert process.wait(5) == -9
    watch = Stopwatch()
    api("POST", MAPS, config_map(f"{name}-3"))
    assert watch.seconds() < 2, "a trap that has sprung does nothing more"
    names = [m["metadata"]["name"] for m in api.get(MAPS)["items"]]
    assert [n for n in names if n.startswith(name)] == [f"{name}-{n}" for n in (*done, "3")]
    trapped = proxy.writes[-2]
    assert (trapped.status, trapped.told) == (201 if when == "after" else 0, 0)
    assert [w.lease for w in proxy.writes[-4:]] == [False, True, False, False]
