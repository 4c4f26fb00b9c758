"""Whatever somebody makes of a route in mid-run, a rollback gives the new side what it had, or says why it cannot.

Nothing is written again and again meanwhile, and the undo command works over any edit of the numbers.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.object_path import parse, places
from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.aims import took_effect
from rolloutplan.engine.model.effects import Effect, NoEffect, Result
from rolloutplan.engine.model.sides import as_plan_sees
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.traffic import undo_command
from rolloutplan.traffic.described import DescribedKind
from tests.refusals import changed
from tests.repetition import times
from tests.routers.samples import SAMPLES, Raw, Sample
from tests.situations import m, s
from tests.world import PLAN, Rules, StaleError, World

Steps = tuple[Any, ...]
Change = Callable[[Raw, list[Raw]], object]
"""What a stranger does to a route, and to the objects that belong to it."""

SIDES: Final = Names("v1", "v2")
OWN: Final[dict[str, list[str | int]]] = {"VirtualService": ["primary"], "VirtualServer": [0]}
"""The rules that the plan names: others give the new side more before the run."""
GONE: Final = object()
NUMBERS: Final[tuple[object, ...]] = (
    GONE, 1, 7, 99, 100, 250, 10**12, -5, 0.5, None, True, [], {}, *("", "abc", "-1", "1e9", "1", "99", "200", "9" * 40)
)  # fmt: skip
"""What may be written in place of a number: others, and what is none."""
MOST_WRITES: Final = 6
"""Of a rollback: one, and a few for what changes meanwhile."""


@dataclass
class Strange(World):
    """A cluster with one route of some kind, and the objects that belong to it."""

    sample: Sample = field(default_factory=lambda: SAMPLES["NginxCanary"])
    beside: list[Raw] = field(default_factory=list)
    writes: list[datetime] = field(default_factory=list)
    stubborn: bool = False
    """Whether a webhook sets all back that is written, but for what is in our own annotations."""

    def __post_init__(self) -> None:
        raw, self.beside = self.sample.object, copy.deepcopy([*self.sample.beside])
        raw["metadata"]["generation"] = 1
        route = {"kind": self.sample.name, "name": raw["metadata"]["name"]}
        route |= {"rules": OWN[self.sample.name]} if self.sample.name in OWN else {}
        self.spec = changed(PLAN, {"traffic.routes": [route], "traffic.share": "Ignore"})
        self.routes = {raw["metadata"]["name"]: raw}
        super().__post_init__()

    @property
    def object(self) -> Raw:
        return next(iter(self.routes.values()))

    @property
    def view(self) -> RouteView:
        return self.route_view(next(iter(self.routes)))

    def route_view(self, name: str) -> RouteView:
        view = self.sample.kind.view(self.routes[name], self.beside)
        view = replace(view, accepted=True, accepted_generation=view.generation, settle=None)
        return as_plan_sees(view, Names(self.sample.old, self.sample.new), SIDES, self.sample.kind.plain)

    def weights(self, route: str = "") -> Rules:
        view = self.route_view(route) if route else self.view
        return tuple({b.service: b.weight for b in rule.backends} for rule in view.rules)

    @property
    def operator(self) -> PlanRun:
        if self.run is None:
            self.run = PlanRun(self.facts(), self.now, undo_command=undo_command)
        return self.run

    def carry_out(self, effect: Effect) -> Result:
        result = super().carry_out(effect)
        if result is None and isinstance(effect.work, PatchRoute) and not took_effect(self.view, effect.work.target):
            return NoEffect(self.view)
        return result

    def write_weights(self, effect: Effect) -> None:
        work = effect.work
        assert isinstance(work, PatchRoute)
        view, before = effect.snapshot.routes[work.target.id], self.object
        patch = self.sample.kind.patch(view, work.target, token=work.fencing_token, undo=work.undo_command)
        assert patch, "it is decided to write, and nothing is to be written"
        self.writes.append(self.now)
        if self.stubborn:
            patch = [each for each in patch if "rolloutplan.dev" in each["path"]]
        try:
            self.put(jsonpatch.apply_patch(before, patch))
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise StaleError from error

    def put(self, raw: Raw) -> None:
        if raw != self.object:
            raw["metadata"]["resourceVersion"] = str(int(raw["metadata"]["resourceVersion"]) + 1)
            raw["metadata"]["generation"] += 1
            self.routes = {raw["metadata"]["name"]: raw}

    def change(self, change: Change) -> None:
        raw, self.beside = copy.deepcopy(self.object), copy.deepcopy(self.beside)
        change(raw, self.beside)
        self.put(raw)

    def back(self, by: timedelta | None = None) -> Strange:
        """A person aborts the run; what is written then is counted."""
        self.writes = []
        self.say("abort t1 --reason stop")
        self.advance(by or m(5))
        return self


@cache
def _at_half(name: str) -> World:
    return Strange(sample=SAMPLES[name]).until(Phase.JUDGING, stage="half")


def half(name: str) -> Strange:
    """A run of a kind at 50 %."""
    found = _at_half(name).twin()
    assert isinstance(found, Strange)
    return found


# ---- what a stranger may do ------------------------------------------------------------------------------------------


def at(raw: Any, steps: Steps) -> Any:
    """What is at these steps of an object; None where that is nothing."""
    for step in steps:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def write(raw: Raw, steps: Steps, value: object) -> None:
    """Write a value there, where its holder is there; GONE takes away what is there."""
    *above, last = steps
    holder, known = at(raw, tuple(above)), at(raw, steps)
    if value is GONE and known is not None:
        del holder[last]
    elif value is not GONE and (isinstance(holder, dict) or known is not None):
        holder[last] = copy.deepcopy(value)


def written(steps: Steps, value: object) -> Change:
    return lambda raw, _: write(raw, steps, value)


def third(item: Steps, name: Steps, weight: Steps) -> Change:
    """Another item like this one, for a third Service."""

    def change(raw: Raw, _: list[Raw]) -> None:
        found, items = at(raw, item), at(raw, item[:-1])
        if isinstance(found, dict) and isinstance(items, list):
            items.append(copy.deepcopy(found))
            for steps, value in ((name, "third"), (weight, 30)):
                write(raw, (*item[:-1], len(items) - 1, *steps), value)

    return change


def edits_of_items(kind: DescribedKind, raw: Raw) -> Iterator[tuple[str, Change]]:
    """What may be done to the weighted items of a rule."""
    rule, *_ = kind._form.rules(raw)
    for item in rule.items:
        for value in NUMBERS:
            yield f"{item.service} has the weight {value!r}", written(item.weight_at, value)
        yield f"{item.service} is taken out", written(item.at, GONE)
        for pointer in item.names:
            name = tuple(pointer[1:].split("/"))
            yield f"{item.service} is the third one", written((*item.at, *name), "third")
            yield f"{item.service} is the new side", written((*item.at, *name), rule.items[-1].names.get(pointer))
            yield f"a third one like {item.service}", third(item.at, name, item.weight_at[len(item.at) :])


def edits_around_a_number(kind: DescribedKind, raw: Raw) -> Iterator[tuple[str, Change]]:
    """What may be done to the number of the new side, to what it is a part of, and to the object of the old side."""
    share = kind.spec.share
    assert share is not None
    of, texts = parse(share.of), ("metadata", "annotations")
    names = [name for name in (share.annotation, share.total, *share.needs) if name]
    fields: list[Steps] = [(*texts, f"{kind.spec.prefix}/{name}") for name in names] or [tuple(share.field.split("."))]
    for steps in fields:
        for value in NUMBERS if not names else [each for each in NUMBERS if each is GONE or isinstance(each, str)]:
            yield f"{steps[-1]} is {value!r}", written(steps, value)
    yield "all annotations are gone", written(texts, GONE)
    for place in places(raw, of):
        yield "the new side is the third one", written(place.at, "third")

    def elsewhere(beside: list[Raw]) -> None:
        for each in beside:
            for place in places(each, of):
                write(each, place.at, "third")

    yield "the old side is the third one", lambda _, beside: elsewhere(beside)
    yield "the object of the old side is gone", lambda _, beside: beside.clear()

    def divided(_: Raw, beside: list[Raw]) -> None:
        others = copy.deepcopy(beside)
        elsewhere(others)
        beside += others

    yield "two objects are the old side's", divided


def edits(name: str) -> list[tuple[str, Change]]:
    kind, raw = SAMPLES[name].kind, SAMPLES[name].object
    assert isinstance(kind, DescribedKind)
    return [*(edits_around_a_number(kind, raw) if kind.spec.share else edits_of_items(kind, raw))]


EDITS: Final = {
    name: edits(name)
    for name, sample in SAMPLES.items()
    if isinstance(sample.kind, DescribedKind) and sample.kind.spec.annotations is None and name != "FeatureFlag"
}
"""By kind: those with numbers. For JSON in annotations see test_annotation_edits.py, for flags test_engine_own_rule.py.
"""
ONE_NUMBER: Final = ("NginxCanary", "Mapping")


# ---- what holds then -------------------------------------------------------------------------------------------------


def shares(world: Strange) -> dict[int, float]:
    """The new side's share in each rule that holds it."""
    view, found = world.view, {}
    for rule in view.rules:
        new = [each.weight for each in rule.backends if each.service == "v2"]
        new = [rule.backends[-1].weight] if view.one_number and rule.backends else new
        if new:
            found[rule.index] = sum(new) / max(1, sum(each.weight for each in rule.backends))
    return found


