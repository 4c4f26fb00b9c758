"""What a plan assumes is probed before anything else is done: one false belief ends the run at its cheapest."""

from __future__ import annotations

from rolloutplan.engine.look import Look
from rolloutplan.engine.move import move
from rolloutplan.engine.narrate import Seen
from rolloutplan.engine.rules.match import Rule, first_match
from rolloutplan.engine.rules.tasks import Ended, Wanted, begun, job_refused, job_run, observed, under_way
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import Cause
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import Phase, Status
from rolloutplan.plan.tasks import Assumption


def probe_assumptions(look: Look) -> Step | None:
    """In phase Probing, read PROBING_RULES: nothing is added to the cluster before all beliefs hold."""
    return first_match(PROBING_RULES, look) if look.status.phase is Phase.PROBING else None


def all_true(look: Look) -> Step | None:
    """Where no assumption is left, go on to add the new side. First, since all else needs one that is left."""
    if _next(look) is not None:
        return None
    return Step(move(look, Cause.PROBED, "all that it assumes is true", reason=StatusReason.EXPANDING, task=None))


def begin_probe(look: Look) -> Step | None:
    """Intend the next probe, the most dangerous first: it is recorded before it is begun, so that none is lost."""
    assumption = _next(look)
    if assumption is None or under_way(look, _wanted(assumption)) is not None:
        return None
    return Step(begun(look, _wanted(assumption)))


def probe(look: Look) -> Step | None:
    """Run the Job or ask the query of the assumption under way, until it is true, false or late."""
    assumption = _next(look)
    task = under_way(look, _wanted(assumption)) if assumption else None
    if assumption is None or task is None:
        return None
    wanted, asked = _wanted(assumption), assumption.predicate
    found = job_run(look, task, wanted) if asked is None else observed(look, _spec(look), task, asked)
    return Step(_probed(look, assumption, found)) if isinstance(found, Ended) else found


PROBING_RULES: tuple[Rule, ...] = (all_true, begin_probe, probe)


def _spec(look: Look) -> PlanSpec:
    assert look.plan.spec is not None  # a plan without one cannot start
    return look.plan.spec


def _next(look: Look) -> Assumption | None:
    return next((each for each in _spec(look).beliefs() if each.name not in look.status.done), None)


def _wanted(assumption: Assumption) -> Wanted:
    says = f"assumption {assumption.name} is probed: {assumption.belief}"
    template = assumption.job.template if assumption.job else None
    return Wanted("Assumption", assumption.name, assumption.deadline, says, template)


def _probed(look: Look, assumption: Assumption, ended: Ended) -> Status:
    status, seen = look.status, Seen(assumption.belief, ended.words)
    if ended.refused:
        return job_refused(look, ended)
    if ended.good:
        words = f"assumption {assumption.name} is true: {ended.words}"
        done = (*status.done, assumption.name)
        return move(look, Cause.BELIEVED, words[:1024], reason=StatusReason.PROBING, seen=seen, task=None, done=done)
    words = (
        f"assumption {assumption.name} is not known to be true ({assumption.belief}): {ended.words}; no weight was "
        "moved: change what it is about or the plan, or say `retry`, and a new run starts"
    )[:1024]
    return move(
        look, Cause.DISBELIEVED, words, reason=StatusReason.ASSUMPTION_FALSE, seen=seen, task=None, failed=words
    )
