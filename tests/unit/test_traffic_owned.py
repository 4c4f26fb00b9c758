"""The route that the operator owns in place of one in Git: what it takes over, whose weights it has, when it goes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.traffic.overlay import ADDED
from rolloutplan.traffic.owned import (
    LABEL,
    METHODS,
    Follow,
    HandBack,
    Make,
    NotOwnableError,
    Wanted,
    next_step,
    source_name,
)

Raw = dict[str, Any]
RUNS, WAITS, NOBODY = Wanted(used=True, moving=True), Wanted(used=True), Wanted()
ROOT: Raw = {"path": {"type": "PathPrefix", "value": "/"}}


def rule(weights: Mapping[str, int], *matches: Raw, **more: Any) -> Raw:
    refs = [{"name": name, "port": 80, "weight": weight} for name, weight in weights.items()]
    return {"matches": [*matches] or [ROOT], "backendRefs": refs, **more}


def git(*rules: Raw, uid: str = "u1", **meta: Any) -> Raw:
    """The route in Git."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "a", "uid": uid, "labels": {"app": "shop"}, **meta},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["shop.example"], "rules": [*rules]},
    }


def made(source: Raw, *weights: Mapping[str, int]) -> Raw:
    """The operator's route from this one, as it is in the cluster; each rule with these weights."""
    step = next_step(source, None, WAITS)
    assert isinstance(step, Make)
    own = copy.deepcopy({**step.body})
    own["metadata"] |= {"resourceVersion": "7"}
    for each, moved in zip(own["spec"]["rules"], weights, strict=False):
        for ref in each["backendRefs"]:
            ref["weight"] = moved[ref["name"]]
    return own


def followed(source: Raw, own: Raw, wanted: Wanted = RUNS) -> Raw:
    """The operator's route after its next step, which must be to follow the one in Git."""
    step = next_step(source, own, wanted)
    assert isinstance(step, Follow), step
    after: Raw = jsonpatch.apply_patch(own, [*step.operations])
    assert not isinstance(next_step(source, after, wanted), Follow), "one step is enough"
    return after


def weights(own: Raw) -> list[dict[str, int]]:
    return [{ref["name"]: ref["weight"] for ref in each["backendRefs"]} for each in own["spec"]["rules"]]


def test_it_has_all_of_the_route_in_git_and_each_match_names_a_method() -> None:
    source = git(
        rule({"v1": 100, "v2": 0}, ROOT, {"path": {"type": "Exact", "value": "/x"}}, timeouts={"request": "1s"})
    )
    own = made(source)
    assert own["spec"]["parentRefs"] == source["spec"]["parentRefs"]
    assert own["spec"]["hostnames"] == ["shop.example"]
    (only,) = own["spec"]["rules"]
    assert only["timeouts"] == {"request": "1s"}
    assert [match["method"] for match in only["matches"]] == [*METHODS, *METHODS]
    assert {match["path"]["value"] for match in only["matches"]} == {"/", "/x"}


def test_it_is_gone_with_the_route_in_git_and_has_none_of_its_labels() -> None:
    own = made(git(rule({"v1": 1})))
    assert source_name(own) == "shop"
    assert own["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert own["metadata"]["labels"] == {"rolloutplan.dev/owned": "true"}, "a pipeline prunes by its labels"
    again = followed(git(rule({"v1": 1}), uid="u2"), own)
    assert again["metadata"]["ownerReferences"][0]["uid"] == "u2", "the route in Git was deleted and created again"


MOVED = {"v1": 75, "v2": 25}
X: Raw = {"path": {"type": "Exact", "value": "/x"}}


@pytest.mark.parametrize(
    ("then", "wanted", "keeps"),
    [
        pytest.param([rule({"v1": 100, "v2": 0}, timeouts={"request": "1s"})], RUNS, [MOVED], id="a timeout"),
        pytest.param(
            [rule({"v1": 100, "v3": 0, "v2": 0})], RUNS, [{"v1": 75, "v3": 0, "v2": 25}], id="one more backend"
        ),
        pytest.param(
            [rule({"v1": 1}, {"path": {"type": "Exact", "value": "/x"}}), rule({"v1": 100, "v2": 0})],
            RUNS,
            [{"v1": 1}, MOVED],
            id="a rule before it",
        ),
        pytest.param(
            [rule({"v1": 100, "v2": 0}, {"path": {"type": "Exact", "value": "/y"}})],
            RUNS,
            [MOVED],
            id="another path: the rule is known by its backends",
        ),
        pytest.param([rule({"v2": 100, "v3": 0})], WAITS, [{"v2": 25, "v3": 0}], id="the next release, without a run"),
        pytest.param([rule({"v3": 1})], NOBODY, [{"v3": 1}], id="nothing of it left, without a run"),
    ],
)
def test_what_changes_in_git_is_taken_over_and_no_weight_with_it(
    then: list[Raw], wanted: Wanted, keeps: list[dict[str, int]]
) -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), MOVED)
    assert weights(followed(git(*then), own, wanted)) == keeps


