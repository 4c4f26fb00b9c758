"""The metrics layer on a real Prometheus: one query for many, counts that are exact, and a server that stops."""

import asyncio
import struct
import threading
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.predicate import Events
from rolloutplan.metrics.prometheus.batching import Fingerprint
from rolloutplan.metrics.prometheus.counters import bounds_query, counter_queries, no_bound
from rolloutplan.metrics.prometheus.response import Counts
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.stats.verdict import Answer, Why
from tests.bed import Bed, Stopwatch, objects, prometheus, until
from tests.bed.processes import answers

T = TypeVar("T")


class Asking:
    """A source, and how often it was asked."""

    def __init__(self, url: str, timeout: str = "20s") -> None:
        self.codes: list[int] = []
        spec = MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": timeout})
        self.source = Source(spec, lambda code, _: self.codes.append(code))

    def number(self) -> int:
        number, self.codes = len(self.codes), []
        return number

    async def all(self, queries: Sequence[str], at: datetime) -> list[Answer]:
        return await asyncio.gather(*(self.source.ask(query, at, "shop") for query in queries))


def run(story: Callable[[], Awaitable[T]]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(60):
            return await story()

    return asyncio.run(in_time())


SERVED: dict[str, datetime] = {}
"""When each shop had served its requests, and Prometheus knew it."""


@pytest.fixture(scope="module")
def shop(bed: Bed) -> Iterator[str]:
    """A namespace with `web-v1` and `web-v2` that have been asked 600 times, and will not be asked again."""
    name = f"metrics-{uuid4().hex[:6]}"
    bed.apply(objects.namespace(name))
    for version in ("v1", "v2"):
        behaviour = {"errors": "0.2"} if version == "v2" else {}
        bed.apply(objects.deployment(f"web-{version}", name, version, annotations=behaviour))
        bed.apply(objects.service(f"web-{version}", name))
    bed.apply(objects.httproute("web", {"web-v1": 50, "web-v2": 50}, name, f"{name}.example.com"))
    for version in ("v1", "v2"):
        bed.wait_ready(name, f"web-{version}")
    until(lambda: (bed.query(f'count(http_requests_total{{namespace="{name}"}})') or 0) >= 8, 30, "all counters")
    bed.load(f"{name}.example.com", rate=200, seconds=3).wait()
    grown = f'sum(increase(http_requests_total{{namespace="{name}"}}[3s]))'
    until(lambda: bed.query(grown) == 0, 30, "the last scrape")
    SERVED[name] = datetime.now(UTC).replace(microsecond=0)
    yield name
    bed.delete(objects.namespace(name))


# ---- one query for many ----------------------------------------------------------------------------------------------

QUERIES = [
    "1 + 1",
    "time()",
    "vector(0.25)",
    'sum(rate(http_requests_total{namespace="NS"}[1m]))',
    'sum(rate(http_requests_total{namespace="NS",code="500"}[1m])) / ignoring(x) vector(100)',
    'histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket{namespace="NS"}[1m])))',
    'sum by (q) (label_replace(http_requests_total{namespace="NS",code="200"}, "q", "mine", "", ""))',
    "sum(http_requests_total{namespace='NS'} offset 1s) # of a second ago",
    'max(http_requests_total{namespace="NS"}) or vector(0)',
    "scalar(vector(3)) * 2",
    'topk(1, http_requests_total{namespace="NS",code="200"})',
    'count(http_requests_total{namespace="NS"} > bool 1e9) unless vector(1)',
    'sum(max_over_time(http_requests_total{namespace="NS"}[1m:5s]))',
    "avg_over_time(vector(7)[10s:1s])",
    'absent(http_requests_total{namespace="NS"})',
    "sum(http_requests_total{namespace=`nowhere`})",
    "vector(0) / 0",
    "-sgn(vector(4))",
]


def test_asked_as_one_each_gets_what_it_gets_alone(bed: Bed, shop: str) -> None:
    queries = [query.replace("NS", shop) for query in QUERIES]

    async def story() -> None:
        asking, at = Asking(bed.prometheus_url), datetime.now(UTC)
        alone = await asking.all(queries, at)
        assert asking.number() == len(queries)
        asking.source._questions.clear()
        assert await asking.all(queries, at) == alone
        assert asking.number() < len(queries) / 2
        gaps = {answer.gap for answer in alone}
        assert gaps == {None, Why.NO_DATA, Why.NAN}
        asking.source.close()

    run(story)


BAD = {
    'http_requests_total{namespace="NS"} + on (code) http_requests_total{namespace="NS"}': Why.QUERY_REJECTED,
    'label_replace(up or label_replace(up, "a", "1", "", ""), "a", "1", "", "")': Why.QUERY_REJECTED,
    'quantile(2, http_requests_total{namespace="NS"}) + 1': Why.WARNINGS,
    'http_requests_total{namespace="NS"}': Why.MANY_SERIES,
    "sum(": Why.QUERY_REJECTED,
    'up) or (up, "q", "1", "", ""': Why.QUERY_REJECTED,
}


@pytest.mark.parametrize("query", BAD)
def test_a_query_that_goes_wrong_does_not_take_the_others_with_it(bed: Bed, shop: str, query: str) -> None:
    """Its form is known: it went well for another plan."""
    bad, good = query.replace("NS", shop), [f"vector({i})" for i in range(7)]

    async def story() -> None:
        asking = Asking(bed.prometheus_url)
        await asking.all(good, datetime.now(UTC))
        asking.source._batcher("shop").record_single(Fingerprint.of(bad, "shop"), "vector", 0.001)
        asking.number()
        *answers, wrong = await asking.all([*good, bad], datetime.now(UTC))
        assert [answer.value for answer in answers] == [*map(float, range(7))]
        assert (wrong.value, wrong.gap) == (None, BAD[query])
        asking.number()
        await asking.all([*good, bad], datetime.now(UTC))
        assert asking.number() < len(good), "those that went well are not asked one by one"
        asking.source.close()

    run(story)


def test_a_slow_query_keeps_the_others_of_its_look_no_longer_than_a_moment(bed: Bed) -> None:
    slow, good = "count_over_time(vector(1)[10h:1ms])", [f"vector({i})" for i in range(7)]

    async def story() -> None:
        asking = Asking(bed.prometheus_url, timeout="6s")
        await asking.all(good, datetime.now(UTC))
        asking.source._batcher("shop").record_single(Fingerprint.of(slow, "shop"), "vector", 0.001)
        for _ in range(2):
            at = datetime.now(UTC)
            last = asyncio.create_task(asking.source.ask(slow, at, "shop"))
            answers = await asking.all(good, at)
            assert [answer.value for answer in answers] == [*map(float, range(7))]
            assert not last.done()
            await last
        asking.source.close()

    run(story)


def test_a_prometheus_that_stops_is_found_again(bed: Bed) -> None:
    queries = [f"vector({i})" for i in range(8)]

    async def story() -> None:
        asking = Asking(bed.prometheus_url, timeout="2s")

        async def snapshot() -> set[Why | None]:
            asking.number()
            return {answer.gap for answer in await asking.all(queries, datetime.now(UTC))}

        await snapshot()
        bed.prometheus.stop()
        until(lambda: not answers(f"{bed.prometheus_url}/-/ready"))
        watch = Stopwatch()
        try:
            assert await snapshot() == {Why.SOURCE_DOWN}
            assert watch.seconds() < 2.5
        finally:
            bed.prometheus.cont()
        until(lambda: answers(f"{bed.prometheus_url}/-/ready"))
        while await snapshot() != {None} or asking.number() != 1:
            assert watch.seconds() < 30, "asked as one again"
        asking.source.close()

    run(story)


# ---- counts ----------------------------------------------------------------------------------------------------------


def counted(url: str, events: Events, at: datetime | None = None) -> tuple[Any, Any]:
    async def story() -> tuple[Any, Any]:
        source = Asking(url).source
        instant = at or datetime.now(UTC)
        total, bad = (source.sample(query, instant, "shop") for query in counter_queries(events))
        both = await asyncio.gather(total, bad)
        source.close()
        return both[0], both[1]

    return run(story)


def test_what_is_counted_is_what_was_served(bed: Bed, shop: str) -> None:
    for version, errors in (("v1", 0.0), ("v2", 0.2)):
        selector = f'http_requests_total{{namespace="{shop}",deployment="web-{version}"}}'
        events = Events(total=selector, bad=selector.replace("}", ',code="500"}'))
        total, bad = counted(bed.prometheus_url, events)
        assert total.keys() == bad.keys()
        assert len(total) == 2
        assert all(key.startswith("pods/") for key in total)
        assert sum(total.values()) == pytest.approx(300, abs=12)
        assert all(bad[key] == pytest.approx(total[key] * errors, abs=1) for key in total)
        assert all(value.is_integer() for value in (*total.values(), *bad.values()))


async def answered(source: Source, query: str, at: datetime) -> Counts | Answer:
    """What is answered, asked up to three times: a machine that others use may stand still for one answer."""
    for _ in range(2):
        found = await source.sample(query, at, "shop")
        if not isinstance(found, Answer) or found.gap is not Why.SOURCE_DOWN:
            return found
    return await source.sample(query, at, "shop")


def test_looks_that_were_missed_are_what_would_have_been_seen(bed: Bed, shop: str) -> None:
    query = counter_queries(Events(total=f'http_requests_total{{namespace="{shop}"}}', bad="up"))[0]
    step, end = timedelta(seconds=1), SERVED[shop]

    async def story() -> None:
        source = Asking(bed.prometheus_url).source
        start = end - 24 * step
        missed = await source.samples(query, start, end, step, "shop")
        assert not isinstance(missed, Answer)
        assert [at for at, _ in missed] == [start + i * step for i in range(25)]
        for at, counts in missed:
            assert await answered(source, query, at) == counts
        assert len({tuple(sorted(counts.items())) for _, counts in missed}) > 2, "something has moved"
        source.close()

    run(story)


# ---- slow requests ---------------------------------------------------------------------------------------------------

SECONDS = [0.01, 0.05, 0.1, 0.2, 0.25, 0.26, 0.3, 0.4, 0.5, 0.51, 0.7, 0.9, 1.0, 1.5, 3.0] * 40
BOUNDS = (0.1, 0.25, 0.3, 0.5, 1.0)
NAME = "http_request_duration_seconds"
PORT = 9191


@pytest.fixture(scope="module")
def histograms(bed: Bed) -> Iterator[str]:
    """Prometheus that scrapes the same requests as a `classic` and as a `native` histogram, and once `stored` so."""
    job: dict[str, Any] = {"scrape_interval": "1s", "scrape_timeout": "1s", "scrape_native_histograms": True}
    job["static_configs"] = [{"targets": [f"127.0.0.1:{_scraped()}"]}]
    jobs = [
        job | {"job_name": "classic", "metrics_path": "/classic"},
        job | {"job_name": "native", "metrics_path": "/native"},
        job | {"job_name": "stored", "metrics_path": "/classic", "convert_classic_histograms_to_nhcb": True},
    ]
    url = f"http://127.0.0.1:{PORT}"
    process = prometheus.scraping(bed.programs.prometheus, bed.workdir, "histograms", PORT, jobs)
    process.start()
    try:
        for name in ("classic", "native", "stored"):
            events = Events(histogram=f'{NAME}{{job="{name}"}}', slower_than=timedelta(seconds=1))
            until(lambda events=events: counted(url, events)[0], 30, f"the {name} histogram")  # type: ignore[misc]
        yield url
    finally:
        process.kill()


@pytest.mark.parametrize("job", ["classic", "native", "stored"])
@pytest.mark.parametrize("slower_than", [0.25, 0.5, 1.0])
def test_slow_requests_are_counted_exactly(histograms: str, job: str, slower_than: float) -> None:
    events = Events(histogram=f'{NAME}{{job="{job}"}}', slower_than=timedelta(seconds=slower_than))
    total, slow = counted(histograms, events)
    assert set(total.values()) == {len(SECONDS)}
    assert slow == {key: sum(seconds > slower_than for seconds in SECONDS) for key in total}
    assert total.keys() == {f"{job}/127.0.0.1:{_scraped()}"}


def test_a_bound_that_is_no_power_of_two_is_exact_where_it_is_a_bucket(histograms: str) -> None:
    slow = sum(seconds > 0.3 for seconds in SECONDS)
    for job, error in (("classic", 0), ("stored", 0), ("native", 40)):
        events = Events(histogram=f'{NAME}{{job="{job}"}}', slower_than=timedelta(seconds=0.3))
        ((_, found),) = counted(histograms, events)[1].items()
        assert found == pytest.approx(slow, abs=error)
        assert found.is_integer()


def test_a_bound_that_no_bucket_has_is_no_number_and_the_bounds_are_named(histograms: str) -> None:
    events = Events(histogram=f'{NAME}{{job="classic"}}', slower_than=timedelta(seconds=0.2))
    total, slow = counted(histograms, events)
    assert set(total.values()) == {len(SECONDS)}
    assert isinstance(slow, Answer)
    assert slow.gap is Why.NAN

    async def bounds() -> Any:
        source = Asking(histograms).source
        found = await source.sample(bounds_query(events), datetime.now(UTC), "shop")
        source.close()
        return found

    words = "200ms is not a bucket bound of the histogram: write one of 100ms, 250ms, 300ms, 500ms, 1s"
    assert no_bound(events, run(bounds)) == words


def test_no_histogram_is_nothing_counted(histograms: str) -> None:
    assert counted(histograms, Events(histogram="nothing", slower_than=timedelta(seconds=1))) == ({}, {})


def test_an_empty_histogram_has_no_slow_requests(histograms: str) -> None:
    for job in ("classic", "native", "stored"):
        events = Events(histogram=f'empty_seconds{{job="{job}"}}', slower_than=timedelta(seconds=1))
        total, slow = counted(histograms, events)
        assert set(total.values()) == {0}
        assert set(slow.values()) <= {0}


# ---- what is scraped -------------------------------------------------------------------------------------------------

_PORTS: list[int] = []


def _scraped() -> int:
    """The port of a target that tells of SECONDS as a classic and as a native histogram."""
    if not _PORTS:
        http = ThreadingHTTPServer(("127.0.0.1", 0), _Target)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        _PORTS.append(http.server_address[1])
    return _PORTS[0]


class _Target(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        native = self.path == "/native"
        kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
        body = (_native if native else _classic)(NAME, SECONDS) + (_native if native else _classic)("empty_seconds", [])
        self.send_response(200)
        self.send_header("Content-Type", kind if native else "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _classic(name: str, seconds: Sequence[float]) -> bytes:
    lines = [f"# TYPE {name} histogram"]
    for bound in (*BOUNDS, float("inf")):
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f'{name}_bucket{{le="{le}"}} {sum(s <= bound for s in seconds)}')
    return "\n".join([*lines, f"{name}_sum {sum(seconds)}", f"{name}_count {len(seconds)}", ""]).encode()


def _native(name: str, seconds: Sequence[float], schema: int = 3) -> bytes:
    """One histogram with buckets up to 2 ** (i / 2 ** schema), as the protocol of client_model writes it."""
    bounds = [2.0 ** (i / 2**schema) for i in range(-80, 40)]
    counts = [0] * len(bounds)
    for s in seconds:
        counts[bisect_left(bounds, s)] += 1
    fields = _field(1, len(seconds)) + _double(2, sum(seconds)) + _field(5, _zigzag(schema)) + _double(6, 1e-9)
    fields += _field(7, 0) + _bytes(12, _field(1, _zigzag(-80)) + _field(2, len(counts)))
    fields += b"".join(_field(13, _zigzag(after - before)) for before, after in pairwise([0, *counts]))
    family = _bytes(1, name.encode()) + _field(3, 4) + _bytes(4, _bytes(7, fields))
    return _varint(len(family)) + family


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
