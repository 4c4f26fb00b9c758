"""The endpoints of Services: each ready pod once, known or not known, and followed with few requests."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pytest

from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.endpoints import SELECTOR_LENGTH, SERVICE_LABEL, owner_of, selector
from rolloutplan.engine.model.snapshot import EndpointsView
from rolloutplan.loop import endpoint_watch
from rolloutplan.loop.endpoint_watch import EndpointWatch
from rolloutplan.loop.endpoints import Endpoints, Service

V2: Service = ("shop", "v2")


def endpoint(pod: str, ready: bool | None = True, **more: Any) -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {"addresses": ["10.0.0.9"], "conditions": {} if ready is None else {"ready": ready}, **target, **more}


def made(name: str, *endpoints: Any, service: str = "v2", version: int = 1) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": name, "resourceVersion": str(version), "labels": {SERVICE_LABEL: service}}
    return {"metadata": meta, "endpoints": list(endpoints), "ports": [{"port": 80}]}


@pytest.mark.parametrize(
    ("slices", "owners"),
    [
        ([], ()),
        ([made("a", endpoint("v2-5d8f-abcde"), endpoint("v2-5d8f-abcdf"))], (("v2", 2),)),
        ([made("a", endpoint("v2-5d8f-abcde", ready=False))], ()),
        ([made("a", endpoint("v2-5d8f-abcde", ready=None))], (("v2", 1),)),
        ([made("a", endpoint("v2-5d8f-abcde")), made("b", endpoint("v2-5d8f-abcde"))], (("v2", 1),)),
        ([made("a", endpoint("v2-5d8f-abcde")), made("b", endpoint("v1-7f6b-abcde"))], (("v1", 1), ("v2", 1))),
        ([made("a", endpoint(""))], (("", 1),)),
        ([made("a", endpoint("x", service="other"))], (("x", 1),)),
        ([made("a", "no endpoint", {"addresses": None}, endpoint("db-0"))], (("db-0", 1),)),
        ([made("a", endpoint("v2-5d8f-abcde"), service="other")], ()),
        ([made("a", endpoint("v2-5d8f-abcde")) | {"ports": []}], ()),
    ],
    ids=[
        "none",
        "two pods",
        "one that is not ready",
        "one of which nothing is said is ready",
        "two address types are one pod",
        "pods of two Deployments",
        "an address that is no pod",
        "a pod of another form",
        "broken entries",
        "a slice of another Service",
        "pods that lack the port that the Service names",
    ],
)
def test_ready_pods_are_counted_once_by_their_deployment(slices: list[Any], owners: tuple[Any, ...]) -> None:
    endpoints = Endpoints()
    endpoints.listed(None, [V2], slices)
    assert endpoints.view(V2) == EndpointsView(owners)


@pytest.mark.parametrize("deployment", ["v2", "checkout-v2", "a" * 46, "b" * 47, "c" * 57, "d" * 63, "e" * 100])
def test_a_pod_belongs_to_its_deployment_however_long_its_name(deployment: str) -> None:
    """The API server cuts a generated name to 58 characters and appends 5."""
    pod = f"{deployment}-6d4cf56db6-"[:58] + "x7z2q"
    view = EndpointsView(((owner_of(pod), 3),))
    assert view.ready == 3
    assert view.others(deployment) == ()
    assert view.others("another") == (owner_of(pod),)


def test_a_canary_with_a_longer_name_is_another_deployment() -> None:
    view = EndpointsView(((owner_of("checkout-canary-6d4cf56db6-x7z2q"), 1),))
    assert view.others("checkout") == ("checkout-canary",)


def test_only_a_change_of_the_ready_pods_is_news() -> None:
    endpoints = Endpoints()
    assert endpoints.listed(None, [V2], [made("a", endpoint("v2-5d8f-abcde"))]) == {V2}
    assert endpoints.changed("MODIFIED", made("a", endpoint("v2-5d8f-abcde"), version=2)) == frozenset()
    assert endpoints.changed("MODIFIED", made("a", endpoint("v2-5d8f-abcde", ready=False))) == {V2}
    assert endpoints.changed("DELETED", made("a")) == frozenset()
    assert endpoints.changed("ADDED", made("b", endpoint("x"), service="unknown")) == frozenset()


def test_a_failure_makes_nothing_unknown_before_it_is_outdated() -> None:
    endpoints = Endpoints()
    assert endpoints.failed([V2], "forbidden", outdated=False) == {V2}
    assert endpoints.view(V2) == EndpointsView(unknown="forbidden")
    endpoints.listed(None, [V2], [made("a", endpoint("v2-5d8f-abcde"))])
    assert endpoints.failed([V2], "no answer", outdated=False) == frozenset()
    assert endpoints.failed([V2], "no answer", outdated=True) == {V2}
    assert endpoints.view(V2) == EndpointsView(unknown="no answer")


def test_a_service_that_is_not_followed_any_more_is_not_known() -> None:
    endpoints = Endpoints()
    endpoints.listed("shop", [V2], [made("a", endpoint("v2-5d8f-abcde"))])
    endpoints.listed("other", [("other", "x")], [])
    assert endpoints.view(V2) is not None
    endpoints.listed("shop", [("shop", "v3")], [])
    assert endpoints.view(V2) is None


def test_slices_with_thousands_of_endpoints_take_milliseconds() -> None:
    endpoints = Endpoints()
    large = [made(f"s{n}", *(endpoint(f"v2-5d8f-{n:02d}{i:03d}") for i in range(1000))) for n in range(5)]
    began = time.process_time()
    endpoints.listed(None, [V2], large)
    endpoints.changed("MODIFIED", large[0])
    assert time.process_time() - began < 0.2
    assert endpoints.view(V2) == EndpointsView((("v2", 5000),))


def test_the_selector_stays_short() -> None:
    assert selector({"b", "a"}) == f"{SERVICE_LABEL} in (a,b)"
    assert len(selector({f"service-{i}" for i in range(1000)})) <= SELECTOR_LENGTH


# ---- the watch -------------------------------------------------------------------------------------------------------


class Cluster:
    """An API server that holds slices, and the loop that takes what is found out."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = frozenset(("shop", name) for name in wanted)
        self.slices: list[dict[str, Any]] = [made("a", endpoint("v2-5d8f-abcde"))]
        self.refuses: list[ApiError] = []
        self.asked: list[str] = []
        self.told: list[str] = []
        self.events: asyncio.Queue[dict[str, Any] | ApiError | None] = asyncio.Queue()
        self.endpoints = Endpoints()

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> dict[str, Any]:
        assert timeout is None
        self._heard("list", path, query)
        return {"metadata": {"resourceVersion": "7"}, "items": self.slices}

    async def stream(self, path: str, *, within: float, **query: str | int) -> AsyncGenerator[dict[str, Any]]:
        assert within < 60
        self._heard(f"watch from {query['resourceVersion']}", path, query)
        while (event := await self.events.get()) is not None:
            if isinstance(event, ApiError):
                raise event
            yield event

    def _heard(self, what: str, path: str, query: Mapping[str, str | int]) -> None:
        assert path == "/apis/discovery.k8s.io/v1/endpointslices"
        self.asked.append(f"{what} {str(query['labelSelector']).removeprefix(SERVICE_LABEL + ' in ')}")
        if self.refuses:
            raise self.refuses.pop(0)

    def was_asked(self, times: int) -> bool:
        return len(self.asked) >= times

    def services(self, namespace: str | None) -> frozenset[Service]:
        assert namespace is None
        return self.wanted

    def endpoints_listed(self, namespace: str | None, services: Iterable[Service], items: Iterable[Any]) -> None:
        self.endpoints.listed(namespace, services, items)

    def endpoints_changed(self, event: str, raw: Mapping[str, Any]) -> None:
        self.endpoints.changed(event, raw)

    def endpoints_failed(self, services: Iterable[Service], why: str, *, outdated: bool) -> None:
        self.told.append(why)
        self.endpoints.failed(services, why, outdated=outdated)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - it waits for what is no event
            await asyncio.sleep(0.01)


