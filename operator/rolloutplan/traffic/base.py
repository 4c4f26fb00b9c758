"""What a kind of route must be able to do: the seam between the engine and whatever carries the traffic.

The engine knows a route as a `RouteView` (names, weights, whether it is accepted) and says what its weights are to be,
as a `RouteWeights`. A kind of route turns the one out of an object of the API server and the other into a patch of it.
It is pure: the loop watches, reads and writes the objects, and finds each kind in `rolloutplan.traffic.ROUTE_KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.snapshot import RouteView

Operation = dict[str, Any]
"""One operation of a JSON Patch (RFC 6902)."""


class Resource(NamedTuple):
    """Where the API server keeps a kind of object; `version` is the one that is watched and patched."""

    group: str
    version: str
    plural: str


class RouteKind(Protocol):
    """A kind of route: one file beside this one implements it, httproute.py to begin with."""

    kind: str
    """As plans and messages write it: `HTTPRoute`."""
    resource: Resource

    def view(self, raw: Mapping[str, Any]) -> RouteView:
        """Read an object as the API server has it, leniently: what is odd is as if it were not there.

        The view holds the weights of every rule with its backends in their order, a core Service of the route's own
        namespace under its bare name and anything else under a name that no Service has; and under `largest_weight`
        how finely the kind can divide its traffic, where that is not as finely as the Gateway API.

        `accepted` is about the generation that is read, never about one before: None while that is not known, and
        `accepted_why` says who has not answered, or who refused it and why. A kind whose status says nothing of the
        kind is accepted as soon as it is written; the share that is measured then has to show that it is in force.
        """

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        """The JSON Patch that brings the weights of `target` into the route seen as `view`; empty if nothing differs.

        It sets the annotations `rolloutplan.dev/seq` to `token` and `rolloutplan.dev/revert` to `undo` (an empty one
        takes it away), and nothing beyond weights and these. It tests all that it relies on: the token that the last
        writer left (where there is none, the resourceVersion), the names in each rule that it changes and the weights
        last seen there. So a route that has changed meanwhile refuses the whole of it, and to apply it twice is to
        apply it once.

        Raises LookupError, which names the route, where a rule or a backend of the target is no longer there.
        """

    def undo_command(self, namespace: str, snapshot: RouteWeights) -> str:
        """The command that puts the weights of a snapshot back with kubectl alone, as a line for a POSIX shell.

        It stands in annotations, for whoever must go back while no operator runs.
        """
