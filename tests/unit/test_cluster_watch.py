"""Watching, against a small API server of our own that can do all that a real one does on a bad day."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest
from aiohttp import web

from rolloutplan.cluster.paths import CLUSTER_SOURCES, DEPLOYMENTS, PLANS, Kind
from rolloutplan.loop import watch
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.versions import Listing
from rolloutplan.loop.watch import Watch
from rolloutplan.traffic import ROUTE_KINDS

Raw = dict[str, Any]
Ident = tuple[str, str, str]
ROUTES = place_of(ROUTE_KINDS["HTTPRoute"])


class Cluster:
    """An API server: objects, lists in chunks, streams, discovery, and switches for what goes wrong."""

    def __init__(self) -> None:
        self.version = 10
        self.numbers = True
        """Whether resourceVersions are numbers, as the API's contract says."""
        self.objects: dict[Ident, Raw] = {}
        self.absent: set[str] = set()
        self.forbidden: set[tuple[str, str]] = set()
        self.token = "good"
        self.down = 0
        self.stumbles: set[str] = set()
        """Kinds of which the first look fails."""
        self.requests: list[str] = []
        self.writes: list[str] = []
        self.streams: list[tuple[str, str, asyncio.Queue[Raw | None]]] = []

    @property
    def resource_version(self) -> str:
        return str(self.version) if self.numbers else f"v{self.version}"

    def put(self, plural: str, name: str, namespace: str = "shop", **more: Any) -> None:
        ident = (plural, namespace, name)
        event = "MODIFIED" if ident in self.objects else "ADDED"
        self.version += 1
        scope = {"namespace": namespace} if namespace else {}
        meta = {"name": name, "uid": f"{plural}-{name}", "resourceVersion": self.resource_version, **scope}
        self.objects[ident] = {"metadata": meta, **more}
        self.send(plural, namespace, {"type": event, "object": self.objects[ident]})

    def delete(self, plural: str, name: str, namespace: str = "shop", *, silently: bool = False) -> None:
        gone = self.objects.pop((plural, namespace, name))
        self.version += 1
        gone["metadata"]["resourceVersion"] = self.resource_version
        if not silently:
            self.send(plural, namespace, {"type": "DELETED", "object": gone})

    def send(self, plural: str, namespace: str, event: Raw | None) -> None:
        for of, where, queue in self.streams:
            if of == plural and where in ("", namespace):
                queue.put_nowait(event)

    def error(self, plural: str, code: int) -> None:
        """End the streams of a kind with an error, as a server does whose history is too short (410)."""
        for of, _, queue in self.streams:
            if of == plural:
                queue.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "x"}})
                queue.put_nowait(None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        if self.down:
            return web.json_response({"kind": "Status", "message": "down"}, status=self.down)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "message": "who?"}, status=401)
        parts = request.path.strip("/").split("/")
        if len(parts) <= (2 if parts[0] == "api" else 3):
            return self.discovery(parts)
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace, plural = (parts[1], parts[2]) if parts[0] == "namespaces" else ("", parts[0])
        if plural in self.stumbles:
            self.stumbles.remove(plural)
            return web.json_response({"kind": "Status", "message": "once"}, status=500)
        if plural in self.absent:
            return web.Response(status=404, text="404 page not found")
        if {(plural, namespace), (plural, "*")} & self.forbidden:
            return web.json_response({"kind": "Status", "message": "no"}, status=403)
        if request.query.get("watch"):
            return await self.stream(request, plural, namespace)
        return self.list(request, plural, namespace)

    def discovery(self, parts: list[str]) -> web.Response:
        kinds = [PLANS, CLUSTER_SOURCES, ROUTES, DEPLOYMENTS]
        kinds += [Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)]
        kinds += [Kind("", "v1", "namespaces", namespaced=False)]  # kopf waits for these two, used or not
        if parts == ["api"]:
            return web.json_response({"versions": ["v1"]})
        if len(parts) == 1:
            groups = [
                {"name": k.group, "versions": [{"version": k.version}], "preferredVersion": {"version": k.version}}
                for k in {k.group: k for k in kinds if k.group}.values()
            ]
            return web.json_response({"groups": groups})
        served = [k for k in kinds if k.api_version == "/".join(parts[1:]) and k.plural not in self.absent]
        resources = [
            {
                "name": k.plural,
                "kind": k.plural,
                "singularName": k.plural,
                "namespaced": k.namespaced,
                "verbs": ["list", "watch", "patch"],
            }
            for k in served
        ]
        return web.json_response({"resources": resources})

    def list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        items = [o for (of, where, _), o in self.objects.items() if of == plural and namespace in ("", where)]
        start, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        more = {"continue": str(start + limit)} if start + limit < len(items) else {}
        meta = {"resourceVersion": self.resource_version, **more}
        return web.json_response(
            {"apiVersion": "x/v1", "kind": "ThingList", "metadata": meta, "items": items[start : start + limit]}
        )

    async def stream(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        queue: asyncio.Queue[Raw | None] = asyncio.Queue()
        entry = (plural, namespace, queue)
        response = web.StreamResponse()
        self.streams.append(entry)
        try:
            await response.prepare(request)
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.streams.remove(entry)
        return response


class Engine:
    """What a store would have, and the order in which it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.listings: list[Listing] = []
        self.have: dict[Ident, Raw] = {}
        self.may: list[tuple[str, str | None, bool]] = []

    def allowed(self, kind: Kind, namespace: str | None, allowed: bool) -> None:
        self.may.append((kind.plural, namespace, allowed))

    def apply(self, resource: str, event: str | None, raw: Raw) -> None:
        kind = plural_of(resource)
        ident = (kind, raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
        self.told.append((kind, event, ident[2]))
        if raw.get("poison"):
            raise ValueError("poison")
        if event == "DELETED":
            self.have.pop(ident, None)
        else:
            self.have[ident] = raw

    def listed(self, listing: Listing) -> None:
        self.listings.append(listing)
        kind = plural_of(listing.kind)
        self.told.append((kind, "LISTED", listing.namespace, listing.names))
        for ident in list(self.have):
            if ident[0] == kind and listing.namespace in (None, ident[1]) and ident[1:] not in listing.names:
                del self.have[ident]

    def names(self, kind: Kind) -> set[str]:
        return {name for plural, _, name in self.have if plural == kind.plural}


def plural_of(resource: str) -> str:
    """The name of a resource without its group, as the requests of these tests have it."""
    return resource.partition(".")[0]


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(
    cluster: Cluster, folder: Path, kinds: Sequence[Kind] = (PLANS,), namespaces: Sequence[str] = ()
) -> AsyncIterator[tuple[Watch, Engine]]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", cluster.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    write_kubeconfig(folder, "good", runner.addresses[0][1])
    engine = Engine()
    watched = Watch(kinds, apply=engine.apply, listed=engine.listed, allowed=engine.allowed, namespaces=namespaces)
    watched.start()
    try:
        yield watched, engine
    finally:
        async with asyncio.timeout(30):
            await watched.stop()
        assert not watched._thread.is_alive()
        await runner.cleanup()
    assert cluster.writes == []


def write_kubeconfig(folder: Path, token: str, port: int | None = None) -> None:
    path = folder / "kubeconfig"
    config = json.loads(path.read_text()) if path.exists() else {"current-context": "x"}
    if port:
        config["clusters"] = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
    config["users"] = [{"name": "u", "user": {"token": token}}]
    config["contexts"] = [{"name": "x", "context": {"cluster": "c", "user": "u"}}]
    path.write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(watch, "RECHECK", 0.1)
    monkeypatch.setattr(watch, "_RESTART_DELAYS", (0.05,))


def test_lists_and_follows(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        cluster.put("clustermetricsources", "default", "")
        async with watching(cluster, tmp_path, [PLANS, CLUSTER_SOURCES, DEPLOYMENTS]) as (watched, engine):
            assert not watched.synced()
            assert watched.missing() == ["rolloutplans", "clustermetricsources", "deployments"]
            await until(watched.synced)
            assert watched.missing() == []
            assert engine.told.index(("rolloutplans", None, "a")) < engine.told.index(
                ("rolloutplans", "LISTED", None, frozenset({("shop", "a")}))
            )
            assert ("deployments", "LISTED", None, frozenset()) in engine.told
            assert ("clustermetricsources", "LISTED", None, frozenset({("", "default")})) in engine.told
            raw = engine.have["rolloutplans", "shop", "a"]
            assert (type(raw), raw["kind"], raw["apiVersion"]) == (dict, "Thing", "x/v1")
            await until(lambda: len(cluster.streams) == 3)
            asked = len(cluster.requests)
            cluster.put("rolloutplans", "b")
            cluster.put("rolloutplans", "a", spec={"x": 1})
            await until(lambda: engine.have["rolloutplans", "shop", "a"].get("spec") == {"x": 1})
            await until(lambda: engine.names(PLANS) == {"a", "b"})
            cluster.delete("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"a"})
            assert len(cluster.requests) == asked

    asyncio.run(run())


def test_long_lists_come_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = watch._settings

    def small() -> Any:
        changed = settings()
        changed.watching.chunk_size = 2
        return changed

    monkeypatch.setattr(watch, "_settings", small)

    async def run() -> None:
        cluster = Cluster()
        for name in "abcde":
            cluster.put("rolloutplans", name)
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            assert engine.names(PLANS) == set("abcde")
            assert [told[1] for told in engine.told].count("LISTED") == 1
            assert len(engine.told[-1][3]) == 5

    asyncio.run(run())


def test_what_vanished_while_a_stream_was_down_is_gone_after_the_next_list(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.delete("rolloutplans", "a", silently=True)
            cluster.error("rolloutplans", 410)
            await until(lambda: engine.names(PLANS) == set())
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"b"})

    asyncio.run(run())


def test_an_event_older_than_the_list_is_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        old = json.loads(json.dumps(cluster.objects["rolloutplans", "shop", "a"]))
        cluster.delete("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.send("rolloutplans", "shop", {"type": "MODIFIED", "object": old})
            cluster.put("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"b"})
            assert ("rolloutplans", "MODIFIED", "a") not in engine.told

    asyncio.run(run())


def test_a_server_that_does_not_number_its_versions_is_followed(tmp_path: Path) -> None:
    """Nothing can be said of which is newer then, and to leave everything out would be to see nothing any more."""

    async def run() -> None:
        cluster = Cluster()
        cluster.numbers = False
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"a", "b"})
            cluster.delete("rolloutplans", "a")
            await until(lambda: engine.names(PLANS) == {"b"})

    asyncio.run(run())


def test_a_list_that_is_older_than_what_was_told_before_is_said_to_be_so(tmp_path: Path) -> None:
    """The cluster was restored from a backup: what is known of newer versions is void."""

    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            backup = cluster.version
            cluster.put("rolloutplans", "a", spec={"x": 1})
            cluster.put("rolloutplans", "a", spec={"x": 2})
            await until(lambda: engine.have["rolloutplans", "shop", "a"].get("spec") == {"x": 2})
            cluster.error("rolloutplans", 410)
            await until(lambda: len(engine.listings) == 2)
            await until(lambda: bool(cluster.streams))
            cluster.version = backup
            cluster.put("rolloutplans", "b")
            cluster.error("rolloutplans", 410)
            await until(lambda: len(engine.listings) == 3)
            assert [(each.version, each.is_new_history) for each in engine.listings] == [
                (str(backup), False),
                (str(backup + 2), False),
                (str(backup + 1), True),
            ]

    asyncio.run(run())


def test_after_a_restore_it_lists_again_though_its_streams_only_stay_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "a", spec={"x": 1})
            await until(lambda: engine.have["rolloutplans", "shop", "a"].get("spec") == {"x": 1})
            cluster.version = 0
            with monkeypatch.context() as silent:  # the version that the streams began with is not reached yet
                silent.setattr(cluster, "send", lambda *_: None)
                cluster.put("rolloutplans", "b")
            watched.restart()
            await until(lambda: engine.listings[-1].names == {("shop", "a"), ("shop", "b")})
            assert engine.listings[-1].is_new_history
            await until(lambda: "watch=true" in cluster.requests[-1] and bool(cluster.streams))
            cluster.put("rolloutplans", "a", spec={"x": 3})
            await until(lambda: engine.have["rolloutplans", "shop", "a"].get("spec") == {"x": 3})

    asyncio.run(run())


@pytest.mark.parametrize("code", [500, 403])
def test_an_odd_error_in_a_stream_ends_kopf_and_not_the_watching(tmp_path: Path, code: int) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.error("rolloutplans", code)
            cluster.delete("rolloutplans", "a", silently=True)
            await until(lambda: engine.names(PLANS) == set())
            assert watched.synced()

    asyncio.run(run())


def test_a_server_that_is_down_for_a_while(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.down = 503
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(lambda: len(cluster.requests) > 3)
            assert not watched.synced()
            cluster.down = 0
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.down = 500
            cluster.send("rolloutplans", "shop", None)
            asked = len(cluster.requests)
            await until(lambda: len(cluster.requests) > asked + 2)
            cluster.down = 0
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "a")
            await until(lambda: engine.names(PLANS) == {"a"})

    asyncio.run(run())


def test_a_look_that_fails_for_one_kind_is_not_begun_again_for_the_others(tmp_path: Path) -> None:
    """At one false answer in five, a look at seven kinds would hardly ever pass whole."""

    async def run() -> None:
        cluster = Cluster()
        cluster.stumbles = {PLANS.plural, ROUTES.plural, DEPLOYMENTS.plural}
        async with watching(cluster, tmp_path, (PLANS, ROUTES, DEPLOYMENTS)) as (watched, _):
            await until(watched.synced)
        looks = [asked.split("?")[0].rsplit("/", 1)[1] for asked in cluster.requests if asked.endswith("?limit=1")]
        assert sorted(looks) == sorted([PLANS.plural, ROUTES.plural, DEPLOYMENTS.plural] * 2)

    asyncio.run(run())


def test_a_kind_that_is_not_installed_is_empty_until_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.absent = {"httproutes"}
        cluster.put("httproutes", "web")
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path, [PLANS, ROUTES]) as (watched, engine):
            await until(watched.synced)
            assert (engine.names(PLANS), engine.names(ROUTES)) == ({"a"}, set())
            cluster.absent = set()
            await until(lambda: engine.names(ROUTES) == {"web"})

    asyncio.run(run())


def test_nothing_is_installed_yet(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.absent = {"rolloutplans"}
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            cluster.absent = set()
            cluster.put("rolloutplans", "a")
            await until(lambda: engine.names(PLANS) == {"a"})

    asyncio.run(run())


def test_a_kind_that_is_forbidden_is_said_and_heals(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.forbidden = {("deployments", "*")}
        async with watching(cluster, tmp_path, [PLANS, DEPLOYMENTS]) as (watched, _):
            await until(lambda: watched.synced(PLANS))
            assert not watched.synced()
            assert watched.missing() == ["deployments (forbidden: list and watch are not granted)"]
            cluster.forbidden = set()
            await until(watched.synced)

    asyncio.run(run())


def test_a_kind_that_becomes_forbidden_is_said_too_though_it_was_listed(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        async with watching(cluster, tmp_path, [PLANS, DEPLOYMENTS]) as (watched, engine):
            await until(lambda: watched.synced() and bool(cluster.streams))
            assert engine.may == []
            cluster.forbidden = {("deployments", "*")}
            cluster.send("deployments", "shop", None)
            await until(lambda: watched.missing() == ["deployments (forbidden: list and watch are not granted)"])
            await until(lambda: engine.may == [("deployments", None, False)])
            cluster.forbidden = set()
            await until(lambda: watched.missing() == [])
            await until(lambda: engine.may == [("deployments", None, False), ("deployments", None, True)])

    asyncio.run(run())


def test_some_namespaces_only(tmp_path: Path) -> None:
    """Each has its own list; a cluster-wide kind is taken as not installed where we may not see it."""

    async def run() -> None:
        cluster = Cluster()
        cluster.forbidden = {("rolloutplans", ""), ("rolloutplans", "b"), ("clustermetricsources", "")}
        for namespace in "abc":
            cluster.put("rolloutplans", f"in-{namespace}", namespace)
        async with watching(cluster, tmp_path, [PLANS, CLUSTER_SOURCES], ["a", "b", "a"]) as (watched, engine):
            await until(lambda: engine.names(PLANS) == {"in-a"})
            await until(lambda: watched.missing() == ["rolloutplans in b (forbidden: list and watch are not granted)"])
            assert engine.may == [("rolloutplans", "b", False)]
            cluster.forbidden -= {("rolloutplans", "b")}
            await until(watched.synced)
            assert engine.names(PLANS) == {"in-a", "in-b"}
            lists = {told[2]: told[3] for told in engine.told if told[:2] == ("rolloutplans", "LISTED")}
            assert lists == {"a": {("a", "in-a")}, "b": {("b", "in-b")}}
            await until(lambda: len(cluster.streams) == 2)
            cluster.put("rolloutplans", "new", "b")
            await until(lambda: "new" in engine.names(PLANS))

    asyncio.run(run())


def test_credentials_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        cluster = Cluster()
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.token = "other"
            cluster.send("rolloutplans", "shop", None)
            asked = len(cluster.requests)
            await until(lambda: len(cluster.requests) > asked)
            write_kubeconfig(tmp_path, "other")
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "a")
            await until(lambda: engine.names(PLANS) == {"a"})

    asyncio.run(run())


def test_a_refused_token_is_not_tried_in_a_tight_circle(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        async with watching(cluster, tmp_path) as (watched, _):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.token = "other"
            asked = len(cluster.requests)
            cluster.send("rolloutplans", "shop", None)
            await asyncio.sleep(1.5)
            assert len(cluster.requests) - asked < 10

    asyncio.run(run())


def test_the_finalizer_of_another_kopf_operator_stays(tmp_path: Path) -> None:
    """Kopf would take it off with its default settings; `watching` sees to it that nothing is ever written."""

    async def run() -> None:
        cluster = Cluster()
        async with watching(cluster, tmp_path) as (_, engine):
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "a")
            foreign = cluster.objects["rolloutplans", "shop", "a"]
            foreign["metadata"]["finalizers"] = [kopf.OperatorSettings().persistence.finalizer]
            cluster.put("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"a", "b"})
            await asyncio.sleep(0.1)

    asyncio.run(run())


async def _never_ending() -> None:
    """What some of kopf's tasks do when they are told to end."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def _failing() -> None:
    raise RuntimeError("a CRD is gone")


@pytest.mark.parametrize("first_life", [[_never_ending], [_never_ending, _failing]], ids=["hangs", "hangs at its end"])
def test_a_kopf_that_hangs_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_life: list[Callable[[], Coroutine[Any, Any, None]]]
) -> None:
    spawn, lives = kopf.spawn_tasks, 0

    async def spawn_tasks(**how: Any) -> Any:
        nonlocal lives
        lives += 1
        return [asyncio.create_task(task()) for task in first_life] if lives == 1 else await spawn(**how)

    monkeypatch.setattr(kopf, "spawn_tasks", spawn_tasks)
    monkeypatch.setattr(watch, "SILENT_AFTER", 1.5)

    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            assert engine.names(PLANS) == {"a"}
            assert lives >= 2

    asyncio.run(run())


