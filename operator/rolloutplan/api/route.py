"""What a route is known by: its kind and its name. Routes of two kinds may have one name, and are two routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RouteKindName = Literal["HTTPRoute"]
"""The kinds of route that a plan may name: the enum of the API, in spec and status. traffic/ has one file for each."""


@dataclass(frozen=True, slots=True, order=True)
class RouteId:
    """A route of one namespace. As text it is what messages say: `HTTPRoute shop`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
