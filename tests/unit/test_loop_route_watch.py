"""Following the routes that plans name, against an API server in memory that lists, streams and refuses."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any

import pytest

from rolloutplan.api.reasons import StatusReason
from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.paths import Kind
from rolloutplan.loop import route_watch
from rolloutplan.loop.route_watch import RouteWatch
from rolloutplan.loop.routers import Trouble
from rolloutplan.loop.versions import Listing

Raw = dict[str, Any]
ROUTES = Kind("example.dev", "v1", "routes", older=("v1beta1",))
OTHERS = Kind("other.dev", "v1", "routes")


class Server:
    """The API server: what it serves, in which version, and what it refuses."""

    def __init__(self) -> None:
        self.version = 10
        self.served: dict[str, tuple[str, ...]] = {ROUTES.group: ("v1",), OTHERS.group: ("v1",)}
        """The versions of `routes` in each group."""
        self.objects: dict[str, dict[str, Raw]] = {}
        self.forbidden: set[str] = set()
        self.down: set[str] = set()
        self.requests: list[str] = []
        self.streams: list[tuple[str, asyncio.Queue[Raw | ApiError | None]]] = []

    def put(self, group: str, name: str, event: str = "ADDED") -> None:
        self.version += 1
        meta = {"namespace": "shop", "name": name, "resourceVersion": str(self.version)}
        self.objects.setdefault(group, {})[name] = {"metadata": meta}
        self.tell(group, {"type": event, "object": {"metadata": meta}})

    def tell(self, group: str, event: Raw | ApiError | None) -> None:
        for of, queue in self.streams:
            if of == group:
                queue.put_nowait(event)

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        self.requests.append(path)
        _, _, group, *version = path.split("/")
        found = self.served.get(group)
        if found is None or (version and version[0] not in found):
            raise ApiError(404, "NotFound")
        if not version:
            return {"versions": [{"version": each} for each in found]}
        return {"resources": [{"name": "routes/status"}, {"name": "routes"}]}

    def allow(self, path: str) -> str:
        group, version = path.split("/")[2:4]
        if group in self.down:
            raise ApiError(0, "Timeout", "no answer")
        if version not in self.served.get(group, ()):
            raise ApiError(404, "NotFound")
        if group in self.forbidden:
            raise ApiError(403, "Forbidden")
        return group

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        self.requests.append(f"{path}?list")
        group = self.allow(path)
        items, start = list(self.objects.get(group, {}).values()), int(query.get("continue", 0))
        end = start + int(query["limit"])
        more = {"continue": str(end)} if end < len(items) else {}
        meta = {"resourceVersion": str(self.version), **more}
        return {"kind": "RouteList", "apiVersion": "x/v1", "metadata": meta, "items": items[start:end]}

    async def stream(self, path: str, *, within: float, whole: bool = True, **query: str | int) -> AsyncGenerator[Raw]:
        self.requests.append(f"{path}?from={query['resourceVersion']}")
        group = self.allow(path)
        entry = group, asyncio.Queue[Raw | ApiError | None]()
        self.streams.append(entry)
        try:
            while (event := await entry[1].get()) is not None:
                if isinstance(event, ApiError):
                    raise event
                yield event
        finally:
            self.streams.remove(entry)


class Served:
    """As `RouteKinds`: in which version a resource is served."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def serve(self, resource: str, version: str) -> None:
        self.versions[resource] = version


class Host:
    """What the loop would have, and what it was told."""

    def __init__(self) -> None:
        self.wanted: dict[str, Kind] = {}
        self.kinds = Served()
        self.have: set[tuple[str, str]] = set()
        self.called: set[str] = set()
        self.listings: list[Listing] = []
        self.troubles: dict[str, Trouble] = {}
        self.unwanted: list[str] = []

    def routes_wanted(self) -> Mapping[str, Kind]:
        return self.wanted

    def apply(self, kind: str, event: str | None, raw: Raw) -> None:
        if raw["metadata"]["name"] == "poison":
            raise ValueError("poison")
        self.called.add(raw.get("kind", ""))
        (self.have.discard if event == "DELETED" else self.have.add)((kind, raw["metadata"]["name"]))

    def listed(self, listing: Listing) -> None:
        self.listings.append(listing)
        names = {name for _, name in listing.names}
        self.have = {each for each in self.have if each[0] != listing.kind or each[1] in names}

    def routes_listed(self, resource: str) -> None:
        self.troubles.pop(resource, None)

    def routes_failed(self, resource: str, trouble: Trouble) -> None:
        self.troubles[resource] = trouble

    def routes_unwanted(self, resource: str) -> None:
        self.unwanted.append(resource)
        self.have = {each for each in self.have if each[0] != resource}


Story = Callable[[Server, Host, RouteWatch], Coroutine[Any, Any, None]]


def tell(story: Story, *, wanted: tuple[Kind, ...] = (ROUTES,), namespaces: tuple[str, ...] = ()) -> None:
    async def run() -> None:
        server, host = Server(), Host()
        server.put(ROUTES.group, "a")
        host.wanted = {kind.resource: kind for kind in wanted}
        watch = RouteWatch(server, host, host, namespaces=namespaces)
        running = asyncio.create_task(watch.run())
        try:
            await story(server, host, watch)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert not server.streams, "every stream has ended"

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for most of them
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_watch, "RECHECK", 0.02)
    monkeypatch.setattr(route_watch, "CONFIRMED_AFTER", 0.02)
    monkeypatch.setattr(route_watch, "SILENT_AFTER", 0.05)
    monkeypatch.setattr(route_watch, "_BACKOFFS", (0.01,))


