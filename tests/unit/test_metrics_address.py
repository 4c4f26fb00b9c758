"""Where metric sources may point: which hosts, which addresses, and that the address checked is the one used."""

import asyncio
import re
import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.predicate import Events
from rolloutplan.engine.model.queries import CountQuery, ValueQuery
from rolloutplan.metrics import pool
from rolloutplan.metrics.access import NOWHERE, Access, Place, SourceHosts
from rolloutplan.metrics.objects import read_source
from rolloutplan.metrics.pool import Key, Sources
from rolloutplan.metrics.prometheus.address import AddressError, Guard
from rolloutplan.stats.verdict import Answer, Why
from tests.unit.test_metrics_source import ONE, hang
from tests.wire import Behaviour, say, server

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)


def ask(url: str, access: Access, **more: Any) -> Answer:
    sources = Sources(access=access)
    spec = MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": "300ms", **more})
    try:
        return asyncio.run(sources.get(Key("c", "", "x"), spec).of("shop").evaluate(ValueQuery("up"), AT))
    finally:
        sources.close()


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ([], "http://prometheus", False),
        (["prometheus"], "http://prometheus", True),
        (["prometheus"], "https://prometheus:9090/a/b", True),
        (["PROMETHEUS."], "http://prometheus", True),
        (["prometheus"], "http://Prometheus.:9090", True),
        (["prometheus:9090"], "http://prometheus:9090", True),
        (["prometheus:9090"], "http://prometheus", False),
        (["prometheus:80"], "http://prometheus", True),
        (["prometheus:443"], "https://prometheus", True),
        (["prometheus:80"], "https://prometheus", False),
        (["prometheus"], "http://prometheus.shop", False),
        (["prometheus"], "http://evil-prometheus", False),
        (["*.monitoring.svc"], "http://a.monitoring.svc", True),
        (["*.monitoring.svc"], "http://a.b.monitoring.svc:9090", True),
        (["*.monitoring.svc"], "http://monitoring.svc", False),
        (["*.monitoring.svc"], "http://evilmonitoring.svc", False),
        (["*.monitoring.svc"], "http://a.monitoring.svc.evil.example", False),
        (["*.monitoring.svc:9090"], "http://a.monitoring.svc:9090", True),
        (["*.monitoring.svc:9090"], "http://a.monitoring.svc:9091", False),
        (["10.0.0.5"], "http://10.0.0.5:9090", True),
        (["10.0.0.5"], "http://10.0.0.50:9090", False),
        (["[fd00::1]:9090"], "http://[fd00:0::0001]:9090", True),
        (["[fd00::1]:9090"], "http://[fd00::1]:9091", False),
        (["a", "b"], "http://b", True),
    ],
)
def test_a_namespaced_source_points_only_to_hosts_that_are_listed(listed: list[str], url: str, allowed: bool) -> None:
    raw = {"metadata": {"name": "own", "namespace": "shop"}, "spec": {"prometheus": {"url": url}}}
    found = read_source("metricsources.rolloutplan.dev", raw, hosts=SourceHosts.read(listed))
    assert (found.spec is not None) is allowed
    assert ("--source-hosts (sourceHosts of the chart)" in found.problem) is not allowed
    everywhere = read_source("clustermetricsources.rolloutplan.dev", raw, hosts=SourceHosts.read(listed))
    assert everywhere.spec is not None, "a ClusterMetricSource may point anywhere"


@pytest.mark.parametrize("text", ["", "*", "*.", "http://a", "a:0", "a:65536", "a/b", "a b", "127.1", "[::1", "a..b"])
def test_a_host_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        SourceHosts.read([text])


FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "10.96.0.1",
    "::ffff:10.96.0.1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_no_name_leads_to_these_addresses_also_where_it_is_listed(address: str) -> None:
    place, hosts = Place("prometheus.example.com", 9090), SourceHosts.read(["prometheus.example.com", "*.example.com"])
    for access in (Access(api_server=("10.96.0.1",)), Access(hosts, ("10.96.0.1",))):
        with pytest.raises(
            AddressError, match=r"leads to .*: point prometheus\.url elsewhere, or have .*--source-hosts"
        ):
            Guard(access, place).check(address)


@pytest.mark.parametrize("address", [each for each in FORBIDDEN if "." not in each or ":" not in each])
def test_such_an_address_is_used_where_it_is_itself_written_and_listed(address: str) -> None:
    place, listed = Place(address, 9090), f"[{address}]" if ":" in address else address
    with pytest.raises(AddressError, match=f"{re.escape(address)} is .*--source-hosts"):
        Guard(Access(api_server=("10.96.0.1",)), place).check(address)
    with pytest.raises(AddressError, match=f"{re.escape(address)} is .*--source-hosts"):
        Guard(Access(SourceHosts.read([f"{listed}:1"]), ("10.96.0.1",)), place).check(address)
    Guard(Access(SourceHosts.read([listed]), ("10.96.0.1",)), place).check(address)


