"""Which resources of routes are watched, and why one cannot be.

loop/route_watch.py reports what it finds, loop/needs.py asks for it: a plan waits until the routes of its kinds have
been listed, and does not start while their resource is not served or not granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rolloutplan.api.reasons import StatusReason
from rolloutplan.cluster import paths
from rolloutplan.engine.model.snapshot import RouterProblem
from rolloutplan.traffic import ROUTE_KINDS

OWN_RIGHTS: Final = 'by a ClusterRole with the label rolloutplan.dev/routers: "true" and `ownRouters` of the chart'
"""How the operator gets the rights on a cluster's own kind."""


class Trouble(NamedTuple):
    """Why the objects of a resource cannot be watched."""

    reason: StatusReason
    words: str
    """A sentence, which begins in the middle of another: `the cluster does not serve ...`."""


def not_installed(place: paths.Kind, others: tuple[str, ...] = ()) -> Trouble:
    """No version of a resource is served that can be read; `others` are those that are.

    Its objects may exist all the same: during an upgrade of the CRD, or while an API server starts.
    """
    fix = "install its CRD; then the plan goes on by itself"
    words = f"the cluster does not serve {place.resource}: {fix}"
    if others:
        served, read = " and ".join(others), " or ".join(place.versions)
        words = f"the cluster serves {place.resource} in {served} only, and it can be read in {read}: {fix}"
    return Trouble(StatusReason.ROUTER_NOT_INSTALLED, words)


def forbidden(place: paths.Kind) -> Trouble:
    """The operator may not list or watch a resource."""
    return Trouble(StatusReason.FORBIDDEN, f"the operator may not list and watch {place.resource}")


def silent(place: paths.Kind, why: str) -> Trouble:
    """The API server gives no answer for a resource."""
    words = f"the API server does not list {place.resource}, and is asked again: {why}"
    return Trouble(StatusReason.ROUTE_NOT_FOUND, words)


@dataclass(slots=True)
class Routers:
    """What is known of the resources that plans name."""

    _listed: set[str] = field(default_factory=set)
    _troubles: dict[str, Trouble] = field(default_factory=dict)

    def listed(self, resource: str) -> bool:
        """Record that all objects of a resource are known; return whether that is new."""
        new = resource not in self._listed or resource in self._troubles
        self._listed.add(resource)
        self._troubles.pop(resource, None)
        return new

    def fails(self, resource: str, trouble: Trouble) -> bool:
        """Record why a resource cannot be watched; return whether that is new."""
        before, self._troubles[resource] = self._troubles.get(resource), trouble
        return trouble != before

    def forget(self, resource: str) -> None:
        """Forget a resource that no plan names any more."""
        self._listed.discard(resource)
        self._troubles.pop(resource, None)

    def is_pending(self, resource: str) -> bool:
        """Whether nothing has been found out of a resource yet."""
        return resource not in self._listed and resource not in self._troubles

    def trouble(self, resource: str) -> str:
        """Return why the objects of a resource cannot be watched; empty where they can."""
        trouble = self._troubles.get(resource)
        return trouble.words if trouble is not None else ""

    def problems(self, places: Mapping[str, paths.Kind]) -> Iterator[tuple[str, RouterProblem]]:
        """Yield the kinds of route that cannot be used, with the reason; `places` are the resources of all kinds."""
        for kind, place in places.items():
            if (trouble := self._troubles.get(place.resource)) is not None:
                fix = f": {granting(kind)}" if trouble.reason == StatusReason.FORBIDDEN else ""
                yield kind, RouterProblem(trouble.reason, f"{trouble.words}{fix}")


def granting(*kinds: str) -> str:
    """Return how the operator gets the rights on a kind, or on the resource of several ones."""
    if ROUTE_KINDS.keys() & kinds:
        return f"add {' or '.join(kinds)} to `routers` of the chart, or give its account get, list, watch and patch"
    return f"give it get, list, watch and patch, {OWN_RIGHTS}"
