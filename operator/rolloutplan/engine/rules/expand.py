"""The new side is added beside the old one, and must stand before it is given any traffic."""

from __future__ import annotations

from datetime import datetime, timedelta

from rolloutplan.engine.checks import PROBE_EVERY
from rolloutplan.engine.look import Look
from rolloutplan.engine.move import move
from rolloutplan.engine.routes import select_rules
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import (
    SCALE_NEW,
    SCALED_WITHIN,
    Ended,
    Wanted,
    added,
    begun,
    job_refused,
    job_run,
    refused_words,
    resized,
    under_way,
)
from rolloutplan.engine.step import Inspect, Step
from rolloutplan.engine.table import Cause
from rolloutplan.engine.weights import share
from rolloutplan.plan.changes import RunChange
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Phase, Status, Task, Weights

STANDS_FOR = timedelta(seconds=2)
"""How long its pods must have been ready before the first weight: a gateway needs a moment to hear of new endpoints."""
COUNTED_WITHIN = timedelta(seconds=2)
"""How old the count of restarts may be from which a run counts on: older ones may be of pods that are gone."""


def expand(look: Look) -> Step | None:
    """In phase Expanding, read EXPANDING_RULES: no weight is moved before the new side stands."""
    return first_match(EXPANDING_RULES, look) if look.status.phase is Phase.EXPANDING else None


def begin_expansion(look: Look) -> Step | None:
    """Intend what is to be added next: the Jobs in the order written, then the replicas. Recorded, then begun."""
    wanted = _to_add(look, _spec(look))
    if wanted is None or under_way(look, wanted) is not None:
        return None
    return Step(begun(look, wanted))


def add(look: Look) -> Step | None:
    """Do what is under way, until it is done, has failed or is late; pods are waited for only after it."""
    spec = _spec(look)
    wanted = _to_add(look, spec)
    task = under_way(look, wanted) if wanted else None
    if wanted is None or task is None:
        return None
    if wanted.template is not None:
        found = job_run(look, task, wanted)
    else:
        found = resized(look, task, look.new, spec.new.deployment)
    return Step(_added(look, spec, task, found)) if isinstance(found, Ended) else found


def new_side_ready(look: Look) -> Step | None:
    """Where all its pods are ready, take the snapshot and go on. Before the deadline: who stands late stands.

    A new side stands when it has done so for a moment, and its restarts are counted from the moment it does. Where they
    cannot be counted, the deadline holds.
    """
    new, probe = look.new, look.probe
    assert new is not None  # without it, it would not have come here
    if not (new.settled and new.wanted > 0 and new.ready >= new.wanted):
        return None
    if new.stood_since and timedelta(0) <= look.now - new.stood_since < STANDS_FOR:
        return Step(wake_at=new.stood_since + STANDS_FOR)
    if probe is None or look.now >= probe.at + COUNTED_WITHIN:
        return None if _unseen(look) else Step(actions=(Inspect(),))
    return Step(_ready(look, _spec(look), probe.restarts))


def new_side_late(look: Look) -> Step | None:
    """End the run where the new side was looked at after `readyWithin` and does not stand: every wait ends.

    So it does where the API server does not let it be looked at.
    """
    probe = look.probe
    if words := _unseen(look):
        name, within = _spec(look).new.deployment, format_duration(_spec(look).availability.ready_within)
        found = f"whether {name} stands could not be seen within {within}: {words}"
        return Step(_never_ready(look, found, "see to that, say `retry`"))
    if probe is None or probe.at < _late(look):
        return None
    return Step(_never_ready(look, _not_ready(look, probe.worst), "mend the Deployment"))


def await_new_side(look: Look) -> Step | None:
    """Look at its pods now and then, for the reason why they do not stand; at the deadline once more."""
    if look.probe is None:
        return Step(actions=(Inspect(),))
    due = min(look.probe.at + PROBE_EVERY, _late(look))
    return Step(actions=(Inspect(),)) if look.now >= due else Step(wake_at=due)


EXPANDING_RULES: tuple[Rule, ...] = (begin_expansion, add, new_side_ready, new_side_late, await_new_side)


def _spec(look: Look) -> PlanSpec:
    assert look.plan.spec is not None  # a plan without one cannot start
    return look.plan.spec


def _late(look: Look) -> datetime:
    return (look.status.entered_at or look.plan.created) + _spec(look).availability.ready_within


def _unseen(look: Look) -> str:
    """Why the new side cannot be looked at after its deadline, as the API server says it; empty where it can."""
    return refused_words(look, "preflight") if look.now >= _late(look) else ""


def _to_add(look: Look, spec: PlanSpec) -> Wanted | None:
    done, size = look.status.done, spec.expand.scale.new
    job = next((job for job in spec.expand.jobs if job.name not in done), None)
    if job is not None:
        return Wanted("Expand", job.name, job.deadline, f"Job {job.name} runs before any traffic moves", job.template)
    if size == "None" or SCALE_NEW in done or look.old is None:
        return None
    replicas = look.old.wanted if size == "MatchOld" else int(size)
    says = f"Deployment {spec.new.deployment} is given {replicas} replicas"
    return Wanted("Scale", SCALE_NEW, SCALED_WITHIN, says, replicas=replicas)


def _added(look: Look, spec: PlanSpec, task: Task, ended: Ended) -> Status:
    status = look.status
    if ended.refused:
        return job_refused(look, ended)
    if ended.good:
        over: RunChange = {"task": None, "done": (*status.done, task.name), "entered_at": look.now}
        if task.kind == "Scale" and not ended.left:
            over["sized"] = task.replicas
        return move(look, Cause.EXPANDED, ended.words[:1024], reason=StatusReason.EXPANDING, **over)
    left = f"no weight was moved{added(status, spec)}"
    words = f"{ended.words}; {left}: mend it or the plan, or say `retry`, and a new run starts"[:1024]
    return move(look, Cause.EXPAND_FAILED, words, reason=StatusReason.EXPAND_FAILED, task=None, failed=words)


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


def _not_ready(look: Look, worst: str) -> str:
    new = look.new
    assert new is not None
    within = format_duration(_spec(look).availability.ready_within)
    found = f"{new.ready} of {new.wanted} pods of {new.name} were ready within {within}"
    return f"{found}{f': {worst}' if worst else ''}"


def _never_ready(look: Look, found: str, fix: str) -> Status:
    left = f"no weight was moved{added(look.status, _spec(look))}"
    words = f"{found}; {left}: {fix}, and a new run starts"
    return move(look, Cause.NEVER_READY, words, reason=StatusReason.NEW_SIDE_NOT_READY)
