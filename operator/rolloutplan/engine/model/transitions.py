"""All legal transitions of a run, in one table, with the reason for each. Nothing else changes a phase.

`engine/run` applies a transition that a rule picks; the page of states is generated from the table.

Theory of operation. A run starts when everything that it needs exists (START). Its assumptions are checked before
anything is changed (START_PROBING, ASSUMPTION_TRUE, PROBING_DONE); a false one ends the run (ASSUMPTION_FALSE). Then
the tasks of `expand` are done (EXPANDED; EXPAND_FAILED ends the run), and the pods of the new side become ready
(READY).

Then, for each stage: the predicates are fixed and the weight is requested (START_STAGE), the weight is read back and
accepted (VERIFIED), the stage is judged and proved (PROVED, at the last stage PROVED_LAST). A bake with a control group
is below 100%, and one last step follows it (BAKED_BELOW_FULL). A warning halves the next increase (WARNED). A plan that
leaves a weight or the bake unguarded is reported (UNGUARDED). From every phase in which a weight may have changed there
is one rollback (FAILED, RESTORED), which needs only the route; where the pods are missing through no fault of their
version, it ends as a hold and the run is taken up again (WITHDRAWN, RESUMED). A run that may not go on and has no cause
to roll back is held (HELD, RESUMED). Weights that another writer changed are corrected (DRIFTED). A plan whose last
weight the routes hold already needs no run (ALREADY_DONE). Stages that have not started may be edited (ADAPTED;
ADAPTED_ON where the last weight is no longer the last). A metric source that is another than at the start is recorded
(SOURCE_CHANGED), and so is the loss of a place in a long hold (PLACE_LOST). A problem before any weight has changed is
reported, and the run goes on once it is fixed (REFUSED, BLOCKED, UNBLOCKED). A request that the API server refuses is
reported (REQUEST_REFUSED); where the first weight cannot be written, the run ends (SHIFT_REFUSED). After a success,
weights that somebody sets back are reported (SET_BACK, SET_FORWARD_AGAIN), and so is a change of the side that serves
(UNJUDGED_CHANGE). At the end the old side is removed, if the plan says so (CONTRACT, CONTRACTED, FINISHED).

A person may end a run (FAILED, ABORTED, REVERTED), start it again (RETRIED), skip stages (SKIPPED, PROMOTED), pause it
(PAUSED) and resume it (RESUMED, STAGE_RESTARTED, PAUSE_ENDED). A stage may be approved before its turn (APPROVED). A
run whose status was lost may be taken up (ADOPTED). A command that cannot be carried out is rejected
(COMMAND_REJECTED). An undo command that somebody else wrote into an annotation is put right and told (UNDO_RESTORED).

Where a run met a step that is undecided or refuted, what follows is a choice: it is taken up all the same (Persist),
edited (Adapt) or ended (Kill). Some rows have another kind of decision there.

A transition names the rules in `decide.py` that pick it; their docstrings say when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import RUNNING, STARTING, Decision, Kind, Phase, Status


class TransitionName(StrEnum):
    START = auto()
    START_PROBING = auto()
    ASSUMPTION_TRUE = auto()
    PROBING_DONE = auto()
    ASSUMPTION_FALSE = auto()
    EXPANDED = auto()
    EXPAND_FAILED = auto()
    CONTRACT = auto()
    CONTRACTED = auto()
    FINISHED = auto()
    READY = auto()
    NEVER_READY = auto()
    CHANGED_BEFORE_SHIFT = auto()
    START_STAGE = auto()
    VERIFIED = auto()
    PROVED = auto()
    PROVED_LAST = auto()
    EXTENDED = auto()
    SHIFT_REFUSED = auto()
    REQUEST_REFUSED = auto()
    STAGE_CANNOT_CONCLUDE = auto()
    UNGUARDED = auto()
    ADAPTED = auto()
    ADAPTED_ON = auto()
    SOURCE_CHANGED = auto()
    PLACE_LOST = auto()
    WARNED = auto()
    HELD = auto()
    RESUMED = auto()
    FAILED = auto()
    RESTORED = auto()
    WITHDRAWN = auto()
    BAKED_BELOW_FULL = auto()
    BAKED = auto()
    ALREADY_DONE = auto()
    SET_BACK = auto()
    SET_FORWARD_AGAIN = auto()
    UNJUDGED_CHANGE = auto()
    RUN_AGAIN = auto()
    REFUSED = auto()
    BLOCKED = auto()
    UNBLOCKED = auto()
    STATUS_LOST = auto()
    DRIFTED = auto()
    ABORTED = auto()
    REVERTED = auto()
    RETRIED = auto()
    SKIPPED = auto()
    PROMOTED = auto()
    STAGE_RESTARTED = auto()
    PAUSE_ENDED = auto()
    PAUSED = auto()
    APPROVED = auto()
    ADOPTED = auto()
    COMMAND_REJECTED = auto()
    UNDO_RESTORED = auto()


class Target(StrEnum):
    """The target of a transition without a fixed target phase."""

    STAYS = auto()
    WHERE_IT_WAS_HELD = auto()


class Severity(StrEnum):
    """The type of a decision's Event."""

    NORMAL = "Normal"
    WARNING = "Warning"
    """A person should check it."""


