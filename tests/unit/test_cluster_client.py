"""The client: what it sends, what each failure becomes, and that it never waits for ever."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from rolloutplan.cluster import client, paths
from rolloutplan.cluster.client import Api, ApiError, own_namespace, read_config, read_namespace
from rolloutplan.loop import watch
from rolloutplan.loop.routes import place_of
from rolloutplan.traffic import ROUTE_KINDS

ROUTE = paths.path(place_of(ROUTE_KINDS["HTTPRoute"]), "shop", "web")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading those of the machine takes longer than all the rest, and nobody speaks TLS here."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """A server that answers every request by `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def failing(call: Callable[[Api], Awaitable[Any]], handler: Handler, timeout: float = 5.0) -> ApiError:
    """What a call raises when the server does as `handler` says."""

    async def run() -> ApiError:
        async with server(handler) as url:
            api = Api(Configuration(host=url), timeout=timeout)
            with pytest.raises(ApiError) as raised:
                await call(api)
            await api.close()
            return raised.value

    return asyncio.run(run())


def get(api: Api) -> Awaitable[Any]:
    return api.get("/x")


def test_what_is_sent() -> None:
    seen: list[tuple[str, str, str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.headers["User-Agent"].startswith("rolloutplan/")
        assert request.headers["Accept"] == "application/json"
        body = await request.json() if request.can_read_body else None
        seen.append((request.method, request.path_qs, request.headers.get("Content-Type", ""), body))
        return web.json_response({"ok": True}, status=201 if request.method == "POST" else 200)

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url))
            await api.get(paths.plan("shop", "a"))
            await api.list(paths.pods("shop"), labelSelector="a=1,b in (x,y)", limit=5)
            await api.patch(paths.plan("shop", "a", "status"), {"a": None})
            await api.patch(ROUTE, [{"op": "test"}], kind="json")
            await api.patch(ROUTE, [], kind="json", field_manager="other")
            assert await api.create(paths.event("shop"), {"b": 1}) == {"ok": True}
            await api.close()

    asyncio.run(run())
    plan, route = "/apis/rolloutplan.dev/v1alpha1/namespaces/shop/rolloutplans/a", ROUTE
    assert [(method, path, body) for method, path, _, body in seen] == [
        ("GET", plan, None),
        ("GET", "/api/v1/namespaces/shop/pods?labelSelector=a%3D1,b+in+(x,y)&limit=5", None),
        ("PATCH", f"{plan}/status?fieldManager=rolloutplan", {"a": None}),
        ("PATCH", f"{route}?fieldManager=rolloutplan", [{"op": "test"}]),
        ("PATCH", f"{route}?fieldManager=other", []),
        ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events?fieldManager=rolloutplan", {"b": 1}),
    ]
    assert [content for _, _, content, _ in seen[2:]] == [
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/json-patch+json",
        "application/json",
    ]


def status(code: int, reason: str = "", message: str = "", **more: Any) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        said = {"kind": "Status", "code": code, "reason": reason, "message": message, **more.get("body", {})}
        return web.json_response(said, status=code, headers=more.get("headers"))

    return handler


@pytest.mark.parametrize(
    ("handler", "code", "reason", "message", "after"),
    [
        (status(404, "NotFound", "no such plan"), 404, "NotFound", "no such plan", None),
        (status(409, "Conflict", "modified"), 409, "Conflict", "modified", None),
        (status(422, "Invalid", "test failed"), 422, "Invalid", "test failed", None),
        (status(429, "TooManyRequests", headers={"Retry-After": "3"}), 429, "TooManyRequests", "", 3.0),
        (status(504, "Timeout", body={"details": {"retryAfterSeconds": 2}}), 504, "Timeout", "", 2.0),
        (status(503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), 503, "Unknown", "", None),
    ],
)
def test_a_refusal(handler: Handler, code: int, reason: str, message: str, after: float | None) -> None:
    error = failing(get, handler)
    assert (error.status, error.reason, error.message, error.retry_after) == (code, reason, message, after)
    assert str(code) in str(error)


def test_an_answer_that_is_not_json() -> None:
    async def proxy(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>\n" * 100)

    error = failing(get, proxy)
    assert (error.status, error.reason) == (502, "NotJson")
    assert error.message.startswith("<html>bad gateway</html>")
    assert len(error.message) <= 200

    async def odd(_: web.Request) -> web.Response:
        return web.json_response([1])

    assert failing(get, odd).status == 200


def test_a_server_that_hangs() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def hang_in_the_body(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(60)
        return response

    for handler in (hang, hang_in_the_body):
        began = time.monotonic()
        error = failing(get, handler, timeout=0.2)
        assert (error.status, error.reason, error.message) == (0, "Timeout", "no answer within 0.2 s")
        assert time.monotonic() - began < 30


def test_nobody_there() -> None:
    async def run() -> ApiError:
        api = Api(Configuration(host="http://127.0.0.1:1"))
        with pytest.raises(ApiError) as raised:
            await api.get("/x")
        await api.close()
        return raised.value

    error = asyncio.run(run())
    assert error.status == 0
    assert "127.0.0.1:1" in error.message


def test_a_call_may_choose_a_shorter_time_and_none_that_is_longer() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    calls: list[Callable[[Api], Awaitable[Any]]] = [
        lambda api: api.get("/x", timeout=0.1),
        lambda api: api.list("/x", timeout=0.1),
        lambda api: api.create("/x", {}, timeout=0.1),
        lambda api: api.patch("/x", {}, timeout=0.1),
    ]
    for call in calls:
        assert failing(call, hang).message == "no answer within 0.1 s"
    assert failing(lambda api: api.get("/x", timeout=60), hang, timeout=0.1).message == "no answer within 0.1 s"


def test_each_request_that_was_sent_is_told_of() -> None:
    seen: list[tuple[str, str, int]] = []

    def observe(method: str, path: str, code: int, seconds: float) -> None:
        assert 0 < seconds < 5
        seen.append((method, path, code))

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/hang":
            await asyncio.sleep(60)
        return web.json_response({}, status=404 if request.path == "/none" else 200)

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url), timeout=0.2, observe=observe)
            await api.patch("/a", {}, field_manager="me")
            await api.list("/b", limit=1)
            for path in ("/none", "/hang"):
                with pytest.raises(ApiError):
                    await api.get(path)
            await api.close()

    asyncio.run(run())
    assert seen == [("PATCH", "/a", 200), ("GET", "/b", 200), ("GET", "/none", 404), ("GET", "/hang", 0)]


def test_what_time_the_api_server_says_it_is_is_told_of() -> None:
    seen: list[str] = []

    def compare(date: str, sent: float, received: float) -> None:
        assert 0 <= received - sent < 5
        seen.append(date)

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, status=404, headers={"Date": "Sun, 01 Mar 2026 12:00:00 GMT"})

    assert failing(get, handler).status == 404, "nobody need listen"

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url), compare_clock=compare)
            with pytest.raises(ApiError):
                await api.get("/x")
            await api.close()

    asyncio.run(run())
    assert seen == ["Sun, 01 Mar 2026 12:00:00 GMT"]


def test_who_may_not_write_reads_all_the_same() -> None:
    sent: list[str] = []
    leads = True

    async def handler(request: web.Request) -> web.Response:
        sent.append(request.method)
        return web.json_response({})

    async def run() -> None:
        nonlocal leads
        async with server(handler) as url:
            api = Api(Configuration(host=url))
            api.may_write = lambda: leads
            await api.patch("/x", {})
            leads = False
            for call in (api.create("/x", {}), api.patch("/x", {}), api.patch("/x", [], kind="json")):
                with pytest.raises(ApiError) as raised:
                    await call
                assert (raised.value.status, raised.value.reason) == (0, "NotLeading")
                assert raised.value.message == "this replica does not hold the Lease"
            await api.get("/x")
            await api.list("/x")
            await api.close()

    asyncio.run(run())
    assert sent == ["PATCH", "GET", "GET"]


def kubeconfig(
    folder: Path, url: str, token: str, user: Mapping[str, Any] = MappingProxyType({}), /, **context: str
) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "other", "user": {"as": "nobody"}}, {"name": "u", "user": {"token": token, **user}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def test_a_json_patch_is_spelled_as_the_api_server_spells_objects() -> None:
    """It compares the texts of a `test` as they are spelled."""
    bodies = []

    async def handler(request: web.Request) -> web.Response:
        bodies.append((await request.read()).decode())
        return web.json_response({})

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url))
            test = {"op": "test", "path": "/a", "value": "Host(`ä`) && <b> \u2028"}
            await api.patch("/x", [test], kind="json")
            await api.patch("/x", {"a": "&"})
            await api.close()

    asyncio.run(run())
    assert bodies[0] == r'[{"op":"test","path":"/a","value":"Host(`ä`) \u0026\u0026 \u003cb\u003e \u2028"}]'
    assert json.loads(bodies[1]) == {"a": "&"}


def test_a_new_token_is_read_when_the_former_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valid, refused = "one", 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal refused
        if request.headers.get("Authorization") == f"Bearer {valid}":
            return web.json_response({})
        refused += 1
        return web.json_response({"reason": "Unauthorized"}, status=401)

    async def run() -> None:
        nonlocal valid
        async with server(handler) as url:
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url, "one")))
            api = await Api.connect()
            api._made -= 60
            await api.get("/x")
            valid = "two"
            kubeconfig(tmp_path, url, "two")
            await asyncio.gather(*(api.get("/x") for _ in range(5)))
            assert refused == 5
            valid = "three"
            with pytest.raises(ApiError, match="401 Unauthorized"):  # read a moment ago: not again at once
                await api.get("/x")
            assert refused == 6
            await api.close()

    asyncio.run(run())


def test_the_lease_may_be_lost_while_a_refused_token_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, leads = 0, True

    async def handler(_: web.Request) -> web.Response:
        nonlocal sent, leads
        sent, leads = sent + 1, False
        return web.json_response({"reason": "Unauthorized"}, status=401)

    async def run() -> None:
        async with server(handler) as url:
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url, "one")))
            api = await Api.connect()
            api.may_write = lambda: leads
            api._made -= 60
            with pytest.raises(ApiError, match="NotLeading"):
                await api.patch("/x", {})
            await api.close()

    asyncio.run(run())
    assert sent == 1


@pytest.mark.parametrize(
    ("user", "headers"),
    [
        ({}, []),
        ({"as": "ann"}, [("Impersonate-User", "ann")]),
        (
            {"as": "ann", "as-uid": "7", "as-groups": ["on-call", "shop"]},
            [
                ("Impersonate-User", "ann"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Group", "on-call"),
                ("Impersonate-Group", "shop"),
            ],
        ),
        (
            {"as": "ann", "as-user-extra": {"example.com/Scope": ["read", "write"]}},
            [
                ("Impersonate-User", "ann"),
                ("Impersonate-Extra-example.com%2Fscope", "read"),
                ("Impersonate-Extra-example.com%2Fscope", "write"),
            ],
        ),
    ],
)
def test_every_request_is_sent_as_the_user_whom_the_kubeconfig_impersonates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any], headers: list[tuple[str, str]]
) -> None:
    """Reads, writes, and what the operator asks before it watches: with the user's own rights it would be more."""
    sent: list[list[tuple[str, str]]] = []

    async def handler(request: web.Request) -> web.Response:
        sent.append([each for each in request.headers.items() if each[0].startswith("Impersonate-")])
        assert request.headers["Authorization"] == "Bearer one"
        return web.json_response({})

    async def run() -> None:
        async with server(handler) as url:
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, url, "one", user)))
            api = await Api.connect()
            await api.get("/x")
            await api.patch("/x", {})
            await api.close()
            async with await watch._session(await read_config()) as session:
                await session.get(f"{url}/x")

    asyncio.run(run())
    assert sent == [headers] * 3


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ({"as-groups": ["on-call"]}, "without as: name the user"),
        ({"as": 7}, "as of the kubeconfig is 7: write a text in quotes"),
        ({"as": "ann\r\nx: y"}, "without line breaks"),
        ({"as": "ann", "as-groups": "on-call"}, "as-groups of the kubeconfig is no list"),
        ({"as": "ann", "as-user-extra": ["scope"]}, "as-user-extra of the kubeconfig is no mapping"),
    ],
)
def test_an_impersonation_that_cannot_be_sent_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any], why: str
) -> None:
    """Without it, the request would have the rights of the user who is not to be used."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://x", "one", user)))
    with pytest.raises(ApiError, match="no usable configuration") as raised:
        asyncio.run(read_config())
    assert why in raised.value.message


@pytest.mark.parametrize(("context", "namespace"), [({"namespace": "shop"}, "shop"), ({}, "default")])
def test_commands_go_to_the_namespace_of_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, str], namespace: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://x", "t", **context)))
    assert read_namespace() == namespace


@pytest.mark.parametrize(("text", "namespace"), [("shop\n", "shop"), ("", "default"), (None, "default")])
def test_in_a_pod_they_go_to_its_own_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, namespace: str
) -> None:
    file = tmp_path / "namespace"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(client, "_NAMESPACE", file)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert read_namespace() == own_namespace() == namespace


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "which does not exist"),
        ("", "not of the form that kubectl writes"),
        ("- a list", "not of the form that kubectl writes"),
        ("clusters: [", "while parsing"),
        ('{"clusters": []}', "Expected key current-context"),
        ('{"current-context": "a", "contexts": [{"name": "a"}]}', ""),
    ],
)
def test_no_configuration_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str | None, why: str
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    for read in (lambda: asyncio.run(read_config()), read_namespace):
        with pytest.raises(ApiError) as raised:
            read()
        assert (raised.value.status, raised.value.reason) == (0, "NoConfig")
        assert why in raised.value.message
    assert not caplog.messages, "the library says it again"


def test_without_a_file_and_outside_of_a_cluster_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(client, "_HOME", Path("/nowhere"))
    with pytest.raises(ApiError, match="KUBECONFIG names no file"):
        asyncio.run(read_config())


def test_paths() -> None:
    assert paths.path(paths.CLUSTER_SOURCES, "ignored", "x") == "/apis/rolloutplan.dev/v1alpha1/clustermetricsources/x"
    assert paths.path(paths.DEPLOYMENTS) == "/apis/apps/v1/deployments"
    assert paths.service("a", "b") == "/api/v1/namespaces/a/services/b"
    assert paths.event("a", "b") == "/apis/events.k8s.io/v1/namespaces/a/events/b"


def events(*lines: str) -> Handler:
    """A watch that brings these lines and ends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true"
        assert request.query["timeoutSeconds"] == "3"
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            for part in (line[: len(line) // 2], line[len(line) // 2 :]):
                await response.write(part.encode())
                await asyncio.sleep(0)
        return response

    return handler


async def follow(api: Api) -> list[Any]:
    return [event async for event in api.stream("/x", within=3, labelSelector="a")]


def test_a_stream_yields_each_event_however_it_is_cut_and_however_long_it_is() -> None:
    large = {"type": "MODIFIED", "object": {"endpoints": ["x" * 100] * 50_000}}

    async def run() -> list[Any]:
        async with server(events('{"type": "ADDED", "object": {"a": 1}}\n', json.dumps(large) + "\n")) as url:
            api = Api(Configuration(host=url))
            try:
                return await follow(api)
            finally:
                await api.close()

    assert asyncio.run(run()) == [{"type": "ADDED", "object": {"a": 1}}, large]


@pytest.mark.parametrize(
    ("handler", "code", "reason"),
    [
        (status(403, "Forbidden", "no"), 403, "Forbidden"),
        (events('{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}\n'), 410, "Expired"),
        (events("<html>\n"), 0, "NotJson"),
    ],
    ids=["refused", "a version that is too old", "a proxy's page"],
)
def test_a_stream_that_fails(handler: Handler, code: int, reason: str) -> None:
    error = failing(follow, handler)
    assert (error.status, error.reason) == (code, reason)


def test_a_list_is_asked_for_as_a_table_and_read_whole_whatever_its_size() -> None:
    seen: list[str] = []
    rows = [{"cells": [f"a{i}", "x" * 1000], "object": {"metadata": {"name": f"a{i}"}}} for i in range(1000)]

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Accept"])
        return web.json_response({"kind": "Table", "columnDefinitions": [{"name": "Name"}], "rows": rows})

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url), whole=True)
            assert (await api.list_table("/x", limit=500))["rows"] == rows
            await api.close()

    asyncio.run(run())
    assert seen == ["application/json;as=Table;g=meta.k8s.io;v=v1"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_list_with_an_object_that_is_too_deep_is_read_without_it(whole: bool) -> None:
    deep = f'{{"items": [{{"metadata": {{"name": "a"}}, "spec": {"[" * 100_000 + "]" * 100_000}}}]}}'

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=deep, content_type="application/json")

    async def run() -> None:
        async with server(handler) as url:
            api = Api(Configuration(host=url), whole=whole)
            (found,) = (await api.list("/x"))["items"]
            assert found["metadata"] == {"name": "a"}
            await api.close()

    asyncio.run(run())
