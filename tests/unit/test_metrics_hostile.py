"""A metric source that does its worst: it costs a bounded time, few bytes, and threads that end."""

import asyncio
import gzip
import json
import socket
import threading
import time
import tomllib
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.spec import SpecError
from rolloutplan.metrics.ceilings import Ceilings
from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus import source as prometheus_source
from rolloutplan.metrics.prometheus.capacity import Capacity
from rolloutplan.metrics.prometheus.http import PrometheusHttp, Reply
from rolloutplan.metrics.prometheus.limits import (
    FREE_BYTES,
    INSTANCE_BYTES,
    LONGEST_ANSWER,
    LONGEST_HEAD,
    LONGEST_INSTANCE,
    MOST_FIELDS,
    MOST_INSTANCES,
    MOST_VALUES,
    QUESTION_BYTES,
    Limit,
)
from rolloutplan.metrics.prometheus.response import LONGEST_DETAIL, counts, number, parse_response
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.threads import Threads
from rolloutplan.stats.verdict import Answer, Why
from tests.wire import Behaviour, say, server, spec

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
ONE = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"0.25"]}]}}'
LONG = 1 << 30


def put(url: str, seconds: float = 5.0, budget: int = LONG, **more: Any) -> Reply[Answer]:
    http = PrometheusHttp(spec(url, timeout="5s", **more), None, FairShare(budget))
    try:
        return http.query({"query": "up", "time": "0"}, number, time.monotonic() + seconds, namespace="evil")
    finally:
        http.close()


def bare(*parts: bytes, pause: float = 0.0) -> Behaviour:
    """Sends these bytes; the last of them again and again where there is a pause."""

    def behaviour(connection: socket.socket, _: bytes) -> None:
        for part in parts:
            connection.sendall(part)
        while pause:
            time.sleep(pause)
            connection.sendall(parts[-1])

    return behaviour


def vector(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode()


# ---- what is kept -------------------------------------------------------------------------------------


def test_no_cookie_is_kept_or_sent() -> None:
    heads: list[bytes] = []

    def behaviour(connection: socket.socket, request: bytes) -> None:
        heads.append(request.partition(b"\r\n\r\n")[0].lower())
        cookies = (f"Set-Cookie: c{i}={'x' * 100}; Max-Age=99999999; Path=/" for i in range(10))
        say(ONE, *cookies)(connection, request)

    with server(behaviour) as url:
        http = PrometheusHttp(spec(url), None, FairShare(LONG))
        for _ in range(3):
            assert http.query({"query": "up"}, number, time.monotonic() + 5).value == Answer(0.25)
        assert not list(http._session.cookies)
        http.close()
    assert len(heads) == 3
    assert not [head for head in heads if b"cookie" in head]


def test_counters_of_too_many_instances_are_no_answer_and_nothing_of_them_is_kept() -> None:
    rows = [{"metric": {"instance": str(i)}, "value": [0, str(i)]} for i in range(MOST_INSTANCES + 1)]
    assert parse_response(200, vector(*rows[1:]), counts).keys() == {f"/{i}" for i in range(1, MOST_INSTANCES + 1)}  # type: ignore[union-attr]
    answer = parse_response(200, vector(*rows), counts)
    assert isinstance(answer, Answer)
    assert (answer.gap, answer.detail.split(":")[0]) == (Why.MANY_SERIES, "3001 series, more than 3000")


def test_an_instance_with_an_endless_name_is_no_answer() -> None:
    long = {"metric": {"instance": "x" * LONGEST_INSTANCE}, "value": [0, "1"]}
    answer = parse_response(200, vector(long), counts)
    assert isinstance(answer, Answer)
    assert answer.gap is Why.NOT_COUNTERS
    assert len(answer.detail) <= LONGEST_DETAIL


def test_answers_with_many_counters_are_kept_as_far_as_they_fit() -> None:
    """Without room they are forgotten at once, and asked for again."""
    rows = [{"metric": {"instance": str(i)}, "value": [0, str(i)]} for i in range(100)]
    asked = 0

    def behaviour(connection: socket.socket, request: bytes) -> None:
        nonlocal asked
        asked += 1
        say(vector(*rows))(connection, request)

    async def twice(capacity: Capacity, url: str) -> int:
        nonlocal asked
        asked, source = 0, Source(spec(url, timeout="5s"), capacity=capacity)
        first = await source.sample("c", AT, "shop")
        assert await source.sample("c", AT, "shop") == first
        source.close()
        return asked

    with server(behaviour) as url:
        assert asyncio.run(twice(Capacity(), url)) == 1
        assert asyncio.run(twice(Capacity(counters=FairShare(1000)), url)) == 2


@pytest.mark.parametrize("closed", [True, False])
def test_what_kept_answers_take_is_given_back(monkeypatch: pytest.MonkeyPatch, *, closed: bool) -> None:
    """When they expire, or when the source is closed: also that of a question which is answered after that."""
    monkeypatch.setattr(prometheus_source, "REUSED_FOR", 60 if closed else 0.3)
    capacity, go = Capacity(), threading.Event()
    rows = [{"metric": {"instance": str(i)}, "value": [0, str(i)]} for i in range(100)]

    def behaviour(connection: socket.socket, request: bytes) -> None:
        if b"last" in request:
            go.wait(30)
        say(vector(*rows))(connection, request)

    async def life(url: str) -> None:
        source = Source(spec(url, timeout="10s", maxConcurrency=4), capacity=capacity)
        await asyncio.gather(*(source.sample(f"c{i}", AT, namespace) for i in range(5) for namespace in ("a", "b")))
        if closed:
            assert capacity.counters.held("a") == capacity.counters.held("b") == 5 * 100 * INSTANCE_BYTES
        last = asyncio.create_task(source.sample("last", AT, "c"))
        await asyncio.sleep(0.05)
        if closed:
            source.close()
            assert (capacity.counters.used, capacity.questions.used) == (0, capacity.questions.held("c"))
        go.set()
        await last
        async with asyncio.timeout(30):
            while capacity.counters.used or capacity.questions.used:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        source.close()

    with server(behaviour) as url:
        asyncio.run(life(url))
    assert [each.held(who) for each in (capacity.counters, capacity.questions) for who in "abc"] == [0] * 6


# ---- how much is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (say(ONE, f"X: {'x' * LONGEST_HEAD}"), "the head of the answer is longer than 16384 bytes"),
        (say(ONE, *(f"X{i}: {'x' * 500}" for i in range(60))), "the head of the answer is longer than 16384 bytes"),
        (say(ONE, *(f"X{i}: y" for i in range(MOST_FIELDS))), "the answer has 65 header lines, more than 64"),
        (bare(b"HTTP/1.1 " + b"2" * LONGEST_HEAD), "the head of the answer is longer than 16384 bytes"),
        (bare(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 2000), "the head of the answer is longer than 16384 bytes"),
    ],
    ids=["one line", "many long lines", "many lines", "status", "interim answers"],
)
def test_the_head_of_an_answer_is_bounded(behaviour: Behaviour, words: str) -> None:
    with server(behaviour) as url:
        reply = put(url)
    assert reply.value == Answer(gap=Why.SOURCE_DOWN, detail=words)
    assert reply.limit is Limit.HEAD


