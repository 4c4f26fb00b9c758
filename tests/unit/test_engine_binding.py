"""Policies bind the plans that they select: nothing that an author of plans can do in mid-run leaves them."""

from typing import Any

from rolloutplan.engine.model.policy_view import PolicyView
from tests.situations import HALF, UP, P, fresh, m, ruled
from tests.world import World

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
