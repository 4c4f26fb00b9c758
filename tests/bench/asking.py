"""What the questions of a thousand plans cost, asked of a real Prometheus for a minute.

Each plan asks what two predicates with values and one with counted events ask, of both sides, and all of it for one
instant. Its selectors are its own, so nothing is asked for two plans at once.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.predicate import Events
from rolloutplan.metrics.prometheus.counters import counter_queries
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.verdict import Answer
from tests.bed import Bed, objects
from tests.bench.table import Row, percentile

INTERVAL = 10.0
BAR = {"cores": 1.0, "lag": 1.0, "requests": 110}
Put = Callable[[datetime], Awaitable[Any]]


@contextmanager
def shop(bed: Bed) -> Iterator[None]:
    """Two versions of two pods each, under load."""
    bed.apply(objects.namespace("asking"))
    for version in ("v1", "v2"):
        name = f"web-{version}"
        bed.apply(objects.deployment(name, "asking", version), objects.service(name, "asking"))
    bed.apply(objects.httproute("web", {"web-v1": 50, "web-v2": 50}, "asking", "asking.example.com"))
    for version in ("v1", "v2"):
        bed.wait_ready("asking", f"web-{version}")
    load = bed.load("asking.example.com", rate=20, seconds=600)
    time.sleep(8)
    yield
    load.kill()


@dataclass
class Run:
    """What was measured, from when every plan had asked once."""

    lags: list[float] = field(default_factory=list)
    """Seconds from when questions were due to the answer, for each of them."""
    http: int = 0
    gaps: Counter[str] = field(default_factory=Counter)

    def heard(self, due: float, answers: Sequence[object]) -> None:
        self.lags += [time.monotonic() - due] * len(answers)
        self.gaps.update(answer.gap for answer in answers if isinstance(answer, Answer) and answer.gap)


def asking(bed: Bed, plans: int = 1000, seconds: float = 60) -> list[Row]:
    """So many plans of eight questions every ten seconds, evenly spread as the operator spreads them."""
    with shop(bed):
        return _asked(bed, plans, seconds)


def _asked(bed: Bed, plans: int, seconds: float) -> list[Row]:
    run = Run()
    spec = MetricSourceSpec.model_validate({"prometheus": {"url": bed.prometheus_url}, "timeout": "5s"})

    def observe(code: int, took: float) -> None:
        run.http += 1

    async def measured() -> tuple[float, float, float]:
        source = Source(spec, observe)
        tenant = Tenant(source, "asking")
        began = time.monotonic() + 1
        phases = [INTERVAL * i / plans for i in range(plans)]
        looks = 1 + round(seconds / INTERVAL)
        asks = [_plan(run, _questions(tenant, i), began + phase, looks) for i, phase in enumerate(phases)]
        tasks = [asyncio.create_task(ask) for ask in asks]
        await asyncio.sleep(began + INTERVAL - time.monotonic())
        run.http = 0
        ours, theirs = time.process_time(), _cpu(bed.prometheus.pid)
        await asyncio.sleep(began + INTERVAL + seconds - time.monotonic())
        used = time.process_time() - ours, _cpu(bed.prometheus.pid) - theirs, run.http
        await asyncio.gather(*tasks)
        source.close()
        return used[0] / seconds, used[1] / seconds, used[2] / seconds

    ours, theirs, http = asyncio.run(measured())
    p50, p99 = percentile(run.lags, 50), percentile(run.lags, 99)
    about = f"{plans} plans x 8 questions every {INTERVAL:.0f} s, {seconds:.0f} s"
    lags = f"p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, max {1000 * max(run.lags):.0f} ms"
    gaps = ", ".join(f"{gap} {number}" for gap, number in run.gaps.items()) or "0"
    return [
        Row(f"CPU of ours: {about}", "<= 1 core", f"{ours:.2f} (Prometheus {theirs:.2f})", ours <= BAR["cores"]),
        Row("due -> answered", "p99 <= 1 s", f"{lags}, {len(run.lags)} questions", p99 <= BAR["lag"]),
        Row("HTTP requests", "<= 110/s", f"{http:.0f}/s", http <= BAR["requests"]),
        Row("questions without an answer", "0", gaps, not run.gaps),
    ]


async def _plan(run: Run, questions: Sequence[Put], first: float, looks: int) -> None:
    """Ask at each look; what the first brings is not measured."""
    for snapshot in range(looks):
        due = first + snapshot * INTERVAL
        await asyncio.sleep(due - time.monotonic())
        at = datetime.now(UTC) - timedelta(seconds=1)
        answers = await asyncio.gather(*(put(at) for put in questions))
        if snapshot:
            run.heard(due, answers)


def _questions(source: Tenant, plan: int) -> list[Put]:
    queries = [query for version in ("v1", "v2") for query in _values(version, plan)]
    counters = [query for version in ("v1", "v2") for query in counter_queries(_events(version, plan))]
    return [partial(source.ask, query) for query in queries] + [partial(source.sample, query) for query in counters]


def _events(version: str, plan: int) -> Events:
    labels = f'namespace="asking",deployment="web-{version}",plan!="{plan}"'
    return Events(total=f"http_requests_total{{{labels}}}", bad=f'http_requests_total{{{labels},code="500"}}')


def _values(version: str, plan: int) -> tuple[str, str]:
    events, window = _events(version, plan), "[30s]"
    buckets = f"{events.total}".replace("http_requests_total", "http_request_duration_seconds_bucket")
    return (
        f"sum(rate({events.bad}{window})) / sum(rate({events.total}{window}))",
        f"histogram_quantile(0.99, sum by (le) (rate({buckets}{window})))",
    )


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
