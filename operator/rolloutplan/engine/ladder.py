"""`decide`: from a look to what follows. A ladder of rungs; the first that applies decides.

The order is the safety logic, and it stands in `LADDER` and nowhere else. The rungs that lead back (a person's word,
another revision, a dead new side, a proved failure) come before everything that could be missing, slow or broken, and
look at none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from rolloutplan.engine.ask import InForce, ask_at, current_stage, in_force, track_of, verdict_of
from rolloutplan.engine.checks import PROBE_EVERY, Obstacle, obstacle
from rolloutplan.engine.look import Look
from rolloutplan.engine.narrate import bound_of, decided, measured, sealed_predicates, span, value_text
from rolloutplan.engine.report import last_measured, reported, unmeasured
from rolloutplan.engine.routes import claim, current, refusal, shifted, unlike, writes
from rolloutplan.engine.step import Action, Inspect, MarkPlan, Step
from rolloutplan.engine.table import MOVED, TABLE, Cause
from rolloutplan.engine.weights import share
from rolloutplan.engine.words import seal
from rolloutplan.judge.verdict import Outcome, Why
from rolloutplan.plan.quantities import format_duration, format_weight
from rolloutplan.plan.spec import PlanSpec, Stage
from rolloutplan.plan.status import RUNNING, Held, Intent, Phase, StageStatus, Status, Weights

ACCEPTED_WITHIN = timedelta(seconds=30)
"""How long a gateway may take to accept a route at its generation."""
LET_GO_AFTER = timedelta(minutes=1)
"""How long a deletion may wait for the weights to be put back."""
PUBLISH_EVERY = timedelta(seconds=30)
"""Verdicts that change between decisions are written to status no oftener than this."""

Rung = Callable[[Look], Step | None]


def decide(look: Look) -> Step:
    """What follows from a look. Same look, same step, always; never raises for anything that a cluster can hold."""
    step = next((step for rung in LADDER if (step := rung(look)) is not None), None) or Step(look.status)
    if step.status is look.status:
        return Step(_published(look), step.actions, step.wake_at or _wake(look), step.urgent)
    return Step(reported(look, step.status), step.actions, step.wake_at or look.now, step.urgent)


# ---- moving along the table ----------------------------------------------------------------------------------------


def _move(
    look: Look,
    cause: Cause,
    note: str,
    *,
    reason: str,
    why: str = "",
    evidence: Iterable[InForce] = (),
    shares: tuple[str, str] = ("", ""),
    **changes: Any,
) -> Status:
    """The status one row further: phase, reason and message, what changes with it, and the decision on the trail."""
    row, before = TABLE[cause], look.status
    assert before.phase in row.sources, f"{cause} is no way on from {before.phase}"
    to = row.to or (before.held.back_to if before.held else Phase.PENDING)
    changes = {"phase": to, "reason": reason, "message": note, **changes}
    if to is not before.phase:
        changes["entered_at"] = look.now
    if before.predicates and "predicates" not in changes:
        changes["predicates"] = measured(look, before)
    after = before.model_copy(update=changes)
    return decided(look, after, cause, note, why=why, evidence=evidence, shares=shares)


def _back(look: Look, reason: str, note: str, evidence: Iterable[InForce] = ()) -> Step:
    """Put the snapshot back: the intent and the writes in one step, and the writes wait for nothing."""
    weights = look.status.weights
    safe = format_weight(share(weights.snapshot, weights.old, weights.new))
    status = _move(
        look,
        Cause.FAILED,
        f"{note}; weights go back from {weights.desired} to {safe}",
        reason=reason,
        evidence=evidence,
        shares=(weights.desired, safe),
        failed=note[:1024],
        held=None,
        intent=Intent(action="Restore", at=look.now, to=safe, routes=weights.snapshot),
        weights=weights.model_copy(update={"desired": safe}),
    )
    return Step(status, writes(look, weights.snapshot, weights, _fence(look, status), ""), urgent=True)


def _hold(look: Look, reason: str, note: str, evidence: Iterable[InForce] = (), **changes: Any) -> Step:
    """Wait where it stands. A hold for another reason keeps the time since which it is held."""
    held, phase = look.status.held, look.status.phase
    back_to = held.back_to if held and phase is Phase.HELD else phase
    since = held.since if held and phase is Phase.HELD else look.now
    next_held = Held(reason=reason, since=since, back_to=back_to)
    return Step(_move(look, Cause.HELD, note, reason=reason, evidence=evidence, held=next_held, **changes))


def _on_fail(look: Look, reason: str, note: str, evidence: Iterable[InForce] = ()) -> Step | None:
    """What the plan wants of a proved failure."""
    if look.plan.spec is None or look.plan.spec.on_fail == "Rollback":
        return _back(look, reason, note, evidence)
    if look.status.phase is Phase.HELD and look.status.held and look.status.held.reason == "Failed":
        return None
    return _hold(look, "Failed", f"{note}; onFail is Hold, so the weights stay", evidence, failed=note[:1024])


def _fence(look: Look, status: Status) -> str:
    return f"{look.plan.uid[:8]}.{status.seq}"


# ---- rung 1: an unfinished intent ------------------------------------------------------------------------------------


def _unfinished_restore(look: Look) -> Step | None:
    status, weights = look.status, look.status.weights
    if status.phase is not Phase.REVERTING:
        return None
    since = status.intent.at if status.intent else status.entered_at or look.now
    differs = unlike(look, (r for r in weights.snapshot if _there(look, r.name)), weights)
    if differs:
        if look.plan.deleting and look.now >= look.plan.deleting + LET_GO_AFTER:
            return None
        patches = writes(look, weights.snapshot, weights, _fence(look, status), "")
        if not patches and status.message != differs:
            return Step(status.model_copy(update={"message": differs}), wake_at=look.now + ACCEPTED_WITHIN)
        return Step(status, patches, urgent=True, wake_at=look.now + ACCEPTED_WITHIN)
    refused = refusal(look, weights.snapshot)
    if refused is not None and not look.plan.deleting and look.now < since + ACCEPTED_WITHIN:
        return Step(status, wake_at=since + ACCEPTED_WITHIN)
    return Step(_restored(look, refused))


def _restored(look: Look, refused: str | None) -> Status:
    status, weights = look.status, look.status.weights
    gone = [route.name for route in weights.snapshot if not _there(look, route.name)]
    words = f"the old weights are back ({weights.desired} on {weights.new or 'the new side'}) after {status.failed}"
    if gone:
        words = f"HTTPRoute {', '.join(gone)} is gone, so there was nothing to put back there; {words}"
    if refused is not None:
        words = f"{words}; but the gateway has not accepted it: {refused or 'no word of it yet'}"
    return _move(
        look,
        Cause.RESTORED,
        words,
        reason=status.reason if refused is None else "RestoredNotAccepted",
        shares=(_shift_before(status), weights.desired),
        intent=None,
        weights=weights.model_copy(update={"written": current(look, weights.snapshot, weights)}),
    )


def _shift_before(status: Status) -> str:
    """From which share the rollback came, as its own decision says."""
    return next((d.weight_from for d in reversed(status.decisions) if d.reason == "RollbackStarted"), "")


def _there(look: Look, route: str) -> bool:
    view = look.routes.get(route)
    return view is not None and not view.deleting


def _unfinished_shift(look: Look) -> Step | None:
    """Finish a shift of weights. The rungs that lead back stand above it."""
    status, weights, intent = look.status, look.status.weights, look.status.intent
    if status.phase is not Phase.SHIFTING or intent is None:
        return None
    late = intent.at + ACCEPTED_WITHIN
    differs = unlike(look, intent.routes, weights)
    if differs and unlike(look, weights.written, weights) and _foreign(look, intent, weights):
        return _hold(look, "Conflict", f"while {intent.to} was being written: {differs}", intent=None)
    if not differs and (refused := refusal(look, intent.routes)) is None:
        return Step(_verified(look, intent))
    if look.now >= late:
        words = differs or refusal(look, intent.routes) or "no word from its gateway"
        return _back(look, "WeightNotAccepted", f"{intent.to} was not in force within 30s: {words}")
    if differs:
        return Step(status, writes(look, intent.routes, weights, _fence(look, status), status.revert), wake_at=late)
    return Step(status, wake_at=late)


def _foreign(look: Look, intent: Intent, weights: Weights) -> bool:
    """Whether some route holds neither what was written last nor what is being written."""
    return any(
        unlike(look, (target,), weights) and unlike(look, (before,), weights)
        for target, before in zip(intent.routes, weights.written, strict=False)
    )


def _verified(look: Look, intent: Intent) -> Status:
    status, spec = look.status, look.plan.spec
    stage = current_stage(spec, status) if spec else None
    assert stage is not None and status.stage is not None
    before = share(status.weights.written, status.weights.old, status.weights.new)
    at = status.stage.model_copy(
        update={
            "verified_at": look.now,
            "soak_until": look.now + stage.soak,
            "deadline_at": look.now + stage.deadline,
        }
    )
    names = ", ".join(route.name for route in intent.routes)
    return _move(
        look,
        Cause.VERIFIED,
        f"{intent.to} of the traffic is on {status.weights.new} (HTTPRoute {names} read back and accepted); "
        f"judged for {format_duration(stage.soak)} at least, decided within {format_duration(stage.deadline)}",
        reason="Soaking",
        shares=(format_weight(before), intent.to),
        stage=at,
        intent=None,
        weights=status.weights.model_copy(update={"written": current(look, intent.routes, status.weights)}),
    )


# ---- rungs 2 to 5: back, whatever else is -----------------------------------------------------------------------------


def _deletion(look: Look) -> Step | None:
    if look.plan.deleting is None:
        return None
    if not look.plan.finalizer:
        return Step(look.status)
    status, weights = look.status, look.status.weights
    release = Step(status, (MarkPlan(finalizer=False, breadcrumb=look.plan.breadcrumb),))
    keep = look.plan.spec is not None and look.plan.spec.deletion_policy == "Keep"
    ended = status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
    over = look.now >= look.plan.deleting + LET_GO_AFTER
    gone = not any(_there(look, route.name) for route in weights.snapshot)
    if keep or ended or over or gone:
        return release
    if status.phase is Phase.REVERTING:
        return None
    if status.phase not in TABLE[Cause.FAILED].sources:
        return release
    return _back(look, "Deleted", "the plan was deleted in mid-run")


def _superseded(look: Look) -> Step | None:
    status, spec = look.status, look.plan.spec
    if spec is None or status.phase not in MOVED | {Phase.EXPANDING}:
        return None
    if spec.plan_hash() != status.plan_hash:
        what = "the plan was changed in mid-run"
    elif look.new is not None and look.new.revision != status.revision:
        what = f"the pod template of {look.new.name} was changed in mid-run"
    else:
        return None
    if status.phase is Phase.EXPANDING:
        return Step(_fresh(look, Cause.CHANGED_EARLY, what))
    return _back(look, "Superseded", what)


def _unavailable(look: Look) -> Step | None:
    spec, status, new = look.plan.spec, look.status, look.new
    if spec is None or status.phase not in MOVED:
        return None
    if new is None:
        return _on_fail(look, "NewSideGone", f"Deployment {spec.new.deployment} is gone")
    worst = f": {new.worst}" if new.worst else ""
    if new.ready == 0:
        return _on_fail(look, "NewSideDown", f"none of {new.wanted} pods of {new.name} is ready{worst}")
    if (
        new.short_since
        and new.ready * 1000 < spec.availability.min_ready * new.wanted
        and look.now >= new.short_since + spec.availability.grace
    ):
        words = f"only {new.ready} of {new.wanted} pods of {new.name} are ready for {span(new.short_since, look.now)}"
        return _on_fail(look, "NewSideShort", words + worst)
    if new.restarts is not None and new.restarts - status.restarts > spec.availability.max_restarts:
        count = new.restarts - status.restarts
        words = f"the containers of {new.name} restarted {count} times, {spec.availability.max_restarts} are allowed"
        return _on_fail(look, "NewSideRestarting", words + worst)
    return None


def _proved_against(look: Look) -> Step | None:
    spec, status = look.plan.spec, look.status
    if spec is None or status.phase not in MOVED:
        return None
    for item in in_force(spec, status, look.source):
        verdict = verdict_of(look, item)
        if item.against and verdict.outcome is Outcome.PROVED:
            value = value_text(item.predicate.comparison, verdict)
            words = f"{item.role} {item.name} is proved: {value} {bound_of(item.predicate)}"
            return _on_fail(look, "FailProved" if item.role == "fail" else "GuardProved", words, [item])
    return None


# ---- before a run, and after it ------------------------------------------------------------------------------------------


def _ended(look: Look) -> Step | None:
    """At an end: tidy the plan, and start again only for another hypothesis."""
    status, plan = look.status, look.plan
    if status.phase not in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        return None
    crumb = plan.breadcrumb if status.phase is Phase.SUCCEEDED else ""
    if plan.finalizer or plan.breadcrumb != crumb:
        return Step(status, (MarkPlan(finalizer=False, breadcrumb=crumb),))
    if plan.spec is None or look.new is None:
        return Step(status)
    if plan.spec.plan_hash() != status.plan_hash:
        return Step(_fresh(look, Cause.AGAIN, "the plan was changed"))
    if look.new.revision != status.revision and not _serving(look, plan.spec):
        return Step(_fresh(look, Cause.AGAIN, f"the pod template of {look.new.name} was changed"))
    return Step(status)


def _serving(look: Look, spec: PlanSpec) -> bool:
    """Whether the new side holds more already than the first stage would give it: then there is nothing to try."""
    weights = look.status.weights
    held = current(look, weights.written, weights)
    return share(held, weights.old, weights.new) > spec.ladder()[0].permille


def _fresh(look: Look, cause: Cause, note: str) -> Status:
    """Ready for the next run: nothing of this one but its number and its trail."""
    return _move(
        look,
        cause,
        note,
        reason="Pending",
        stage=None,
        weights=Weights(),
        predicates=(),
        failed="",
        held=None,
        intent=None,
        revert="",
    )


def _not_started(look: Look) -> Step | None:
    """Start, or say what is in the way."""
    status, spec = look.status, look.plan.spec
    if status.phase not in (Phase.PENDING, Phase.INVALID, Phase.EXPANDING):
        return None
    problem = obstacle(look)
    if problem is not None:
        return _refused(look, problem)
    assert spec is not None and look.new is not None
    if look.probe is None or look.probe.plan_hash != spec.plan_hash():
        return Step(status, (Inspect(),))
    if status.phase is Phase.INVALID:
        return Step(_move(look, Cause.HEALED, "what was wrong is mended", reason="Pending"))
    if status.phase is Phase.EXPANDING:
        return _expanding(look, spec)
    run = status.run + 1
    hypothesis = f": {spec.hypothesis}" if spec.hypothesis else ""
    words = f"run {run}: {spec.old.deployment} -> {spec.new.deployment} in {len(spec.ladder())} stages{hypothesis}"
    started = _move(
        look,
        Cause.START,
        words,
        reason="Expanding",
        run=run,
        plan_hash=spec.plan_hash(),
        revision=look.new.revision,
    )
    return Step(started)


def _refused(look: Look, problem: Obstacle) -> Step:
    status = look.status
    again = look.probe.at + PROBE_EVERY if look.probe and problem.asking else None
    actions: tuple[Action, ...] = (Inspect(),) if again and look.now >= again else ()
    if (status.reason, status.message) == (problem.reason, problem.message[:1024]):
        return Step(status, actions, wake_at=again)
    return Step(_move(look, problem.cause, problem.message[:1024], reason=problem.reason), actions, wake_at=again)

def _expanding(look: Look, spec: PlanSpec) -> Step:
    """Wait for the new side to stand, for `readyWithin` at most."""
    new, probe, status = look.new, look.probe, look.status
    assert new is not None and probe is not None
    if new.settled and new.wanted > 0 and new.ready >= new.wanted:
        return Step(_ready(look, spec, probe.restarts))
    again = probe.at + PROBE_EVERY
    late = (status.entered_at or look.now) + spec.availability.ready_within
    if look.now >= min(again, late) and look.now > probe.at:
        if look.now >= late and look.now - probe.at < PROBE_EVERY / 2:
            return Step(_never_ready(look, spec, probe.worst))
        return Step(status, (Inspect(),))
    if look.now >= late:
        return Step(_never_ready(look, spec, probe.worst))
    return Step(status, wake_at=min(again, late))


def _ready(look: Look, spec: PlanSpec, restarts: int) -> Status:
    new = look.new
    assert new is not None
    snapshot = claim(look)
    old_service, new_service = spec.old.service_name, spec.new.service_name
    held = format_weight(share(snapshot, old_service, new_service))
    weights = Weights(desired=held, old=old_service, new=new_service, written=snapshot, snapshot=snapshot)
    return _move(
        look,
        Cause.READY,
        f"{new.ready} of {new.wanted} pods of {new.name} are ready; the weights to go back to are {held} on {new_service}",
        reason="Shifting",
        weights=weights,
        restarts=restarts,
        revert=look.revert,
    )


def _never_ready(look: Look, spec: PlanSpec, worst: str) -> Status:
    new = look.new
    assert new is not None
    within = format_duration(spec.availability.ready_within)
    found = f"{new.ready} of {new.wanted} pods of {new.name} were ready within {within}"
    words = f"{found}{f': {worst}' if worst else ''}; no weight was moved: mend the Deployment, and a new run starts"
    return _move(look, Cause.NEVER_READY, words, reason="NewSideNotReady")


# ---- rungs 6 to 8: waiting is safe ---------------------------------------------------------------------------------------


def _inconsistent(look: Look) -> Step | None:
    """A status that was edited into contradiction: nothing is done on such ground, and it says so."""
    status = look.status
    if status.phase not in RUNNING - {Phase.EXPANDING} or _consistent(status):
        return None
    words = "the status was edited or damaged in mid-run"
    fields = f" ({', '.join(status.damaged)})" if status.damaged else ""
    way = f"; the weights stay: put them back with {status.revert}" if status.revert else "; the weights stay"
    return Step(_move(look, Cause.LOST, f"{words}{fields}{way}, or delete the plan", reason="StatusLost", predicates=()))


def _consistent(status: Status) -> bool:
    stage = status.stage
    clocked = stage is not None and None not in (stage.verified_at, stage.soak_until)
    if not status.weights.snapshot or (status.phase is Phase.HELD and status.held is None):
        return False
    phase = status.held.back_to if status.phase is Phase.HELD and status.held else status.phase
    return clocked if phase in (Phase.JUDGING, Phase.BAKING) else phase in (Phase.SHIFTING, Phase.REVERTING)


def _waiting(look: Look) -> Step | None:
    """Hold for what stands in the way; go on when it is gone."""
    status = look.status
    if status.phase not in MOVED:
        return None
    held = status.held if status.phase is Phase.HELD else None
    if held is not None and held.reason == "Failed":
        return Step(status)
    found = _in_the_way(look)
    if found is not None:
        reason, words = found
        if reason == "Blind" and (step := _blind_too_long(look, words)) is not None:
            return step
        if held is not None and held.reason in (reason, "Undecided"):
            return Step(status)
        return _hold(look, reason, words)
    if held is None or (held.reason == "Undecided" and not _all_shown(look)):
        return None
    return Step(_resumed(look, held))


def _in_the_way(look: Look) -> tuple[str, str] | None:
    """Rungs 6 to 8 in one line each: the reason of a hold and its words."""
    spec, weights = look.plan.spec, look.status.weights
    if spec is None:
        return "Invalid", f"the plan can no longer be read, so nothing can be judged: {look.plan.problem}"
    if differs := unlike(look, weights.written, weights):
        return "Conflict", f"{differs}: put them back as they were to go on, or delete the plan to restore"
    if look.old is None:
        return "Conflict", f"Deployment {spec.old.deployment}, the way back, is gone: bring it back to go on"
    if words := _blind(look, spec):
        return "Blind", words
    return None


def _blind(look: Look, spec: PlanSpec) -> str:
    """Why nothing can be seen; empty while something can. One answer that is late is not blindness."""
    status = look.status
    held = status.held if status.phase is Phase.HELD and status.held and status.held.reason == "Blind" else None
    if look.source is None:
        return look.source_problem or "the metric source is gone"
    items = in_force(spec, status, look.source)
    asked = [item for item in items if track_of(look, item).asked_at is not None]
    heard = [at for item in asked if (at := track_of(look, item).answered_at) is not None]
    if held is not None:
        return "" if not items or any(at > held.since for at in heard) else status.message
    down = [verdict_of(look, item) for item in asked]
    if not down or any(verdict.why is not Why.SOURCE_DOWN for verdict in down):
        return ""
    last = max(heard, default=min(item.first_at for item in asked))
    if look.now < last + _patience(look, spec):
        return ""
    return f"the metric source has not answered for {span(last, look.now)}: {down[0].detail}"


def _patience(look: Look, spec: PlanSpec) -> timedelta:
    timeout = look.source.timeout if look.source else timedelta(0)
    return max(3 * spec.interval, spec.interval + timeout)


def _blind_too_long(look: Look, words: str) -> Step | None:
    spec, held = look.plan.spec, look.status.held
    if spec is None:
        return None
    rule = spec.on_blind
    if rule.action == "Rollback":
        return _back(look, "Blind", f"onBlind is Rollback: {words}")
    if held and held.reason == "Blind" and rule.after and rule.then == "Rollback" and look.now >= held.since + rule.after:
        return _back(look, "Blind", f"blind for {format_duration(rule.after)}, and onBlind.then is Rollback: {words}")
    return None


def _resumed(look: Look, held: Held) -> Status:
    """Go on where it was held, with every clock moved by the time held.

    After a conflict over the weights the windows start anew: what was measured meanwhile was measured at another weight.
    """
    stage, pause = look.status.stage, look.now - held.since
    if stage is not None and stage.verified_at is not None:
        stage = stage.model_copy(
            update={
                "verified_at": look.now if held.reason == "Conflict" else stage.verified_at,
                "soak_until": stage.soak_until and stage.soak_until + pause,
                "deadline_at": stage.deadline_at and stage.deadline_at + pause,
            }
        )
    words = f"{held.reason} is over after {span(held.since, look.now)}; the stage's clocks are moved by that time"
    return _move(look, Cause.RESUMED, words, reason="Soaking", held=None, stage=stage)


# ---- rungs 9 and 10: every wait ends, and forward ---------------------------------------------------------------------


def _all_shown(look: Look) -> bool:
    """Whether nothing is left to show at this weight: every pass is Proved, and what could speak against it was heard.

    A fail predicate that could not be asked says nothing for the new side. Where there are no pass predicates, at least
    one measurement must have spoken for it: nothing measured is never a pass.
    """
    spec = look.plan.spec
    items = in_force(spec, look.status, look.source) if spec else ()
    for item in items:
        verdict = verdict_of(look, item)
        if not item.against and verdict.outcome is not Outcome.PROVED:
            return False
        unheard = track_of(look, item).answered_at is None or verdict.why in (Why.SOURCE_DOWN, Why.QUERY_REJECTED)
        if item.against and unheard:
            return False
    spoken = {Outcome.PROVED, Outcome.REFUTED}
    return any(verdict_of(look, item).outcome in spoken for item in items)


def _deadline(look: Look) -> Step | None:
    status, spec, at = look.status, look.plan.spec, look.status.stage
    if status.phase is not Phase.JUDGING or spec is None or at is None or at.deadline_at is None:
        return None
    stage = current_stage(spec, status)
    if stage is None or look.now < at.deadline_at or _all_shown(look):
        return None
    items = in_force(spec, status, look.source)
    false = [i for i in items if not i.against and verdict_of(look, i).outcome is Outcome.REFUTED]
    if false:
        verdict = verdict_of(look, false[0])
        value = value_text(false[0].predicate.comparison, verdict)
        words = f"at its deadline {stage.name} is refuted: {false[0].name} is {value}, not {bound_of(false[0].predicate)}"
        return _on_fail(look, "PassRefuted", words, false)
    open_ = [item for item in items if verdict_of(look, item).outcome is Outcome.UNDECIDED]
    doubts = ", ".join(f"{item.name} ({verdict_of(look, item).why})" for item in open_) or "nothing was measured"
    words = f"at its deadline {stage.name} is undecided: {doubts}"
    if spec.on_undecided == "Rollback":
        return _back(look, "Undecided", f"{words}; onUndecided is Rollback", open_)
    if spec.on_undecided == "Extend":
        longer = max(stage.deadline - stage.soak, spec.interval)
        new = at.model_copy(update={"deadline_at": look.now + longer})
        note = f"{words}; onUndecided is Extend: {format_duration(longer)} more"
        return Step(_move(look, Cause.EXTENDED, note, reason="Judging", evidence=open_, stage=new))
    return _hold(look, "Undecided", f"{words}; onUndecided is Hold: goes on when it is decided", open_)


def _forward(look: Look) -> Step | None:
    status, spec, at = look.status, look.plan.spec, look.status.stage
    if spec is None:
        return None
    if status.phase is Phase.SHIFTING and status.intent is None:
        return _seal_next(look, spec)
    soaked = at is not None and at.soak_until is not None and look.now >= at.soak_until
    if status.phase is Phase.BAKING and soaked:
        return Step(_baked(look))
    if status.phase is Phase.JUDGING and soaked and _all_shown(look):
        return Step(_proved(look, spec))
    return None


def _seal_next(look: Look, spec: PlanSpec) -> Step | None:
    """Fix what will judge the next stage, then ask for its weight: status first, weights second."""
    status, weights = look.status, look.status.weights
    if not look.plan.finalizer or look.plan.breadcrumb != status.revert:
        return Step(status, (MarkPlan(finalizer=True, breadcrumb=status.revert),))
    stage, ladder = next_stage(spec, status), spec.ladder()
    to, predicates = format_weight(stage.permille), sealed_predicates(look, spec, stage)
    routes = shifted(current(look, weights.written, weights), weights, stage.permille)
    sealed = seal(stage, spec.guards)
    after = _move(
        look,
        Cause.SEAL,
        f"stage {stage.index + 1}/{len(ladder)} {stage.name}: {weights.desired} -> {to}; "
        f"{len(predicates)} predicates are fixed as {sealed}",
        reason="Shifting",
        shares=(weights.desired, to),
        stage=StageStatus(
            name=stage.name,
            index=stage.index,
            display=f"{stage.index + 1}/{len(ladder)} {stage.name}",
            weight=to,
            seal=sealed,
            entered_at=look.now,
        ),
        weights=weights.model_copy(update={"desired": to}),
        predicates=predicates,
        intent=Intent(action="Shift", at=look.now, to=to, routes=routes),
    )
    return Step(after, writes(look, routes, weights, _fence(look, after), status.revert))


def next_stage(spec: PlanSpec, status: Status) -> Stage:
    """The stage to shift to: the one after the last that was verified."""
    ladder, stage = spec.ladder(), current_stage(spec, status)
    if stage is None or status.stage is None:
        return ladder[0]
    return stage if status.stage.verified_at is None else ladder[min(stage.index + 1, len(ladder) - 1)]


def _proved(look: Look, spec: PlanSpec) -> Status:
    status, items = look.status, in_force(spec, look.status, look.source)
    at, stage = status.stage, current_stage(spec, status)
    assert at is not None and stage is not None
    words = f"{stage.name} is proved at {at.weight} after {span(at.verified_at, look.now)}"
    if stage.index + 1 < len(spec.ladder()):
        return _move(look, Cause.PROVED, words, reason="Shifting", evidence=items)
    until = max(look.now + spec.bake, (at.verified_at or look.now) + spec.traffic.drain)
    baking = at.model_copy(update={"soak_until": until, "deadline_at": None})
    words += f"; all traffic is on {status.weights.new}, the guards stay on for {span(look.now, until)}"
    return _move(look, Cause.PROVED_LAST, words, reason="Baking", evidence=items, stage=baking)


def _baked(look: Look) -> Status:
    spec, status = look.plan.spec, look.status
    items = in_force(spec, status, look.source) if spec else ()
    words = f"{status.weights.new} serves {status.weights.desired} of the traffic; {status.weights.old} has none left"
    return _move(look, Cause.BAKED, words, reason="Succeeded", evidence=items)


# ---- rung 11: nothing; when to look again --------------------------------------------------------------------------------


def _wake(look: Look) -> datetime | None:
    """The next instant at which any rung could say something else; None where only a person or a watch can bring that."""
    status, spec, at = look.status, look.plan.spec, look.status.stage
    if spec is None or status.phase not in MOVED:
        return look.plan.deleting + LET_GO_AFTER if look.plan.deleting and look.plan.finalizer else None
    instants = [ask_at(item, spec, look.ledger) for item in in_force(spec, status, look.source)]
    if at is not None and status.phase in (Phase.JUDGING, Phase.BAKING):
        instants += [instant for instant in (at.soak_until, at.deadline_at) if instant is not None]
    if look.new is not None and look.new.short_since is not None:
        instants.append(look.new.short_since + spec.availability.grace)
    if status.held is not None and status.held.reason == "Blind" and spec.on_blind.after:
        instants.append(status.held.since + spec.on_blind.after)
    return min((instant for instant in instants if instant > look.now), default=None)


def _published(look: Look) -> Status:
    """The status with the verdicts as they stand, when they changed and were not written a moment ago."""
    status = look.status
    if status.phase not in MOVED or not status.predicates:
        return status
    now, last = measured(look, status), last_measured(status.predicates)
    if unmeasured(now) == unmeasured(status.predicates) or (last and look.now < last + PUBLISH_EVERY):
        return status
    return reported(look, status.model_copy(update={"predicates": now}))


LADDER: tuple[Rung, ...] = (
    _unfinished_restore,
    _deletion,
    _inconsistent,
    _superseded,
    _unavailable,
    _proved_against,
    _ended,
    _not_started,
    _unfinished_shift,
    _waiting,
    _deadline,
    _forward,
)
