"""The worked examples, as they stand in their files, on real parts."""

from datetime import UTC, datetime

import yaml

from tests.bed import objects
from tests.bed.processes import until
from tests.hurry import Json, hurried
from tests.shop import ROOT, Operator, Shop

EXAMPLES = ROOT / "examples"
CHECKOUT, MAILER = "checkout-v2", "mailer-v2"
OLD = {"checkout-v1": 100, "checkout-v2": 0}
NEW = {"checkout-v1": 0, "checkout-v2": 100}
MAILS = 'mails_total{outcome="done"} $good\nmails_total{outcome="failed"} $bad\nmails_oldest_seconds 0\n'
DISK = 'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-orders-db-0"} 80e9'


def example(file: str, shop: Shop, deadline: str = "60s") -> Json:
    """The hurried plan of a file, in the shop's namespace.

    The ServiceAccounts of the file are applied, as a person would who applies it.
    """
    documents = list(yaml.safe_load_all((EXAMPLES / file).read_text()))
    for account in (each for each in documents if each["kind"] == "ServiceAccount"):
        shop.bed.apply({**account, "metadata": {**account["metadata"], "namespace": shop.namespace}})
    plan = hurried(next(each for each in documents if each["kind"] == "RolloutPlan"), deadline)
    plan["metadata"]["namespace"] = shop.namespace
    return plan


# ---- a schema, expanded and contracted -------------------------------------------------------------------------------


def open_with_a_database(shop: Shop) -> None:
    """Whose disk has room."""
    shop.open()
    shop.bed.apply(objects.deployment("orders-db", shop.namespace, "v1", 1, {"exposes": DISK}))
    shop.bed.wait_ready(shop.namespace, "orders-db")
    shop.bed.load(shop.host, rate=40)


def test_a_schema_is_expanded_before_and_contracted_after_the_traffic(shop: Shop) -> None:
    open_with_a_database(shop)
    shop.bed.kubectl("scale", "deployment/checkout-v2", "-n", shop.namespace, "--replicas=1")
    shop.bed.apply(example("schema-migration.yaml", shop))
    status = shop.until("Held", name=CHECKOUT, timeout=90)
    assert status["reason"] == "AwaitingApproval"
    assert (shop.traffic(), shop.size("checkout-v1"), shop.size("checkout-v2")) == (NEW, 2, 2)
    shop.say("approve a1", CHECKOUT)
    shop.until("Succeeded", name=CHECKOUT)
    assert shop.size("checkout-v1") == 0
    reasons = shop.reasons(CHECKOUT)
    assert reasons[:6] == ["Started", "AssumptionTrue", "AssumptionTrue", "Expanded", "Expanded", "NewSideReady"]
    assert reasons[-5:] == ["Held", "Resumed", "Contracted", "Contracted", "Succeeded"]


def test_a_schema_that_cannot_be_expanded_keeps_all_traffic_where_it_is(shop: Shop) -> None:
    open_with_a_database(shop)
    shop.bed.behave(f"{CHECKOUT}-1-add-addresses", shop.namespace, exit_code=1, says="relation orders is locked")
    shop.bed.apply(example("schema-migration.yaml", shop))
    status = shop.until("RolledBack", name=CHECKOUT, timeout=120)
    assert status["reason"] == "ExpandFailed"
    assert "add-addresses" in status["message"]
    assert "relation orders is locked" in status["message"]
    assert (shop.traffic(), "StageStarted" in shop.reasons(CHECKOUT)) == (OLD, False)


# ---- a service with few requests -------------------------------------------------------------------------------------


def test_few_requests_prove_a_good_version_in_a_time_that_is_extended(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=6)
    shop.bed.apply(example("low-traffic.yaml", shop, deadline="15s"))
    shop.until("Succeeded", name=CHECKOUT, timeout=150)
    reasons = shop.reasons(CHECKOUT)
    assert reasons[:3] == ["Started", "AssumptionTrue", "NewSideReady"]
    assert "DeadlineExtended" in reasons
    assert "Held" not in reasons
    assert shop.traffic() == NEW


def test_few_requests_are_enough_to_take_a_bad_version_back(shop: Shop) -> None:
    shop.open()
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    load = shop.bed.load(shop.host, rate=6)
    shop.bed.apply(example("low-traffic.yaml", shop, deadline="15s"))
    status = shop.until("RolledBack", name=CHECKOUT, timeout=120)
    assert status["reason"] in ("GuardTripped", "PassRefuted"), "whichever of the two has its proof first"
    assert shop.traffic() == OLD
    failed = load.counts().get(("v2", 500), 0)
    assert failed < 20, f"{failed} requests failed until it was seen"


