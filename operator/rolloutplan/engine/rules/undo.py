"""Undo commands that somebody else wrote into the annotations: put right at the next look, and told.

People on call are told to run what stands there, and everybody who may patch the objects can write it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import Decision, RouteWeights
from rolloutplan.engine.model.actions import Action, PatchPlanMetadata, PatchRoute, ReconcileResult
from rolloutplan.engine.model.routes import live_weights, route_patches
from rolloutplan.engine.model.snapshot import REVERT, ForeignUndo, Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.rules.intents import awaits_claim
from rolloutplan.engine.run.transition import fencing_token, note_decision
from rolloutplan.engine.run.undo import last_owner, plan_undo, renewed_undo, routes_to_correct

TWICE_WITHIN = timedelta(minutes=1)
"""A command is put right at most twice in this time: a tool may write another one as often."""
TOLD_EVERY = timedelta(minutes=10)
"""One object is told at most so often: a tool that writes again and again must not fill the decisions."""


def restore_undo(snapshot: Snapshot, result: ReconcileResult) -> ReconcileResult:
    """The result, with undo commands put right. It goes with any result that writes nothing itself, in every phase."""
    if result.status is not None or result.actions or snapshot.plan.deleting is not None:
        return result
    if not awaits_claim(snapshot) and (revert := renewed_undo(snapshot)) is not None:
        return replace(result, status=change(snapshot.status, revert=revert))
    wrong = dict(_wrong(snapshot))
    paused = {subject: until for subject in wrong if (until := paused_until(snapshot, subject)) is not None}
    instants = [at for at in (result.wake_at, *paused.values()) if at is not None]
    actions = tuple(action for subject, action in wrong.items() if subject not in paused)
    return replace(result, actions=actions, wake_at=min(instants, default=None))


def paused_until(snapshot: Snapshot, subject: str) -> datetime | None:
    """When the command of an object is put right again that was put right twice just now; None: at once."""
    known = snapshot.foreign_undo.get(subject)
    until = known.before + TWICE_WITHIN if known is not None and known.before is not None else None
    return until if until is not None and snapshot.now < until else None


def plan_subject(snapshot: Snapshot) -> str:
    """The plan as `ForeignUndo` names it."""
    return f"RolloutPlan {snapshot.plan.name}"


def _wrong(snapshot: Snapshot) -> Iterator[tuple[str, Action]]:
    """What puts each wrong undo command right, by its object. One that is gone from a plan is no danger."""
    plan, undo = snapshot.plan, plan_undo(snapshot)
    if plan.undo_annotation and plan.undo_annotation != undo:
        yield plan_subject(snapshot), PatchPlanMetadata(finalizer=plan.finalizer, undo_annotation=undo)
    for route, wanted in routes_to_correct(snapshot):
        for patch in _patches(snapshot, route, wanted):
            yield str(route.id), patch


def _patches(snapshot: Snapshot, route: RouteWeights, undo: str) -> tuple[PatchRoute, ...]:
    """The patch of a route that writes its undo command. No weight changes.

    Where the last token is ours it stays; where somebody took it away, it is written again with the command.
    """
    status, view = snapshot.status, snapshot.routes[route.id]
    if last_owner(view) == snapshot.plan.uid[:8]:
        return (PatchRoute(route.with_rules(()), view.seq.split()[-1], undo),)
    live = live_weights(snapshot, (route,), status.weights)
    return route_patches(snapshot, live, status.weights, fencing_token(snapshot, status), undo, marks=True)


def tell_foreign_undo(snapshot: Snapshot) -> ReconcileResult | None:
    """Tell which undo command was put right, and who had written it. It goes with the actions of any other rule."""
    known = [(found, _told(snapshot, found)) for found in snapshot.foreign_undo.values()]
    due = [(found, last) for found, last in known if last is None or last.at < found.at]
    now = [found for found, last in due if last is None or snapshot.now >= last.at + TOLD_EVERY]
    if now:
        return note_decision(snapshot, TransitionName.UNDO_RESTORED, _words(snapshot, now[0]))
    waits = [last.at + TOLD_EVERY for _, last in due if last is not None]
    return ReconcileResult(wake_at=min(waits)) if waits else None


def _told(snapshot: Snapshot, found: ForeignUndo) -> Decision | None:
    """The last decision about this object."""
    told = (each for each in reversed(snapshot.status.decisions) if each.reason == EventReason.UNDO_RESTORED)
    return next((each for each in told if each.note.startswith(_about(found))), None)


def _about(found: ForeignUndo) -> str:
    return f"{found.subject}: "


def _words(snapshot: Snapshot, found: ForeignUndo) -> str:
    who = f"written by {found.by}" if found.by else "of an unknown writer"
    often = ""
    if found.count > 1:
        often = f"; that was the {found.count}th time, and it is put right at most twice a minute: stop that writer"
    plan = f"-n {snapshot.plan.namespace} {snapshot.plan.name}"
    return (
        f"{_about(found)}the annotation {REVERT} had an undo command {who} that is not the one in the status; it is "
        f"put right{often}; run only what `rolloutplan undo {plan}` prints"
    )
