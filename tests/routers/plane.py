"""What a router is to the suite: a kind of route, and a gateway that obeys it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from rolloutplan.api.abilities import described
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from tests.bed import Bed
from tests.bed.api import Manifest

NAME = "checkout"
"""The name of a shop's route."""


class Gateway(Protocol):
    """A gateway beside the bed, started once for all tests on it."""

    extras: ClassVar[Sequence[str]]
    """What it needs of tests/bed/extras.py."""
    url: str
    """Where it takes requests; their Host header says for which shop."""

    def __init__(self, bed: Bed) -> None: ...

    def start(self) -> None:
        """Start it, and wait until it takes requests."""

    def kill(self) -> None:
        """End it, and remove what it needs in the cluster."""

    def deafen(self) -> None:
        """Keep it from every change from now on: it serves on as it is."""

    def hear(self) -> None:
        """Let it hear again."""


class Plane(ABC):
    """A kind of route on a gateway."""

    kind: ClassVar[str]
    """As in `spec.traffic.routes[].kind` of a plan."""
    gateway: ClassVar[type[Gateway]]
    fresh: ClassVar[bool] = False
    """Whether the gateway decides once for a connection, so that each request must have a new one."""
    port: ClassVar[str] = "http"
    """By which of netns.PORTS the pods are asked."""
    at: ClassVar[str] = ""
    """Where its requests are taken, if not at the gateway's `url`."""
    exact: ClassVar[bool] = False
    """Whether the gateway counts: nothing is left to chance, and few answers tell a share."""
    needs_services: ClassVar[bool] = False
    """Whether a missing Service takes the whole route down, also at weight 0, where one without pods does not."""
    controller: ClassVar[str] = ""
    """The name by which the gateway answers in the status of a route, if it has one."""

    @abstractmethod
    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        """The route named NAME that leads `host` to weighted Services, on their port `port`, with its companions."""

    def meet(self, gateway: Any, namespace: str) -> None:  # noqa: B027 - most gateways need nothing of the kind
        """Prepare a gateway, one of `gateway`, for the shop in a namespace."""

    @property
    def spec(self) -> RouteKindSpec:
        """The description by which the operator moves routes of this kind."""
        return BUILT_IN[self.kind]

    @property
    def told(self) -> bool:
        """Whether the gateway tells in the route which weights it follows."""
        return self.spec.accepted.settle is None

    @property
    def can(self) -> frozenset[str]:
        """What a stage without weights can do here: words of abilities.py."""
        own = self.spec.controllers.get(self.controller)
        return described(self.spec, [own] if own else [])

    @property
    def breaks(self) -> str:
        """Which side without pods takes the whole route down here: none of them, "Any" or "Old"."""
        return self.spec.empty_breaks

    def refs(self, old: str = "checkout-v1", new: str = "checkout-v2") -> list[dict[str, Any]]:
        """What a plan from one Service to another one has in `spec.traffic.routes`."""
        return [{"kind": self.kind, "name": NAME}]
