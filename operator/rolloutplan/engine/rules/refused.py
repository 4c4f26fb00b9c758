"""Requests that the API server refuses: they are reported in its words. A refused first weight ends the run."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.api.changes import change, change_weights
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import EventReason, StatusReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import route_mismatch
from rolloutplan.engine.model.snapshot import NO_EFFECT, Refusal, Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.run.conditions import (
    REQUESTS_ACCEPTED,
    fault_of,
    first_refusal,
    has_fault,
    is_refusal_reported,
    without_shortage,
)
from rolloutplan.engine.run.transition import token_seq, transition

GIVE_UP_AFTER = timedelta(minutes=5)
"""How long a first weight is tried again while the API server's errors may be temporary."""
_REPORTED_BY_TASKS = ("job", "scale")
"""The rules of tasks put the API server's message into the status themselves."""


def shift_refused(snapshot: Snapshot) -> ReconcileResult | None:
    """End a run whose first weight the API server refuses.

    It needs a refusal of a route or of the plan's metadata, and routes with their weights from before the run. It must
    be certain that nothing was written. A route that was written and has its old weights again was restored by a
    person. A request without an answer may still succeed, and must then find a newer token on the route. In both cases
    the run rolls back instead. The rule is above the rollback rules for a weight that may be in force: if none is,
    there is nothing to restore.
    """
    status, weights = snapshot.status, snapshot.status.weights
    if status.phase is not Phase.SHIFTING or weights.written != weights.snapshot:
        return None
    refusals = [each for each in snapshot.refusals if each.kind in ("route", "marks") and not each.urgent]
    lasting = (each for each in refusals if each.definite or snapshot.now >= each.since + GIVE_UP_AFTER)
    refusal = next(lasting, None)
    if refusal is None or any(each.uncertain for each in refusals):
        return None
    if route_mismatch(snapshot, weights.snapshot, weights) or _has_written(snapshot):
        return None
    words = (
        f"{refusal.what} cannot be written: {refusal.words}; no weight was moved: fix the cause, then send "
        "`retry`, and a new run starts"
    )[:1024]
    held = format_weight(share(weights.snapshot, weights.old, weights.new))
    kept = change_weights(weights, desired=held)
    ended = transition(
        snapshot,
        TransitionName.SHIFT_REFUSED,
        words,
        reason=StatusReason.FORBIDDEN if refusal.lacks_right else StatusReason.SHIFT_REFUSED,
        failed=words,
        intent=None,
        weights=kept,
    )
    return ReconcileResult(ended)


def _has_written(snapshot: Snapshot) -> bool:
    """Whether a route has the token of the present weight, or may have it as far as the decisions show."""
    if snapshot.status.intent is None:
        return False
    decisions, views = (
        snapshot.status.decisions,
        (snapshot.routes.get(route.id) for route in snapshot.status.weights.snapshot),
    )
    started = next((each.seq for each in reversed(decisions) if each.reason == EventReason.STAGE_STARTED), 0)
    return any(token_seq(snapshot, view.seq) >= started for view in views if view is not None)


def report_refusal(snapshot: Snapshot) -> ReconcileResult | None:
    """Report a refused request once.

    It is applied when no other rule writes a status. It changes only the reported text: the refused action is still
    retried.
    """
    status, refusal = snapshot.status, first_refusal(snapshot)
    if refusal is None or is_refusal_reported(status, refusal) or refusal.kind == "publication":
        return None
    words = _words(snapshot, refusal)
    message = status.message if refusal.kind in _REPORTED_BY_TASKS else words
    return ReconcileResult(
        transition(snapshot, TransitionName.REQUEST_REFUSED, words, message=message, predicates=status.predicates)
    )


def clear_past_refusal(snapshot: Snapshot, *, nothing_to_do: bool) -> Status:
    """The status without the message of a refusal that is over: it shows the last decision again.

    While an action is left to do, it is unknown whether the refusal is over: a new leader has not tried it yet.
    """
    status, refusal = snapshot.status, first_refusal(snapshot)
    over = nothing_to_do and (refusal is None or refusal.kind == "publication")  # that one holds nothing up
    reported = over and status.condition(REQUESTS_ACCEPTED) is not None
    notes = {each.note for each in status.decisions if each.reason == EventReason.REQUEST_REFUSED}
    last = next((d.note for d in reversed(status.decisions) if d.reason != EventReason.REQUEST_REFUSED), "")
    if has_fault(status) and refusal is None:
        return change(status, message=last, conditions=tuple(c for c in status.conditions if c.type != "Stalled"))
    if status.message and not (reported and without_shortage(status.message) in notes):
        past = reported and refusal is None
        conditions = tuple(each for each in status.conditions if not past or each.type != REQUESTS_ACCEPTED)
        return change(status, conditions=conditions) if past else status
    return change(status, message=last) if last != status.message else status


def _words(snapshot: Snapshot, refusal: Refusal) -> str:
    if refusal.internal:
        return fault_of(snapshot.status, refusal)
    if refusal.urgent:
        by_hand = f"; to restore them by hand: {snapshot.status.revert}" if snapshot.status.revert else ""
        often = "every second" if refusal.reason != NO_EFFECT else "ever less often, and at once when it changes"
        follows = f"the old weights are not restored yet; this is retried {often}{by_hand}"
    elif refusal.kind == "preflight":
        follows = "no run starts until they can be read; this is retried"
    elif refusal.kind == "pods":
        follows = "nothing goes forward until it succeeds, and no rollback waits for it; this is retried"
    else:
        follows = "the run waits until it succeeds; this is retried"
    if refusal.reason == NO_EFFECT:
        return f"a write of {refusal.what} has no effect: {refusal.words}; {follows}"[:1024]
    who = "" if refusal.lacks_right else "the API server refuses "
    return f"{who}{refusal.what}: {refusal.words}; {follows}"[:1024]
