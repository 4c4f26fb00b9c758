"""The route that the operator owns in place of one in Git: what it takes over, whose weights it has, when it goes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.traffic.overlay import ADDED
from rolloutplan.traffic.owned import (
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
            [{"v1": 100, "v2": 0}],
            id="another path: a rule that was not there has the weights in Git",
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
        ({"v1": 0, "v2": 1}, WAITS, None),
        ({"v1": 100, "v2": 0}, NOBODY, None),
    ],
)
def test_it_goes_when_no_plan_uses_it_and_git_divides_the_traffic_in_the_same_way(
    committed: dict[str, int], wanted: Wanted, step: HandBack | None
) -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), {"v1": 0, "v2": 100})
    assert next_step(git(rule(committed)), own, wanted) == step


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
]


@pytest.mark.parametrize(("source", "own", "wanted", "words"), REFUSED)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    source: Raw | None, own: Raw | None, wanted: Wanted, words: str
) -> None:
    with pytest.raises(NotOwnableError, match=words):
        next_step(source, own, wanted)


def test_a_rule_of_one_backend_may_name_a_method() -> None:
    source = git(rule({"v1": 1}, {"method": "GET"}), rule({"v1": 1, "v2": 0}))
    assert made(source)["spec"]["rules"][0]["matches"] == [{"method": "GET"}]


def test_what_a_stage_has_added_stays_until_the_stage_ends() -> None:
    own = made(git(rule({"v1": 100, "v2": 0})), MOVED)
    own["metadata"]["annotations"][ADDED] = "[]"
    with pytest.raises(NotOwnableError, match="taken over at the end of the stage"):
        next_step(git(rule({"v1": 100, "v2": 0}, timeouts={"request": "1s"})), own, RUNS)


@pytest.mark.parametrize("source", [None, git(rule({"v1": 1}), deletionTimestamp="2026-01-01T00:00:00Z")])
def test_without_the_route_in_git_and_a_plan_nothing_is_done(source: Raw | None) -> None:
    assert next_step(source, made(git(rule({"v1": 1}))), NOBODY) is None


SOME = st.dictionaries(st.sampled_from(["v1", "v2", "v3"]), st.integers(0, 100), min_size=1)


@settings(max_examples=100, deadline=None)
@given(before=SOME, moved=SOME, then=SOME, wanted=st.sampled_from([RUNS, WAITS, NOBODY]))
def test_whatever_git_writes_no_backend_with_traffic_loses_it_to_the_weights_in_git(
    before: dict[str, int], moved: dict[str, int], then: dict[str, int], wanted: Wanted
) -> None:
    own = made(git(rule(before)), {name: moved.get(name, 0) for name in before})
    try:
        step = next_step(git(rule(then, timeouts={"request": "1s"})), own, wanted)
    except NotOwnableError:
        assert wanted.moving, "only a run refuses what Git writes"
        return
    assert isinstance(step, Follow)
    (had,), (has,) = weights(own), weights(jsonpatch.apply_patch(own, [*step.operations]))
    if any(had.get(name) for name in then):
        assert has == {name: had.get(name, 0) for name in then}
    else:
        assert has == then
