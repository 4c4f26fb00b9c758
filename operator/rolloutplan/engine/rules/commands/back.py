"""`abort` and `revert`: back to the weights from before the run."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.routes import meets_on, route_exists
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.policy.endpoints import old_side_down, revert_refused
from rolloutplan.engine.policy.grants import left_as_it_is
from rolloutplan.engine.policy.lost_run import LostRunError, lost_run, may_be_lost, restore_by_hand
from rolloutplan.engine.policy.policies import longest_freeze
from rolloutplan.engine.rules.commands.context import AskedAgainError, CommandContext, DeniedError
from rolloutplan.engine.rules.tasks import old_side_gone
from rolloutplan.engine.run.stop import stop_former
from rolloutplan.engine.run.transition import start_rollback, transition

_AGAIN = "send `revert` again"
ASKS_TWICE_AFTER = timedelta(hours=24)
"""After this a success is no longer what people just watched, so an old annotation or a slip must not undo it."""
AGAIN_WITHIN = timedelta(minutes=10)
"""Long enough to look at what would come back, and too short for a command that is forgotten in between."""


def abort(context: CommandContext) -> ReconcileResult | None:
    """Roll back now, or end the run where no weight has moved yet."""
    snapshot, status = context.snapshot, context.snapshot.status
    if status.effective_phase is Phase.CONTRACTING:
        if snapshot.scaling:
            return None  # whether the old side is scaled down is known when the request is answered
        if gone := old_side_gone(snapshot):
            raise DeniedError(gone)
    if _snapshot_known(status) and status.phase in TRANSITIONS[TransitionName.FAILED].sources:
        _deny_rollback_to_nobody(snapshot)
        return start_rollback(
            snapshot, StatusReason.ABORTED, context.words, commanded_by=context.commanded_by, paused=None
        )
    before_weights = status.phase in TRANSITIONS[TransitionName.ABORTED].sources and not snapshot.plan.finalizer
    if before_weights and not _moved_by_lost_run(snapshot):
        return ReconcileResult(_ended_early(context))
    if status.phase is Phase.SUCCEEDED:
        raise DeniedError("the run has ended: `revert` puts the old weights back")
    if status.phase is Phase.ROLLED_BACK:
        raise DeniedError("there is nothing to abort: the run has ended and the old weights are restored")
    return _abort_lost(context)


def _abort_lost(context: CommandContext) -> ReconcileResult:
    """Roll back a run whose status is lost, to the weights in its undo command."""
    snapshot = context.snapshot
    try:
        known = lost_run(snapshot)
    except LostRunError as problem:
        words = f"the weights before the run are no longer known; {restore_by_hand(snapshot)}"
        raise DeniedError(f"{words} ({problem})") from None
    _deny_rollback_to_nobody(known)
    return start_rollback(known, StatusReason.ABORTED, context.words, commanded_by=context.commanded_by, paused=None)


def _moved_by_lost_run(snapshot: Snapshot) -> bool:
    """Whether a run of which nothing is known any more has moved weights: its plan was created again."""
    if not may_be_lost(snapshot):
        return False
    try:
        weights = lost_run(snapshot).status.weights
    except LostRunError:
        return False
    return weights.written != weights.snapshot


def _deny_rollback_to_nobody(snapshot: Snapshot) -> None:
    if words := old_side_down(snapshot):
        raise DeniedError(f"{words}; scale the old side up, and send it again when its pods are ready")


def deny_where_rival_runs(snapshot: Snapshot, routes: Collection[RouteId]) -> None:
    running = (conflict for conflict in snapshot.route_conflicts if conflict.running)
    for rival in running:
        if meets_on(snapshot, rival, routes):
            raise DeniedError(f"plan {rival.key} uses the route now: abort that plan first")
        if rival.sizes:
            sized = ", ".join(sorted(rival.sizes))
            raise DeniedError(f"plan {rival.key} sizes Deployment {sized} now: abort that plan first")


def _snapshot_known(status: Status) -> bool:
    weights = status.weights
    return is_valid_snapshot(weights.snapshot, weights.old, weights.new)


def _ended_early(context: CommandContext) -> Status:
    """End the run before any weight has moved. It starts again only for a changed plan or pod template, or `retry`."""
    snapshot, spec = context.snapshot, context.snapshot.plan.written
    task = snapshot.status.task
    stops = f"; Job {task.job} is suspended" if task is not None and task.job else ""
    stops = f"; {left}" if (left := left_as_it_is(snapshot)) else stops
    words = f"{context.words}; no weight was moved{stops}"
    return transition(
        snapshot,
        TransitionName.ABORTED,
        words,
        reason=StatusReason.ABORTED,
        commanded_by=context.commanded_by,
        failed=words[:1024],
        paused=None,
        task=stop_former(snapshot),
        plan_hash=spec.plan_hash() if spec else "",
        revision=snapshot.new.revision if snapshot.new else "",
    )


def revert(context: CommandContext) -> ReconcileResult | None:
    """Put back the weights from before a run that has succeeded; during a run it is `abort`."""
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase is not Phase.SUCCEEDED:
        return abort(context)
    routes = {route.id for route in status.weights.snapshot}
    if not _snapshot_known(status) or not any(route_exists(snapshot, route) for route in routes):
        raise DeniedError(_nothing_to_restore(snapshot))
    if gone := old_side_gone(snapshot) or revert_refused(snapshot):
        raise DeniedError(gone)
    deny_where_rival_runs(snapshot, routes)
    for route in sorted(routes & snapshot.route_notes.keys()):
        if not _is_owned(snapshot):
            raise DeniedError(f"{route}: {snapshot.route_notes[route]}")
    _ask_twice(snapshot)
    freeze = longest_freeze(snapshot.policies, snapshot.now)
    words = f"{context.words}, although frozen by {freeze.words}" if freeze else context.words
    return start_rollback(snapshot, StatusReason.REVERTED, words, commanded_by=context.commanded_by, paused=None)


def _is_owned(snapshot: Snapshot) -> bool:
    spec = snapshot.plan.written
    return spec is not None and spec.traffic.ownership == "Owned"


def _nothing_to_restore(snapshot: Snapshot) -> str:
    if _is_owned(snapshot):
        return "the route in Git divides the traffic again (traffic.ownership: Owned): commit the old weights there"
    return "the weights before the run, or their routes, are gone: there is nothing to restore"


def _ask_twice(snapshot: Snapshot) -> None:
    """Raise AskedAgainError for the first `revert` of a run that ended long ago."""
    status, ended, asked = snapshot.status, snapshot.status.entered_at, snapshot.status.revert_asked
    if ended is None or snapshot.now - ended <= ASKS_TWICE_AFTER:
        return
    if asked is not None and ended <= asked and snapshot.now - asked <= AGAIN_WITHIN:
        return
    within = format_duration(AGAIN_WITHIN)
    raise AskedAgainError(
        f"the run ended at {ended:%Y-%m-%dT%H:%M:%SZ}, and what was released since may need {status.weights.new}: to "
        f"put {status.weights.old} back all the same, {_AGAIN} within {within}, with another token"
    )
