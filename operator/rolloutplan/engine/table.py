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
weight has moved is said and heals by itself (REFUSED, BLOCKED, HEALED). At the end the old is taken away, if the plan
says so (CONTRACT, CONTRACTED, FINISHED).

A person may end a run (FAILED, ABORTED, REVERTED), start it anew (RETRIED), pass over what is left to judge (SKIPPED,
PROMOTED), have it wait (PAUSED) and go on (RESUMED, TAKEN_UP, RELEASED). What cannot be done is answered
(DENIED).

The rules in `decide.py` pick the row; nothing else changes a phase.
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
    """From which phases, to which, as what decision, told under which Event reason and how loudly.

    A row without a decision changes nothing that a person could have wondered about.
    """

    sources: frozenset[Phase]
    to: Phase | Whither
    kind: Kind | None
    tells: EventReason | None
    because: str
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
    because: str,
    *,
    severity: Severity = Severity.NORMAL,
    loud: bool = False,
) -> Row:
    return Row(frozenset(sources), to, kind, tells, because, severity, loud)


P, E, S = Phase, EventReason, Severity
MOVED = frozenset({P.SHIFTING, P.JUDGING, P.HELD, P.BAKING})
"""Phases in which a weight may stand above the snapshot and nothing is yet on its way back."""

