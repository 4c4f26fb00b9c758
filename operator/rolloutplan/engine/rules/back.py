"""The ways back. They look at nothing that can be missing, slow or broken."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.engine.ask import binding, verdict_of
from rolloutplan.engine.incident import on_both_sides
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import back, fresh, on_fail
from rolloutplan.engine.narrate import bound_of, span, value_text
from rolloutplan.engine.routes import route_exists
from rolloutplan.engine.rules.adapt import adapts
from rolloutplan.engine.step import MarkPlan, Step
from rolloutplan.engine.table import MOVED, TABLE, Cause
from rolloutplan.engine.weights import sound
from rolloutplan.judge.verdict import Outcome
from rolloutplan.plan.outline import changes, outline
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import STARTING, Phase

LET_GO_AFTER = timedelta(minutes=1)
"""How long a deletion may wait for the weights to be put back."""


def deletion(look: Look) -> Step | None:
    """Put the weights back where the plan is deleted in mid-run, then let go of it.

    At once where nothing is to be put back, and at the latest after a minute: nobody's deletion hangs for ever. It
    stands above every other decision, since the plan does not outlive it.
    """
    if look.plan.deleting is None:
        return None
    if not look.plan.finalizer:
        return Step()
    status, weights = look.status, look.status.weights
    release = Step(actions=(MarkPlan(finalizer=False, breadcrumb=look.plan.breadcrumb),))
    keep = look.plan.written is not None and look.plan.written.deletion_policy == "Keep"
    ended = status.phase is Phase.ROLLED_BACK or status.stands_in in (Phase.CONTRACTING, Phase.SUCCEEDED)
    over = look.now >= look.plan.deleting + LET_GO_AFTER
    known = sound(weights.snapshot, weights.old, weights.new)
    gone = not known or not any(route_exists(look, route.id) for route in weights.snapshot)
    if keep or ended or over or gone:
        return release
    if status.phase is Phase.REVERTING:
        return None
    if status.phase not in TABLE[Cause.FAILED].sources:
        return release
    return back(look, StatusReason.DELETED, "the plan was deleted in mid-run")


def superseded(look: Look) -> Step | None:
    """Go back where the plan or the pod template is another one: what was judged is no longer what runs.

    Before any weight has moved the run begins anew instead. It stands above all verdicts, which are about the former.
    """
    status, spec = look.status, look.plan.written
    if spec is None or status.phase not in MOVED | STARTING:
        return None
    if spec.plan_hash() != status.plan_hash and (status.phase in STARTING or not adapts(look)):
        what = f"the plan was changed in mid-run{_changes(look, spec)}"
    elif look.new is not None and look.new.revision != status.revision:
        what = f"the pod template of {look.new.name} was changed in mid-run"
    else:
        return None
    if status.phase in STARTING:
        return Step(fresh(look, Cause.CHANGED_EARLY, what))
    return back(look, StatusReason.SUPERSEDED, what)


def _changes(look: Look, spec: PlanSpec) -> str:
    """What was changed, and what in it cannot be had; empty where it is not known."""
    found = changes(look.status.outline, outline(spec)) if look.status.outline else {}
    words = [f"{name}: {change}" for name, change in found.items()] + [look.plan.problem]
    told = "; ".join(word for word in words if word)
    return f" ({told[:600]})" if told else ""


def unavailable(look: Look) -> Step | None:
    """Do as `onFail` says where the new side is gone, down, short of pods, or restarts too often.

    It needs the Deployment alone, and stands above all predicates: dead pods send no metrics.
    """
    spec, status, new = look.plan.written, look.status, look.new
    if spec is None or status.phase not in MOVED:
        return None
    if new is None:
        return on_fail(look, StatusReason.NEW_SIDE_GONE, f"Deployment {spec.new.deployment} is gone")
    if new.wanted == 0:
        return on_fail(look, StatusReason.NEW_SIDE_DOWN, f"{new.name} is scaled to no pods at all")
    worst = f": {new.worst}" if new.worst else ""
    if new.ready == 0:
        return on_fail(look, StatusReason.NEW_SIDE_DOWN, f"none of {new.wanted} pods of {new.name} is ready{worst}")
    if (
        new.short_since
        and new.ready * 1000 < spec.availability.min_ready * new.wanted
        and look.now >= new.short_since + spec.availability.grace
    ):
        words = f"only {new.ready} of {new.wanted} pods of {new.name} are ready for {span(new.short_since, look.now)}"
        return on_fail(look, StatusReason.NEW_SIDE_SHORT, words + worst)
    if new.restarts is not None and new.restarts - status.restarts > spec.availability.max_restarts:
        count = new.restarts - status.restarts
        words = f"the containers of {new.name} restarted {count} times, {spec.availability.max_restarts} are allowed"
        return on_fail(look, StatusReason.NEW_SIDE_RESTARTING, words + worst)
    return None


def failure_detected(look: Look) -> Step | None:
    """Do as `onFail` says where a guard or a fail predicate is proved, or a pass predicate refuted for good.

    It stands above all that waits: mitigate before anything is understood. What both sides show alike is an incident,
    and no proof against the new side.
    """
    spec, status = look.plan.spec, look.status
    if spec is None or status.phase not in MOVED:
        return None
    for item in binding(spec, status, look.source):
        verdict = verdict_of(look, item)
        value = value_text(item.predicate.comparison, verdict)
        if item.against and verdict.outcome is Outcome.PROVED and not on_both_sides(look, item):
            words = f"{item.role} {item.name} is proved: {value} {bound_of(item.predicate)}"
            return on_fail(
                look, StatusReason.FAIL_PROVED if item.role == "fail" else StatusReason.GUARD_PROVED, words, [item]
            )
        if item.predicate.events and verdict.outcome is Outcome.REFUTED:
            words = f"pass {item.name} is refuted for good: {value} is not {bound_of(item.predicate)}"
            return on_fail(look, StatusReason.PASS_REFUTED, words, [item])
    return None
