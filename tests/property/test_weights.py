"""Arithmetic of weights: the share that was asked for, the others' shares untouched, and the way back to the number."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import gcd
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rolloutplan.api.route_kind import GATEWAY_API, WeightRules
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.division import PodCounts, divide, finest, is_held, limits, neighbours
from rolloutplan.engine.model.weights import others as other_weights
from rolloutplan.engine.model.weights import pair, restore, rule_share, same_split, share, shift

LARGEST = GATEWAY_API.max
"""The largest weight of a route of the Gateway API."""
PERMILLE = st.integers(1, 1000)
WEIGHT = st.one_of(st.integers(0, 1000), st.integers(0, LARGEST))
SERVICES = st.sampled_from(["checkout", "legacy", "Service/other/v1", "shadow"])


def up_to(largest: int) -> WeightRules:
    return GATEWAY_API.model_copy(update={"max": largest})


@st.composite
def rules(draw: st.DrawFn, weight: st.SearchStrategy[int] = WEIGHT) -> RuleWeights:
    """A rule with both sides, in any order, and up to four other backends; a Service may be there on two ports."""
    sides = [Backend(service="v1", weight=draw(weight)), Backend(service="v2", weight=draw(weight))]
    if sides[0].weight + sides[1].weight == 0:
        sides[0] = Backend(service="v1", weight=draw(weight.filter(bool)))
    rest = [Backend(service=service, weight=draw(weight)) for service in draw(st.lists(SERVICES, max_size=4))]
    return RuleWeights(index=draw(st.integers(0, 15)), backends=tuple(draw(st.permutations(sides + rest))))


@st.composite
def kinds(draw: st.DrawFn) -> tuple[WeightRules, RuleWeights]:
    """What any kind of route allows, and a rule as it may be in one: some of its weights may be missing."""
    units = draw(st.sampled_from([1, 100]))
    if draw(st.booleans()):
        kind = WeightRules(sum=100, max=100, units=units)
        parts = draw(st.lists(st.integers(0, 100 * units), min_size=1, max_size=4))
        cuts = sorted({0, 100 * units, *(part for part in parts if part)})
        weights = [b - a for a, b in pairwise(cuts)]
        weights += [0] * (2 - len(weights))
    else:
        largest = draw(st.sampled_from([100, 256, 999, 65_535, 1_000_000, 4_294_967_295]))
        scale = draw(st.sampled_from([1, 1, 10_000])) if largest > 10_000 else 1
        kind = WeightRules(max=largest, units=units, scale=scale, per_endpoint=draw(st.booleans()))
        weights = draw(st.lists(st.integers(0, min(largest, 1000) * units), min_size=2, max_size=5))
        weights[0] = weights[0] or (0 if weights[1] else 1)
    names = ["v1", "v2", *draw(st.lists(SERVICES, min_size=len(weights) - 2, max_size=len(weights) - 2))]
    assume(weights[0] + weights[1] > 0)
    missing = kind.model_copy(update={"missing": draw(st.sampled_from([0, 1, 100]))})
    backends = [
        Backend(
            service=name, weight=weight, missing=True if weight == missing.missing and draw(st.booleans()) else None
        )
        for name, weight in zip(names, weights, strict=True)
    ]
    text = draw(st.sampled_from(["", '{"v1": 100, "v2":0}']))
    return missing, RuleWeights(index=0, text=text, backends=tuple(draw(st.permutations(backends))))


PODS = st.one_of(st.none(), st.builds(PodCounts, st.integers(0, 50), st.integers(0, 50)))


def of(rule: RuleWeights, service: str) -> int:
    return next(backend.weight for backend in rule.backends if backend.service == service)


def both(rule: RuleWeights) -> int:
    return of(rule, "v1") + of(rule, "v2")


def others(rule: RuleWeights) -> list[tuple[str, Fraction]]:
    """The other backends with what they hold for each unit that both sides hold together."""
    rest = [backend for backend in rule.backends if backend.service not in ("v1", "v2")]
    return [(backend.service, Fraction(backend.weight, both(rule))) for backend in rest]


def exact_scale(rule: RuleWeights, permille: int) -> int:
    """By how much all weights must be multiplied at least, so that the share is a whole number."""
    return 1000 // gcd(both(rule) * permille, 1000)


@given(rules(), PERMILLE, st.data())
def test_a_shift_gives_weights_that_the_api_server_takes(rule: RuleWeights, permille: int, data: st.DataObject) -> None:
    """Of any kind of route, whatever the largest weight is that it allows."""
    assume(both(rule) <= LARGEST)
    largest = data.draw(st.integers(max(both(rule), *(backend.weight for backend in rule.backends)), LARGEST))
    shifted = shift(rule, "v1", "v2", permille, up_to(largest))
    assert all(0 <= backend.weight <= largest for backend in shifted.backends), shifted


@given(rules(), PERMILLE)
def test_a_shift_keeps_the_backends_in_their_order(rule: RuleWeights, permille: int) -> None:
    shifted = shift(rule, "v1", "v2", permille, GATEWAY_API)
    assert [b.service for b in shifted.backends] == [b.service for b in rule.backends]
    assert (shifted.index, shifted.name) == (rule.index, rule.name)


@given(rules(), PERMILLE)
def test_a_share_is_exact_wherever_scaling_can_make_it_so(rule: RuleWeights, permille: int) -> None:
    shifted = shift(rule, "v1", "v2", permille, GATEWAY_API)
    largest = max(both(rule), *(backend.weight for backend in rule.backends))
    if largest * exact_scale(rule, permille) <= LARGEST:
        assert Fraction(of(shifted, "v2"), both(shifted)) == Fraction(permille, 1000)


@given(rules(), PERMILLE)
def test_a_share_that_cannot_be_exact_is_the_nearest(rule: RuleWeights, permille: int) -> None:
    """Scaling stops at the API's limit; what is left is half a unit of what both sides hold."""
    shifted = shift(rule, "v1", "v2", permille, GATEWAY_API)
    error = abs(Fraction(of(shifted, "v2")) - Fraction(both(shifted) * permille, 1000))
    assert error <= Fraction(1, 2)


