"""After the bake: the old is taken away, if the plan says so. Nothing here goes back by itself.

What was taken away cannot be given back by moving weights, so that before each part everything is looked at once more:
that the weights stand as they were written, that the new side has all its pods, and that no person and no policy is
against it.
"""

from __future__ import annotations

from rolloutplan.engine.checks import paused_words
from rolloutplan.engine.gate import GATED, Closed, closed_to_contract
from rolloutplan.engine.look import Look, Unreadable, WorkloadView
from rolloutplan.engine.move import fence, hold, move, resumed
from rolloutplan.engine.narrate import span
from rolloutplan.engine.routes import live_weights, route_mismatch, route_patches
from rolloutplan.engine.rules.adapt import adapted
from rolloutplan.engine.rules.command import other_commands
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import (
    LEFT_OLD,
    SCALE_OLD,
    SCALED_WITHIN,
    Ended,
    Wanted,
    begun,
    job_run,
    resized,
    under_way,
)
from rolloutplan.engine.step import MarkPlan, Step
from rolloutplan.engine.table import Cause
from rolloutplan.plan.changes import change
from rolloutplan.plan.reasons import HoldReason, StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Phase, Task


def clean_up_old(look: Look) -> Step | None:
    """Once the bake is over, read CONTRACTING_RULES. They say all that is to be said of a run that is so far.

    It stands above the rules that lead back by themselves: what is taken away could not be served from.
    """
    return first_match(CONTRACTING_RULES, look) if look.status.stands_in is Phase.CONTRACTING else None


def stay_contract_failed(look: Look) -> Step | None:
    """A part that could not be taken away waits for a person, whatever else is in the way or is not."""
    return Step() if look.status.held_for == HoldReason.CONTRACT_FAILED else None


def hold_contract(look: Look) -> Step | None:
    """Take nothing away while anything is against it: plan, weights, a person, a policy, too few pods.

    It stands above all that takes away: that cannot be undone by moving weights.
    """
    status, closed = look.status, _closed(look, look.plan.written)
    if closed is None:
        return None
    if status.held_for != closed.reason:
        return hold(look, closed.reason, closed.words)
    says = closed.reason in GATED and closed.words != status.message
    return Step(change(status, message=closed.words) if says else None, wake_at=closed.again)


def resume_contract(look: Look) -> Step | None:
    """Go on where nothing is against it any more."""
    held = look.status.held if look.status.phase is Phase.HELD else None
    if held is None:
        return None
    return Step(resumed(look, held, f"{held.reason} is over after {span(held.since, look.now)}"))


def drain(look: Look) -> Step | None:
    """Wait until nobody uses the old any more: for `drain` since all traffic has left it."""
    at = look.status.stage
    until = (at.verified_at if at and at.verified_at else look.now) + _spec(look).traffic.drain
    return Step(wake_at=until) if look.now < until else None


def finish_contract(look: Look) -> Step | None:
    """Where nothing is left to take away, the run has succeeded. What other sides the plan names now is not touched."""
    status, spec = look.status, _spec(look)
    if _to_take(look, spec) is not None:
        return None
    left = "" if _ours(look, spec) else ", and what is left of the old stays: the plan has other sides now"
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic{left}"
    return Step(move(look, Cause.FINISHED, words, reason=StatusReason.SUCCEEDED, task=None))


def begin_contract_task(look: Look) -> Step | None:
    """Intend the next part: it is recorded before it is begun, with the way back that is true after it."""
    spec = _spec(look)
    wanted = _to_take(look, spec)
    return _begun(look, spec, wanted) if wanted is not None and under_way(look, wanted) is None else None


def take_away(look: Look) -> Step | None:
    """Do the part under way, until it is done or has failed. Nothing goes back by itself from here."""
    spec = _spec(look)
    wanted = _to_take(look, spec)
    task = under_way(look, wanted) if wanted else None
    if wanted is None or task is None:
        return None
    if wanted.template is not None:
        found = job_run(look, task, wanted)
    else:
        found = _announced(look) or resized(look, task, look.old, spec.old.deployment)
    return _ended(look, task, found) if isinstance(found, Ended) else found


CONTRACTING_RULES: tuple[Rule, ...] = (
    other_commands,
    adapted,
    stay_contract_failed,
    hold_contract,
    resume_contract,
    drain,
    finish_contract,
    begin_contract_task,
    take_away,
)


