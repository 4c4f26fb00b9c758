"""Which version of a resource the API server serves, and what this account may do with it.

Every account may ask both. The loop asks before it watches the objects of a kind of route, and for the status of
RouteKinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from rolloutplan.api import safe_get
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw, if_there


class Reader(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw: ...


class Writer(Protocol):
    """What is needed of it to ask for rights."""

    async def create(self, path: str, body: dict[str, Any], *, timeout: float | None = None) -> Raw: ...


class Found(NamedTuple):
    """Where a resource is served."""

    place: paths.Kind | None
    """In the first of its versions that is served; None where none of them is."""
    others: tuple[str, ...] = ()
    """Where none of them is: the versions in which it is served."""


async def find(api: Reader, place: paths.Kind) -> Found:
    """Return where a resource is served. Raises ApiError."""
    offered = await _versions(api, place.group)
    for version in place.versions:
        at = place._replace(version=version, older=())
        if version in offered and await _serves(api, at):
            return Found(at)
    rest = [version for version in offered if version not in place.versions]
    return Found(None, tuple([each for each in rest if await _serves(api, place._replace(version=each))]))


async def offered(api: Reader) -> dict[str, tuple[str, ...]]:
    """Return the versions that are served of each group; the core group has no name. Raises ApiError."""
    found = safe_get.items(await api.get("/apis"), "groups")
    versions = {safe_get.text(group, "name"): safe_get.items(group, "versions") for group in found}
    named = {group: tuple(safe_get.text(each, "version") for each in those) for group, those in versions.items()}
    return {**named, "": ("v1",)}


async def _versions(api: Reader, group: str) -> list[str]:
    found = await _get(api, f"/apis/{group}" if group else "/api")
    return [each if isinstance(each, str) else safe_get.text(each, "version") for each in found.get("versions") or ()]


async def _serves(api: Reader, place: paths.Kind) -> bool:
    found = await _get(api, f"/apis/{place.api_version}" if place.group else f"/api/{place.version}")
    return any(safe_get.text(each, "name") == place.plural for each in safe_get.items(found, "resources"))


async def _get(api: Reader, path: str) -> Raw:
    """Read an answer; empty where there is none. Raises ApiError."""
    return await if_there(api.get(path)) or {}


async def denied(
    api: Writer, place: paths.Kind, verbs: Iterable[str], namespace: str | None, name: str = ""
) -> list[str]:
    """Return those of these verbs that this account may not use on a resource; `namespace` None: everywhere.

    With a name, on that object.

    Raises ApiError.
    """
    found = []
    for verb in verbs:
        asked = {"group": place.group, "resource": place.plural, "verb": verb, "namespace": namespace or ""}
        asked |= {"name": name} if name else {}
        review = {
            "apiVersion": paths.ACCESS_REVIEWS.api_version,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        answer = await api.create(paths.access_review(), review)
        if safe_get.value(answer, "status", "allowed") is not True:
            found.append(verb)
    return found
