"""Whether the CRDs of a cluster are of another version than this program: which fields one of them does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.cluster.client import Api, ApiError, if_there
from rolloutplan.cluster.paths import PLAN_GROUP, PLAN_VERSION, PLANS
from rolloutplan.generate.crd import crds

_SERVED: Final = f"/openapi/v3/apis/{PLAN_GROUP}/{PLAN_VERSION}"
"""What the API server says of its fields, to everybody who may log in."""
_MISSING: Final = "the cluster does not serve RolloutPlans: apply the CRDs (deploy/crds, or crds.install of the chart)"
_PREFIX: Final = f"{'.'.join(reversed(PLAN_GROUP.split('.')))}.{PLAN_VERSION}."
_NAMED: Final = 3
"""Fields that are named; the rest is counted."""


async def crd_difference(api: Api) -> str:
    """How the RolloutPlan of the cluster differs from that of this program, and what to do; "" if it does not.

    "" also where the API server does not tell.
    """
    try:
        return difference(await _served(api), own_schema())
    except ApiError:
        return ""


async def crds_lack(api: Api) -> tuple[str, bool]:
    """How they differ, and whether it is the cluster that lacks something. Raises ApiError where that is not told."""
    served, own = await if_there(_served(api)), own_schema()
    return (difference(served, own), bool(lacking(served, own))) if served else (_MISSING, True)


async def _served(api: Api) -> Mapping[str, Any]:
    """The schema of RolloutPlan in the cluster; empty where it has none. Raises ApiError."""
    return safe_get.mapping(await served_kinds(api), "RolloutPlan")


async def served_kinds(api: Api) -> Mapping[str, Any]:
    """The schemas that the API server serves, by kind. Raises ApiError: 404 where it has none of our version."""
    schemas = safe_get.mapping(await api.get(_SERVED), "components", "schemas")
    kinds = ((name.removeprefix(_PREFIX), schema) for name, schema in schemas.items() if name.startswith(_PREFIX))
    return {kind: schema for kind, schema in kinds if not kind.endswith("List")}


@cache
def own_kinds() -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """The kinds of this program with their schemas, by the names of their CRDs."""
    found = {}
    for crd in crds().values():
        (version,) = crd["spec"]["versions"]
        schema = safe_get.mapping(version, "schema", "openAPIV3Schema")
        found[crd["metadata"]["name"]] = crd["spec"]["names"]["kind"], schema
    return found


def own_schema() -> Mapping[str, Any]:
    """The schema of RolloutPlan in this program."""
    _, schema = own_kinds()[PLANS.resource]
    return schema


def difference(served: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Which fields of the schemas differ, and what to do; "" where none do."""
    if missing := lacking(served, own):
        fix = "update them with the operator, or use the version of this program that the operator has"
        return f"the CRDs of the cluster are older than this program (they lack {_some(missing)}): {fix}"
    if unknown := _more(served, own):
        fix = "install the version that the operator has"
        return f"this program is older than the CRDs of the cluster (it does not know {_some(unknown)}): {fix}"
    return ""


def lacking(served: Mapping[str, Any], own: Mapping[str, Any]) -> set[str]:
    """The fields that the cluster would drop. A part of which it says nothing lacks nothing."""
    return _more(own, {**served, "properties": {**_parts(own), **_parts(served)}})


def _more(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The fields of spec and status that only the first schema has."""
    fields = (
        {*chain.from_iterable(_fields(part, name) for name, part in _parts(schema).items())} for schema in (one, other)
    )
    return set.difference(*fields)


def _parts(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The spec and the status, where the schema has their fields."""
    found = {name: safe_get.mapping(schema, "properties", name) for name in ("spec", "status")}
    return {name: part for name, part in found.items() if safe_get.mapping(part, "properties")}


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
