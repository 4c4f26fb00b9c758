"""The templates that ship, on a real Prometheus that scrapes what each stack says: each finds its series."""

import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rolloutplan.engine.analysis.counting import render_events
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.metrics.prometheus.counters import bounds_query, counter_queries, no_bound
from rolloutplan.stats.verdict import Answer
from tests.bed import Bed, gateway, objects, until
from tests.templates import SIDES, WINDOW, asked, made, sampled, scraping, total, value
from tests.unit.test_predicates import LIBRARY, STACKS, WHOSE, plan

PORT = 9192
RATE, SLOW = 100, 0.2
"""Requests a second of each side, and the share of them that takes longer than half a second."""
FAILS = {"old": 0.02, "new": 0.1}
"""The share of each side's requests that fails."""

# ---- what is scraped -------------------------------------------------------------------------------------------------

Labels = Mapping[str, str]


def sample(name: str, labels: Labels, value: float) -> str:
    written = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{written}}} {value}"


def codes(name: str, label: str, good: str, bad: str, fails: float, labels: Labels, seconds: float) -> Iterator[str]:
    yield sample(name, {**labels, label: good}, round(RATE * seconds * (1 - fails)))
    yield sample(name, {**labels, label: bad}, round(RATE * seconds * fails))


Bounds = tuple[float, float, float]
SECONDS, MILLISECONDS, OF_TRAEFIK = (0.1, 0.5, 1.0), (100.0, 500.0, 1000.0), (0.1, 0.3, 1.2)


def durations(name: str, labels: Labels, seconds: float, bounds: Bounds = SECONDS) -> Iterator[str]:
    """All take longer than the first bound, and the slow ones longer than the second."""
    total = round(RATE * seconds)
    shares = (0, 1 - SLOW, 1)
    for bound, share in zip(bounds, shares, strict=True):
        yield sample(f"{name}_bucket", {**labels, "le": f"{bound:g}"}, round(total * share))
    yield sample(f"{name}_bucket", {**labels, "le": "+Inf"}, total)
    yield sample(f"{name}_count", labels, total)
    yield sample(f"{name}_sum", labels, total)


def by_code(
    name: str, label: str, labels: Labels, fails: float, seconds: float, bounds: Bounds = SECONDS
) -> Iterator[str]:
    """A histogram for each status code; requests that fail are as slow as the others."""
    for code, share in (("200", 1 - fails), ("503", fails)):
        yield from durations(name, {**labels, label: code}, seconds * share, bounds)


def said(side: str, seconds: float) -> Iterator[str]:
    """What every stack would say of one side after this time."""
    for stack in (of_service, of_meshes, of_envoys, of_gateways, of_pods):
        yield from stack(side, SIDES[side], FAILS[side], seconds)


def of_service(side: str, name: str, fails: float, seconds: float) -> Iterator[str]:
    own = {"namespace": "shop", "deployment": name}
    yield from codes("http_requests_total", "code", "200", "503", fails, own, seconds)
    yield from durations("http_request_duration_seconds", own, seconds)


def of_meshes(side: str, name: str, fails: float, seconds: float) -> Iterator[str]:
    istio = {"reporter": "destination", "destination_workload_namespace": "shop", "destination_workload": name}
    for reporter in ("destination", "source"):
        labels = {**istio, "reporter": reporter, "source_workload": "gateway"}
        yield from codes("istio_requests_total", "response_code", "200", "503", fails, labels, seconds)
        yield from durations("istio_request_duration_milliseconds", labels, seconds, MILLISECONDS)

    linkerd = {"namespace": "shop", "deployment": name, "direction": "inbound", "tls": "true"}
    yield from codes("response_total", "classification", "success", "failure", fails, linkerd, seconds)
    yield from durations("response_latency_ms", linkerd, seconds, MILLISECONDS)

    knative = {"namespace": "shop", "pod": pod_of(name)}
    yield from by_code("kn_serving_invocation_duration_seconds", "http_response_status_code", knative, fails, seconds)


def of_envoys(side: str, name: str, fails: float, seconds: float) -> Iterator[str]:
    contour = {"envoy_cluster_name": f"shop_{name}_80"}
    consul = {"consul_destination_service": name, "consul_source_service": "gateway"}
    kuma = {"service": f"{name}_shop_svc_80", "envoy_cluster_name": "localhost_8080"}
    for labels in (contour, consul, kuma):
        yield from codes("envoy_cluster_upstream_rq", "envoy_response_code", "200", "503", fails, labels, seconds)
        yield from durations("envoy_cluster_upstream_rq_time", labels, seconds, MILLISECONDS)
    its_own_calls = {**kuma, "envoy_cluster_name": "billing_shop_svc_80"}
    yield from codes("envoy_cluster_upstream_rq", "envoy_response_code", "200", "503", 1.0, its_own_calls, seconds)


