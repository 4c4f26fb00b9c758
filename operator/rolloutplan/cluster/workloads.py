"""Deployments and their pods: how many stand, of which template, and what the worst of them says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from rolloutplan.engine.look import WorkloadView

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""What a container waits for when nothing is wrong."""


def view(raw: Mapping[str, Any]) -> WorkloadView:
    """Read a Deployment; restarts and the worst reason are not in it, see `pods`."""
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    changes = (c.get("lastUpdateTime") or c.get("lastTransitionTime") for c in status.get("conditions") or ())
    return WorkloadView(
        name=meta["name"],
        wanted=wanted,
        ready=status.get("readyReplicas", 0),
        revision=revision(spec.get("template")),
        stood_since=max((datetime.fromisoformat(at) for at in changes if at), default=None),
        settled=seen and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted,
    )


def revision(template: object) -> str:
    """Hash of a pod template: 16 hexadecimal digits, the same whatever the order of its fields."""
    canonical = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def selector(raw: Mapping[str, Any]) -> str:
    """The label selector of a Deployment's pods, as the `labelSelector` of a list takes it."""
    wanted = (raw.get("spec") or {}).get("selector") or {}
    terms = [f"{key}={value}" for key, value in sorted((wanted.get("matchLabels") or {}).items())]
    for term in wanted.get("matchExpressions") or ():
        key, values = term["key"], ",".join(term.get("values") or ())
        match term["operator"]:
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return ",".join(terms)


def pods(raw_list: Mapping[str, Any]) -> tuple[int, str]:
    """The container restarts of all pods together, and the worst reason that one of them gives ("" for none).

    The reason is as `ImagePullBackOff: Back-off pulling image "x" (pod web-7f9)`. Pods on their way out count their
    restarts, but nothing that they say is a fault.
    """
    items = raw_list.get("items") or ()
    restarts = sum(status.get("restartCount", 0) for pod in items for status in _containers(pod))
    faults = [fault for pod in items if not pod["metadata"].get("deletionTimestamp") for fault in _faults(pod)]
    return restarts, min(faults, default=(0, ""))[1]


def _faults(pod: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """What a pod says is wrong: rank (0 is the worst) and words."""
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for container in _containers(pod):
        waiting = _state(container, "state", "waiting")
        if waiting.get("reason") and waiting["reason"] not in _STARTING:
            yield 0, _words(waiting["reason"], _ended(container), waiting.get("message"), name)
        elif not container.get("ready") and (ended := _ended(container)):
            yield 1, _words(ended, "", None, name)
    if status.get("phase") == "Failed" and status.get("reason"):
        yield 1, _words(status["reason"], "", status.get("message"), name)
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False" and condition["type"] in ("PodScheduled", "Ready"):
            rank = 2 if condition["type"] == "PodScheduled" else 3
            reason = condition.get("reason") or f"not {condition['type']}"
            if reason != "PodCompleted":
                yield rank, _words(reason, "", condition.get("message"), name)


def _containers(pod: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _state(container: Mapping[str, Any], which: str, how: str) -> Mapping[str, Any]:
    return (container.get(which) or {}).get(how) or {}


def _ended(container: Mapping[str, Any]) -> str:
    """How a container ended, now or the last time, as `OOMKilled, exit code 137`; "" where it did not fail."""
    end = _state(container, "state", "terminated") or _state(container, "lastState", "terminated")
    return f"{end.get('reason') or 'Error'}, exit code {end['exitCode']}" if end.get("exitCode") else ""


def _words(reason: str, ended: str, message: str | None, pod: str) -> str:
    said = "; ".join(part for part in (ended, message or "") if part)
    return f"{reason}: {said} (pod {pod})" if said else f"{reason} (pod {pod})"
