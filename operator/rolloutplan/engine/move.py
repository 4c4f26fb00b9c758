"""One step along the table: the status it leads to, with its decision on the trail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from rolloutplan.engine.ask import InForce
from rolloutplan.engine.look import Look
from rolloutplan.engine.narrate import Said, Seen, decided, measured
from rolloutplan.engine.policy import soak_factor
from rolloutplan.engine.routes import route_patches
from rolloutplan.engine.step import PatchRoute, Step
from rolloutplan.engine.table import TABLE, Cause
from rolloutplan.engine.weights import share
from rolloutplan.plan.changes import RunChange, change, change_stage, change_task, change_weights
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.reasons import EventReason, HoldReason, Reason, StatusReason
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import RUNNING, TOKENS_KEPT, Held, Intent, Phase, StageStatus, Status, Weights

_GOES_ON_AS = {
    Phase.SHIFTING: StatusReason.SHIFTING,
    Phase.JUDGING: StatusReason.SOAKING,
    Phase.BAKING: StatusReason.BAKING,
    Phase.CONTRACTING: StatusReason.CONTRACTING,
}


def move(
    look: Look,
    cause: Cause,
    note: str,
    *,
    reason: Reason | None = None,
    why: str = "",
    evidence: Iterable[InForce] = (),
    shares: tuple[str, str] = ("", ""),
    said: Said | None = None,
    seen: Seen | None = None,
    **changes: Unpack[RunChange],
) -> Status:
    """The status one row further: phase, reason and message, what changes with it, and the decision on the trail.

    Without a `reason` the status goes on saying what it said.
    """
    row, before = TABLE[cause], look.status
    assert before.phase in row.sources, f"{cause} is no way on from {before.phase}"
    to = row.leads(before)
    new: RunChange = {"message": note, **changes}
    if to is not before.phase:
        new["entered_at"] = look.now
    if to not in RUNNING or to is Phase.REVERTING:
        new["locked_stages"], new["outline"] = (), ()
    if before.predicates and "predicates" not in new:
        new["predicates"] = measured(look, before)
    says = str(reason or before.reason)
    tokens = before.tokens if said is None else (*before.tokens, said.token)[-TOKENS_KEPT:]
    after = change(before, phase=to, reason=says, epoch=look.epoch, tokens=tokens, **new)
    return decided(look, after, cause, note, why=why, evidence=evidence, shares=shares, said=said, seen=seen)


def noted(
    look: Look,
    cause: Cause,
    note: str,
    evidence: Iterable[InForce] = (),
    *,
    said: Said | None = None,
    stage: StageStatus | None = None,
) -> Step:
    """A decision on the trail of a status that goes on saying what it said."""
    status = look.status
    kept: RunChange = {"message": status.message, "predicates": status.predicates, "stage": stage or status.stage}
    return Step(move(look, cause, note, evidence=evidence, said=said, **kept))


def back(
    look: Look,
    reason: Reason,
    note: str,
    evidence: Iterable[InForce] = (),
    *,
    said: Said | None = None,
    **changes: Unpack[RunChange],
) -> Step:
    """Put the snapshot back: the intent and the writes in one step, and the writes wait for nothing.

    Every route gets the new fence, also one that holds the snapshot already: a write that is still on its way from
    whoever decided before must not arrive.
    """
    weights = look.status.weights
    safe = format_weight(share(weights.snapshot, weights.old, weights.new))
    goes_back: RunChange = {
        **changes,
        "failed": note[:1024],
        "held": None,
        "intent": Intent(action="Restore", at=look.now, to=safe, routes=weights.snapshot),
        "weights": change_weights(weights, desired=safe),
    }
    status = move(
        look,
        Cause.REVERTED if look.status.phase is Phase.SUCCEEDED else Cause.FAILED,
        f"{note}; weights go back from {weights.desired} to {safe}",
        reason=reason,
        evidence=evidence,
        shares=(weights.desired, safe),
        said=said,
        **goes_back,
    )
    return Step(status, restores(look, status), urgent=True)


def restores(look: Look, status: Status) -> tuple[PatchRoute, ...]:
    """What is left to write of a rollback: weights, fence, and the breadcrumb taken away.

    The fence is that of the decision to go back: what is told later on the way makes no route wrong that is right.
    """
    started = (each.seq for each in reversed(status.decisions) if each.reason == EventReason.ROLLBACK_STARTED)
    mark = fence(look, status, next(started, status.seq))
    return route_patches(look, status.weights.snapshot, status.weights, mark, "", marks=True)


def hold(
    look: Look,
    reason: HoldReason,
    note: str,
    evidence: Iterable[InForce] = (),
    *,
    said: Said | None = None,
    **changes: Unpack[RunChange],
) -> Step:
    """Wait where it stands. A hold for another reason keeps the time since which it is held."""
    held = look.status.held if look.status.phase is Phase.HELD else None
    back_to = held.back_to if held else look.status.phase
    since = held.since if held else look.now
    waits: RunChange = {
        "stage": judged_anew(look),
        **changes,
        "held": Held(reason=reason, since=since, reason_since=look.now, back_to=back_to),
    }
    return Step(move(look, Cause.HELD, note, reason=reason, evidence=evidence, said=said, **waits))


def resumed(look: Look, held: Held, words: str, said: Said | None = None, /, **changes: Unpack[RunChange]) -> Status:
    """Go on where it was held, with every clock moved by the time held."""
    stage, task, pause = judged_anew(look), look.status.task, look.now - held.since
    if task is not None:
        task = change_task(task, deadline_at=task.deadline_at + pause)
    if stage is not None:
        soak, end = stage.soak_until, stage.deadline_at
        stage = change_stage(stage, soak_until=soak and soak + pause, deadline_at=end and end + pause)
    reason = _GOES_ON_AS.get(held.back_to, StatusReason.SOAKING)
    goes_on: RunChange = {"stage": stage, "task": task, **changes, "held": None}
    return move(look, Cause.RESUMED, words, reason=reason, said=said, **goes_on)


def judged_anew(look: Look) -> StageStatus | None:
    """The stage with windows that begin now, if its weights were in conflict until now.

    What was measured meanwhile was measured at another weight.
    """
    stage, held = look.status.stage, look.status.held
    if stage is None or held is None or held.reason != HoldReason.CONFLICT:
        return stage
    return change_stage(stage, judged_since=look.now, verified_at=stage.verified_at and look.now)


def clocks(look: Look, at: StageStatus, stage: Stage) -> StageStatus:
    """The stage with all its clocks begun now, as its weight is read back. Policies may lengthen its soak."""
    longer = (soak_factor(look.policies) - 1) * stage.soak
    return change_stage(
        at,
        judged_since=look.now,
        verified_at=look.now,
        soak_until=look.now + stage.soak + longer,
        deadline_at=look.now + stage.deadline + longer,
    )


def on_fail(look: Look, reason: StatusReason, note: str, evidence: Iterable[InForce] = ()) -> Step | None:
    """What the plan wants of a proved failure."""
    if look.plan.written is None or look.plan.written.on_fail == "Rollback":
        return back(look, reason, note, evidence)
    if look.status.held_for == HoldReason.FAILED:
        return None
    return hold(look, HoldReason.FAILED, f"{note}; onFail is Hold, so the weights stay", evidence, failed=note[:1024])


def fence(look: Look, status: Status, seq: int | None = None) -> str:
    """What a write of ours leaves on a route: plan, decision, leader. The next write tests that it still stands."""
    return f"{look.plan.uid[:8]}.{status.seq if seq is None else seq}.{look.epoch}"


def fenced(look: Look, mark: str) -> int:
    """The number of our decision that a route's fence names; 0 where it is not ours."""
    ours, _, rest = mark.partition(".")
    number = rest.partition(".")[0]
    return int(number) if ours == look.plan.uid[:8] and number.isdigit() else 0


def fresh(
    look: Look,
    cause: Cause,
    note: str,
    *,
    reason: StatusReason = StatusReason.PENDING,
    said: Said | None = None,
    **changes: Unpack[RunChange],
) -> Status:
    """Without anything of a run but its number and its trail, as every run begins."""
    clean: RunChange = {
        "stage": None,
        "weights": Weights(),
        "predicates": (),
        "failed": "",
        "held": None,
        "intent": None,
        "revert": "",
        "approved": "",
        "drifts": (),
        "counted_since": None,
        "templates": (),
        "task": None,
        "done": (),
        "sized": 0,
        **changes,
    }
    return move(look, cause, note, reason=reason, said=said, **clean)
