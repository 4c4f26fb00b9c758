"""All legal transitions of a run, in one table, with the reason for each.

Theory of operation. A run starts when everything it needs is there (START). What it assumes is probed before anything
else is done (START_PROBING, BELIEVED, PROBED), and ends it where it is false (DISBELIEVED). Then it waits for the new
side to be added (EXPANDED; EXPAND_FAILED ends it) and to stand (READY).

Stage by stage: the predicates are fixed and the weight is asked for (SEAL), it is read back and accepted
(VERIFIED), it is judged, and it is proved (PROVED, at the last stage PROVED_LAST) or not. What is only warned of is
told (WARNED), and the way to the next weight is taken in two steps. From every phase in which a weight may have moved
there is one way back (FAILED, RESTORED), which needs nothing but the route. A run that cannot go on and has no cause to
go back waits (HELD, RESUMED). Weights that somebody else moved are put right where it stands (DRIFTED). What has not
had its turn may be edited (ADAPTED; ADAPTED_ON where what was the last weight no longer is). What is wrong before any
weight has moved is said and heals by itself (REFUSED, BLOCKED, HEALED). A request that the API server refuses is told
(REQUEST_REFUSED); where it keeps the first weight from being written, the run ends (SHIFT_REFUSED). At the end the old
is taken away, if the plan says so (CONTRACT, CONTRACTED, FINISHED).

A person may end a run (FAILED, ABORTED, REVERTED), start it anew (RETRIED), pass over what is left to judge (SKIPPED,
PROMOTED), have it wait (PAUSED) and go on (RESUMED, TAKEN_UP, RELEASED). What cannot be done is answered
(DENIED).

A row names the rules that pick it: those of `decide.py`, which say when. Nothing else changes a phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from rolloutplan.plan.reasons import EventReason
from rolloutplan.plan.status import RUNNING, STARTING, Decision, Kind, Phase, Status


class Cause(StrEnum):
    START = auto()
    START_PROBING = auto()
    BELIEVED = auto()
    PROBED = auto()
    DISBELIEVED = auto()
    EXPANDED = auto()
    EXPAND_FAILED = auto()
    CONTRACT = auto()
    CONTRACTED = auto()
    FINISHED = auto()
    READY = auto()
    NEVER_READY = auto()
    CHANGED_EARLY = auto()
    SEAL = auto()
    VERIFIED = auto()
    PROVED = auto()
    PROVED_LAST = auto()
    EXTENDED = auto()
    SHIFT_REFUSED = auto()
    REQUEST_REFUSED = auto()
    FORESEEN = auto()
    ADAPTED = auto()
    ADAPTED_ON = auto()
    WARNED = auto()
    HELD = auto()
    RESUMED = auto()
    FAILED = auto()
    RESTORED = auto()
    BAKED = auto()
    AGAIN = auto()
    REFUSED = auto()
    BLOCKED = auto()
    HEALED = auto()
    LOST = auto()
    DRIFTED = auto()
    ABORTED = auto()
    REVERTED = auto()
    RETRIED = auto()
    SKIPPED = auto()
    PROMOTED = auto()
    TAKEN_UP = auto()
    RELEASED = auto()
    PAUSED = auto()
    DENIED = auto()


class Whither(StrEnum):
    """Where a row leads that leads to no phase of its own."""

    STAYS = auto()
    WHERE_IT_WAS_HELD = auto()


class Severity(StrEnum):
    """The type of a decision's Event."""

    NORMAL = "Normal"
    WARNING = "Warning"
    """A person should look at it."""


