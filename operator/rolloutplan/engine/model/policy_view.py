"""The policies that select a plan, and what a plan must know of the others in its queues."""

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
"""Where a plan is: it waits for a place, holds one and has moved no weight yet, or holds one."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A plan that holds a place of some concurrency groups, or waits for one of each."""

    key: str
    groups: frozenset[str]
    at: At
    created: datetime
    uid: str

    @property
    def age(self) -> tuple[datetime, str]:
        """The older one goes first: it sorts before the others."""
        return self.created, self.uid


@dataclass(frozen=True, slots=True)
class Queue:
    """What one plan must know of all the others in a concurrency group."""

    running: int = 0
    starting: int = 0
    holders: tuple[str, ...] = ()
    """The keys of those that hold a place, running or starting: the first few, in an order of their own."""
    older_waiting: int = 0
    older_starting: int = 0
