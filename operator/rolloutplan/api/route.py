"""The identity of a route: its kind and its name. Two routes of different kinds may have the same name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FEATURE_FLAG: Final[str] = "FeatureFlag"
"""The kind whose sides are variants of a flag, and may be one Deployment."""
HTTP_ROUTE: Final[str] = "HTTPRoute"
"""The one kind of which the operator can own a route in place of the one in Git (traffic/owned.py)."""
REPLICAS: Final[str] = "Replicas"
"""The kind without a router: the pods of both sides are behind one Service, and their numbers are the weights."""


@dataclass(frozen=True, slots=True, order=True)
class RouteId:
    """A route of one namespace. `str()` gives the form for messages: `HTTPRoute shop`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


_OWNED: Final = "-rolloutplan"
_LONGEST_NAME: Final = 253


def owned_name(name: str) -> str:
    """The name of the route that the operator owns in place of one with this name."""
    return f"{name[: _LONGEST_NAME - len(_OWNED)].rstrip('-.')}{_OWNED}"
