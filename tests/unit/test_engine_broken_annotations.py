"""An annotation with weights that somebody breaks during a run: it holds the run, and the way back puts it right."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from rolloutplan.api.status import Phase
from tests.annotated import KEYS, Annotated, at_half, text_of
from tests.situations import m
from tests.unit.test_engine_mixed_routes import ALB, TEXT

Edit = Callable[[Annotated], None]


def writes(text: str) -> Edit:
    return lambda world: world.write_text(text)


def weighs(weights: object) -> Edit:
    return lambda world: world.write_text(text_of(world.kind, weights))


BROKEN: dict[str, tuple[Edit, str]] = {
    "cut off": (writes('{"v1": 9'), "is not JSON: correct its text"),
    "empty": (writes(""), "is not JSON: correct its text"),
    "a list": (writes("[1]"), "o longer h"),
    "a number": (writes("5"), "o longer h"),
    "null": (writes("null"), "is not JSON"),
    "nothing in it": (writes("{}"), "o longer h"),
    "no weights": (writes('{"type": "redirect", "forwardConfig": {}}'), ""),
    "weights as text": (weighs({"v1": "50", "v2": 50}), '"50": write a number'),
    "all weights as text": (weighs({"v1": "100", "v2": "0"}), '"100": write a number'),
    "a negative weight": (weighs({"v1": 50, "v2": -50}), "-50: write a whole number from 0 on"),
    "a third backend's weight as text": (weighs({"v1": 50, "v2": 50, "v3": "1"}), '"1": write a number'),
    "removed": (lambda world: world.write_text(None), "no longer has /metadata/annotations/"),
    "all annotations removed": (
        lambda world: world.write_text(None, all_of_them=True),
        "no longer has /metadata/annotations/",
    ),
}
EVERY_KIND = pytest.mark.parametrize("kind", KEYS)
EVERY = pytest.mark.parametrize(("edit", "words"), BROKEN.values(), ids=BROKEN)


@EVERY_KIND
@EVERY
def test_it_holds_the_run_with_the_reason_and_is_left_as_it_is(kind: str, edit: Edit, words: str) -> None:
    world = at_half(kind)
    right = world.text
    edit(world)
    edited = world.object
    world.until(Phase.HELD, limit=m(2)).advance(m(1))
    assert (world.phase, world.status.held_for) == (Phase.HELD, "Conflict")
    assert words in world.status.message
    assert "`abort` rolls back" in world.status.message
    assert world.object == edited
    mended = copy.deepcopy(world.object)
    mended["metadata"].setdefault("annotations", {})[KEYS[kind]] = right
    world.routes = {mended["metadata"]["name"]: mended}
    world.until(Phase.SUCCEEDED)


@EVERY_KIND
@EVERY
def test_the_way_back_restores_its_text_to_the_byte(kind: str, edit: Edit, words: str) -> None:
    before = Annotated(kind=kind).bare()
    world = at_half(kind)
    edit(world)
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK, limit=m(5))
    assert world.bare() == before


@EVERY_KIND
@EVERY
def test_it_is_put_right_as_well_when_it_breaks_on_the_way_back(kind: str, edit: Edit, words: str) -> None:
    before = Annotated(kind=kind).bare()
    world = at_half(kind)
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK)
    edit(world)
    world.until(Phase.ROLLED_BACK, limit=m(5))
    assert world.bare() == before


@EVERY_KIND
@EVERY
def test_a_resume_does_not_write_over_it(kind: str, edit: Edit, words: str) -> None:
    world = at_half(kind)
    edit(world)
    world.until(Phase.HELD, limit=m(2))
    edited = world.object
    world.say("resume r1")
    world.advance(m(2))
    assert (world.phase, world.object) == (Phase.HELD, edited)


@EVERY_KIND
def test_other_backends_are_left_to_whoever_wrote_them_and_the_way_back_says_so(kind: str) -> None:
    world = at_half(kind)
    others = text_of(kind, {"v3": 90, "v4": 10})
    world.write_text(others)
    world.until(Phase.HELD, limit=m(2))
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK).advance(m(3))
    assert world.text == others
    assert "no longer holds both v1 and v2" in world.status.message


def test_a_key_that_is_there_twice_counts_as_the_last_one() -> None:
    """As for the controllers, which read it with Go."""
    world = at_half("SkipperIngress")
    world.write_text('{"v1": 10, "v2": 50, "v1": 50}')
    world.advance(m(1))
    assert world.phase is Phase.JUDGING
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK)
    assert world.text == '{"v1": 100, "v2": 0.0}'


def test_a_rule_that_is_found_goes_back_although_another_is_lost_for_good() -> None:
    second = f"{ALB}-api"
    world = Annotated()
    world.object["metadata"]["annotations"][second] = TEXT
    world.until(Phase.JUDGING, stage="half")
    world.routes = copy.deepcopy(world.routes)
    world.object["metadata"]["annotations"][second] = text_of("AlbIngress", {"v3": 1})
    world.says["errors"] = 0.5
    world.until(Phase.ROLLING_BACK).advance(m(5))
    assert world.text == TEXT
    assert "no longer holds both v1 and v2 in its rule shop-api" in world.status.message
