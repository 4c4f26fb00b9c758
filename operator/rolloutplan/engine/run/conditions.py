"""The derived parts of a status: conditions in the form that kstatus expects, and texts for the printer columns.

They come from the snapshot and the rest of the status, and are written with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rolloutplan.api.changes import change, change_weights
from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.status import RUNNING, Condition, Phase, PredicateStatus, Status
from rolloutplan.engine.analysis.traffic_share import measured
from rolloutplan.engine.model.snapshot import Refusal, Snapshot
from rolloutplan.engine.run.decision_log import CLEAR, TRIPPED

NEEDS_A_PERSON = frozenset({HoldReason.CONFLICT, HoldReason.CONTRACT_FAILED, HoldReason.FAILED, HoldReason.INVALID})
"""Reasons of Held that do not pass without a person."""
_AT_A_WEIGHT = frozenset({Phase.JUDGING, Phase.BAKING, Phase.CONTRACTING, Phase.SUCCEEDED, Phase.ROLLED_BACK})

SUSPECT = "QueryWarnings"
REQUESTS_ACCEPTED = "RequestsAccepted"
"""False while the API server refuses what the run must do."""

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class _Claim:
    type: str
    status: Truth
    reason: str
    message: str


def stalled(status: Status) -> bool:
    """Whether the plan needs a person or a new commit to go on."""
    if status.phase is Phase.HELD:
        return status.held_for in NEEDS_A_PERSON
    if status.phase is Phase.PENDING:
        return status.reason == HoldReason.CONFLICT
    return status.phase in (Phase.INVALID, Phase.ROLLED_BACK) or status.reason == StatusReason.JOB_NOT_OURS


def reported(snapshot: Snapshot, status: Status) -> Status:
    """The status with all its derived fields set."""
    weights = change_weights(status.weights, measured=_measured(snapshot, status))
    status = change(status, weights=weights)
    claims = [*_claims(status), *_suspicion(snapshot.warnings), *_refusal(snapshot, status)]
    conditions = tuple(_condition(snapshot, claim) for claim in claims)
    return change(
        status,
        observed_generation=snapshot.plan.generation,
        reason=status.reason or status.phase.value,
        verdict=_verdict(status.predicates) if status.phase in RUNNING else "",
        conditions=conditions,
    )


def _suspicion(warnings: str) -> list[_Claim]:
    return [_Claim(SUSPECT, "True", "Lint", warnings)] if warnings else []


def refused(snapshot: Snapshot) -> Refusal | None:
    """The first refusal that is due to be reported. A refused status write is left out: no status can report it."""
    return next((each for each in snapshot.refusals if each.kind != "status" and each.told_at(snapshot.now)), None)


def is_told(status: Status, refusal: Refusal) -> bool:
    """Whether the status reports the refusal already. The message may differ from one attempt to the next."""
    condition = status.condition(REQUESTS_ACCEPTED)
    told = condition is not None and condition.reason == refusal.condition_reason
    return told and condition is not None and condition.message.startswith(f"{refusal.what}: ")


def is_reported(snapshot: Snapshot) -> bool:
    """Whether the status reports the refused publication, if there is one: no decision reports it."""
    refusal = refused(snapshot)
    return refusal is None or refusal.kind != "publication" or is_told(snapshot.status, refusal)


def _refusal(snapshot: Snapshot, status: Status) -> list[_Claim]:
    """The condition for a reported refusal. A refused Event is reported by the condition alone, not by an Event."""
    refusal = refused(snapshot)
    if refusal is None:
        return []
    told_now = status.seq != snapshot.status.seq and status.decisions[-1].reason == EventReason.REQUEST_REFUSED
    if not (told_now or refusal.kind == "publication" or is_told(snapshot.status, refusal)):
        return []
    return [_Claim(REQUESTS_ACCEPTED, "False", refusal.condition_reason, f"{refusal.what}: {refusal.words}"[:1024])]


def suspected(status: Status) -> str:
    """The query warnings in the status; empty where there are none."""
    condition = status.condition(SUSPECT)
    return condition.message if condition else ""


def _measured(snapshot: Snapshot, status: Status) -> str:
    """The measured share. One of another weight is removed; the last one is kept while there is no newer one."""
    return "" if status.intent is not None else measured(snapshot) or status.weights.measured


def _claims(status: Status) -> list[_Claim]:
    reason, message = status.reason or status.phase.value, status.message
    stuck, done = stalled(status), status.phase is Phase.SUCCEEDED
    claims = [_Claim("Ready", "True" if done else "False", reason, message)]
    if stuck:
        claims.append(_Claim("Stalled", "True", reason, message))
    elif not done:
        claims.append(_Claim("Reconciling", "True", reason, message))
    if status.intent is not None:
        claims.append(_Claim("WeightsVerified", "Unknown", "Writing", f"{status.intent.to} is being written"))
    elif status.phase in _AT_A_WEIGHT and status.weights.written:
        claims.append(_verified(status))
    elif status.phase is Phase.HELD and reason == HoldReason.NOT_EFFECTIVE:
        claims.append(_Claim("WeightsVerified", "False", reason, message))
    if reason == HoldReason.METRICS_UNAVAILABLE:
        claims.append(_Claim("MetricsAvailable", "False", "SourceDown", message))
    return claims


def _verified(status: Status) -> _Claim:
    if status.reason == StatusReason.RESTORED_NOT_ACCEPTED:
        return _Claim("WeightsVerified", "False", status.reason, status.message)
    words = f"the routes hold {status.weights.desired} for the new side, read back and accepted"
    if not status.weights.measured:
        return _Claim("WeightsVerified", "True", "Accepted", words)
    return _Claim("WeightsVerified", "True", "Measured", f"{words}; {status.weights.measured} of the requests go there")


def _condition(snapshot: Snapshot, claim: _Claim) -> Condition:
    before = snapshot.status.condition(claim.type)
    since = before.last_transition_time if before and before.status == claim.status else snapshot.now
    return Condition(
        type=claim.type,
        status=claim.status,
        reason=claim.reason,
        message=claim.message,
        observed_generation=snapshot.plan.generation,
        last_transition_time=since,
    )


def _verdict(predicates: tuple[PredicateStatus, ...]) -> str:
    """The combined verdict of the stage's predicates on the new side, without dry runs and warn predicates."""
    predicates = tuple(p for p in predicates if not p.dry_run and p.role != "warn")
    if any(p.verdict == TRIPPED for p in predicates):
        return "Refuted"
    passes = [p.verdict for p in predicates if p.role == "pass"]
    if passes:
        return "Proved" if all(v == "Proved" for v in passes) else "Refuted" if "Refuted" in passes else "Undecided"
    return "Proved" if predicates and all(p.verdict == CLEAR for p in predicates) else "Undecided"


def unmeasured(predicates: tuple[PredicateStatus, ...]) -> list[tuple[str, str, str]]:
    """The predicates without their figures. A change of this is written between decisions."""
    return [(p.name, p.verdict, p.why.partition(":")[0] if p.verdict == "Undecided" else "") for p in predicates]


def last_measured(predicates: tuple[PredicateStatus, ...]) -> datetime | None:
    return max((p.at for p in predicates if p.at is not None), default=None)
