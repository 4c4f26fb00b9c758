"""A person's word, written into the plan's annotations by kubectl, by the CLI, or in Git."""

from typing import Any

import pytest

from tests.bed import objects
from tests.bed.processes import until
from tests.shop import Operator, Shop

SLOW_STAGES = [{"weights": ["25%", "100%"], "soak": "10m"}]
NEVER = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "1s"}
"""A guard that needs no traffic."""


def answer(shop: Shop, token: str) -> dict[str, Any]:
    """The decision that answered a command."""

    def there() -> dict[str, Any] | None:
        return next((d for d in shop.status().get("decisions", ()) if d.get("token") == token), None)

    found = until(there, 30, f"the answer to {token}")
    assert found is not None
    return found


@pytest.mark.any_cluster
def test_a_word_counts_once_and_a_pruned_annotation_changes_nothing(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.start(stages=SLOW_STAGES, guards=[NEVER])
    shop.until("Judging/w25")
    shop.say("pause t1")
    shop.until("Held")
    shop.bed.kubectl("-n", shop.namespace, "annotate", "rp", "checkout", "rolloutplan.dev/command-")
    shop.looked_at_again()
    running.judges(2)
    assert shop.status()["held"]["reason"] == "Paused"
    shop.say("resume t2")
    shop.until("Judging/w25")
    shop.say("pause t1")
    shop.looked_at_again()
    running.judges(2)
    assert shop.phase() == "Judging", "an old token from an old commit does nothing"
    shop.say("approve t3")
    assert answer(shop, "t3")["reason"] == "CommandRejected"
    assert shop.phase() == "Judging"


@pytest.mark.any_cluster
def test_a_plan_that_is_committed_with_a_pause_starts_when_it_is_resumed(shop: Shop) -> None:
    shop.open()
    plan = shop.plan(stages=SLOW_STAGES, guards=[NEVER])
    plan["metadata"]["annotations"] = {"rolloutplan.dev/command": "pause from-git --reason not before the sale"}
    shop.bed.apply(plan, manager="flux")
    until(lambda: shop.status().get("reason") == "Paused", 30, "the pause")
    assert answer(shop, "from-git")["by"] == "flux (self-declared)"
    plan["metadata"]["annotations"] = {"rolloutplan.dev/command": "resume from-git-2"}
    shop.bed.apply(plan, manager="flux")
    shop.until("Judging/w25")


@pytest.mark.any_cluster
def test_a_stage_that_wants_approval_waits_for_it(shop: Shop) -> None:
    shop.open()
    stages = [{"weight": "25%", "soak": "1s"}, {"name": "all", "weight": "100%", "soak": "1s", "approval": "Required"}]
    shop.start(stages=stages, guards=[NEVER])
    held = shop.until("Held")
    assert held["reason"] == "AwaitingApproval"
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    done = shop.cli("approve", "checkout", "-n", shop.namespace, "--reason", "seen the dashboards")
    assert done.returncode == 0, done.stderr
    assert "seen the dashboards" in done.stdout
    shop.until("Succeeded")


@pytest.mark.any_cluster
def test_promote_skip_revert_and_retry(shop: Shop) -> None:
    shop.open()
    slow = {"weights": ["5%", "25%", "50%"], "soak": "10m"}
    shop.start(stages=[slow, {"weight": "100%", "soak": "4s"}], guards=[NEVER])
    shop.until("Judging/w5")
    shop.say("skip t1")
    shop.until("Judging/w25")
    shop.say("promote t2")
    shop.until("Judging/w100")
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
    shop.say("skip t3")
    assert "the last stage" in answer(shop, "t3")["note"]
    shop.until("Succeeded", timeout=40)
    shop.say("revert t5")
    shop.until("RolledBack")
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    shop.say("retry t6")
    shop.until("Judging/w5")
    assert shop.status()["run"] == 2
    until(lambda: "Retried" in shop.reasons(), 30, "the Events")
    seqs = [int(event["metadata"]["name"].rpartition(".")[2]) for event in shop.events()]
    assert seqs == list(range(1, len(seqs) + 1)), "every decision has exactly one Event"


def test_resume_takes_up_a_stage_whose_weights_somebody_moved_back(shop: Shop) -> None:
    shop.open()
    shop.start(stages=SLOW_STAGES, guards=[NEVER])
    shop.until("Judging/w25")
    shop.bed.apply(objects.httproute("checkout", {"checkout-v1": 90, "checkout-v2": 10}, shop.namespace, shop.host))
    shop.until("Held")
    shop.say("resume t1")
    shop.until("Judging/w25")
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    assert answer(shop, "t1")["reason"] == "Resumed"


@pytest.mark.any_cluster
@pytest.mark.parametrize(
    ("command", "words"),
    [("stop now", 'rolloutplan.dev/command: "stop" is not a command'), ("abort", "no token")],
)
def test_a_command_that_cannot_be_read_is_answered(shop: Shop, command: str, words: str) -> None:
    shop.bed.apply(objects.namespace(shop.namespace))
    shop.start()
    shop.say(command)
    until(lambda: any(words in e["note"] for e in shop.events() if e["reason"] == "CommandRejected"), 30, "the answer")


@pytest.mark.any_cluster
def test_the_cli_says_what_is_wrong(shop: Shop) -> None:
    shop.bed.apply(objects.namespace(shop.namespace))
    gone = shop.cli("abort", "nothing", "-n", shop.namespace)
    assert gone.returncode == 1
    assert "nothing" in gone.stderr
    shop.start()
    refused = shop.cli("approve", "checkout", "-n", shop.namespace)
    assert refused.returncode == 3
    assert "AwaitingApproval" in refused.stderr
