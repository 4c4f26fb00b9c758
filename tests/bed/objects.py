"""Builders of the Kubernetes objects that tests start from."""

from collections.abc import Mapping, Sequence

from tests.bed.api import Manifest
from tests.bed.behaviour import PREFIX
from tests.bed.netns import POD_PORT, PORTS


def namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def jobs_account(namespace: str) -> Manifest:
    """The ServiceAccount under which Jobs of plans may run there."""
    meta = {"name": "jobs", "namespace": namespace, "labels": {"rolloutplan.dev/jobs": "true"}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def deployment(
    name: str,
    namespace: str = "default",
    version: str = "v1",
    replicas: int = 2,
    annotations: Mapping[str, str] | None = None,
    ports: Sequence[str] = ("http",),
) -> Manifest:
    """A Deployment of pods labelled `app: <name>`, which answer on ports of these names.

    They are labelled `product` too, with what comes before the last `-` of the name: by that, one Service finds those
    of several versions. `annotations` set how its pods behave (see behaviour.py), with or without the prefix:
    {"errors": "0.2"}.
    """
    behaviour = {"version": version, **(annotations or {})}
    prefixed = {key if "/" in key else PREFIX + key: value for key, value in behaviour.items()}
    named = [{"name": port, "containerPort": PORTS[port]} for port in ports]
    container = {"name": "app", "image": f"bed/app:{version}", "ports": named}
    labels = {"app": name, "product": name.rpartition("-")[0] or name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels, "annotations": prefixed},
                "spec": {"containers": [container]},
            },
        },
    }


def service(
    name: str,
    namespace: str = "default",
    ports: Sequence[str] = ("http",),
    selector: Mapping[str, str] | None = None,
) -> Manifest:
    """The Service in front of pods, which it finds by a selector (if absent: those of the Deployment of its name)."""
    speaks = {"grpc": {"appProtocol": "kubernetes.io/h2c"}}
    served = [{"name": port, "port": PORTS[port], "targetPort": PORTS[port], **speaks.get(port, {})} for port in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": dict(selector or {"app": name}), "ports": served},
    }


def httproute(
    name: str, backends: Mapping[str, int], namespace: str = "default", hostname: str | None = None
) -> Manifest:
    """A route from `hostname` (if absent: `<name>.example.com`) on the bed's gateway to weighted Services."""
    references = [{"name": service, "port": POD_PORT, "weight": weight} for service, weight in backends.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "web", "namespace": "bed"}],
            "hostnames": [hostname or f"{name}.example.com"],
            "rules": [{"backendRefs": references}],
        },
    }
