"""Publishes short Events on the routes and the Deployments of a plan, so that who looks at these finds the plan.

Only what changes something there, or waits for a person, is told: the Events on the plan tell everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Final

from rolloutplan.api.reasons import EventReason, HoldReason
from rolloutplan.api.status import Decision, Kind
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw, ResourceClient
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.conditions import NEEDS_PERSON
from rolloutplan.publish.events import KEPT, create_once, event_about, event_name, plan_reference

MOST_OBJECTS: Final = 6
"""Both Deployments and four routes: a plan has seldom more, and each decision makes so many Events at most."""
_DECIDED_BY_A_PERSON: Final = NEEDS_PERSON | {HoldReason.UNDECIDED, HoldReason.AWAITING_APPROVAL}


class ObjectEventSink:
    """Publishes decisions as Events on other objects than the plan. `instance` is the operator's own name (its pod)."""

    name = "objects"
    keeps: timedelta | None = KEPT
    own_status = False

    def __init__(self, api: ResourceClient, *, instance: str) -> None:
        self._api, self._instance = api, instance

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Create the Events at the same time. Raises ApiError: of several that failed, the first one's."""
        events = object_events(snapshot, decision, instance=self._instance) if recorded else ()
        creations = (create_once(self._api, snapshot.plan.namespace, raw) for raw in events)
        for result in await asyncio.gather(*creations, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


def object_events(snapshot: Snapshot, decision: Decision, *, instance: str) -> Iterator[Raw]:
    """The Events of a decision on the objects of its plan; none where nothing changes there."""
    plan, words = snapshot.plan, _words(snapshot, decision)
    for each in islice(_objects(snapshot), MOST_OBJECTS if words else 0):
        yield event_about(
            each,
            plan,
            decision,
            name=event_name(each["name"], plan.uid, decision.seq, each["uid"][:8]),
            note=f"RolloutPlan {plan.name}: {words}",
            instance=instance,
            related=plan_reference(plan),
        )


def _objects(snapshot: Snapshot) -> Iterator[Mapping[str, str]]:
    """Both Deployments, then the routes. `kubectl describe` finds Events by the uid of their object."""
    namespace = snapshot.plan.namespace
    for side in (snapshot.old, snapshot.new):
        if side is not None and side.uid:
            kind = {"apiVersion": paths.DEPLOYMENTS.api_version, "kind": "Deployment"}
            yield {**kind, "namespace": namespace, "name": side.name, "uid": side.uid}
    for route in snapshot.shifted_routes or snapshot.routes.values():
        reference = route.reference
        if {"kind", "name", "uid"} <= reference.keys() and reference.get("namespace") == namespace:
            yield reference


def _words(snapshot: Snapshot, decision: Decision) -> str:
    """What a decision means for these objects, and what to type; empty where it means nothing for them."""
    plan, (old, new) = snapshot.plan, _sides(snapshot)
    where = f"-n {plan.namespace} {plan.name}"
    undo, see = f"undo: rolloutplan abort {where}", f"see: rolloutplan why {where}"
    match decision.reason:
        case EventReason.STARTED:
            return f"a run begins that moves traffic from {old} to {new}; {undo}"
        case EventReason.WEIGHT_SHIFTED:
            return f"{decision.weight_to} of the traffic goes to {new}; {undo}"
        case EventReason.HELD if decision.state in _DECIDED_BY_A_PERSON:
            return f"held ({decision.state}) until a person decides: rolloutplan triage {where}; {undo}"
        case EventReason.ROLLBACK_STARTED:
            return f"the traffic goes back to {old} ({decision.state}); {see}"
        case EventReason.ROLLED_BACK:
            return f"{old} has its traffic again; {see}"
        case EventReason.CONTRACT_STARTED:
            return f"{new} has the traffic, and {old} is removed; {see}"
        case EventReason.SUCCEEDED:
            return f"{new} has the traffic of {old}, and the run is over; undo: rolloutplan revert {where}"
    return f"the run ended before any weight moved; {see}" if decision.kind is Kind.KILL else ""


def _sides(snapshot: Snapshot) -> tuple[str, str]:
    """The old and the new side: as the run calls them, and before its first weight as the plan does."""
    weights, written = snapshot.status.weights, snapshot.plan.written
    if weights.old or written is None:
        return weights.old or "the old side", weights.new or "the new side"
    return written.services.old, written.services.new
