"""The interface of a kind of route, between the engine and the objects that carry the traffic.

The engine sees a route as a `RouteView` (names, weights, whether it is accepted) and gives its target weights as a
`RouteWeights`. A kind of route makes the first from an object of the API server, and a patch of the object from the
second. It is pure: the loop watches, reads and writes the objects, and finds each kind in
`rolloutplan.traffic.ROUTE_KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.actions import Scale
from rolloutplan.engine.model.snapshot import RouteView

Operation = dict[str, Any]
"""One operation of a JSON Patch (RFC 6902)."""


class Resource(NamedTuple):
    """The resource of a kind in the API server, in the first of its versions that is served."""

    group: str
    version: str
    plural: str
    older: tuple[str, ...] = ()
    """The versions that are used where `version` is not served, the first one that is."""

    @property
    def word(self) -> str:
        """The resource as kubectl takes it: `httproutes.gateway.networking.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


class RouteKind(Protocol):
    """A kind of route; `DescribedKind` is each that a description describes."""

    kind: str
    """Its name in plans and messages: `HTTPRoute`."""
    resource: Resource
    plain: str = ""
    """The JSON pointer of the field by which an item of it names its side, from the item."""
    needs_siblings: bool = False
    """Whether a view needs the other objects of the resource in the namespace."""

    def view(
        self, raw: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]] = (), before: RouteView | None = None
    ) -> RouteView:
        """Read an object of the API server leniently: a field of a wrong type counts as missing.

        `before` is the view of another version of it by this kind: rules that are the same are not read again.

        The view has the weights of every rule with its backends in their order. A core Service of the route's own
        namespace has its plain name, any other backend a name that no Service can have. `weights` is what they may be,
        with what the controllers that answer do in another way; `faults` is what could not be read.

        `accepted` applies to the generation that is read, never to an earlier one. It is None while unknown;
        `accepted_why` names the controller that has not answered, or the one that refused it and why. A kind without
        such a status is accepted as soon as it is written; the measured share must then show that it is in force.
        """

    def gives(self, raw: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]] = ()) -> frozenset[str]:  # noqa: ARG002 - what has no backends
        """The names of the backends that an object gives traffic, whether they have a weight or not. Never raises.

        All of a rule count where its weights cannot be read.
        """
        return frozenset()

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        """The JSON Patch that sets the weights of `target` in the route seen as `view`; empty if nothing differs.

        It puts `token` into the annotation `rolloutplan.dev/seq` (engine/model/fence.py), sets `rolloutplan.dev/revert`
        to `undo` (an empty one removes the annotation), and changes nothing beyond weights and these. It tests all that
        it relies on: the tokens on the route (where there is none, the resourceVersion), and each item of the rules of
        the target, as it was last seen, also where no weight differs. So it fails as a whole if the route has changed,
        and applying it twice has the effect of applying it once.

        Raises LookupError, which names the route, where a rule or a backend of the target is missing.
        """

    def scalings(self, view: RouteView, target: RouteWeights) -> list[Scale]:  # noqa: ARG002 - of one kind only
        """The sizes of Deployments that are written after the patch, in this order; most kinds have none."""
        return []

    def undo_command(
        self,
        namespace: str,
        snapshot: RouteWeights,
        view: RouteView | None = None,
        target: RouteWeights | None = None,
        owner: str = "",
    ) -> str:
        """The command that restores the weights of a snapshot with kubectl alone, as a line for a POSIX shell.

        It is written to annotations, for a rollback by hand while no operator runs. With a view, it is for the route as
        it is there, or as it will be with a target: it names the rules where they are now, and takes away what the plan
        with this part of its uid has added. What others have added stays. It fails without a write where the rules or
        the additions are no longer those.
        """

    def read_undo(self, namespace: str, name: str, operations: Sequence[Any]) -> RouteWeights:
        """The weights that the patch in an undo command for a route of this name restores. Raises UnreadableError."""
