"""Whatever anybody writes into an annotation with weights during a run: the way back restores it, or says why not."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.status import Phase, RuleWeights
from tests.annotated import KEYS, Annotated, at_half, text_of
from tests.repetition import times
from tests.situations import m
from tests.unit.test_engine_mixed_routes import KINDS

SERVICES = st.sampled_from(["v1", "v2", "v3"])
VALUES: st.SearchStrategy[object] = st.one_of(st.integers(-2, 120), st.sampled_from([1e30, "50", None, True, [], {}]))
WEIGHTS = st.dictionaries(SERVICES, VALUES, max_size=3)
JSON = st.recursive(
    st.one_of(VALUES, st.text(max_size=4)),
    lambda below: st.one_of(
        st.lists(below, max_size=2),
        st.dictionaries(st.sampled_from(["v1", "type", "forwardConfig", "targetGroups", "weight"]), below, max_size=2),
    ),
)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str | None, bool]:
    """A kind of route, what its annotation becomes (None: it goes), and whether all others go with it."""
    kind = draw(st.sampled_from([*KEYS]))
    right = at_half(kind).text or ""
    begin, end = sorted((draw(st.integers(0, len(right))), draw(st.integers(0, len(right)))))
    text = draw(
        st.one_of(
            st.none(),
            st.text(max_size=8),
            JSON.map(json.dumps),
            WEIGHTS.map(lambda weights: text_of(kind, weights)),
            st.text(max_size=2).map(lambda other: f"{right[:begin]}{other}{right[end:]}"),
        )
    )
    return kind, text, text is None and draw(st.booleans())


def rule_of(world: Annotated) -> RuleWeights | None:
    """The rule in the annotation, where it can be read."""
    view = KINDS[world.object["metadata"]["name"]].view(world.object)
    rules = [rule for rule in view.rules if rule.backends and rule.index not in view.faults]
    return next(iter(rules), None)


def sides(rule: RuleWeights | None) -> list[tuple[str, int]]:
    return sorted((b.service, b.weight) for b in rule.backends if b.service in ("v1", "v2")) if rule else []


@settings(max_examples=times(20))
@given(edits())
def test_the_way_back_restores_an_annotation_to_the_byte_or_says_why_not(edit: tuple[str, str | None, bool]) -> None:
    kind, text, others_too = edit
    before, world = Annotated(kind=kind), at_half(kind)
    world.write_text(text, all_of_them=others_too)
    edited = rule_of(world)
    world.says["errors"] = 0.5
    world.advance(m(3))
    if edited is None:
        assert (world.phase, world.bare()) == (Phase.ROLLED_BACK, before.bare())
    elif [service for service, _ in sides(edited)] == ["v1", "v2"]:
        assert (world.phase, sides(rule_of(world))) == (Phase.ROLLED_BACK, sides(rule_of(before)))
    else:
        others = any(backend.weight for backend in edited.backends if backend.service != "v2")
        stays = "v2" in dict(sides(edited)) and not others and dict(sides(edited))["v2"] > 0
        assert world.phase is (Phase.ROLLING_BACK if stays else Phase.ROLLED_BACK)
        assert stays or dict(sides(rule_of(world))).get("v2", 0) == 0
        assert "no longer holds both v1 and v2" in world.status.message


@settings(max_examples=times(10))
@given(edits())
def test_what_cannot_be_read_is_never_written_over_on_the_way_forward(edit: tuple[str, str | None, bool]) -> None:
    kind, text, others_too = edit
    world = at_half(kind)
    world.write_text(text, all_of_them=others_too)
    edited = world.object
    if rule_of(world) is None:
        world.advance(m(3))
        assert (world.phase, world.status.held_for, world.object) == (Phase.HELD, "Conflict", edited)
