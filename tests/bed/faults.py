"""A proxy between an operator and the API server that fails as API servers and networks do.

`FaultProxy` is what tests hold; the proxy itself is a process: `python -m tests.bed.faults KUBECONFIG PORT`. It takes
requests on PORT, and orders on PORT + 1. Until it is told otherwise it passes everything on as it is.
"""

import asyncio
import base64
import json
import os
import random
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import aiohttp
import requests
from aiohttp import web
from yarl import URL

from tests.bed.api import Api
from tests.bed.bed import Bed
from tests.bed.processes import Process, answers, python_path
from tests.bed.writes import Write, facts, plan_of

PORT = 7400
KINDS = (409, 429, 500, 503, "timeout")
TIMEOUT = 30.0
"""Seconds that an answer which never comes is held back; clients have given up by then."""
EXPIRED_SHARE = 0.1
"""The share of fresh watches that are told that their version is too old, while watches are being cut."""

_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_HOP_BY_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")
_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden by the fault proxy"),
    409: ("Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    410: ("Expired", "too old resource version"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "an error that the fault proxy made up"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
}

When = Literal["before", "after"]
Kind = int | str


class FaultProxy:
    """A proxy as a child process. Use it as a context manager, or `start` and `kill` it."""

    def __init__(self, bed: Bed, name: str = "proxy", port: int = PORT) -> None:
        """It listens on `port` and the one after it, on the bed's loopback."""
        self._bed = bed
        self._name = name
        self._control = f"http://127.0.0.1:{port + 1}"
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.bed.faults", str(bed.kubeconfig()), str(port)]
        ready = f"{self._control}/ready"
        self.process = Process(name, command, bed.workdir, lambda: answers(ready), env=python_path())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self.process.start()

    def kill(self) -> None:
        """What it has seen is gone with it."""
        self.process.kill()

    def kubeconfig(self, user: str = "admin") -> Path:
        """A kubeconfig file of one of controlplane.USERS that leads through the proxy."""
        config = json.loads(self._bed.kubeconfig(user).read_text())
        config["clusters"][0]["cluster"] = {"server": self.url}
        path = self._bed.workdir / f"{self._name}-{user}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def token(self, user: str = "admin") -> str:
        config = json.loads(self._bed.kubeconfig(user).read_text())
        return str(config["users"][0]["user"]["token"])

    def client(self, user: str = "admin") -> Api:
        """A client of the API server that goes through the proxy."""
        return Api(self.url, self.token(user), Path("plain-http-needs-none"))

    # ---- orders ------------------------------------------------------------------------------------------------------

    def faults(self, share: float, kinds: Sequence[Kind] = KINDS, seed: int | None = None) -> None:
        """Answer this share of all requests but watches falsely, in one of these ways; 0 ends it.

        Of the writes that are answered so, half are done all the same. 409 is an answer to writes alone, and none that
        gets it is done.
        """
        self._tell("faults", share=share, kinds=list(kinds), seed=seed)

    def cut_watches(self, every: float) -> None:
        """Cut all watches every so many seconds, and begin one in ten with an error 410; 0 ends it."""
        self._tell("cut_watches", every=every)

    def down(self) -> None:
        """Cut every connection and refuse new ones, until `up`."""
        self._tell("down")

    def up(self) -> None:
        self._tell("up")

    def forbid(self, namespace: str) -> None:
        """Answer 403 to every request in a namespace, until `allow`."""
        self._tell("forbid", namespace=namespace)

    def allow(self, namespace: str) -> None:
        self._tell("allow", namespace=namespace)

    def refuse(self, *words: str) -> None:
        """Answer 503 to every write whose path has all of these words, until `refuse` without any."""
        self._tell("refuse", words=list(words))

    def expire(self, token: str) -> None:
        """Answer 401 to every request with a token, until `renew`."""
        self._tell("expire", token=token)

    def renew(self, token: str) -> None:
        self._tell("renew", token=token)

    def trap(self, fact: str, when: When, pid: int, plan: str = "") -> None:
        """Kill -9 a process at the next write that says this (writes.facts) and is about this plan, or about none.

        "before": that write never reaches the API server. "after": it is done, and its answer is never told. While a
        trap is set, writes but those of Leases are passed on one after the other; those that wait when it springs die
        with the process.
        """
        self._tell("trap", fact=fact, when=when, pid=pid, plan=plan)

    def untrap(self) -> None:
        """Take the trap away."""
        self._tell("untrap")

    # ---- what it has seen --------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin `writes` anew."""
        self._tell("forget")

    @property
    def writes(self) -> list[Write]:
        """All writes in the order in which they came."""
        return [Write(**write) for write in self._ask("writes")]

    @property
    def sprung(self) -> bool:
        """Whether the last trap has sprung."""
        return bool(self._ask("sprung"))

    @property
    def counts(self) -> Counter[str]:
        """How many requests, writes (no Leases), faults of each kind, and cut or expired watches there were."""
        return Counter(self._ask("counts"))

    def _tell(self, order: str, **how: Any) -> None:
        self._session.post(f"{self._control}/{order}", json=how, timeout=10).raise_for_status()

    def _ask(self, what: str) -> Any:
        return self._session.get(f"{self._control}/{what}", timeout=60).json()


