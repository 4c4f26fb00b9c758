"""The record of a run, decision by decision: what was to go out, its stages, how it ended, and who took part.

All of it but the beginning follows from the decisions alone, so it is the same whenever they come: at once, after a
crash, or twice. publish/records.py writes it; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

from rolloutplan.api.limits import KIB, kib
from rolloutplan.api.reasons import EventReason, StatusReason
from rolloutplan.api.record import (
    PEOPLE_KEPT,
    STAGES_KEPT,
    DoraFigures,
    RecordedSide,
    RecordedStage,
    RecordSpec,
    RecordStatus,
    RolloutRecord,
    RunOutcome,
    recorded_run,
)
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import OPERATOR, RUNNING, Decision, Kind, Part, Phase
from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TRANSITIONS, Target
from rolloutplan.engine.run import dora
from rolloutplan.engine.run.decision_log import REPEATABLE

MAX_RECORD: Final = 448 * KIB
"""Bytes of its JSON: a thousand decisions, 200 of them with all their evidence. The API server takes 1.5 MiB, but it
writes all of an object for each decision, and keeps the last writes in memory, each at several times its size."""
FOLDED_TO: Final = 416 * KIB
"""What is left after folding: it is done once in some dozens of decisions, and not for each."""
RECENT: Final = 30
"""The newest decisions, which are the last to be shortened: so many has the plan, too."""
SHORT: Final = 120
"""Characters of the note of a shortened decision."""
STAGES_IN_FULL: Final = 10
DEFAULTS: Final = 64
"""Bytes of what is written of a decision although it is a default: who took it, and zeros."""
_FOLDED: Final = "; of its decisions, "
"""Where a message begins to tell what was folded."""
_ANOTHER: Final = (
    "; the status of the plan was lost, and another run got this number: its decisions follow, its outcome is nowhere"
)

_LOST: Final = "nobody recorded how the run ended"

_ENDS: Final[Mapping[tuple[Kind, str], Phase | Target]] = {
    (row.kind, row.event_reason): row.to
    for row in TRANSITIONS.values()
    if row.kind and row.event_reason and row.to in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
}
"""The decisions that end a run, and the phase after it."""
BEGINS: Final = frozenset({EventReason.STARTED, EventReason.ADOPTED})
"""The reasons of the decisions with which a run begins."""
_STAGE_ENDS: Final[Mapping[str, str]] = {
    EventReason.STAGE_PROVED: "Proved",
    EventReason.CONTRACT_STARTED: "Proved",
    EventReason.SUCCEEDED: "Proved",
    EventReason.STAGE_SKIPPED: "Skipped",
    EventReason.PROMOTED: "Skipped",
    EventReason.STAGE_STARTED: "Restarted",
    EventReason.ROLLBACK_STARTED: "RolledBack",
    EventReason.SHIFT_REFUSED: "Refused",
}
"""How the stage ends that is under way when such a decision is taken."""


def ends_stage(decision: Decision) -> bool:
    """Whether the stage that is under way, if there is one, ends with a decision."""
    return decision.reason in _STAGE_ENDS


def ends_run(decision: Decision) -> bool:
    """Whether a run ends with a decision."""
    return (decision.kind, decision.reason) in _ENDS


def is_recorded(decision: Decision) -> bool:
    """Whether a decision belongs to a record: there is no run before the first, but for one whose status was lost."""
    return decision.run > 0 or decision.kind is Kind.ROLLBACK


def opens(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether a new record may begin with a decision: it begins a run, or the end of its run is still to come.

    A run that ended before there were records, or whose record somebody deleted, gets none for what comes after.
    """
    status = snapshot.status
    under_way = status.run == decision.run and status.phase in RUNNING
    later = (each for each in status.decisions if (each.run, each.seq >= decision.seq) == (decision.run, True))
    return decision.reason in BEGINS or under_way or any(map(ends_run, later))


