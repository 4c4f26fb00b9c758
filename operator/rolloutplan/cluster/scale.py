"""The replicas of a Deployment, set through its `scale` subresource: nothing else of it is changed.

A `Scale` action comes from the engine through the executor; `Scaled` goes back as its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ResourceClient
from rolloutplan.engine.model.actions import Scale
from rolloutplan.engine.model.snapshot import Scaled


async def to(
    api: ResourceClient, namespace: str, wanted: Scale, at: datetime, still_wanted: Callable[[], bool] = lambda: True
) -> Scaled:
    """Set the replicas of a Deployment, unless an autoscaler does. Raises ApiError; 409: it has just changed.

    `still_wanted` is asked right before the write: a run may have ended meanwhile.
    """
    name = wanted.deployment
    if autoscaler := autoscaler_of(await api.list(paths.autoscalers(namespace)), name):
        return Scaled(name, at, autoscaler=autoscaler)
    written = await resize(api, namespace, wanted, still_wanted)
    return Scaled(name, at, retry_reason="" if written else "the run has ended meanwhile")


async def resize(
    api: ResourceClient,
    namespace: str,
    wanted: Scale,
    still_wanted: Callable[[], bool] = lambda: True,
    *,
    timeout: float | None = None,
) -> bool:
    """Set the replicas of a Deployment; return whether it has them now. Raises ApiError; 409: it has just changed."""
    path = paths.scale(namespace, wanted.deployment)
    found = await api.get(path, timeout=timeout)
    if safe_get.number(found, "spec", "replicas") == wanted.replicas:
        return True
    if not still_wanted():
        return False
    seen = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
    await api.patch(path, {"metadata": seen, "spec": {"replicas": wanted.replicas}}, timeout=timeout)
    return True


def what_scales(raw: Mapping[str, Any], deployment: str) -> str:
    """What scales a Deployment, as a person knows it: `ScaledObject NAME` of KEDA, or the HorizontalPodAutoscaler."""
    name = autoscaler_of(raw, deployment)
    found = (each for each in safe_get.items(raw, "items") if safe_get.text(each, "metadata", "name") == name)
    scaled_object = safe_get.text(next(found, None), "metadata", "labels", "scaledobject.keda.sh/name")
    if scaled_object:
        return f"ScaledObject {scaled_object}"
    return f"HorizontalPodAutoscaler {name}" if name else ""


def autoscaler_of(raw: Mapping[str, Any], deployment: str) -> str:
    """The HorizontalPodAutoscaler in a list that scales a Deployment; "" where there is none."""
    for item in safe_get.items(raw, "items"):
        target = safe_get.mapping(item, "spec", "scaleTargetRef")
        if (target.get("kind"), target.get("name")) == ("Deployment", deployment):
            return safe_get.text(item, "metadata", "name")
    return ""