async def lived(cluster: Cluster, *steps: tuple[Callable[[EndpointWatch], object], int]) -> list[str]:
    """Do each step, and wait for so many requests in all; then nothing more may be asked."""
    watch = EndpointWatch(cluster, cluster, cluster)
    running = asyncio.create_task(watch.run())
    for step, requests in steps:
        step(watch)
        await until(partial(cluster.was_asked, requests))
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return cluster.asked


def nothing(_: EndpointWatch) -> None:
    pass


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_watch, "GATHERED_FOR", 0.01)
    monkeypatch.setattr(endpoint_watch, "_BACKOFFS", (0.01,))


def test_it_lists_once_and_goes_on_from_where_a_stream_ended() -> None:
    cluster = Cluster("v1", "v2")

    def loses_its_pod(_: EndpointWatch) -> None:
        cluster.events.put_nowait({"type": "MODIFIED", "object": made("a", version=8)})
        cluster.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
        cluster.events.put_nowait(None)

    asked = asyncio.run(lived(cluster, (nothing, 2), (loses_its_pod, 3)))
    assert asked == ["list (v1,v2)", "watch from 7 (v1,v2)", "watch from 9 (v1,v2)"]
    assert cluster.endpoints.view(V2) == EndpointsView()


def test_it_asks_nothing_while_no_plan_names_a_service() -> None:
    cluster = Cluster()

    def a_plan_comes(watch: EndpointWatch) -> None:
        cluster.wanted = frozenset({V2})
        watch.changed()

    assert asyncio.run(lived(cluster, (nothing, 0), (a_plan_comes, 2))) == ["list (v2)", "watch from 7 (v2)"]