def updated(record: RolloutRecord | None, snapshot: Snapshot, decision: Decision) -> RolloutRecord:
    """The record with one more decision of its run; the same one if it has that decision. None: a new record.

    Decisions that somebody removed from it are put back, as far as the plan's status still has them.
    """
    if record is not None and _has(record.status, decision):
        return record
    removed = _removed(record, snapshot, decision)
    first = removed[0] if removed else decision
    record = record or _opened(snapshot, first)
    through = record.status.seq
    record = _with_status(record, {"missing": record.status.missing + _lost(record.status, snapshot, first)})
    for each in removed:
        record = _listed(record, each) if each.seq <= through else _with(record, each)
    return bounded(_with(record, decision))


def _with(record: RolloutRecord, decision: Decision) -> RolloutRecord:
    """The record with a decision, and with what follows from it."""
    before = record.status
    if before.outcome is RunOutcome.RUNNING and before.decisions and decision.reason == EventReason.STARTED:
        return _with(closed(record, RunOutcome.ABANDONED, decision.at, _LOST), decision)
    changes = {
        "seq": decision.seq,
        "missing": before.missing + _gap(before, decision),
        "stages": _stages(before, decision)[-STAGES_KEPT:],
        "people": _people(before.people, decision),
        "weight": _weight(before.weight, decision),
        "dora": _dora(record, decision),
        **_outcome(before, decision),
    }
    return _with_status(_listed(record, decision), changes)


def _listed(record: RolloutRecord, decision: Decision) -> RolloutRecord:
    return _with_status(record, {"decisions": (*record.status.decisions, decision)})


def closed(record: RolloutRecord, outcome: RunOutcome, at: datetime, message: str) -> RolloutRecord:
    """The record of a run that ended without a decision; unchanged if that of an end is in it."""
    if record.status.outcome is not RunOutcome.RUNNING:
        return record
    changes = {
        "outcome": outcome,
        "reason": str(outcome),
        "message": message,
        "ended_at": at,
        "stages": _ended(record.status.stages, at, str(outcome)),
    }
    return _with_status(record, changes)


# ---- the beginning -----------------------------------------------------------------------------------------------


def _opened(snapshot: Snapshot, decision: Decision) -> RolloutRecord:
    """A record without decisions. What the snapshot knows of another run is not in it."""
    plan, status, spec = snapshot.plan, snapshot.status, snapshot.plan.written
    same = status.run == decision.run
    made = RecordSpec(
        plan=plan.name,
        plan_uid=plan.uid[:64],
        run=recorded_run(decision.run),
        owner=(spec.owner or "") if spec and same else "",
        runbook=(spec.runbook or "") if spec and same else "",
        hypothesis=spec.hypothesis if spec and same else "",
        plan_hash=status.plan_hash[:64] if same else "",
        revision=status.revision[:253] if same else "",
        old=_side(spec, "old", snapshot.old) if same else RecordedSide(),
        new=_side(spec, "new", snapshot.new) if same else RecordedSide(),
        started_at=decision.at,
        committed_at=plan.committed_at,
    )
    return RolloutRecord(spec=made, status=RecordStatus(weight=status.weights.desired if same else ""))


def _side(spec: PlanSpec | None, side: str, workload: WorkloadView | None) -> RecordedSide:
    if spec is None:
        return RecordedSide()
    written = spec.old if side == "old" else spec.new
    images = tuple(image[:1024] for image in workload.images[:64]) if workload else ()
    return RecordedSide(deployment=written.deployment, variant=written.variant or "", images=images)


# ---- what a decision changes -------------------------------------------------------------------------------------


def _has(status: RecordStatus, decision: Decision) -> bool:
    """Whether the decision is in it. Numbers begin anew where the status of a plan was lost: then it is a later one."""
    if any((each.seq, each.at) == (decision.seq, decision.at) for each in reversed(status.decisions)):
        return True
    newest = status.decisions[-1].at if status.decisions else None
    return decision.seq <= status.seq and (newest is None or decision.at <= newest)


def _removed(record: RolloutRecord | None, snapshot: Snapshot, decision: Decision) -> list[Decision]:
    """The decisions of the run before this one that the plan's status has, and that somebody removed from the record.

    One that was refused when it was to be written is none of them: it would be refused again.
    """
    seq, decisions = (record.status.seq, record.status.decisions) if record else (0, ())
    newest, end = (decisions[-1].seq, min(seq + 1, decision.seq)) if decisions else (0, decision.seq)
    of_run = (each for each in snapshot.status.decisions if each.run == decision.run and is_recorded(each))
    return [each for each in of_run if newest < each.seq < end]