def test_a_rule_is_known_by_its_name_when_its_matches_change() -> None:
    own = made(git(rule({"v1": 100, "v2": 0}, name="all")), MOVED)
    after = followed(git(rule({"v1": 100, "v2": 0}, {"path": {"type": "Exact", "value": "/y"}}, name="all")), own)
    assert weights(after) == [MOVED]


def test_weights_that_change_in_git_alone_change_nothing() -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), MOVED)
    assert next_step(git(rule({"v1": 0, "v2": 100})), own, RUNS) is None


@pytest.mark.parametrize(
    ("committed", "wanted", "step"),
    [
        ({"v1": 0, "v2": 100}, NOBODY, HandBack("7")),
        ({"v1": 0, "v2": 1}, NOBODY, HandBack("7")),
        ({"v1": 100, "v2": 0}, RUNS, None),
        ({"v1": 100, "v2": 0}, NOBODY, None),
    ],
)
def test_it_goes_when_no_plan_uses_it_and_git_divides_the_traffic_in_the_same_way(
    committed: dict[str, int], wanted: Wanted, step: HandBack | None
) -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), {"v1": 0, "v2": 100})
    assert next_step(git(rule(committed)), own, wanted) == step


def test_the_weights_of_rules_that_no_run_has_moved_are_those_in_git() -> None:
    own = made(git(rule({"v1": 100, "v2": 0}), rule({"a": 50, "b": 50}, X)), {"v1": 0, "v2": 100}, {"a": 50, "b": 50})
    later = git(rule({"v1": 100, "v2": 0}), rule({"a": 90, "b": 10}, X))
    assert next_step(later, own, RUNS) is None, "nothing is taken over in a run"
    again = followed(later, own, NOBODY)
    assert weights(again) == [{"v1": 0, "v2": 100}, {"a": 90, "b": 10}]
    assert next_step(later, again, NOBODY) is None
    assert isinstance(next_step(git(rule({"v1": 0, "v2": 1}), rule({"a": 9, "b": 1}, X)), again, NOBODY), HandBack)


def test_what_git_says_of_the_weights_in_a_run_is_taken_over_after_it() -> None:
    own = made(git(rule({"v1": 100, "v2": 0}), rule({"a": 50, "b": 50}, X)), MOVED, {"a": 50, "b": 50})
    later = git(rule({"v1": 100, "v2": 0}, timeouts={"request": "1s"}), rule({"a": 90, "b": 10}, X))
    in_run = followed(later, own, RUNS)
    assert weights(in_run) == [MOVED, {"a": 50, "b": 50}]
    assert weights(followed(later, in_run, WAITS)) == [MOVED, {"a": 90, "b": 10}]


def gateway(route: Raw, accepted: str, seen: int, generation: int = 2) -> Raw:
    """The route with the answer of a gateway."""
    condition = {"type": "Accepted", "status": accepted, "observedGeneration": seen}
    status = {"parents": [{"parentRef": {"name": "gw"}, "controllerName": "x", "conditions": [condition]}]}
    return {**route, "metadata": {**route["metadata"], "generation": generation}, "status": status}