@given(rules(), PERMILLE)
def test_a_shift_leaves_every_other_backend_its_share(rule: RuleWeights, permille: int) -> None:
    assert others(shift(rule, "v1", "v2", permille, GATEWAY_API)) == others(rule)


@given(rules(), st.lists(PERMILLE, min_size=1, max_size=5))
def test_the_snapshot_comes_back_to_the_number_after_any_shifts(rule: RuleWeights, ladder: list[int]) -> None:
    assume(both(rule) <= LARGEST)
    now = rule
    for permille in ladder:
        now = shift(now, "v1", "v2", permille, GATEWAY_API)
    assert restore(now, rule, "v1", "v2", GATEWAY_API) == rule


@given(rules(), PERMILLE, st.integers(1, LARGEST))
def test_another_backend_that_was_moved_meanwhile_keeps_its_new_share(
    rule: RuleWeights, permille: int, weight: int
) -> None:
    """Other backends are not ours: a rollback puts back both sides, and no old share of somebody else's."""
    now = shift(rule, "v1", "v2", permille, GATEWAY_API)
    moved = tuple(b if b.service in ("v1", "v2") else b.model_copy(update={"weight": weight}) for b in now.backends)
    now = now.model_copy(update={"backends": moved})
    back = restore(now, rule, "v1", "v2", GATEWAY_API)
    assert same_split(back, rule, "v1", "v2")
    for (_, is_now), (_, was) in zip(others(back), others(now), strict=True):
        whole = is_now * both(rule)
        assert whole in (1, LARGEST) or abs(is_now - was) * both(rule) <= Fraction(1, 2)