# ---- a person between half and all of the traffic --------------------------------------------------------------------


def test_a_canary_waits_at_half_of_the_traffic_for_a_persons_word(shop: Shop, running: Operator) -> None:
    shop.open()
    shop.bed.apply(example("approval.yaml", shop))
    shop.until("Judging", "Held", name=CHECKOUT)  # it goes no further without requests
    early = shop.cli("approve", CHECKOUT, "-n", shop.namespace)
    assert early.returncode == 3, "nobody approves what nobody has seen yet"
    shop.bed.load(shop.host, rate=40)
    waits = ("--for=jsonpath={.status.reason}=AwaitingApproval", "--timeout=60s")
    shop.bed.kubectl("wait", f"rp/{CHECKOUT}", "-n", shop.namespace, *waits)
    assert shop.phase(CHECKOUT) == "Held"
    running.judges(3)
    assert shop.traffic() == {"checkout-v1": 50, "checkout-v2": 50}
    done = shop.cli("approve", CHECKOUT, "-n", shop.namespace, "--reason", "seen the dashboards, told support")
    assert done.returncode == 0, done.stderr
    status = shop.until("Succeeded", name=CHECKOUT, timeout=60)
    assert any("seen the dashboards, told support" in decision["note"] for decision in status["decisions"])
    assert shop.traffic() == NEW


def test_what_fails_while_a_word_is_waited_for_goes_back_without_it(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=40)
    shop.bed.apply(example("approval.yaml", shop))
    shop.until("Held", name=CHECKOUT, timeout=60)
    shop.bed.behave("checkout-v2", shop.namespace, errors=0.5)
    status = shop.until("RolledBack", name=CHECKOUT, timeout=60)
    assert (status["reason"], shop.traffic()) == ("GuardTripped", OLD)


# ---- a worker --------------------------------------------------------------------------------------------------------


def open_with_mails(shop: Shop) -> None:
    """Two versions of a mailer behind a route of their own; the old one has three mails left in its queue."""
    shop.serves, shop.weights = "mailer", {"mailer-v1": 100, "mailer-v2": 0}
    shop.annotations = {
        "mailer-v1": {"exposes": f"{MAILS}mails_queue_length 3"},
        "mailer-v2": {"exposes": f"{MAILS}mails_queue_length 0"},
    }
    shop.open()
    shop.bed.load(shop.host, rate=20)


def test_a_worker_does_its_work_before_it_gets_any_and_the_old_one_ends_what_it_has(
    shop: Shop, running: Operator
) -> None:
    open_with_mails(shop)
    shop.bed.behave(f"{MAILER}-1-does-its-work", shop.namespace, runs=2, says="500 mails, each once")
    shop.bed.apply(example("worker.yaml", shop))
    shop.until("Probing", name=MAILER)
    assert shop.traffic() == {"mailer-v1": 100, "mailer-v2": 0}
    stage = shop.until("Judging/all", name=MAILER, timeout=60)["stage"]
    until(lambda: datetime.now(UTC) > datetime.fromisoformat(stage["soakUntil"]), 30, "the end of the soak")
    running.judges(3)
    assert shop.phase(MAILER) == "Judging", "the old one has mails to send yet"
    shop.bed.behave("mailer-v1", shop.namespace, exposes=f"{MAILS}mails_queue_length 0")
    status = shop.until("Succeeded", name=MAILER, timeout=60)
    assert any("500 mails, each once" in decision["note"] for decision in status["decisions"])
    assert (shop.traffic(), shop.size("mailer-v1")) == ({"mailer-v1": 0, "mailer-v2": 100}, 0)
    assert shop.reasons(MAILER)[-4:] == ["ContractStarted", "Contracted", "Contracted", "Succeeded"]


def test_a_worker_that_cannot_do_its_work_gets_none(shop: Shop) -> None:
    open_with_mails(shop)
    shop.bed.behave(f"{MAILER}-1-does-its-work", shop.namespace, exit_code=1, says="3 of 500 mails were sent twice")
    shop.bed.apply(example("worker.yaml", shop))
    status = shop.until("RolledBack", name=MAILER, timeout=60)
    assert status["reason"] == "AssumptionFalse"
    assert "3 of 500 mails were sent twice" in status["message"]
    assert shop.traffic() == {"mailer-v1": 100, "mailer-v2": 0}
