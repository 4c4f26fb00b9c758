"""Telemetry: one shape for every log line, probes that say why not, and counts of our own work."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from rolloutplan import __version__
from rolloutplan.api.policy_status import Places
from rolloutplan.telemetry.health import metrics_page, probes
from rolloutplan.telemetry.logs import set_up
from rolloutplan.telemetry.metrics import IN_USE, MOST_GROUPS, MOST_PLANS, Metrics, resource

Story = Callable[[Metrics], None]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_the_same_shape() -> None:
    stream = io.StringIO()
    early = structlog.get_logger("early")
    set_up(stream=stream)
    with structlog.contextvars.bound_contextvars(plan="shop/checkout", run=3):
        early.info("weight shifted", to="25%")
        early.debug("not shown")
        logging.getLogger("kopf.x").warning("watching %s", "plans")
        logging.getLogger("kopf.x").info("not shown")
        try:
            int("boom")
        except ValueError:
            early.exception("went wrong")
    first, second, third = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "weight shifted",
        "to": "25%",
        "level": "info",
        "logger": "early",
        "plan": "shop/checkout",
        "run": 3,
    }
    assert (second["event"], second["logger"], second["plan"]) == ("watching plans", "kopf.x", "shop/checkout")
    assert "ValueError: invalid literal" in third["exception"]


def test_the_level_is_chosen() -> None:
    stream = io.StringIO()
    set_up("debug", stream=stream)
    logging.getLogger("kopf.x").debug("shown")
    set_up("error", stream=stream)
    structlog.get_logger("x").warning("not shown")
    logging.getLogger("kopf.x").warning("not shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]
    with pytest.raises(ValueError, match="write one of debug, info, warning, error"):
        set_up("loud")


def test_a_person_at_a_terminal_gets_no_json() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    set_up(stream=stream)
    structlog.get_logger("x").info("weight shifted", to="25%")
    assert "weight shifted" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


# ---- what is served ----------------------------------------------------------------------------------


def test_probes() -> None:
    idle, missing = 0.0, ["httproutes (forbidden)"]
    epoch: int | None = None

    async def run() -> None:
        nonlocal idle, missing, epoch
        health = probes(idle=lambda: idle, missing=lambda: missing, leading=lambda: epoch)
        port = await health.start(0, "127.0.0.1")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def probe(path: str) -> tuple[int, str]:
                async with session.get(path) as response:
                    return response.status, (await response.text()).strip()

            assert await probe("livez") == (200, "alive")
            assert await probe("readyz") == (503, "not ready: httproutes (forbidden)")
            missing = []
            assert await probe("readyz") == (200, "ready")
            assert await probe("leading") == (503, "this replica does not lead")
            epoch = 7
            assert await probe("leading") == (200, "epoch 7")
            idle = 10.5
            assert await probe("livez") == (503, "the event loop has been blocked for 10 s")
            for path in ("other", "metrics"):
                assert (await probe(path))[0] == 404
        await health.close()

    asyncio.run(run())


def test_the_metrics_have_a_port_of_their_own() -> None:
    async def page() -> tuple[bytes, str]:
        return b"up 1", "text/plain; version=9"

    async def run() -> None:
        served = metrics_page(page)
        port = await served.start(0, "127.0.0.1")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("metrics") as response:
                assert (response.headers["Content-Type"], await response.text()) == ("text/plain; version=9", "up 1")
            for path in ("livez", "readyz", "leading"):
                async with session.get(path) as response:
                    assert response.status == 404
        await served.close()

    asyncio.run(run())


# ---- counts ------------------------------------------------------------------------------------------


def scraped(metrics: Metrics) -> dict[str, float]:
    """Every sample of a scrape, by its name and labels as they are written."""
    page, kind = asyncio.run(metrics.page())
    assert kind.startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def twice(story: Story) -> Story:
    def told(metrics: Metrics) -> None:
        story(metrics)
        story(metrics)

    return told


@pytest.mark.parametrize(
    ("story", "sample", "value"),
    [
        (
            twice(lambda m: m.count_decision("Advance", "StageProved")),
            "decisions_total{kind=Advance,reason=StageProved}",
            2,
        ),
        (lambda m: m.count_verdict("Proved"), "verdicts_total{verdict=Proved}", 1),
        (lambda m: m.count_verdict("Proved"), "verdicts_total{verdict=Undecided}", 0),
        (lambda m: m.observe_write_delay(0.3), "evidence_to_weights_seconds_sum", 0.3),
        (lambda m: m.observe_write_delay(0.011), "evidence_to_weights_seconds_bucket{le=0.01}", 0),
        (lambda m: m.observe_write_delay(0.009), "evidence_to_weights_seconds_bucket{le=0.01}", 1),
        (lambda m: m.observe_write_delay(59), "evidence_to_weights_seconds_bucket{le=60.0}", 1),
        (lambda m: m.observe_lag(0.0009), "evaluation_lag_seconds_bucket{le=0.001}", 1),
        (lambda m: m.observe_lag(29), "evaluation_lag_seconds_bucket{le=30.0}", 1),
        (
            twice(lambda m: m.count_source_request("shop/a", 200, 0.1)),
            "metric_requests_total{code=200,source=shop/a}",
            2,
        ),
        (twice(lambda m: m.count_limit("bytes")), "metric_limits_total{limit=bytes}", 2),
        (lambda m: m.count_source_request("a", 0, 5.0), "metric_requests_total{code=0,source=a}", 1),
        (lambda m: m.count_source_request("a", 503, 5.0), "metric_request_seconds_sum", 5),
        (
            twice(lambda m: m.count_api_request("GET", "/apis/apps/v1/namespaces/shop/deployments/v1", 200, 0.2)),
            "api_requests_total{code=200,method=GET,resource=deployments}",
            2,
        ),
        (
            lambda m: m.count_api_request("PATCH", "/x", 0, 0.2),
            "api_requests_total{code=0,method=PATCH,resource=other}",
            1,
        ),
        (lambda m: m.count_api_request("PATCH", "/x", 0, 0.2), "api_request_seconds_sum{method=PATCH}", 0.2),
        (lambda _: None, f"build_info{{version={__version__}}}", 1),
        (lambda _: None, "clock_ahead_seconds", -61.5),
        (lambda m: m.set_plan_counter(lambda: {"Judging": 3, "Held": 1}, lambda: 2), "plans{phase=Judging}", 3),
        (lambda m: m.set_plan_counter(dict, lambda: 2), "plans_failing", 2),
        (lambda m: m.set_plan_counter(dict, lambda: 0, lambda: 61.5), "oldest_look_seconds", 61.5),
    ],
)
def test_counts(story: Story, sample: str, value: float) -> None:
    metrics = Metrics(ahead=lambda: -61.5, page_for=0)
    story(metrics)
    assert scraped(metrics)[f"rolloutplan_{sample}"] == pytest.approx(value)


def test_the_process_is_measured_too() -> None:
    assert scraped(Metrics())["process_resident_memory_bytes"] > 0


def test_plans_are_counted_at_the_scrape() -> None:
    metrics, plans = Metrics(page_for=0), {"Judging": 1}
    metrics.set_plan_counter(lambda: plans, lambda: 0)
    assert scraped(metrics)["rolloutplan_plans{phase=Judging}"] == 1
    plans["Judging"] = 5
    assert scraped(metrics)["rolloutplan_plans{phase=Judging}"] == 5


def test_owners_are_told_for_so_many_plans_as_have_room_and_of_every_namespace() -> None:
    metrics, many = Metrics(page_for=0), 3 * MOST_PLANS
    owned = [("shop", f"plan-{number:04}", "flood") for number in range(many)] + [("cart", "cart-v2", 'a"b\n{}')]
    metrics.set_plan_counter(dict, lambda: 0, owners=lambda: owned)
    told = [name for name in scraped(metrics) if name.startswith("rolloutplan_plan_info")]
    assert len(told) == MOST_PLANS
    assert any("plan=cart-v2" in name for name in told), "a namespace takes the places of another"
    owned[:] = [("shop", "checkout-v2", "team-checkout")]
    assert scraped(metrics)["rolloutplan_plan_info{namespace=shop,owner=team-checkout,plan=checkout-v2}"] == 1


def test_who_does_not_lead_says_nothing_of_looks() -> None:
    assert "rolloutplan_oldest_look_seconds" not in scraped(Metrics(page_for=0))


def test_who_leads() -> None:
    metrics = Metrics(page_for=0)

    def standing() -> tuple[float, float]:
        found = scraped(metrics)
        return found["rolloutplan_leader"], found["rolloutplan_epoch"]

    assert standing() == (0, 0)
    metrics.set_leader(7)
    assert standing() == (1, 7)
    metrics.set_leader(None)
    assert standing() == (0, 7)


def test_the_newest_sample_grows_older_until_its_source_is_out_of_use() -> None:
    began = now = datetime(2026, 3, 1, 9, tzinfo=UTC)
    metrics = Metrics(clock=lambda: now, page_for=0)

    def age() -> float | None:
        return scraped(metrics).get("rolloutplan_newest_sample_age_seconds{source=shop/a}")

    assert age() is None
    metrics.count_source_request("shop/a", 200, 0.1)
    metrics.record_answer("shop/a", began - timedelta(seconds=15))
    metrics.record_answer("shop/a", began - timedelta(seconds=40))
    assert age() == 15
    now = began + IN_USE
    assert age() == 15 + IN_USE.total_seconds()
    now += timedelta(seconds=1)
    assert age() is None, "nobody has asked for it"
    metrics.count_source_request("shop/a", 0, 5.0)
    assert age() == 16 + IN_USE.total_seconds()


PLAN = "/apis/rolloutplan.dev/v1alpha1/namespaces/shop/rolloutplans"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (PLAN, "rolloutplans"),
        (f"{PLAN}/checkout", "rolloutplans"),
        (f"{PLAN}/checkout/status", "rolloutplans/status"),
        ("/apis/rolloutplan.dev/v1alpha1/rolloutplans", "rolloutplans"),
        ("/apis/rolloutplan.dev/v1alpha1/clustermetricsources/default", "clustermetricsources"),
        ("/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web", "httproutes"),
        ("/apis/events.k8s.io/v1/namespaces/shop/events", "events"),
        ("/apis/coordination.k8s.io/v1/namespaces/ops/leases/rolloutplan", "leases"),
        ("/api/v1/namespaces/shop/pods", "pods"),
        ("/api/v1/namespaces/shop/pods/web-1/log", "pods/log"),
        ("/api/v1/namespaces/shop", "namespaces"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1", "other"),
        ("/version", "other"),
        ("/", "other"),
    ],
)
def test_a_request_is_counted_by_its_resource_and_never_by_a_name(path: str, name: str) -> None:
    assert resource(path) == name


def test_of_too_many_groups_those_have_series_for_which_most_plans_wait() -> None:
    metrics = Metrics()
    metrics.set_places(Places(group=f"policy p{number}", of=1, waiting=number) for number in range(MOST_GROUPS + 50))
    for family in metrics._families_of_places():
        assert {sample.labels["group"] for sample in family.samples} == {
            f"policy p{number}" for number in range(50, MOST_GROUPS + 50)
        }