def _lost(status: RecordStatus, snapshot: Snapshot, first: Decision) -> int:
    """At least how many decisions of the run are neither in the record nor in the plan's status, up to `first`."""
    if status.decisions:
        return max(first.seq - status.decisions[-1].seq - 1, 0) if first.seq <= status.seq else 0
    if first.reason in BEGINS or not first.run:
        return 0
    before = [each.seq for each in snapshot.status.decisions if each.run != first.run and each.seq < first.seq]
    return first.seq - 1 - max(before, default=first.seq - 2)


def _gap(status: RecordStatus, decision: Decision) -> int:
    """How many decisions between the newest one and this never came."""
    return max(decision.seq - status.seq - 1, 0) if status.decisions else 0


def outcome_of(decisions: Iterable[Decision]) -> RunOutcome:
    """How a run stands after these of its decisions, the newest last; RUNNING where none of them ends it."""
    status = RecordStatus()
    for each in decisions:
        status = status.model_copy(update=_outcome(status, each))
    return status.outcome


def _outcome(status: RecordStatus, decision: Decision) -> dict[str, Any]:
    """How the run stands after the decision. What follows an end changes nothing, but for another end of the run."""
    reason = decision.state or decision.reason
    told = {"reason": reason, "message": decision.note}
    to, running = _ENDS.get((decision.kind, decision.reason)), status.outcome is RunOutcome.RUNNING
    if not running and decision.reason in BEGINS:
        first = status.message.partition(_FOLDED)[0].removesuffix(_ANOTHER)
        return {"message": first + _ANOTHER}
    if not running and _has_another(status):
        return {}
    if to is Phase.SUCCEEDED:
        return {**told, "outcome": RunOutcome.SUCCEEDED, "ended_at": decision.at}
    if to is Phase.ROLLED_BACK and (running or decision.kind is Kind.ROLLBACK):
        replaced = reason == StatusReason.SUPERSEDED
        outcome = RunOutcome.SUPERSEDED if replaced else RunOutcome.ROLLED_BACK
        return {**told, "outcome": outcome, "ended_at": decision.at}
    return told if running and decision.reason not in REPEATABLE else {}


def _has_another(status: RecordStatus) -> bool:
    """Whether another run with this number began after the end."""
    return _began_again(status) is not None


def _began_again(status: RecordStatus) -> datetime | None:
    """When the last run began that got the number of this one after its end; None where there is none."""
    ended = status.ended_at
    if status.outcome is RunOutcome.RUNNING or ended is None:
        return None
    return next((each.at for each in reversed(status.decisions) if each.reason in BEGINS and each.at >= ended), None)


def _dora(record: RolloutRecord, decision: Decision) -> DoraFigures | None:
    """What the run says about delivery after the decision. What follows an end changes nothing, but for a revert."""
    status = record.status
    over = status.outcome is not RunOutcome.RUNNING
    if over and (decision.kind is not Kind.ROLLBACK or _has_another(status)):
        return status.dora
    return dora.after(status.dora, decision, record.spec.committed_at)


def _weight(before: str, decision: Decision) -> str:
    """The share after the decision; a stage that starts only asks for one."""
    asks = decision.reason == EventReason.STAGE_STARTED
    return before if asks else decision.weight_to or before


def _people(before: tuple[str, ...], decision: Decision) -> tuple[str, ...]:
    if decision.by in ("", OPERATOR, *before):
        return before
    return (*before, decision.by)[:PEOPLE_KEPT]


def _stages(status: RecordStatus, decision: Decision) -> tuple[RecordedStage, ...]:
    stages = status.stages
    if (result := _STAGE_ENDS.get(decision.reason)) is not None:
        stages = _ended(stages, decision.at, result, decision)
    match decision.reason:
        case EventReason.STAGE_STARTED:
            return (*stages, _entered(status, decision))
        case EventReason.WEIGHT_SHIFTED if stages and stages[-1].verified_at is None:
            return (*stages[:-1], stages[-1].model_copy(update={"verified_at": decision.at}))
    return stages