@dataclass(frozen=True, slots=True)
class Transition:
    """Source phases, target, kind of decision, Event reason, rationale, rules, severity and log level.

    A row without a kind records no decision: it changes nothing that a person needs to know.
    """

    sources: frozenset[Phase]
    to: Phase | Target
    kind: Kind | None
    event_reason: EventReason | None
    rationale: str
    by: tuple[str, ...]
    """The rules of `decide.py` that pick it, by name, in their order. They define when."""
    severity: Severity
    loud: bool
    """Whether its line in the operator's own log is a warning."""
    choice: Kind | None = None
    """The kind of its decision where the run had met an undecided or refuted step; None where it is no choice."""

    def target_phase(self, status: Status) -> Phase:
        """The target phase from this status."""
        match self.to:
            case Target.STAYS:
                return status.phase
            case Target.WHERE_IT_WAS_HELD:
                return status.held.back_to if status.held else Phase.PENDING
            case Phase():
                return self.to


def _row(
    sources: set[Phase],
    to: Phase | Target,
    kind: Kind | None,
    event_reason: EventReason | None,
    *,
    by: tuple[str, ...],
    rationale: str,
    severity: Severity = Severity.NORMAL,
    loud: bool = False,
    choice: Kind | None = None,
) -> Transition:
    return Transition(frozenset(sources), to, kind, event_reason, rationale, by, severity, loud, choice)


P, E, S = Phase, EventReason, Severity
TRAFFIC_SHIFTED_PHASES = frozenset({P.SHIFTING, P.JUDGING, P.HELD, P.BAKING})
"""Phases in which a weight may be above the snapshot and no rollback has begun."""

