"""A pod as the world sees it: an address that answers HTTP on port 8080, and its metrics.

One whose container names a port `tls` answers HTTPS there too, and gRPC on one that it names `grpc`.
"""

import asyncio
import ssl
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from string import Template

from aiohttp import web

from tests.bed import rpc
from tests.bed.behaviour import Behaviour, among
from tests.bed.netns import POD_PORT

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the duration histogram, in seconds."""


class Metrics:
    """What a pod counts: answers by code, and how long they took."""

    def __init__(self) -> None:
        self._codes = Counter({200: 0, 500: 0})
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def count(self, code: int, duration: float) -> None:
        self._codes[code] += 1
        self._buckets[bisect_left(BUCKETS, duration)] += 1
        self._seconds += duration

    def text(self, exposes: str = "") -> str:
        """In Prometheus' exposition format, with further lines as a behaviour has them."""
        lines = ["# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{code="{code}"}} {n}' for code, n in self._codes.items()]
        name = "http_request_duration_seconds"
        lines.append(f"# TYPE {name} histogram")
        total = 0
        for bound, n in zip((*BUCKETS, "+Inf"), self._buckets, strict=True):
            total += n
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"{name}_sum {self._seconds:.6f}", f"{name}_count {total}"]
        lines += [Template(exposes).substitute(good=self._codes[200], bad=self._codes[500]), ""]
        return "\n".join(lines)


class Endpoint:
    """A listening socket on one pod's address, so that a pod that is gone refuses connections."""

    def __init__(
        self, ip: str, pod: str, behaviour: Behaviour, ports: Mapping[str, int], tls: ssl.SSLContext | None
    ) -> None:
        """`ports` are those of its containers, by their names; `tls` has what every pod shows where it speaks TLS."""
        self.ip = ip
        self.behaviour = behaviour
        self._pod = pod
        self._ports = ports
        self._tls = tls
        self._metrics = Metrics()
        self._requests = 0
        self._http: web.Server | None = None
        self._listeners: list[asyncio.Server | rpc.Server] = []

    async def open(self) -> None:
        if self._http is not None:
            return
        self._http = web.Server(self._answer, access_log=None)
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_server(self._http, self.ip, POD_PORT))
        if "tls" in self._ports:
            self._listeners.append(await loop.create_server(self._http, self.ip, self._ports["tls"], ssl=self._tls))
        if "grpc" in self._ports:
            server = rpc.Server(self._decide)
            await server.start(self.ip, self._ports["grpc"])
            self._listeners.append(server)

    def close(self) -> None:
        """Refuse connections from now on, and cut those that are open. The next `open` counts from zero again."""
        if self._http is None:
            return
        for listener in self._listeners:
            listener.close()
        for connection in self._http.connections:
            connection.force_close()
        self._listeners, self._http = [], None
        self._metrics = Metrics()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/metrics":
            return web.Response(text=self._metrics.text(self.behaviour.exposes), content_type="text/plain")
        behaviour, code = await self._decide()
        return web.Response(
            status=code, text=f"{behaviour.version} {self._pod}\n", headers={"X-Version": behaviour.version}
        )

    async def _decide(self) -> tuple[Behaviour, int]:
        """Take the time of one request, count it, and say with which code it is answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        behaviour = self.behaviour
        self._requests += 1
        delay = behaviour.slow_latency if among(self._requests, behaviour.slow) else behaviour.latency
        if delay:
            await asyncio.sleep(delay)
        code = 500 if among(self._requests, behaviour.errors) else 200
        self._metrics.count(code, loop.time() - began)
        return behaviour, code