def _entered(status: RecordStatus, decision: Decision) -> RecordedStage:
    """A stage that begins. That of another run says of which one, also after the beginning of that was folded."""
    again = _began_again(status) or (status.stages[-1].run_began if status.stages else None)
    return RecordedStage(name=decision.stage, weight=decision.weight_to, run_began=again, entered_at=decision.at)


def _ended(
    stages: tuple[RecordedStage, ...], at: datetime, result: str, decision: Decision | None = None
) -> tuple[RecordedStage, ...]:
    """The stages; the one under way, if there is one, has ended."""
    if not stages or stages[-1].ended_at is not None:
        return stages
    evidence = decision.evidence if decision else ()
    last = stages[-1].model_copy(update={"ended_at": at, "result": result, "evidence": evidence})
    return (*stages[:-1], last)


def _with_status(record: RolloutRecord, changes: Mapping[str, Any]) -> RolloutRecord:
    return record.model_copy(update={"status": record.status.model_copy(update=dict(changes))})


# ---- size --------------------------------------------------------------------------------------------------------


def bounded(record: RolloutRecord) -> RolloutRecord:
    """The record as it may be written: of one that is too large, what only explains goes first, the oldest first.

    The first decision, the newest ones and every change of a weight stay longer than all others.
    """
    size = _size(record)
    record = record if size <= MAX_RECORD else _folded(record, size - FOLDED_TO)
    return _told(record) if record.status.folded or record.status.shortened else record


def _folded(record: RolloutRecord, excess: int) -> RolloutRecord:
    status = record.status
    kept: dict[int, Decision] = dict(enumerate(status.decisions))
    older = [place for place in kept if place < len(kept) - RECENT]
    newer = [place for place in kept if place >= len(kept) - RECENT]
    stages = tuple(each.model_copy(update={"evidence": ()}) for each in status.stages[:-STAGES_IN_FULL])
    stages = (*stages, *status.stages[-STAGES_IN_FULL:])
    excess -= _size(*status.stages) - _size(*stages)
    shortened = folded = 0
    for place, keep in _in_order(status.decisions, older, newer):
        if excess <= 0:
            break
        before, after = kept[place], shorter(kept[place]) if keep else None
        if after is None:
            del kept[place]
            folded += 1
        elif after != before:
            kept[place] = after
            shortened += 1
        excess -= _size(before) - (_size(after) if after else 0)
    changes = {
        "stages": stages,
        "decisions": tuple(kept.values()),
        "folded": status.folded + folded,
        "shortened": status.shortened + shortened,
    }
    return _with_status(record, changes)


def _in_order(decisions: Sequence[Decision], older: Sequence[int], newer: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """What is shortened (True) or left out (False), the least loss first. The first and the newest one always stay.

    What others may repeat at will goes before the rest of the trail.
    """
    moves = [place for place in older[1:] if decisions[place].weight_from != decisions[place].weight_to]
    repeated = [place for place in older[1:] if decisions[place].reason in REPEATABLE]
    others = sorted({*older[1:]} - {*moves, *repeated})
    steps = (
        (older, True), (repeated, False), (others, False), (newer[:-1], True), (moves, False), (newer[:-1], False),
    )  # fmt: skip
    return chain.from_iterable(((place, keep) for place in places) for places, keep in steps)


def shorter(decision: Decision) -> Decision:
    """The decision without its evidence, and with the beginning of its note alone."""
    less = {"evidence": (), "believed": "", "observed": "", "why": "", "note": decision.note[:SHORT]}
    return decision.model_copy(update=less)


def _size(*parts: Part) -> int:
    """The bytes of parts as JSON: at least as many as they have, and soon said."""
    return sum(
        len(each.model_dump_json(by_alias=True, exclude_defaults=True).encode())
        + DEFAULTS * (1 + (len(each.status.decisions) if isinstance(each, RolloutRecord) else 0))
        for each in parts
    )


def _told(record: RolloutRecord) -> RolloutRecord:
    """The record; its message says what was folded."""
    status = record.status
    words = f"{status.folded} are left out and {status.shortened} are shortened: a record has at most {kib(MAX_RECORD)}"
    return _with_status(record, {"message": status.message.partition(_FOLDED)[0] + _FOLDED + words})
