"""Builders of the Kubernetes objects that tests start from."""

from collections.abc import Mapping

from tests.bed.api import Manifest
from tests.bed.behaviour import PREFIX
from tests.bed.netns import POD_PORT


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
) -> Manifest:
    """A Deployment of pods labelled `app: <name>`.

    `annotations` set how its pods behave (see behaviour.py), with or without the prefix: {"errors": "0.2"}.
    """
    behaviour = {"version": version, **(annotations or {})}
    prefixed = {key if "/" in key else PREFIX + key: value for key, value in behaviour.items()}
    container = {"name": "app", "image": f"bed/app:{version}", "ports": [{"containerPort": POD_PORT}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": prefixed},
                "spec": {"containers": [container]},
            },
        },
    }


def service(name: str, namespace: str = "default") -> Manifest:
    """The Service in front of the Deployment of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": POD_PORT, "targetPort": POD_PORT}]},
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