@dataclass(frozen=True, slots=True)
class Row:
    """From which phases, to which, as what decision, told under which Event reason and how loudly, by which rules.

    A row without a decision changes nothing that a person could have wondered about.
    """

    sources: frozenset[Phase]
    to: Phase | Whither
    kind: Kind | None
    tells: EventReason | None
    because: str
    by: tuple[str, ...]
    """The rules of `decide.py` that pick it, by name, in the order in which they are read. They say when."""
    severity: Severity
    loud: bool
    """Whether its line in the operator's own log is a warning."""

    def leads(self, status: Status) -> Phase:
        """The phase to which it leads from this status."""
        match self.to:
            case Whither.STAYS:
                return status.phase
            case Whither.WHERE_IT_WAS_HELD:
                return status.held.back_to if status.held else Phase.PENDING
            case Phase():
                return self.to


def _row(
    sources: set[Phase],
    to: Phase | Whither,
    kind: Kind | None,
    tells: EventReason | None,
    *,
    by: tuple[str, ...],
    because: str,
    severity: Severity = Severity.NORMAL,
    loud: bool = False,
) -> Row:
    return Row(frozenset(sources), to, kind, tells, because, by, severity, loud)


P, E, S = Phase, EventReason, Severity
MOVED = frozenset({P.SHIFTING, P.JUDGING, P.HELD, P.BAKING})
"""Phases in which a weight may stand above the snapshot and nothing is yet on its way back."""

