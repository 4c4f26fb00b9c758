"""Deployments and their pods: how many are ready, of which template, and the worst reason that a pod reports.

Objects come from the watches and from lists of pods; they become `WorkloadView`s and `Pods` of the engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.managed_fields import last_writer
from rolloutplan.engine.model.snapshot import WorkloadView

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits in normal operation."""


def view(raw: Mapping[str, Any]) -> WorkloadView:
    """Read a Deployment. It has no restarts and no worst reason; see `pods`."""
    wanted = safe_get.number(raw, "spec", "replicas", default=1)
    seen = safe_get.number(raw, "status", "observedGeneration") >= safe_get.number(raw, "metadata", "generation")
    changes = (
        safe_get.instant(condition, "lastUpdateTime") or safe_get.instant(condition, "lastTransitionTime")
        for condition in safe_get.items(raw, "status", "conditions")
    )
    updated, all_of_them = (safe_get.number(raw, "status", name) for name in ("updatedReplicas", "replicas"))
    return WorkloadView(
        name=raw["metadata"]["name"],
        wanted=wanted,
        ready=safe_get.number(raw, "status", "readyReplicas"),
        revision=revision(safe_get.value(raw, "spec", "template")),
        ready_since=max((at for at in changes if at), default=None),
        settled=seen and updated == all_of_them == wanted,
        version=safe_get.text(raw, "metadata", "resourceVersion"),
        selector=selector(raw),
        sized_by=last_writer(raw["metadata"], "replicas"),
    )


def revision(template: object) -> str:
    """Hash of a pod template: 16 hexadecimal digits, independent of the order of its fields."""
    canonical = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def selector(raw: Mapping[str, Any]) -> str:
    """The label selector of a Deployment's pods, in the form of a list's `labelSelector`."""
    labels = safe_get.mapping(raw, "spec", "selector", "matchLabels")
    terms = [f"{key}={value}" for key, value in sorted(labels.items())]
    for term in safe_get.items(raw, "spec", "selector", "matchExpressions"):
        key, values = safe_get.text(term, "key"), ",".join(map(str, safe_get.items(term, "values")))
        match safe_get.text(term, "operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return ",".join(terms)


def pods(raw: Mapping[str, Any]) -> tuple[int, str]:
    """The sum of the container restarts in a list of pods, and the worst reason that a pod reports ("" for none).

    The reason looks like `ImagePullBackOff: Back-off pulling image "x" (pod web-7f9)`. The restarts of pods that are
    being deleted count, their reasons do not.
    """
    found = safe_get.items(raw, "items")
    restarts = sum(safe_get.number(container, "restartCount") for pod in found for container in _containers(pod))
    leaving = (pod for pod in found if not safe_get.value(pod, "metadata", "deletionTimestamp"))
    faults = [fault for pod in leaving for fault in _faults(pod)]
    return restarts, min(faults, default=(0, ""))[1]


def _faults(pod: object) -> Iterator[tuple[int, str]]:
    """The faults that a pod reports: rank (0 is the worst) and text."""
    name = safe_get.text(pod, "metadata", "name")
    for container in _containers(pod):
        reason = safe_get.text(container, "state", "waiting", "reason")
        if reason and reason not in _STARTING:
            yield 0, _words(reason, _ended(container), safe_get.text(container, "state", "waiting", "message"), name)
        elif not safe_get.value(container, "ready") and (ended := _ended(container)):
            yield 1, _words(ended, "", "", name)
    reason = safe_get.text(pod, "status", "reason")
    if safe_get.text(pod, "status", "phase") == "Failed" and reason:
        yield 1, _words(reason, "", safe_get.text(pod, "status", "message"), name)
    for condition in safe_get.items(pod, "status", "conditions"):
        kind = safe_get.text(condition, "type")
        if safe_get.text(condition, "status") == "False" and kind in ("PodScheduled", "Ready"):
            rank = 2 if kind == "PodScheduled" else 3
            reason = safe_get.text(condition, "reason") or f"not {kind}"
            if reason != "PodCompleted":
                yield rank, _words(reason, "", safe_get.text(condition, "message"), name)


def _containers(pod: object) -> Iterable[object]:
    return [
        *safe_get.items(pod, "status", "initContainerStatuses"),
        *safe_get.items(pod, "status", "containerStatuses"),
    ]


def _ended(container: object) -> str:
    """How a container ended, now or last time, as `OOMKilled, exit code 137`; "" where it did not fail."""
    now, before = (safe_get.mapping(container, when, "terminated") for when in ("state", "lastState"))
    end = now or before
    code = safe_get.number(end, "exitCode")
    return f"{safe_get.text(end, 'reason') or 'Error'}, exit code {code}" if code else ""


def _words(reason: str, ended: str, message: str, pod: str) -> str:
    text = "; ".join(part for part in (ended, message) if part)
    return f"{reason}: {text} (pod {pod})" if text else f"{reason} (pod {pod})"
