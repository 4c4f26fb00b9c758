"""What stages without weights add to a route: found again among the edits of others, and taken away to the byte."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Sequence
from typing import Any, Final

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.fence import rule_label
from rolloutplan.traffic import ROUTE_KINDS, read_undo
from rolloutplan.traffic.overlay import ADDED, bare
from tests.undoing import REFUSED, run_by_hand

Raw = dict[str, Any]
MIRROR: Final = "mirror 10% to web-v2"
STAFF: Final = "header x-staff=yes to web-v2"
BETA: Final = "cookie beta=1.0 to web-v2"


def route(*rules: Raw, **meta: Any) -> Raw:
    """An HTTPRoute as the API server returns it."""
    return {
        "metadata": {"namespace": "shop", "name": "web", "generation": 1, "resourceVersion": "7", **meta},
        "spec": {"rules": [*rules]},
    }


def backends(old: int = 100, new: int = 0) -> list[Raw]:
    shared = {"group": "", "kind": "Service", "port": 80}
    return [{"name": "web", "weight": old, **shared}, {"name": "web-v2", "weight": new, **shared}]


API: Final[Raw] = {
    "name": "api",
    "matches": [{"path": {"type": "PathPrefix", "value": "/api"}}, {"path": {"type": "Exact", "value": "/v1"}}],
    "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "1"}]}}],
    "backendRefs": backends(),
}
REST: Final[Raw] = {"backendRefs": backends()}
HEALTH: Final[Raw] = {"backendRefs": [{"name": "health", "port": 80, "weight": 1}]}


def changed(
    raw: Raw, added: Sequence[str], kind: str = "HTTPRoute", rules: Sequence[int] = (), by: str = "01234567"
) -> Raw:
    """The object after a patch by which these rules (all that hold both sides) have this in addition."""
    moved = ROUTE_KINDS[kind]
    view = moved.view(raw)
    both = [rule for rule in view.rules if {"web", "web-v2"} <= {backend.service for backend in rule.backends}]
    chosen = [rule for rule in both if not rules or rule.index in rules]
    target = RouteWeights(kind=kind, name="web", rules=tuple(rule.with_added(tuple(added)) for rule in chosen))
    patch = moved.patch(view, target, token=f"{'+'.join(map(rule_label, chosen))}/{by}.1.1", undo="undo")
    made: Raw = jsonpatch.apply_patch(raw, json.loads(json.dumps(patch)))
    return made


def additions(raw: Raw, kind: str = "HTTPRoute") -> list[tuple[str, ...]]:
    return [rule.added for rule in ROUTE_KINDS[kind].view(raw).rules]


def rules_of(raw: Raw) -> list[Raw]:
    found: list[Raw] = raw["spec"]["rules"]
    return found


def with_defaults(raw: Raw) -> Raw:
    """The object as the API server stores it: with a field in each match that nobody wrote."""
    raw = copy.deepcopy(raw)
    for rule in rules_of(raw):
        for match in rule.get("matches", ()):
            match.setdefault("queryParams", [])
    return raw


@pytest.mark.parametrize("added", [[MIRROR], [STAFF], [STAFF, BETA], [STAFF, BETA, MIRROR]], ids=str)
def test_what_was_added_is_read_and_taken_away_to_the_byte(added: list[str]) -> None:
    raw = route(API, HEALTH, REST)
    made = changed(raw, added)
    assert additions(made) == [tuple(added), (), tuple(added)]
    view, before = ROUTE_KINDS["HTTPRoute"].view(made), ROUTE_KINDS["HTTPRoute"].view(raw)
    assert [rule.with_added(()) for rule in view.rules] == list(before.rules), "rules keep their numbers"
    gone = changed(with_defaults(made), [])
    assert rules_of(gone) == rules_of(with_defaults(raw))
    assert ADDED not in gone["metadata"]["annotations"]


def test_a_copy_for_testers_keeps_all_but_its_name_and_the_old_side() -> None:
    first, second, third, *_ = rules_of(changed(route(API, REST), [STAFF, BETA]))
    assert "name" not in first
    assert first["filters"] == API["filters"]
    assert first["backendRefs"] == [{key: value for key, value in backends()[1].items() if key != "weight"}]
    header = {"name": "x-staff", "type": "Exact", "value": "yes"}
    assert first["matches"] == [{**match, "headers": [header]} for match in API["matches"]]
    cookie = {"name": "Cookie", "type": "RegularExpression", "value": "(^|.*; )beta=1[.]0(;.*|$)"}
    assert second["matches"] == [{**match, "headers": [cookie]} for match in API["matches"]]
    assert third == API


def test_a_mirror_names_the_backend_and_nothing_else_of_it() -> None:
    refs = [backends()[0], {**backends()[1], "filters": [{"type": "ExtensionRef"}]}]
    (rule,) = rules_of(changed(route({"backendRefs": refs}), [MIRROR]))
    service = {"group": "", "kind": "Service", "name": "web-v2", "port": 80}
    assert rule["filters"] == [{"type": "RequestMirror", "requestMirror": {"backendRef": service, "percent": 10}}]


def test_weights_change_below_what_was_added() -> None:
    made = changed(route(REST), [STAFF])
    view = ROUTE_KINDS["HTTPRoute"].view(made)
    (rule,) = view.rules
    moved = rule.with_backends(tuple(b.model_copy(update={"weight": 50}) for b in rule.backends))
    target = RouteWeights(kind="HTTPRoute", name="web", rules=(moved,))
    patch = ROUTE_KINDS["HTTPRoute"].patch(view, target, token="0/01234567.2.1", undo="")
    copied, weighted = rules_of(jsonpatch.apply_patch(made, patch))
    assert copied == rules_of(made)[0]
    assert weighted["backendRefs"] == backends(50, 50)
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(route(HEALTH, *rules_of(made), annotations=made["metadata"]["annotations"]), patch)


def test_nothing_is_written_where_all_is_there() -> None:
    made = changed(route(REST), [STAFF, MIRROR])
    view = ROUTE_KINDS["HTTPRoute"].view(made)
    target = RouteWeights(kind="HTTPRoute", name="web", rules=view.rules)
    assert ROUTE_KINDS["HTTPRoute"].patch(view, target, token="0/01234567.1.1", undo="undo") == []


EDITS: Final = {
    "a rule before": lambda rules: [HEALTH, *rules],
    "a rule behind": lambda rules: [*rules, HEALTH],
    "another order": lambda rules: [rules[2], rules[0], rules[1]],
    "a filter": lambda rules: [rules[0], {**rules[1], "filters": [*rules[1]["filters"], {"type": "Other"}]}, rules[2]],
    "a timeout": lambda rules: [rules[0], {**rules[1], "timeouts": {"request": "5s"}}, rules[2]],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_it_is_found_among_the_edits_of_others(edit: Any) -> None:
    made = changed(route(API, HEALTH), [STAFF, MIRROR])
    edited = {**made, "spec": {"rules": edit(copy.deepcopy(rules_of(made)))}}
    ours = {"x-staff", "RequestMirror"}
    gone = changed(edited, [])
    assert not any(word in json.dumps(gone["spec"]) for word in ours)
    again = edit([None, copy.deepcopy(API) | {"filters": [*API["filters"]]}, HEALTH])
    assert rules_of(gone) == [rule for rule in again if rule is not None]


def test_what_another_run_added_to_other_rules_stays() -> None:
    theirs = changed(route(API, REST), [STAFF, MIRROR], rules=[0])
    both = changed(theirs, [BETA], rules=[1], by="76543210")
    assert additions(both) == [(STAFF, MIRROR), (BETA,)]
    ours_gone = changed(both, [], rules=[1], by="76543210")
    assert additions(ours_gone) == [(STAFF, MIRROR), ()]
    assert rules_of(ours_gone) == rules_of(theirs)


def test_what_somebody_took_away_is_missing_and_is_added_again() -> None:
    made = changed(route(REST), [STAFF])
    applied = {**made, "spec": {"rules": [REST]}}
    assert additions(applied) == [()]
    assert rules_of(changed(applied, [STAFF])) == rules_of(made)
    assert ADDED not in changed(applied, [])["metadata"]["annotations"]


@pytest.mark.parametrize("added", [[MIRROR], [STAFF, BETA], [STAFF, MIRROR]], ids=str)
def test_the_undo_command_takes_it_away_and_is_read_back(added: list[str]) -> None:
    raw = route(API, REST)
    kind, made = ROUTE_KINDS["HTTPRoute"], changed(raw, added)
    before = RouteWeights(kind="HTTPRoute", name="web", rules=kind.view(raw).rules)
    target = before.with_added(tuple(added))
    command = kind.undo_command("shop", before, kind.view(raw), target, "01234567")
    assert command == kind.undo_command("shop", before, kind.view(made), None, "01234567"), (
        "the same before and after it is there"
    )
    operations = json.loads(shlex.split(command)[-1])
    undone = jsonpatch.apply_patch(with_defaults(made), operations)
    assert rules_of(undone) == rules_of(with_defaults(raw))
    assert ADDED not in undone["metadata"]["annotations"]
    assert [r.backends for r in kind.read_undo("shop", "web", operations).rules] == [r.backends for r in before.rules]


def own_rule(**more: Any) -> Raw:
    """A rule of the route's author for the same testers, with a field that a copy of ours would not have."""
    staff = {"name": "x-staff", "type": "Exact", "value": "yes"}
    return {"matches": [{"headers": [staff]}], "backendRefs": [{**backends()[1], "weight": 1}], **more}


