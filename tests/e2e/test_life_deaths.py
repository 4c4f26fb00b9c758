"""An operator that dies between two writes of what a plan does beside moving traffic.

At the writes themselves it dies in test_crash_points.py.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.bed.processes import until
from tests.e2e.at_once.test_life import jobs
from tests.shop import Operator, Shop, assumption, job

LIFE: dict[str, Any] = {
    "assumptions": [assumption("probe", job=job(runs="2s"))],
    "expand": {"jobs": [{"name": "add", **job(runs="1s")}], "scale": {"new": 3}},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "checkout"}], "drain": "1s"},
    "guards": [{"name": "calm", "query": "vector(0)", "is": "> 0", "window": "1s"}],
    "stages": [
        {"weight": "50%", "soak": "1s", "deadline": "60s"},
        {"weight": "100%", "soak": "1s", "deadline": "60s", "approval": "Required"},
    ],
    "bake": "2s",
    "contract": {"scaleOld": 0, "jobs": [{"name": "drop", **job(runs="1s")}]},
}
"""A plan that does all that a plan can do beside moving traffic; no part of it needs any."""
STAGE = ["StageStarted", "WeightShifted", "StageProved"]
BEFORE = ["Started", "AssumptionTrue", "Expanded", "Expanded", "NewSideReady"]
AFTER = ["ContractStarted", "Contracted", "Contracted", "Succeeded"]
LIVED = [*BEFORE, *STAGE, "Held", "Resumed", *STAGE, *AFTER]
TASKS = ["probe", "add", "drop"]
"""Its tasks with a Job, in their order."""

Moment = Callable[[Shop], bool]


def running_on(task: str) -> Moment:
    """The operator knows of a Job, which runs for a while yet."""
    known = {"name": task, "made": True}
    return lambda shop: known.items() <= shop.status().get("task", {}).items()


def in_phase(phase: str) -> Moment:
    return lambda shop: shop.phase() == phase


DEATHS: dict[str, Moment] = {
    "while an assumption's Job runs": running_on("probe"),
    "in the bake": in_phase("Baking"),
    "while a Job runs that takes something away": running_on("drop"),
}


def lives_until(shop: Shop, moment: Moment) -> None:
    def now() -> bool:
        reason = shop.status().get("reason")
        there = moment(shop)
        if not there and reason == "AwaitingApproval":  # as it was before: else the moment of that could be passed over
            shop.say("approve a1")
        return there

    until(now, 180, "the moment", every=0.01)


@pytest.mark.parametrize("moment", DEATHS.values(), ids=DEATHS)
def test_whenever_the_operator_dies_each_task_is_done_once_and_none_is_passed_over(
    shop: Shop, running: Operator, moment: Moment
) -> None:
    shop.open()
    shop.start(**LIFE)
    lives_until(shop, moment)
    running.process.kill()
    shop.approve()
    running.process.start()
    lives_until(shop, in_phase("Succeeded"))
    until(lambda: len(shop.events()) >= shop.status()["seq"], 30, "the last Event")

    assert [decision["reason"] for decision in shop.trail()] == LIVED
    assert shop.created_jobs() == [shop.job_name(task) for task in TASKS]
    done = [jobs(shop)[name] for name in shop.created_jobs()]
    assert len(jobs(shop)) == len(done)
    ends = [each["status"].get("completionTime", "") for each in done]
    assert all(ends), "all are complete"
    assert all(end <= after["metadata"]["creationTimestamp"] for end, after in zip(ends, done[1:], strict=False))
    assert (shop.size("checkout-v1"), shop.size("checkout-v2")) == (0, 3)
    assert shop.traffic() == {"checkout-v1": 0, "checkout-v2": 100}
