"""What is sent to a receiver of traces, and where that is. traces.py sends it, and needs an extra of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from rolloutplan.api.printable import masked

_PATH: Final = "/v1/traces"

Value: TypeAlias = str | int | Sequence[str]


class SpanEvent(NamedTuple):
    """What happened at an instant of a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Value]


class Span(NamedTuple):
    """A span that has ended; `error` says what went wrong, None where nothing did."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start: datetime
    end: datetime
    attributes: Mapping[str, Value]
    events: Sequence[SpanEvent] = ()
    error: str | None = None


def can_be_sent() -> bool:
    """Whether the extra `traces` of the package is installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False


def receiver(text: str) -> str:
    """The address to which traces go; an address without a path gets /v1/traces. Raises ValueError with the fix."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f'"{masked(text)[:80]}" is not an address: write one such as http://collector.monitoring:4318')
    return parts._replace(path=parts.path if parts.path.strip("/") else _PATH).geturl()
