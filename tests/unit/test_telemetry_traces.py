"""Spans on their way to a receiver of OTLP: what arrives, and that a receiver which takes none costs spans only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from rolloutplan.cli import serve
from rolloutplan.cli.main import main
from rolloutplan.telemetry import traces
from rolloutplan.telemetry.spans import Span, SpanEvent, receiver
from rolloutplan.telemetry.traces import Traces
from tests.otlp import spans_at, values
from tests.receiver import Receiver

AT = datetime(2026, 3, 1, 9, 0, 0, 250_000, tzinfo=UTC)
NANOSECONDS = 1_772_355_600_250_000_000
EVENT = SpanEvent("WeightShifted", AT + timedelta(seconds=1), {"rolloutplan.seq": 4})
STAGE = Span(
    "stage w25",
    2**127 + 1,
    2**63 + 1,
    7,
    AT,
    AT + timedelta(minutes=5),
    {"rolloutplan.plan": "checkout"},
    [EVENT],
    "bad",
)
RUN = Span("run", 2**127 + 1, 7, None, AT, AT + timedelta(hours=1), {"rolloutplan.images": ("a", "b")})


def sent(url: str, *batches: list[Span]) -> Counter[str]:
    """How many spans were sent, and lost, when these went out at the same time."""
    counted: Counter[str] = Counter()

    async def story() -> None:
        made = Traces(url, lambda result, number: counted.update({result: number}), instance="pod-1")
        try:
            await asyncio.gather(*map(made.send, batches))
        finally:
            made.close()

    asyncio.run(story())
    return counted


def test_a_receiver_gets_what_was_sent() -> None:
    with Receiver(body=b"").serving() as there:
        assert sent(receiver(there.url), [STAGE, RUN]) == {"sent": 2}
        stage, run = spans_at(there)
    assert (stage.name, run.name) == ("stage w25", "run")
    assert stage.trace_id == run.trace_id == STAGE.trace_id.to_bytes(16)
    assert (stage.span_id, stage.parent_span_id) == (STAGE.span_id.to_bytes(8), (7).to_bytes(8))
    assert (run.span_id, run.parent_span_id) == ((7).to_bytes(8), b"")
    assert (stage.start_time_unix_nano, stage.end_time_unix_nano) == (NANOSECONDS, NANOSECONDS + 300 * 10**9)
    assert (stage.status.message, run.status.message) == ("bad", "")
    assert values(stage.attributes) == {"rolloutplan.plan": "checkout"}
    (event,) = stage.events
    assert (event.name, event.time_unix_nano, values(event.attributes)) == (
        "WeightShifted", NANOSECONDS + 10**9, {"rolloutplan.seq": 4},
    )  # fmt: skip


@pytest.mark.parametrize("status", [400, 401, 404, 503])
def test_what_a_receiver_refuses_is_lost(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "TIMEOUT", 0.2)
    with Receiver(status=status).serving() as there:
        assert sent(receiver(there.url), [STAGE]) == {"lost": 1}


def test_a_receiver_that_is_not_there_or_never_answers_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "TIMEOUT", 0.2)
    monkeypatch.setattr(traces, "WITHIN", 0.3)
    assert sent("http://127.0.0.1:1/v1/traces", [STAGE]) == {"lost": 1}
    with Receiver(hangs=threading.Event()).serving() as there:
        began = time.monotonic()
        assert sent(receiver(there.url), *([[STAGE]] * (traces.WAITING + 20))) == {"lost": traces.WAITING + 20}
        assert time.monotonic() - began < 5
    assert len(there.got) <= traces.WAITING


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://collector.monitoring:4318", "http://collector.monitoring:4318/v1/traces"),
        ("http://collector.monitoring:4318/", "http://collector.monitoring:4318/v1/traces"),
        ("https://otlp.example.com/tenant/v1/traces", "https://otlp.example.com/tenant/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_the_address_of_a_receiver(written: str, read: str) -> None:
    assert receiver(written) == read


@pytest.mark.parametrize(
    "written",
    ["", "collector:4318", "grpc://collector:4317", "http://", "http://a:99999", "http://user:secret@a", "http://a?b"],
)
def test_what_is_no_address_of_a_receiver(written: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["operator", f"--traces={written}"])
    told = capsys.readouterr().err
    assert "http://collector.monitoring:4318" in told
    assert "secret" not in told


def test_without_the_extra_the_operator_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "can_be_sent", lambda: False)
    assert main(["operator", "--traces=http://collector:4318"]) == 2
    assert "pip install 'rolloutplan[traces]'" in capsys.readouterr().err
