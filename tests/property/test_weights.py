"""Arithmetic of weights: the share that was asked for, the others' shares untouched, and the way back to the number."""

from fractions import Fraction
from math import gcd

from hypothesis import assume, given
from hypothesis import strategies as st

from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.weights import restore, same_split, share, shift

LARGEST = 1_000_000
"""The largest weight of a route of the Gateway API."""
PERMILLE = st.integers(1, 1000)
WEIGHT = st.one_of(st.integers(0, 1000), st.integers(0, LARGEST))
SERVICES = st.sampled_from(["checkout", "legacy", "Service/other/v1", "shadow"])


@st.composite
def rules(draw: st.DrawFn) -> RuleWeights:
    """A rule with both sides, in any order, and up to four other backends; a Service may be there on two ports."""
    sides = [Backend(service="v1", weight=draw(WEIGHT)), Backend(service="v2", weight=draw(WEIGHT))]
    if sides[0].weight + sides[1].weight == 0:
        sides[0] = Backend(service="v1", weight=draw(st.integers(1, LARGEST)))
    others = [Backend(service=service, weight=draw(WEIGHT)) for service in draw(st.lists(SERVICES, max_size=4))]
    return RuleWeights(index=draw(st.integers(0, 15)), backends=tuple(draw(st.permutations(sides + others))))


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
    shifted = shift(rule, "v1", "v2", permille, largest)
    assert all(0 <= backend.weight <= largest for backend in shifted.backends), shifted


@given(rules(), PERMILLE)
def test_a_shift_keeps_the_backends_in_their_order(rule: RuleWeights, permille: int) -> None:
    shifted = shift(rule, "v1", "v2", permille, LARGEST)
    assert [b.service for b in shifted.backends] == [b.service for b in rule.backends]
    assert (shifted.index, shifted.name) == (rule.index, rule.name)


@given(rules(), PERMILLE)
def test_a_share_is_exact_wherever_scaling_can_make_it_so(rule: RuleWeights, permille: int) -> None:
    shifted = shift(rule, "v1", "v2", permille, LARGEST)
    largest = max(both(rule), *(backend.weight for backend in rule.backends))
    if largest * exact_scale(rule, permille) <= LARGEST:
        assert Fraction(of(shifted, "v2"), both(shifted)) == Fraction(permille, 1000)


@given(rules(), PERMILLE)
def test_a_share_that_cannot_be_exact_is_the_nearest(rule: RuleWeights, permille: int) -> None:
    """Scaling stops at the API's limit; what is left is half a unit of what both sides hold."""
    shifted = shift(rule, "v1", "v2", permille, LARGEST)
    error = abs(Fraction(of(shifted, "v2")) - Fraction(both(shifted) * permille, 1000))
    assert error <= Fraction(1, 2)


@given(rules(), PERMILLE)
def test_a_shift_leaves_every_other_backend_its_share(rule: RuleWeights, permille: int) -> None:
    assert others(shift(rule, "v1", "v2", permille, LARGEST)) == others(rule)


@given(rules(), st.lists(PERMILLE, min_size=1, max_size=5))
def test_the_snapshot_comes_back_to_the_number_after_any_shifts(rule: RuleWeights, ladder: list[int]) -> None:
    assume(both(rule) <= LARGEST)
    now = rule
    for permille in ladder:
        now = shift(now, "v1", "v2", permille, LARGEST)
    assert restore(now, rule, "v1", "v2", LARGEST) == rule


@given(rules(), PERMILLE, st.integers(1, LARGEST))
def test_another_backend_that_was_moved_meanwhile_keeps_its_new_share(
    rule: RuleWeights, permille: int, weight: int
) -> None:
    """Other backends are not ours: a rollback puts back both sides, and no old share of somebody else's."""
    now = shift(rule, "v1", "v2", permille, LARGEST)
    moved = tuple(b if b.service in ("v1", "v2") else b.model_copy(update={"weight": weight}) for b in now.backends)
    now = now.model_copy(update={"backends": moved})
    back = restore(now, rule, "v1", "v2", LARGEST)
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
