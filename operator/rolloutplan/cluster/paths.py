"""The paths of objects and lists in the API server. The modules that send requests or watch objects use them."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

PLAN_GROUP: Final = "rolloutplan.dev"
PLAN_VERSION: Final = "v1alpha1"


class Kind(NamedTuple):
    """A kind of object; `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True
    older: tuple[str, ...] = ()
    """The versions that are used instead where `version` is not served, the first one that is."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The resource with its group, as kubectl takes it: no two kinds of object have the same."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions in which it may be served."""
        return (self.version, *self.older)


PLANS: Final = Kind(PLAN_GROUP, PLAN_VERSION, "rolloutplans")
SOURCES: Final = Kind(PLAN_GROUP, PLAN_VERSION, "metricsources")
CLUSTER_SOURCES: Final = Kind(PLAN_GROUP, PLAN_VERSION, "clustermetricsources", namespaced=False)
TEMPLATES: Final = Kind(PLAN_GROUP, PLAN_VERSION, "predicatetemplates")
CLUSTER_TEMPLATES: Final = Kind(PLAN_GROUP, PLAN_VERSION, "clusterpredicatetemplates", namespaced=False)
POLICIES: Final = Kind(PLAN_GROUP, PLAN_VERSION, "rolloutpolicies", namespaced=False)
ROUTE_KINDS: Final = Kind(PLAN_GROUP, PLAN_VERSION, "routekinds", namespaced=False)
NOTIFIERS: Final = Kind(PLAN_GROUP, PLAN_VERSION, "notifiers")
CLUSTER_NOTIFIERS: Final = Kind(PLAN_GROUP, PLAN_VERSION, "clusternotifiers", namespaced=False)
RECORDS: Final = Kind(PLAN_GROUP, PLAN_VERSION, "rolloutrecords")
NAMESPACES: Final = Kind("", "v1", "namespaces", namespaced=False)
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments")
EVENTS: Final = Kind("events.k8s.io", "v1", "events")
SELF_REVIEWS: Final = Kind("authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False)
ACCESS_REVIEWS: Final = Kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False)
CRDS: Final = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases")
JOBS: Final = Kind("batch", "v1", "jobs")
AUTOSCALERS: Final = Kind("autoscaling", "v2", "horizontalpodautoscalers")
PODS: Final = Kind("", "v1", "pods")
CORE_EVENTS: Final = Kind("", "v1", "events")
"""The same Events as EVENTS, in the form that can be selected by their object."""
SERVICE_ACCOUNTS: Final = Kind("", "v1", "serviceaccounts")
SERVICES: Final = Kind("", "v1", "services")
ENDPOINT_SLICES: Final = Kind("discovery.k8s.io", "v1", "endpointslices")


def path(kind: Kind, namespace: str = "", name: str = "", sub: str = "") -> str:
    """The path of an object, of a subresource (`sub`), or of a list where `name` is empty.

    Names are quoted: some are a tenant's words, and none may lead to another object.
    """
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{segment(namespace)}" if namespace and kind.namespaced else ""
    return "/".join(part for part in (root + where, kind.plural, segment(name), sub) if part)


def segment(name: str) -> str:
    """A name as one segment of a path. Names of a status may be anything; no name leads to another object.

    One of dots alone would be a step up; no object has it.
    """
    return quote(name, safe="") if name.strip(".") else "~" * len(name)


def plan(namespace: str, name: str, sub: str = "") -> str:
    return path(PLANS, namespace, name, sub)


def record(namespace: str, name: str = "") -> str:
    return path(RECORDS, namespace, name)


def event(namespace: str, name: str = "") -> str:
    return path(EVENTS, namespace, name)


def lease(namespace: str, name: str = "") -> str:
    return path(LEASES, namespace, name)


def pods(namespace: str) -> str:
    return path(PODS, namespace)


def job(namespace: str, name: str = "") -> str:
    return path(JOBS, namespace, name)


def autoscalers(namespace: str) -> str:
    return path(AUTOSCALERS, namespace)


def self_review() -> str:
    return path(SELF_REVIEWS)


def access_review() -> str:
    return path(ACCESS_REVIEWS)


def scale(namespace: str, deployment: str) -> str:
    return path(DEPLOYMENTS, namespace, deployment, "scale")


def service_account(namespace: str, name: str) -> str:
    return path(SERVICE_ACCOUNTS, namespace, name)


def service(namespace: str, name: str = "") -> str:
    return path(SERVICES, namespace, name)
