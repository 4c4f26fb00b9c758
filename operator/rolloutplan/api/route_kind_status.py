"""The status of a RouteKind: whether its resource is served, and whether the operator may move it."""

from __future__ import annotations

from pydantic import Field

from rolloutplan.api.status import Condition, Part


class RouteKindStatus(Part):
    """What the operator found of a kind of route; it writes this, and nobody else."""

    observed_generation: int = Field(0, description="The generation of the object for which this was written.")
    served: str = Field("", description="The version in which the resource is served; empty if in none of them.")
    conditions: tuple[Condition, ...] = Field((), description="Ready: plans may name this kind.")
