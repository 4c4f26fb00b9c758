"""Who would receive the traffic: the ready endpoints of both Services, as far as they are known.

Rules ask this before a weight rises, in the bake, before a rollback, and before the old side is removed. Endpoints that
are not known never speak against a side: they only keep weights from rising. With `traffic.endpoints: Ignore` nothing
is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.fence import rule_label
from rolloutplan.engine.model.pod_numbers import pods_needed
from rolloutplan.engine.model.snapshot import EndpointsView, Snapshot, WorkloadView, is_owner
from rolloutplan.engine.model.weights import gives
from rolloutplan.engine.policy.blocked import Blocked
from rolloutplan.engine.policy.empty_sides import breaks_too

SideName = Literal["old", "new"]
_OTHER: Final[Mapping[SideName, SideName]] = {"old": "new", "new": "old"}
USERS_VALID_FOR = timedelta(seconds=10)
"""How long a list of what uses the old Service counts: no watch shows a change."""
IGNORE = "or write traffic.endpoints: Ignore to have none of this checked"


@dataclass(frozen=True, slots=True)
class Receiver:
    """The Service of a side, its Deployment, and its ready endpoints."""

    side: SideName
    service: str
    deployment: str
    """Empty where the plan names other sides than its run by now."""
    workload: WorkloadView | None
    endpoints: EndpointsView | None
    """None where they are not known yet."""
    also: str = ""
    """The other side's Deployment, where its pods are behind the same Service."""

    @property
    def known(self) -> bool:
        return self.endpoints is not None and not self.endpoints.unknown

    @property
    def ready(self) -> int:
        """The number of ready endpoints; 0 where they are not known."""
        return self.endpoints.ready if self.endpoints is not None else 0

    @property
    def is_down(self) -> bool:
        """Whether it is known that nobody would answer."""
        return self.endpoints is not None and self.endpoints.is_empty

    @property
    def problem(self) -> str:
        """Why the endpoints cannot be known; empty where they are, or may be soon."""
        return self.endpoints.unknown if self.endpoints is not None else ""

    @property
    def strangers(self) -> str:
        """The ready endpoints that are no pods of its Deployment, as text; empty where there are none."""
        others = self.endpoints.others(self.deployment) if self.endpoints is not None and self.deployment else ()
        others = tuple(owner for owner in others if not (self.also and is_owner(owner, self.also)))
        return ", ".join(f"pods of {owner}" if owner else "addresses that are no pods" for owner in others[:3])


def verifies(snapshot: Snapshot) -> bool:
    """Whether the endpoints are judged."""
    spec = snapshot.plan.written
    return spec is None or spec.traffic.endpoints == "Verify"


def receiver(snapshot: Snapshot, side: SideName, spec: PlanSpec | None = None) -> Receiver:
    """One side, as the run found it, and before a run as the plan names it; with `spec` as that names it, always."""
    plan, weights = spec or snapshot.plan.written, snapshot.status.weights
    found = "" if spec else getattr(weights, side)
    same = plan is not None and (not found or getattr(plan.names, side) == found)
    service = (weights.service or found) if found else getattr(plan.services, side) if plan else ""
    deployment = getattr(plan, side).deployment if plan is not None and same else ""
    also = getattr(plan, _OTHER[side]).deployment if plan is not None and same and plan.shared_service else ""
    workload = snapshot.old if side == "old" else snapshot.new
    return Receiver(side, service, deployment, workload, snapshot.endpoints.get(service), also)


def is_shared(snapshot: Snapshot) -> bool:
    """Whether both sides of the run, or of the plan before a run, are behind one Service.

    Then its endpoints are those of both sides, and none of them tells a side from the other.
    """
    weights, plan = snapshot.status.weights, snapshot.plan.written
    return bool(weights.service if weights.old else plan and plan.shared_service)


def receivers(snapshot: Snapshot, spec: PlanSpec | None = None) -> Iterator[Receiver]:
    """Both sides, the old one first; with `spec` as that names them."""
    yield receiver(snapshot, "old", spec)
    yield receiver(snapshot, "new", spec)


def endpoints_awaited(snapshot: Snapshot) -> bool:
    """Whether the endpoints of a side are not known yet, and nothing is known to be wrong with that."""
    return verifies(snapshot) and any(each.endpoints is None for each in receivers(snapshot))


def unserved(snapshot: Snapshot) -> str:
    """The first Service that is not known to have a ready endpoint, as text; empty where both have one."""
    if not verifies(snapshot):
        return ""
    for each in receivers(snapshot):
        if not each.known:
            return f"the endpoints of Service {each.service} are not known yet"
        if each.is_down:
            return no_endpoints(each)
    return ""


