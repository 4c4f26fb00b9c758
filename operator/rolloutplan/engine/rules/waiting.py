"""What a plan waits for, and until when, as one text: `status.waitingFor`. `decide` sets it with the conditions.

No state waits without saying for what. A wait without a time limit says that too, and who ends it. A command is named
only if it would be carried out now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from rolloutplan.api.command import Verb
from rolloutplan.api.reasons import HoldReason, StatusReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.analysis.stages import control_group, next_stage
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.policy.demands import CONTRACT
from rolloutplan.engine.policy.seal import seal_of
from rolloutplan.engine.rules.commands.answer import is_accepted
from rolloutplan.engine.rules.intents import verify_deadline

NO_LIMIT: Final = "no time limit"
_ENDED_BY: Final[Mapping[str, str]] = {
    HoldReason.INVALID: "an edit that makes the plan valid",
    HoldReason.CONFLICT: "the weights as they were written",
    HoldReason.METRICS_UNAVAILABLE: "answers of the metric source",
    HoldReason.INCIDENT: "the end of what both sides or an alert report",
    HoldReason.NOT_EFFECTIVE: "traffic that follows the weights",
    HoldReason.FROZEN: "the end of the freeze",
    HoldReason.BUDGET_SPENT: "an error budget that is large enough",
    HoldReason.NO_PLACE: "another plan to end",
    HoldReason.POLICY_NOT_MET: "an edit of the plan that meets the policy",
    HoldReason.CAPACITY: "ready pods of the new side",
    HoldReason.NEW_SIDE_AWAY: "available pods of the new side",
    HoldReason.OLD_SIDE_DOWN: "ready endpoints of the old side",
    HoldReason.OLD_SIDE_SHORT: "more ready pods of the old side",
    HoldReason.WRONG_ENDPOINTS: "a Service that sends to the pods of its side alone",
    HoldReason.ENDPOINTS_UNKNOWN: "the API server to tell the endpoints",
    HoldReason.NOT_GRANTED: "whoever runs the operator to allow it, or an edit of `contract`",
    HoldReason.OLD_SIDE_IN_USE: "the old Service to be taken out of what still uses it",
    HoldReason.WEIGHTS_NOT_COMMITTED: "the weights to be committed and applied",
    HoldReason.UNDECIDED: "a decision of the predicates",
    HoldReason.FAILED: "another version",
}
"""What ends a hold of each reason without a command."""
_COMMANDS: Final[Mapping[str, tuple[Verb, ...]]] = {
    HoldReason.CONFLICT: (Verb.RESUME,),
    HoldReason.PAUSED: (Verb.RESUME,),
    HoldReason.AWAITING_APPROVAL: (Verb.APPROVE,),
    HoldReason.WEIGHTS_NOT_COMMITTED: (Verb.APPROVE,),
    HoldReason.UNDECIDED: (Verb.RESUME, Verb.SKIP, Verb.ABORT),
    HoldReason.FAILED: (Verb.ABORT,),
    HoldReason.CONTRACT_FAILED: (Verb.RESUME, Verb.ABORT),
}
"""The commands that a person may send for it, where they would be carried out."""
_OTHERWISE: Final[Mapping[Phase, str]] = {
    Phase.PROBING: "the next assumption to be checked",
    Phase.EXPANDING: "the pods of the new side to be ready",
    Phase.SHIFTING: "the next increase to be checked and written",
    Phase.JUDGING: "the end of the soak, and all predicates to be decided",
    Phase.BAKING: "the end of the bake",
    Phase.CONTRACTING: "open connections to the old side to end",
    Phase.ROLLING_BACK: "the routes to hold the old weights",
}
"""What the other phases wait for."""


def waiting_for(snapshot: Snapshot, status: Status) -> str:
    """What a plan with this status waits for, and until when; empty where a run has ended."""
    until = _limit(snapshot, status)
    if status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        stops = status.task is not None and status.task.kind == "Stop"
        return f"its Jobs to be suspended, {until}" if stops else ""
    seal = _seal(snapshot, status)
    words = f" (--seal {seal})" if seal else ""
    return f"{_subject(snapshot, status, seal)}{words}{_control_group(snapshot, status)}, {until}"


def _control_group(snapshot: Snapshot, status: Status) -> str:
    """Why the bake is not at 100%, as text to append; empty where it is, and where another thing is waited for."""
    spec = snapshot.plan.spec
    words = control_group(spec, status) if spec is not None and status.phase is Phase.BAKING else ""
    return f" ({words})" if words else ""


def _seal(snapshot: Snapshot, status: Status) -> str:
    """The seal of what waits for approval; empty where nothing does."""
    spec = snapshot.plan.spec
    if status.held_for != HoldReason.AWAITING_APPROVAL or spec is None:
        return ""
    name = CONTRACT if status.effective_phase is Phase.CONTRACTING else next_stage(spec, status).name
    return seal_of(spec, name)


def _lacks_pods(snapshot: Snapshot, status: Status) -> bool:
    """Whether a run goes no further for want of a list of the new side's pods, which has failed for some time."""
    going = status.phase in (Phase.SHIFTING, Phase.JUDGING, Phase.BAKING) and status.intent is None
    return going and any(each.kind == "pods" and each.is_due(snapshot.now) for each in snapshot.refusals)