@pytest.mark.parametrize(
    ("accepted", "seen", "goes"),
    [("True", 2, True), ("True", 0, True), ("True", 1, False), ("False", 2, False)],
)
def test_it_stays_until_the_gateway_has_taken_the_route_in_git_as_it_is(accepted: str, seen: int, goes: bool) -> None:
    source = git(rule({"v1": 100, "v2": 0}))
    own = gateway(made(source), "True", 2)
    assert next_step(gateway(source, accepted, seen), own, NOBODY) == (HandBack("7") if goes else None)


def test_a_method_that_another_rule_names_for_the_path_is_left_to_that_rule() -> None:
    tests = {"headers": [{"name": "x", "value": "y"}], **ROOT}
    own = made(git(rule({"v1": 1, "v2": 0}), rule({"v2": 1}, tests), rule({"api": 1}, {**ROOT, "method": "GET"})))
    first, second, third = ([match["method"] for match in each["matches"]] for each in own["spec"]["rules"])
    assert first == second == [method for method in METHODS if method != "GET"]
    assert third == ["GET"]


MARKS = ("labels", "annotations", "ownerReferences")


@pytest.mark.parametrize("keys", [keys for number in (1, 2) for keys in combinations(MARKS, number)])
@pytest.mark.parametrize("wanted", [RUNS, WAITS, NOBODY])
def test_what_somebody_has_taken_away_of_its_metadata_is_put_back(keys: Sequence[str], wanted: Wanted) -> None:
    source = git(rule({"v1": 100, "v2": 0}))
    own = made(source, MOVED)
    was = {key: own["metadata"].pop(key) for key in keys}
    again = followed(source, own, wanted)
    assert {key: again["metadata"][key] for key in keys} == was
    assert weights(again) == [MOVED], "the weights of the run, not those in Git"


def test_without_all_its_marks_it_is_left_as_it_is_and_one_label_lets_it_follow_again() -> None:
    source = git(rule({"v1": 100, "v2": 0}))
    own = made(source, MOVED)
    for key in MARKS:
        del own["metadata"][key]
    label = "`kubectl -n a label httproute shop-rolloutplan rolloutplan.dev/owned=true`"
    with pytest.raises(NotOwnableError, match=f"were taken away in a run, .*: {label} lets it follow again"):
        next_step(source, own, RUNS)
    with pytest.raises(NotOwnableError, match=f"delete it or rename it; if the operator made it, {label}"):
        next_step(source, own, WAITS)
    own["metadata"]["labels"] = {LABEL: "true"}
    assert weights(followed(source, own)) == [MOVED]


def test_one_service_twice_in_a_rule_keeps_both_weights() -> None:
    twice = {**rule({"v1": 50}), "backendRefs": [{"name": "v1", "port": port, "weight": 50} for port in (80, 81)]}
    own = made(git(twice))
    own["spec"]["rules"][0]["backendRefs"][0]["weight"] = 75
    after = followed(git({**twice, "timeouts": {"request": "1s"}}), own)
    assert [ref["weight"] for ref in after["spec"]["rules"][0]["backendRefs"]] == [75, 50]


def many(number: int) -> list[Raw]:
    return [{"path": {"type": "Exact", "value": f"/{i}"}} for i in range(number)]


