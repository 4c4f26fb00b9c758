"""Policies bind the plans that they select: nothing that an author of plans can do in mid-run leaves them."""

from dataclasses import replace
from typing import Any

import pytest

from rolloutplan.engine.model.policy_view import PolicyView
from tests.situations import HALF, UP, P, fresh, m, ruled
from tests.world import SHARED, SOURCE, World

PROD = {"tier": "prod"}
BY_LABEL = ruled(selector={"matchLabels": PROD}, freeze={"now": "incident 42"})
BY_NAMESPACE = ruled(selector={"namespaceLabels": PROD}, freeze={"now": "incident 42"})


def proved_canary(**world: Any) -> World:
    """The canary is about to be proved."""
    made = fresh(**world)().until(P.JUDGING, stage="canary")
    made.advance(m(1))
    return made


def frozen_at(world: World, policy: PolicyView) -> None:
    world.policies = (policy,)
    world.advance(m(10))
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "Frozen", UP)


def test_a_label_that_is_taken_off_in_mid_run_does_not_leave_a_freeze() -> None:
    world = proved_canary(labels=PROD)
    world.labels = {}
    frozen_at(world, BY_LABEL)


def test_a_label_that_is_taken_off_during_the_freeze_does_not_leave_it() -> None:
    world = proved_canary(labels=PROD)
    frozen_at(world, BY_LABEL)
    world.labels = {"tier": "test"}
    frozen_at(world, BY_LABEL)


def test_a_label_of_the_namespace_that_is_taken_off_in_mid_run_does_not_leave_a_freeze() -> None:
    world = proved_canary(namespace_labels=PROD)
    world.namespace_labels = {}
    frozen_at(world, BY_NAMESPACE)


def test_another_leader_holds_the_run_to_the_same_labels() -> None:
    world = proved_canary(labels=PROD, namespace_labels=PROD)
    world.labels, world.namespace_labels = {}, {}
    world.crash()
    frozen_at(world, BY_LABEL)


def test_what_the_platform_deletes_or_edits_applies_as_it_is_now() -> None:
    world = proved_canary(labels=PROD)
    frozen_at(world, BY_LABEL)
    world.policies = (ruled(selector={"namespaces": ["bank"], "matchLabels": PROD}, freeze={"now": "incident 42"}),)
    world.advance(m(1))
    assert (world.phase, world.weights()[0]) == (P.JUDGING, HALF)


def test_the_next_run_is_selected_by_the_labels_that_it_begins_with() -> None:
    world = proved_canary(labels=PROD)
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    world.labels, world.policies = {}, (BY_LABEL,)
    world.say("retry r1")
    assert world.until(P.JUDGING).status.labels == {}


def test_no_run_starts_while_the_labels_of_its_namespace_are_not_known() -> None:
    world = World(namespace_labels=None, policies=(ruled(selector={"namespaceLabels": PROD}),))
    world.advance(m(5))
    assert (world.phase, world.status.reason) == (P.PENDING, "Frozen")
    assert "may not read those of ns" in world.status.message
    world.namespace_labels = {}
    assert world.until(P.JUDGING)


# ---- the metric source -----------------------------------------------------------------------------------------------


SOURCES: list[tuple[str, dict[str, str], str]] = [
    ("edited", {"digest": "d2"}, "ClusterMetricSource default was edited during the run"),
    ("made anew", {"uid": "6"}, "ClusterMetricSource default was deleted and made anew during the run"),
    (
        "shadowed",
        {"shadowed_by": "9"},
        "MetricSource ns/default has the name of ClusterMetricSource default now: the run goes on asking",
    ),
]


def another_source(world: World, **changes: str) -> None:
    world.source = replace(SOURCE, object=SHARED.model_copy(update=changes))


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
def test_another_source_in_mid_run_is_a_decision_and_told_once(changes: dict[str, str], words: str) -> None:
    world = proved_canary()
    another_source(world, **changes)
    world.advance(m(1))
    assert world.told().count("SourceChanged") == 1
    told = next(each for each in world.trail.values() if each.reason == "SourceChanged")
    assert told.note.startswith(words)
    assert world.status.source == SHARED.model_copy(update=changes)
    world.crash()
    assert world.until(P.SUCCEEDED).told().count("SourceChanged") == 1


def test_a_shadow_that_goes_away_is_no_news() -> None:
    world = proved_canary()
    another_source(world, shadowed_by="9")
    world.advance(m(1))
    another_source(world)
    assert world.until(P.SUCCEEDED).told().count("SourceChanged") == 1


def test_what_another_source_answered_counts_for_nothing() -> None:
    """A guard must hold for its time in the answers of one source."""
    world = fresh({"guards[0].for": "1m"})().until(P.JUDGING)
    world.says["errors"] = 0.5
    world.advance(m(0.75))
    another_source(world, digest="d2")
    world.advance(m(0.5))
    assert world.phase is P.JUDGING
    assert world.until(P.ROLLED_BACK)


def test_a_rollback_does_not_wait_until_the_change_of_a_source_is_told() -> None:
    world = proved_canary()
    world.advance(m(0.1))
    world.pods(ready=0)
    another_source(world, digest="d2")
    world.settle()
    assert world.phase in (P.ROLLING_BACK, P.ROLLED_BACK)


def test_no_source_is_sealed_between_runs() -> None:
    world = proved_canary()
    world.say("abort a1")
    world.until(P.ROLLED_BACK)
    another_source(world, digest="d2")
    world.advance(m(1))
    assert "SourceChanged" not in world.told()
    world.say("retry r1")
    sealed = world.until(P.JUDGING).status.source
    assert sealed is not None
    assert sealed.digest == "d2"
