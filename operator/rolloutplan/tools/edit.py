"""What an edit of a plan would do: which fields change, and what that means for its run. Pure functions.

The rules are those of the operator: engine/rules/adapt.py, rollback.py and start.py, and engine/policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.printable import printable
from rolloutplan.api.shown import shown
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import changes, spec_digest
from rolloutplan.api.status import RUNNING, STARTING, Phase, Status
from rolloutplan.api.traffic import RouteRef
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.policy.demands import demands_approval
from rolloutplan.engine.policy.policies import longest_freeze, unreadable_policy
from rolloutplan.engine.rules.adapt import is_live

_ABSENT: Final = object()


class Difference(NamedTuple):
    """A field that changes; None where it is not there."""

    path: str
    before: Any
    after: Any

    @property
    def words(self) -> str:
        if self.before is None:
            return f"{self.path}: {shown(self.after)} is added"
        if self.after is None:
            return f"{self.path}: {shown(self.before)} is removed"
        return f"{self.path}: {shown(self.before)} becomes {shown(self.after)}"


def differences(before: Any, after: Any, path: str) -> Iterator[Difference]:
    """The fields in which two values differ. Entries of lists are told by their names, where all have one."""
    if before == after:
        return
    old, new = _fields(before), _fields(after)
    if old is None or new is None or isinstance(before, list) != isinstance(after, list):
        yield Difference(path, None if before is _ABSENT else before, None if after is _ABSENT else after)
        return
    named = isinstance(before, list)
    for key in {**old, **new}:
        at = f"{path}[{key}]" if named else f"{path}.{key}"
        yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), at)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """The parts of a map, or of a list whose entries all have a name of their own; None of anything else."""
    if isinstance(value, Mapping):
        return value
    names = [safe_get.text(each, "name") for each in value] if isinstance(value, list) else []
    return dict(zip(names, value, strict=True)) if names and all(names) and len({*names}) == len(names) else None


def merge_patch(before: Any, after: Any) -> Any:
    """What a JSON merge patch must say to make one value of the other."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    gone = dict.fromkeys(before.keys() - after.keys())
    changed = {key: merge_patch(before.get(key), value) for key, value in after.items() if before.get(key) != value}
    return {**gone, **changed}


# ---- the run ---------------------------------------------------------------------------------------------------------


def locked_stages(status: Status, before: PlanSpec, after: PlanSpec) -> list[str]:
    """The stages that have started in the run and that the edit changes: the API server refuses it."""
    return [name for i, name in enumerate(status.locked_stages) if before.stages[i : i + 1] != after.stages[i : i + 1]]


@dataclass(frozen=True, slots=True)
class RunEffect:
    """What becomes of the run, in words; `begins`: another one follows."""

    words: str
    begins: bool


def run_effect(status: Status, spec: PlanSpec) -> RunEffect:
    """What a plan with this spec does to the run in its status."""
    run, again = status.run, spec.plan_hash() != status.plan_hash
    old, new = spec.titles
    begins = f"run {run + 1} begins: {old} -> {new} in {len(spec.steps())} stages"
    if status.phase in (Phase.PENDING, Phase.INVALID):
        return RunEffect(f"{begins}, as soon as nothing stands against it", begins=True)
    if not again:
        on = "goes on as it is" if status.phase in RUNNING else "is over, and none follows"
        return RunEffect(f"its meaning stays the same: run {run} {on}", begins=False)
    if status.phase not in RUNNING:
        return RunEffect(begins, begins=True)
    if status.phase in STARTING:
        return RunEffect(f"run {run} has moved no weight yet, and begins again with the edit", begins=True)
    if status.phase is not Phase.ROLLING_BACK and is_live(status, spec):
        return RunEffect(f"run {run} goes on with the edit (Adapt), which changes what has not started", begins=False)
    what = "; ".join(f"{part}: {words}" for part, words in changes(status.spec_digest, spec_digest(spec)).items())
    if status.phase in TRAFFIC_SHIFTED_PHASES:
        at = f" (now {status.weights.desired})" if status.weights.desired else ""
        words = f"run {run} is superseded: the old weights are restored first{at}, then {begins} ({what})"
        return RunEffect(words, begins=True)
    return RunEffect(f"run {run} comes to its end first ({status.phase}), then {begins} ({what})", begins=True)


# ---- what it waits for -----------------------------------------------------------------------------------------------


class Other(NamedTuple):
    """Another plan of the namespace."""

    name: str
    spec: PlanSpec
    status: Status


def conflicts(spec: PlanSpec, others: Iterable[Other]) -> Iterator[str]:
    """The other plans that move the same routes and have not ended: only one of them runs at a time."""
    for other in others:
        routes = [
            str(ref.written)
            for ref in spec.traffic.routes
            if any(_meet(ref, each) for each in other.spec.traffic.routes)
        ]
        ended = other.status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        if not routes or ended:
            continue
        moves = f"plan {other.name} moves {', '.join(routes)} too"
        if other.status.phase in RUNNING:
            yield f"{moves}, and this one waits for the end of its run {other.status.run} ({other.status.phase})"
        else:
            yield f"{moves}, and has not begun ({other.status.reason or other.status.phase}): one waits for the other"


def _meet(one: RouteRef, other: RouteRef) -> bool:
    """Whether both move a rule of one route. One that the operator owns has all rules of the route in Git."""
    if one.id != other.id:
        return one.written == other.written
    return not one.rules or not other.rules or bool({*one.rules} & {*other.rules})


def held_by(policies: Sequence[PolicyView], spec: PlanSpec, unmet: str, now: datetime) -> Iterator[str]:
    """What policies in force hold the run for; `unmet` is a demand that the plan does not meet, as text."""
    if words := unreadable_policy(policies):
        yield words
    if freeze := longest_freeze(policies, now):
        yield f"no weight rises: {freeze.words}"
    if unmet:
        yield f"no weight rises: {unmet}"
    asked: dict[str, list[str]] = {}
    for step in spec.steps():
        if policy := demands_approval(policies, spec, step.name):
            asked.setdefault(policy, []).append(step.name)
    for policy, names in asked.items():
        yield f"policy {policy} asks for a person's approval before {', '.join(names)}"


def lines(effects: Iterable[str]) -> list[str]:
    """Effects as they may be shown: each on one line."""
    return [" ".join(printable(each).split()) for each in effects]