def test_a_resource_is_followed_from_the_first_plan_that_names_it_to_the_last() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await asyncio.sleep(0.05)
        assert server.requests == [], "nothing is asked for while no plan names anything"
        host.wanted = {ROUTES.resource: ROUTES}
        watch.changed()
        await until(lambda: server.streams)
        assert host.have == {(ROUTES.resource, "a")}
        assert host.called == {"Route"}, "an item of a list has no kind of its own"
        server.put(ROUTES.group, "b")
        await until(lambda: (ROUTES.resource, "b") in host.have)
        host.wanted = {}
        watch.changed()
        await until(lambda: host.unwanted == [ROUTES.resource])
        await until(lambda: not server.streams)
        assert not host.have
        asked = len(server.requests)
        await asyncio.sleep(0.05)
        assert len(server.requests) == asked

    tell(story, wanted=())


def test_what_changes_between_list_and_stream_is_not_lost() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        assert server.requests[-1].endswith(f"?from={host.listings[0].version}")
        server.put(ROUTES.group, "b")
        await until(lambda: (ROUTES.resource, "b") in host.have)
        server.tell(ROUTES.group, None)
        await until(lambda: len([each for each in server.requests if "from" in each]) > 1)
        assert server.requests[-1].endswith(f"?from={server.version}"), "the next one goes on where the last ended"
        assert len(host.listings) == 1

    tell(story)


def test_long_lists_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_watch, "CHUNK", 2)

    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        for name in "bcde":
            server.put(ROUTES.group, name)
        server.tell(ROUTES.group, ApiError(410, "Expired"))
        await until(lambda: len(host.listings) == 2)
        assert {name for _, name in host.listings[1].names} == set("abcde")

    tell(story)


def test_the_first_version_that_is_served_is_read() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: host.kinds.versions == {ROUTES.resource: "v1"})
        await until(lambda: server.streams)
        server.served[ROUTES.group] = ("v1beta1",)
        server.tell(ROUTES.group, ApiError(404, "NotFound"))
        await until(lambda: host.kinds.versions == {ROUTES.resource: "v1beta1"})
        await until(lambda: server.streams)
        assert host.have == {(ROUTES.resource, "a")}
        assert all(listing.names for listing in host.listings), "at no time was a route taken for gone"

    tell(story)


def test_a_resource_that_is_missing_says_so_until_it_comes() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        del server.served[ROUTES.group]
        server.tell(ROUTES.group, ApiError(404, "NotFound"))
        await until(lambda: host.troubles)
        trouble = host.troubles[ROUTES.resource]
        assert trouble.reason == StatusReason.ROUTER_NOT_INSTALLED
        assert "does not serve routes.example.dev" in trouble.words
        assert host.have == {(ROUTES.resource, "a")}, "what was of it may exist all the same"
        server.served[ROUTES.group] = ("v1alpha9",)
        await until(
            lambda: "in v1alpha9 only, and it can be read in v1 or v1beta1" in host.troubles[ROUTES.resource].words
        )
        server.put(ROUTES.group, "b")
        server.served[ROUTES.group] = ("v1alpha9", "v1")
        await until(lambda: not host.troubles)
        assert host.have == {(ROUTES.resource, "a"), (ROUTES.resource, "b")}
        assert all(listing.names for listing in host.listings), "at no time was a route taken for gone"

    tell(story)


def test_a_server_that_has_just_started_does_not_make_routes_go() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        served = server.served.pop(ROUTES.group)
        server.tell(ROUTES.group, ApiError(404, "NotFound"))
        asked = len(server.requests)
        await until(lambda: len(server.requests) > asked)
        server.served[ROUTES.group] = served
        await until(lambda: server.streams)
        assert not host.troubles
        assert all(listing.names for listing in host.listings)

    tell(story)


@pytest.mark.parametrize("trouble", ["forbidden", "down", "missing"])
def test_one_resource_stops_no_other(trouble: str) -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        server.put(OTHERS.group, "x")
        if trouble == "missing":
            del server.served[ROUTES.group]
        else:
            getattr(server, trouble).add(ROUTES.group)
        await until(lambda: (OTHERS.resource, "x") in host.have)
        await until(lambda: ROUTES.resource in host.troubles)
        server.put(OTHERS.group, "y")
        await until(lambda: (OTHERS.resource, "y") in host.have)
        if trouble != "missing":
            getattr(server, trouble).clear()
            await until(lambda: ROUTES.resource not in host.troubles)
            assert (ROUTES.resource, "a") in host.have

    tell(story, wanted=(ROUTES, OTHERS))


def test_one_bad_object_stops_no_other() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        server.put(ROUTES.group, "poison")
        server.put(ROUTES.group, "b")
        await until(lambda: (ROUTES.resource, "b") in host.have)

    tell(story)


def test_a_list_that_is_older_than_what_was_seen_is_of_a_new_history() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: server.streams)
        backup = server.version
        server.put(ROUTES.group, "b")
        await until(lambda: (ROUTES.resource, "b") in host.have)
        server.version = backup
        del server.objects[ROUTES.group]["b"]
        watch.restart()
        await until(lambda: len(host.listings) == 2)
        assert [listing.is_new_history for listing in host.listings] == [False, True]
        assert host.have == {(ROUTES.resource, "a")}

    tell(story)


def test_every_namespace_of_the_operator_is_listed_by_itself() -> None:
    async def story(server: Server, host: Host, watch: RouteWatch) -> None:
        await until(lambda: len(server.streams) == 2)
        assert {listing.namespace for listing in host.listings} == {"shop", "bank"}
        assert all("/namespaces/" in each for each in server.requests if "?" in each)

    tell(story, namespaces=("shop", "bank", "shop"))
