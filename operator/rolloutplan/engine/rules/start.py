"""Before a run, and after it: start, or say what is in the way; tidy up, and know when to try again."""

from __future__ import annotations

from rolloutplan.engine.checks import PROBE_EVERY, Obstacle, obstacle
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import fresh, move
from rolloutplan.engine.routes import live_weights
from rolloutplan.engine.rules.expand import expand
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.probe import probe_assumptions
from rolloutplan.engine.step import Action, Inspect, MarkPlan, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.weights import share, sound
from rolloutplan.plan.changes import RunChange, change
from rolloutplan.plan.outline import outline
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import STARTING, Phase, Status


def finished(look: Look) -> Step | None:
    """At an end: tidy the plan, and start again only for another hypothesis.

    It stands below the commands, since `retry` and `revert` are said at an end.
    """
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


def start(look: Look) -> Step | None:
    """Before any weight has moved, read STARTING_RULES. They say all that is to be said of such a plan."""
    before_any_weight = look.status.phase in {*STARTING, Phase.PENDING, Phase.INVALID}
    return first_match(STARTING_RULES, look) if before_any_weight else None


def obstructed(look: Look) -> Step | None:
    """Say what is in the way, the first thing alone. It comes first: nothing is begun that could not go on."""
    problem = obstacle(look)
    return _refused(look, problem) if problem is not None else None


def look_around(look: Look) -> Step | None:
    """Ask for what no watch tells, once for each plan as it is judged: a run does not start on what nobody has seen.

    One that has started goes on without: its tasks have deadlines, which wait for no answer.
    """
    if look.status.phase in STARTING:
        return None
    spec = _spec(look)
    unknown = look.probe is None or look.probe.judged_hash != spec.judged_hash()
    return Step(actions=(Inspect(),)) if unknown else None


def healed(look: Look) -> Step | None:
    """Take an invalid plan back where nothing is in its way any more. Below what may be in it."""
    if look.status.phase is not Phase.INVALID:
        return None
    return Step(move(look, Cause.HEALED, "what was wrong is mended", reason=StatusReason.PENDING))


def begin_run(look: Look) -> Step | None:
    """Start: nothing is in the way, and all is known that can be. Probing comes before adding the new side."""
    if look.status.phase is not Phase.PENDING:
        return None
    assert look.new is not None  # `obstructed` says where it is not
    return Step(_started(look, _spec(look), look.new.revision))


STARTING_RULES: tuple[Rule, ...] = (obstructed, look_around, healed, probe_assumptions, expand, begin_run)


def _spec(look: Look) -> PlanSpec:
    assert look.plan.spec is not None  # `obstructed` says where it is not
    return look.plan.spec


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