@pytest.mark.parametrize("others", [[], [HEALTH]], ids=["alone", "with another"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_a_wider_rule_of_the_author_for_the_same_testers_is_never_taken_for_ours(
    first: bool, others: list[Raw]
) -> None:
    own, base = own_rule(timeouts={"request": "9s"}), {"matches": [{"path": {"value": "/"}}], **REST}
    raw = route(*([own, *others, base] if first else [base, *others, own]))
    raw["spec"]["rules"] = [{**rule, "matches": rule.get("matches", [{}])} for rule in rules_of(raw)]
    made = changed(raw, [STAFF], rules=[raw["spec"]["rules"].index(base)])
    gone = changed(made, [], rules=[raw["spec"]["rules"].index(base)])
    assert gone["spec"] == raw["spec"]
    applied = {**made, "spec": raw["spec"]}
    assert additions(applied) == [()] * len(rules_of(raw)), "where ours is gone, the author's is not ours either"


MOVED: Final = {
    "to the end": lambda copied, *rest: [*rest, copied],
    "before another rule": lambda copied, *rest: [copied, HEALTH, *rest],
    "behind another rule": lambda copied, *rest: [HEALTH, copied, OTHER, *rest],
}
OTHER: Final[Raw] = {"matches": [{"path": {"type": "PathPrefix", "value": "/other"}}], **HEALTH}


@pytest.mark.parametrize("move", MOVED.values(), ids=MOVED)
@pytest.mark.parametrize("owned", [True, False], ids=["with its plan", "as earlier versions wrote it"])
def test_a_copy_that_was_moved_is_put_back_once_and_taken_away_anywhere(move: Any, owned: bool) -> None:
    made = changed(route(REST), [STAFF])
    made["metadata"]["annotations"] = dict(made["metadata"]["annotations"])
    if not owned:
        entries = json.loads(made["metadata"]["annotations"][ADDED])
        assert [each.pop("by") for each in entries] == ["01234567"]
        made["metadata"]["annotations"][ADDED] = json.dumps(entries)
    moved = {**made, "spec": {"rules": move(*rules_of(made))}}
    others = [rule for rule in rules_of(moved) if rule in (HEALTH, OTHER)]
    assert [(piece.owner, piece.text) for piece in ROUTE_KINDS["HTTPRoute"].view(moved).pieces] == [("01234567", STAFF)]
    bare_rules = [rule for rule in rules_of(moved) if rule in (HEALTH, OTHER, REST)]
    assert additions(moved)[bare_rules.index(REST)] == ()
    assert rules_of(changed(moved, [STAFF])) == [*others, *rules_of(made)]
    assert rules_of(changed(moved, [])) == [*others, REST]


def test_an_edited_copy_is_left_to_its_editor_and_named() -> None:
    made = changed(route(API), [STAFF, MIRROR])
    edited = copy.deepcopy(made)
    rules_of(edited)[0]["matches"][0]["path"]["value"] = "/x"
    rules_of(edited)[1]["filters"][-1]["requestMirror"]["percent"] = 20
    view = ROUTE_KINDS["HTTPRoute"].view(edited)
    assert {(each.text, each.rule) for each in view.left} == {(STAFF, 0), (MIRROR, 1)}
    assert not view.pieces
    assert rules_of(changed(edited, [])) == rules_of(edited)
    assert not ROUTE_KINDS["HTTPRoute"].view(made).left


def forged(pieces: int) -> Raw:
    piece = {"added": MIRROR, "in": "/spec/rules/0/filters", "value": {"type": "RequestMirror", "requestMirror": {}}}
    copied = {"added": STAFF, "before": "/spec/rules/0", "value": own_rule(a="b")}
    annotation = json.dumps([piece, copied] * (pieces // 2))
    return route(*[REST] * 1000, annotations={ADDED: annotation})


@pytest.mark.parametrize("pieces", [2, 64, 256, 400])
def test_the_rules_are_looked_up_at_most_twice_for_any_number_of_pieces(pieces: int) -> None:
    calls: list[int] = []

    def places(raw: Any) -> list[tuple[Any, ...]]:
        calls.append(1)
        return [("spec", "rules", i) for i in range(len(raw["spec"]["rules"]))]

    assert bare(forged(pieces), places, lambda _: True).found == ()
    assert len(calls) <= 2


def test_what_no_run_can_have_written_is_not_read() -> None:
    deep = "[" * 5000 + "]" * 5000
    for text in (
        deep,
        json.dumps([{"added": STAFF, "before": "/spec/rules/0", "value": json.loads("[" * 70 + "]" * 70)}]),
    ):
        assert additions(route(REST, annotations={ADDED: text})) == [()]
    made = changed(route(REST), [STAFF])
    (entry,) = json.loads(made["metadata"]["annotations"][ADDED])
    made["metadata"]["annotations"][ADDED] = json.dumps([entry] * 257)
    assert additions(made) == [(), ()]


def test_more_than_can_be_read_back_is_refused_by_name() -> None:
    many = route(*({**REST, "name": f"r{i}"} for i in range(129)))
    with pytest.raises(LookupError, match="HTTPRoute web: a run would add 258 things to it"):
        changed(many, [STAFF, BETA])


FORGED: Final = {
    "a filter of its author": {"added": MIRROR, "in": "/spec/rules/0/filters", "value": API["filters"][0]},
    "a rule of its author": {"added": STAFF, "before": "/spec/rules/1", "value": API},
    "a parent": {"added": STAFF, "before": "/spec/parentRefs/0", "value": {"name": "gw", "x": "x-staff yes"}},
    "a backend": {"added": MIRROR, "in": "/spec/rules/0/backendRefs", "value": backends()[0]},
    "a field": {"added": "sticky a for 1h", "as": "/spec/rules/0/filters", "value": API["filters"]},
    "an unknown thing": {"added": "timeout 5s", "in": "/spec/rules/0/filters", "value": API["filters"][0]},
}


@pytest.mark.parametrize("piece", FORGED.values(), ids=FORGED)
def test_nothing_else_of_a_route_is_taken_for_an_addition(piece: Raw) -> None:
    raw = route(API, REST, annotations={ADDED: json.dumps([piece])})
    raw["spec"]["parentRefs"] = [{"name": "gw", "x": "x-staff yes"}]
    assert additions(raw) == [(), ()]
    gone = changed(raw, [])
    assert gone["spec"] == raw["spec"]


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_annotation_is_read(text: str) -> None:
    raw = route(API, REST, annotations={ADDED: text})
    assert additions(raw) == [(), ()]


def test_an_addition_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="timeout 5s is nothing that this version can add"):
        changed(route(REST), ["timeout 5s"])


FIRST, SECOND = "01234567", "76543210"
BY_PLAN: Final = {FIRST: 0, SECOND: 2}
"""Which rule each of two plans moves."""


def undo_line(raw: Raw, owner: str) -> str:
    """The undo command of a plan that moves one rule, built from the route as it is."""
    kind = ROUTE_KINDS["HTTPRoute"]
    view = kind.view(raw)
    rule = view.rules[BY_PLAN[owner]]
    return kind.undo_command("shop", RouteWeights(kind="HTTPRoute", name="web", rules=(rule,)), view, None, owner)


@pytest.mark.parametrize("second", [[STAFF], [MIRROR], [BETA, MIRROR]], ids=str)
@pytest.mark.parametrize("first", [[STAFF], [MIRROR], [STAFF, BETA, MIRROR]], ids=str)
@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)], ids=["in order", "the other way round"])
def test_undo_commands_of_two_plans_on_one_route_work_in_either_order(
    first: list[str], second: list[str], order: tuple[str, str]
) -> None:
    raw = route(API, HEALTH, REST)
    alone = {FIRST: changed(raw, first, rules=[0]), SECOND: changed(raw, second, rules=[2], by=SECOND)}
    both = changed(alone[FIRST], second, rules=[2], by=SECOND)
    lines = {owner: undo_line(both, owner) for owner in order}
    once = run_by_hand(both, lines[order[0]])
    assert rules_of(once) == rules_of(alone[order[1]])
    assert once["metadata"]["annotations"][ADDED] == alone[order[1]]["metadata"]["annotations"][ADDED]
    assert rules_of(run_by_hand(once, undo_line(once, order[1]))) == rules_of(raw), "printed again"
    twice = run_by_hand(once, lines[order[1]])
    assert (rules_of(twice), ADDED in twice["metadata"]["annotations"]) == (rules_of(raw), False), "printed before"


