"""Which undo command must stand in the annotations of a plan and its routes, and where another one stands.

The annotations can be written by everybody who may patch the objects, so nothing is ever quoted from them: what the
operator shows as the undo command comes from the status. The facts come from the snapshot; engine/rules/undo.py puts
right what is found here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from rolloutplan.api.status import Phase, RouteWeights
from rolloutplan.engine.model.fence import read_fences
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.policy.lost_run import may_be_lost

OPERATOR = "rolloutplan "
"""How the text of a writer begins where it is the operator: `manager (operation) at time`."""
_NAME = "[a-z0-9][a-z0-9.-]{0,252}"
_SCALE_UP = re.compile(
    rf"kubectl scale deployment/(?P<name>{_NAME}) -n (?P<namespace>{_NAME}) --replicas=(?P<replicas>[0-9]{{1,9}}) && "
    rf"kubectl rollout status deployment/(?P=name) -n (?P=namespace) && "
)
_STARTS_LIKE_OURS = re.compile(rf"(?:kubectl scale deployment/{_NAME}|(?:{{ )?kubectl) -n {_NAME} ")
_AT_A_WEIGHT = TRAFFIC_SHIFTED_PHASES | {Phase.CONTRACTING}
_ENDED = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class ScaleUp:
    """The part of an undo command that scales the old side up again, before its weights go back."""

    namespace: str
    deployment: str
    replicas: int

    def __str__(self) -> str:
        where = f"deployment/{self.deployment} -n {self.namespace}"
        return f"kubectl scale {where} --replicas={self.replicas} && kubectl rollout status {where} && "


def read_scale_up(undo: str) -> ScaleUp | None:
    """The scaling with which an undo command begins; None where it begins otherwise."""
    found = _SCALE_UP.match(undo)
    return ScaleUp(found["namespace"], found["name"], int(found["replicas"])) if found else None


def is_foreign(text: str, by: str) -> bool:
    """Whether somebody else wrote this text into the annotation, as far as the object tells."""
    unsuspicious = not by or by.startswith(OPERATOR)
    return bool(text) and not (unsuspicious and _STARTS_LIKE_OURS.match(text))


def plan_undo(snapshot: Snapshot) -> str:
    """The undo command that must stand on the plan.

    While the status of a run may be lost, its annotation is all that is known. It stays if it is exactly a command
    that was built from the weights in it.
    """
    plan, status = snapshot.plan, snapshot.status
    if status.phase is Phase.ROLLED_BACK:
        return ""
    if status.revert or not may_be_lost(snapshot):
        return status.revert
    scale = read_scale_up(plan.undo_annotation)
    ours = scale is not None and scale.namespace == plan.namespace
    known = f"{scale if ours else ''}{snapshot.undo_command}"
    return plan.undo_annotation if plan.undo_annotation == known else snapshot.undo_command


def renewed_undo(snapshot: Snapshot) -> str | None:
    """The undo command of a run whose routes are not those for which it was built; None where it is right.

    Another plan may add to the same route, and its author may move rules. The annotations follow the status at the next
    look.
    """
    status = snapshot.status
    if status.phase not in _AT_A_WEIGHT or status.stage is None or status.intent is not None or not status.revert:
        return None
    command = snapshot.undo_after(status.weights.written)
    renewed = f"{read_scale_up(status.revert) or ''}{command}"
    return renewed if command and renewed != status.revert else None


def routes_to_correct(snapshot: Snapshot) -> Iterator[tuple[RouteWeights, str]]:
    """The routes of the run whose undo command is another one than it must be, with the one that it must be.

    The run that wrote last is responsible: it is the last in the fencing tokens of the route. A token that belongs to
    no run is not believed while this run has weights there. After a run, a command that is gone stays so.
    """
    status, ours = snapshot.status, snapshot.plan.uid[:8]
    at_a_weight = status.phase in _AT_A_WEIGHT and status.stage is not None
    if not at_a_weight and status.phase not in _ENDED:
        return
    undo = "" if status.phase is Phase.ROLLED_BACK else status.revert
    running = {each.uid[:8] for each in snapshot.route_conflicts if each.running}
    for route in status.weights.snapshot:
        view = snapshot.routes.get(route.id)
        if view is None or view.deleting or view.undo_annotation == undo:
            continue
        if not (at_a_weight or view.undo_annotation):
            continue
        last = last_owner(view)
        if last == ours or (at_a_weight and last not in running):
            yield route, undo


def undo_texts(plan_annotation: str, routes: Iterable[RouteView], others: Collection[str]) -> tuple[str, ...]:
    """The undo commands that may be those of a run of a plan: its own annotation, and those of its routes.

    `others` are the parts of the uids in the tokens of other plans. What one of these wrote last is its own: restored
    for this plan, it would put the rules of another one back.
    """
    return (plan_annotation, *(view.undo_annotation for view in routes if last_owner(view) not in others))


def last_owner(view: RouteView) -> str:
    """The part of a plan's uid in the last fencing token of a route; empty where it has none."""
    fences = read_fences(view.seq)
    return fences[-1].owner if fences else ""
