"""Whether the CRDs of a cluster are of another version than this program: which fields one of them does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.cluster.client import Api, ApiError
from rolloutplan.cluster.paths import PLAN_GROUP, PLAN_VERSION
from rolloutplan.generate.crd import crds

_SERVED: Final = f"/openapi/v3/apis/{PLAN_GROUP}/{PLAN_VERSION}"
"""What the API server says of its fields, to everybody who may log in."""
_NAMED: Final = 3
"""Fields that are named; the rest is counted."""


async def crd_difference(api: Api) -> str:
    """How the RolloutPlan of the cluster differs from that of this program, and what to do; "" if it does not.

    "" also where the API server does not tell.
    """
    try:
        said = await api.get(_SERVED)
    except ApiError:
        return ""
    served = safe_get.mapping(said, "components", "schemas", "dev.rolloutplan.v1alpha1.RolloutPlan")
    return difference(served, own_schema()) if served else ""


def own_schema() -> Mapping[str, Any]:
    """The schema of RolloutPlan in this program."""
    (version,) = crds()[f"{PLAN_GROUP}_rolloutplans.yaml"]["spec"]["versions"]
    return safe_get.mapping(version, "schema", "openAPIV3Schema")


def difference(served: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Which fields of the schemas differ, and what to do; "" where none do."""
    theirs, ours = ({*_fields(safe_get.mapping(schema, "properties", "spec"), "spec")} for schema in (served, own))
    if missing := ours - theirs:
        fix = "update them with the operator, or use the version of this program that the operator has"
        return f"the CRDs of the cluster are older than this program (they lack {_some(missing)}): {fix}"
    if unknown := theirs - ours:
        fix = "install the version that the operator has"
        return f"this program is older than the CRDs of the cluster (it does not know {_some(unknown)}): {fix}"
    return ""


def _fields(schema: Mapping[str, Any], at: str) -> Iterator[str]:
    for name, below in safe_get.mapping(schema, "properties").items():
        yield f"{at}.{name}"
        yield from _fields(below, f"{at}.{name}")
    if items := safe_get.mapping(schema, "items"):
        yield from _fields(items, f"{at}[]")
    if values := safe_get.mapping(schema, "additionalProperties"):
        yield from _fields(values, f"{at}.*")


def _some(fields: set[str]) -> str:
    named = sorted(fields, key=lambda field: (field.count("."), field))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"{', '.join(named[:_NAMED])}{more}"
