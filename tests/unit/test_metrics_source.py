"""A question to a metric source: what each answer means, and that an answer always comes in time."""

import _thread
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
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from math import inf
from typing import Any
from urllib.parse import parse_qs

import pytest

from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.metrics.pool import Key, Sources
from rolloutplan.metrics.prometheus import exchange, http
from rolloutplan.metrics.prometheus.http import CLOSING
from rolloutplan.metrics.prometheus.response import LONGEST_DETAIL, counts, number, parse_response
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.threads import Threads
from rolloutplan.stats.verdict import Answer, Why
from tests.wire import Behaviour, say, server, spec

AT = datetime(2026, 11, 22, 1, 2, 3, 456000, tzinfo=UTC)


def success(kind: str, result: Any, **more: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def error(kind: str, words: str) -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": words}).encode()


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1.5, value]}


ONE = success("vector", [series("0.25")])
PARSE = 'invalid parameter "query": 1:5: parse error: unexpected end of input'

UNAVAILABLE = [
    ("execution", "expanding series: proxy Series(): rpc error: code = Aborted desc = fetch series for {}: 1 error"),
    ("execution", "expanding series: proxy Series(): rpc error: code = Unknown desc = receive: unexpected EOF"),
    ("execution", "query processing would load too many samples into memory in query execution"),
    ("execution", "expanding series: remote_read: remote server http://r:9090 returned http status 503"),
    ("execution", "expanding series: failed to fetch some blocks (err-mimir-store-consistency-check-failed)"),
    (
        "execution",
        "the query exceeded the maximum number of series (limit: 10) (err-mimir-max-series-per-query)",
    ),
    ("execution", "something that no server has said so far"),
    ("422", "cannot fetch query results from vmstorage nodes: cannot find healthy storage nodes"),
    ("422", "the number of matching timeseries exceeds 30000; either narrow down the search"),
    ("422", "cannot select more than -search.maxSamplesPerQuery=1000000 samples"),
    ("422", "not enough memory for {{query_expr}}, which returns 692272000 data points across 8000 time series"),
]
"""422: the data could not be had."""
FAULTY = [
    (
        "execution",
        "found duplicate series for the match group {} on the right;many-to-many matching not allowed",
    ),
    ("execution", "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"),
    ("execution", "vector cannot contain metrics with the same labelset"),
    ("execution", 'invalid destination label name in label_replace(): "0"'),
    ("execution", "expanding series: the query time range exceeds the limit (query length: 12000h, limit: 768h)"),
    ("422", 'error when executing query="foo(up)": unknown func "foo"'),
    ("422", "duplicate time series on the right side of `* on(pod) group_left()`: {} and {}"),
    ("bad_data", "1:5: parse error: unexpected end of input inside connection braces"),
]
"""422: the query cannot be evaluated."""
ANSWERS = [
    # what was said                                                    -> value, gap, words in the detail
    (200, success("scalar", [1.5, "3"]), 3.0, None, ""),
    (200, ONE, 0.25, None, ""),
    (200, success("vector", [series("0")]), 0.0, None, ""),
    (200, success("vector", [series("-1e-300")]), -1e-300, None, ""),
    (200, success("vector", []), None, Why.NO_DATA, "no series"),
    (200, success("vector", [series("NaN")]), None, Why.NAN, "NaN"),
    (200, success("vector", [series("+Inf")]), inf, None, ""),
    (200, success("scalar", [1.5, "-Inf"]), -inf, None, ""),
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
    (200, success("vector", [series("1")], isPartial=True), None, Why.PARTIAL, "partial"),
    (200, success("vector", [series("1")], infos=["metric might not be a counter"]), 1.0, None, ""),
    (400, error("bad_data", PARSE), None, Why.QUERY_REJECTED, "parse error: unexpected end of input"),
    (422, error("execution", "many-to-many matching not allowed"), None, Why.QUERY_REJECTED, "many-to-many"),
    (422, error("422", "unparsed data left"), None, Why.QUERY_REJECTED, "unparsed"),
    *((422, error(kind, words), None, Why.SOURCE_DOWN, words) for kind, words in UNAVAILABLE),
    *((422, error(kind, words), None, Why.QUERY_REJECTED, words) for kind, words in FAULTY),
    (422, error("timeout", "query timed out"), None, Why.SOURCE_DOWN, "HTTP 422 Unprocessable Entity: query timed out"),
    (503, error("timeout", "query timed out in expression evaluation"), None, Why.SOURCE_DOWN, "query timed out"),
    (503, error("unavailable", "not ready"), None, Why.SOURCE_DOWN, "HTTP 503 Service Unavailable: not ready"),
    (429, error("bad_data", "too many outstanding requests"), None, Why.SOURCE_DOWN, "too many outstanding"),
    (500, b"", None, Why.SOURCE_DOWN, "HTTP 500"),
    (400, b"<html>400 Bad Request</html>", None, Why.SOURCE_DOWN, "HTTP 400 Bad Request, and the answer is not"),
    (302, b"moved", None, Why.SOURCE_DOWN, "HTTP 302 Found"),
    (599, b"{}", None, Why.SOURCE_DOWN, "HTTP 599, and the answer is not in the JSON format of Prometheus"),
    (503, error("unavailable", ""), None, Why.SOURCE_DOWN, "HTTP 503 Service Unavailable: no message"),
    (401, b"Unauthorized", None, Why.SOURCE_DOWN, "HTTP 401 Unauthorized: it wants other credentials; check auth"),
    (200, b"[]", None, Why.SOURCE_DOWN, "not in the JSON format of Prometheus"),
    (200, b'{"status": "success"}', None, Why.SOURCE_DOWN, "not in the JSON format of Prometheus"),
    (200, success("vector", [{}, {}]), None, Why.SOURCE_DOWN, "not in the JSON format"),
    (200, success("vector", [series("many")]), None, Why.SOURCE_DOWN, "not in the JSON format"),
    (200, success("scalar", None), None, Why.SOURCE_DOWN, "not in the JSON format"),
    (200, success("vector", 5), None, Why.SOURCE_DOWN, "not in the JSON format"),
    (200, json.dumps({"status": "success", "data": [1]}).encode(), None, Why.SOURCE_DOWN, "not in the JSON format"),
]


