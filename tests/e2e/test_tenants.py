"""Two namespaces and one real Prometheus: neither answers for the other, and neither reads what is the other's."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from random import Random
from typing import Any, Final

import pytest
import requests

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.metrics.pool import connect
from rolloutplan.metrics.prometheus.enforce import CannotEnforceError, enforced
from rolloutplan.stats.verdict import Answer
from tests.bed import Bed, prometheus, until
from tests.hostile_queries import expression, forging, hostile

PORT: Final = 9192
MINE, THEIRS, MANY = 3, 1e9, 600
"""The largest value of the series of `shop`; the value, and the number for each metric, of those of `bank`."""
LARGE: Final = 500
"""No query of `expression` makes so much of what is mine, and each makes as much of anything that is theirs."""
SHOP: Final = {"namespace": "shop"}


class _Target(BaseHTTPRequestHandler):
    """Series of two namespaces. Only those of `bank` have the label `account`."""

    def do_GET(self) -> None:
        lines = [f'own{{namespace="shop",job="{job}"}} {value}' for job, value in (("a", 1), ("b", 2))]
        lines += [f'{{"a.b",namespace="shop",job="a"}} {MINE}', "victim 0.21"]
        for metric, account in product(('"own"', '"secret"', '"a.b"'), range(MANY)):
            lines.append(f'{{{metric},namespace="bank",job="a",account="{account}"}} {THEIRS}')
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=1.0.0; escaping=allow-utf-8")
        self.end_headers()
        self.wfile.write("\n".join([*lines, ""]).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url(bed: Bed) -> Iterator[str]:
    """A Prometheus with these series."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Target)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    target = {"targets": [f"127.0.0.1:{http.server_address[1]}"]}
    job = {"job_name": "series", "scrape_interval": "1s", "scrape_timeout": "1s", "honor_labels": True}
    process = prometheus.scraping(
        bed.programs.prometheus, bed.workdir, "tenants", PORT, [{**job, "static_configs": [target]}]
    )
    process.start()
    try:
        url = f"http://127.0.0.1:{PORT}"
        known = 'count({__name__=~"own|secret|a.b"} offset 2s)'
        until(lambda: prometheus.query(known, url) == 3 * MANY + 3, 30, "the series")
        yield url
    finally:
        process.kill()
        http.shutdown()


def test_whatever_two_namespaces_ask_each_hears_what_it_would_hear_alone(url: str) -> None:
    random = Random("neither hears the other")
    forged = [
        text
        for quote, end, value, place in product(('"', "'", "`"), ("\n", "\r"), (0, 1), ("0", "1", "-1"))
        for text in forging(quote, end, value, place)
    ]
    texts = [*dict.fromkeys([*forged, *(hostile(random) for _ in range(60))])]
    victims = ["victim", "sum(victim) # of mine", "1 - sum(victim)", "count(own)"]

    async def story() -> None:
        requests_sent: list[int] = []
        spec = {"prometheus": {"url": url}, "timeout": "10s"}
        alone = connect(read_metric_source({**spec, "batching": "Off"}, cluster=True))
        together = connect(read_metric_source(spec, cluster=True), lambda code, _: requests_sent.append(code))
        at = datetime.now(UTC) - timedelta(seconds=1)

        async def heard(of: Any, namespace: str, queries: Sequence[str], at: datetime) -> list[Answer]:
            asks: list[Awaitable[Answer]] = [of.of(namespace).evaluate(ValueQuery(query), at) for query in queries]
            return await asyncio.gather(*asks)

        true = [await heard(alone, "shop", queries, at) for queries in (texts, victims)]
        assert [answer.value for answer in true[1]] == [0.21, 0.21, 0.79, MANY + 2]
        known = dict(zip(texts, true[0], strict=True))
        for i in range(100):
            now = at + timedelta(milliseconds=i)
            some, other = random.sample(forged, 2) + random.sample(texts, 1), random.sample(texts, 3)
            first, second, own, theirs = await asyncio.gather(
                heard(together, "shop", some, now),
                heard(together, "bank", other, now),
                heard(together, "shop", victims, now),
                heard(together, "bank", victims, now),
            )
            for text, answer in zip((*some, *other), (*first, *second), strict=True):
                assert (answer.value, answer.gap) == (known[text].value, known[text].gap), text
            assert own == theirs == true[1]
        assert len(requests_sent) < 100 * (6 + 2 * len(victims)) / 2, "many went together"
        alone.close()
        together.close()

    asyncio.run(story())


def test_a_bound_query_reads_nothing_of_another_namespace(url: str) -> None:
    session, random = requests.Session(), Random("nothing of another's")
    session.trust_env = False

    def leaks(query: str) -> bool | None:
        """Whether the answer has anything of `bank` in it; None where there is none."""
        answer = session.post(f"{url}/api/v1/query", data={"query": query}, timeout=10).json()
        if answer["status"] != "success" or answer["data"]["resultType"] not in ("vector", "matrix"):
            return None
        rows = answer["data"]["result"]
        values = [float(sample[1]) for row in rows for sample in row.get("values", [row.get("value")])]
        return bool(rows) and ("account" in json.dumps(rows) or any(abs(value) >= LARGE for value in values))

    queries = [*(expression(random) for _ in range(200)), *(hostile(random) for _ in range(200))]
    bound = []
    for query in queries:
        try:
            bound.append(enforced(query, SHOP))
        except CannotEnforceError:
            continue
    found = [leaks(query) for query in bound]
    assert [query for query, leak in zip(bound, found, strict=True) if leak] == []
    assert found.count(False) > len(queries) / 3
    free = [leaks(query) for query in queries]
    assert free.count(True) > len(queries) / 4, "or nothing was proved"
