"""Policies bind the plans that they select: nothing that an author of plans can do in mid-run leaves them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.engine.model.policy_view import At, PolicyView, QueueEntry
from rolloutplan.engine.policy.demands import CONTRACT
from rolloutplan.engine.policy.seal import seal_of
from tests.situations import ALL, HALF, OLD_WEIGHTS, UP, P, awaiting, fresh, m, ruled, s
from tests.world import SHARED, SOURCE, START, World

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


# ---- what a policy demands -------------------------------------------------------------------------------------------


def demanding(**require: Any) -> PolicyView:
    return ruled(require=require)


UNMET: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "a soak",
        {"soakAtLeast": "3m"},
        {},
        "policy production, require.soakAtLeast is 3m: stage half soaks for 2m: write a soak of at least 3m",
    ),
    (
        "a template of the cluster",
        {"templates": "Cluster"},
        {"guards[0]": {"template": "t"}},
        "policy production, require.templates is Cluster: t is a PredicateTemplate of namespace ns",
    ),
    (
        "a source of the cluster by name",
        {"source": {"name": "platform"}},
        {},
        "policy production, require.source: the plan asks ClusterMetricSource default, and must ask Cluster",
    ),
    (
        "a source of the namespace",
        {"source": {"kind": "MetricSource"}},
        {},
        "policy production, require.source: the plan asks ClusterMetricSource default, and must ask a MetricSource",
    ),
]


@pytest.mark.parametrize(("require", "changes", "words"), [row[1:] for row in UNMET], ids=[row[0] for row in UNMET])
def test_a_plan_without_what_a_policy_demands_does_not_start_and_says_what_is_missing(
    require: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    template = {"indicates": "Failure", "query": "errors[$window]", "is": "> 1%"}
    world = World(policies=(demanding(**require),), templates={"t": template})
    world.edit(changes)
    world.advance(m(5))
    assert (world.phase, world.status.reason, world.weights()[0]) == (P.PENDING, "PolicyNotMet", OLD_WEIGHTS)
    assert world.status.message.startswith(words)
    stalled = world.status.condition("Stalled")
    assert stalled is not None
    assert world.told() == ["Stalled"]
    world.policies = ()
    assert world.until(P.JUDGING)


@pytest.mark.parametrize(
    "require",
    [
        {"soakAtLeast": "2m", "source": {"name": "default"}, "templates": "Cluster"},
        {"source": {"kind": "ClusterMetricSource"}},
        {"approvals": []},
    ],
)
def test_a_plan_that_has_what_a_policy_demands_is_not_held(require: dict[str, Any]) -> None:
    assert World(policies=(demanding(**require),)).until(P.SUCCEEDED)


def test_a_source_of_the_namespace_is_none_of_the_cluster() -> None:
    own = replace(SOURCE, object=SHARED.model_copy(update={"kind": "MetricSource"}))
    world = World(policies=(demanding(source={"name": "default"}),), source=own)
    world.advance(m(1))
    assert world.status.message.endswith("delete that MetricSource, or name another source")


def test_an_edit_in_mid_run_that_breaks_a_demand_is_held_before_the_next_increase() -> None:
    world = World(policies=(demanding(soakAtLeast="2m"),)).until(P.JUDGING, stage="canary")
    world.edit({"stages[2].soak": "1s"})
    world.advance(m(10))
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "PolicyNotMet", UP)
    assert "stage all soaks for 1s" in world.status.message
    world.edit({"stages[2].soak": "2m"})
    assert world.until(P.SUCCEEDED)


@pytest.mark.parametrize(
    ("approvals", "held_at"),
    [(["All"], [OLD_WEIGHTS, UP, HALF]), (["Last"], [HALF]), (["Contract"], []), (["Last", "Contract"], [HALF])],
)
def test_a_demanded_approval_is_asked_for_though_the_plan_does_not_say_so(
    approvals: list[str], held_at: list[dict[str, int]]
) -> None:
    world, held = World(policies=(demanding(approvals=approvals),)), []
    while world.until(P.HELD, P.SUCCEEDED).phase is P.HELD:
        assert world.status.held_for == "AwaitingApproval"
        assert "as policy production demands" in world.status.message
        held.append(world.weights()[0])
        world.say(f"approve a{len(held)}")
        world.settle()
    assert held == held_at


def test_a_demanded_approval_of_the_contract() -> None:
    world = fresh({"contract": {"scaleOld": 0}}, policies=(demanding(approvals=["Contract"]),))().until(P.HELD)
    assert (world.status.held_for, world.status.effective_phase) == ("AwaitingApproval", P.CONTRACTING)
    world.say("approve a1")
    assert world.until(P.SUCCEEDED)


@pytest.mark.parametrize("command", ["promote", "skip"])
def test_no_command_gets_around_a_demanded_approval(command: str) -> None:
    world = World(policies=(demanding(approvals=["Last"]),)).until(P.JUDGING, stage="half")
    world.advance(s(30))
    if command == "promote":
        world = World(policies=(demanding(approvals=["Last"]),)).until(P.JUDGING, stage="canary")
    at = world.weights()[0]
    world.say(f"{command} c1")
    world.advance(m(5))
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "AwaitingApproval", at)
    assert "stage all needs approval" in world.status.message
    world.say("approve a1")
    world.settle()
    assert world.weights()[0] == ALL


def test_an_approval_is_not_edited_out_where_a_policy_demands_it() -> None:
    changes = {"stages[2].approval": "Required"}
    world = fresh(changes, policies=(demanding(approvals=["Last"]),))().until(P.JUDGING, stage="canary")
    world.edit({"stages[2].approval": None})
    world.until(P.HELD)
    assert (world.status.held_for, world.weights()[0]) == ("AwaitingApproval", HALF)


@pytest.mark.parametrize("command", ["promote", "skip"])
def test_no_command_gets_around_a_demanded_soak(command: str) -> None:
    world = World(policies=(demanding(soakAtLeast="2m"),)).until(P.JUDGING, stage="canary")
    world.advance(m(1))
    world.say(f"{command} c1")
    world.settle()
    assert world.told()[-1] == "CommandRejected"
    assert (
        "policy production demands that every stage soaks for 2m: send it after 09:02:00"
        in [*world.trail.values()][-1].note
    )
    world.advance(m(1))
    world.say(f"{command} c2")
    world.settle()
    assert world.weights()[0] != UP


def test_a_rollback_asks_no_policy() -> None:
    world = World(policies=(demanding(approvals=["All"]),)).until(P.HELD)
    world.say("approve a1")
    world.until(P.JUDGING)
    world.policies = (demanding(approvals=["All"], soakAtLeast="1h", source={"name": "x"}, sealedApprovals=True),)
    world.advance(m(1))
    world.says["errors"] = 0.5
    assert world.until(P.ROLLED_BACK).weights()[0] == OLD_WEIGHTS


# ---- approvals of what was seen --------------------------------------------------------------------------------------


def seal(world: World, name: str) -> str:
    assert world.plan_spec is not None
    return seal_of(world.plan_spec, name)


def test_the_seal_is_shown_where_an_approval_is_asked_for() -> None:
    world = awaiting()
    shown = seal(world, "half")
    assert len(shown) == 32
    held = [*world.trail.values()][-1]
    for words in (world.status.message, held.note, world.status.waiting_for):
        assert f"--seal {shown}" in words


def test_an_approval_with_the_seal_that_was_seen_is_taken() -> None:
    world = awaiting()
    world.say(f"approve a1 --seal {seal(world, 'half')}")
    world.settle()
    assert world.weights()[0] == HALF


@pytest.mark.parametrize(
    "edit", [{"stages[1].soak": "1s"}, {"stages[1].weight": "99%"}, {"stages[1].pass": [{"use": "hits"}]}]
)
def test_an_approval_of_what_was_changed_since_is_refused_with_the_change(edit: dict[str, Any]) -> None:
    world = awaiting()
    seen = seal(world, "half")
    world.edit(edit)
    world.settle()
    world.say(f"approve a1 --seal {seen}")
    world.settle()
    refused = [*world.trail.values()][-1]
    assert (refused.reason, world.weights()[0]) == ("CommandRejected", UP)
    assert f"the seal of stage half is {seal(world, 'half')}, not {seen}: it was changed since" in refused.note
    assert "stage half:" in refused.note.partition("the last edit was: ")[2]


def test_an_approval_before_its_turn_is_for_the_stage_as_it_was_then() -> None:
    changes = {"stages[0].approval": "Required"}
    world = fresh(changes, new=None)()
    world.say("approve a1 canary")
    world.settle()
    assert world.status.approved_ahead == ("canary",)
    world.edit({"stages[0].weight": "20%"})
    world.new = World().new
    world.advance(m(1))
    assert (world.phase, world.status.held_for) == (P.HELD, "AwaitingApproval")
    world.say("approve a2 canary")
    world.settle()
    assert world.phase is P.JUDGING


def test_where_a_policy_demands_seals_an_approval_without_one_is_refused() -> None:
    world = awaiting()
    world.policies = (demanding(sealedApprovals=True),)
    world.say("approve a1")
    world.settle()
    assert f"`rolloutplan approve -n ns plan --seal {seal(world, 'half')}`" in [*world.trail.values()][-1].note
    world.say(f"approve a2 --seal {seal(world, 'half')}")
    world.settle()
    assert world.weights()[0] == HALF


def test_where_a_policy_demands_seals_promote_approves_nothing_by_itself() -> None:
    changes = {"stages[2].approval": "Required"}
    world = fresh(changes, policies=(demanding(sealedApprovals=True),))().until(P.JUDGING, stage="canary")
    world.say("promote p1")
    world.settle()
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "AwaitingApproval", UP)
    world.say(f"approve a1 --seal {seal(world, 'all')}")
    world.settle()
    assert world.weights()[0] == ALL


def test_a_wrong_seal_is_refused_before_its_turn_too() -> None:
    world = fresh({"stages[1].approval": "Required"})()
    world.say(f"approve a1 half --seal {'0' * 32}")
    world.settle()
    assert "CommandRejected" in world.told()
    assert world.status.approved_ahead == ()


def test_the_seal_of_the_contract_is_for_the_contract_alone() -> None:
    one, other = fresh({"contract": {"scaleOld": 0}})(), fresh({"contract": {"scaleOld": 1}})()
    assert seal(one, CONTRACT) != seal(other, CONTRACT)
    assert seal(one, "half") == seal(other, "half")
    assert seal(one, "no such stage") == ""


# ---- places in queues ------------------------------------------------------------------------------------------------

ONE_AT_A_TIME = ruled(lockGroup="x", releaseAfter="1h")


def other(at: At, name: str = "other", age: int = 60) -> QueueEntry:
    return QueueEntry(f"bank/{name}", frozenset({"lock group x"}), at, START - m(age), uid=name)


def paused_at_the_canary() -> World:
    world = fresh({"interval": "1m"}, policies=(ONE_AT_A_TIME,))().until(P.JUDGING)
    world.say("pause p1")
    world.settle()
    return world


def test_a_paused_run_loses_its_place_after_the_time_that_the_policy_says_and_not_before() -> None:
    world = paused_at_the_canary()
    world.advance(m(60) - s(1))
    assert world.status.place == ""
    world.advance(s(1))
    assert (world.status.place, world.phase, world.weights()[0]) == ("Lost", P.HELD, UP)
    assert world.told().count("PlaceLost") == 1
    assert "its place in lock group x goes to others" in [*world.trail.values()][-1].note
    world.crash()
    world.advance(m(120))
    assert world.told().count("PlaceLost") == 1


def test_a_run_that_lost_its_place_waits_for_one_before_its_next_increase_and_takes_it() -> None:
    world = paused_at_the_canary()
    world.advance(m(61))
    world.peers = (other("running"),)
    world.say("resume r1")
    world.advance(m(10))
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "NoPlace", UP)
    assert "its place went to others while it was held: 1st in the queue for a place in lock group x" in (
        world.status.message
    )
    world.peers = ()
    assert world.until(P.JUDGING, stage="half").status.place == ""
    assert world.until(P.SUCCEEDED)


def test_of_two_that_take_the_same_place_again_one_goes_back() -> None:
    world = paused_at_the_canary()
    world.advance(m(61))
    world.say("resume r1")
    world.advance(m(1.4))
    retaken: str = ""
    while retaken != "Retaken":
        if not world.turn():
            world.now = world.next() or world.now
        retaken = world.status.place
    world.peers = (other("starting"),)
    world.advance(m(5))
    assert (world.phase, world.status.held_for, world.weights()[0]) == (P.HELD, "NoPlace", UP)


def test_a_guard_stays_on_and_rolls_back_without_a_place() -> None:
    world = paused_at_the_canary()
    world.advance(m(61))
    world.peers = (other("running"),)
    world.says["errors"] = 0.5
    assert world.until(P.ROLLED_BACK).weights()[0] == OLD_WEIGHTS


def test_a_run_that_waits_for_the_approval_of_its_contract_loses_its_place_too() -> None:
    changes = {"contract": {"scaleOld": 0, "approval": "Required"}}
    world = fresh(changes, policies=(ONE_AT_A_TIME,))().until(P.HELD)
    world.advance(m(61))
    assert world.status.place == "Lost"
    world.say("approve a1")
    assert world.until(P.SUCCEEDED)


def test_a_plan_that_became_invalid_in_mid_run_loses_its_place_too() -> None:
    world = World(policies=(ONE_AT_A_TIME,)).until(P.JUDGING)
    world.edit({"stages": []})
    world.advance(m(62))
    assert (world.phase, world.status.held_for, world.status.place) == (P.HELD, "Invalid", "Lost")


# ---- the revert of an old success ------------------------------------------------------------------------------------


def long_ago() -> World:
    world = World().until(P.SUCCEEDED)
    world.now += timedelta(hours=25)
    world.settle()
    return world


def test_a_revert_of_what_succeeded_long_ago_asks_twice() -> None:
    world = long_ago()
    world.say("revert r1")
    world.settle()
    refused = [*world.trail.values()][-1]
    assert (refused.reason, world.weights()[0]) == ("CommandRejected", ALL)
    assert "to put v1 back all the same, send `revert` again within 10m, with another token" in refused.note
    world.say("revert r2")
    assert world.until(P.ROLLED_BACK).weights()[0] == OLD_WEIGHTS


def test_the_second_revert_comes_soon_or_is_the_first_again() -> None:
    world = long_ago()
    world.say("revert r1")
    world.settle()
    world.now += m(11)
    world.say("revert r2")
    world.settle()
    assert world.weights()[0] == ALL


def test_a_revert_within_a_day_is_done_at_once_and_says_that_there_is_a_freeze() -> None:
    world = World().until(P.SUCCEEDED)
    world.policies = (ruled(freeze={"now": "incident 42"}),)
    world.say("revert r1")
    world.until(P.ROLLED_BACK)
    began = next(each for each in world.trail.values() if each.reason == "RollbackStarted")
    assert "revert by kubectl, although frozen by policy production: incident 42" in began.note


@pytest.mark.parametrize("word", ["revert r1", "abort a1"])
def test_a_run_is_reverted_and_aborted_at_once_however_old_it_is(word: str) -> None:
    world = paused_at_the_canary()
    world.now += timedelta(hours=50)  # nobody looked at it meanwhile
    world.crash()
    world.say(word)
    world.settle()
    assert world.weights()[0] == OLD_WEIGHTS
