"""The derived parts of a status: conditions in the form that kstatus expects, and texts for the printer columns.

They come from the snapshot and the rest of the status, and are written with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from rolloutplan.api.changes import change, change_weights
from rolloutplan.api.printable import printable
from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import HANDED_BACK, ROUTES_OWNED, RUNNING, Condition, Phase, PredicateStatus, Status
from rolloutplan.engine.analysis.availability import lists_pods, missing_pods
from rolloutplan.engine.analysis.traffic_share import measured
from rolloutplan.engine.model.acceptance import route_warnings
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.routes import unread_words
from rolloutplan.engine.model.snapshot import Refusal, Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.policy.endpoints import receivers, rollback_capacity
from rolloutplan.engine.run.decision_log import CLEAR, TRIPPED
from rolloutplan.engine.run.end_state import is_handed_back, unjudged_change
from rolloutplan.engine.run.jobs import is_scaling_old

NEEDS_PERSON = frozenset(
    {
        HoldReason.CONFLICT,
        HoldReason.CONTRACT_FAILED,
        HoldReason.FAILED,
        HoldReason.INVALID,
        HoldReason.NOT_GRANTED,
        HoldReason.POLICY_NOT_MET,
        HoldReason.OLD_SIDE_IN_USE,
        HoldReason.WEIGHTS_NOT_COMMITTED,
        HoldReason.WRONG_ENDPOINTS,
    }
)
"""Reasons of Held that do not pass without a person."""
_IN_TROUBLE = frozenset({Phase.HELD, Phase.ROLLING_BACK, Phase.ROLLED_BACK})
"""Phases in which a person may need the runbook."""
_AT_A_WEIGHT = frozenset({Phase.JUDGING, Phase.BAKING, Phase.CONTRACTING, Phase.SUCCEEDED, Phase.ROLLED_BACK})

QUERY_WARNINGS = "QueryWarnings"
ROUTE_WARNINGS = "RouteWarnings"
INTERNAL_ERROR = "InternalError"
"""The reason of Stalled where the operator itself failed on the plan."""
FORBIDDEN = StatusReason.FORBIDDEN
"""The reason of Stalled where the operator lacks a right without which the plan does not go on."""
REQUESTS_ACCEPTED = "RequestsAccepted"
"""False while the API server refuses what the run must do."""
ROLLBACK_CAPACITY = "RollbackCapacity"
"""False while the old side could not carry what a rollback would give back."""
_LESS: Final[Mapping[str, int]] = {"pods": 1, "publication": 2}
"""The kinds of refusals that are told after all others: the one stops no rollback, and the other nothing."""
_ENDED = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK})
_AFTER_WEIGHTS = frozenset({*TRAFFIC_SHIFTED_PHASES, Phase.CONTRACTING, Phase.SUCCEEDED})

LONGEST_FAULT = 512
"""Characters of an exception that are shown: it may quote what it could not read."""
_MISSING = "; pods are missing: "
_UNSEEN = "; nothing goes forward while "
_UNREAD = "; nothing goes forward, and no rollback ends, while "
_LONGEST_UNREAD = 400
"""Characters: two routes with their reasons, in addition to the message."""

UNJUDGED_CHANGE = "UnjudgedChange"
"""True while the side that serves has another pod template than the run that ended."""

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class _ConditionSpec:
    type: str
    status: Truth
    reason: str
    message: str


def is_stalled(status: Status) -> bool:
    """Whether the plan needs a person or a new commit to go on."""
    if status.phase is Phase.HELD:
        return status.held_for in NEEDS_PERSON
    if status.phase is Phase.PENDING:
        return status.reason in (HoldReason.CONFLICT, HoldReason.POLICY_NOT_MET)
    return status.phase in (Phase.INVALID, Phase.ROLLED_BACK) or status.reason in (
        StatusReason.JOB_NOT_OURS,
        StatusReason.WEIGHTS_SET_BACK,
    )


def without_shortage(message: str) -> str:
    """The message of a status without the pods that are missing, and without what is not known as it is now."""
    return message.partition(_UNREAD)[0].partition(_UNSEEN)[0].partition(_MISSING)[0]


def with_shortage(snapshot: Snapshot, status: Status) -> Status:
    """The status whose message says during a stage and in the bake which pods of the new side are missing, and why.

    The run may not feel that before its next increase. In a run it also says what nobody would see a change of, and
    which of its routes are not known.
    """
    judged, message = status.phase in (Phase.JUDGING, Phase.BAKING), without_shortage(status.message)
    if judged and snapshot.new is not None and (words := missing_pods(snapshot.new, snapshot.now)):
        message = f"{message}{_MISSING}{words}"
    unseen = snapshot.unseen if status.phase in RUNNING else {}
    if words := "; ".join(f"{what} may change unseen: {why}" for what, why in unseen.items()):
        message = f"{message}{_UNSEEN}{words[:_LONGEST_UNREAD]}"
    if words := unread_words(snapshot, _awaited_routes(snapshot, status)):
        message = f"{message}{_UNREAD}{words[:_LONGEST_UNREAD]}"
    return change(status, message=message) if message != status.message else status


def _awaited_routes(snapshot: Snapshot, status: Status) -> list[RouteId]:
    """The routes that a run must know to go on, and does not: all of them, and on the way back those that it moved."""
    if status.phase not in RUNNING:
        return []
    unread, moved = sorted(snapshot.unread_routes), {route.id for route in status.weights.snapshot}
    return [route for route in unread if route in moved] if status.phase is Phase.ROLLING_BACK else unread


def with_conditions(snapshot: Snapshot, status: Status) -> Status:
    """The status with all its derived fields set."""
    weights = change_weights(status.weights, measured=_measured(snapshot, status))
    status = change(status, weights=weights)
    specs = [
        *_condition_specs(status, snapshot.plan.runbook_words),
        *_capacity(snapshot, status),
        *_query_warnings(snapshot.warnings),
        *_route_warnings(snapshot),
        *_routes_owned(snapshot, status),
        *_refusal(snapshot, status),
        *_unjudged_change(snapshot, status),
    ]
    told = any(spec.type == REQUESTS_ACCEPTED for spec in specs)
    if held_up := _held_up(snapshot, status, first_refusal(snapshot, status) if told else None):
        specs = _stalled_by(specs, *held_up)
    conditions = tuple(_condition(snapshot, spec) for spec in specs)
    return change(
        status,
        observed_generation=snapshot.plan.generation,
        reason=status.reason or status.phase.value,
        verdict=_verdict(status.predicates) if status.phase in RUNNING else "",
        conditions=conditions,
    )


def fault_words(status: Status, what: str, *, goes_on: bool = False) -> str:
    """What the status says of an exception of the operator: what failed, what follows, and what to do.

    `goes_on`: the run needs nothing of what failed.
    """
    by_hand = f"; the old weights by hand: {status.revert}" if status.revert else ""
    stops = "the run does not go forward, what leads back is still tried, and all of it again every few seconds"
    follows = "the run goes on without it" if goes_on else stops
    what = printable(what[:LONGEST_FAULT]).replace("\n", " ")
    return f"the operator failed on this plan: {what}; {follows}: report this with the operator's log{by_hand}"[:1024]


def fault_of(status: Status, refusal: Refusal) -> str:
    """The same of an effect that raised."""
    return fault_words(status, f"{refusal.what}: {refusal.words}", goes_on=refusal.kind in ("publication", "lint"))


def with_fault(snapshot: Snapshot, words: str, decided: Status | None = None) -> Status:
    """The status with the report of an exception: Stalled, with a message that says what to do.

    `decided` is the status after a decision that was taken all the same: its message stays.
    """
    status = decided or snapshot.status
    kept = {each.type: each for each in status.conditions}
    specs = [_ConditionSpec(each.type, each.status, each.reason, each.message) for each in kept.values()]
    conditions = tuple(_condition(snapshot, spec) for spec in _stalled_by(specs, INTERNAL_ERROR, words))
    message = words if decided is None else status.message
    return change(status, message=message, conditions=conditions, observed_generation=snapshot.plan.generation)


def has_fault(status: Status) -> bool:
    """Whether the status reports an exception of the operator."""
    condition = status.condition("Stalled")
    return condition is not None and condition.reason == INTERNAL_ERROR


def _held_up(snapshot: Snapshot, status: Status, refusal: Refusal | None) -> tuple[str, str] | None:
    """Why a plan does not go on whatever its phase is, as reason and message; None where nothing is known of that."""
    if refusal is not None and refusal.internal:
        return INTERNAL_ERROR, fault_of(status, refusal)
    if status.phase in _ENDED:  # what is left to tidy up changes nothing of how it ended
        return None
    needed = refusal is not None and refusal.lacks_right and refusal.kind != "publication"
    if words := refusal.words if refusal is not None and needed else _right_awaited(snapshot, status):
        return FORBIDDEN, (status.message if words in status.message else f"{words}; {status.message}")[:1024]
    return None


def _right_awaited(snapshot: Snapshot, status: Status) -> str:
    """The right for want of which a run does not know what it must know; empty where none is missing."""
    if status.phase not in RUNNING:
        return ""
    words = [problem.words for problem in snapshot.routers.values() if problem.reason == FORBIDDEN]
    words += [why for why in snapshot.unseen.values() if isinstance(why, MissingRight)]
    if status.held_for == HoldReason.ENDPOINTS_UNKNOWN:
        words += [side.problem for side in receivers(snapshot) if isinstance(side.problem, MissingRight)]
    if status.held_for == HoldReason.OLD_SIDE_IN_USE and snapshot.users is not None:
        words += [snapshot.users.unknown] if isinstance(snapshot.users.unknown, MissingRight) else []
    return next(iter(words), "")


def is_awaited_right_reported(snapshot: Snapshot) -> bool:
    """Whether the status says which right a run waits for, if it waits for one; a refusal is reported by itself."""
    status, stalled = snapshot.status, snapshot.status.condition("Stalled")
    if status.reason == FORBIDDEN or status.condition(REQUESTS_ACCEPTED) is not None:
        return True
    return (stalled is not None and stalled.reason == FORBIDDEN) is bool(_right_awaited(snapshot, status))


def _stalled_by(specs: list[_ConditionSpec], reason: str, words: str) -> list[_ConditionSpec]:
    others = [spec for spec in specs if spec.type not in ("Ready", "Stalled", "Reconciling")]
    return [
        _ConditionSpec("Ready", "False", reason, words),
        _ConditionSpec("Stalled", "True", reason, words),
        *others,
    ]


def _query_warnings(warnings: str) -> list[_ConditionSpec]:
    return [_ConditionSpec(QUERY_WARNINGS, "True", "Lint", warnings)] if warnings else []


def _route_warnings(snapshot: Snapshot) -> list[_ConditionSpec]:
    """What users should know of the routes of a plan; of a plan that can no longer be read, nothing is known."""
    spec = snapshot.plan.written
    warnings = route_warnings(snapshot, (route.id for route in spec.traffic.routes)) if spec else {}
    message = "; ".join(warnings.values())
    return [_ConditionSpec(ROUTE_WARNINGS, "True", next(iter(warnings)), message[:1024])] if warnings else []


def _routes_owned(snapshot: Snapshot, status: Status) -> list[_ConditionSpec]:
    """What is to be said of the routes that the operator owns for a plan, or in place of those of the plan."""
    spec = snapshot.plan.written
    written = {ref.id: ref.written for ref in spec.traffic.routes} if spec is not None else {}
    notes = sorted((str(written.get(route, route)), note) for route, note in snapshot.route_notes.items())
    reason, words = StatusReason.ROUTE_NOT_OWNED.value, "; ".join(f"{route}: {note}" for route, note in notes)
    if not notes and status.revert and is_handed_back(snapshot, status):
        reason, words = HANDED_BACK, ", ".join(str(route) for route in sorted(written.values()))
        words = f"{words} in Git has the traffic again: commit the weights of {status.weights.old} there to go back"
    return [_ConditionSpec(ROUTES_OWNED, "False", reason, words[:1024])] if words else []


def is_ownership_reported(snapshot: Snapshot) -> bool:
    """Whether the status says what is to be said of the owned routes, which may change long after a run."""
    before = snapshot.status.condition(ROUTES_OWNED)
    reported = [(before.reason, before.message)] if before else []
    return reported == [(each.reason, printable(each.message)) for each in _routes_owned(snapshot, snapshot.status)]


def first_refusal(snapshot: Snapshot, status: Status | None = None) -> Refusal | None:
    """The first refusal that is due to be reported with `status`: one that holds all up, before those of `_LESS`.

    A refused status write is left out: no status can report it; and a list of pods that nothing waits for.
    """
    over = {"status"} if lists_pods(status or snapshot.status) else {"status", "pods"}
    due = (each for each in snapshot.refusals if each.kind not in over and each.is_due(snapshot.now))
    return min(due, key=lambda each: _LESS.get(each.kind, 0), default=None)


def is_refusal_reported(status: Status, refusal: Refusal) -> bool:
    """Whether the status reports the refusal already. The message may differ from one attempt to the next."""
    condition = status.condition(REQUESTS_ACCEPTED)
    same_reason = condition is not None and condition.reason == refusal.condition_reason
    return same_reason and condition is not None and condition.message.startswith(f"{refusal.what}: ")


def is_publication_reported(snapshot: Snapshot) -> bool:
    """Whether the status reports the refused publication, if there is one: no decision reports it."""
    refusal = first_refusal(snapshot)
    return refusal is None or refusal.kind != "publication" or is_refusal_reported(snapshot.status, refusal)


def _refusal(snapshot: Snapshot, status: Status) -> list[_ConditionSpec]:
    """The condition for a reported refusal. A refused Event is reported by the condition alone, not by an Event."""
    refusal = first_refusal(snapshot, status)
    if refusal is None:
        return []
    reported_now = status.seq != snapshot.status.seq and status.decisions[-1].reason == EventReason.REQUEST_REFUSED
    if not (reported_now or refusal.kind == "publication" or is_refusal_reported(snapshot.status, refusal)):
        return []
    return [
        _ConditionSpec(REQUESTS_ACCEPTED, "False", refusal.condition_reason, f"{refusal.what}: {refusal.words}"[:1024])
    ]


def _unjudged_change(snapshot: Snapshot, status: Status) -> list[_ConditionSpec]:
    words = unjudged_change(snapshot, status)
    return [_ConditionSpec(UNJUDGED_CHANGE, "True", "TemplateChanged", words)] if words else []


def reported_change(status: Status) -> str:
    """The unjudged change in the status; empty where there is none."""
    condition = status.condition(UNJUDGED_CHANGE)
    return condition.message if condition else ""


def _capacity(snapshot: Snapshot, status: Status) -> list[_ConditionSpec]:
    """Whether the old side could take its traffic back, from the first weight on, and as long as the old side exists.

    While that is not known, the condition stays as it was.
    """
    after = replace(snapshot, status=status)
    removed = is_scaling_old(status) or snapshot.old is None
    if status.phase not in _AFTER_WEIGHTS or not status.weights.old or removed:
        return []
    if (found := rollback_capacity(after)) is not None:
        can, reason, message = found
        return [_ConditionSpec(ROLLBACK_CAPACITY, "True" if can else "False", reason, message)]
    before = snapshot.status.condition(ROLLBACK_CAPACITY)
    return [_ConditionSpec(before.type, before.status, before.reason, before.message)] if before else []


def is_capacity_reported(snapshot: Snapshot) -> bool:
    """Whether the status says whether the old side could take its traffic back; its figures may be older."""
    before = snapshot.status.condition(ROLLBACK_CAPACITY)
    reported = [(before.status, before.reason)] if before else []
    return reported == [(each.status, each.reason) for each in _capacity(snapshot, snapshot.status)]


def query_warnings(status: Status) -> str:
    """The query warnings in the status; empty where there are none."""
    condition = status.condition(QUERY_WARNINGS)
    return condition.message if condition else ""


def _measured(snapshot: Snapshot, status: Status) -> str:
    """The measured share. One of another weight is removed; the last one is kept while there is no newer one."""
    return "" if status.intent is not None else measured(snapshot) or status.weights.measured


def _condition_specs(status: Status, runbook: str) -> list[_ConditionSpec]:
    reason, message = status.reason or status.phase.value, status.message
    told = message + runbook if status.phase in _IN_TROUBLE else message
    stuck = is_stalled(status)
    done = status.phase is Phase.SUCCEEDED and not stuck
    specs = [_ConditionSpec("Ready", "True" if done else "False", reason, told)]
    if stuck:
        specs.append(_ConditionSpec("Stalled", "True", reason, told))
    elif not done:
        specs.append(_ConditionSpec("Reconciling", "True", reason, told))
    if status.intent is not None:
        specs.append(_ConditionSpec("WeightsVerified", "Unknown", "Writing", f"{status.intent.to} is being written"))
    elif status.phase in _AT_A_WEIGHT and status.weights.written:
        specs.append(_verified(status))
    elif status.phase is Phase.HELD and reason == HoldReason.NOT_EFFECTIVE:
        specs.append(_ConditionSpec("WeightsVerified", "False", reason, message))
    if reason == HoldReason.METRICS_UNAVAILABLE:
        specs.append(_ConditionSpec("MetricsAvailable", "False", "SourceDown", message))
    return specs


def _verified(status: Status) -> _ConditionSpec:
    if status.reason in (StatusReason.RESTORED_NOT_ACCEPTED, StatusReason.WEIGHTS_SET_BACK):
        return _ConditionSpec("WeightsVerified", "False", status.reason, status.message)
    words = f"the routes hold {status.weights.desired} for the new side, read back and accepted"
    if status.weights.unconfirmed and not status.weights.measured:
        blind = ", ".join(status.weights.unconfirmed)
        words = f"the routes hold {status.weights.desired} for the new side; whether {blind} is followed is not known"
        return _ConditionSpec("WeightsVerified", "Unknown", "NoGeneration", words)
    if not status.weights.measured:
        return _ConditionSpec("WeightsVerified", "True", "Accepted", words)
    return _ConditionSpec(
        "WeightsVerified", "True", "Measured", f"{words}; {status.weights.measured} of the requests go there"
    )


def _condition(snapshot: Snapshot, spec: _ConditionSpec) -> Condition:
    before = snapshot.status.condition(spec.type)
    since = before.last_transition_time if before and before.status == spec.status else snapshot.now
    return Condition(
        type=spec.type,
        status=spec.status,
        reason=spec.reason,
        message=printable(spec.message),
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


def verdicts_only(predicates: tuple[PredicateStatus, ...]) -> list[tuple[str, str, str]]:
    """The predicates without their figures. A change of this is written between decisions."""
    return [(p.name, p.verdict, p.why.partition(":")[0] if p.verdict == "Undecided" else "") for p in predicates]


def last_measured_at(predicates: tuple[PredicateStatus, ...]) -> datetime | None:
    return max((p.at for p in predicates if p.at is not None), default=None)
