"""Routes of two kinds may have one name, and are two routes: nothing that is asked of one is written to the other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights, Weights
from rolloutplan.engine.model.acceptance import not_accepted
from rolloutplan.engine.model.routes import at_least_desired, live_weights, route_exists, route_mismatch, route_patches
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from tests.situations import judging

KINDS = st.sampled_from(["HTTPRoute", "GRPCRoute", "VirtualService"])
IDS = st.builds(RouteId, KINDS, st.sampled_from(["shop", "api"]))
PAIRS = st.tuples(st.integers(1, 100), st.integers(0, 100))
SIDES = Weights(old="v1", new="v2")
LOOK = judging()().snapshot()


def rule(pair: tuple[int, int]) -> RuleWeights:
    backends = (Backend(service="v1", weight=pair[0]), Backend(service="v2", weight=pair[1]))
    return RuleWeights(index=0, backends=backends)


def asked(route: RouteId, pair: tuple[int, int]) -> RouteWeights:
    """What is asked of a route; the API's enum of kinds is not asked here."""
    return RouteWeights.model_construct(kind=cast("Any", route.kind), name=route.name, rules=(rule(pair),))


def seen(routes: Mapping[RouteId, tuple[int, int]], accepted: Mapping[RouteId, bool | None] | None = None) -> Snapshot:
    views = {
        route: RouteView(route, 1, (rule(pair),), "1", accepted=(accepted or {}).get(route, True))
        for route, pair in routes.items()
    }
    return replace(LOOK, routes=views)


@given(st.dictionaries(IDS, PAIRS), st.dictionaries(IDS, PAIRS, min_size=1))
def test_what_is_written_goes_to_the_routes_that_are_asked_and_differ(
    stand: dict[RouteId, tuple[int, int]], wanted: dict[RouteId, tuple[int, int]]
) -> None:
    snapshot, targets = seen(stand), [asked(route, pair) for route, pair in wanted.items()]
    patches = {patch.target.id: patch.target for patch in route_patches(snapshot, targets, SIDES, "1", "undo")}
    assert set(patches) == {route for route in stand.keys() & wanted if stand[route] != wanted[route]}
    assert all(patches[route].rules == (rule(wanted[route]),) for route in patches)
    for target in targets:
        there = target.id in stand
        assert route_exists(snapshot, target.id) is there
        assert live_weights(snapshot, [target], SIDES)[0].rules == ((rule(stand[target.id]),) if there else ())
        assert (route_mismatch(snapshot, [target], SIDES) == "") is (there and target.id not in patches)
        assert route_mismatch(snapshot, [target], SIDES).startswith(f"{target.id} " if target.id not in stand else "")


@given(IDS, IDS, PAIRS, PAIRS)
def test_what_another_route_holds_says_nothing_of_this_one(
    one: RouteId, other: RouteId, stands: tuple[int, int], asks: tuple[int, int]
) -> None:
    alone, beside = seen({one: stands}), seen({other: asks} | {one: stands})
    for check in (route_mismatch, at_least_desired):
        assert check(alone, [asked(one, asks)], SIDES) == check(beside, [asked(one, asks)], SIDES)


@given(st.dictionaries(IDS, st.sampled_from([True, False, None]), min_size=1), IDS)
def test_a_route_is_accepted_by_its_own_gateways(accepted: dict[RouteId, bool | None], route: RouteId) -> None:
    snapshot = seen(dict.fromkeys(accepted, (1, 0)), accepted)
    problem, its_own = not_accepted(snapshot, [asked(route, (1, 0))]), accepted.get(route, True)
    assert (problem is None) is (its_own is True)
    assert problem is None or (problem.words.startswith(f"{route}: "), problem.refused) == (True, its_own is False)


@pytest.mark.parametrize("route", [RouteId("HTTPRoute", "shop"), RouteId("VirtualService", "shop")])
def test_texts_say_the_kind_and_the_name(route: RouteId) -> None:
    assert route_mismatch(seen({}), [asked(route, (1, 0))], SIDES) == f"{route.kind} shop is gone"