def _subject(snapshot: Snapshot, status: Status, seal: str) -> str:
    if _lacks_pods(snapshot, status):
        return "the API server to list the new side's pods"
    match status.phase:
        case Phase.INVALID:
            return f"a fix of what the message says ({status.reason})"
        case Phase.PENDING:
            return _before_the_start(snapshot, status)
        case Phase.HELD:
            return _end_of(snapshot, status, status.held_for, seal)
        case Phase.SHIFTING | Phase.ROLLING_BACK if status.intent is not None:
            return f"the routes to hold {status.intent.to} and their gateway to accept it"
        case Phase.PROBING | Phase.EXPANDING | Phase.CONTRACTING if status.task is not None:
            what = f"Job {status.task.job}" if status.task.job else f"task {status.task.name}"
            return (
                f"other Jobs to end, to create {what}" if status.reason == StatusReason.JOB_WAITS else f"{what} to end"
            )
    return _OTHERWISE[status.phase]


def _before_the_start(snapshot: Snapshot, status: Status) -> str:
    if status.paused is not None:
        return _end_of(snapshot, status, HoldReason.PAUSED)
    if status.reason in (StatusReason.WAITING, HoldReason.CONFLICT):
        return "another plan to end"
    known = status.reason in _ENDED_BY or status.reason in _COMMANDS
    return _end_of(snapshot, status, status.reason) if known else "the checks before the start"


def _end_of(snapshot: Snapshot, status: Status, reason: str, seal: str = "") -> str:
    """What ends a wait with this reason: by itself, or by the commands that would be carried out."""
    now = replace(snapshot, status=status)
    verbs = [f"`{verb}`" for verb in _COMMANDS.get(reason, ()) if is_accepted(now, verb, seal)]
    by_itself = _ENDED_BY.get(reason, "")
    if reason == HoldReason.UNDECIDED and status.effective_phase is Phase.BAKING:
        by_itself = "a verdict of the guards"
    typed = " or ".join(filter(None, (", ".join(verbs[:-1]), *verbs[-1:])))
    by_a_person = f"{typed} by a person" if typed else ""
    return ", or ".join(filter(None, (by_itself, by_a_person))) or f"the end of {reason or 'the hold'}"


def _limit(snapshot: Snapshot, status: Status) -> str:
    at = _until(snapshot, status)
    return f"until {at:%Y-%m-%dT%H:%M:%SZ}" if at is not None else NO_LIMIT


def _until(snapshot: Snapshot, status: Status) -> datetime | None:
    """The time limit of the wait; None where it has none."""
    if _lacks_pods(snapshot, status):
        return None
    spec, stage, entered = snapshot.plan.written, status.stage, status.entered_at or snapshot.plan.created
    match status.phase:
        case Phase.SHIFTING | Phase.ROLLING_BACK if status.intent is not None:
            decided = replace(snapshot, status=status)
            return verify_deadline(decided, status.intent) if status.phase is Phase.SHIFTING else None
        case Phase.JUDGING:
            return stage.deadline_at if stage else None
        case Phase.BAKING:
            return stage.soak_until if stage else None
        case Phase.HELD if status.held is not None and spec is not None:
            after = spec.on_metrics_unavailable.after
            blind = status.held_for == HoldReason.METRICS_UNAVAILABLE and after is not None
            return (status.held.reason_since or status.held.since) + after if blind and after else None
        case Phase.PROBING | Phase.EXPANDING | Phase.CONTRACTING | Phase.ROLLED_BACK if status.task is not None:
            return status.task.deadline_at
        case Phase.EXPANDING if spec is not None:
            return entered + spec.availability.ready_within
        case Phase.CONTRACTING if spec is not None:
            return (stage.verified_at if stage and stage.verified_at else entered) + spec.traffic.drain
    return None
