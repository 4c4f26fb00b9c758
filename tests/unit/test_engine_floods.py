"""Commands and refusals that anybody who may annotate a plan can repeat: they push nothing out, and they are rated."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rolloutplan.api.printable import printable
from rolloutplan.api.status import DECISIONS_KEPT, Phase
from rolloutplan.cluster import paths
from rolloutplan.engine.rules.commands.answer import ANSWERED_WITHIN, MOST_ANSWERED
from rolloutplan.engine.run.decision_log import REPEATABLE_KEPT
from tests import situations
from tests.situations import OLD_WEIGHTS, s
from tests.world import SHARED, SOURCE, World

ESCAPES = "a\x1b]0;x\x07\x1b[2J\u202eb\x00"


def flooded(commands: int, verb: str = "resume") -> World:
    """A run whose plan gets so many refused commands, one a second."""
    world = situations.judging()()
    for number in range(commands):
        world.say(f"{verb} flood-{number}", by="mallory")
        world.advance(s(1))
    return world


def refusals(world: World) -> list[str]:
    return [each.note for each in world.trail.values() if each.reason == "CommandRejected"]


def test_refused_commands_push_no_decision_out_of_the_trail() -> None:
    world = flooded(40)
    kept = [each.reason for each in world.status.decisions]
    assert kept.count("CommandRejected") == REPEATABLE_KEPT
    assert kept[:4] == ["Started", "NewSideReady", "StageStarted", "WeightShifted"]
    assert len(kept) <= DECISIONS_KEPT


def test_edits_of_a_source_or_of_a_plan_push_no_decision_out_of_the_trail() -> None:
    world = situations.judging(
        {"stages[2].soak": "2h", "stages[2].deadline": "9h", "stages[0].soak": "8h", "stages[0].deadline": "9h"}
    )()
    for number in range(40):
        world.edit({"stages[2].soak": f"{121 + number}m"})
        world.source = replace(SOURCE, object=SHARED.model_copy(update={"digest": f"d{number}"}))
        world.advance(s(60))
    assert 4 <= world.told().count("SourceChanged") <= 5, "told every ten minutes"
    assert world.told().count("Adapted") == 40
    kept = [each.reason for each in world.status.decisions]
    assert kept[:4] == ["Started", "NewSideReady", "StageStarted", "WeightShifted"]
    world.advance(s(600))
    assert world.status.source == SHARED.model_copy(update={"digest": "d39"}), "and the last one is told too"


@pytest.mark.parametrize("commands", [7, MOST_ANSWERED + 5])
def test_the_second_revert_of_an_old_success_passes_a_flood(commands: int) -> None:
    world = situations.succeeded()
    world.now += timedelta(hours=25)
    world.settle()
    for number in range(commands if commands > MOST_ANSWERED else 0):
        world.say(f"resume before-{number}", by="mallory")
        world.settle()
    world.say("revert r1")
    world.settle()
    assert world.phase is Phase.SUCCEEDED
    assert "send `revert` again" in world.status.decisions[-1].note
    for number in range(commands):
        world.say(f"resume flood-{number}", by="mallory")
        world.settle()
    world.say("revert r2")
    world.settle()
    assert (world.phase, world.weights()[0]) == (Phase.ROLLED_BACK, OLD_WEIGHTS)


def test_a_token_stays_spent_under_a_flood() -> None:
    world = situations.judging()()
    world.say("pause good-1")
    world.settle()
    world.say("resume good-2")
    world.settle()
    for number in range(300):
        world.say(f"resume flood-{number}", by="mallory")
        world.advance(s(1))
    paused = world.told().count("Paused")
    world.say("pause good-1", by="argocd")
    world.advance(s(5))
    assert world.told().count("Paused") == paused, "Git applies it again, and it is not carried out again"
    assert world.status.paused is None


def test_a_flood_of_commands_is_answered_at_a_rate_and_told_once() -> None:
    world = flooded(MOST_ANSWERED + 100)
    assert len(refusals(world)) == MOST_ANSWERED + 1
    assert "more than 60 commands within an hour, the last by mallory" in refusals(world)[-1]
    assert "`abort`, `revert` and `pause` do not" in refusals(world)[-1]
    tokens = world.status.tokens
    world.say("resume flood-x", by="mallory")
    world.advance(s(5))
    assert world.status.tokens == tokens, "no token is spent that is not answered"


@pytest.mark.parametrize("verb", ["abort", "revert"])
def test_an_abort_passes_a_flood(verb: str) -> None:
    world = flooded(MOST_ANSWERED + 5)
    world.say(f"{verb} now-1")
    world.settle()
    assert (world.phase, world.weights()[0]) == (Phase.ROLLED_BACK, OLD_WEIGHTS)


def test_a_pause_passes_a_flood_and_a_refused_abort_does_not() -> None:
    world = flooded(MOST_ANSWERED + 5)
    world.say("pause now-1")
    world.settle()
    assert world.status.held_for == "Paused"
    ended = situations.succeeded()
    for number in range(MOST_ANSWERED + 50):
        ended.say(f"abort flood-{number}", by="mallory")
        ended.advance(s(1))
    assert len(refusals(ended)) == MOST_ANSWERED + 1


def test_after_an_hour_commands_are_answered_again_without_anything_else_to_wake_the_plan() -> None:
    world = situations.succeeded()
    for number in range(MOST_ANSWERED + 5):
        world.say(f"resume flood-{number}", by="mallory")
        world.settle()
    world.say("retry now-1")
    world.settle()
    assert world.phase is Phase.SUCCEEDED
    world.advance(ANSWERED_WITHIN)
    assert "Retried" in world.told()


def test_a_run_goes_forward_under_a_flood() -> None:
    world = flooded(MOST_ANSWERED + 5)
    world.until(Phase.SUCCEEDED)


# ---- texts of others -------------------------------------------------------------------------------------------------


def test_no_control_character_of_others_comes_into_a_decision_or_a_message() -> None:
    world = situations.fresh({"hypothesis": ESCAPES})()
    world.pods(ready=1, worst=f"ImagePullBackOff: {ESCAPES}")
    world.advance(s(30))
    assert "ImagePullBackOff: a ]0;x" in world.status.message
    world.pods(ready=4, worst="")
    world.until(Phase.JUDGING)
    world.say(f"abort a1 --reason {ESCAPES}", by=ESCAPES)
    world.settle()
    for decision in world.trail.values():
        assert f"{decision.note}{decision.believed}{decision.observed}{decision.by}{decision.why}".isprintable()
    for record in world.records:
        status = record.status
        assert f"{status.message}{status.failed}{status.waiting_for}".isprintable()
        assert all(each.message.isprintable() for each in status.conditions)


def test_a_message_with_control_characters_is_told_once() -> None:
    world = situations.fresh({"stages[0].name": ESCAPES})()
    world.advance(s(600))
    assert (world.phase, len(world.trail)) == (Phase.INVALID, 1)


TEXTS = [("plain", "plain"), ("a\x1b[2Jb", "a [2Jb"), ("a\nb", "a\nb"), ("é✓ 中", "é✓ 中"), ("\u202ex", " x")]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_what_is_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("web-1.v2", "web-1.v2"),
        ("../../pods/x", "..%2F..%2Fpods%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("..", "~~"),
        (".", "~"),
        ("a b%2F", "a%20b%252F"),
    ],
)
def test_no_name_leads_to_another_object(name: str, path: str) -> None:
    assert paths.job("ns", name) == f"/apis/batch/v1/namespaces/ns/jobs/{path}"
