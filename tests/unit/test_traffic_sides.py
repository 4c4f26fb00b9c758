"""Routes as a plan sees them, whatever they call the sides."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest

from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.sides import as_plan_sees, weights_as_plan_sees
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.traffic import read_undo
from tests.routers.samples import SAMPLES, Raw, Sample
from tests.unit.test_route_shapes import patched, without_ours

PLAN = Names("shop-v1", "shop-v2")
EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def seen(sample: Sample, raw: Raw, *, alone: bool = False) -> RouteView:
    view = sample.kind.view(raw) if alone else sample.view(raw)
    return as_plan_sees(view, Names(sample.old, sample.new), PLAN, sample.kind.plain)


def moved(view: RouteView, permille: int) -> RouteWeights:
    total = (view.weights.sum or 200) * view.weights.units
    weights = {PLAN.old: total - total * permille // 1000, PLAN.new: total * permille // 1000}
    rules = [rule for rule in view.rules if holds_both(rule, *PLAN)]
    assert rules
    return RouteWeights(
        kind=view.id.kind,
        name=view.id.name,
        rules=tuple(
            rule.with_backends(
                tuple(b.model_copy(update={"weight": weights.get(b.service, b.weight)}) for b in rule.backends)
            )
            for rule in rules
        ),
    )


@EVERY
def test_a_route_with_the_names_of_the_plan_is_moved_and_restored_to_the_byte(sample: Sample) -> None:
    raw = sample.object
    before = seen(sample, raw)
    rules = tuple(rule for rule in before.rules if holds_both(rule, *PLAN))
    snapshot = RouteWeights(kind=before.id.kind, name=before.id.name, rules=rules)
    half = patched(raw, sample.kind.patch(before, moved(before, 500), token="main/1.1.1", undo=""))
    assert without_ours(half) != without_ours(raw)
    undo: list[dict[str, Any]] = json.loads(shlex.split(sample.kind.undo_command("shop", snapshot))[-1])
    assert without_ours(jsonpatch.apply_patch(half, undo)) == without_ours(raw)
    back = patched(half, sample.kind.patch(seen(sample, half), snapshot, token="main/1.1.2", undo=""))
    assert without_ours(back) == without_ours(raw)


@EVERY
def test_a_side_that_is_called_like_another_backend_is_not_taken_for_it(sample: Sample) -> None:
    raw = sample.object
    view = as_plan_sees(sample.view(raw), Names(sample.new, "nobody"), Names(sample.old, "shop-v2"), sample.kind.plain)
    for rule in view.rules:
        assert sum(backend.service == sample.old for backend in rule.backends) <= 1


@pytest.mark.parametrize("name", ["NginxCanary", "Mapping"])
def test_the_way_back_does_not_need_the_object_of_the_old_side(name: str) -> None:
    sample = SAMPLES[name]
    raw = sample.object
    before = seen(sample, raw)
    snapshot = RouteWeights(kind=name, name=before.id.name, rules=before.rules)
    half = patched(raw, sample.kind.patch(before, moved(before, 500), token="main/1.1.1", undo=""))
    alone = seen(sample, half, alone=True)
    assert locate(alone, before.rules[0], PLAN) is not None
    back = patched(half, sample.kind.patch(alone, snapshot, token="main/1.1.2", undo=""))
    assert without_ours(back) == without_ours(raw)
    assert seen(sample, half, alone=True).faults, "no run begins like that"
    assert replace(alone, faults={}).rules == replace(seen(sample, half), faults={}).rules


@pytest.mark.parametrize("name", ["NginxCanary", "Mapping"])
def test_the_undo_command_of_a_share_names_the_new_side_and_the_plan_the_old_one(name: str) -> None:
    sample = SAMPLES[name]
    before = seen(sample, sample.object)
    snapshot = RouteWeights(kind=name, name=before.id.name, rules=before.rules)
    (read,) = read_undo("shop", [sample.kind.undo_command("shop", snapshot)])
    (rule,) = weights_as_plan_sees(read, Names(sample.old, sample.new), PLAN).rules
    assert [backend.service for backend in rule.backends] == [*PLAN]