@given(st.lists(rules(), max_size=4), PERMILLE)
def test_the_share_of_routes_is_that_of_their_largest_rule(found: list[RuleWeights], permille: int) -> None:
    routes = [RouteWeights(name=f"r{i}", rules=(rule,)) for i, rule in enumerate(found)]
    exact = [Fraction(1000 * of(rule, "v2"), both(rule)) for rule in found]
    largest, said = max(exact, default=Fraction(0)), share(routes, "v1", "v2")
    assert abs(said - largest) <= (Fraction(1, 2) if largest < 999 else 1)
    assert (said == 1000) == (largest == 1000), "100% means that the old side has no weight"


# ---- kinds of other limits ---------------------------------------------------------------------------------------


@given(kinds(), PERMILLE, PODS)
def test_weights_of_any_kind_obey_it(known: tuple[WeightRules, RuleWeights], permille: int, pods: PodCounts) -> None:
    """Where they hold the share at all: what they cannot hold is refused."""
    kind, rule = known
    limit = limits(kind, pods)
    assume(is_held(divide(both(rule), other_weights(rule, "v1", "v2"), permille, limit), permille, limit))
    shifted = shift(rule, "v1", "v2", permille, kind, pods=pods)
    assert all(0 <= backend.weight <= kind.max * kind.units for backend in shifted.backends)
    assert any(backend.weight for backend in shifted.backends), "no kind means the same by zeros alone"
    if kind.sum is not None:
        assert sum(backend.weight for backend in shifted.backends) == kind.sum * kind.units
    assert others(shifted) == others(rule)


@given(kinds(), PERMILLE, PODS)
def test_a_share_is_held_or_refused(known: tuple[WeightRules, RuleWeights], permille: int, pods: PodCounts) -> None:
    """What is not refused is right to half a permille by the weights that are written."""
    kind, rule = known
    limit, rest = limits(kind, pods), other_weights(rule, "v1", "v2")
    shifted, division = shift(rule, "v1", "v2", permille, kind, pods=pods), divide(both(rule), rest, permille, limit)
    assert pair(shifted, "v1", "v2") == (division.old, division.new)
    if is_held(division, permille, limit):
        assert rule_share(shifted, "v1", "v2") == permille
        error = abs(Fraction(1000 * of(shifted, "v2"), both(shifted)) - permille)
        assert error <= (Fraction(1, 2) if permille < 999 else 1), "below 100% the old side keeps something"
    else:
        near = neighbours(both(rule), rest, permille, limit)
        assert permille not in near
        assert all(is_held(divide(both(rule), rest, each, limit), each, limit) for each in near)


@given(kinds(), PERMILLE)
def test_a_share_that_the_present_numbers_hold_changes_no_total(
    known: tuple[WeightRules, RuleWeights], permille: int
) -> None:
    kind, rule = known
    total = sum(backend.weight for backend in rule.backends)
    largest = max(both(rule), *other_weights(rule, "v1", "v2"), 0)
    if both(rule) * permille % 1000 or total < kind.scale * kind.units or largest > kind.max * kind.units:
        return
    shifted = shift(rule, "v1", "v2", permille, kind)
    assert sum(backend.weight for backend in shifted.backends) == total


@given(kinds(), st.lists(PERMILLE, min_size=1, max_size=5), PODS)
def test_the_way_back_is_exact(known: tuple[WeightRules, RuleWeights], ladder: list[int], pods: PodCounts) -> None:
    """Weights that were not written are missing again, and the text of an annotation is the one of before."""
    kind, rule = known
    now = rule
    for permille in ladder:
        now = shift(now, "v1", "v2", permille, kind, pods=pods, usual=both(rule))
    assert restore(now, rule, "v1", "v2", kind) == rule