def bomb(*windows: int) -> bytes:
    """100 MiB of spaces, compressed so often."""
    body = b""
    for i, window in enumerate(windows):
        packing = zlib.compressobj(9, zlib.DEFLATED, window)
        parts = [b" " * (1 << 20)] * 100 if not i else [body]
        body = b"".join(map(packing.compress, parts)) + packing.flush()
    return body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DICTS = b'{"status":"success","data":{"resultType":"vector","result":[' + b"{}," * 340_000 + b"{}]}}"


@pytest.mark.parametrize(
    ("behaviour", "limit", "gap"),
    [
        (say(bomb(31), "Content-Encoding: gzip"), Limit.LENGTH, Why.MANY_SERIES),
        (say(bomb(31, 31), "Content-Encoding: gzip, gzip"), Limit.LENGTH, Why.SOURCE_DOWN),
        (say(bomb(15), "Content-Encoding: deflate"), Limit.LENGTH, Why.SOURCE_DOWN),
        (say(b" " * (LONGEST_ANSWER + 1)), Limit.LENGTH, Why.MANY_SERIES),
        (bare(CHUNKED, *[b"1\r\n \r\n"] * 5000), Limit.LENGTH, Why.SOURCE_DOWN),
        (bare(CHUNKED, *[b"1;" + b"x" * 60_000 + b"\r\n \r\n"] * 50), Limit.LENGTH, Why.MANY_SERIES),
        (bare(CHUNKED + b"0\r\n", *[b"X: y\r\n" * 10_000] * 50), Limit.LENGTH, Why.MANY_SERIES),
        (say(DICTS[:LONGEST_ANSWER]), Limit.VALUES, Why.MANY_SERIES),
        (say(b"[" * 500_000), Limit.VALUES, Why.MANY_SERIES),
    ],
    ids=["gzip", "gzip twice", "deflate", "long", "pieces", "extensions", "trailers", "values", "depth"],
)
def test_the_body_of_an_answer_is_bounded(behaviour: Behaviour, limit: Limit, gap: Why) -> None:
    with server(behaviour) as url:
        reply = put(url, seconds=30)
    assert isinstance(reply.value, Answer)
    assert (reply.value.gap, reply.limit) == (gap, limit)


