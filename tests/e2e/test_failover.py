"""Two replicas: one leads, the other is ready to, and none writes after it has lost the Lease."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import otlp
from tests.bed import Bed
from tests.bed.processes import until
from tests.receiver import Receiver
from tests.shop import OPERATOR, Operator, Shop

NEVER = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "1s"}
SLOW_STAGES = [{"weights": ["25%", "100%"], "soak": "10m"}]


@pytest.fixture
def second(bed: Bed, running: Operator, traced: Receiver) -> Iterator[Operator]:
    """A replica beside the one that leads already."""
    until(running.leads, 20, "the first leader")
    options = ["--identity=second", f"--traces={traced.url}"]
    with Operator(bed, OPERATOR, port=8812, name="second", options=options) as operator:
        yield operator


def says(operator: Operator, event: str) -> bool:
    return any(line["event"] == event for line in operator.log())


@pytest.mark.any_cluster
def test_one_acts_and_the_other_takes_over(
    shop: Shop, running: Operator, second: Operator, traced: Receiver, record_property: Callable[[str, object], None]
) -> None:
    shop.open()
    assert not second.leads()
    shop.start(stages=[{"weight": "10%", "soak": "1s"}, *SLOW_STAGES], guards=[NEVER])
    soaking = shop.until("Judging/w25")
    running.process.kill()
    try:
        until(second.leads, 25, "the second to lead")
        until(lambda: shop.status()["epoch"] > soaking["epoch"], 10, "the plan to be taken over")
        status = shop.status()
        assert (status["phase"], status["stage"]["soakUntil"]) == ("Judging", soaking["stage"]["soakUntil"])
        shop.say("abort t1")
        shop.until("RolledBack", timeout=5)
        until(lambda: otlp.trace_of(traced, shop.namespace), 10, "the end of the trace")
        spans = otlp.tree(traced, otlp.trace_of(traced, shop.namespace))
        assert spans == {
            "stage w10": ["StageStarted", "WeightShifted", "StageProved"],
            "stage w25": ["StageStarted", "WeightShifted", "RollbackStarted"],
            "run": ["Started", "NewSideReady", "RolledBack"],
        }, "one tree, of which each leader sent a part"
        record_property("spans of a run with two leaders, in one tree", len(spans))
    finally:
        running.process.start()
    assert not running.leads(), "a Lease that is held is waited for"
    second.process.child.terminate()
    assert second.process.ends(10) == 0
    until(running.leads, 5, "the Lease that was released")


def decided(shop: Shop) -> dict[str, Any]:
    """What a leader writes when it decides. What it has measured the one that leads publishes now and then."""
    status = shop.status()
    return {name: status.get(name) for name in ("phase", "seq", "epoch", "stage", "intent", "decisions", "held")}


def test_a_leader_that_was_stopped_and_wakes_up_writes_nothing(shop: Shop, running: Operator, second: Operator) -> None:
    shop.open()
    shop.start(stages=SLOW_STAGES, guards=[NEVER])
    soaking = shop.until("Judging/w25")
    running.process.stop()
    try:
        until(second.leads, 25, "the second to lead")
        until(lambda: shop.status()["epoch"] > soaking["epoch"], 10, "the plan to be taken over")
        route, stood = shop.route(), decided(shop)
    finally:
        running.process.cont()
    until(lambda: not running.leads(), 5, "the first to follow")
    until(lambda: says(running, "another replica leads"), 10, "the first to say so")
    second.judges(3)
    assert shop.route()["metadata"]["resourceVersion"] == route["metadata"]["resourceVersion"]
    assert decided(shop) == stood
    second.process.child.terminate()
    assert second.process.ends(10) == 0
    until(running.leads, 5, "the Lease that was released")
    shop.say("abort t1")
    shop.until("RolledBack", timeout=5)
