"""The policies that select a plan, and the state of its queues.

The loop's store makes both for the facts of a plan; `engine/policy` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rolloutplan.api.policy import RolloutPolicySpec


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as a person wrote it. `spec` is None where it cannot be read; `problem` then says why."""

    name: str
    spec: RolloutPolicySpec | None
    problem: str = ""


At = Literal["waiting", "starting", "running"]
"""The state of a plan in a queue: it waits for a slot, has one and has shifted no weight yet, or has one."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A plan that holds a slot in each of some concurrency groups, or waits for them."""

    key: str
    groups: frozenset[str]
    at: At
    created: datetime
    uid: str

    @property
    def age(self) -> tuple[datetime, str]:
        """The sort key: older plans go first."""
        return self.created, self.uid


@dataclass(frozen=True, slots=True)
class Queue:
    """A summary of the other plans in a concurrency group."""

    running: int = 0
    starting: int = 0
    holders: tuple[str, ...] = ()
    """The keys of plans that hold a slot, running or starting: only the first few."""
    older_waiting: int = 0
    older_starting: int = 0