def of_gateways(side: str, name: str, fails: float, seconds: float) -> Iterator[str]:
    service = f"httproute-shop-checkout-gw-bed-web-ep-web-0-1c0cf64bde37d9d0df06-svc-shop-{name}-0@kubernetesgateway"
    traefik = {"service": service, "method": "GET", "protocol": "http"}
    yield from codes("traefik_service_requests_total", "code", "200", "503", fails, traefik, seconds)
    yield from durations("traefik_service_request_duration_seconds", {**traefik, "code": "200"}, seconds, OF_TRAEFIK)

    canary = "" if side == "old" else f"shop-{name}-80"
    nginx = {"namespace": "shop", "ingress": "checkout", "service": SIDES["old"], "canary": canary, "method": "GET"}
    yield from codes("nginx_ingress_controller_requests", "status", "200", "503", fails, nginx, seconds)
    yield from durations("nginx_ingress_controller_request_duration_seconds", nginx, seconds)

    f5 = {"resource_namespace": "shop", "resource_name": "checkout", "service": name, "upstream": f"vs_shop_{name}"}
    latency = "nginx_ingress_controller_upstream_server_response_latency_ms"
    yield from by_code(latency, "code", f5, fails, seconds, MILLISECONDS)

    route = {"exported_namespace": "shop", "route": "checkout", "exported_service": name, "server": "10.0.0.1:80"}
    yield from codes("haproxy_server_http_responses_total", "code", "2xx", "5xx", fails, route, seconds)
    yield sample("haproxy_server_http_average_response_latency_milliseconds", route, 250)
    yield sample("haproxy_server_http_average_response_latency_milliseconds", {**route, "server": "10.0.0.2:80"}, 0)

    apisix = {"route": "shop_checkout_r1", "node": address_of(side)}
    yield from codes("apisix_http_status", "code", "200", "503", fails, apisix, seconds)
    yield from durations("apisix_http_latency", {**apisix, "type": "upstream"}, seconds, MILLISECONDS)

    skipper = {"route": f"kube_shop__checkout__shop_example_com____{name.replace('-', '_')}", "method": "GET"}
    yield from by_code("skipper_serve_route_duration_seconds", "code", skipper, fails, seconds)


def of_pods(side: str, name: str, fails: float, seconds: float) -> Iterator[str]:
    pod = {"namespace": "shop", "pod": pod_of(name), "container": "app"}
    yield sample("container_cpu_cfs_periods_total", pod, round(10 * seconds))
    yield sample("container_cpu_cfs_throttled_periods_total", pod, round(3 * seconds))
    yield sample("container_memory_working_set_bytes", pod, 80)
    yield sample("container_spec_memory_limit_bytes", pod, 100)
    yield sample("kube_pod_container_status_restarts_total", {**pod, "uid": "1"}, round(seconds))
    yield sample("kube_pod_info", {**pod, "node": "worker-1", "pod_ip": address_of(side)}, 1)


def pod_of(name: str) -> str:
    return f"{name}-6d4cf56db6-x7k2p"


def address_of(side: str) -> str:
    return {"old": "10.0.0.1", "new": "10.0.0.2"}[side]


class Target(BaseHTTPRequestHandler):
    began = time.time()

    def do_GET(self) -> None:
        seconds = time.time() - self.began
        lines = [line for side in SIDES for line in said(side, seconds)]
        body = "\n".join([*lines, ""]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url(bed: Bed) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Target)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    targets = {server.server_port: "/metrics", gateway.PING_PORT: "/metrics"}
    try:
        with scraping(bed.programs.prometheus, bed.workdir, PORT, targets) as url:
            query = f"count_over_time(http_requests_total[{WINDOW.seconds}s]) >= {WINDOW.seconds}"
            until(lambda: asked(url, f"count({query})").value is not None, 30, "a window of samples")
            yield url
    finally:
        server.shutdown()
        server.server_close()


# ---- what is asked ---------------------------------------------------------------------------------------------------


