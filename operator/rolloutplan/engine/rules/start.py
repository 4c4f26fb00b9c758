"""Before a run, and after it: start, or say what is in the way; tidy up, and know when to try again."""

from __future__ import annotations

from datetime import timedelta

from rolloutplan.engine.checks import PROBE_EVERY, Obstacle, obstacle
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import fresh, move
from rolloutplan.engine.routes import live_weights, select_rules
from rolloutplan.engine.rules.tasks import added, expanding, probing
from rolloutplan.engine.step import Action, Inspect, MarkPlan, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.weights import share, sound
from rolloutplan.plan.changes import RunChange, change
from rolloutplan.plan.outline import outline
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import STARTING, Phase, Status, Weights

STANDS_FOR = timedelta(seconds=2)
"""How long its pods must have been ready before the first weight: a gateway needs a moment to hear of new endpoints."""
COUNTED_WITHIN = timedelta(seconds=2)
"""How old the count of restarts may be from which a run counts on: older ones may be of pods that are gone."""


def ended(look: Look) -> Step | None:
    """At an end: tidy the plan, and start again only for another hypothesis."""
    status, plan, spec = look.status, look.plan, look.plan.written
    if status.phase not in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        return None
    crumb = plan.breadcrumb if status.phase is Phase.SUCCEEDED else ""
    if plan.finalizer or plan.breadcrumb != crumb:
        return Step(actions=(MarkPlan(finalizer=False, breadcrumb=crumb),))
    if spec is not None and spec.plan_hash() != status.plan_hash:
        return Step(fresh(look, Cause.AGAIN, "the plan was changed"))
    if spec is None or look.new is None:
        return Step()
    if look.new.revision != status.revision and not _serving(look, spec):
        return Step(fresh(look, Cause.AGAIN, f"the pod template of {look.new.name} was changed"))
    return Step()


def _serving(look: Look, spec: PlanSpec) -> bool:
    """Whether the new side holds more already than the first stage would give it: then there is nothing to try."""
    weights = look.status.weights
    if not sound(weights.written, weights.old, weights.new):
        return False
    held = live_weights(look, weights.written, weights)
    return share(held, weights.old, weights.new) > spec.ladder()[0].permille


def not_started(look: Look) -> Step | None:
    """Start, or say what is in the way."""
    status, spec = look.status, look.plan.spec
    if status.phase not in {*STARTING, Phase.PENDING, Phase.INVALID}:
        return None
    problem = obstacle(look)
    if problem is not None:
        return _refused(look, problem)
    assert spec is not None and look.new is not None
    if look.probe is None or look.probe.judged_hash != spec.judged_hash():
        return Step(actions=(Inspect(),))
    if status.phase is Phase.INVALID:
        return Step(move(look, Cause.HEALED, "what was wrong is mended", reason=StatusReason.PENDING))
    if status.phase is Phase.PROBING:
        return probing(look, spec)
    if status.phase is Phase.EXPANDING:
        return expanding(look, spec) or _standing(look, spec)
    return Step(_started(look, spec, look.new.revision))


def _started(look: Look, spec: PlanSpec, revision: str) -> Status:
    """The next run; or the same one again, where it was interrupted before any weight: what it has done is done."""
    status, plan_hash = look.status, spec.plan_hash()
    began = bool(status.done) or status.task is not None
    same = began and (status.plan_hash, status.revision) == (plan_hash, revision)
    run = status.run if same else status.run + 1
    hypothesis = f": {spec.hypothesis}" if spec.hypothesis else ""
    words = f"run {run}: {spec.old.deployment} -> {spec.new.deployment} in {len(spec.ladder())} stages{hypothesis}"
    of_this: RunChange = {
        "run": run,
        "plan_hash": plan_hash,
        "revision": revision,
        "templates": look.plan.templates,
        "outline": outline(spec),
        "done": status.done if same else (),
        "sized": status.sized if same else 0,
    }
    if spec.assumptions:
        return fresh(look, Cause.START_PROBING, words, reason=StatusReason.PROBING, **of_this)
    return fresh(look, Cause.START, words, reason=StatusReason.EXPANDING, **of_this)


def _refused(look: Look, problem: Obstacle) -> Step:
    status = look.status
    again = look.probe.at + PROBE_EVERY if look.probe and problem.asking else problem.again
    actions: tuple[Action, ...] = (Inspect(),) if problem.asking and again and look.now >= again else ()
    if (status.reason, status.message) == (problem.reason, problem.message[:1024]):
        return Step(None, actions, wake_at=again)
    if status.phase is Phase.PENDING and status.reason == problem.reason == StatusReason.WAITING:
        return Step(change(status, message=problem.message[:1024]), wake_at=again)
    return Step(move(look, problem.cause, problem.message[:1024], reason=problem.reason), actions, wake_at=again)


def _standing(look: Look, spec: PlanSpec) -> Step:
    """Wait for the new side to stand, for `readyWithin` at most."""
    new, probe, status = look.new, look.probe, look.status
    assert new is not None and probe is not None
    if new.settled and new.wanted > 0 and new.ready >= new.wanted:
        if new.stood_since and timedelta(0) <= look.now - new.stood_since < STANDS_FOR:
            return Step(wake_at=new.stood_since + STANDS_FOR)
        if look.now >= probe.at + COUNTED_WITHIN:
            return Step(actions=(Inspect(),))
        return Step(_ready(look, spec, probe.restarts))
    again = probe.at + PROBE_EVERY
    late = (status.entered_at or look.plan.created) + spec.availability.ready_within
    if probe.at >= late:
        return Step(_never_ready(look, spec, probe.worst))
    if look.now >= min(again, late):
        return Step(actions=(Inspect(),))
    return Step(wake_at=min(again, late))


def _ready(look: Look, spec: PlanSpec, restarts: int) -> Status:
    new = look.new
    assert new is not None
    snapshot = select_rules(look)
    old_service, new_service = spec.old.service_name, spec.new.service_name
    held = format_weight(share(snapshot, old_service, new_service))
    weights = Weights(desired=held, old=old_service, new=new_service, written=snapshot, snapshot=snapshot)
    return move(
        look,
        Cause.READY,
        f"{new.ready} of {new.wanted} pods of {new.name} are ready; a rollback goes back to {held} on {new_service}",
        reason=StatusReason.SHIFTING,
        weights=weights,
        restarts=restarts,
        revert=look.revert,
    )


def _never_ready(look: Look, spec: PlanSpec, worst: str) -> Status:
    new = look.new
    assert new is not None
    within = format_duration(spec.availability.ready_within)
    found = f"{new.ready} of {new.wanted} pods of {new.name} were ready within {within}"
    left = f"no weight was moved{added(look.status, spec)}"
    words = f"{found}{f': {worst}' if worst else ''}; {left}: mend the Deployment, and a new run starts"
    return move(look, Cause.NEVER_READY, words, reason=StatusReason.NEW_SIDE_NOT_READY)
