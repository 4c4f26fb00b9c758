"""EndpointSlices: the ready endpoints in a slice, each with the Deployment that its pod belongs to.

Objects come from loop/endpoint_watch.py and go to loop/endpoints.py, which merges the slices of each Service.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.engine.model.snapshot import GENERATED_NAME_LENGTH

SERVICE_LABEL: Final = "kubernetes.io/service-name"
SELECTOR_LENGTH: Final = 4000
"""A longer list of names could make a URL that a proxy refuses; then the slices of all Services are asked for."""
_RANDOM: Final = 5


class Slice(NamedTuple):
    """A slice of a Service, and the owner of each of its ready endpoints by the name of its pod.

    An endpoint that is no pod has its address for a name, and no owner ("").
    """

    service: tuple[str, str]
    """Namespace and name."""
    name: str
    ready: Mapping[str, str]


def read_slice(raw: Mapping[str, Any]) -> Slice:
    """Read an EndpointSlice. An endpoint without the condition `ready` is ready, by the API's contract.

    A slice has no ports where its pods lack the port that the Service names: nothing can be sent to them.
    """
    meta = raw["metadata"]
    ready: dict[str, str] = {}
    for endpoint in safe_get.items(raw, "endpoints") if safe_get.items(raw, "ports") else ():
        if safe_get.value(endpoint, "conditions", "ready") is False:
            continue
        pod = safe_get.text(endpoint, "targetRef", "name")
        if pod and safe_get.text(endpoint, "targetRef", "kind") == "Pod":
            ready[pod] = owner_of(pod)
        else:
            ready.update((str(address), "") for address in safe_get.items(endpoint, "addresses")[:1])
    return Slice((meta["namespace"], safe_get.text(raw, "metadata", "labels", SERVICE_LABEL)), meta["name"], ready)


def owner_of(pod: str) -> str:
    """The Deployment of a pod by its name (`DEPLOYMENT-HASH-RANDOM`); the name itself where it has another form.

    Of a long name, which was cut, it is what all pods of one ReplicaSet have in common.
    """
    if len(pod) == GENERATED_NAME_LENGTH + _RANDOM:
        return pod[:GENERATED_NAME_LENGTH]
    deployment, *parts = pod.rsplit("-", 2)
    return deployment if len(parts) == 2 and len(parts[1]) == _RANDOM else pod


def selector(services: Collection[str]) -> str:
    """The label selector of the slices of these Services."""
    names = f"{SERVICE_LABEL} in ({','.join(sorted(services))})"
    return names if len(names) <= SELECTOR_LENGTH else SERVICE_LABEL
