"""The next sizes of both sides: no answer needs a pod that is taken away, and the target is reached."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.status import Backend, RuleWeights, Weights
from rolloutplan.engine.model.pod_numbers import next_sizes, pods_needed
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from tests.behind import Behind

SIDES = Weights(old="v1", new="v2")
WORLD = Behind()
SNAPSHOT: Snapshot = WORLD.snapshot()
VIEW = WORLD.route_view("shop")
SIZES = st.tuples(st.integers(0, 12), st.integers(0, 12))


def rule(old: int, new: int) -> RuleWeights:
    return RuleWeights(index=0, backends=(Backend(service="v1", weight=old), Backend(service="v2", weight=new)))


def seen(sizes: tuple[int, int], ready: tuple[int, int]) -> RouteView:
    return replace(VIEW, rules=(rule(*sizes),), ready_pods={"v1": ready[0], "v2": ready[1]})


def step(snapshot: Snapshot, view: RouteView, target: tuple[int, int], *, back: bool) -> tuple[int, int]:
    old, new = next_sizes(snapshot, view, rule(*target), SIDES, back=back).backends
    return old.weight, new.weight


@given(SIZES, SIZES, SIZES, st.booleans(), st.integers(0, 12))
def test_ready_pods_never_fall_below_what_the_target_has(
    sizes: tuple[int, int], missing: tuple[int, int], target: tuple[int, int], back: bool, began_with: int
) -> None:
    ready = (max(sizes[0] - missing[0], 0), max(sizes[1] - missing[1], 0))
    status = SNAPSHOT.status.model_copy(update={"old_pods": began_with})
    snapshot = replace(SNAPSHOT, status=status)
    after = step(snapshot, seen(sizes, ready), target, back=back)
    left = sum(map(min, ready, after))
    carries = back and ready[0] >= pods_needed(snapshot)
    assert left >= min(sum(ready), sum(target)) or (carries and after[1] == target[1])
    assert all(size >= wanted for size, wanted in zip(after, target, strict=True))


@given(SIZES, SIZES, st.booleans())
def test_the_target_is_reached_in_a_few_steps_once_pods_start(
    sizes: tuple[int, int], target: tuple[int, int], back: bool
) -> None:
    for _ in range(3):
        sizes = step(SNAPSHOT, seen(sizes, sizes), target, back=back)
    assert sizes == target