def test_another_service_is_listed_and_one_less_is_not() -> None:
    cluster = Cluster("v1", "v2")

    def other(*names: str) -> Callable[[EndpointWatch], None]:
        def changes(watch: EndpointWatch) -> None:
            cluster.wanted = frozenset(("shop", name) for name in names)
            watch.changed()

        return changes

    asked = asyncio.run(lived(cluster, (nothing, 2), (other("v2"), 2), (other("v2", "v3"), 4)))
    assert asked[2:] == ["list (v2,v3)", "watch from 7 (v2,v3)"]


@pytest.mark.parametrize("gone", [ApiError(410, "Expired"), ApiError(410, "Gone", "too old resource version")])
def test_a_version_that_is_too_old_makes_it_list_again(gone: ApiError) -> None:
    cluster = Cluster("v2")
    asked = asyncio.run(lived(cluster, (nothing, 2), (lambda _: cluster.events.put_nowait(gone), 4)))
    assert [each.partition(" ")[0] for each in asked] == ["list", "watch", "list", "watch"]


def test_after_a_restore_it_lists_again_though_its_stream_only_stays_silent() -> None:
    cluster = Cluster("v2")

    def restored(watch: EndpointWatch) -> None:
        cluster.slices = [made("a", version=3)]
        watch.restart()

    asked = asyncio.run(lived(cluster, (nothing, 2), (restored, 4)))
    assert asked[2:] == ["list (v2)", "watch from 7 (v2)"]
    assert cluster.endpoints.view(V2) == EndpointsView()


def test_a_refused_list_is_told_and_tried_again() -> None:
    cluster = Cluster("v2")
    cluster.refuses = [ApiError(403, "Forbidden", "no")]
    asyncio.run(lived(cluster, (nothing, 3)))
    assert cluster.told == ["the API server does not tell them: 403 Forbidden: no"]
    assert cluster.endpoints.view(V2) == EndpointsView((("v2", 1),))


def test_a_failure_that_passes_is_not_told_at_once() -> None:
    cluster = Cluster("v2")
    cluster.refuses = [ApiError(500, "InternalError", "no"), ApiError(429, "TooManyRequests", "no")]
    asyncio.run(lived(cluster, (nothing, 4)))
    assert cluster.told == []
    assert cluster.endpoints.view(V2) == EndpointsView((("v2", 1),))


def test_a_stream_that_ends_as_soon_as_it_begins_makes_no_loop() -> None:
    cluster = Cluster("v2")
    for _ in range(100):
        cluster.events.put_nowait(None)
    asked = asyncio.run(lived(cluster, (nothing, 4)))
    assert len(asked) < 20
    assert cluster.endpoints.view(V2) == EndpointsView((("v2", 1),))


def test_a_lost_connection_keeps_what_is_known() -> None:
    cluster = Cluster("v2")
    lost = ApiError(0, "ClientConnectorError", "refused")
    asked = asyncio.run(lived(cluster, (nothing, 2), (lambda _: cluster.events.put_nowait(lost), 3)))
    assert asked[2] == "list (v2)", "the same events once more would show what has passed"
    assert cluster.endpoints.view(V2) == EndpointsView((("v2", 1),))