# ---- the process -----------------------------------------------------------------------------------------------------


@dataclass
class Trap:
    fact: str
    when: When
    pid: int
    plan: str
    sprung: bool = False

    def waits_for(self, write: Write) -> bool:
        return self.fact in facts(write) and plan_of(write) in ("", self.plan)


class Proxy:
    """Passes requests on, or does what it was ordered to instead."""

    def __init__(self, kubeconfig: Path, port: int) -> None:
        cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server = cluster["server"]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=ca), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        self._port = port
        self._http = web.Server(self._answer, access_log=None, handler_cancellation=True)
        self._listener: asyncio.Server | None = None
        self._share = 0.0
        self._kinds: Sequence[Kind] = KINDS
        self._random = random.Random()
        self._cutting: asyncio.Task[None] | None = None
        self._watches: set[asyncio.Transport] = set()
        self._forbidden: set[str] = set()
        self._refused: Sequence[str] = ()
        self._expired: set[str] = set()
        self._trap: Trap | None = None
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[web.Response]] = set()
        self.writes: list[Write] = []
        self.counts: Counter[str] = Counter()

    # ---- orders ------------------------------------------------------------------------------------------------------

    async def faults(self, share: float, kinds: Sequence[Kind], seed: int | None) -> None:
        self._share, self._kinds, self._random = share, kinds, random.Random(seed)

    async def cut_watches(self, every: float) -> None:
        if self._cutting:
            self._cutting.cancel()
        self._cutting = asyncio.create_task(self._cut_watches(every)) if every else None

    async def down(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None
        self._cut_all()

    async def up(self) -> None:
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._http, "127.0.0.1", self._port)

    async def forbid(self, namespace: str) -> None:
        self._forbidden.add(namespace)

    async def allow(self, namespace: str) -> None:
        self._forbidden.discard(namespace)

    async def refuse(self, words: Sequence[str]) -> None:
        self._refused = words

    async def expire(self, token: str) -> None:
        self._expired.add(token)

    async def renew(self, token: str) -> None:
        self._expired.discard(token)

    async def trap(self, fact: str, when: When, pid: int, plan: str) -> None:
        self._trap = Trap(fact, when, pid, plan)

    async def untrap(self) -> None:
        self._trap = None

    async def forget(self) -> None:
        self.writes.clear()

    @property
    def sprung(self) -> bool:
        return self._trap is not None and self._trap.sprung

    # ---- requests ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.counts["requests"] += 1
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self._expired:
            self.counts["401"] += 1
            return _refusal(401)
        if _namespace(request.path) in self._forbidden:
            return _refusal(403)
        if self._refused and request.method in _WRITES and all(word in request.path for word in self._refused):
            self.counts["refused"] += 1
            return _refusal(503)
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request)
        body = await request.read()
        write = None
        if request.method in _WRITES:
            said = _json(body.decode(errors="replace"))
            write = Write(request.method, request.path, said, asyncio.get_running_loop().time())
            self.writes.append(write)
            self.counts["writes"] += not write.lease
        answer = await self._treat(request, body, write)
        if write:
            write.told = answer.status
        return answer

    async def _treat(self, request: web.BaseRequest, body: bytes, write: Write | None) -> web.Response:
        if write and not write.lease and self._trap and not self._trap.sprung:
            return await self._one_by_one(request, body, write, self._trap)
        kinds = [kind for kind in self._kinds if write or kind != 409]
        if not kinds or self._random.random() >= self._share:
            return await self._forward(request, body, write)
        kind = self._random.choice(kinds)
        self.counts[str(kind)] += 1
        if write and kind != 409 and self._random.random() < 0.5:
            self.counts["done all the same"] += 1
            await self._forward(request, body, write)
        if isinstance(kind, int):
            return _refusal(kind)
        await asyncio.sleep(TIMEOUT)
        return _dropped(request)

    async def _one_by_one(self, request: web.BaseRequest, body: bytes, write: Write, trap: Trap) -> web.Response:
        async with self._turn:
            if trap.sprung:
                return _dropped(request)
            here = trap.waits_for(write)
            if not here or trap.when == "after":
                answer = await self._forward(request, body, write)
                if not here or not write.done:
                    return answer
            self._spring(trap)
            return _dropped(request)

    def _spring(self, trap: Trap) -> None:
        trap.sprung = True
        with suppress(ProcessLookupError):
            os.kill(trap.pid, signal.SIGKILL)
        self._cut_all()

    async def _forward(self, request: web.BaseRequest, body: bytes, write: Write | None) -> web.Response:
        """Ask the API server. What has been sent is seen through, also where the client goes meanwhile."""
        task = asyncio.create_task(self._send(request, body, write))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _send(self, request: web.BaseRequest, body: bytes, write: Write | None) -> web.Response:
        try:
            async with self._session.request(
                request.method, self._target(request), headers=_passed(request.headers), data=body
            ) as said:
                content = await said.read()
        except aiohttp.ClientError:
            return _dropped(request)
        if write:
            write.status, write.answered = said.status, asyncio.get_running_loop().time()
        return web.Response(status=said.status, body=content, headers=_passed(said.headers))

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._cutting and self._random.random() < EXPIRED_SHARE:
            self.counts["watches expired"] += 1
            return web.Response(body=json.dumps({"type": "ERROR", "object": _status(410)}) + "\n")
        transport = request.transport
        assert transport is not None
        with suppress(aiohttp.ClientError, ConnectionError):
            async with self._session.get(self._target(request), headers=_passed(request.headers)) as stream:
                answer = web.StreamResponse(status=stream.status, headers=_passed(stream.headers))
                await answer.prepare(request)
                self._watches.add(transport)
                try:
                    async for chunk in stream.content.iter_any():
                        await answer.write(chunk)
                finally:
                    self._watches.discard(transport)
                await answer.write_eof()
                return answer
        return _dropped(request)

    def _target(self, request: web.BaseRequest) -> URL:
        return URL(self._server + request.raw_path, encoded=True)

    async def _cut_watches(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            self.counts["watches cut"] += len(self._watches)
            for transport in list(self._watches):
                transport.abort()

    def _cut_all(self) -> None:
        for connection in self._http.connections:
            if connection.transport:
                connection.transport.abort()


def _namespace(path: str) -> str:
    return path.partition("/namespaces/")[2].partition("/")[0]


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _HOP_BY_HOP}