def test_as_many_values_as_are_allowed_are_read() -> None:
    rows = [{"metric": {"job": "a", "instance": str(i)}, "value": [0, str(i)]} for i in range(MOST_INSTANCES)]
    assert sum(vector(*rows).count(mark) for mark in (b"{", b"[", b",")) < 0.8 * MOST_VALUES
    http = gzip.compress(vector(*rows))
    with server(say(http, "Content-Encoding: gzip")) as url:
        source = Source(spec(url, timeout="10s"))
        found = asyncio.run(source.sample("c", AT, "shop"))
        source.close()
    assert len(found) == MOST_INSTANCES  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"error","errorType":"execution","error":"' + b"a" * 1_000_000 + b'"}',
        b'{"status":"error","errorType":"' + b"\\u00a0" * 160_000 + b'","error":["a"]}',
        b'{"status":"success","warnings":["' + b"a" * 1_000_000 + b'"],"data":{}}',
        b'{"status":"success","warnings":' + b"[" * 900 + b"]" * 900 + b',"data":{}}',
        b'{"status":"success","warnings":{"a":1},"data":{}}',
        b'{"status":"success","data":{"resultType":"' + b"x" * 1_000_000 + b'"}}',
        vector({"metric": {"a": "x" * 900_000}}, {"metric": {"b": "y"}}),
        b'{"status":"success","data":{"resultType":"scalar","result":[1,"' + b"9" * 1_000_000 + b'"]}}',
        b'{"status":"success","data":{"resultType":"scalar","result":[1,' + b"9" * 1_000_000 + b"]}}",
    ],
    ids=["error", "kind", "warning", "deep warnings", "other warnings", "result type", "label", "digits", "integer"],
)  # fmt: skip
def test_the_words_of_an_answer_are_cut_before_anything_is_done_with_them(body: bytes) -> None:
    for read in (number, counts):
        answer = parse_response(400 if b"error" in body[:30] else 200, body, read)
        assert not isinstance(answer, Answer) or len(answer.detail) <= LONGEST_DETAIL