def is_back(world: Strange) -> bool:
    """Whether the new side has no more than before the run, in a number that can be read."""
    moved = [rule for route in world.status.weights.snapshot for rule in route.rules]
    before = {
        rule.index: next(b.weight for b in rule.backends if b.service == "v2") / sum(b.weight for b in rule.backends)
        for rule in moved
    }
    unread = any("v2" in sides for sides in world.view.unread.values())
    return not unread and all(share <= before[rule] for rule, share in shares(world).items() if rule in before)


def check(world: Strange) -> None:
    assert len(world.writes) <= MOST_WRITES, f"{len(world.writes)} writes"
    if world.phase is Phase.ROLLED_BACK:
        assert is_back(world), f"{shares(world)}, and the run has ended: {world.status.message}"
    else:
        assert world.phase is Phase.ROLLING_BACK
        assert "put the old side back" in world.status.message


@settings(max_examples=times(20))
@given(kind=st.sampled_from([*EDITS]), data=st.data())
def test_a_rollback_ends_over_any_edits_or_says_what_is_missing(kind: str, data: st.DataObject) -> None:
    world, done = half(kind), []
    for words, change in data.draw(st.lists(st.sampled_from(EDITS[kind]), min_size=1, max_size=3)):
        done.append(words)
        world.change(change)
        if data.draw(st.booleans()):
            world.advance(m(1))
    try:
        check(world.back())
    except AssertionError as error:
        raise AssertionError(f"{kind}: {', then '.join(done)}") from error