TABLE: Mapping[Cause, Row] = {
    Cause.START: _row(
        {P.PENDING}, P.EXPANDING, Kind.START, E.STARTED, "all that it names exists, and no other plan holds its routes"
    ),
    Cause.START_PROBING: _row(
        {P.PENDING}, P.PROBING, Kind.START, E.STARTED, "what it rests on is cheapest to know before anything is done"
    ),
    Cause.BELIEVED: _row(
        {P.PROBING}, P.PROBING, Kind.PERSIST, E.ASSUMPTION_TRUE, "what could have ended it cheaply has not"
    ),
    Cause.PROBED: _row({P.PROBING}, P.EXPANDING, None, None, "nothing is left to probe"),
    Cause.DISBELIEVED: _row(
        {P.PROBING},
        P.ROLLED_BACK,
        Kind.KILL,
        E.ASSUMPTION_FALSE,
        "what it rests on is not so; no weight was moved",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.EXPANDED: _row(
        {P.EXPANDING}, P.EXPANDING, Kind.EXPAND, E.EXPANDED, "the new is added beside the old, one thing after another"
    ),
    Cause.EXPAND_FAILED: _row(
        {P.EXPANDING},
        P.ROLLED_BACK,
        Kind.KILL,
        E.EXPAND_FAILED,
        "on half of what it needs nothing is tried",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.CONTRACT: _row(
        {P.BAKING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACT_STARTED, "nothing needs the old any more: it is taken away"
    ),
    Cause.CONTRACTED: _row(
        {P.CONTRACTING}, P.CONTRACTING, Kind.CONTRACT, E.CONTRACTED, "the old is taken away, one thing after another"
    ),
    Cause.FINISHED: _row({P.CONTRACTING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED, "nothing is left to take away"),
    Cause.READY: _row(
        {P.EXPANDING}, P.SHIFTING, Kind.EXPAND, E.NEW_SIDE_READY, "traffic goes only to a side that stands"
    ),
    Cause.NEVER_READY: _row(
        {P.EXPANDING},
        P.ROLLED_BACK,
        Kind.KILL,
        E.STALLED,
        "every wait ends; no weight was moved, so none is put back",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.CHANGED_EARLY: _row(
        {*STARTING}, P.PENDING, None, None, "what it waits for has changed, and no weight has moved yet"
    ),
    Cause.SEAL: _row(
        {P.SHIFTING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_STARTED, "what will judge a step is fixed before it is taken"
    ),
    Cause.VERIFIED: _row(
        {P.SHIFTING}, P.JUDGING, Kind.ADVANCE, E.WEIGHT_SHIFTED, "the clock of a stage starts when its weight is real"
    ),
    Cause.PROVED: _row(
        {P.JUDGING}, P.SHIFTING, Kind.ADVANCE, E.STAGE_PROVED, "the soak is over and nothing is left to show here"
    ),
    Cause.PROVED_LAST: _row(
        {P.JUDGING}, P.BAKING, Kind.ADVANCE, E.STAGE_PROVED, "no weight is left to take; the guards stay while it bakes"
    ),
    Cause.EXTENDED: _row(
        {P.JUDGING}, P.JUDGING, Kind.PERSIST, E.DEADLINE_EXTENDED, "the plan says that doubt buys time"
    ),
    Cause.FORESEEN: _row(
        {P.JUDGING},
        Whither.STAYS,
        Kind.PERSIST,
        E.STAGE_CANNOT_CONCLUDE,
        "who waits in vain shall know it early",
        severity=S.WARNING,
    ),
    Cause.ADAPTED: _row(
        {*MOVED, P.CONTRACTING}, Whither.STAYS, Kind.ADAPT, E.ADAPTED, "what has not had its turn may still be edited"
    ),
    Cause.ADAPTED_ON: _row(
        {P.BAKING}, P.SHIFTING, Kind.ADAPT, E.ADAPTED, "the ladder goes on above the weight that was the last"
    ),
    Cause.WARNED: _row(
        {P.JUDGING},
        Whither.STAYS,
        Kind.PERSIST,
        E.WARNED,
        "what is no reason to go back is one to take smaller steps",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.HELD: _row(
        {*MOVED, P.CONTRACTING},
        P.HELD,
        Kind.HOLD,
        E.HELD,
        "no cause to go back, no right to go on",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.RESUMED: _row(
        {P.HELD},
        Whither.WHERE_IT_WAS_HELD,
        Kind.RESUME,
        E.RESUMED,
        "what it waited for is over; time held does not count",
    ),
    Cause.FAILED: _row(
        {*MOVED, P.CONTRACTING, P.PENDING, P.INVALID},
        P.REVERTING,
        Kind.ROLLBACK,
        E.ROLLBACK_STARTED,
        "mitigate first: the snapshot goes back at once",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.RESTORED: _row(
        {P.REVERTING},
        P.ROLLED_BACK,
        Kind.ROLLBACK,
        E.ROLLED_BACK,
        "the routes hold the snapshot, to the number",
        severity=S.WARNING,
    ),
    Cause.BAKED: _row(
        {P.BAKING}, P.SUCCEEDED, Kind.FINISH, E.SUCCEEDED, "it stood at its last weight for its whole bake"
    ),
    Cause.AGAIN: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, None, None, "another plan or another workload is another hypothesis"
    ),
    Cause.REFUSED: _row(
        {*STARTING, P.PENDING, P.INVALID},
        P.INVALID,
        Kind.HOLD,
        E.STALLED,
        "it names what is not there or not right",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.BLOCKED: _row(
        {*STARTING, P.PENDING, P.INVALID},
        P.PENDING,
        Kind.HOLD,
        E.STALLED,
        "it must wait its turn, and says for whom",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.HEALED: _row({P.INVALID}, P.PENDING, None, None, "what was wrong is mended"),
    Cause.LOST: _row(
        {*RUNNING},
        P.INVALID,
        Kind.HOLD,
        E.STALLED,
        "a status that contradicts itself is no ground to act on",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.DRIFTED: _row(
        {*MOVED},
        Whither.STAYS,
        Kind.PERSIST,
        E.WEIGHT_DRIFT,
        "what is judged must be what is asked, and nothing more",
        loud=True,
    ),
    Cause.ABORTED: _row(
        {*STARTING, P.PENDING, P.INVALID},
        P.ROLLED_BACK,
        Kind.KILL,
        E.ABORTED,
        "a person said so, before any weight",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.REVERTED: _row(
        {P.SUCCEEDED},
        P.REVERTING,
        Kind.ROLLBACK,
        E.ROLLBACK_STARTED,
        "a person said so, and the way back is known",
        severity=S.WARNING,
        loud=True,
    ),
    Cause.RETRIED: _row(
        {P.SUCCEEDED, P.ROLLED_BACK}, P.PENDING, Kind.START, E.RETRIED, "a person wants the same hypothesis tried again"
    ),
    Cause.SKIPPED: _row(
        {P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.STAGE_SKIPPED, "a person answers for what was not proved"
    ),
    Cause.PROMOTED: _row(
        {P.SHIFTING, P.JUDGING, P.HELD}, P.SHIFTING, Kind.ADVANCE, E.PROMOTED, "a person answers for the stages between"
    ),
    Cause.TAKEN_UP: _row(
        {P.HELD}, P.SHIFTING, Kind.RESUME, E.RESUMED, "a person says go on: the stage is asked for and judged anew"
    ),
    Cause.RELEASED: _row(
        {*MOVED, P.PENDING, P.INVALID, P.ROLLED_BACK},
        Whither.STAYS,
        Kind.RESUME,
        E.RESUMED,
        "a person takes the pause back",
    ),
    Cause.PAUSED: _row(
        {*MOVED},
        Whither.STAYS,
        Kind.HOLD,
        E.PAUSED,
        "a person said so; what is half done is finished",
        severity=S.WARNING,
    ),
    Cause.DENIED: _row(
        {*P},
        Whither.STAYS,
        Kind.HOLD,
        E.COMMAND_REJECTED,
        "it cannot be done now, and whoever asked must know",
        severity=S.WARNING,
    ),
}


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
