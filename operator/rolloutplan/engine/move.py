"""One step along the table: the status it leads to, with its decision on the trail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rolloutplan.engine.ask import InForce
from rolloutplan.engine.look import Look
from rolloutplan.engine.narrate import decided, measured
from rolloutplan.engine.routes import writes
from rolloutplan.engine.step import Step
from rolloutplan.engine.table import TABLE, Cause
from rolloutplan.engine.weights import share
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.status import Held, Intent, Phase, StageStatus, Status, Weights


def move(
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


def back(look: Look, reason: str, note: str, evidence: Iterable[InForce] = ()) -> Step:
    """Put the snapshot back: the intent and the writes in one step, and the writes wait for nothing."""
    weights = look.status.weights
    safe = format_weight(share(weights.snapshot, weights.old, weights.new))
    status = move(
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
    return Step(status, writes(look, weights.snapshot, weights, fence(look, status), ""), urgent=True)


def hold(look: Look, reason: str, note: str, evidence: Iterable[InForce] = (), **changes: Any) -> Step:
    """Wait where it stands. A hold for another reason keeps the time since which it is held."""
    held = look.status.held if look.status.phase is Phase.HELD else None
    back_to = held.back_to if held else look.status.phase
    since = held.since if held else look.now
    changes = {"stage": judged_anew(look), **changes}
    changes["held"] = Held(reason=reason, since=since, reason_since=look.now, back_to=back_to)
    return Step(move(look, Cause.HELD, note, reason=reason, evidence=evidence, **changes))


def judged_anew(look: Look) -> StageStatus | None:
    """The stage with windows that begin now, if its weights were in conflict until now.

    What was measured meanwhile was measured at another weight.
    """
    stage, held = look.status.stage, look.status.held
    if stage is None or held is None or held.reason != "Conflict":
        return stage
    return stage.model_copy(update={"judged_since": look.now, "verified_at": stage.verified_at and look.now})


def on_fail(look: Look, reason: str, note: str, evidence: Iterable[InForce] = ()) -> Step | None:
    """What the plan wants of a proved failure."""
    if look.plan.spec is None or look.plan.spec.on_fail == "Rollback":
        return back(look, reason, note, evidence)
    if look.status.phase is Phase.HELD and look.status.held and look.status.held.reason == "Failed":
        return None
    return hold(look, "Failed", f"{note}; onFail is Hold, so the weights stay", evidence, failed=note[:1024])


def fence(look: Look, status: Status) -> str:
    return f"{look.plan.uid[:8]}.{status.seq}"


def fresh(look: Look, cause: Cause, note: str, *, reason: str = "Pending", **changes: Any) -> Status:
    """Without anything of a run but its number and its trail, as every run begins."""
    clean: dict[str, Any] = {"stage": None, "weights": Weights(), "predicates": ()}
    clean |= {"failed": "", "held": None, "intent": None, "revert": ""}
    return move(look, cause, note, reason=reason, **clean, **changes)
