"""Both sides as Deployments, and the Services that select their pods: one pod template, told apart by a label."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.tools.convert.draft import Draft, Raw

VERSION: Final = "version"
"""The label that tells the pods of the sides apart."""
_CARRIED: Final = ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
_SETTLED: Final = ("clusterIP", "clusterIPs", "selector")
"""Of a Service: what its copy gets anew."""


def add_deployments(draft: Draft, spec: Raw, path: str, metadata: Raw, also: tuple[Raw, Raw] = ({}, {})) -> Raw:
    """Add a Deployment for each side; return the labels that all of their pods have.

    `spec` has selector and template as a Deployment has them, `also` the metadata of each side's pods in addition.
    """
    template = safe_get.mapping(spec, "template")
    labels = _texts(safe_get.mapping(template, "metadata", "labels"))
    chosen = _texts(safe_get.mapping(spec, "selector", "matchLabels")) or labels or {"app": draft.base}
    if VERSION in labels:
        words = f"the label {VERSION} tells the sides apart from now on: its value was {labels[VERSION]}"
        draft.changed(f"{path}.template.metadata.labels.{VERSION}", words, "Deployment")
    for name, side, more in zip((draft.old, draft.new), ("v1", "v2"), also, strict=True):
        of_side = {**labels, **chosen, **_texts(safe_get.mapping(more, "labels")), VERSION: side}
        raw = draft.named("apps/v1", "Deployment", name)
        raw["metadata"]["labels"] = {**_texts(safe_get.mapping(metadata, "labels")), VERSION: side}
        pods: dict[str, Any] = deepcopy(dict(template))
        pods["metadata"] = {**safe_get.mapping(template, "metadata"), "labels": of_side}
        if annotations := {
            **safe_get.mapping(pods["metadata"], "annotations"),
            **safe_get.mapping(more, "annotations"),
        }:
            pods["metadata"]["annotations"] = annotations
        raw["spec"] = {
            **{each: spec[each] for each in _CARRIED if spec.get(each) is not None},
            "selector": {"matchLabels": {**chosen, VERSION: side}},
            "template": pods,
        }
        draft.workloads.append(raw)
    if "matchExpressions" in safe_get.mapping(spec, "selector"):
        draft.left_out(f"{path}.selector.matchExpressions", "the labels alone select the pods", "Deployment")
    words = f"{draft.new} is a copy of {draft.old}: write the image of the next version into it"
    draft.to_do(f"{path}.template", words, "Deployment")
    return chosen


def _texts(labels: Raw) -> dict[str, str]:
    return {f"{key}": value for key, value in labels.items() if isinstance(value, str)}


def add_service(draft: Draft, original: Raw, name: str, labels: Raw, side: str) -> None:
    """Add the Service of a side: the original with a selector of its own."""
    raw = draft.named("v1", "Service", name)
    spec = {key: deepcopy(value) for key, value in safe_get.mapping(original, "spec").items() if key not in _SETTLED}
    raw["spec"] = {**spec, "selector": {**labels, VERSION: side}}
    draft.workloads.append(raw)