@pytest.mark.parametrize("kind", ONE_NUMBER)
def test_one_number_goes_back_over_any_edit_around_it(kind: str) -> None:
    for words, change in EDITS[kind]:
        world = half(kind)
        world.change(change)
        world.back()
        check(world)
        assert world.phase is Phase.ROLLED_BACK, words


@pytest.mark.parametrize("kind", ONE_NUMBER)
def test_the_undo_command_works_over_any_edit_but_of_the_new_side(kind: str) -> None:
    for words, change in EDITS[kind]:
        world = half(kind)
        world.change(change)
        patch = json.loads(shlex.split(world.status.revert)[-1])
        if words not in ("the new side is the third one", "all annotations are gone"):
            world.put(jsonpatch.apply_patch(world.object, patch))
            assert is_back(world), words


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("nginx.ingress.kubernetes.io/canary is 'abc'", 'canary is not "true"'),
        ("the object of the old side is gone", "create the old side's"),
        ("two objects are the old side's", "leave one"),
        ("the old side is the third one", "no longer holds both v1 and v2"),
    ],
)
def test_what_could_not_be_put_back_is_told(edit: str, words: str) -> None:
    world = half("NginxCanary")
    world.change(dict(EDITS["NginxCanary"])[edit])
    world.back()
    assert world.phase is Phase.ROLLED_BACK
    assert "not all could be put back" in world.status.decisions[-1].note
    assert words in world.status.decisions[-1].note


@pytest.mark.parametrize(
    ("total", "share"), [("1000", "250"), (GONE, "25"), ("10000", "2500"), ("300", "75"), ("150", "37")]
)
def test_a_share_of_before_the_run_is_the_same_of_another_total(total: object, share: str) -> None:
    """Where the new side had 25.0 % before, it gets no more, in whole numbers of what the total is now."""
    prefix = "nginx.ingress.kubernetes.io"
    world = Strange(sample=SAMPLES["NginxCanary"])
    world.change(written(("metadata", "annotations", f"{prefix}/canary-weight"), "250"))
    world.spec = changed(world.spec, {"stages[0].weight": "30%"})
    world.until(Phase.JUDGING, stage="half")
    world.change(written(("metadata", "annotations", f"{prefix}/canary-weight-total"), total))
    undo = json.loads(shlex.split(world.status.revert)[-1])
    by_hand = jsonpatch.apply_patch(world.object, undo)["metadata"]["annotations"]
    world.back()
    assert world.object["metadata"]["annotations"][f"{prefix}/canary-weight"] == share
    assert (by_hand[f"{prefix}/canary-weight"], by_hand[f"{prefix}/canary-weight-total"]) == ("250", "1000")


@pytest.mark.parametrize("kind", ["NginxCanary", "HTTPRoute"])
def test_a_write_without_effect_is_tried_ever_less_often_and_told_once(kind: str) -> None:
    world = half(kind)
    world.stubborn = True
    world.back(m(10))
    assert world.phase is Phase.ROLLING_BACK
    assert len(world.writes) < 50
    assert world.writes[-1] - world.writes[-2] >= s(59)
    assert [each.reason for each in world.status.decisions].count("RequestRefused") == 1
    assert "the weights did not change" in world.status.message
    assert "kubectl" in world.status.message


def test_it_is_tried_at_once_when_the_route_has_changed() -> None:
    world = half("NginxCanary")
    world.stubborn = True
    world.back()
    world.stubborn = False
    world.change(written(("metadata", "labels"), {"team": "shop"}))
    world.change(written(("metadata", "annotations", "nginx.ingress.kubernetes.io/canary-weight"), "400"))
    world.advance(s(2))
    assert world.phase is Phase.ROLLED_BACK
    assert is_back(world)
