"""A question to a metric source: what each answer means, and that an answer always comes in time."""

import asyncio
import gzip
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest

from rolloutplan.judge.verdict import Answer, Why
from rolloutplan.metrics.pool import Key, Sources
from rolloutplan.metrics.source import LONGEST_DETAIL, Source, understand
from rolloutplan.metrics.threads import Threads
from rolloutplan.plan.kinds import MetricSourceSpec

AT = datetime(2026, 11, 22, 1, 2, 3, 456000, tzinfo=UTC)


def success(kind: str, result: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def error(kind: str, words: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": words}).encode()


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1.5, value]}


ONE = success("vector", [series("0.25")])
PARSE = 'invalid parameter "query": 1:5: parse error: unexpected end of input'

ANSWERS = [
    # what was said                                                    -> value, gap, words in the detail
    (200, success("scalar", [1.5, "3"]), 3.0, None, ""),
    (200, ONE, 0.25, None, ""),
    (200, success("vector", [series("0")]), 0.0, None, ""),
    (200, success("vector", [series("-1e-300")]), -1e-300, None, ""),
    (200, success("vector", []), None, Why.NO_DATA, "no series"),
    (200, success("vector", [series("NaN")]), None, Why.NAN, "NaN"),
    (200, success("vector", [series("+Inf")]), None, Why.NAN, "+Inf"),
    (200, success("scalar", [1.5, "-Inf"]), None, Why.NAN, "-Inf"),
    (
        200,
        success("vector", [series("1", pod="a", x="y"), series("2", pod="b"), series("3", pod="c")]),
        None,
        Why.MANY_SERIES,
        '3 series instead of one, such as {pod="a", x="y"} and {pod="b"}',
    ),
    (200, success("vector", [{"metric": {}, "histogram": [1, {}]}]), None, Why.QUERY_REJECTED, "histogram"),
    (200, success("matrix", []), None, Why.QUERY_REJECTED, "range of samples"),
    (200, success("string", [1.5, "abc"]), None, Why.QUERY_REJECTED, "string"),
    (200, success("vector", [series("1")], warnings=["a is down", "b"]), None, Why.WARNINGS, "a is down; b"),
    (200, success("vector", [], warnings=["half of it"]), None, Why.WARNINGS, "half of it"),
    (200, success("vector", [series("1")], isPartial=True), None, Why.WARNINGS, "partial"),
    (200, success("vector", [series("1")], infos=["metric might not be a counter"]), 1.0, None, ""),
    (400, error("bad_data", PARSE), None, Why.QUERY_REJECTED, "parse error: unexpected end of input"),
    (422, error("execution", "many-to-many matching not allowed"), None, Why.QUERY_REJECTED, "many-to-many"),
    (422, error("422", "unparsed data left"), None, Why.QUERY_REJECTED, "unparsed"),
    (422, error("timeout", "query timed out"), None, Why.SOURCE_DOWN, "HTTP 422 Unprocessable Entity: query timed out"),
    (503, error("timeout", "query timed out in expression evaluation"), None, Why.SOURCE_DOWN, "query timed out"),
    (503, error("unavailable", "not ready"), None, Why.SOURCE_DOWN, "HTTP 503 Service Unavailable: not ready"),
    (429, error("bad_data", "too many outstanding requests"), None, Why.SOURCE_DOWN, "too many outstanding"),
    (500, b"", None, Why.SOURCE_DOWN, "HTTP 500"),
    (400, b"<html>400 Bad Request</html>", None, Why.SOURCE_DOWN, "HTTP 400 Bad Request, and the answer is not"),
    (302, b"moved", None, Why.SOURCE_DOWN, "HTTP 302 Found"),
    (599, b"{}", None, Why.SOURCE_DOWN, "HTTP 599: no words"),
    (200, b"[]", None, Why.SOURCE_DOWN, "not Prometheus' JSON"),
    (200, b'{"status": "success"}', None, Why.QUERY_REJECTED, "None"),
    (200, success("vector", [{}, {}]), None, Why.SOURCE_DOWN, "shape"),
    (200, success("vector", [series("many")]), None, Why.SOURCE_DOWN, "shape"),
    (200, success("scalar", None), None, Why.SOURCE_DOWN, "shape"),
    (200, success("vector", 5), None, Why.SOURCE_DOWN, "shape"),
    (200, json.dumps({"status": "success", "data": [1]}).encode(), None, Why.SOURCE_DOWN, "shape"),
]


@pytest.mark.parametrize(("status", "body", "value", "gap", "words"), ANSWERS)
def test_understands(status: int, body: bytes, value: float | None, gap: Why | None, words: str) -> None:
    answer = understand(status, body)
    assert (answer.value, answer.gap) == (value, gap)
    assert words in answer.detail
    assert bool(answer.detail) is (gap is not None)


