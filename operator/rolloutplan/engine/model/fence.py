"""The fencing tokens on a route: one for each run that moves rules of it, the last writer's at the end.

An entry is `RULES/TOKEN`, as `main+2/01234567.12.3`: the rules by name, else by index. Runs on other rules of the route
keep their entries. One on the same rules replaces them, so a run without an entry was followed by another one. An
entry without rules, as earlier versions wrote it, stands for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from rolloutplan.api.status import RuleWeights

_NUMBER = re.compile("[0-9]{1,15}")
"""No run makes so many decisions, and a number of this length is read in no time."""


class Fence(NamedTuple):
    """An entry: the token, and the labels of the rules; none stand for all."""

    token: str
    rules: frozenset[str]

    @property
    def owner(self) -> str:
        """The part of a plan's uid in the token."""
        return self.token.partition(".")[0]

    def meets(self, rules: Iterable[str]) -> bool:
        """Whether it is about any of these rules."""
        rules = frozenset(rules)
        return not self.rules or not rules or bool(self.rules & rules)


def rule_label(rule: RuleWeights) -> str:
    """A rule within its route: its name, else its index from 0."""
    return rule.name or str(rule.index)


def read_fences(text: str) -> tuple[Fence, ...]:
    """Parse the annotation; never raises."""
    found = []
    for entry in text.split():
        rules, _, token = entry.rpartition("/")
        found.append(Fence(token, frozenset(filter(None, rules.split("+")))))
    return tuple(found)


def write_fence(token: str, rules: Iterable[RuleWeights]) -> str:
    """The entry of a run that moves these rules."""
    return f"{'+'.join(dict.fromkeys(map(rule_label, rules)))}/{token}"


def with_fence(text: str, entry: str) -> str:
    """The annotation with this entry as the last one; the others that are kept are about other rules."""
    new = read_fences(entry)[-1] if entry else Fence("", frozenset())
    return " ".join((*_kept(text, new), entry))


def others_wrote_last(text: str, entry: str) -> bool:
    """Whether the last entry is kept and is another run's; then the undo command on the route is that run's too."""
    kept, entries = _kept(text, read_fences(entry)[-1]) if entry else [], text.split()
    return bool(kept) and entries[-1] == kept[-1]


def fence_of(text: str, owner: str) -> str:
    """The token of the plan with this part of its uid; empty where the route has none."""
    return next((fence.token for fence in reversed(read_fences(text)) if fence.owner == owner), "")


def fence_seq(text: str, owner: str) -> int:
    """The number of the decision in the token of this plan; 0 where the route has none."""
    number = fence_of(text, owner).partition(".")[2].partition(".")[0]
    return int(number) if _NUMBER.fullmatch(number) else 0


def _kept(text: str, new: Fence) -> list[str]:
    """The entries of other plans on other rules."""
    entries = zip(text.split(), read_fences(text), strict=True)
    return [entry for entry, fence in entries if fence.owner != new.owner and not fence.meets(new.rules)]
