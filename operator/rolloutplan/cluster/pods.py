"""The pods of a side: their restarts, the worst reason that one reports, and whose fault it is that one is not ready.

A list of pods comes from the API server and becomes `Pods` of the engine. A pod speaks against its version where a
container of the Deployment's own template failed, or where it was ready and is not any more. A pod that was evicted,
pre-empted, deleted or lost with its node, one that finds no node and one that is only starting do not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.engine.model.snapshot import Pods

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits in normal operation."""
_ENDED_WITH_NODE: Final = frozenset({"Unknown", "ContainerStatusUnknown"})
"""How a container ended that its kubelet lost sight of: the node or its container runtime was restarted."""
_SAME_REPORT: Final = timedelta(seconds=1)
"""Conditions that a kubelet reported together may differ by this, because their times are whole seconds."""


def read(raw: Mapping[str, Any], containers: Collection[str]) -> Pods:
    """Read a list of pods. `containers` names the containers of the Deployment's own template; empty: all count.

    Reasons look like `ImagePullBackOff: Back-off pulling image "x" (pod web-7f9)`. The restarts of pods that are being
    deleted count, their reasons do not.
    """
    found = safe_get.items(raw, "items")
    staying = [pod for pod in found if not _leaving(pod)]
    faults = [fault for pod in staying for fault in _faults(pod)]
    failed = [words for pod in staying if (words := _failed(pod, containers))]
    away = [reason for pod in found for reason in _away(pod, containers)]
    return Pods(
        restarts={_uid(pod): sum(map(_restarts, _own(pod, containers))) for pod in found},
        worst=min(faults, default=(0, ""))[1],
        failed=min(failed, default=""),
        away=min(away, default=(0, ""))[1],
        lost=sum(bool(_lost_readiness(pod, containers)) for pod in staying),
        ready_at={_uid(pod): at for pod in staying if (at := _ready_at(pod)) is not None},
    )


def _uid(pod: object) -> str:
    return safe_get.text(pod, "metadata", "uid") or safe_get.text(pod, "metadata", "name")


def _ready_at(pod: object) -> datetime | None:
    ready = _condition(pod, "Ready")
    return safe_get.instant(ready, "lastTransitionTime") if safe_get.text(ready, "status") == "True" else None


def _name(pod: object) -> str:
    return safe_get.text(pod, "metadata", "name")


def _leaving(pod: object) -> bool:
    return bool(safe_get.value(pod, "metadata", "deletionTimestamp"))


def _own(pod: object, containers: Collection[str]) -> list[object]:
    """The statuses of the containers that the Deployment's template names: no init containers, no injected ones."""
    found = safe_get.items(pod, "status", "containerStatuses")
    return [status for status in found if not containers or safe_get.text(status, "name") in containers]


def _restarts(container: object) -> int:
    """How often a container was restarted; the last time does not count where its node was the reason."""
    end = safe_get.mapping(container, "lastState", "terminated")
    count = safe_get.number(container, "restartCount")
    return max(count - (safe_get.text(end, "reason") in _ENDED_WITH_NODE), 0)


# ---- whose fault it is -----------------------------------------------------------------------------------------------


def _failed(pod: object, containers: Collection[str]) -> str:
    """How a pod speaks against its version; empty where it does not."""
    if _disrupted(pod):
        return ""
    status = safe_get.mapping(pod, "status")
    if _over_its_limit(pod):
        return _words(safe_get.text(status, "reason"), "", safe_get.text(status, "message"), _name(pod))
    for container in _own(pod, containers):
        reason = safe_get.text(container, "state", "waiting", "reason")
        if reason and reason not in _STARTING:
            said = safe_get.text(container, "state", "waiting", "message")
            return _words(reason, _ended(container), said, _name(pod))
        if not safe_get.value(container, "ready") and (ended := _ended(container)) and not _ended_with_node(container):
            return _words(ended, "", "", _name(pod))
    return _lost_readiness(pod, containers)