@given(st.integers(0, 99), PERMILLE, st.data())
def test_the_way_back_adds_up_where_somebody_has_given_another_backend_more(
    other: int, permille: int, data: st.DataObject
) -> None:
    """Of weights with a fixed sum, what another backend has more is missing at the sides."""
    kind, weights = WeightRules(sum=100), {"v1": 100 - other, "v2": 0, "legacy": other}
    rule = RuleWeights(index=0, backends=tuple(Backend(service=name, weight=each) for name, each in weights.items()))
    v1, v2 = pair(shift(rule, "v1", "v2", permille, kind), "v1", "v2")
    more = data.draw(st.integers(0, v1))
    moved = (Backend(service="v1", weight=v1 - more), Backend(service="v2", weight=v2))
    now = rule.with_backends((*moved, Backend(service="legacy", weight=other + more)))
    assert restore(now, rule, "v1", "v2", kind) == rule


EXAMPLES = {
    "the present total holds it": (GATEWAY_API, (100, 0), 250, (75, 25)),
    "the smallest numbers that do": (GATEWAY_API, (100, 0), 5, (199, 1)),
    "and no larger ones than a kind allows": (WeightRules(max=999), (3, 0), 333, (667, 333)),
    "others keep their share": (GATEWAY_API, (90, 0, 10), 333, (6003, 2997, 1000)),
    "right to half a permille where exact numbers are too large": (WeightRules(max=999), (90, 0, 10), 333, (6, 3, 1)),
    "smaller numbers than before where those would be too large": (WeightRules(max=999), (900, 600), 900, (1, 9)),
    "a fixed sum": (WeightRules(sum=100), (100, 0), 50, (95, 5)),
    "a fixed sum with another backend": (WeightRules(sum=100), (80, 0, 20), 250, (60, 20, 20)),
    "hundredths": (WeightRules(sum=100, units=100), (10_000, 0), 5, (9_950, 50)),
    "a total that is fine enough": (
        WeightRules(max=65_535, scale=10_000, per_endpoint=True),
        (95, 5),
        50,
        (9_500, 500),
    ),
}


@pytest.mark.parametrize("case", EXAMPLES)
def test_examples_of_divisions(case: str) -> None:
    kind, before, permille, after = EXAMPLES[case]
    names = ("v1", "v2", "legacy")
    backends = tuple(Backend(service=name, weight=weight) for name, weight in zip(names, before, strict=False))
    shifted = shift(RuleWeights(index=0, backends=backends), "v1", "v2", permille, kind)
    assert tuple(backend.weight for backend in shifted.backends) == after


def test_the_total_of_before_the_run_is_taken_again_once_it_holds_a_share() -> None:
    rule = RuleWeights(index=0, backends=(Backend(service="v1", weight=199), Backend(service="v2", weight=1)))
    assert pair(shift(rule, "v1", "v2", 250, GATEWAY_API, usual=100), "v1", "v2") == (75, 25)
    assert pair(shift(rule, "v1", "v2", 250, GATEWAY_API), "v1", "v2") == (150, 50)


SHARES: Final[Mapping[str, tuple[WeightRules, PodCounts | None, int, Mapping[int, tuple[int, ...]]]]] = {
    "whole numbers that add up to 100": (WeightRules(sum=100), None, 10, {25: (20, 30)}),
    "hundredths that do": (WeightRules(sum=100, units=100), None, 1, {}),
    "numbers up to 256": (WeightRules(max=256), None, 4, {3: (4,), 997: (996, 1000)}),
    "numbers up to 999": (WeightRules(max=999), None, 1, {}),
    "pods in the largest numbers of the kind": (
        WeightRules(max=256, per_endpoint=True), PodCounts(1, 10), 38, {10: (26,)}),
    "pods in the numbers that are written": (
        WeightRules(max=65_535, scale=10_000, per_endpoint=True), PodCounts(1, 10), 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", SHARES)
def test_the_finest_step_and_the_shares_next_to_one_that_cannot_be_held(case: str) -> None:
    kind, pods, step, beside = SHARES[case]
    limit, total = limits(kind, pods), (kind.sum or 1) * kind.units
    assert finest(total, (), limit) == step
    for permille, near in beside.items():
        assert not is_held(divide(total, (), permille, limit), permille, limit)
        assert neighbours(total, (), permille, limit) == near
