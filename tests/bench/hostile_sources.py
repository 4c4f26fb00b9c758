"""What metric sources that do their worst cost the operator, and other namespaces' guards.

One process plays the sources, another asks them as the operator does: what is measured is the second alone.
"""

import argparse
import asyncio
import gc
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.api.predicate import Events
from rolloutplan.engine.model.queries import CountQuery, ValueQuery
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.metrics.base import Connection
from rolloutplan.metrics.pool import Key, Sources
from tests.bench.table import Row, percentile

SECONDS = 10.0
HEAVY = 4.0
"""Seconds that a heavy question takes."""
ON_TIME = 1.0
"""Seconds within which a guard with an interval of as long must be answered."""
PREDICATES = 4
INTERVAL = 1.0
"""The shortest interval of a plan."""
BEAT = 0.02
BARS = {"memory": 64.0, "stop": 0.05, "on time": 99.0}

# ---- the sources -----------------------------------------------------------------------------------------------------

ONE = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}'
_VECTOR = b'{"status":"success","data":{"resultType":"vector","result":['


def _counters(number: int) -> bytes:
    rows = (b'{"metric":{"job":"j","instance":"%d"},"value":[0,"%d"]}' % (i, i) for i in range(number))
    return _VECTOR + b",".join(rows) + b"]}}"


def _answer(body: bytes, *fields: str) -> bytes:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, "", ""))
    return head.encode() + body


_SPACES = gzip.compress(b" " * (64 << 20), 9)
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "error": _answer(b'{"status":"error","errorType":"x","error":"' + b"a" * 1_040_000 + b'"}'),
    "dicts": _answer(_VECTOR + b"{}," * 340_000 + b"{}]}}"),
    "values": _answer(_VECTOR + b"{}," * 14_500 + b"{}]}}"),
    "cookies": _answer(ONE, *(f"Set-Cookie: c{i}={'x' * 60_000}; Max-Age=99999999" for i in range(90))),
    "heads": _answer(ONE, *(f"X{i}: {'x' * 1000}" for i in range(5000))),
    "gzip": _answer(_SPACES, "Content-Encoding: gzip"),
    "twice": _answer(gzip.compress(_SPACES, 9), "Content-Encoding: gzip, gzip"),
    "counters": _answer(_counters(3000)),
    "many": _answer(_counters(16_000)),
    "pieces": _CHUNKED + b"1\r\n \r\n" * 200_000,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000,
    "digits": _answer(b"[" + b",".join([b"7" * 4300] * 240) + b"]"),
    "deep": _answer(b"[" * 1_000_000),
    "drip": b"HTTP/1.1 200 OK\r\nX: ",
    "slow": _answer(b"x" * 1_000_000)[:900_000],
}
"""What each hostile source sends; the last two stop in the middle, and drip on."""


async def _serve() -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(f.split(b":")[1] for f in head.split(b"\r\n") if f.lower().startswith(b"content-length"))
                query = await reader.readexactly(int(length))
                kind = head.split(b"/", 2)[1].decode()
                if b"heavy" in query:
                    await asyncio.sleep(HEAVY)
                writer.write(ANSWERS.get(kind) or _answer(ONE))
                while kind in ("drip", "slow"):
                    await asyncio.sleep(0.2)
                    writer.write(b"a")
                    await writer.drain()
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ---- the operator's part ---------------------------------------------------------------------------------------------


class Watched:
    """The memory of this process above its base, and how long the event loop stood still."""

    def __init__(self) -> None:
        self.memory = 0.0
        self.stops: list[float] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        beat = asyncio.create_task(self._beat())
        yield
        beat.cancel()

    async def _beat(self) -> None:
        base = _memory()
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT)
            self.stops.append(time.monotonic() - began - BEAT)
            self.memory = max(self.memory, _memory() - base)


def _memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def _measured(sources: Sources, attack: Callable[[float], Awaitable[None]], victim: Connection) -> Any:
    """What an attack costs, and what share of a victim's answers came on time, from known and from new questions."""
    watched, times = Watched(), list[float]()
    shop = victim.of("shop")
    await shop.evaluate(ValueQuery("guard"), datetime.now(UTC))
    end = time.monotonic() + SECONDS

    async def guard() -> None:
        number = 0
        while (began := time.monotonic()) < end:
            number += 1
            answers = await asyncio.gather(
                shop.evaluate(ValueQuery("guard"), datetime.now(UTC)),
                shop.evaluate(ValueQuery(f"new{number} + {'x' * number}"), datetime.now(UTC)),
            )
            times.extend(time.monotonic() - began if a.value is not None else 99.0 for a in answers)
            await asyncio.sleep(0.1)

    async with watched.watching():
        await asyncio.sleep(0.5)
        watched.stops.clear()
        await asyncio.gather(attack(end), guard())
        took = watched.memory
    sources.close()
    on_time = 100 * sum(seconds <= ON_TIME for seconds in times) / len(times)
    return {"memory": took, "stops": watched.stops, "on time": on_time, "answers": times}