def old_pods(snapshot: Snapshot) -> int:
    """The size of the old side now: its ready endpoints, or its ready pods where endpoints do not count."""
    old, workload = receiver(snapshot, "old"), snapshot.old
    counts = verifies(snapshot) and old.known and not is_shared(snapshot)
    return old.ready if counts else workload.ready if workload else 0


def only_new_side_answers(snapshot: Snapshot) -> bool:
    """Whether nobody answers on the old side, and somebody on the new one: by endpoints, else by ready pods."""
    old, new = (_answers(snapshot, each) for each in receivers(snapshot))
    return new and not old


def _answers(snapshot: Snapshot, side: Receiver) -> bool:
    if verifies(snapshot) and side.known:
        return side.ready > 0
    return side.workload is not None and side.workload.ready > 0


def not_serving(snapshot: Snapshot, spec: PlanSpec) -> str:
    """Why the new Service of a plan cannot serve what the last stage gives it, as text; empty where it can."""
    new = receiver(snapshot, "new", spec)
    wanted = new.workload.wanted if new.workload else 0
    if not (new.workload and new.workload.settled and new.workload.ready >= wanted > 0):
        return f"{new.workload.ready if new.workload else 0} of {wanted} pods of {new.deployment} are ready"
    if spec.traffic.endpoints == "Ignore":
        return ""
    if not new.known:
        why = f": {new.problem}; {IGNORE}" if new.problem else " yet"
        return f"the endpoints of Service {new.service} are not known{why}"
    if new.strangers:
        return f"Service {new.service} sends to {new.strangers}, not to {new.deployment} alone: correct its selector"
    needed = -(-wanted * spec.steps()[-1].permille // 1000)
    return "" if new.ready >= needed else f"Service {new.service} has {new.ready} of {needed} ready endpoints"


def new_side_unserved(snapshot: Snapshot) -> str:
    """Why nobody answers behind the new Service, as text; empty where that is not known for sure."""
    new = receiver(snapshot, "new")
    if not verifies(snapshot) or not new.is_down:
        return ""
    return f"{no_endpoints(new)}: it answers no request{new_side_breaks(snapshot)}"


def new_side_breaks(snapshot: Snapshot) -> str:
    """What the new Service does to its routes while nobody answers there, as text to append; empty where nothing."""
    new = receiver(snapshot, "new")
    return breaks_too(snapshot, new.service, old=False) if new.is_down else ""


def no_endpoints(side: Receiver) -> str:
    """That a Service has no ready endpoint, with the pods of its Deployment, as text."""
    found = side.workload
    pods = f"{found.ready} of {found.wanted} pods of {found.name} are ready" if found else "its Deployment is gone"
    return f"Service {side.service} has no ready endpoint ({pods})"


def old_side_down(snapshot: Snapshot) -> str:
    """Why no weight may go back: nobody answers on the old side, and somebody on the new one; empty where it may."""
    old, new = receivers(snapshot)
    if not verifies(snapshot) or not old.is_down or not new.known or not new.ready:
        return ""
    return f"{no_endpoints(old)}, and {new.service} has {new.ready}: an outage for all is worse than a fault for some"


def old_side_short(snapshot: Snapshot) -> str:
    """Why the old side cannot carry a rollback although it is not down, as text; empty where it can."""
    old, needed = receiver(snapshot, "old"), pods_needed(snapshot)
    if not verifies(snapshot) or not old.known or old.ready >= needed or is_shared(snapshot):
        return ""
    return (
        f"Service {old.service} has {old.ready} ready endpoints, a rollback needs {needed}"
        f" (availability.old.atLeast of the {snapshot.status.old_pods} at the start)"
    )


def revert_refused(snapshot: Snapshot) -> str:
    """Why the old side of a run that has ended cannot take its traffic back, as text; empty where it can.

    Where its endpoints are not known, its ready pods count. With a new side that is down, nothing can get worse. Of a
    plan that cannot be read the Deployments are not known, so only the endpoints count.
    """
    old, new = receivers(snapshot)
    if not verifies(snapshot) or new.is_down or is_shared(snapshot):
        return ""
    workload, needed = snapshot.old, max(pods_needed(snapshot), 1)
    if workload is None and snapshot.plan.written is None:
        down = (
            f"Service {old.service} has no ready endpoint: start pods behind it, and send it again when they are ready"
        )
        return down if old.is_down else ""
    if workload is None:
        return f"the Deployment of the old side is gone: create it again, with {needed} ready pods at least"
    ready = old.ready if old.known else workload.ready
    if ready >= needed:
        return ""
    has = f"Service {old.service} has {ready} ready endpoints, and {needed} are needed"
    size = max(snapshot.status.old_pods, needed)
    return f"{has}: scale Deployment {workload.name} to {size} first, and send it again when its pods are ready"


def rollback_capacity(snapshot: Snapshot) -> tuple[bool, str, str] | None:
    """Whether the old side could take its traffic back, with reason and message; None where that is not known."""
    old = receiver(snapshot, "old")
    if not verifies(snapshot) or not old.known:
        return None
    if old.is_down:
        return False, HoldReason.OLD_SIDE_DOWN, f"{no_endpoints(old)}: no rollback is possible"
    if words := old_side_short(snapshot):
        return False, HoldReason.OLD_SIDE_SHORT, words
    return True, "OldSideReady", f"Service {old.service} has {old.ready} ready endpoints"


def block_by_endpoints(snapshot: Snapshot, *, going_on: bool) -> Blocked | None:
    """What of the endpoints blocks a run with weights. With `going_on` a side that cannot be known blocks it too."""
    if not verifies(snapshot):
        return None
    old = receiver(snapshot, "old")
    if old.is_down:
        words = f"{no_endpoints(old)}, so no rollback is possible: scale {old.deployment or 'the old side'} up to go on"
        return Blocked(HoldReason.OLD_SIDE_DOWN, words)
    return next((found for each in receivers(snapshot) if (found := _wrong(each, going_on=going_on))), None)


def _wrong(side: Receiver, *, going_on: bool) -> Blocked | None:
    if going_on and side.problem:
        words = f"the endpoints of Service {side.service} are not known: {side.problem}; {IGNORE}"
        return Blocked(HoldReason.ENDPOINTS_UNKNOWN, words)
    if side.known and (strangers := side.strangers):
        words = f"Service {side.service} sends to {strangers}, not to {side.deployment} alone: correct its selector"
        return Blocked(HoldReason.WRONG_ENDPOINTS, words)
    return None


def block_on_increase(snapshot: Snapshot) -> Blocked | None:
    """What of the old side's size blocks an increase."""
    if words := old_side_short(snapshot):
        fix = "scale it up (minReplicas, where an autoscaler has made it smaller), or lower availability.old.atLeast"
        return Blocked(HoldReason.OLD_SIDE_SHORT, f"{words}: {fix}")
    return None


def block_on_removal(snapshot: Snapshot) -> Blocked | None:
    """What of the endpoints blocks the removal of the old side."""
    if not verifies(snapshot):
        return None
    new = receiver(snapshot, "new")
    if words := new_side_unserved(snapshot):
        return Blocked(HoldReason.CAPACITY, f"{words}, so the old side is not removed")
    return _wrong(new, going_on=True)


def block_by_routes(snapshot: Snapshot) -> Blocked | None:
    """The first rule of any route that still gives the old Service traffic."""
    old, home = snapshot.status.weights.old, snapshot.plan.namespace
    if is_shared(snapshot):
        return None
    for route in snapshot.routes_to_old:
        here = old if route.namespace in ("", home) else f"Service/{home}/{old}"
        for rule in route.rules:
            if gives(rule, here, route.weights):
                weight = sum(backend.weight for backend in rule.backends if backend.service == here)
                share = f"the weight {weight}" if weight else "traffic"
                words = f"{route.named(home)} rule {rule_label(rule)} gives Service {old} {share}"
                fix = f"take {old} out of that rule to go on"
                return Blocked(HoldReason.OLD_SIDE_IN_USE, f"{words}, so the old side is not removed: {fix}")
    return None


def block_by_users(snapshot: Snapshot) -> Blocked | None:
    """What in the namespace still gives the old Service traffic, as last read; or may."""
    users, old = snapshot.users, snapshot.status.weights.old
    if users is None or users.service != old:
        return None
    again = users.at + USERS_VALID_FOR
    if users.unknown:
        words = f"it is not known whether anything else gives Service {old} traffic: {users.unknown}"
        return Blocked(HoldReason.OLD_SIDE_IN_USE, f"{words}; the old side is not removed", again)
    if users.found:
        named = ", ".join(users.found[:3]) + (f" and {len(users.found) - 3} more" if len(users.found) > 3 else "")
        words = f"{named} gives Service {old} traffic, so the old side is not removed: take {old} out of it to go on"
        return Blocked(HoldReason.OLD_SIDE_IN_USE, words, again)
    return None