# fmt: off
TABLE: Mapping[Cause, Row] = {
    Cause.START: _row(
        {P.PENDING}, P.EXPANDING, Kind.START, E.STARTED,
        by=("begin_run",), because="all that it names exists, and no other plan holds its routes",
    ),
    Cause.START_PROBING: _row(
        {P.PENDING}, P.PROBING, Kind.START, E.STARTED,
        by=("begin_run",), because="what it rests on is cheapest to know before anything is done",
    ),
    Cause.BELIEVED: _row(
        {P.PROBING}, P.PROBING, Kind.PERSIST, E.ASSUMPTION_TRUE,
        by=("probe",), because="what could have ended it cheaply has not",
    ),
    Cause.PROBED: _row(
        {P.PROBING}, P.EXPANDING, None, None,
        by=("all_true",), because="nothing is left to probe",
    ),
    Cause.DISBELIEVED: _row(
        {P.PROBING}, P.ROLLED_BACK, Kind.KILL, E.ASSUMPTION_FALSE, severity=S.WARNING, loud=True,
        by=("probe",), because="what it rests on is not so; no weight was moved",
    ),
    Cause.EXPANDED: _row(
        {P.EXPANDING}, P.EXPANDING, Kind.EXPAND, E.EXPANDED,
        by=("add",), because="the new is added beside the old, one thing after another",
    ),
    Cause.EXPAND_FAILED: _row(
        {P.EXPANDING}, P.ROLLED_BACK, Kind.KILL, E.EXPAND_FAILED, severity=S.WARNING, loud=True,
        by=("add",), because="on half of what it needs nothing is tried",
    ),
    Cause.CONTRACT: _row(
        {P.BAKING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACT_STARTED,
        by=("finish_bake",), because="nothing needs the old any more: it is taken away",
    ),
    Cause.CONTRACTED: _row(
        {P.CONTRACTING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACTED,
        by=("take_away",), because="the old is taken away, one thing after another",
    ),
    Cause.FINISHED: _row(
        {P.CONTRACTING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED,
        by=("finish_contract",), because="nothing is left to take away",
    ),
    Cause.READY: _row(
        {P.EXPANDING}, P.SHIFTING, Kind.EXPAND, E.NEW_SIDE_READY,
        by=("new_side_ready",), because="traffic goes only to a side that stands",
    ),
    Cause.NEVER_READY: _row(
        {P.EXPANDING}, P.ROLLED_BACK, Kind.KILL, E.STALLED, severity=S.WARNING, loud=True,
        by=("new_side_late",), because="every wait ends; no weight was moved, so none is put back",
    ),
    Cause.CHANGED_EARLY: _row(
        {*STARTING}, P.PENDING, None, None,
        by=("superseded",), because="what it waits for has changed, and no weight has moved yet",
    ),
    Cause.SEAL: _row(
        {P.SHIFTING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_STARTED,
        by=("begin_stage",), because="what will judge a step is fixed before it is taken",
    ),
    Cause.VERIFIED: _row(
        {P.SHIFTING}, P.JUDGING, Kind.ADVANCE, E.WEIGHT_SHIFTED,
        by=("resume_shift",), because="the clock of a stage starts when its weight is real",
    ),
    Cause.PROVED: _row(
        {P.JUDGING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_PROVED,
        by=("pass_stage",), because="the soak is over and nothing is left to show here",
    ),
    Cause.PROVED_LAST: _row(
        {P.JUDGING}, P.BAKING, Kind.ADVANCE, E.STAGE_PROVED,
        by=("pass_stage",), because="no weight is left to take; the guards stay while it bakes",
    ),
    Cause.EXTENDED: _row(
        {P.JUDGING}, P.JUDGING, Kind.PERSIST, E.DEADLINE_EXTENDED,
        by=("deadline",), because="the plan says that doubt buys time",
    ),
    Cause.SHIFT_REFUSED: _row(
        {P.SHIFTING}, P.ROLLED_BACK, Kind.KILL, E.SHIFT_REFUSED, severity=S.WARNING, loud=True,
        by=("shift_refused",), because="no weight was moved, so none is put back",
    ),
    Cause.REQUEST_REFUSED: _row(
        {*P}, Whither.STAYS, Kind.PERSIST, E.REQUEST_REFUSED, severity=S.WARNING, loud=True,
        by=("refusal_told",), because="somebody must mend what refuses it, and can only do so if told",
    ),
    Cause.FORESEEN: _row(
        {P.JUDGING}, Whither.STAYS, Kind.PERSIST, E.STAGE_CANNOT_CONCLUDE, severity=S.WARNING,
        by=("forecast",), because="who waits in vain shall know it early",
    ),
    Cause.ADAPTED: _row(
        {*MOVED, P.CONTRACTING}, Whither.STAYS, Kind.ADAPT, E.ADAPTED,
        by=("adapted",), because="what has not had its turn may still be edited",
    ),
    Cause.ADAPTED_ON: _row(
        {P.BAKING}, P.SHIFTING, Kind.ADAPT, E.ADAPTED,
        by=("adapted",), because="the ladder goes on above the weight that was the last",
    ),
    Cause.WARNED: _row(
        {P.JUDGING}, Whither.STAYS, Kind.PERSIST, E.WARNED, severity=S.WARNING, loud=True,
        by=("warning_detected",), because="what is no reason to go back is one to take smaller steps",
    ),
    Cause.HELD: _row(
        {*MOVED, P.CONTRACTING}, P.HELD, Kind.HOLD, E.HELD, severity=S.WARNING, loud=True,
        by=("other_commands", "hold_contract", "take_away", "unavailable",
            "failure_detected", "correct_drift", "hold_run", "deadline"),
        because="no cause to go back, no right to go on",
    ),
    Cause.RESUMED: _row(
        {P.HELD}, Whither.WHERE_IT_WAS_HELD, Kind.RESUME, E.RESUMED,
        by=("other_commands", "resume_contract", "resume_run"),
        because="what it waited for is over; time held does not count",
    ),
    Cause.FAILED: _row(
        {*MOVED, P.CONTRACTING, P.PENDING, P.INVALID}, P.REVERTING, Kind.ROLLBACK, E.ROLLBACK_STARTED,
        severity=S.WARNING, loud=True,
        by=("deletion", "abort_or_revert", "recover_interrupted_rollback", "superseded", "unavailable",
            "failure_detected", "shift_timed_out", "correct_drift", "hold_run", "deadline"),
        because="mitigate first: the snapshot goes back at once",
    ),
    Cause.RESTORED: _row(
        {P.REVERTING}, P.ROLLED_BACK, Kind.ROLLBACK, E.ROLLED_BACK, severity=S.WARNING,
        by=("resume_rollback",), because="the routes hold the snapshot, to the number",
    ),
    Cause.BAKED: _row(
        {P.BAKING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED,
        by=("finish_bake",), because="it stood at its last weight for its whole bake",
    ),
    Cause.AGAIN: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, None, None,
        by=("finished",), because="another plan or another workload is another hypothesis",
    ),
    Cause.REFUSED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.INVALID, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("obstructed", "probe", "add"), because="it names what is not there or not right",
    ),
    Cause.BLOCKED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.PENDING, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("other_commands", "obstructed"), because="it must wait its turn, and says for whom",
    ),
    Cause.HEALED: _row(
        {P.INVALID}, P.PENDING, None, None,
        by=("healed",), because="what was wrong is mended",
    ),
    Cause.LOST: _row(
        {*RUNNING}, P.INVALID, Kind.HOLD, E.STALLED, severity=S.WARNING, loud=True,
        by=("inconsistent",), because="a status that contradicts itself is no ground to act on",
    ),
    Cause.DRIFTED: _row(
        {*MOVED}, Whither.STAYS, Kind.PERSIST, E.WEIGHT_DRIFT, loud=True,
        by=("correct_drift",), because="what is judged must be what is asked, and nothing more",
    ),
    Cause.ABORTED: _row(
        {*STARTING, P.PENDING, P.INVALID}, P.ROLLED_BACK, Kind.KILL, E.ABORTED, severity=S.WARNING, loud=True,
        by=("abort_or_revert",), because="a person said so, before any weight",
    ),
    Cause.REVERTED: _row(
        {P.SUCCEEDED}, P.REVERTING, Kind.ROLLBACK, E.ROLLBACK_STARTED, severity=S.WARNING, loud=True,
        by=("abort_or_revert",), because="a person said so, and the way back is known",
    ),
    Cause.RETRIED: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, Kind.START, E.RETRIED,
        by=("other_commands",), because="a person wants the same hypothesis tried again",
    ),
    Cause.SKIPPED: _row(
        {P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.STAGE_SKIPPED,
        by=("other_commands",), because="a person answers for what was not proved",
    ),
    Cause.PROMOTED: _row(
        {P.SHIFTING, P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.PROMOTED,
        by=("other_commands",), because="a person answers for the stages between",
    ),
    Cause.TAKEN_UP: _row(
        {P.HELD}, P.SHIFTING, Kind.RESUME, E.RESUMED,
        by=("other_commands",), because="a person says go on: the stage is asked for and judged anew",
    ),
    Cause.RELEASED: _row(
        {*MOVED, P.PENDING, P.INVALID, P.ROLLED_BACK}, Whither.STAYS, Kind.RESUME, E.RESUMED,
        by=("other_commands",), because="a person takes the pause back",
    ),
    Cause.PAUSED: _row(
        {*MOVED}, Whither.STAYS, Kind.HOLD, E.PAUSED, severity=S.WARNING,
        by=("other_commands",), because="a person said so; what is half done is finished",
    ),
    Cause.DENIED: _row(
        {*P}, Whither.STAYS, Kind.HOLD, E.COMMAND_REJECTED, severity=S.WARNING,
        by=("abort_or_revert", "other_commands"), because="it cannot be done now, and whoever asked must know",
    ),
}
# fmt: on


def severity_of(decision: Decision) -> Severity:
    """The type of the Event of a decision that was recorded, by this version or by another one."""
    return Severity.WARNING if all(row.severity is Severity.WARNING for row in _rows(decision)) else Severity.NORMAL


def is_loud(decision: Decision) -> bool:
    """Whether the log says it as a warning."""
    return any(row.loud for row in TABLE.values() if row.tells == decision.reason)


def _rows(decision: Decision) -> list[Row]:
    """The rows under whose reason it was taken; of a reason that the table does not know, those of its kind."""
    known = [row for row in TABLE.values() if row.tells == decision.reason]
    return known or [row for row in TABLE.values() if row.kind is decision.kind]