def test_the_undo_command_for_two_plans_is_read_back() -> None:
    both = changed(changed(route(API, HEALTH, REST), [STAFF], rules=[0]), [BETA, MIRROR], rules=[2], by=SECOND)
    for owner, index in BY_PLAN.items():
        line = undo_line(both, owner)
        assert line.startswith("{ kubectl -n shop patch ")
        (read,) = read_undo("shop", [line])
        assert [rule.index for rule in read.rules] == [index]
        forged = line.replace('weight","value":100', 'weight","value":0', 1)
        assert forged != line
        assert read_undo("shop", [forged]) == (), "its patches restore different weights"


@pytest.mark.parametrize("later", [[STAFF], [MIRROR]], ids=str)
def test_an_undo_command_that_does_not_know_what_another_plan_added_writes_nothing(later: list[str]) -> None:
    mine = changed(route(API, HEALTH, REST), [STAFF], rules=[0])
    line = undo_line(mine, FIRST)
    both = changed(mine, later, rules=[2], by=SECOND)
    with pytest.raises(REFUSED):
        run_by_hand(both, line)


TWINS: Final = [
    {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": backends()} for path in ("/a", "/b")
]
"""Rules without names that hold the same Services."""


@pytest.mark.parametrize(
    "edit",
    [
        lambda rules: [HEALTH, *rules],
        lambda rules: [rules[1], rules[0]],
        lambda rules: [{**rules[1], "matches": [{"path": {"value": "/new"}}]}, *rules],
        lambda rules: rules[1:],
    ],
    ids=["another before it", "another order", "a new one with the same Services", "it is gone"],
)
def test_an_undo_command_never_hits_another_rule(edit: Any) -> None:
    raw = route(*TWINS)
    line, mine = undo_line(raw, FIRST), copy.deepcopy(TWINS[0])
    moved = copy.deepcopy(TWINS)
    moved[0]["backendRefs"] = backends(0, 100)
    edited = {**raw, "spec": {"rules": edit(moved)}}
    with pytest.raises(REFUSED):
        run_by_hand(edited, line)
    kind = ROUTE_KINDS["HTTPRoute"]
    digest = kind.view(raw).digests[0]
    before = kind.view(raw).rules[0].model_copy(update={"digest": digest})
    now = kind.view(edited)
    fresh = kind.undo_command("shop", RouteWeights(kind="HTTPRoute", name="web", rules=(before,)), now, None, FIRST)
    if digest in now.digests.values():
        assert mine in rules_of(run_by_hand(edited, fresh)), "printed again, it finds the rule"