@pytest.mark.parametrize(("status", "body", "value", "gap", "words"), ANSWERS)
def test_understands(status: int, body: bytes, value: float | None, gap: Why | None, words: str) -> None:
    answer = parse_response(status, body, number)
    assert (answer.value, answer.gap) == (value, gap)
    assert words in answer.detail
    assert bool(answer.detail) is (gap is not None)


def test_what_thanos_warns_of_is_a_store_that_did_not_answer() -> None:
    body = success("vector", [series("1")], warnings=["store b: connection refused"])
    answer = parse_response(200, body, number, flavor="Thanos")
    assert answer == Answer(gap=Why.PARTIAL, detail="store b: connection refused")


A, B = {"job": "shop/web", "instance": "10.0.0.1:80"}, {"job": "shop/web", "instance": "10.0.0.2:80"}
BIG = 2**53

COUNTERS = [
    # what was said                                          -> counts, or gap and words in the detail
    (
        success("vector", [series("3", **A), series(str(BIG), **B)]),
        {"shop/web/10.0.0.1:80": 3, "shop/web/10.0.0.2:80": BIG},
    ),
    (success("vector", [series("1.5e+01")]), {"/": 15}),
    (success("vector", []), {}),
    (success("vector", [series("3", **A), series("NaN", **B)]), (Why.NAN, "the value is NaN for shop/web/10.0.0.2:80")),
    (success("vector", [series("+Inf", **A)]), (Why.NAN, "+Inf")),
    (
        success("vector", [series("3", **A, pod="a"), series("4", **A)]),
        (Why.MANY_SERIES, "more than one series of shop/"),
    ),
    (success("vector", [{"metric": A, "histogram": [1, {}]}]), (Why.QUERY_REJECTED, "histograms")),
    (success("scalar", [1.5, "3"]), (Why.QUERY_REJECTED, "scalar")),
    (success("vector", [series("3", **A)], warnings=["w"]), (Why.WARNINGS, "w")),
    (success("vector", [{}]), (Why.SOURCE_DOWN, "not in the JSON format")),
    (error("bad_data", PARSE), (Why.SOURCE_DOWN, "parse error")),
]