def _source(port: int, path: str, **more: Any) -> Any:
    return read_metric_source({"prometheus": {"url": f"http://127.0.0.1:{port}/{path}"}, **more}, cluster=False)


async def _hostile(sources: Sources, port: int, end: float) -> None:
    """64 sources of 64 namespaces, each with predicates that are asked as often as a plan can."""

    async def asker(number: int, part: int) -> None:
        namespace, kind = f"evil{number}", list(ANSWERS)[number % len(ANSWERS)]
        spec, asked = _source(port, kind, maxConcurrency=64, timeout="2s"), 0
        provider = sources.get(Key("metricsources", namespace, "default"), spec).of(namespace)
        while time.monotonic() < end:
            asked, at, began = asked + 1, datetime.now(UTC), time.monotonic()
            if kind in ("counters", "many"):
                name = f"c{part}_{asked}"
                query = CountQuery(Events(total=name, bad=f"{name}_bad"))
                await provider.counters(query, at, at, step=at - at)
            else:
                await provider.evaluate(ValueQuery(f"q{part}_{asked}"), at)
            await asyncio.sleep(INTERVAL - (time.monotonic() - began) % INTERVAL)

    await asyncio.gather(*(asker(number, part) for number in range(64) for part in range(PREDICATES)))


async def _heavy(shared: Connection, end: float) -> None:
    """A thousand heavy questions of another namespace, at any time; each is one that was never asked before."""

    async def asker(part: int) -> None:
        asked, evil = 0, shared.of("evil")
        await asyncio.sleep(part / 1000)
        while time.monotonic() < end:
            asked += 1
            await evil.evaluate(ValueQuery(f"heavy{part}_{asked} + {'y' * (part % 50)}"), datetime.now(UTC))

    await asyncio.gather(*(asker(part) for part in range(1000)))


async def _play(attack: str, port: int) -> Any:
    gc.freeze()  # as the operator does at its start
    sources = Sources(access=Access(SourceHosts.read(["127.0.0.1"])))
    if attack == "hostile":
        victim = sources.get(Key("metricsources", "shop", "default"), _source(port, "honest"))
        return await _measured(sources, partial(_hostile, sources, port), victim)
    shared = sources.get(Key("clustermetricsources", "", "default"), _source(port, "honest", timeout="5s"))
    return await _measured(sources, partial(_heavy, shared), shared)


# ---- the rows --------------------------------------------------------------------------------------------------------


def hostile_sources() -> list[Row]:
    """64 hostile sources at once; then a thousand heavy questions of another namespace."""
    with subprocess.Popen([sys.executable, "-m", __name__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            seen = {attack: _played(attack, port) for attack in ("hostile", "heavy")}
        finally:
            server.kill()
    words = {"hostile": "64 hostile sources at once", "heavy": "1,000 heavy questions of another namespace"}
    memory = seen["hostile"]["memory"]
    rows = [
        Row(f"memory above the base, {words['hostile']}", "<= 64 MiB", f"{memory:.0f} MiB", memory <= BARS["memory"])
    ]
    for attack, about in words.items():
        stops, times, on_time = (seen[attack][name] for name in ("stops", "answers", "on time"))
        stop = f"{1000 * max(stops):.0f} ms (p99 {1000 * percentile(stops, 99):.0f} ms)"
        rows.append(Row(f"longest stop of the event loop, {about}", "<= 50 ms", stop, max(stops) <= BARS["stop"]))
        answers = f"{on_time:.1f} %, {len(times)} answers, p99 {percentile(times, 99):.2f} s"
        figure = f"a guard's answers within {ON_TIME:.0f} s, {about}"
        rows.append(Row(figure, ">= 99 %", answers, on_time >= BARS["on time"]))
    return rows


def _played(attack: str, port: str) -> Any:
    command = [sys.executable, "-m", __name__, attack, port]
    few = os.environ | {"MALLOC_ARENA_MAX": "2"}  # as the chart sets it
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=few)
    return json.loads(done.stdout)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("serve", "hostile", "heavy"))
    parser.add_argument("port", nargs="?", type=int)
    chosen = parser.parse_args()
    if chosen.part == "serve":
        asyncio.run(_serve())
    else:
        print(json.dumps(asyncio.run(_play(chosen.part, chosen.port))))


if __name__ == "__main__":
    _main()