def _status(code: int) -> dict[str, Any]:
    """A Status as the API server words it."""
    reason, message = _REASONS[code]
    kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    details = {"details": {"retryAfterSeconds": 1}} if code == 429 else {}
    return {**kind, "message": message, "reason": reason, "code": code, **details}


def _refusal(code: int) -> web.Response:
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response(_status(code), status=code, headers=headers)


def _dropped(request: web.BaseRequest) -> web.Response:
    """Cut the connection; the answer is for nobody."""
    if request.transport:
        request.transport.abort()
    return web.Response(status=0)


def control(proxy: Proxy) -> web.Application:
    """Where the proxy takes its orders and tells what it has seen."""
    orders: dict[str, Callable[..., Awaitable[None]]] = {
        order.__name__: order
        for order in (
            proxy.faults,
            proxy.cut_watches,
            proxy.down,
            proxy.up,
            proxy.forbid,
            proxy.allow,
            proxy.refuse,
            proxy.expire,
            proxy.renew,
            proxy.trap,
            proxy.untrap,
            proxy.forget,
        )
    }

    async def take(request: web.Request) -> web.Response:
        await orders[request.match_info["order"]](**await request.json())
        return web.Response()

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    async def writes(_: web.Request) -> web.Response:
        return web.json_response([asdict(write) for write in proxy.writes])

    async def sprung(_: web.Request) -> web.Response:
        return web.json_response(proxy.sprung)

    async def counts(_: web.Request) -> web.Response:
        return web.json_response(proxy.counts)

    application = web.Application()
    application.add_routes([web.post("/{order}", take), web.get("/ready", ready), web.get("/writes", writes)])
    application.add_routes([web.get("/sprung", sprung), web.get("/counts", counts)])
    return application


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def main(kubeconfig: Path, port: int) -> None:
    proxy = Proxy(kubeconfig, port)
    await proxy.up()
    runner = web.AppRunner(control(proxy), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port + 1).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