@pytest.mark.parametrize(("body", "told"), COUNTERS)
def test_understands_counters(body: bytes, told: dict[str, float] | tuple[Why, str]) -> None:
    answer = parse_response(200, body, counts)
    if isinstance(answer, Answer):
        assert isinstance(told, tuple)
        assert answer.gap is told[0]
        assert told[1] in answer.detail
    else:
        assert answer == told


def test_details_stay_short_and_in_one_line() -> None:
    detail = parse_response(400, error("bad_data", "a\n\tb\x00" + "c" * 1000), number).detail
    assert detail == ("a b " + "c" * 1000)[:LONGEST_DETAIL]


# ---- over the wire ------------------------------------------------------------------------------------


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


def ask(url: str, query: str = "up", **more: Any) -> Answer:
    source = Source(spec(url, **more))
    try:
        return asyncio.run(source.ask(query, AT, "shop"))
    finally:
        source.close()


def test_asks_at_the_instant_by_post() -> None:
    requests: list[bytes] = []

    def behaviour(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        say(ONE)(connection, request)

    with server(behaviour) as url:
        answer = ask(f"{url}/prometheus/", 'sum(x{a="b&c"}) ', timeout="2s", headers={"X-Scope-OrgID": "shop"})
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


@pytest.mark.parametrize(("flavor", "nocache"), [("VictoriaMetrics", ["1"]), ("Mimir", None)])
def test_victoria_metrics_is_not_to_move_the_instant(flavor: str, nocache: list[str] | None) -> None:
    requests: list[bytes] = []

    def behaviour(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        say(ONE)(connection, request)

    with server(behaviour) as url:
        ask(url, prometheus={"url": url, "flavor": flavor})
    assert parse_qs(requests[0].decode().partition("\r\n\r\n")[2]).get("nocache") == nocache


@pytest.mark.parametrize(
    ("ahead", "value"),
    [(-3600, 0.25), (0, 0.25), (25, 0.25), (40, None), (3600, None)],
)
def test_a_source_whose_clock_is_ahead_proves_nothing(ahead: int, value: float | None) -> None:
    """What it has for an instant of ours is of before that instant: it may be of before the weight."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    with server(say(ONE, f"Date: {date}")) as url:
        answer = ask(url, timeout="2s")
    assert answer.value == value
    if value is None:
        assert answer.gap is Why.SOURCE_DOWN
        assert "s ahead: samples of before a weight would count for the weight; set the clocks right" in answer.detail


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 09:42:32 GMT"])
def test_a_source_that_does_not_say_what_time_it_is_is_believed(date: str) -> None:
    with server(say(ONE, f"Date: {date}")) as url:
        assert ask(url, timeout="2s") == Answer(0.25)


def test_only_a_source_of_the_cluster_has_a_say_in_the_operators_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may create a MetricSource could keep the operator on a clock that is wrong, for all namespaces."""
    confirmed = list[str]()
    monkeypatch.setattr(http, "confirm", lambda date, _sent, _received: confirmed.append(date))
    date = format_datetime(datetime.now(UTC), usegmt=True)

    async def answer(source: Source) -> Answer:
        try:
            return await source.ask("q", AT, "shop")
        finally:
            source.close()

    with server(say(ONE, f"Date: {date}")) as url:
        for kind, dates in ((MetricSourceSpec, []), (ClusterMetricSourceSpec, [date])):
            written = kind.model_validate({"prometheus": {"url": url}})
            assert asyncio.run(answer(Source(written))).value == 0.25
            assert confirmed == dates


def test_reads_a_compressed_answer() -> None:
    with server(say(gzip.compress(ONE), "Content-Encoding: gzip")) as url:
        assert ask(url) == Answer(0.25)


@pytest.mark.parametrize(
    ("behaviour", "gap", "words"),
    [
        (hang, Why.SOURCE_DOWN, "no answer within 0."),
        (hang_up, Why.SOURCE_DOWN, "closed connection"),
        (reset, Why.SOURCE_DOWN, "reset by peer"),
        (drip, Why.SOURCE_DOWN, "no answer within 0."),
        (drip_head, Why.SOURCE_DOWN, "no answer within 0."),
        (flood, Why.MANY_SERIES, "longer than"),
        (stop_short, Why.SOURCE_DOWN, ""),
        (say(b"\x00\xff"), Why.SOURCE_DOWN, "not in the JSON format of Prometheus"),
    ],
)
def test_always_ends_in_time(behaviour: Behaviour, gap: Why, words: str) -> None:
    """Also where the server never does."""
    with server(behaviour) as url:
        answer = ask(url)
    assert (answer.value, answer.gap) == (None, gap)
    assert words in answer.detail


def test_nobody_there() -> None:
    with server(hang) as url:
        pass
    answer = ask(url)
    assert answer == Answer(gap=Why.SOURCE_DOWN, detail="Connection refused")


def test_a_redirect_is_not_followed() -> None:
    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with server(behaviour) as url:
        assert "HTTP 302" in ask(url).detail


def test_a_connection_that_the_server_dropped_is_no_outage() -> None:
    """The server answers, and then closes the kept connection as soon as the next question comes in on it."""
    asked = 0

    def behaviour(connection: socket.socket, request: bytes) -> None:
        nonlocal asked
        asked += 1
        (hang_up if asked == 2 else say(ONE))(connection, request)

    async def twice(source: Source) -> list[Answer]:
        return [await source.ask("up", AT, "shop"), await source.ask("up", AT + timedelta(seconds=1), "shop")]

    with server(behaviour) as url:
        source = Source(spec(url))
        assert asyncio.run(twice(source)) == [Answer(0.25)] * 2
        source.close()
    assert asked == 3


def test_waiting_behind_slow_questions_counts() -> None:
    async def many(source: Source) -> list[Answer]:
        return await asyncio.gather(*(source.ask(f"up{i}", AT, "shop") for i in range(8)))

    asked: list[bytes] = []

    def behaviour(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        hang(connection, request)

    with server(behaviour) as url:
        source = Source(spec(url, maxConcurrency=2))
        answers = asyncio.run(many(source))
        source.close()
    assert {answer.gap for answer in answers} == {Why.SOURCE_DOWN}
    assert len(asked) <= 2, "for the others no time was left"


def test_a_hanging_source_is_closed_at_once_and_answers_what_was_asked() -> None:
    async def replaced(source: Source) -> tuple[Answer, float]:
        question = asyncio.create_task(source.ask("up", AT, "shop"))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        source.close()
        took = time.monotonic() - began
        assert (await source.ask("up", AT, "shop")).gap is Why.SOURCE_DOWN
        return await question, took

    with server(hang) as url:
        answer, took = asyncio.run(replaced(Source(spec(url, timeout="60s"))))
    assert answer.gap is Why.SOURCE_DOWN
    assert took < CLOSING / 2


def test_a_cancelled_question_is_cancelled() -> None:
    async def cancelled(source: Source) -> None:
        question = asyncio.create_task(source.ask("up", AT, "shop"))
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
    here = Access(SourceHosts.read(["127.0.0.1"]))
    sources = Sources(lambda source, code, seconds: seen.put((source, code, seconds)), access=here)
    with server(behaviour) as url:
        provider = sources.get(Key("MetricSource", "shop", "default"), spec(url)).of("shop")
        asyncio.run(provider.evaluate(ValueQuery("up"), AT))
        told = [seen.get(timeout=30) for _ in codes]
    sources.close()
    assert [(source, code) for source, code, _ in told] == [("shop/default", code) for code in codes]
    assert all(0 < seconds < 30 for _, _, seconds in told)
    assert seen.empty()


# ---- looks that were missed ----------------------------------------------------------------------------

STEP = timedelta(seconds=10)


def ranges(points: Callable[[int], list[tuple[dict[str, str], str]]], forms: list[dict[str, str]]) -> Behaviour:
    """Answers a range query with the series and values that `points` gives for each of its instants from AT on."""

    def behaviour(connection: socket.socket, request: bytes) -> None:
        head, _, body = request.decode().partition("\r\n\r\n")
        form = {name: value for name, (value,) in parse_qs(body).items()}
        forms.append({"path": head.split()[1], **form})
        matrix: dict[str, dict[str, Any]] = {}
        at = float(form["start"])
        while at <= float(form["end"]):
            for labels, value in points(round((at - AT.timestamp()) / 10)):
                row = matrix.setdefault(str(labels), {"metric": labels, "values": []})
                row["values"].append([at, value])
            at += float(form["step"])
        say(success("matrix", list(matrix.values())))(connection, request)

    return behaviour


def looks(behaviour: Behaviour, number: int) -> Sequence[tuple[datetime, Mapping[str, float]]] | Answer:
    async def asked(url: str) -> Sequence[tuple[datetime, Mapping[str, float]]] | Answer:
        source = Source(spec(url, timeout="1s"))
        try:
            return await source.samples("c", AT, AT + (number - 1) * STEP, STEP, "shop")
        finally:
            source.close()

    with server(behaviour) as url:
        return asyncio.run(asked(url))


def test_missed_looks_are_what_they_would_have_been() -> None:
    """One instance is born late, all are gone for a look, and one look has no honest number."""
    table = {0: [(A, "1")], 1: [(A, "2"), (B, "7")], 3: [(A, "3"), (B, "NaN")], 4: [(B, str(BIG))]}
    one, other = "shop/web/10.0.0.1:80", "shop/web/10.0.0.2:80"
    forms: list[dict[str, str]] = []
    assert looks(ranges(lambda i: table.get(i, []), forms), 5) == [
        (AT, {one: 1}),
        (AT + STEP, {one: 2, other: 7}),
        (AT + 2 * STEP, {}),
        (AT + 4 * STEP, {other: BIG}),
    ]
    assert {key: forms[0][key] for key in ("path", "query", "start", "end", "step")} == {
        "path": "/api/v1/query_range",
        "query": "c",
        "start": "1795309323.456",
        "end": "1795309363.456",
        "step": "10.0",
    }


def test_many_missed_looks_are_asked_in_parts_and_none_is_lost_or_doubled() -> None:
    forms: list[dict[str, str]] = []
    found = looks(ranges(lambda i: [(A, str(i))], forms), 250)
    assert found == [(AT + i * STEP, {"shop/web/10.0.0.1:80": i}) for i in range(250)]
    assert len(forms) == 3


def test_no_look_is_missed() -> None:
    forms: list[dict[str, str]] = []
    assert looks(ranges(lambda _: [], forms), 0) == []
    assert forms == []


@pytest.mark.parametrize(
    ("behaviour", "gap"),
    [
        (say(success("matrix", [{"metric": A, "histograms": []}])), Why.QUERY_REJECTED),
        (say(success("vector", [])), Why.QUERY_REJECTED),
        (say(success("matrix", [{"metric": A | {"pod": p}, "values": []} for p in "ab"])), Why.MANY_SERIES),
        (say(success("matrix", [{"metric": A, "values": [[1.5, "1"]]}])), Why.SOURCE_DOWN),
        (say(success("matrix", [], warnings=["w"])), Why.WARNINGS),
        (hang, Why.SOURCE_DOWN),
    ],
    ids=["histograms", "vector", "doubled", "another time", "warnings", "hangs"],
)
def test_missed_looks_that_are_not_told(behaviour: Behaviour, gap: Why) -> None:
    found = looks(behaviour, 5)
    assert isinstance(found, Answer)
    assert found.gap is gap


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
    assert asyncio.run(first.of("shop").evaluate(ValueQuery("up"), AT)).detail.startswith("not sent")
    sources.keep([other])
    assert asyncio.run(changed.of("shop").evaluate(ValueQuery("up"), AT)).detail.startswith("not sent")
    assert sources.get(one, spec("http://a:9090", timeout="400ms")) is not changed
    sources.close()


# ---- the threads -------------------------------------------------------------------------------------


def test_threads_are_started_as_needed_and_reused() -> None:
    pool = Threads()
    threads = pool.lane(3)

    def by_itself() -> int:
        """The thread that did a call, once it is idle again."""
        ident = threads.submit(threading.get_ident).result(30)
        while len(pool._idle) < pool.number:
            time.sleep(0.001)
        return ident

    assert len({by_itself() for _ in range(20)}) == 1
    together = threading.Barrier(3)
    busy = [threads.submit(together.wait) for _ in range(3)]
    assert sorted(future.result(30) for future in busy) == [0, 1, 2]
    threads.close()


def test_slow_calls_leave_half_of_the_threads_to_the_others() -> None:
    threads, began, go = Threads().lane(4), threading.Semaphore(0), threading.Event()
    slow = [threads.submit(lambda: _hold(began, go), slow=True) for _ in range(9)]
    assert began.acquire(timeout=30) and began.acquire(timeout=30)
    assert [threads.submit(int).result(30) for _ in range(9)] == [0] * 9
    assert not began.acquire(blocking=False)
    assert threads.saturated("")
    go.set()
    for future in slow:
        future.result(30)
    assert not threads.saturated("")
    threads.close()


def _hold(began: threading.Semaphore, go: threading.Event) -> None:
    began.release()
    go.wait(30)


def test_a_single_thread_does_slow_calls_too() -> None:
    threads = Threads().lane(1)
    assert [threads.submit(int, slow=slow).result(30) for slow in (True, False, True)] == [0] * 3
    threads.close()


@pytest.mark.parametrize(
    ("patience", "order"), [(60, [0, 1, 2, 3, 4]), (0, [4, 3, 2, 1, 0])], ids=["in time", "more than can be done"]
)
def test_threads_do_first_what_came_first_until_that_would_be_too_late(patience: float, order: list[int]) -> None:
    threads, began, go, done = (
        Threads().lane(1, patience),
        threading.Barrier(2),
        threading.Event(),
        list[int](),
    )
    threads.submit(lambda: (began.wait(30), go.wait(30)))
    began.wait(30)
    futures = [threads.submit(partial(done.append, i)) for i in range(5)]
    go.set()
    for future in futures:
        future.result(30)
    assert done == order
    threads.close()


def test_threads_leave_out_what_was_cancelled_and_finish_what_was_taken() -> None:
    threads = Threads().lane(1)
    go = threading.Event()
    first = threads.submit(lambda: (go.wait(30) and 1) or 0)
    cancelled, last = threads.submit(lambda: 2), threads.submit(lambda: 3)
    assert cancelled.cancel()
    threads.close()
    with pytest.raises(RuntimeError):
        threads.submit(lambda: 4)
    go.set()
    assert (first.result(30), last.result(30)) == (1, 3)


@pytest.mark.parametrize("which", ["to ask", "to keep the deadline"])
def test_where_the_system_gives_no_thread_only_that_question_is_lost(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may have few: no place, and above all not the turn to compute, must stay with what has failed."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def run(url: str) -> tuple[Answer, Answer]:
        source = Source(spec(url, "1s"))
        with monkeypatch.context() as few:
            if which == "to ask":
                few.setattr(_thread, "start_new_thread", refuse)
            else:
                monkeypatch.setattr(exchange, "_ends", exchange._Ends())
                few.setattr(threading.Thread, "start", refuse)
            lost = await source.ask("1", AT, "shop")
        found = await source.ask("1", AT, "shop")
        source.close()
        return lost, found

    with server(say(ONE)) as url:
        lost, found = asyncio.run(run(url))
    assert lost.gap is Why.SOURCE_DOWN
    assert lost.detail.startswith("not asked: can't start new thread")
    assert found == Answer(0.25)


def test_a_hanging_thread_does_not_hold_up_the_end_of_the_process() -> None:
    package = "rolloutplan.metrics.prometheus"
    code = f"import time; from {package}.threads import Threads; Threads().lane(1).submit(lambda: time.sleep(60))"
    subprocess.run([sys.executable, "-c", code], timeout=10, check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
