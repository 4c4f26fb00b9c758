"""An unfinished intent. An action half done is the only thing that can be wrong twice."""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.engine.ask import current_stage
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, clocks, fence, fenced, move, restores
from rolloutplan.engine.routes import acceptance_problem, live_weights, route_exists, route_mismatch, route_patches
from rolloutplan.engine.rules.back import LET_GO_AFTER
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import MOVED, Cause
from rolloutplan.engine.weights import share, sound
from rolloutplan.plan.changes import change, change_weights
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.reasons import EventReason, StatusReason
from rolloutplan.plan.status import Intent, Phase, Status

ACCEPTED_WITHIN = timedelta(seconds=30)
"""How long a gateway may take to accept a route at its generation."""
ASKED_ANEW_AFTER = timedelta(seconds=5)
"""What is written later than this after it was asked for is asked for anew, so that the gateway has its time."""
JUDGED_WITHIN = timedelta(minutes=5)
"""How long a weight may be on its way and not be judged; an operator that was down for less finishes what it began."""


def resume_rollback(look: Look) -> Step | None:
    """Write the snapshot until every route holds it and its gateway takes it. Needs the routes alone.

    It stands first: weights that are on their way back wait for nothing.
    """
    status, weights = look.status, look.status.weights
    if status.phase is not Phase.REVERTING or not sound(weights.snapshot, weights.old, weights.new):
        return None
    since = status.intent.at if status.intent else status.entered_at or look.now
    differs = route_mismatch(look, (r for r in weights.snapshot if route_exists(look, r.id)), weights)
    patches = restores(look, status)
    if differs or patches:
        if look.plan.deleting and look.now >= look.plan.deleting + LET_GO_AFTER:
            return None
        if not patches and status.message != differs:
            return Step(change(status, message=differs), wake_at=look.now + ACCEPTED_WITHIN)
        return Step(None, patches, urgent=True, wake_at=look.now + ACCEPTED_WITHIN)
    refused = acceptance_problem(look, weights.snapshot)
    if refused and not look.plan.deleting and look.now < since + ACCEPTED_WITHIN:
        return Step(wake_at=since + ACCEPTED_WITHIN)
    return Step(_restored(look, refused))


def _restored(look: Look, refused: str) -> Status:
    status, weights = look.status, look.status.weights
    gone = [str(route.id) for route in weights.snapshot if not route_exists(look, route.id)]
    words = f"the old weights are back ({weights.desired} on {weights.new or 'the new side'}) after {status.failed}"
    if gone:
        words = f"{', '.join(gone)} is gone, so there was nothing to put back there; {words}"
    if refused:
        words = f"{words}; but the gateway has not accepted it: {refused}"
    return move(
        look,
        Cause.RESTORED,
        words,
        reason=StatusReason.RESTORED_NOT_ACCEPTED if refused else None,
        shares=(_shift_before(status), weights.desired),
        intent=None,
        weights=change_weights(weights, written=live_weights(look, weights.snapshot, weights)),
    )


def _shift_before(status: Status) -> str:
    """From which share the rollback came, as its own decision says."""
    return next((d.weight_from for d in reversed(status.decisions) if d.reason == EventReason.ROLLBACK_STARTED), "")


def recover_interrupted_rollback(look: Look) -> Step | None:
    """Go back where weights were put back by an operator that died before it could record it: their fence is newer.

    It stands above all that would judge or move the run: the routes know more of it than its status does.
    """
    status = look.status
    if status.phase not in {*MOVED, Phase.CONTRACTING}:
        return None
    views = (look.routes.get(route.id) for route in status.weights.snapshot)
    newest = max((fenced(look, view.seq) for view in views if view is not None), default=0)
    if newest <= status.seq:
        return None
    return back(
        look, StatusReason.INTERRUPTED, "the operator was stopped after it put weights back and before it said why"
    )


def claim_after_failover(look: Look) -> Step | None:
    """Mark the routes of a run that another leader served, in its turn: a thousand are no reason to judge any later.

    It stands above all that goes on with the run; `decide` claims a run at once where a rule above wants to write.
    """
    return claim(look) if _due(look) else None


