"""The status of a RolloutPolicy: the plans that it selects, who has its places, who waits for one, and its focus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from rolloutplan.api import safe_get
from rolloutplan.api.status import Condition, Instant, Part, read_part

NAMED: Final = 5
"""How many of the plans that hold a place, or wait for one, are named."""


class Places(Part):
    """The places of one group of plans: who has them, and who waits."""

    group: str = Field("", description="The policy, one namespace of it, or the lock group.")
    taken: int = Field(0, description="How many plans hold a place.")
    of: int = Field(0, description="How many places there are, with the focus as it is now.")
    holders: tuple[str, ...] = Field((), description="The first few plans that hold one.")
    waiting: int = Field(0, description="How many plans wait for a place.")
    next: tuple[str, ...] = Field((), description="The first few of them, in the order of their turns.")


class PolicyStatus(Part):
    """What the policy does now; the operator writes this some seconds after a change, and nobody else."""

    observed_generation: int = Field(0, description="The generation of the policy for which this was written.")
    plans: int = Field(0, description="How many plans it selects.")
    places: tuple[Places, ...] = Field((), description="Its groups of plans: first those with the most that wait.")
    focus: str = Field("", description="The focus now.")
    focus_why: str = Field("", description="Why it is that: the failure rate against its bounds, where it may shift.")
    shifted: bool | None = Field(
        None, description="True while the focus is Stability because too many of the last releases failed."
    )
    focus_since: Instant | None = Field(None, description="When it shifted last; absent if it never did.")
    conditions: tuple[Condition, ...] = Field((), description="Ready: it is read, and applies.")


def read_policy_status(raw: Mapping[str, Any]) -> PolicyStatus:
    """Read the status of a policy object. Never raises: a field that cannot be read is left out."""
    return read_part(PolicyStatus, safe_get.mapping(raw, "status"))[0]
