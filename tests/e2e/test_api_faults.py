"""What the API server may do to the operator, and what the operator does all the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.bed import Bed
from tests.bed.faults import FaultProxy
from tests.bed.processes import until
from tests.shop import HEALTH_PORT, Operator, Shop

FLIPS = {
    "name": "bad",
    "query": 'sum(http_requests_total{namespace="$namespace",deployment="$deployment",code="500"}) or vector(0)',
    "is": "> 0",
    "window": "1s",
}
"""A guard that is proved by the first answer of 500."""
LEASE = "api-faults"
LEASES = "/apis/coordination.k8s.io/v1/leases"
SLOW_STAGES = [{"weights": ["25%", "100%"], "soak": "10m"}]


@pytest.fixture(scope="module")
def proxy(bed: Bed) -> Iterator[FaultProxy]:
    with FaultProxy(bed, "api-faults", 7700) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(bed: Bed, proxy: FaultProxy, alone: None) -> Iterator[Operator]:
    """An operator that knows no other way to the API server than the proxy."""
    options = [f"--lease-name={LEASE}", "--identity=api-faults"]
    with Operator(
        bed, options=options, kubeconfig=proxy.kubeconfig(), port=HEALTH_PORT + 9, name="faulted"
    ) as operator:
        until(operator.leads, 20, "a leader")
        yield operator


@pytest.fixture
def faulted(bed: Bed, operator: Operator, proxy: FaultProxy) -> Iterator[Shop]:
    """A shop whose operator's requests go through the proxy."""
    shop = Shop(bed, f"faulted-{uuid4().hex[:6]}")
    yield shop
    proxy.up()
    proxy.faults(0)
    proxy.cut_watches(0)
    shop.close()


def proofs(operator: Operator) -> float:
    """How often it has found a guard to be true. What it has proved it judges no more while it goes back for it."""
    return operator.counted("rolloutplan_verdicts_total", 'verdict="Tripped"')


def has_run_out(bed: Bed) -> bool:
    """Whether anybody else might take the operator's Lease by now."""
    (lease,) = (each for each in bed.get(LEASES)["items"] if each["metadata"]["name"] == LEASE)
    renewed = datetime.fromisoformat(lease["spec"]["renewTime"])
    return datetime.now(UTC) > renewed + timedelta(seconds=lease["spec"]["leaseDurationSeconds"])


def test_an_outage_is_ridden_out_and_what_was_proved_in_it_goes_back_first(
    faulted: Shop, proxy: FaultProxy, operator: Operator
) -> None:
    shop = faulted.open()
    shop.bed.load(shop.host, rate=50)
    shop.start(stages=SLOW_STAGES, guards=[FLIPS])
    soaking = shop.until("Judging/w25")
    proxy.down()
    until(lambda: has_run_out(shop.bed), 60, "the end of a Lease that cannot be renewed")
    operator.judges(2)  # it goes on judging from what it knows
    before = proofs(operator)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    until(lambda: proofs(operator) > before, 30, "the proof")
    assert shop.traffic() == {"checkout-v1": 75, "checkout-v2": 25}
    proxy.up()
    status = shop.until("RolledBack", timeout=10)
    assert (status["reason"], status["epoch"]) == ("GuardTripped", soaking["epoch"]), "nobody else took the Lease"
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
    assert operator.process.running()


def test_false_answers_and_cut_watches_change_nothing_but_the_time_it_takes(faulted: Shop, proxy: FaultProxy) -> None:
    shop = faulted.open()
    proxy.faults(0.2, seed=11)
    proxy.cut_watches(2)
    shop.start(stages=[{"weights": ["25%", "50%", "100%"], "soak": "2s"}], guards=[FLIPS])
    shop.until("Succeeded", timeout=240)
    reasons = [decision["reason"] for decision in shop.status()["decisions"]]
    steps = ["StageStarted", "WeightShifted", "StageProved"]
    # The watch of plans may have been up again before that of what the plan names. A request that has met false answers
    # for 10 s is told, whatever they were.
    taken = [reason for reason in reasons if reason not in ("Stalled", "RequestRefused")]
    assert taken == ["Started", "NewSideReady", *steps * 3, "Succeeded"]
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    assert shop.reasons() == reasons, "every decision has exactly one Event"
    assert proxy.counts["429"] + proxy.counts["500"] + proxy.counts["503"] + proxy.counts["409"] > 0


def test_a_namespace_that_is_forbidden_stops_no_other(faulted: Shop, bed: Bed, proxy: FaultProxy) -> None:
    shop, other = faulted.open(), Shop(bed, f"forbidden-{uuid4().hex[:6]}").open()
    try:
        for each in (shop, other):
            each.bed.load(each.host, rate=20)
            each.start(stages=SLOW_STAGES, guards=[FLIPS])
            each.until("Judging/w25")
        proxy.forbid(other.namespace)
        for each in (shop, other):
            each.bed.behave("checkout-v2", each.namespace, errors=1.0)
        shop.until("RolledBack", timeout=10)
        assert other.phase() == "Judging"
        proxy.allow(other.namespace)
        other.until("RolledBack", timeout=10)
    finally:
        other.close()


def test_a_token_that_has_expired_is_read_anew(faulted: Shop, proxy: FaultProxy, operator: Operator) -> None:
    shop = faulted.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(stages=SLOW_STAGES, guards=[FLIPS])
    shop.until("Judging/w25")
    proxy.expire(proxy.token())
    refused = proxy.counts["401"]
    until(lambda: proxy.counts["401"] >= refused + 3, 30, "the third refusal")
    before = proofs(operator)
    shop.bed.behave("checkout-v2", shop.namespace, errors=1.0)
    until(lambda: proofs(operator) > before, 30, "the proof")
    proxy.renew(proxy.token())
    shop.until("RolledBack", timeout=15)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}


def test_a_route_that_is_gone_or_lacks_a_side_holds_the_run(faulted: Shop, operator: Operator) -> None:
    shop = faulted.open()
    shop.start(stages=SLOW_STAGES, guards=[FLIPS])
    shop.until("Judging/w25")
    whole = shop.route()
    refs = whole["spec"]["rules"][0]["backendRefs"]
    shop.bed.kubectl("-n", shop.namespace, "delete", "httproute", "checkout")
    held = shop.until("Held", timeout=10)
    assert held["reason"] == "Conflict"
    assert "HTTPRoute checkout is gone" in held["message"]
    meta = {"name": "checkout", "namespace": shop.namespace}
    without = {**whole["spec"], "rules": [{**whole["spec"]["rules"][0], "backendRefs": refs[:1]}]}
    base = {"apiVersion": whole["apiVersion"], "kind": "HTTPRoute", "metadata": meta}
    shop.bed.apply(base | {"spec": without})
    shop.looked_at_again()
    operator.judges(2)
    assert shop.phase() == "Held"
    shop.bed.apply(base | {"spec": whole["spec"]})
    shop.until("Judging/w25", timeout=10)
    shop.say("abort t1")
    shop.until("RolledBack", timeout=10)
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
