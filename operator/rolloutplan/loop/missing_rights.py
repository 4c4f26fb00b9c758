"""Which right the operator lacks, read from the API server's refusal, and what gives it.

Admission webhooks and policies, quotas and PodSecurity answer 403 as well: their words are other ones, and stay.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final, NamedTuple

from rolloutplan.api.route import HTTP_ROUTE
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.loop.routers import granting
from rolloutplan.loop.routes import place_of
from rolloutplan.traffic import ROUTE_KINDS

_REFUSED: Final = re.compile(
    r'[^ "]+(?: "(?P<name>[^"]*)")? is forbidden: User "(?:[^"\\]|\\.)*" cannot (?P<verb>[a-z]+) '
    r'resource "(?P<resource>[^"/]+)(?P<sub>/[^"]+)?" in API group "(?P<group>[^"]*)" '
    r'(?:in the namespace "(?P<namespace>[^"]+)"|at the cluster scope)'
)
"""The words of the API server's authorizer (forbiddenMessage in k8s.io/apiserver)."""
_OWN_GROUPS: Final = {
    kind.group for kind in (paths.PLANS, paths.PODS, paths.DEPLOYMENTS, paths.AUTOSCALERS, paths.EVENTS, paths.LEASES)
} | {paths.ENDPOINT_SLICES.group}
"""What the operator uses in other groups are routes. Of these, Services are the routes of one kind, and are read."""
_SWITCHES: Final = {
    paths.JOBS.resource: "jobs.enabled",
    paths.SERVICE_ACCOUNTS.resource: "jobs.enabled",
    paths.CORE_EVENTS.resource: "jobs.enabled",
    f"{paths.DEPLOYMENTS.resource}/scale": "scaling.enabled",
}
"""The values of the chart with which it gives the rights on a resource."""


class _Right(NamedTuple):
    verb: str
    resource: str
    """With its group and subresource, as `deployments.apps/scale`."""
    group: str
    rule: str
    """The rule of a Role that gives it."""
    where: str


def missing_right(error: ApiError) -> MissingRight | None:
    """The right for want of which a request was refused; None where it was refused for another reason."""
    found = _REFUSED.match(error.message) if error.status == HTTPStatus.FORBIDDEN else None
    if found is None:
        return None
    part = {key: value or "" for key, value in found.groupdict().items()}
    right = _Right(
        part["verb"],
        ".".join(filter(None, (part["resource"], part["group"]))) + part["sub"],
        part["group"],
        f'apiGroups: ["{part["group"]}"], resources: [{part["resource"]}{part["sub"]}], verbs: [{part["verb"]}]',
        f" in namespace {part['namespace']}" if part["namespace"] else "",
    )
    name = f' "{part["name"]}"' if part["name"] else ""
    return MissingRight(f"the operator may not {right.verb} {right.resource}{name}{right.where}: {_given_by(right)}")


def right_to_watch(kind: paths.Kind, namespace: str | None) -> MissingRight:
    """The right to list and watch a kind, in a namespace or everywhere."""
    rule = f'apiGroups: ["{kind.group}"], resources: [{kind.plural}], verbs: [list, watch]'
    where = f" in namespace {namespace}" if namespace else ""
    right = _Right("list", kind.resource, kind.group, rule, where)
    return MissingRight(f"the operator may not list and watch {kind.resource}{where}: {_given_by(right)}")


def why(error: ApiError) -> str:
    """The right that is missing, or what else the API server said."""
    return missing_right(error) or str(error)


def _given_by(right: _Right) -> str:
    """What gives a right: a value of the chart, or a rule."""
    rule = f"or give its account {right.rule}"
    made = right.verb in ("create", "delete") and right.resource == place_of(ROUTE_KINDS[HTTP_ROUTE]).resource
    if value := "ownedRoutes.enabled" if made else _SWITCHES.get(right.resource):
        return f"the chart gives it with {value}; {rule}"
    kinds = sorted(kind for kind, found in ROUTE_KINDS.items() if place_of(found).resource == right.resource)
    if right.group not in _OWN_GROUPS or (kinds and right.verb != "get"):
        return granting(*kinds)
    return f"the chart always gives it: install the release again; {rule}"