@pytest.mark.parametrize("address", ["10.0.0.5", "203.0.113.7", "192.168.0.1", "2001:db8::1", "fd00::5"])
def test_every_other_address_may_be_used(address: str) -> None:
    Guard(Access(api_server=("10.96.0.1",)), Place("prometheus.example.com", 9090)).check(address)


@pytest.mark.parametrize(
    "name", ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
)
def test_the_service_of_the_api_server_is_known_by_its_names(name: str) -> None:
    with pytest.raises(AddressError, match=f"{name} leads to the API server"):
        Guard(NOWHERE, Place(name, 443)).check("203.0.113.7")


def test_an_address_of_this_machine_is_the_operator_itself() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.7", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        own = probe.getsockname()[0]
    with pytest.raises(AddressError, match=f"{own} is the operator itself"):
        Guard(NOWHERE, Place(own, 9090)).check(own)


@pytest.mark.parametrize("spelling", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "LocalHost"])
def test_no_spelling_of_a_loopback_address_is_connected_to(spelling: str) -> None:
    requests: list[bytes] = []
    with server(_noting(requests)) as url:
        spec = read_metric_source({"prometheus": {"url": url}, "timeout": "300ms"}, cluster=True)
        spelled = url.replace("127.0.0.1", spelling)
        written = spec.model_copy(update={"prometheus": spec.prometheus.model_copy(update={"url": spelled})})
        sources = Sources()
        answer = asyncio.run(sources.get(Key("c", "", "x"), written).of("shop").evaluate(ValueQuery("up"), AT))
        sources.close()
    assert answer.gap is Why.SOURCE_DOWN
    assert "leads to a loopback address: point prometheus.url elsewhere" in answer.detail
    assert requests == []


def test_a_loopback_address_is_used_where_it_is_named() -> None:
    with server(say(ONE)) as url:
        host, port = url.removeprefix("http://").split(":")
        named = Access(SourceHosts.read([f"{host}:{port}", f"localhost:{port}"]))
        assert ask(url, named, timeout="5s") == Answer(0.25)
        assert ask(f"http://localhost:{port}", named, timeout="5s") == Answer(0.25)
        other = Access(SourceHosts.read([f"{host}:1", "*.localhost"]))
        told = "127.0.0.1 is a loopback address: point prometheus.url elsewhere, or have the operator's --source-hosts"
        assert ask(url, other).detail == f"{told} (sourceHosts of the chart) name {host}:{port}"


def test_a_name_that_changes_after_the_check_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look finds an address that is allowed, and each look after it the loopback address."""
    requests: list[bytes] = []
    looks = 0

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        nonlocal looks
        looks += host == "rebinding.example.com"
        address = "203.0.113.7" if looks == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    with server(_noting(requests)) as url:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        answer = ask(url.replace("127.0.0.1", "rebinding.example.com"), NOWHERE)
    assert answer.gap is Why.SOURCE_DOWN
    assert looks > 0
    assert requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"SSH-2.0-OpenSSH_9.9 secret\r\n",
        b"HTTP/1.1 secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    ],
    ids=["another protocol", "no status", "broken chunks"],
)
def test_nothing_of_what_is_not_http_is_shown(body: bytes) -> None:
    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(body)
        connection.shutdown(socket.SHUT_RDWR)

    with server(behaviour) as url:
        answer = ask(url, Access(SourceHosts.read(["127.0.0.1"])), timeout="2s")
    assert answer.gap is Why.SOURCE_DOWN
    assert answer.detail
    assert "secret" not in answer.detail


def test_a_source_that_cannot_be_made_says_so_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pool, "connect", fails)
    source = Sources().get(Key("c", "", "x"), MetricSourceSpec.model_validate({"prometheus": {"url": "http://a"}}))
    provider, gap = (
        source.of("shop"),
        Answer(gap=Why.SOURCE_DOWN, detail="the metric source cannot be used (ZeroDivisionError): correct its spec"),
    )
    events = Events(bad="a", total="b")
    assert asyncio.run(provider.evaluate(ValueQuery("up"), AT)) == gap
    assert asyncio.run(provider.counters(CountQuery(events), AT, AT, AT - AT)) == gap
    assert asyncio.run(provider.check([], AT)).down == gap.detail


@pytest.mark.parametrize("url", ["http://[", "http://a:b", "", "http://" + "a" * 3000, 5, None, ["http://a"], {"a": 1}])
@pytest.mark.parametrize("kind", ["clustermetricsources.rolloutplan.dev", "metricsources.rolloutplan.dev"])
def test_a_source_that_cannot_be_read_is_a_problem_of_its_own(url: Any, kind: str) -> None:
    raw = {"metadata": {"name": "x", "namespace": "shop"}, "spec": {"prometheus": {"url": url}}}
    found = read_source(kind, raw, hosts=SourceHosts.read(["a"]))
    assert found.spec is None
    assert "MetricSource x: spec.prometheus.url" in found.problem


def _noting(requests: list[bytes]) -> Behaviour:
    def behaviour(connection: socket.socket, request: bytes) -> None:
        requests.append(request)
        hang(connection, request)

    return behaviour
