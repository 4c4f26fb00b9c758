"""A run in Jaeger, a real receiver of OTLP over HTTP: what it shows is one tree. Only `make ship-check` runs this."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from rolloutplan.publish.traces import TraceSink
from rolloutplan.telemetry.spans import receiver
from rolloutplan.telemetry.traces import Traces
from tests.bed import extras, until
from tests.bed.processes import Process, answers
from tests.files import Files
from tests.situations import rolled_back, succeeded
from tests.world import World

ALL_TIMES = {"start": "1", "end": str(2**52)}
"""Microseconds. The worlds of tests have their own time."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def settings(otlp: int, query: int, inside: int) -> dict[str, Any]:
    """Jaeger with its traces in memory, and nothing but what is used here."""
    at = "127.0.0.1:{}".format
    exporter = {"trace_storage": "here"}
    pipeline = {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": pipeline},
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"here": {"memory": {"max_traces": 100}}}},
            "jaeger_query": {
                "storage": {"traces": "here"},
                "http": {"endpoint": at(query)},
                "grpc": {"endpoint": at(inside)},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": at(otlp)}}}},
        "exporters": {"jaeger_storage_exporter": exporter},
    }


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses where it receives, and where it answers. All worlds have the same uid, so that none shares it."""
    otlp, query, inside = (free_port() for _ in range(3))
    (tmp_path / "settings.json").write_text(json.dumps(settings(otlp, query, inside)))
    command = [str(extras.program("jaeger")), f"--config={tmp_path}/settings.json"]
    shown = f"http://127.0.0.1:{query}"
    process = Process("jaeger", command, tmp_path, lambda: answers(f"{shown}/api/services"))
    process.start()
    try:
        yield f"http://127.0.0.1:{otlp}", shown
    finally:
        process.kill()


def send(world: World, url: str) -> int:
    """Send the first run of a world, each decision by a leader of its own; returns how many spans were taken."""
    taken: list[int] = []

    def count(result: str, number: int) -> None:
        assert result == "sent"
        taken.append(number)

    async def story() -> None:
        for number, decision in enumerate(world.status.decisions):
            traces = Traces(receiver(url), count, instance=f"pod-{number}")
            await TraceSink(Files(world.files, lambda _: None), traces.send).publish(world.snapshot(), decision)
            traces.close()

    asyncio.run(story())
    return sum(taken)


@pytest.mark.extras("jaeger")
@pytest.mark.parametrize(
    ("made", "stages", "outcome"),
    [
        (succeeded, ["stage canary", "stage half", "stage all"], "Succeeded"),
        (rolled_back, ["stage canary"], "RolledBack"),
    ],
    ids=["a success", "a rollback"],
)
def test_jaeger_shows_one_tree(
    made: Callable[[], World],
    stages: Sequence[str],
    outcome: str,
    jaeger: tuple[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    into, shown = jaeger
    number = send(made(), into)
    found: list[dict[str, Any]] = []

    def is_shown() -> bool:
        tags = json.dumps({"rolloutplan.outcome": outcome})
        asked = {"service": "rolloutplan", "operation": "run", "tags": tags, **ALL_TIMES}
        answer = requests.get(f"{shown}/api/traces", params=asked, timeout=10, proxies={"http": ""})
        found[:] = answer.json()["data"] or []
        return bool(found)

    until(is_shown, 30, "the trace")
    (trace,) = found
    spans = {span["operationName"]: span for span in trace["spans"]}
    assert spans.keys() == {"run", *stages}
    assert len(trace["spans"]) == number == 1 + len(stages)
    for name in stages:
        (parent,) = spans[name]["references"]
        assert (parent["refType"], parent["spanID"]) == ("CHILD_OF", spans["run"]["spanID"])
    assert not any(span.get("warnings") for span in trace["spans"])
    assert sum(len(span["logs"]) for span in trace["spans"]) == len(made().status.decisions)
    record_property(f"spans in Jaeger, {outcome}", number)