def _away(pod: object, containers: Collection[str]) -> Iterator[tuple[int, str]]:
    """Why a pod is missing that says nothing against its version: rank (0 is the clearest reason) and text."""
    status, name = safe_get.mapping(pod, "status"), _name(pod)
    if disrupted := _disrupted(pod):
        yield 0, disrupted
    elif safe_get.text(status, "phase") == "Failed" and (reason := safe_get.text(status, "reason")):
        if not _over_its_limit(pod):
            yield 0, _words(reason, "", safe_get.text(status, "message"), name)
    elif _leaving(pod):
        yield 3, f"it is being deleted (pod {name})"
    elif (scheduled := _condition(pod, "PodScheduled")) and safe_get.text(scheduled, "status") == "False":
        reason = safe_get.text(scheduled, "reason") or "Unschedulable"
        yield 1, _words(reason, "", safe_get.text(scheduled, "message"), name)
    elif safe_get.text(_condition(pod, "Ready"), "status") == "True" or _failed(pod, containers):
        return
    elif _node_lost(pod):
        yield 2, f"its node no longer reports on it (pod {name})"
    else:
        yield 4, f"it is starting (pod {name})"


def _disrupted(pod: object) -> str:
    """Why the cluster takes a pod away (a drain, a pre-emption, a lost node); empty where it does not."""
    target = _condition(pod, "DisruptionTarget")
    if safe_get.text(target, "status") != "True":
        return ""
    return _words(safe_get.text(target, "reason") or "Evicted", "", safe_get.text(target, "message"), _name(pod))


def _over_its_limit(pod: object) -> bool:
    """Whether a pod was ended for what it did itself: it used more storage than it may, or ran for too long."""
    reason, message = safe_get.text(pod, "status", "reason"), safe_get.text(pod, "status", "message")
    return reason == "DeadlineExceeded" or (reason == "Evicted" and "exceed" in message and " limit" in message)


def _lost_readiness(pod: object, containers: Collection[str]) -> str:
    """That a pod was ready once and is not any more, by a container of its own; empty where that is not so."""
    ready, began = _condition(pod, "Ready"), _began(pod)
    since = safe_get.instant(ready, "lastTransitionTime")
    unready = any(not safe_get.value(container, "ready") for container in _own(pod, containers))
    if safe_get.text(ready, "status") != "False" or not unready or _disrupted(pod):
        return ""
    if began is None or since is None or since - began <= _SAME_REPORT:
        return ""
    if any(map(_ended_with_node, _own(pod, containers))):
        return ""
    reason = safe_get.text(ready, "reason") or "not Ready"
    return _words(reason, "", safe_get.text(ready, "message"), _name(pod))


def _began(pod: object) -> datetime | None:
    """Since when a pod's containers may start. A pod that was never ready is unready since then, or for longer."""
    initialized = _condition(pod, "Initialized")
    at = safe_get.instant(initialized, "lastTransitionTime")
    return at if safe_get.text(initialized, "status") == "True" else None


def _node_lost(pod: object) -> bool:
    """Whether a pod is called unready by another than its kubelet, which last reported that all its containers are."""
    containers = safe_get.items(pod, "status", "containerStatuses")
    gated = safe_get.text(_condition(pod, "Ready"), "reason") == "ReadinessGatesNotReady"
    return bool(containers) and all(safe_get.value(each, "ready") for each in containers) and not gated


def _ended_with_node(container: object) -> bool:
    return safe_get.text(container, "lastState", "terminated", "reason") in _ENDED_WITH_NODE


def _condition(pod: object, kind: str) -> object:
    found = safe_get.items(pod, "status", "conditions")
    return next((condition for condition in found if safe_get.text(condition, "type") == kind), None)


# ---- what a pod reports ----------------------------------------------------------------------------------------------


def _faults(pod: object) -> Iterator[tuple[int, str]]:
    """The faults that a pod reports: rank (0 is the worst) and text."""
    name = _name(pod)
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


def _containers(pod: object) -> list[object]:
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
    said = "; ".join(part for part in (ended, message) if part)
    return f"{reason}: {said} (pod {pod})" if said else f"{reason} (pod {pod})"
