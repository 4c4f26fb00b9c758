"""The kinds of route as the loop meets them: by the plural that their objects come under, and where these stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import paths
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind

RESOURCES: Final[Mapping[str, paths.Kind]] = {name: paths.Kind(*kind.resource) for name, kind in ROUTE_KINDS.items()}
"""What to watch for each kind of route."""
BY_PLURAL: Final[Mapping[str, RouteKind]] = {kind.resource.plural: kind for kind in ROUTE_KINDS.values()}


def plural(route: RouteId) -> str:
    """The name under which objects of its kind come from the watch."""
    return RESOURCES[route.kind].plural


def path(namespace: str, route: RouteId) -> str:
    """Where a route stands in the API server."""
    return paths.path(RESOURCES[route.kind], namespace, route.name)
