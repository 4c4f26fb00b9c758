"""Sends spans to an OTLP/HTTP receiver, such as an OpenTelemetry Collector. It needs the extra `traces` of the package.

The exporter of OpenTelemetry waits in threads, and nothing waits for it for long: what the receiver does not take in
time is lost, and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from rolloutplan import __version__
from rolloutplan.telemetry.spans import Span

TIMEOUT: Final = 3
"""Seconds for a request, with all its attempts: a receiver of the same cluster answers within one."""
WITHIN: Final = 5.0
"""Seconds for a request and the wait for a thread."""
THREADS: Final = 2
WAITING: Final = 64
"""Requests that are sent or wait for a thread. One more is not sent: the receiver is down, or does not keep up."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.stdlib.get_logger("rolloutplan")


class Traces:
    """Sends spans to `url`. `count` gets sent or lost, and of how many spans; `instance` is the operator's own name."""

    def __init__(self, url: str, count: Callable[[str, int], None], *, instance: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it tells of each attempt, `_judge` of changes
        service = {"service.name": "rolloutplan", "service.version": __version__, "service.instance.id": instance}
        self._resource = Resource.create(service)
        self._exporter = OTLPSpanExporter(url, timeout=TIMEOUT)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="traces")
        self._url, self._count = url, count
        self._waiting = 0
        self._is_failing = False

    async def send(self, spans: Sequence[Span]) -> None:
        """Send spans. Never raises; ends within WITHIN, with all of them sent or lost."""
        sent = False
        if self._waiting < WAITING:
            self._waiting += 1
            try:
                async with asyncio.timeout(WITHIN):
                    sent = await asyncio.get_running_loop().run_in_executor(self._pool, self._export, spans)
            except TimeoutError:
                pass
            finally:
                self._waiting -= 1
        self._judge(len(spans), sent=sent)

    def close(self) -> None:
        """End all requests."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _export(self, spans: Sequence[Span]) -> bool:
        made = [_made(span, self._resource) for span in spans]
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def _judge(self, number: int, *, sent: bool) -> None:
        self._count("sent" if sent else "lost", number)
        if sent and self._is_failing:
            log.info("the receiver of traces takes spans again", receiver=self._url)
        elif not sent and not self._is_failing:
            log.warning("the receiver of traces takes no spans; they are lost", receiver=self._url)
        self._is_failing = not sent


def _made(span: Span, resource: Resource) -> ReadableSpan:
    """The span as the exporter takes it. No tracer makes it, because a tracer draws the ids."""
    context = partial(SpanContext, span.trace_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return ReadableSpan(
        span.name,
        context(span.span_id),
        None if span.parent_id is None else context(span.parent_id),
        resource,
        span.attributes,
        [Event(each.name, each.attributes, _nanoseconds(each.at)) for each in span.events],
        status=Status() if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
        instrumentation_scope=InstrumentationScope("rolloutplan", __version__),
    )


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
