"""Asks the queries of templates: of a Prometheus that scrapes what a test names, in the words of each side."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.predicate import Predicate
from rolloutplan.engine.analysis.counting import render_events
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.metrics.prometheus.counters import counter_queries
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.stats.verdict import Answer
from tests.bed.processes import Process, answers
from tests.unit.test_predicates import plan

SIDES = {"old": "checkout-v1", "new": "checkout-v2"}
"""The Deployment and the Service of each side."""
WINDOW = timedelta(seconds=8)


@contextmanager
def scraping(program: Path, workdir: Path, port: int, targets: Mapping[int, str]) -> Iterator[str]:
    """A Prometheus on a port that scrapes others every second, each at its path; its address."""
    url, name = f"http://127.0.0.1:{port}", f"prometheus-{port}"
    jobs = [
        {"job_name": str(target), "metrics_path": path, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        for target, path in targets.items()
    ]
    config = workdir / f"{name}.json"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
    command = [str(program), f"--config.file={config}", f"--storage.tsdb.path={workdir}/{name}"]
    command += ["--storage.tsdb.no-lockfile", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = Process(name, command, workdir, lambda: answers(f"{url}/-/ready"))
    process.start()
    try:
        yield url
    finally:
        process.kill()


def asked(url: str, query: str) -> Answer:
    """The answer to a query."""

    async def story() -> Answer:
        source = _source(url)
        try:
            return await source.ask(query, datetime.now(UTC), "shop")
        finally:
            source.close()

    return asyncio.run(story())


def sampled(url: str, query: str) -> Any:
    """The series of a query for counters, or the answer that says why there are none."""

    async def story() -> Any:
        source = _source(url)
        try:
            return await source.sample(query, datetime.now(UTC), "shop")
        finally:
            source.close()

    return asyncio.run(story())


def _source(url: str) -> Source:
    return Source(MetricSourceSpec.model_validate({"prometheus": {"url": url}}))


def made(name: str, namespace: str = "shop") -> tuple[Predicate, dict[str, dict[str, str]]]:
    """The predicate that a template makes with its defaults, and the words of each side."""
    spec = plan(guards=[{"template": name}])
    words = {
        side: variables_for(spec, namespace=namespace, plan="checkout", stage="all", side=side, window=WINDOW)
        for side in SIDES
    }
    return spec.guards[0], words


def value(url: str, name: str, namespace: str, side: str) -> float | None:
    """What a template with a query says of a side now."""
    predicate, words = made(name, namespace)
    assert predicate.query is not None
    return asked(url, render(predicate.query, words[side])).value


def total(url: str, name: str, namespace: str, side: str) -> float:
    """How many events a template with counters has counted of a side."""
    predicate, words = made(name, namespace)
    assert predicate.events is not None
    of_all, _ = (sampled(url, query) for query in counter_queries(render_events(predicate.events, words[side])))
    return 0.0 if isinstance(of_all, Answer) else float(sum(of_all.values()))
