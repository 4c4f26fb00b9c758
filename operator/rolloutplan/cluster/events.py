"""The trail in the API server: one Event a decision, under a name that the decision alone determines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw, ResourceClient
from rolloutplan.engine.look import PlanView
from rolloutplan.engine.table import severity_of
from rolloutplan.plan.status import Decision, Evidence

CONTROLLER: Final = "rolloutplan.dev/operator"
_PREFIX: Final = "rolloutplan.dev/"
_LONGEST_NAME: Final = 253
_LONGEST_NOTE: Final = 1024
_LONGEST_WORD: Final = 128


def name(plan: str, uid: str, seq: int) -> str:
    """The Event's name, `<plan>.<uid8>.<seq>`; a long plan name is cut so that it stays a DNS subdomain."""
    suffix = f".{uid[:8]}.{seq}"
    return plan[: _LONGEST_NAME - len(suffix)].rstrip(".-") + suffix


def event(
    plan: PlanView,
    decision: Decision,
    *,
    instance: str,
    related: Mapping[str, str] | None = None,
    plan_hash: str = "",
    revert: str = "",
) -> Raw:
    """The Event for a decision. `instance` is the operator's own name (its pod), `related` a route it moved."""
    return {
        "apiVersion": paths.EVENTS.api_version,
        "kind": "Event",
        "metadata": {
            "name": name(plan.name, plan.uid, decision.seq),
            "namespace": plan.namespace,
            "annotations": _annotations(decision, plan_hash, revert),
        },
        "type": str(severity_of(decision)),
        "reason": decision.reason[:_LONGEST_WORD],
        "action": str(decision.kind),
        "note": _cut(decision.note),
        "eventTime": decision.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_LONGEST_WORD] or "rolloutplan",
        "regarding": {
            "apiVersion": paths.PLANS.api_version,
            "kind": "RolloutPlan",
            "namespace": plan.namespace,
            "name": plan.name,
            "uid": plan.uid,
        },
        **({"related": dict(related)} if related else {}),
    }


async def post(api: ResourceClient, raw: Mapping[str, Any], *, timeout: float | None = None) -> None:
    """Post an Event. One that exists already is the same one: success. Raises ApiError for anything else."""
    try:
        await api.create(paths.event(raw["metadata"]["namespace"]), raw, timeout=timeout)
    except ApiError as error:
        if error.reason != "AlreadyExists":  # a 409 may also be a quota that others changed meanwhile
            raise


def _annotations(decision: Decision, plan_hash: str, revert: str) -> dict[str, str]:
    first = decision.evidence[0] if decision.evidence else Evidence(predicate="")
    facts = {
        "run": str(decision.run),
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


def _cut(note: str) -> str:
    """At most 1,024 bytes, which is how the API server counts, and never half a character."""
    if len(note.encode()) <= _LONGEST_NOTE:
        return note
    return note.encode()[: _LONGEST_NOTE - 3].decode(errors="ignore") + "…"