def claim(look: Look) -> Step | None:
    """The routes of a run that another leader served take this one's mark.

    Whatever that leader still has on its way was to find its own mark, and is refused.
    """
    status, weights = look.status, look.status.weights
    if status.phase not in MOVED or status.epoch == look.epoch:
        return None
    routes = live_weights(look, weights.snapshot, weights)
    marks = route_patches(look, routes, weights, fence(look, status), status.revert, marks=True)
    return Step(actions=marks) if marks else None


def record_claim(look: Look) -> Step | None:
    """Record who serves a claimed run. Last: any other record says so too."""
    status = look.status
    if status.phase not in MOVED or status.epoch == look.epoch or not _due(look):
        return None
    return Step(change(status, epoch=look.epoch))


def _due(look: Look) -> bool:
    return look.status.intent is not None or look.adopt_at is None or look.now >= look.adopt_at


def shift_timed_out(look: Look) -> Step | None:
    """Go back where a weight is not in force in time, or cannot be judged: nobody watches what may stand there.

    It stands among the ways back, above all that would go on waiting for the gateway.
    """
    intent = _shifting(look)
    if intent is None:
        return None
    status, differs = look.status, route_mismatch(look, intent.routes, look.status.weights)
    entered = status.stage.entered_at if status.stage else None
    if look.now >= (entered or intent.at) + JUDGED_WITHIN:
        within = format_duration(JUDGED_WITHIN)
        words = differs or "its record could not be written"
        return back(look, StatusReason.WEIGHT_NOT_ACCEPTED, f"{intent.to} could not be judged within {within}: {words}")
    refused, ours = acceptance_problem(look, intent.routes), status.epoch == look.epoch
    if ours and not differs and refused and look.now >= intent.at + ACCEPTED_WITHIN:
        within = format_duration(ACCEPTED_WITHIN)
        return back(look, StatusReason.WEIGHT_NOT_ACCEPTED, f"{intent.to} was not in force within {within}: {refused}")
    return None


def resume_shift(look: Look) -> Step | None:
    """Write the weights that were asked for until they are read back and accepted; then the stage's clocks begin.

    It stands below the ways back and above every hold: what is half done is finished, and only then waited at.
    """
    intent = _shifting(look)
    if intent is None:
        return None
    status, weights, late = look.status, look.status.weights, intent.at + ACCEPTED_WITHIN
    differs = route_mismatch(look, intent.routes, weights)
    if not differs and not acceptance_problem(look, intent.routes):
        return Step(_verified(look, intent))
    # What is written late has its whole time from then on, and a new leader may not have heard what the gateway said.
    again = None
    if status.epoch != look.epoch or (differs and look.now >= intent.at + ASKED_ANEW_AFTER):
        again = change(status, intent=intent.asked_again(look.now), epoch=look.epoch)
    written = route_patches(look, intent.routes, weights, fence(look, status), status.revert) if differs else ()
    return Step(again, written, wake_at=late)


def _shifting(look: Look) -> Intent | None:
    """The shift that is under way, of a plan that can be read."""
    intent = look.status.intent
    on_its_way = look.status.phase is Phase.SHIFTING and intent is not None and intent.action == "Shift"
    return intent if on_its_way and look.plan.spec is not None else None


def _until(look: Look, at: datetime | None) -> str:
    return format_duration(at - look.now) if at else "0s"


def _verified(look: Look, intent: Intent) -> Status:
    status, spec = look.status, look.plan.spec
    stage = current_stage(spec, status) if spec else None
    assert stage is not None and status.stage is not None
    before = share(status.weights.written, status.weights.old, status.weights.new)
    at = clocks(look, status.stage, stage)
    names = ", ".join(str(route.id) for route in intent.routes)
    return move(
        look,
        Cause.VERIFIED,
        f"{intent.to} of the traffic is on {status.weights.new} ({names} read back and accepted); "
        f"judged for {_until(look, at.soak_until)} at least, decided within {_until(look, at.deadline_at)}",
        reason=StatusReason.SOAKING,
        shares=(format_weight(before), intent.to),
        stage=at,
        counted_since=status.counted_since or look.now,
        intent=None,
        weights=change_weights(status.weights, written=live_weights(look, intent.routes, status.weights)),
    )