REFUSED = [
    pytest.param(None, None, WAITS, "it does not exist: create it", id="no route in Git"),
    pytest.param(
        git(rule({"v1": 1, "v2": 0}, {"method": "GET"})), None, WAITS, "rule 0 names a method", id="a method in Git"
    ),
    pytest.param(
        git(rule({"v1": 1}, *many(8))), None, WAITS, "72 matches, one for each method, of at most 64", id="rule"
    ),
    pytest.param(
        git(*(rule({"v1": 1}, *many(5)) for _ in range(3))), None, WAITS, "135 matches, one for each", id="all rules"
    ),
    pytest.param(
        git(rule({"v1": 1})), {"metadata": {"name": "shop-rolloutplan"}}, WAITS, "not by the operator", id="not ours"
    ),
    pytest.param(
        git(rule({"v2": 100})),
        made(git(rule({"v1": 100, "v2": 0})), MOVED),
        RUNS,
        "rule 0 has no Service v1 any more, which has weight 75 in a run",
        id="a side taken out in a run",
    ),
    pytest.param(
        git(rule({"v1": 1}, X)),
        made(git(rule({"v1": 1}, X), rule({"v1": 100, "v2": 0})), {"v1": 1}, MOVED),
        RUNS,
        "no rule with v1 and v2 any more",
        id="a rule taken out in a run",
    ),
    pytest.param(
        git(rule({"v1": 1})),
        None,
        Wanted(used=True, rival="a/shop-v2"),
        "plan a/shop-v2 moves its weights: wait until that run ends",
        id="a run moves the weights of the route in Git",
    ),
    pytest.param(
        git(rule({"v1": 1}), labels={LABEL: "true"}), None, WAITS, "one of the operator's own", id="the owned one named"
    ),
    pytest.param(
        {**git(rule({"v1": 1})), "metadata": {"name": "other", "namespace": "a", "uid": "u2"}},
        made(git(rule({"v1": 1}))),
        WAITS,
        "made from shop: give one of both a shorter name",
        id="one owned name of two",
    ),
]


@pytest.mark.parametrize(("source", "own", "wanted", "words"), REFUSED)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    source: Raw | None, own: Raw | None, wanted: Wanted, words: str
) -> None:
    with pytest.raises(NotOwnableError, match=words):
        next_step(source, own, wanted)


def test_a_rule_of_one_backend_changes_in_a_run() -> None:
    own = made(git(rule({"v1": 100, "v2": 0}), rule({"a": 1}, X)), MOVED, {"a": 1})
    assert weights(followed(git(rule({"v1": 100, "v2": 0}), rule({"b": 1}, X)), own)) == [MOVED, {"b": 1}]


def test_a_rule_of_one_backend_may_name_a_method() -> None:
    source = git(rule({"v1": 1}, {"method": "GET"}), rule({"v1": 1, "v2": 0}))
    assert made(source)["spec"]["rules"][0]["matches"] == [{"method": "GET"}]


def test_what_a_stage_has_added_stays_until_the_stage_ends() -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), MOVED)
    own["metadata"]["annotations"][ADDED] = '[{"added": "mirror v2 100%", "in": "/spec/rules/0", "value": {}}]'
    changed = git(rule({"v1": 100, "v2": 0}, timeouts={"request": "1s"}))
    with pytest.raises(NotOwnableError, match="taken over once the run takes away what it adds"):
        next_step(changed, own, RUNS)
    assert ADDED not in followed(changed, own, WAITS)["metadata"]["annotations"], "without a run nobody takes it away"
    own["metadata"]["annotations"][ADDED] = "somebody's text"
    followed(changed, own, RUNS)


@pytest.mark.parametrize("source", [None, git(rule({"v1": 1}), deletionTimestamp="2026-01-01T00:00:00Z")])
def test_without_the_route_in_git_and_a_plan_nothing_is_done(source: Raw | None) -> None:
    assert next_step(source, made(git(rule({"v1": 1}))), NOBODY) is None


SOME = st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.integers(0, 100), min_size=1)


@settings(max_examples=100, deadline=None)
@given(before=SOME, moved=SOME, then=SOME, wanted=st.sampled_from([RUNS, WAITS, NOBODY]))
def test_whatever_git_writes_no_backend_with_traffic_loses_it_to_the_weights_in_git(
    before: dict[str, int], moved: dict[str, int], then: dict[str, int], wanted: Wanted
) -> None:
    moved = {name: moved.get(name, 0) for name in before}
    own = made(git(rule(before)), moved)
    try:
        step = next_step(git(rule(then, timeouts={"request": "1s"})), own, wanted)
    except NotOwnableError:
        assert wanted.moving, "only a run refuses what Git writes"
        return
    assert isinstance(step, Follow)
    (had,), (has,) = weights(own), weights(jsonpatch.apply_patch(own, [*step.operations]))
    if before == moved and not wanted.moving:
        assert has == then, "no run has moved it"
    elif any(had.get(name) for name in then):
        assert has == {name: had.get(name, 0) for name in then}
    else:
        assert has == then
