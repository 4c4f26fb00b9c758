"""The focus that shifts by itself: above the bound to Stability, and back at half of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.focus import Shift
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.policy import read_policy
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.policy.focus import Release, failures, is_unstable, why
from tests.situations import judging, ruled

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def shift(bound: str = "> 20%", over: int = 20) -> Shift:
    found = read_policy({"focus": {"base": "Throughput", "stability": {"failureRate": bound, "over": over}}}).focus
    assert (found.base, found.stability is not None) == ("Throughput", True)
    assert found.stability
    return found.stability


@pytest.mark.parametrize(
    ("rule", "failed", "shifted", "unstable"),
    [
        (shift(), 0, False, False),
        (shift(), 4, False, False),
        (shift(), 5, False, True),
        (shift(), 4, True, True),
        (shift(), 3, True, True),
        (shift(), 2, True, False),
        (shift("> 0%", 5), 0, False, False),
        (shift("> 0%", 5), 1, False, True),
        (shift("> 0%", 5), 1, True, True),
        (shift("> 0%", 5), 0, True, False),
        (shift("> 33%", 1), 1, False, True),
        (shift("> 33%", 1), 0, True, False),
        (shift(">99%", 100), 99, False, False),
        (shift(">99%", 100), 100, False, True),
    ],
)
def test_when_it_shifts(rule: Shift, failed: int, shifted: bool, unstable: bool) -> None:
    assert is_unstable(rule, failed, shifted=shifted) == unstable


@given(
    percent=st.integers(0, 99),
    over=st.integers(1, 100),
    counts=st.lists(st.integers(0, 100), max_size=30),
)
@settings(max_examples=50)
def test_a_step_of_one_release_never_moves_it_to_and_fro(percent: int, over: int, counts: list[int]) -> None:
    """Between two shifts the rate has gone from above the bound to half of it, or the other way."""
    rule, now = shift(f"> {percent}%", over), False
    for failed in (min(each, over) for each in counts):
        after = is_unstable(rule, failed, shifted=now)
        if after != now:
            rate = 100 * failed / over
            assert rate > percent if after else rate <= percent / 2
        now = after


@pytest.mark.parametrize(
    ("rule", "failed", "shifted", "words"),
    [
        (shift(), 5, True, "5 of the last 20 releases failed (25%): Throughput again at 10% or less"),
        (shift(), 2, False, "2 of the last 20 releases failed (10%): Stability above 20%"),
        (shift("> 25%", 30), 1, True, "1 of the last 30 releases failed (3.3%): Throughput again at 12.5% or less"),
    ],
)
def test_it_says_why_and_what_follows(rule: Shift, failed: int, shifted: bool, words: str) -> None:
    assert why(rule, failed, "Throughput", shifted=shifted) == words


@pytest.mark.parametrize(
    ("focus", "words"),
    [
        (
            "stability",
            'spec.focus: "stability" is not one of the choices (Stability, Balanced, Throughput): write Stab',
        ),
        (["Stability"], "spec.focus: "),
        ({"stability": {"failureRate": "> 20%", "over": 20}}, "spec.focus.base: required field is missing"),
        ({"base": "Balanced", "stability": {"failureRate": "20%", "over": 20}}, 'write ">" and a whole percentage'),
        ({"base": "Balanced", "stability": {"failureRate": "> 100%", "over": 20}}, "from 0% to 99%"),
        ({"base": "Balanced", "stability": {"failureRate": "> 20%"}}, "spec.focus.stability.over: required"),
        ({"base": "Balanced", "stability": {"failureRate": "> 20%", "over": 101}}, "write at most 100"),
        ({"base": "Balanced", "stable": {}}, "spec.focus.stable: unknown field; did you mean stability?"),
    ],
)
def test_a_focus_that_cannot_be_read_names_the_fix(focus: Any, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        read_policy({"focus": focus})
    assert words in str(refused.value)


# ---- which releases count ----------------------------------------------------------------------------------------


def release(run: int, outcome: str, *, namespace: str = "shop", labels: Mapping[str, str] | None = None) -> Release:
    return Release(namespace, "checkout", NOW + run * timedelta(hours=1), run, outcome == "x", labels or {})


def history(outcomes: str, **more: Any) -> list[Release]:
    """Releases, the oldest first; an x failed."""
    return [release(run, outcome, **more) for run, outcome in enumerate(outcomes)]


def by_namespace(releases: Sequence[Release]) -> dict[str, list[Release]]:
    return {
        place: [each for each in releases if each.namespace == place] for place in ("pay", "shop", "shop-eu", "shop-us")
    }


@pytest.mark.parametrize(
    ("releases", "over", "failed"),
    [
        ([], 5, 0),
        (history("x.x"), 5, 2),
        (history("xxx.."), 2, 0),
        (history("...xx"), 2, 2),
        ([*history("...."), *history("xx", namespace="pay")], 10, 0),
        (history("xx", namespace="shop-eu"), 10, 2),
        (history("xx", namespace="shop-us"), 10, 0),
        ([*history("xx"), *history("..xx", namespace="shop-eu")], 2, 2),
        ([*history("....x"), *history("xx..", namespace="shop-eu")], 3, 1),
    ],
    ids=[
        "none",
        "fewer than are looked at",
        "the newest count",
        "and these alone",
        "another namespace",
        "a label of the namespace",
        "a namespace without it",
        "the newest of two namespaces",
        "in the order of both",
    ],
)
def test_which_releases_count(releases: Sequence[Release], over: int, failed: int) -> None:
    labels = {"shop": {"tier": "prod"}, "shop-eu": {"tier": "prod"}, "pay": {"tier": "prod"}, "shop-us": {}}
    selector = read_policy({"selector": {"namespaces": ["shop*"], "namespaceLabels": {"tier": "prod"}}}).selector
    assert failures(by_namespace(releases), selector, labels, over) == failed


def test_labels_of_plans_count_where_the_plan_is_known() -> None:
    selector = read_policy({"selector": {"matchLabels": {"team": "a"}}}).selector
    releases = [*history("xx", labels={"team": "a"}), *history("xxx", labels={"team": "b"}), *history("xxxx")]
    assert failures(by_namespace(releases), selector, {}, 20) == 2


# ---- what it changes ---------------------------------------------------------------------------------------------


def test_the_focus_of_a_policy_that_has_shifted() -> None:
    base = ruled(focus={"base": "Throughput", "stability": {"failureRate": "> 20%", "over": 20}})
    assert (base.focus, _shifted().focus) == ("Throughput", "Stability")
    assert _shifted(focus="Throughput").focus == "Throughput", "nothing says any more when it would shift back"


def _shifted(**spec: Any) -> PolicyView:
    focus = {"base": "Throughput", "stability": {"failureRate": "> 20%", "over": 20}}
    return replace(ruled(**{"focus": focus, **spec}), shifted=True)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_a_shift_never_changes_a_stage_that_has_begun(shifts: list[tuple[bool, int]]) -> None:
    world = judging()()
    begun = world.status.stage
    assert begun
    for stable, seconds in shifts:
        world.policies = (_shifted(),) if stable else ()
        world.advance(timedelta(seconds=seconds))
        now = world.status.stage
        if now is None or now.name != begun.name:
            return
        assert (now.soak_until, now.deadline_at, now.stability) == (
            begun.soak_until,
            begun.deadline_at,
            begun.stability,
        )
