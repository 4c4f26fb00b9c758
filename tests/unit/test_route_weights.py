"""Every built-in kind of route, moved through the stages of a plan by the engine's own arithmetic, and put back."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rolloutplan.api.status import RuleWeights
from rolloutplan.engine.model.division import PodCounts, divide, finest, is_held, limits
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import others, pair, restore, rule_share, shift
from tests.routers.samples import SAMPLES, Raw, Sample
from tests.unit.test_route_shapes import moved_rules, patched, target, without_ours

EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
LADDER = (5, 10, 25, 50, 250, 333, 500, 990, 999, 1000)
"""In permille: those that a kind cannot hold are left out, as a plan with them is refused."""
PODS = PodCounts(4, 4)


def moved(sample: Sample, raw: Raw, rules: list[RuleWeights]) -> tuple[Raw, RouteView]:
    """The object with these weights, as `route_patches` would write them, and its view."""
    view = sample.view(raw)
    now = {rule.index: rule for rule in moved_rules(sample, view)}
    wanted = [restore(now[rule.index], rule, sample.old, sample.new, view.weights) for rule in rules]
    after = patched(raw, sample.kind.patch(view, target(view, *wanted), token="main/1.1.1", undo="kubectl"))
    return after, sample.view(after)


def holds(sample: Sample, view: RouteView, rule: RuleWeights, permille: int) -> bool:
    limit = limits(view.weights, PODS)
    division = divide(sum(pair(rule, sample.old, sample.new)), others(rule, sample.old, sample.new), permille, limit)
    return is_held(division, permille, limit)


@EVERY
def test_a_kind_goes_through_the_stages_and_back_to_the_byte(sample: Sample) -> None:
    raw, before = sample.object, sample.view(sample.object)
    snapshot, sides = moved_rules(sample, before), (sample.old, sample.new)
    now, view, steps = raw, before, 0
    for permille in LADDER:
        rules = moved_rules(sample, view)
        if not all(holds(sample, view, rule, permille) for rule in rules):
            continue
        usual = [sum(pair(rule, *sides)) for rule in snapshot]
        shifted = [
            shift(rule, *sides, permille, view.weights, pods=PODS, usual=each)
            for rule, each in zip(rules, usual, strict=True)
        ]
        now, view = moved(sample, now, shifted)
        steps += 1
        for rule, was in zip(moved_rules(sample, view), snapshot, strict=True):
            assert rule_share(rule, *sides) == permille
            assert all(0 <= each.weight <= view.weights.max * view.weights.units for each in rule.backends)
            if view.weights.sum is not None:
                assert sum(each.weight for each in rule.backends) == view.weights.sum * view.weights.units
            both, before_run = sum(pair(rule, *sides)), sum(pair(was, *sides))
            for other, once in zip(others(rule, *sides), others(was, *sides), strict=True):
                assert Fraction(other, both) == Fraction(once, before_run), "third backends keep their share"
    assert steps >= 4, "a kind holds most of the usual shares"
    back, _ = moved(sample, now, snapshot)
    assert without_ours(back) == without_ours(raw)


@EVERY
def test_a_kind_holds_whole_percents_or_says_its_finest_step(sample: Sample) -> None:
    view = sample.view(sample.object)
    for rule in moved_rules(sample, view):
        if not others(rule, sample.old, sample.new):
            step = finest(sum(pair(rule, sample.old, sample.new)), (), limits(view.weights))
            assert step <= 10, f"{sample.name} cannot give 1%"
