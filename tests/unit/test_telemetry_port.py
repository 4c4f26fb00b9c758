"""The ports of the operator, with real sockets: half requests end by themselves and keep no probe out."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from rolloutplan.telemetry.health import probes
from rolloutplan.telemetry.metrics import MOST_SOURCES, Metrics, code_label
from rolloutplan.telemetry.port import MOST_CONNECTIONS, RESERVED_FILES, Port, raise_file_limit

HALF = b"GET /livez HTTP/1.1\r\nHost: operator\r\n"
MANY = 1500


@contextlib.contextmanager
def half_requests(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections to a port, each with half a head."""
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            each = socket.create_connection(("127.0.0.1", port), timeout=60)
            each.setblocking(False)
            with contextlib.suppress(OSError):
                each.send(HALF)
            found.append(each)
        yield found
    finally:
        for each in found:
            each.close()


def probe(port: int) -> str:
    """The first line of the answer to a probe."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as each:
        each.settimeout(60)
        each.sendall(HALF + b"\r\n")
        return each.recv(4096).split(b"\r\n")[0].decode()


def ended(connection: socket.socket) -> bool:
    """Whether the server has ended a connection."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def on_a_port(port: Port, story: Callable[[int], Awaitable[None]]) -> None:
    async def run() -> None:
        number = await port.start(0, "127.0.0.1")
        try:
            await story(number)
        finally:
            await port.close()

    asyncio.run(run())


def live() -> Port:
    return probes(idle=lambda: 0.0, missing=list, leading=lambda: None)


def test_1500_half_requests_do_not_keep_a_probe_out_and_do_not_stay() -> None:
    async def story(port: int) -> None:
        with contextlib.ExitStack() as closing:
            held = await asyncio.to_thread(closing.enter_context, half_requests(port, MANY))
            for _ in range(3):
                assert await asyncio.to_thread(probe, port) == "HTTP/1.1 200 OK"
            assert len([each for each in held if not ended(each)]) <= MOST_CONNECTIONS

    raise_file_limit()
    on_a_port(live(), story)


def test_a_flood_of_half_requests_that_goes_on_does_not_keep_a_probe_out() -> None:
    stop = threading.Event()

    def flood(port: int) -> None:
        while not stop.is_set():
            with half_requests(port, 100):
                pass

    async def story(port: int) -> None:
        floods = [asyncio.to_thread(flood, port) for _ in range(2)]
        running = asyncio.gather(*floods)
        try:
            for _ in range(5):
                assert await asyncio.to_thread(probe, port) == "HTTP/1.1 200 OK"
        finally:
            stop.set()
            await running

    on_a_port(live(), story)


def test_a_head_that_does_not_come_to_an_end_ends_its_connection() -> None:
    async def story(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b"", "no answer"
        writer.close()

    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/livez", answer)
    on_a_port(Port(app, within=0.2), story)


def test_every_connection_is_closed_after_its_answer() -> None:
    async def story(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF + b"\r\n" + HALF + b"\r\n")
        said = await reader.read()
        assert said.count(b"HTTP/1.1 200 OK") == 1
        assert b"connection: close" in said.lower()
        writer.close()

    on_a_port(live(), story)


def test_a_connection_that_would_take_the_last_files_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(_: int) -> tuple[int, int]:
        return RESERVED_FILES + 3, RESERVED_FILES + 3

    async def story(port: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", limited)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(HALF + b"\r\n")
            assert await reader.read() == b""
        writer.close()

    on_a_port(live(), story)


def test_the_limit_of_open_files_is_raised_to_what_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert raise_file_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- the page of the metrics -----------------------------------------------------------------------------------------


def page_of(metrics: Metrics) -> str:
    return asyncio.run(metrics.page())[0].decode()


def test_a_page_is_made_in_a_thread_and_what_it_counts_of_the_loop_on_the_loop() -> None:
    metrics, seen = Metrics(page_for=0), list[str]()

    def phases() -> dict[str, int]:
        seen.append(threading.current_thread().name)
        return {"Judging": 1}

    metrics.set_plan_counter(phases, lambda: 0)
    rendered = list[str]()
    collect = metrics.collect

    def collected() -> object:
        rendered.append(threading.current_thread().name)
        return collect()

    metrics.collect = collected  # type: ignore[method-assign, assignment]
    assert 'rolloutplan_plans{phase="Judging"} 1.0' in page_of(metrics)
    assert seen == [threading.main_thread().name]
    assert rendered[-1].startswith("metrics")


def test_many_requests_at_a_time_build_one_page() -> None:
    metrics, built = Metrics(page_for=1e6), list[int]()
    metrics.set_plan_counter(lambda: built.append(1) or {}, lambda: 0)  # type: ignore[func-returns-value]

    async def run() -> None:
        await asyncio.gather(*(metrics.page() for _ in range(50)))

    asyncio.run(run())
    assert built == [1]


def test_the_series_of_a_source_end_with_it() -> None:
    metrics = Metrics(page_for=0)
    metrics.keep_sources({"shop/a", "default"})
    for source in ("shop/a", "default"):
        metrics.count_source_request(source, 200, 0.1)
    metrics.keep_sources({"default"})
    metrics.count_source_request("shop/a", 200, 0.1)
    page = page_of(metrics)
    assert 'source="default"' in page
    assert "shop/a" not in page, "not even by a late answer"
    assert 'source="other"' in page


def test_series_do_not_grow_with_sources_nor_with_what_their_servers_answer() -> None:
    metrics = Metrics(page_for=0)
    for number in range(3 * MOST_SOURCES):
        for code in (200, number, 999 + number):
            metrics.count_source_request(f"shop/s{number}", code, 0.1)
    for number in range(2000):
        metrics.count_api_request("GET", "/api/v1/namespaces/shop/pods", number, 0.1)
        metrics.count_decision("Hold", f"made up {number}")
    lines = [line for line in page_of(metrics).splitlines() if not line.startswith("#")]
    assert len([line for line in lines if line.startswith("rolloutplan_metric_requests_total")]) < 5 * MOST_SOURCES
    assert len([line for line in lines if line.startswith("rolloutplan_api_requests_total")]) < 30
    assert len([line for line in lines if line.startswith("rolloutplan_decisions_total")]) == 1


@pytest.mark.parametrize(
    ("code", "label"),
    [(0, "0"), (200, "200"), (404, "404"), (418, "4xx"), (299, "2xx"), (599, "5xx"), (600, "other"), (-1, "other")],
)
def test_the_label_of_a_code(code: int, label: str) -> None:
    assert code_label(code) == label
