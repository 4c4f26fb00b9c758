"""Green means true: whatever happens to Services, endpoints, pods, gateways, managers, metrics and clocks.

Succeeded says that each binding predicate was decided at each stage, that the routes hold what the plan promised, and
that somebody answers there. And no step of ours makes more answers fail than staying would.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.analysis.availability import awaits_pods
from rolloutplan.engine.model.effects import Failure
from rolloutplan.stats.verdict import Why
from tests import observers
from tests.property.test_receivers import OFTEN, Happening, born, keeps_what_is_used, makes_nothing_worse
from tests.repetition import seeds
from tests.situations import ALL, HALF, OLD_WEIGHTS, UP
from tests.world import SHORT_OF_TIME, Record, World

SEEDS: Final = (
    3, 5, 6, 9, 10, 11, 14, 15, 18, 22, 23, 24, 25, 26, 28, 29, 32, 37, 40, 42, 43, 44, 46, 49, 53, 54, 55, 58,
)  # fmt: skip
"""Stories that are short, and those that find a success without proof (22, 26, 53) or a list of pods (3, 55)."""
HAPPENINGS: Final = 25
NO_RIGHT: Final = Failure(403, "Forbidden", "no right to list pods")
SPANS: Final = (0, 1, 15, 60, 200, 400)


def gateway(world: World, random: Random) -> None:
    """It lags, says nothing, refuses, leaves a rule out, or writes no generation; mostly it does as it should."""
    world.lag = random.choice((timedelta(0), timedelta(0), timedelta(seconds=20), timedelta(seconds=90), None))
    world.refusal = random.choice(("", "", "", "NoMatchingParent"))
    world.dropped = random.choice(("", "", "", "a rule is left out"))
    world.reports = random.choice(("its generation", "its generation", "no generation", "the first generation"))


def manager(world: World, random: Random) -> None:
    """Git applies what it has, or a person or another tool moves weights."""
    weights = random.choice((OLD_WEIGHTS, OLD_WEIGHTS, UP, HALF, ALL))
    world.drift(weights, by=random.choice(("argocd", "kubectl-edit", "flagger")))


def silence(world: World, random: Random) -> None:
    """A predicate has no data, more than one series or no number; or all speak again."""
    name = random.choice(("errors", "hits", "wrong"))
    world.says = {"errors": 0.0, "hits": 0.95, "wrong": 0.0}
    if random.random() < 0.5:
        world.says[name] = random.choice((Why.NO_DATA, Why.MANY_SERIES, Why.NAN, Why.QUERY_REJECTED))


def autoscaler(world: World, random: Random) -> None:
    """It makes the new side larger, and the pods take their time; or smaller, down to none at night."""
    if world.new is not None:
        wanted = random.choice((0, 1, 2, 4, 8))
        ready = min(world.new.ready, wanted) if random.random() < 0.7 else wanted
        world.new = replace(world.new, wanted=wanted, ready=ready, autoscaler="keda")


def blindness(world: World, random: Random) -> None:
    """The pods of the new side can no longer be listed, while one of them may restart; or they can again."""
    world.refuses = random.choice(({}, {"pods": SHORT_OF_TIME}, {"pods": NO_RIGHT}))
    if world.new is not None:
        world.new = replace(world.new, restarts=world.new.restarts + random.choice((1, 1, 9)))


def clock(world: World, random: Random) -> None:
    """It is set, or another leader with another clock takes over."""
    world.now += timedelta(seconds=random.choice((-3600, -120, -20, 20, 120)))
    if random.random() < 0.5:
        world.crash()
    world.led_since = min(world.led_since, world.now)


FURTHER: Final[dict[Happening, int]] = {gateway: 5, manager: 3, silence: 5, autoscaler: 3, blindness: 6}
CLOCKS: Final[dict[Happening, int]] = {clock: 3}


@lru_cache(len(SEEDS))
def lived(seed: int) -> World:
    """A story; in one of three the clocks are wrong too."""
    random = Random(seed)
    world = born(random)
    world.settle()
    happenings = {**OFTEN, **FURTHER, **(CLOCKS if seed % 3 == 0 else {})}
    for _ in range(HAPPENINGS):
        random.choices([*happenings], [*happenings.values()])[0](world, random)
        world.advance(timedelta(seconds=random.choice(SPANS)))
        if random.random() < 0.3:  # all is well for a while, or nothing would ever succeed
            heal(world)
            world.advance(timedelta(minutes=random.choice((1, 10, 30))))
    return world


def heal(world: World) -> None:
    fresh = World()
    world.lag, world.refusal, world.dropped, world.reports = fresh.lag, fresh.refusal, fresh.dropped, fresh.reports
    world.says, world.down, world.served, world.selects = fresh.says, "", {}, {}
    world.refuses = {}
    world.old = world.old and replace(world.old, wanted=4, ready=4)
    world.new = world.new and replace(world.new, wanted=4, ready=4, autoscaler="")
    if world.phase is Phase.HELD:
        world.say(f"resume healed-{world.now:%H%M%S} --reason healed")


def green_is_true(world: World) -> int:
    """At each success; returns how many there were."""
    before, count = Phase.PENDING, 0
    for record in world.records:
        phase, before = before, record.status.phase
        if record.status.phase is Phase.SUCCEEDED and phase is not Phase.SUCCEEDED:
            count += 1
            holds_what_it_promised(record)
    return count


def holds_what_it_promised(record: Record) -> None:
    words = f"{record.at:%H:%M:%S} {record.status.message}"
    assert all(not rule["v1"] and rule["v2"] for rule in record.routes["shop"]), f"{record.routes['shop']}: {words}"
    view = record.snapshot.endpoints.get("v2")
    assert view is not None and not view.unknown and view.ready, f"{view}: {words}"
    assert dict(view.owners).keys() == {"v2"}, f"{view}: {words}"
    assert not awaits_pods(record.snapshot), f"nobody knows how often its pods were restarted: {words}"


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_succeeded_means_that_all_was_decided_and_holds(seed: int) -> None:
    world = lived(seed)
    green_is_true(world)
    if seed % 3:  # by wrong clocks it cannot be said what was before what
        observers.succeeded_means_that_every_predicate_was_decided(world)
    for move in world.moves:
        makes_nothing_worse(world, move)
    keeps_what_is_used(world)


def test_the_stories_succeed_often_enough_to_say_something() -> None:
    successes = accumulate(green_is_true(lived(seed)) for seed in SEEDS)
    assert any(number >= 4 for number in successes)
