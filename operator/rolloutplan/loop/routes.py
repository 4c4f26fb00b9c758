"""Route kinds by the plural of their resource, and the API paths of routes.

The kinds come from traffic/. The watches, the store and the executor use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rolloutplan.api.route import RouteId
from rolloutplan.cluster import paths
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import RouteKind

RESOURCES: Final[Mapping[str, paths.Kind]] = {name: paths.Kind(*kind.resource) for name, kind in ROUTE_KINDS.items()}
"""The resource to watch for each kind of route."""
BY_PLURAL: Final[Mapping[str, RouteKind]] = {kind.resource.plural: kind for kind in ROUTE_KINDS.values()}


def plural(route: RouteId) -> str:
    """Return the plural of a route's kind, which the watch delivers with each object."""
    return RESOURCES[route.kind].plural


def path(namespace: str, route: RouteId) -> str:
    """Return the path of a route in the API server."""
    return paths.path(RESOURCES[route.kind], namespace, route.name)
