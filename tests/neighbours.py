"""Two plans on one route: two worlds (tests/world.py) that share their routes, their gateway and their clock.

Their operators take turns, as in one operator that looks at the one and then at the other.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rolloutplan.api.status import Phase
from tests.refusals import changed
from tests.world import PLAN, World, http_route

ENDS = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK})
NAMES = ("first", "second")


@dataclass
class Neighbours:
    """Two worlds with one route; each plan has a rule of its own."""

    worlds: tuple[World, World]

    def settle(self, limit: int = 200) -> None:
        """Let both take turns until nothing follows at this instant any more."""
        for _ in range(limit):
            moved = [world.turn() for world in self.worlds]
            if not any(moved):
                return
        told = [f"{world.phase} {world.status.message} {' '.join(world.told()[-5:])}" for world in self.worlds]
        raise AssertionError(f"never come to rest: {told}")

    def advance(self, by: timedelta) -> None:
        """Let time pass for both, turning whenever it is time for one of them."""
        until = self.worlds[0].now + by
        self.settle()
        while (at := min((at for world in self.worlds if (at := world.next()) is not None), default=until)) < until:
            self._go_to(at)
        self._go_to(until)

    def until_the_end(self, limit: timedelta = timedelta(hours=6)) -> None:
        """Let time pass until both runs have ended, or are held."""
        end = self.worlds[0].now + limit
        while not all(world.phase in {*ENDS, Phase.HELD, Phase.INVALID} for world in self.worlds):
            assert self.worlds[0].now < end, [f"{world.phase} {world.status.message}" for world in self.worlds]
            self.advance(timedelta(seconds=30))

    def _go_to(self, at: Any) -> None:
        for world in self.worlds:
            world.now = at
        self.settle()


def on_rules(
    rules: Sequence[Mapping[str, int]],
    *,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
    named: bool = True,
    **attributes: Any,
) -> Neighbours:
    """Plans for the first and for the second of these rules; the changes are those of each plan."""
    route = http_route("shop", rules)
    for rule, name in zip(route["spec"]["rules"], NAMES, strict=False):
        if named:
            rule["name"] = name
    routes = {"shop": route}
    made = []
    for place, (name, changes) in enumerate(zip(NAMES, (first, second), strict=True)):
        own = {"traffic.routes[0].rules": [name if named else place], **(changes or {})}
        spec = changed(copy.deepcopy(PLAN), own)
        made.append(World(name=name, uid=f"{place}123456789", spec=spec, routes=routes, **copy.deepcopy(attributes)))
    one, other = made
    other._changed_at = one._changed_at
    one.neighbours, other.neighbours = (other,), (one,)
    return Neighbours((one, other))