def _spec(look: Look) -> PlanSpec:
    assert look.plan.written is not None  # `hold_contract` holds where it is not
    return look.plan.written


def _closed(look: Look, spec: PlanSpec | None) -> Closed | None:
    """Why nothing may be taken away now. A part that is under way waits for weights and persons alone."""
    status, weights = look.status, look.status.weights
    if spec is None or isinstance(look.plan.content, Unreadable):
        return Closed(
            HoldReason.INVALID, f"the plan can no longer be read, so nothing is taken away: {look.plan.problem}"
        )
    if differs := route_mismatch(look, weights.written, weights):
        return Closed(HoldReason.CONFLICT, f"{differs}: the old is not taken away; put them back as they were to go on")
    if status.paused is not None:
        return Closed(HoldReason.PAUSED, paused_words(status.paused))
    return None if status.task is not None or _to_take(look, spec) is None else closed_to_contract(look, spec)


def _ours(look: Look, spec: PlanSpec) -> bool:
    """Whether the plan still speaks of the sides of this run."""
    weights = look.status.weights
    return (spec.old.service_name, spec.new.service_name) == (weights.old, weights.new)


def _to_take(look: Look, spec: PlanSpec) -> Wanted | None:
    """The next part of what is to be taken away."""
    done, contract = look.status.done, spec.contract
    if not _ours(look, spec):
        return None
    if contract.scale_old is not None and not {SCALE_OLD, LEFT_OLD} & {*done} and look.old is not None:
        says = f"Deployment {spec.old.deployment} is given {contract.scale_old} replicas"
        return Wanted("Scale", SCALE_OLD, SCALED_WITHIN, says, replicas=contract.scale_old)
    job = next((job for job in contract.jobs if job.name not in done), None)
    if job is None:
        return None
    return Wanted("Contract", job.name, job.deadline, f"Job {job.name} takes away what is old", job.template)


def _begun(look: Look, spec: PlanSpec, wanted: Wanted) -> Step:
    """Intend a part. Before the old side is made smaller, the way back says how it is made larger again."""
    before = look.status.task
    status = begun(look, wanted, before.attempt if before is not None and before.name == wanted.name else 1)
    old, revert = look.old, status.revert
    if wanted.name == SCALE_OLD and old is not None and revert and not revert.startswith("kubectl scale"):
        where = f"deployment/{spec.old.deployment} -n {look.plan.namespace}"
        up = f"kubectl scale {where} --replicas={max(old.wanted, 1)} && kubectl rollout status {where}"
        status = change(status, revert=f"{up} && {revert}")
    return Step(status)


def _announced(look: Look) -> Step | None:
    """Leave the way back on plan and routes, before the old side is made smaller.

    The write tests that the routes are still as they were looked at: their weights cannot have been moved since.
    """
    status, weights = look.status, look.status.weights
    if look.plan.breadcrumb != status.revert:
        return Step(actions=(MarkPlan(finalizer=look.plan.finalizer, breadcrumb=status.revert),))
    if look.scaled is not None and status.task is not None and look.scaled.at >= status.task.since:
        return None
    routes = live_weights(look, weights.written, weights)
    marks = route_patches(look, routes, weights, fence(look, status), status.revert, marks=True)
    return Step(actions=marks) if marks else None


def _ended(look: Look, task: Task, ended: Ended) -> Step:
    status = look.status
    if ended.good:
        done = (*status.done, LEFT_OLD if ended.left else task.name)
        return Step(
            move(look, Cause.CONTRACTED, ended.words[:1024], reason=StatusReason.CONTRACTING, task=None, done=done)
        )
    return hold(look, HoldReason.CONTRACT_FAILED, f"{ended.words}; {_both_sides(look)}"[:1024])


def _both_sides(look: Look) -> str:
    """How both sides stand, and what a person can do."""
    status, old, new = look.status, look.old, look.new
    sides = f"{_pods(new)} with {status.weights.desired} of the traffic, {_pods(old)} with the rest"
    return f"{sides}; `resume` tries it again, `abort` puts the weights back while the old side stands"


def _pods(side: WorkloadView | None) -> str:
    return f"{side.name} has {side.ready} of {side.wanted} pods ready" if side else "a Deployment is gone"