def test_a_stream_that_hangs_is_opened_anew_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on, and nothing is listed again: kopf goes on from the newest version that it was told."""
    monkeypatch.setattr(watch, "STREAM_HANGS_AFTER", 0.5)

    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            await until(lambda: bool(cluster.streams))
            cluster.put("rolloutplans", "b")
            await until(lambda: engine.names(PLANS) == {"a", "b"})
            asked = len(cluster.requests)
            await until(lambda: len(cluster.requests) >= asked + 2)
            assert all(
                f"watch=true&allowWatchBookmarks=true&resourceVersion={cluster.version}" in request
                for request in cluster.requests[asked:]
            )
            assert all(f"timeoutSeconds={watch.STREAM_ENDS_AFTER}" in request for request in cluster.requests[asked:])
            assert len(engine.listings) == 1

    asyncio.run(run())


def test_a_stream_ends_before_it_is_said_to_hang_and_that_before_kopf_is() -> None:
    assert watch.STREAM_ENDS_AFTER < watch.STREAM_HANGS_AFTER < watch.SILENT_AFTER


def test_one_bad_object_stops_no_other(tmp_path: Path) -> None:
    async def run() -> None:
        cluster = Cluster()
        cluster.put("rolloutplans", "a", poison=True)
        cluster.put("rolloutplans", "b")
        async with watching(cluster, tmp_path) as (watched, engine):
            await until(watched.synced)
            assert engine.names(PLANS) == {"b"}

    asyncio.run(run())


def test_stop_before_and_right_after_the_start() -> None:
    async def run() -> None:
        await Watch([PLANS], apply=Engine().apply, listed=Engine().listed).stop()
        watched = Watch([PLANS], apply=Engine().apply, listed=Engine().listed)
        watched.start()
        async with asyncio.timeout(30):
            await watched.stop()
        assert not watched._thread.is_alive()

    asyncio.run(run())
