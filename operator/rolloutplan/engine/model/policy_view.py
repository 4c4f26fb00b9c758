"""The policies that select a plan, by which labels they do, and the state of its queues.

The loop's store makes them for the facts of a plan; `engine/policy` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from rolloutplan.api.focus import FocusWord
from rolloutplan.api.policy import RolloutPolicySpec, Selector

_EVERY_PLAN: Final = Selector()


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as a person wrote it. `spec` is None where it cannot be read; `problem` then says why."""

    name: str
    spec: RolloutPolicySpec | None
    problem: str = ""
    salvaged: Selector = _EVERY_PLAN
    """Its selector where the rest cannot be read."""
    unknown: str = ""
    """Why it is not known whether it applies to the plan; empty where it is."""
    shifted: bool = False
    """Whether its focus has shifted to Stability, because too many releases failed."""

    @property
    def focus(self) -> FocusWord:
        """Its focus now."""
        if self.spec is None:
            return "Balanced"
        return "Stability" if self.shifted and self.spec.focus.stability else self.spec.focus.base

    @property
    def selector(self) -> Selector:
        return self.spec.selector if self.spec else self.salvaged


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels by which policies select a plan: its own, and those of its namespace (None: not known)."""

    plan: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] | None = field(default_factory=dict)


NO_LABELS: Final = Labels()


At = Literal["waiting", "starting", "running"]
"""The state of a plan in a queue: it waits for a place, has one and has shifted no weight yet, or has one."""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A plan that holds a place in each of some concurrency groups, or waits for them."""

    key: str
    groups: frozenset[str]
    at: At
    created: datetime
    uid: str

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

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
    """The keys of plans that hold a place, running or starting: only the first few."""
    ahead: int = 0
    """Waiting plans whose turn comes before."""
    older_starting: int = 0