# fmt: off
TRANSITIONS: Mapping[TransitionName, Transition] = {
    TransitionName.START: _row(
        {P.PENDING}, P.EXPANDING, Kind.START, E.STARTED,
        by=("begin_run",), rationale="everything that the plan names exists, and no other plan holds its routes",
    ),
    TransitionName.START_PROBING: _row(
        {P.PENDING}, P.PROBING, Kind.START, E.STARTED,
        by=("begin_run",), rationale="assumptions are checked before anything is changed",
    ),
    TransitionName.ASSUMPTION_TRUE: _row(
        {P.PROBING}, P.PROBING, Kind.PERSIST, E.ASSUMPTION_TRUE,
        by=("run_probe",), rationale="the assumption is true, so the run goes on",
    ),
    TransitionName.PROBING_DONE: _row(
        {P.PROBING}, P.EXPANDING, None, None,
        by=("finish_probing",), rationale="no assumption is left to check",
    ),
    TransitionName.ASSUMPTION_FALSE: _row(
        {P.PROBING}, P.ROLLED_BACK, Kind.KILL, E.ASSUMPTION_FALSE, severity=S.WARNING, loud=True,
        by=("run_probe",), rationale="an assumption is not proved; no weight was moved",
    ),
    TransitionName.EXPANDED: _row(
        {P.EXPANDING}, P.EXPANDING, Kind.EXPAND, E.EXPANDED,
        by=("run_expand_task",), rationale="the new side is added next to the old, one task after another",
    ),
    TransitionName.EXPAND_FAILED: _row(
        {P.EXPANDING}, P.ROLLED_BACK, Kind.KILL, E.EXPAND_FAILED, severity=S.WARNING, loud=True,
        by=("run_expand_task",), rationale="a task before the first weight failed; no weight was moved",
    ),
    TransitionName.CONTRACT: _row(
        {P.JUDGING, P.BAKING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACT_STARTED,
        by=("finish_bake", "pass_stage"), rationale="the bake is over, so the old side is removed",
    ),
    TransitionName.CONTRACTED: _row(
        {P.CONTRACTING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACTED,
        by=("run_contract_task",), rationale="the old side is removed, one task after another",
    ),
    TransitionName.FINISHED: _row(
        {P.CONTRACTING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED,
        by=("finish_contract",), rationale="nothing of the old side is left to remove",
    ),
    TransitionName.READY: _row(
        {P.EXPANDING}, P.SHIFTING, Kind.EXPAND, E.NEW_SIDE_READY,
        by=("new_side_ready",), rationale="traffic goes only to a side whose pods are ready",
    ),
    TransitionName.NEVER_READY: _row(
        {P.EXPANDING}, P.ROLLED_BACK, Kind.KILL, E.STALLED, severity=S.WARNING, loud=True,
        by=("new_side_late",),
        rationale="the pods were not ready within readyWithin; no weight was moved",
    ),
    TransitionName.CHANGED_BEFORE_SHIFT: _row(
        {*STARTING}, P.PENDING, None, None,
        by=("superseded",), rationale="the plan changed before any weight moved, so the run starts again",
    ),
    TransitionName.START_STAGE: _row(
        {P.SHIFTING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_STARTED,
        by=("begin_stage",), rationale="the predicates of a step are fixed before its weight moves",
    ),
    TransitionName.VERIFIED: _row(
        {P.SHIFTING}, P.JUDGING, Kind.ADVANCE, E.WEIGHT_SHIFTED,
        by=("resume_shift",), rationale="the soak starts when the weight is read back and accepted",
    ),
    TransitionName.PROVED: _row(
        {P.JUDGING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_PROVED,
        by=("pass_stage",), rationale="the soak is over and every pass predicate is proved",
    ),
    TransitionName.PROVED_LAST: _row(
        {P.JUDGING}, P.BAKING, Kind.ADVANCE, E.STAGE_PROVED,
        by=("pass_stage",), rationale="this is the last weight; the guards stay on during the bake",
    ),
    TransitionName.EXTENDED: _row(
        {P.JUDGING, P.BAKING}, Target.STAYS, Kind.PERSIST, E.DEADLINE_EXTENDED, choice=Kind.PERSIST,
        by=("end_at_deadline", "end_at_bake_deadline"), rationale="onUndecided is Extend",
    ),
    TransitionName.SHIFT_REFUSED: _row(
        {P.SHIFTING}, P.ROLLED_BACK, Kind.KILL, E.SHIFT_REFUSED, severity=S.WARNING, loud=True,
        by=("shift_refused",), rationale="the first weight was refused; no weight was moved",
    ),
    TransitionName.REQUEST_REFUSED: _row(
        {*P}, Target.STAYS, Kind.PERSIST, E.REQUEST_REFUSED, severity=S.WARNING, loud=True,
        by=("report_refusal",), rationale="a person must fix the cause of the refusal",
    ),
    TransitionName.STAGE_CANNOT_CONCLUDE: _row(
        {P.JUDGING}, Target.STAYS, Kind.PERSIST, E.STAGE_CANNOT_CONCLUDE, severity=S.WARNING,
        by=("forecast",), rationale="the stage cannot be decided before its deadline at this traffic",
    ),
    TransitionName.UNGUARDED: _row(
        {*STARTING, *TRAFFIC_SHIFTED_PHASES}, Target.STAYS, Kind.PERSIST, E.UNGUARDED, severity=S.WARNING,
        by=("report_unguarded",), rationale="a weight or a bake in which nothing can act looks like a good release",
    ),
    TransitionName.ADAPTED: _row(
        {*TRAFFIC_SHIFTED_PHASES, P.CONTRACTING}, Target.STAYS, Kind.ADAPT, E.ADAPTED, choice=Kind.ADAPT,
        by=("accept_edit",), rationale="stages that have not started may be edited",
    ),
    TransitionName.ADAPTED_ON: _row(
        {P.BAKING}, P.SHIFTING, Kind.ADAPT, E.ADAPTED, choice=Kind.ADAPT,
        by=("accept_edit",), rationale="the edit adds a weight above the last one",
    ),
    TransitionName.SOURCE_CHANGED: _row(
        {*STARTING, *TRAFFIC_SHIFTED_PHASES}, Target.STAYS, Kind.ADAPT, E.SOURCE_CHANGED,
        severity=S.WARNING, loud=True,
        by=("source_changed",), rationale="a run says whom it asks, and another source is no silent change of a check",
    ),
    TransitionName.PLACE_LOST: _row(
        {P.HELD}, Target.STAYS, Kind.PERSIST, E.PLACE_LOST,
        by=("release_place",), rationale="a run that waits for a person does not stop those of others",
    ),
    TransitionName.WARNED: _row(
        {P.JUDGING}, Target.STAYS, Kind.PERSIST, E.WARNED, severity=S.WARNING, loud=True,
        by=("warning_detected",), rationale="a warning halves the next increase and rolls nothing back",
    ),
    TransitionName.HELD: _row(
        {*TRAFFIC_SHIFTED_PHASES, P.CONTRACTING}, P.HELD, Kind.HOLD, E.HELD, severity=S.WARNING, loud=True,
        by=("handle_deletion", "other_commands", "hold_contract", "run_contract_task", "superseded",
            "new_side_unavailable", "failure_detected", "shift_timed_out", "correct_drift", "hold_run",
            "end_at_deadline", "end_at_bake_deadline"),
        rationale="the run must not go forward, and a rollback is not required",
    ),
    TransitionName.RESUMED: _row(
        {P.HELD}, Target.WHERE_IT_WAS_HELD, Kind.RESUME, E.RESUMED, choice=Kind.PERSIST,
        by=("other_commands", "resume_contract", "resume_run"),
        rationale="the reason for the hold is gone; time held does not count as soak",
    ),
    TransitionName.FAILED: _row(
        {*TRAFFIC_SHIFTED_PHASES, P.CONTRACTING, P.PENDING, P.INVALID}, P.ROLLING_BACK, Kind.ROLLBACK,
        E.ROLLBACK_STARTED,
        severity=S.WARNING, loud=True, choice=Kind.KILL,
        by=("handle_deletion", "abort_or_revert", "recover_interrupted_rollback", "superseded", "new_side_unavailable",
            "failure_detected", "shift_timed_out", "correct_drift", "hold_run", "end_at_deadline",
            "end_at_bake_deadline"),
        rationale="mitigate first: the old weights are restored at once",
    ),
    TransitionName.RESTORED: _row(
        {P.ROLLING_BACK}, P.ROLLED_BACK, Kind.ROLLBACK, E.ROLLED_BACK, severity=S.WARNING,
        by=("resume_rollback",), rationale="the routes hold the weights from before the run again",
    ),
    TransitionName.WITHDRAWN: _row(
        {P.ROLLING_BACK}, P.HELD, Kind.HOLD, E.HELD, severity=S.WARNING, loud=True,
        by=("resume_rollback",),
        rationale="the pods are missing for a reason that says nothing against their version",
    ),
    TransitionName.BAKED_BELOW_FULL: _row(
        {P.BAKING}, P.SHIFTING, Kind.ADVANCE, E.BAKED,
        by=("finish_bake",), rationale="the bake of the control group is over, so the new side gets the rest",
    ),
    TransitionName.BAKED: _row(
        {P.JUDGING, P.BAKING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED,
        by=("finish_bake", "pass_stage"), rationale="the bake is over, and no guard tripped",
    ),
    TransitionName.ALREADY_DONE: _row(
        {P.PENDING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED,
        by=("finish_without_run",), rationale="the routes hold the plan's last weight already, so no run is needed",
    ),
    TransitionName.SET_BACK: _row(
        {P.SUCCEEDED}, Target.STAYS, Kind.HOLD, E.WEIGHTS_SET_BACK, severity=S.WARNING, loud=True,
        by=("keep_end_state",), rationale="the routes no longer hold what the run promised",
    ),
    TransitionName.SET_FORWARD_AGAIN: _row(
        {P.SUCCEEDED}, Target.STAYS, Kind.RESUME, E.RESUMED,
        by=("keep_end_state",), rationale="the routes hold what the run promised again",
    ),
    TransitionName.UNJUDGED_CHANGE: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, Target.STAYS, Kind.PERSIST, E.UNJUDGED_CHANGE, severity=S.WARNING,
        by=("finished",), rationale="the side that serves was changed, and no run can judge that",
    ),
    TransitionName.RUN_AGAIN: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, None, None,
        by=("finished",), rationale="the plan or the pod template changed, which starts a new run",
    ),
    TransitionName.REFUSED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.INVALID, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("report_unmet_precondition", "run_probe", "run_expand_task"),
        rationale="the plan, or an object that it names, is missing or invalid",
    ),
    TransitionName.BLOCKED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.PENDING, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("other_commands", "report_unmet_precondition"),
        rationale="the plan waits for another plan, a policy or a person",
    ),
    TransitionName.UNBLOCKED: _row(
        {P.INVALID}, P.PENDING, None, None,
        by=("finish_without_run", "return_to_pending"), rationale="the problem is fixed",
    ),
    TransitionName.STATUS_LOST: _row(
        {*RUNNING}, P.INVALID, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("inconsistent",), rationale="the status contradicts itself, so the operator changes no weights",
    ),
    TransitionName.DRIFTED: _row(
        {*TRAFFIC_SHIFTED_PHASES}, Target.STAYS, Kind.PERSIST, E.WEIGHT_DRIFT, loud=True,
        by=("correct_drift",), rationale="verdicts are valid only at the requested weights",
    ),
    TransitionName.ABORTED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.ROLLED_BACK, Kind.KILL, E.ABORTED, severity=S.WARNING, loud=True,
        by=("abort_or_revert",), rationale="a person aborted the run before any weight moved",
    ),
    TransitionName.REVERTED: _row(
        {P.SUCCEEDED}, P.ROLLING_BACK, Kind.ROLLBACK, E.ROLLBACK_STARTED, severity=S.WARNING, loud=True,
        by=("abort_or_revert",), rationale="a person reverted the plan",
    ),
    TransitionName.RETRIED: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, Kind.START, E.RETRIED,
        by=("other_commands",), rationale="a person starts the same plan again",
    ),
    TransitionName.SKIPPED: _row(
        {P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.STAGE_SKIPPED, choice=Kind.PERSIST,
        by=("other_commands",), rationale="a person skips a stage that is not proved",
    ),
    TransitionName.PROMOTED: _row(
        {P.SHIFTING, P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.PROMOTED, choice=Kind.PERSIST,
        by=("other_commands",), rationale="a person skips the stages in between",
    ),
    TransitionName.STAGE_RESTARTED: _row(
        {P.HELD}, P.SHIFTING, Kind.RESUME, E.RESUMED,
        by=("other_commands",), rationale="a person resumes the run: its stage starts again",
    ),
    TransitionName.PAUSE_ENDED: _row(
        {*TRAFFIC_SHIFTED_PHASES, P.PENDING, P.INVALID, P.ROLLED_BACK}, Target.STAYS, Kind.RESUME, E.RESUMED,
        by=("other_commands",), rationale="a person ends the pause",
    ),
    TransitionName.PAUSED: _row(
        {*TRAFFIC_SHIFTED_PHASES}, Target.STAYS, Kind.HOLD, E.PAUSED, severity=S.WARNING,
        by=("other_commands",), rationale="a person pauses the run; a change under way is finished first",
    ),
    TransitionName.APPROVED: _row(
        {*STARTING, *TRAFFIC_SHIFTED_PHASES, P.CONTRACTING, P.PENDING, P.INVALID}, Target.STAYS, Kind.PERSIST,
        E.APPROVED,
        by=("other_commands",), rationale="an approval that names its stage is kept until that stage's turn",
    ),
    TransitionName.ADOPTED: _row(
        {P.PENDING, P.INVALID}, P.HELD, Kind.RESUME, E.ADOPTED,
        by=("other_commands",), rationale="a person takes up a run whose status was lost, at the weights as they are",
    ),
    TransitionName.COMMAND_REJECTED: _row(
        {*P}, Target.STAYS, Kind.HOLD, E.COMMAND_REJECTED, severity=S.WARNING,
        by=("abort_or_revert", "other_commands"), rationale="the command cannot be carried out now",
    ),
    TransitionName.UNDO_RESTORED: _row(
        {*P}, Target.STAYS, Kind.PERSIST, E.UNDO_RESTORED, severity=S.WARNING, loud=True,
        by=("tell_foreign_undo",), rationale="people on call may run what stands in the annotation",
    ),
}
# fmt: on


def severity_of(decision: Decision) -> Severity:
    """The type of the Event of a decision, recorded by this version or by another one."""
    return Severity.WARNING if all(row.severity is Severity.WARNING for row in _rows(decision)) else Severity.NORMAL


def is_loud(decision: Decision) -> bool:
    """Whether it is logged as a warning."""
    return any(row.loud for row in TRANSITIONS.values() if row.event_reason == decision.reason)


def _rows(decision: Decision) -> list[Transition]:
    """The rows with its reason; for a reason that the table does not have, those of its kind."""
    known = [row for row in TRANSITIONS.values() if row.event_reason == decision.reason]
    return known or [row for row in TRANSITIONS.values() if row.kind is decision.kind]