def test_integers_of_many_digits_are_read_in_linear_time() -> None:
    """Four times the digits in one number take four times as long; as an `int`, sixteen times."""

    def seconds(digits: int) -> float:
        body = b"[" + b",".join([b"7" * digits] * (LONGEST_ANSWER // digits)) + b"]"
        tries = []
        for _ in range(3):
            began = time.process_time()
            parse_response(200, body, number)
            tries.append(time.process_time() - began)
        return min(tries)

    assert seconds(4000) < 3 * seconds(250) + 0.05


# ---- how much at once ------------------------------------------------------------------------------------


def test_answers_that_are_read_at_the_same_time_share_a_budget() -> None:
    """One that needs more than its namespace may have is not read; another namespace's is."""
    budget, half = FairShare(1 << 20), FREE_BYTES + (1 << 19) - 2000
    body = ONE + b" " * (half - len(ONE))
    with server(say(body)) as url:
        assert put(url, budget=1 << 20).value == Answer(0.25)
        budget.add("evil", 3000)
        http = PrometheusHttp(spec(url, timeout="5s"), None, budget)
        over: Reply[Answer] = http.query({"query": "up"}, number, time.monotonic() + 5, namespace="evil")
        other: Reply[Answer] = http.query({"query": "up"}, number, time.monotonic() + 5, namespace="shop")
        http.close()
    assert isinstance(over.value, Answer)
    assert (over.value.gap, over.limit) == (Why.SOURCE_DOWN, Limit.BYTES)
    assert "namespace evil is reading" in over.value.detail
    assert other.value == Answer(0.25)
    assert (budget.held("evil"), budget.used) == (3000, 3000), "what was taken is given back"


def test_short_answers_are_read_whatever_others_read() -> None:
    with server(say(ONE + b" " * (FREE_BYTES - len(ONE)))) as url:
        assert put(url, budget=0).value == Answer(0.25)


def test_questions_that_wait_are_bounded_by_namespace() -> None:
    met: list[str] = []
    capacity = Capacity(count_limit=met.append, questions=FairShare(10 * (QUESTION_BYTES + 2)))
    go = threading.Event()

    def behaviour(connection: socket.socket, request: bytes) -> None:
        go.wait(30)
        say(ONE)(connection, request)

    async def asked(url: str) -> tuple[list[Answer], Answer]:
        source = Source(spec(url, timeout="10s", maxConcurrency=1), capacity=capacity)
        many = [asyncio.create_task(source.ask(f"q{i}", AT, "evil")) for i in range(9)]
        await asyncio.sleep(0.05)
        other = asyncio.create_task(source.ask("q0", AT, "shop"))
        await asyncio.sleep(0.05)
        go.set()
        answers = await asyncio.gather(*many), await other
        source.close()
        return answers

    with server(behaviour) as url:
        answers, other = asyncio.run(asked(url))
    assert other == Answer(0.25)
    assert [answer.value for answer in answers] == [0.25] * 5 + [None] * 4
    assert answers[-1].gap is Why.SOURCE_DOWN
    assert answers[-1].detail.startswith("not sent: the questions of namespace evil that wait for an answer take")
    assert met == ["questions"] * 4


# ---- how long --------------------------------------------------------------------------------------------


def endless(first: bytes, piece: bytes = b"a") -> Behaviour:
    return bare(first, piece, pause=0.02)


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(b"HTTP/1.1 200 OK\r\nX-A: "),
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        endless(CHUNKED, b"1\r\n \r\n"),
        endless(CHUNKED + b"0\r\n", b"X: y\r\n"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["head", "body", "chunks", "trailers", "interim answers"],
)
def test_a_server_that_drips_costs_its_thread_no_longer_than_the_time_out(behaviour: Behaviour) -> None:
    with server(behaviour) as url:
        began = time.monotonic()
        reply = put(url, seconds=0.5)
        assert time.monotonic() - began < 30
    assert reply.late
    assert isinstance(reply.value, Answer)
    assert reply.value.gap is Why.SOURCE_DOWN
    assert reply.value.detail.startswith("no answer within")


def test_a_tls_handshake_that_drips_ends_too() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KiB, then its body byte by byte
            while True:
                try:
                    connection.sendall(b"\x02")
                except OSError:
                    return
                time.sleep(0.02)

    threading.Thread(target=drip, daemon=True).start()
    with listening:
        began = time.monotonic()
        reply = put(f"https://127.0.0.1:{listening.getsockname()[1]}", seconds=0.5)
        assert time.monotonic() - began < 30
    assert isinstance(reply.value, Answer)
    assert reply.value.gap is Why.SOURCE_DOWN


def test_edits_of_a_source_that_hangs_leave_no_threads() -> None:
    """The time-out is long, and yet what is under way ends soon after the edit."""

    async def edited(url: str, capacity: Capacity) -> None:
        for edit in range(3):
            source = Source(spec(url, timeout=f"{60 + edit}s", maxConcurrency=8), capacity=capacity)
            asks = [asyncio.create_task(source.ask(f"q{i}", AT, "evil")) for i in range(8)]
            await asyncio.sleep(0.2)
            source.close()
            for answer in await asyncio.gather(*asks):
                assert answer.gap is Why.SOURCE_DOWN

    threads = Threads(idle=0.1)
    with server(endless(b"HTTP/1.1 200 OK\r\nX: ")) as url:
        began = time.monotonic()
        asyncio.run(edited(url, Capacity(threads=threads)))
        assert time.monotonic() - began < 60
        deadline = time.monotonic() + 30
        while threads.number and time.monotonic() < deadline:
            time.sleep(0.05)
        assert threads.number == 0


# ---- what may be written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", [False, True])
def test_a_source_says_at_most_two_minutes(cluster: bool) -> None:
    raw = {"prometheus": {"url": "http://prom"}}
    assert read_metric_source(raw | {"timeout": "2m"}, cluster).timeout == timedelta(minutes=2)
    with pytest.raises(SpecError, match=r"spec\.timeout: .*above the limit of 2m: write 2m or less"):
        read_metric_source(raw | {"timeout": "99999h"}, cluster)


def test_the_operator_lowers_what_a_namespace_says() -> None:
    written = MetricSourceSpec.model_validate(
        {"prometheus": {"url": "http://prom"}, "timeout": "2m", "maxConcurrency": 64}
    )
    lowered = Ceilings(timedelta(seconds=10), 8).lower(written)
    assert (lowered.timeout, lowered.max_concurrency) == (timedelta(seconds=10), 8)
    modest = written.model_copy(update={"timeout": timedelta(seconds=3), "max_concurrency": 2})
    assert Ceilings(timedelta(seconds=10), 8).lower(modest) == modest


def test_urllib3_is_one_that_bounds_what_it_unpacks() -> None:
    """2.5 unpacks 820 bytes to 400 MiB at once."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert [each for each in project["project"]["dependencies"] if each.startswith("urllib3")] == ["urllib3>=2.6,<3"]
