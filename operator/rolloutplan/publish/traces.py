"""Sends each run as a trace: a span of the run, one of each stage, and the decisions as their events.

A span is sent when it has ended, as the record of the run (records.py) has it. Its ids follow from the plan's uid, the
run and the stage, so that spans which different leaders sent are one tree, and one that is sent twice is the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.record import RecordedStage, RecordSpec, RolloutRecord, RunOutcome, read_record, record_name
from rolloutplan.api.status import Decision
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ResourceClient, if_there
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.record import ends_run, ends_stage, is_recorded, outcome_of
from rolloutplan.telemetry.spans import Span, SpanEvent, Value

KEPT: Final = timedelta(hours=1)
"""A span that ended before stays unsent: receivers put together what comes within an hour at most."""
READ_WITHIN: Final = 2.0
PAUSES: Final = (0.0, 0.1, 0.4, 1.0, 2.0)
"""Seconds before each look for a decision in its record, to which it is written at the same time."""
_FAILED: Final = ("RolledBack", "Refused")
"""The results of a stage after which its span has an error."""

Send = Callable[[Sequence[Span]], Awaitable[None]]


class TraceSink:
    """Sends the spans that end with a decision, and does not try again what the receiver does not take.

    `lost` is called where the record never gets the decision, and so there is no span.
    """

    name = "traces"
    keeps: timedelta | None = KEPT
    own_status = True

    def __init__(self, api: ResourceClient, send: Send, lost: Callable[[], None] = lambda: None) -> None:
        self._api, self._send, self._lost = api, send, lost

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Send the spans, if any ends. Raises ApiError where the record cannot be read."""
        if not recorded or not is_recorded(decision) or not (ends_stage(decision) or ends_run(decision)):
            return
        plan = snapshot.plan
        path = paths.record(plan.namespace, record_name(plan.name, plan.uid, decision.run))
        for pause in PAUSES:
            await asyncio.sleep(pause)
            raw = await if_there(self._api.get(path, timeout=READ_WITHIN))
            record = read_record(raw) if raw is not None else None
            if record is not None and _has(record, decision):
                if spans := [*spans_of(plan.namespace, plan.uid, record, decision)]:
                    await self._send(spans)
                return
        self._lost()


def spans_of(namespace: str, uid: str, record: RolloutRecord, decision: Decision) -> Iterator[Span]:
    """The spans that end with a decision of a record; each ends with one decision only.

    What follows the end of the run is in none, also where another run got its number (because its status was lost).
    """
    spec, status = record.spec, record.status
    about: dict[str, Value] = {
        "rolloutplan.namespace": namespace,
        "rolloutplan.plan": spec.plan,
        "rolloutplan.run": spec.run,
        **({"rolloutplan.owner": spec.owner} if spec.owner else {}),
    }
    trace, root = _number(16, uid, spec.run), _number(8, uid, spec.run, "run")
    ends = _ends(status.decisions)
    for stage in status.stages:
        if stage.entered_at is not None and _end_of(stage, ends) == decision.seq:
            number = _number(8, uid, spec.run, stage.name, stage.entered_at.isoformat())
            events = [_event(each) for each in status.decisions if _stage_of(each, status.stages, ends) is stage]
            span = Span("stage", trace, number, root, stage.entered_at, decision.at, about, events)
            yield _stage_span(span, stage, decision)
    if decision.seq == next((each.seq for each in status.decisions if ends_run(each)), None):
        until = [each for each in status.decisions if each.seq <= decision.seq]
        events = [_event(each) for each in until if _stage_of(each, status.stages, ends) is None]
        span = Span("run", trace, root, None, spec.started_at or until[0].at, decision.at, about, events)
        yield _run_span(span, spec, until)


def _stage_span(span: Span, stage: RecordedStage, end: Decision) -> Span:
    more = {
        "rolloutplan.stage": stage.name,
        "rolloutplan.weight": stage.weight,
        "rolloutplan.result": stage.result,
    }
    error = end.note if stage.result in _FAILED else None
    return span._replace(name=f"stage {stage.name}", attributes={**span.attributes, **more}, error=error)


def _run_span(span: Span, spec: RecordSpec, decisions: Sequence[Decision]) -> Span:
    end, outcome = decisions[-1], outcome_of(decisions)
    more: dict[str, Value] = {
        "rolloutplan.outcome": str(outcome),
        "rolloutplan.reason": end.state or end.reason,
        "rolloutplan.old": spec.old.deployment,
        "rolloutplan.new": spec.new.deployment,
        "rolloutplan.images": spec.new.images,
    }
    error = end.note if outcome is RunOutcome.ROLLED_BACK else None
    return span._replace(attributes={**span.attributes, **more}, error=error)


def _has(record: RolloutRecord, decision: Decision) -> bool:
    return any((each.seq, each.at) == (decision.seq, decision.at) for each in reversed(record.status.decisions))


def _ends(decisions: Sequence[Decision]) -> Mapping[datetime, int]:
    """By instant the number of the first decision that ends a stage; the next one may be of the same instant."""
    return {each.at: each.seq for each in reversed(decisions) if ends_stage(each) or ends_run(each)}


def _end_of(stage: RecordedStage, ends: Mapping[datetime, int]) -> int | None:
    """The number of the decision with which a stage of this run ended."""
    return None if stage.ended_at is None or stage.run_began is not None else ends.get(stage.ended_at)


def _stage_of(
    decision: Decision, stages: Sequence[RecordedStage], ends: Mapping[datetime, int]
) -> RecordedStage | None:
    """The stage at which a decision was taken: of one that started again, its last start before."""
    for stage in reversed(stages):
        if stage.name == decision.stage and stage.entered_at is not None and stage.entered_at <= decision.at:
            end = _end_of(stage, ends)
            return stage if end is None or decision.seq <= end else None
    return None


def _event(decision: Decision) -> SpanEvent:
    shown: dict[str, Value] = {
        "decision": str(decision.kind),
        "reason": decision.reason,
        "stage": decision.stage,
        "seq": decision.seq,
        "by": decision.by,
        "note": decision.note,
        "weight.from": decision.weight_from,
        "weight.to": decision.weight_to,
    }
    for first in decision.evidence[:1]:
        shown |= {
            "predicate": first.predicate, "query": first.query, "value": first.value, "bound": first.bound,
            "verdict": first.verdict,
        }  # fmt: skip
    return SpanEvent(
        decision.reason, decision.at, {f"rolloutplan.{name}": value for name, value in shown.items() if value != ""}
    )


def _number(size: int, *parts: object) -> int:
    """A number of so many bytes, which follows from the parts alone."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:size])
