"""Words that several views have: texts of others, ages, and the commands with which a person goes on.

What an object contains was written by others: it is shown on one line, without what a terminal would obey.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic.alias_generators import to_camel
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.command import Verb
from rolloutplan.api.printable import line
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.status import HANDED_BACK, ROUTES_OWNED, RUNNING, Kind, Phase, Status

STYLES: Final = {
    Phase.SUCCEEDED: "bold green",
    Phase.HELD: "bold yellow",
    Phase.ROLLING_BACK: "bold red",
    Phase.ROLLED_BACK: "bold red",
    Phase.INVALID: "bold red",
}
"""How a phase is shown; any other is under way."""
UNDER_WAY: Final = "cyan"
KINDS: Final = {Kind.ROLLBACK: "red", Kind.KILL: "red", Kind.HOLD: "yellow", Kind.FINISH: "green"}
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_ENOUGH: Final = 2
"""Of a unit, so many are shown in it, as kubectl does: 119s, 2m."""
_VERB: Final = re.compile(f"`({'|'.join(Verb)})`")
_SEAL: Final = re.compile(r"--seal ([0-9A-Za-z]+)")


class Need(StrEnum):
    """Who has to do something about a plan, the most pressing first."""

    DECISION = "a person decides how a run goes on"
    FIX = "a person repairs what the plan names, or the plan"
    NEXT = "the run was rolled back: a person writes the next version"
    HOLD = "it waits, and goes on by itself"
    NOTHING = "it is under way"
    LATER = "it has not begun"
    DONE = "it has succeeded"


def unreadable(status: Status) -> str:
    """What of a status cannot be read, and so is missing in a view; "" where all can."""
    fields = ", ".join(map(to_camel, status.damaged))
    return f"cannot be read: {fields} (another version?)" if fields else ""


def of_owned_routes(status: Status) -> str:
    """What the operator says of the routes that it owns; "" where there is nothing to say."""
    condition = status.condition(ROUTES_OWNED)
    return line(condition.message) if condition else ""


def phase_text(raw: object) -> Text:
    """The phase of a plan, in its colour."""
    phase = line(safe_get.text(raw, "status", "phase")) or str(Phase.PENDING)
    return Text(phase, STYLES.get(phase, UNDER_WAY))  # type: ignore[call-overload]  # a phase is its text


def duration(passed: timedelta) -> str:
    """A time in one unit: 90s, 12m, 5h, 3d."""
    seconds = max(int(passed.total_seconds()), 0)
    unit, of = next(((unit, of) for unit, of in _UNITS if seconds >= _ENOUGH * of), _UNITS[-1])
    return f"{seconds // of}{unit}"


def age(since: datetime | None, now: datetime) -> str:
    return duration(now - since) if since else ""


def need_of(raw: object) -> Need:
    """Who has to do something about a plan."""
    phase = safe_get.text(raw, "status", "phase")
    match phase:
        case Phase.HELD:
            return Need.DECISION if _verbs(raw) else Need.HOLD
        case Phase.ROLLED_BACK:
            return Need.NEXT
        case Phase.INVALID:
            return Need.FIX
    if is_stalled(raw):
        return Need.FIX
    return {Phase.SUCCEEDED: Need.DONE, Phase.PENDING: Need.LATER, "": Need.LATER}.get(phase, Need.NOTHING)


def is_stalled(raw: object) -> bool:
    """Whether the operator says that the plan does not go on without a person or a commit."""
    conditions = safe_get.items(raw, "status", "conditions")
    return any(safe_get.text(c, "type") == "Stalled" and safe_get.text(c, "status") == "True" for c in conditions)


def is_handed_back(raw: object) -> bool:
    """Whether the route in Git has the traffic again that the operator's own had: no command puts weights back."""
    conditions = safe_get.items(raw, "status", "conditions")
    return any(safe_get.text(each, "reason") == HANDED_BACK for each in conditions)


def next_commands(raw: object) -> Sequence[str]:
    """The commands with which a person may go on, as they are typed. The operator names the verbs in `waitingFor`."""
    return [command(verb, raw, _seal(raw) if verb == Verb.APPROVE else "") for verb in _verbs(raw)]


def command(verb: str, raw: object, options: str = "") -> str:
    """A command to a plan, to be copied; the reason is left to the person."""
    return f'rolloutplan {verb} {_where(raw)}{options} --reason "..."'


def edit_command(raw: object) -> str:
    """The command with which a person edits the plan."""
    return f"kubectl edit rp {_where(raw)}"


def undo_commands(raw: object) -> Mapping[str, str]:
    """What restores the old weights, by what it is called: `undo` by the operator, `by hand` without it."""
    phase, found = safe_get.text(raw, "status", "phase"), dict[str, str]()
    moved = safe_get.text(raw, "status", "revert") and phase != Phase.ROLLED_BACK and not is_handed_back(raw)
    if phase in RUNNING - {Phase.ROLLING_BACK}:
        found["undo"] = command(Verb.ABORT, raw)
    elif moved and phase == Phase.SUCCEEDED:
        found["undo"] = command(Verb.REVERT, raw)
    return {**found, "by hand": f"rolloutplan undo {_where(raw)}"} if moved else found


def _where(raw: Any) -> str:
    """Which plan is meant. The namespace comes first: half of a command that was cut must not name a plan."""
    return f"-n {line(safe_get.text(raw, 'metadata', 'namespace'))} {line(safe_get.text(raw, 'metadata', 'name'))}"


def _verbs(raw: object) -> list[str]:
    if safe_get.text(raw, "status", "phase") == Phase.ROLLED_BACK:
        is_followed = safe_get.text(raw, "status", "reason") == StatusReason.SUPERSEDED
        return [] if is_followed else [Verb.RETRY]
    return list(dict.fromkeys(_VERB.findall(safe_get.text(raw, "status", "waitingFor"))))


def _seal(raw: object) -> str:
    found = _SEAL.search(safe_get.text(raw, "status", "waitingFor"))
    return f" --seal {found[1]}" if found else ""