def test_details_stay_short_and_in_one_line() -> None:
    detail = understand(400, error("bad_data", "a\n\tb\x00" + "c" * 1000)).detail
    assert detail == ("a b " + "c" * 1000)[:LONGEST_DETAIL]


# ---- over the wire ------------------------------------------------------------------------------------

Behaviour = Callable[[socket.socket, bytes], None]


@contextmanager
def server(behaviour: Behaviour) -> Iterator[str]:
    """A server that reads each request whole and then does what `behaviour` says."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := _request(connection):
                try:
                    behaviour(connection, request)
                except OSError:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listening.close()


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        try:
            if not (data := connection.recv(65536)):
                return b""
        except OSError:
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", b"0")):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def say(body: bytes, *fields: str) -> Behaviour:
    head = "".join(f"{field}\r\n" for field in ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, ""))
    return lambda connection, _: connection.sendall(head.encode() + body)


def hang(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


def hang_up(connection: socket.socket, _: bytes) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drip(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def drip_head(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def flood(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def stop_short(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    connection.shutdown(socket.SHUT_RDWR)


def spec(url: str, timeout: str = "300ms", **more: Any) -> MetricSourceSpec:
    return MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": timeout, **more})


def ask(url: str, query: str = "up", **more: Any) -> tuple[Answer, float]:
    """The answer, and how many seconds it took."""
    source = Source(spec(url, **more))
    began = time.monotonic()
    try:
        return asyncio.run(source.ask(query, AT)), time.monotonic() - began
    finally:
        source.close()


def test_asks_at_the_instant_by_post() -> None:
    requests: list[bytes] = []

    def behaviour(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        say(ONE)(connection, request)

    with server(behaviour) as url:
        answer, _ = ask(f"{url}/prometheus/", 'sum(x{a="b&c"}) ', timeout="2s", headers={"X-Scope-OrgID": "shop"})
    assert answer == Answer(0.25)
    head, _, body = requests[0].decode().partition("\r\n\r\n")
    form = parse_qs(body)
    assert head.startswith("POST /prometheus/api/v1/query HTTP/1.1\r\n")
    assert "X-Scope-OrgID: shop" in head
    assert "User-Agent: rolloutplan/" in head
    assert form["query"] == ['sum(x{a="b&c"}) ']
    assert form["time"] == ["1795309323.456"]
    assert 1.5 < float(form["timeout"][0]) <= 2
    assert form["partial_response"] == ["false"]


def test_reads_a_compressed_answer() -> None:
    with server(say(gzip.compress(ONE), "Content-Encoding: gzip")) as url:
        assert ask(url)[0] == Answer(0.25)


@pytest.mark.parametrize(
    ("behaviour", "gap", "words"),
    [
        (hang, Why.SOURCE_DOWN, "no answer within 0.3 s"),
        (hang_up, Why.SOURCE_DOWN, "closed connection"),
        (reset, Why.SOURCE_DOWN, "reset by peer"),
        (drip, Why.SOURCE_DOWN, "no answer within 0.3 s"),
        (drip_head, Why.SOURCE_DOWN, "no answer within 0.3 s"),
        (flood, Why.MANY_SERIES, "longer than"),
        (stop_short, Why.SOURCE_DOWN, ""),
        (say(b"\x00\xff"), Why.SOURCE_DOWN, "not Prometheus' JSON"),
    ],
)
def test_always_ends_in_time(behaviour: Behaviour, gap: Why, words: str) -> None:
    with server(behaviour) as url:
        answer, seconds = ask(url)
    assert (answer.value, answer.gap) == (None, gap)
    assert words in answer.detail
    assert seconds < 0.8


def test_nobody_there() -> None:
    with server(hang) as url:
        pass
    answer, _ = ask(url)
    assert answer == Answer(gap=Why.SOURCE_DOWN, detail="Connection refused")


def test_a_redirect_is_not_followed() -> None:
    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with server(behaviour) as url:
        assert "HTTP 302" in ask(url)[0].detail


def test_a_connection_that_the_server_dropped_is_no_outage() -> None:
    """The server answers, and then closes the kept connection as soon as the next question comes in on it."""
    asked = 0

    def behaviour(connection: socket.socket, request: bytes) -> None:
        nonlocal asked
        asked += 1
        (hang_up if asked == 2 else say(ONE))(connection, request)

    async def twice(source: Source) -> list[Answer]:
        return [await source.ask("up", AT), await source.ask("up", AT)]

    with server(behaviour) as url:
        source = Source(spec(url))
        assert asyncio.run(twice(source)) == [Answer(0.25)] * 2
        source.close()
    assert asked == 3


def test_waiting_behind_slow_questions_counts() -> None:
    async def many(source: Source) -> list[Answer]:
        return await asyncio.gather(*(source.ask("up", AT) for _ in range(8)))

    with server(hang) as url:
        source = Source(spec(url, maxConcurrency=2))
        began = time.monotonic()
        answers = asyncio.run(many(source))
        assert time.monotonic() - began < 0.8
        source.close()
    assert {answer.gap for answer in answers} == {Why.SOURCE_DOWN}


def test_a_hanging_source_is_closed_at_once_and_answers_what_was_asked() -> None:
    async def replaced(source: Source) -> tuple[Answer, float]:
        question = asyncio.create_task(source.ask("up", AT))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        source.close()
        took = time.monotonic() - began
        assert (await source.ask("up", AT)).gap is Why.SOURCE_DOWN
        return await question, took

    with server(hang) as url:
        answer, took = asyncio.run(replaced(Source(spec(url))))
    assert answer.gap is Why.SOURCE_DOWN
    assert took < 0.05


def test_a_cancelled_question_is_cancelled() -> None:
    async def cancelled(source: Source) -> None:
        question = asyncio.create_task(source.ask("up", AT))
        await asyncio.sleep(0.05)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question

    with server(hang) as url:
        source = Source(spec(url))
        asyncio.run(cancelled(source))
        source.close()


@pytest.mark.parametrize(
    ("behaviour", "codes"),
    [
        (say(ONE), [200]),
        (lambda c, _: c.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), [503]),
        (flood, [200]),
        (hang, [0]),
        (drip, [0]),
        (reset, [0, 0]),
    ],
    ids=["answered", "refused", "too long", "hangs", "drips", "asked again"],
)
def test_each_http_question_is_told_of(behaviour: Behaviour, codes: list[int]) -> None:
    seen: queue.Queue[tuple[str, int, float]] = queue.Queue()
    sources = Sources(observe=lambda source, code, seconds: seen.put((source, code, seconds)))
    with server(behaviour) as url:
        asyncio.run(sources.get(Key("MetricSource", "shop", "default"), spec(url)).ask("up", AT))
        told = [seen.get(timeout=1) for _ in codes]
    sources.close()
    assert [(source, code) for source, code, _ in told] == [("shop/default", code) for code in codes]
    assert all(0 < seconds < 1 for _, _, seconds in told)
    assert seen.empty()


# ---- the pool ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("namespace", "title"), [("shop", "shop/default"), ("", "default")])
def test_the_title_of_a_source(namespace: str, title: str) -> None:
    assert Key("MetricSource", namespace, "default").title == title


def test_one_source_for_each_object_until_its_spec_changes() -> None:
    sources = Sources()
    one, other = Key("MetricSource", "shop", "default"), Key("ClusterMetricSource", "", "default")
    first = sources.get(one, spec("http://a:9090"))
    assert sources.get(one, spec("http://a:9090")) is first
    assert sources.get(other, spec("http://a:9090")) is not first
    changed = sources.get(one, spec("http://a:9090", timeout="400ms"))
    assert changed is not first
    assert asyncio.run(first.ask("up", AT)).detail.startswith("not asked")
    sources.keep([other])
    assert asyncio.run(changed.ask("up", AT)).detail.startswith("not asked")
    assert sources.get(one, spec("http://a:9090", timeout="400ms")) is not changed
    sources.close()


# ---- the threads -------------------------------------------------------------------------------------


def test_threads_are_started_as_needed_and_reused() -> None:
    threads: Threads[int] = Threads(3, "t")
    for _ in range(20):
        assert threads.submit(threading.get_ident).result(1)
        time.sleep(0.002)
    assert len({threads.submit(threading.get_ident).result(1) for _ in range(5)}) == 1
    together = threading.Barrier(3)
    busy = [threads.submit(together.wait) for _ in range(3)]
    assert sorted(future.result(1) for future in busy) == [0, 1, 2]
    threads.close()


def test_threads_leave_out_what_was_cancelled_and_finish_what_was_taken() -> None:
    threads: Threads[int] = Threads(1, "t")
    go = threading.Event()
    first = threads.submit(lambda: (go.wait(1) and 1) or 0)
    cancelled, last = threads.submit(lambda: 2), threads.submit(lambda: 3)
    assert cancelled.cancel()
    threads.close()
    with pytest.raises(RuntimeError):
        threads.submit(lambda: 4)
    go.set()
    assert (first.result(1), last.result(1)) == (1, 3)


def test_a_hanging_thread_does_not_hold_up_the_end_of_the_process() -> None:
    code = (
        "import time; from rolloutplan.metrics.threads import Threads; Threads(1, 't').submit(lambda: time.sleep(60))"
    )
    subprocess.run([sys.executable, "-c", code], timeout=10, check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
