"""A Prometheus behind TLS: with a bearer token for a run of the operator, and with a password of its own."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.metrics.pool import Key, Sources
from rolloutplan.stats.verdict import Answer, Why
from tests.bed import Bed, netns
from tests.bed.processes import Process
from tests.certificates import Authority
from tests.shop import OPERATOR, Operator, Shop, metric_source

TOKEN = "a-token-of-nothing"
PORT = 9443
"""Of the Prometheus with a password."""
PASSWORD = "$2b$04$abcdefghijklmnopqrstuuFuhxWRTXIsURoluSTZ1N4tYaWGn9oOi"


@contextmanager
def gate(bed: Bed, cert: Path, key: Path) -> Iterator[tuple[str, list[str]]]:
    """The bed's Prometheus behind TLS and a bearer token: its address, and what was shown to it."""
    shown: list[str] = []

    class Gate(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            shown.append(str(self.headers["Authorization"]))
            code, said = 401, b"Unauthorized"
            if shown[-1] == f"Bearer {TOKEN}":
                kind = {"Content-Type": self.headers["Content-Type"]}
                answer = requests.post(
                    bed.prometheus_url + self.path, body, headers=kind, timeout=5, proxies={"http": ""}
                )
                code, said = answer.status_code, answer.content
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((netns.ADDRESS, 0), Gate)
    server.daemon_threads = True
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://{netns.ADDRESS}:{server.server_port}", shown
    server.shutdown()
    server.server_close()


@contextmanager
def with_a_password(bed: Bed, folder: Path, cert: Path, key: Path, ca: Path) -> Iterator[str]:
    """A Prometheus that speaks TLS itself, and asks for the password of the user `prom`."""
    config, web, url = folder / "prometheus.json", folder / "web.json", f"https://{netns.ADDRESS}:{PORT}"
    config.write_text("{}")
    tls = {"cert_file": str(cert), "key_file": str(key)}
    web.write_text(json.dumps({"tls_server_config": tls, "basic_auth_users": {"prom": PASSWORD}}))
    command = [
        str(bed.programs.prometheus),
        f"--config.file={config}",
        f"--web.config.file={web}",
        f"--web.listen-address={netns.ADDRESS}:{PORT}",
        f"--storage.tsdb.path={folder}/data",
        "--log.level=warn",
    ]

    def ready() -> bool:
        try:
            return requests.get(f"{url}/-/ready", auth=("prom", "opensesame"), verify=str(ca), timeout=1).ok
        except requests.RequestException:
            return False

    process = Process("prometheus-with-a-password", command, folder, ready)
    process.start()
    yield url
    process.kill()


def test_a_prometheus_that_wants_credentials_is_asked_with_them(bed: Bed, alone: None, tmp_path: Path) -> None:
    authority, files = Authority(tmp_path / "ca"), tmp_path / "credentials"
    cert, key = authority.issue("server", f"IP:{netns.ADDRESS}")
    files.mkdir()
    (files / "ca.crt").write_bytes(authority.ca.read_bytes())
    (files / "token").write_text(TOKEN)
    shop, name = Shop(bed, f"shop-{uuid4().hex[:6]}", replicas=1), f"secured-{uuid4().hex[:6]}"
    options = [f"--credentials-dir={files}"]
    with gate(bed, cert, key) as (url, shown), Operator(bed, OPERATOR, options=options, name="operator-credentials"):
        source = metric_source(url, name, auth={"bearer": "token", "caBundle": "ca.crt"})
        bed.apply(source)
        shop.open()
        # Of this shop alone: where Prometheus was killed, pods that ended meanwhile keep a last sample for minutes, and
        # a guard that selects a sample from before its weight says nothing.
        never = {"name": "never", "query": 'count(up{namespace="$namespace"}) < 0 or vector(0)', "is": "> 1"}
        shop.start(metrics={"source": name}, guards=[never], stages=[{"weight": "100%", "soak": "1s"}])
        shop.until("Succeeded", timeout=40)
        bed.delete(source)
        shop.close()
    assert set(shown) == {f"Bearer {TOKEN}"}

    with with_a_password(bed, tmp_path, cert, key, authority.ca) as url:
        assert asked(url, files).detail.startswith(f"credential file password: not in {files}: add it to the chart's")
        (files / "password").write_text("opensesame\n")
        assert asked(url, files) == Answer(1.0)
        (files / "password").write_text("another\n")
        wrong = asked(url, files)
    assert wrong.gap is Why.SOURCE_DOWN
    assert wrong.detail == "HTTP 401 Unauthorized: it wants other credentials; check auth of the source"


def asked(url: str, files: Path) -> Answer:
    """What a ClusterMetricSource with a password says to a query."""
    auth = {"basic": {"username": "prom", "password": "password"}, "caBundle": "ca.crt"}
    raw: dict[str, Any] = {"prometheus": {"url": url}, "auth": auth}
    sources = Sources(access=Access(SourceHosts.read([netns.ADDRESS]), credentials=files))
    source = sources.get(Key("clustermetricsources", "", "default"), read_metric_source(raw, cluster=True))
    try:
        return asyncio.run(source.of("shop").evaluate(ValueQuery("vector(1)"), datetime.now(UTC)))
    finally:
        sources.close()
