"""What came to a webhook (receiver.py) that is used as a receiver of OTLP, read with the protocol's own code."""

from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.receiver import Receiver

KIND = "application/x-protobuf"


def spans_at(receiver: Receiver) -> Iterator[Span]:
    """The spans that came, in their order. What is no OTLP fails the test that reads it."""
    for path, headers, content in receiver.got:
        kind = next(value for name, value in headers.items() if name.lower() == "content-type")
        assert (path, kind) == ("/v1/traces", KIND)
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            assert values(resource.resource.attributes)["service.name"] == "rolloutplan"
            for scope in resource.scope_spans:
                yield from scope.spans


def tree(receiver: Receiver, trace: bytes) -> dict[str, list[str]]:
    """The names of the events of each span of a trace, which is one tree: all others are below the one span `run`."""
    spans = {span.span_id: span for span in spans_at(receiver) if span.trace_id == trace}
    roots = [span for span in spans.values() if not span.parent_span_id]
    assert [root.name for root in roots] == ["run"]
    assert {span.parent_span_id for span in spans.values()} <= {b"", roots[0].span_id}
    return {span.name: [event.name for event in span.events] for span in spans.values()}


def trace_of(receiver: Receiver, namespace: str) -> bytes:
    """The trace of the first run in a namespace that has ended; empty while there is none."""
    ended = (span for span in spans_at(receiver) if not span.parent_span_id)
    return next((span.trace_id for span in ended if values(span.attributes)["rolloutplan.namespace"] == namespace), b"")


def values(attributes: Iterable[KeyValue]) -> dict[str, str | int]:
    """Attributes that are texts or numbers."""
    return {
        each.key: each.value.string_value or each.value.int_value
        for each in attributes
        if each.value.WhichOneof("value") in ("string_value", "int_value")
    }
