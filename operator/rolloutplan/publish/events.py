"""Publishes decisions as Kubernetes Events: one Event for each decision, with a name that the decision determines.

Decisions come from the plan's status; Events go to the API server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from rolloutplan.api.status import Decision, Evidence, Kind
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw, ResourceClient
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import severity_of

CONTROLLER: Final = "rolloutplan.dev/operator"
_PREFIX: Final = "rolloutplan.dev/"
KEPT: Final = timedelta(hours=1)
"""An unpublished decision that is older stays unpublished: an Event lives no longer."""
POST_WITHIN: Final = 2.0
"""Seconds: an Event that hangs delays others."""
_LONGEST_NAME: Final = 253
_LONGEST_NOTE: Final = 1024
_LONGEST_WORD: Final = 128
_IN_TROUBLE: Final = frozenset({Kind.HOLD, Kind.ROLLBACK, Kind.KILL})
"""The kinds of decisions whose notes end with the runbook."""


class EventSink:
    """Publishes decisions as Kubernetes Events. `instance` is the operator's own name (its pod)."""

    name = "events"
    keeps: timedelta | None = KEPT
    own_status = False

    def __init__(self, api: ResourceClient, *, instance: str) -> None:
        self._api, self._instance = api, instance

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Create the Event. Raises ApiError."""
        plan, status = snapshot.plan, snapshot.status
        raw = event(
            plan,
            decision,
            instance=self._instance,
            related=next((route.reference for route in snapshot.shifted_routes), None),
            plan_hash=status.plan_hash,
            revert=status.revert,
            notice="" if recorded else decision.reason,
        )
        await create_once(self._api, plan.namespace, raw)


async def create_once(api: ResourceClient, namespace: str, raw: Raw) -> None:
    """Create an Event. One that exists already is the same one: success. Raises ApiError for any other error."""
    try:
        await api.create(paths.event(namespace), raw, timeout=POST_WITHIN)
    except ApiError as error:
        if error.reason != "AlreadyExists":  # a 409 may also be a quota that changed at the same time
            raise


def event_name(name: str, uid: str, seq: int, more: str = "") -> str:
    """The Event's name, `<plan>.<uid8>.<seq>`; a long name is cut so that it stays a DNS subdomain.

    A notice is not a decision: more has its reason, after the number of the newest decision.
    """
    suffix = f".{uid[:8]}.{seq}" + (f".{more.lower()}" if more else "")
    return name[: _LONGEST_NAME - len(suffix)].rstrip(".-") + suffix


def event(
    plan: PlanView,
    decision: Decision,
    *,
    instance: str,
    related: Mapping[str, str] | None = None,
    plan_hash: str = "",
    revert: str = "",
    notice: str = "",
) -> Raw:
    """The Event for a decision. `instance` is the operator's own name (its pod), `related` the route."""
    return event_about(
        plan_reference(plan),
        plan,
        decision,
        name=event_name(plan.name, plan.uid, decision.seq, notice),
        note=decision.note,
        instance=instance,
        related=related,
        annotations=_annotations(plan, decision, plan_hash, revert),
    )


def plan_reference(plan: PlanView) -> Mapping[str, str]:
    """The plan, as an Event names an object."""
    return {
        "apiVersion": paths.PLANS.api_version,
        "kind": "RolloutPlan",
        "namespace": plan.namespace,
        "name": plan.name,
        "uid": plan.uid,
    }


def event_about(
    regarding: Mapping[str, str],
    plan: PlanView,
    decision: Decision,
    *,
    name: str,
    note: str,
    instance: str,
    related: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Raw:
    """The Event that tells a decision about a plan on an object. The note ends with the runbook in trouble."""
    body = event_on(
        regarding,
        decision.at,
        name=name,
        namespace=plan.namespace,
        severity=str(severity_of(decision)),
        reason=decision.reason,
        action=str(decision.kind),
        note=_note(plan, decision, note),
        instance=instance,
    )
    if annotations:
        body["metadata"]["annotations"] = dict(annotations)
    return body | ({"related": dict(related)} if related else {})


def event_on(
    regarding: Mapping[str, str],
    at: datetime,
    *,
    name: str,
    namespace: str,
    severity: str,
    reason: str,
    action: str,
    note: str,
    instance: str,
) -> Raw:
    """An Event of the operator's on an object, about what happened at an instant."""
    return {
        "apiVersion": paths.EVENTS.api_version,
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "type": severity,
        "reason": reason[:_LONGEST_WORD],
        "action": action,
        "note": note,
        "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_LONGEST_WORD] or "rolloutplan",
        "regarding": dict(regarding),
    }


def _annotations(plan: PlanView, decision: Decision, plan_hash: str, revert: str) -> dict[str, str]:
    written = plan.written
    first = decision.evidence[0] if decision.evidence else Evidence(predicate="")
    facts = {
        "run": str(decision.run),
        "owner": (written and written.owner) or "",
        "runbook": (written and written.runbook) or "",
        "plan-hash": plan_hash,
        "stage": decision.stage,
        "weight-from": decision.weight_from,
        "weight-to": decision.weight_to,
        "predicate": first.predicate,
        "query": first.query,
        "value": first.value,
        "bound": first.bound,
        "samples": first.samples,
        "verdict": first.verdict,
        "why": first.why or decision.why,
        "by": decision.by,
        "revert": revert,
    }
    if len(decision.evidence) > 1:
        facts["evidence"] = json.dumps(
            [e.model_dump(mode="json", by_alias=True, exclude_defaults=True) for e in decision.evidence],
            separators=(",", ":"),
        )
    return {_PREFIX + key: value for key, value in facts.items() if value}


def _note(plan: PlanView, decision: Decision, note: str) -> str:
    """The note; with the runbook, where a person may need that and both fit."""
    whole = note + plan.runbook_words
    return whole if decision.kind in _IN_TROUBLE and len(whole.encode()) <= _LONGEST_NOTE else _cut(note)


def _cut(note: str) -> str:
    """Cut a note to 1,024 bytes (the limit of the API server is in bytes), never inside a character."""
    if len(note.encode()) <= _LONGEST_NOTE:
        return note
    return note.encode()[: _LONGEST_NOTE - 3].decode(errors="ignore") + "…"
