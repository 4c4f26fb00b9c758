"""Deployments: how many pods are ready and available, of which template, and what keeps a Deployment from more.

Objects come from the watches and become `WorkloadView`s of the engine; pods.py reads their pods.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.managed_fields import last_writer
from rolloutplan.cluster.revision import revision
from rolloutplan.engine.model.snapshot import ServiceView, WorkloadView

_AUTOSCALER: Final = re.compile(r"kube-controller-manager|keda|autoscal|hpa", re.IGNORECASE)
"""The managers that scale a Deployment without a person's word: the controller of HorizontalPodAutoscalers, KEDA."""


def view(raw: Mapping[str, Any]) -> WorkloadView:
    """Read a Deployment. What only its pods show is not in it; see pods.py."""
    wanted = safe_get.number(raw, "spec", "replicas", default=1)
    seen = safe_get.number(raw, "status", "observedGeneration") >= safe_get.number(raw, "metadata", "generation")
    changes = (
        safe_get.instant(condition, "lastUpdateTime") or safe_get.instant(condition, "lastTransitionTime")
        for condition in safe_get.items(raw, "status", "conditions")
    )
    updated, all_of_them = (safe_get.number(raw, "status", name) for name in ("updatedReplicas", "replicas"))
    ready = safe_get.number(raw, "status", "readyReplicas")
    return WorkloadView(
        name=raw["metadata"]["name"],
        wanted=wanted,
        ready=ready,
        available=min(safe_get.number(raw, "status", "availableReplicas"), ready),
        revision=revision(raw),
        ready_since=max((at for at in changes if at), default=None),
        settled=seen and updated == all_of_them == wanted,
        outdated=max(all_of_them - updated, 0),
        hindered=_hindered(raw),
        autoscaler=_autoscaler(raw),
        late=_told(raw, "Progressing", "False"),
        containers=frozenset(_of_containers(raw, "name")),
        images=tuple(_of_containers(raw, "image")),
        version=safe_get.text(raw, "metadata", "resourceVersion"),
        selector=selector(raw),
        sized_by=last_writer(raw["metadata"], [("spec", "replicas")]),
        labels=frozenset(_labels(safe_get.mapping(raw, "spec", "template", "metadata", "labels"))),
        uid=safe_get.text(raw, "metadata", "uid"),
    )


def service(raw: Mapping[str, Any]) -> ServiceView:
    """Read a Service."""
    return ServiceView(
        selector=frozenset(_labels(safe_get.mapping(raw, "spec", "selector"))),
        external=safe_get.text(raw, "spec", "type") == "ExternalName",
        headless=safe_get.text(raw, "spec", "clusterIP") == "None",
    )


def _labels(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, str(value)) for name, value in found.items())


def _hindered(raw: Mapping[str, Any]) -> str:
    if safe_get.value(raw, "spec", "paused") is True:
        return f"the Deployment is paused: run `kubectl rollout resume deployment {raw['metadata']['name']}`"
    return _told(raw, "ReplicaFailure", "True")


def _autoscaler(raw: Mapping[str, Any]) -> str:
    """The manager that last wrote the replicas, if that is an autoscaler: it writes the subresource `scale`."""
    entries = [
        entry
        for entry in safe_get.items(raw, "metadata", "managedFields")
        if "f:replicas" in safe_get.mapping(entry, "fieldsV1", "f:spec")
    ]
    last = max(reversed(entries), key=lambda entry: safe_get.text(entry, "time"), default=None)
    name = safe_get.text(last, "manager")
    return name if safe_get.text(last, "subresource") == "scale" and _AUTOSCALER.search(name) else ""


def _told(raw: Mapping[str, Any], kind: str, status: str) -> str:
    """What a condition of a Deployment says, as `FailedCreate: exceeded quota`; empty where it has another status."""
    for condition in safe_get.items(raw, "status", "conditions"):
        if (safe_get.text(condition, "type"), safe_get.text(condition, "status")) == (kind, status):
            reason, message = (safe_get.text(condition, name) for name in ("reason", "message"))
            return ": ".join(part for part in (reason or kind, message) if part)
    return ""


def _of_containers(raw: Mapping[str, Any], field: str) -> Iterator[str]:
    """A text of each container in the template, where it has one."""
    found = safe_get.items(raw, "spec", "template", "spec", "containers")
    return (text for container in found if (text := safe_get.text(container, field)))


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