BY_VALUE = ("slow-requests-envoy", "slow-requests-nginx", "slow-requests-consul", "slow-requests-kuma")
"""Shares of slow requests that are not counted: bounds in milliseconds, or sides that no one selector takes."""
EXPECTED = {
    **{f"success-rate{whose}": 1 - FAILS["new"] for whose in WHOSE},
    **{f"latency{whose}": 0.975 for whose in WHOSE},  # 99% lies 0.95 of the way through the last bucket, 0.5 to 1 s
    **dict.fromkeys(BY_VALUE, SLOW),
    "latency-traefik": 1.155,
    "latency-openshift": 0.25,
    "more-errors-nginx": FAILS["new"],
    "cpu-throttling": 0.3,
    "memory-saturation": 0.8,
    "restarts": WINDOW.seconds,
}
COUNTED = {
    **{f"more-errors{whose}": FAILS for whose, what in STACKS.items() if "more-errors" in what and whose != "-nginx"},
    **{
        f"slow-requests{whose}": dict.fromkeys(SIDES, SLOW)
        for whose, what in STACKS.items()
        if "slow-requests" in what and f"slow-requests{whose}" not in BY_VALUE
    },
}


def test_every_template_is_looked_at() -> None:
    assert EXPECTED.keys() | COUNTED.keys() == LIBRARY.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_value_comes_of_each_query(url: str, name: str) -> None:
    predicate, words = made(name)
    assert predicate.query is not None
    for side in SIDES:
        answer = asked(url, render(predicate.query, words[side]))
        assert answer.value is not None, (side, answer)
        if side == "new":
            assert answer.value == pytest.approx(EXPECTED[name], rel=0.1)
        if predicate.min_samples is not None:
            samples = asked(url, render(predicate.min_samples.query, words[side]))
            assert samples.value is not None
            assert samples.value >= predicate.min_samples.at_least


@pytest.mark.parametrize("name", COUNTED)
def test_counts_come_of_all_events(url: str, name: str) -> None:
    predicate, words = made(name)
    assert predicate.events is not None
    for side in SIDES:
        events = render_events(predicate.events, words[side])
        total, bad = (sampled(url, query) for query in counter_queries(events))
        assert not isinstance(total, Answer), (side, total)
        assert not isinstance(bad, Answer), (side, bad)
        assert sum(total.values()) > RATE
        assert sum(bad.values()) == pytest.approx(sum(total.values()) * COUNTED[name][side], rel=0.1)
        if events.histogram is not None:
            assert no_bound(events, sampled(url, bounds_query(events))) == ""


@pytest.mark.parametrize("whose", WHOSE)
def test_where_all_fail_the_share_is_0_and_no_gap(url: str, whose: str) -> None:
    """Else a guard would wait for a series of successes that never comes."""
    bad = {"bad": ".+"} if whose != "-linkerd" else {}
    spec = plan(guards=[{"template": f"success-rate{whose}", "with": bad}])
    words = variables_for(spec, namespace="shop", plan="checkout", stage="all", window=WINDOW)
    query = render(spec.guards[0].query or "", words)
    if whose == "-linkerd":
        query = query.replace('classification="success"', 'classification="none"')
    assert asked(url, query).value == 0


# ---- what a gateway really writes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(bed: Bed, url: str) -> Iterator[str]:
    """A namespace whose route gives half of some traffic to each side; a fifth of the new side's answers are errors."""
    home = "real"
    bed.apply(objects.namespace(home))
    for name, errors in ((SIDES["old"], "0"), (SIDES["new"], "0.2")):
        bed.apply(objects.deployment(name, home, replicas=1, annotations={"errors": errors}))
        bed.apply(objects.service(name, home))
    bed.apply(objects.httproute("checkout", dict.fromkeys(SIDES.values(), 1), home, "real.example.com"))
    for name in SIDES.values():
        bed.wait_ready(home, name)
    load = bed.load("real.example.com", rate=60, seconds=120)
    try:
        ours = f'traefik_service_requests_total{{service=~".*-{home}-{SIDES["new"]}-.*"}}'
        full = f"max(count_over_time({ours}[{WINDOW.seconds}s]) >= {WINDOW.seconds})"
        until(lambda: asked(url, full).value is not None, 60, "a window of real samples")
        yield home
    finally:
        load.kill()
        bed.delete(objects.namespace(home))


def test_real_series_of_traefik_are_found(url: str, real: str) -> None:
    assert value(url, "success-rate-traefik", real, "old") == 1
    assert value(url, "success-rate-traefik", real, "new") == pytest.approx(0.8, abs=0.15)
    for side in SIDES:
        assert value(url, "latency-traefik", real, side) is not None
        assert total(url, "more-errors-traefik", real, side) > 0
