"""Credentials of a metric source: what is sent, to whom, and what is said where they cannot be used."""

import asyncio
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from rolloutplan.api.metric_source import ClusterMetricSourceSpec
from rolloutplan.engine.model.queries import ValueQuery
from rolloutplan.metrics.access import Access, SourceHosts
from rolloutplan.metrics.pool import Key, Sources
from rolloutplan.metrics.prometheus.credentials import MAX_SECRET
from rolloutplan.stats.verdict import Answer, Why
from tests.certificates import Authority

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
ONE = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1.5, "1"]}}).encode()
HERE = SourceHosts.read(["localhost", "127.0.0.1"])
SECRET = "s3cr3t-t0ken"


class Server(ThreadingHTTPServer):
    """Answers each query with 1, and keeps its head; 401 where `wanted` is not its Authorization."""

    daemon_threads = True
    wanted: str | None = None
    to: str = ""
    """Where it sends whoever asks."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], str]] = []
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        """A client that does not trust it is no fault."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def do_GET(self) -> None:
        self._answer(urlsplit(self.path).query)

    def _answer(self, form: str) -> None:
        server = cast("Server", self.server)
        server.asked.append((self.command, dict(self.headers), form))
        denied = server.wanted is not None and self.headers["Authorization"] != server.wanted
        body = b"Unauthorized: the password is hunter2" if denied else ONE
        self.send_response(401 if denied else 302 if server.to else 200)
        if server.to:
            self.send_header("Location", server.to)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[Server]:
    server = Server(context)
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def tls(cert: Path, key: Path, *, clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(cert, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "other")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Path:
    """The directory that the chart would mount."""
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    (tmp_path / "token").write_text(f"{SECRET}\n")
    return tmp_path


@pytest.fixture
def server(authority: Authority) -> Iterator[Server]:
    with serving(tls(*authority.issue("server", "DNS:localhost"))) as made:
        yield made


class Asking:
    """The sources of an operator whose credential files are in a directory."""

    def __init__(self, files: Path) -> None:
        self._sources = Sources(access=Access(HERE, credentials=files))
        self._number = 0

    def __call__(self, server: Server, *, host: str = "localhost", scheme: str = "https", **spec: Any) -> Answer:
        url = f"{scheme}://{host}:{server.server_port}"
        raw = {"prometheus": {"url": url}, "timeout": "5s", **spec}
        source = self._sources.get(Key("c", "", url), ClusterMetricSourceSpec.model_validate(raw, by_alias=True))
        self._number += 1  # an answer is used again for the same question
        return asyncio.run(source.of("shop").evaluate(ValueQuery(f"q{self._number}"), AT))

    def close(self) -> None:
        self._sources.close()


@pytest.fixture
def asking(files: Path) -> Iterator[Asking]:
    made = Asking(files)
    yield made
    made.close()


BEARER = {"bearer": "token", "caBundle": "ca.crt"}


def test_a_bearer_token_is_sent_over_tls_with_a_private_ca(asking: Asking, server: Server) -> None:
    server.wanted = f"Bearer {SECRET}"
    assert asking(server, auth=BEARER) == Answer(1.0)


def test_a_user_and_a_password(asking: Asking, server: Server, files: Path) -> None:
    (files / "password").write_text("with: ä and space\n")
    server.wanted = "Basic " + b64encode("prom:with: ä and space".encode()).decode()
    auth = {"basic": {"username": "prom", "password": "password"}, "caBundle": "ca.crt"}
    assert asking(server, auth=auth) == Answer(1.0)


def test_a_client_certificate(asking: Asking, authority: Authority, files: Path) -> None:
    for path, name in zip(authority.issue("client"), ("tls.crt", "tls.key"), strict=True):
        (files / name).write_bytes(path.read_bytes())
    auth = {"mtls": {"cert": "tls.crt", "key": "tls.key"}, "caBundle": "ca.crt"}
    with serving(tls(*authority.issue("wants", "DNS:localhost"), clients=authority.ca)) as strict:
        assert asking(strict, auth=auth) == Answer(1.0)
        without = asking(strict, auth={"caBundle": "ca.crt"})
    assert without.gap is Why.SOURCE_DOWN
    (files / "tls.key").write_bytes(authority.issue("another")[1].read_bytes())
    unfit = asking(strict, auth=auth)
    assert unfit.detail.startswith("credential files tls.crt and tls.key: do not fit: write a certificate and its key")


def test_a_token_and_a_ca_that_are_rotated_need_no_restart(
    asking: Asking, server: Server, files: Path, other: Authority
) -> None:
    server.wanted = f"Bearer {SECRET}"
    assert asking(server, auth=BEARER).value == 1
    server.wanted = "Bearer new"
    assert (
        asking(server, auth=BEARER).detail
        == "HTTP 401 Unauthorized: it wants other credentials; check auth of the source"
    )
    (files / "token").write_text("new")
    assert asking(server, auth=BEARER).value == 1
    good = (files / "ca.crt").read_bytes()
    (files / "ca.crt").write_bytes(other.ca.read_bytes())
    assert "signed by a CA that is not trusted" in asking(server, auth=BEARER).detail, "also on a kept connection"
    (files / "ca.crt").write_bytes(good)
    assert asking(server, auth=BEARER).value == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not in {files}: add it to the chart's value credentials, and check the Secret that it names"),
        (b"", "empty: write the credential in it"),
        (b" \n", "empty: write the credential in it"),
        (b"a b", "not a bearer token: write one word of ASCII in it"),
        (b"a\r\nHost: evil", "not a bearer token: write one word of ASCII in it"),
        (b"\xff\xfe", "not a bearer token: write one word of ASCII in it"),
        (b"x" * (MAX_SECRET + 1), "longer than 65,536 bytes: write less in it"),
    ],
    ids=["missing", "empty", "blank", "words", "lines", "no text", "long"],
)
def test_a_file_that_cannot_be_used_is_named_and_the_other_sources_go_on(
    content: bytes | None, words: str, asking: Asking, server: Server, files: Path
) -> None:
    (files / "token").unlink()
    if content is not None:
        (files / "token").write_bytes(content)
    told = f"credential file token: {words.format(files=files)}"
    assert asking(server, auth=BEARER) == Answer(gap=Why.SOURCE_DOWN, detail=told)
    assert server.asked == [], "nothing is sent without it"
    assert asking(server, host="127.0.0.1", scheme="http", timeout="300ms").gap is Why.SOURCE_DOWN
    assert asking(server, auth={"caBundle": "ca.crt"}) == Answer(1.0)


@pytest.mark.parametrize(
    "content", [b"no PEM", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_without_certificates_is_named(content: bytes, asking: Asking, server: Server, files: Path) -> None:
    (files / "ca.crt").write_bytes(content)
    told = asking(server, auth=BEARER).detail
    assert told.startswith("credential file ca.crt: holds no certificates that can be read: write those of the CAs")


def test_a_certificate_that_does_not_hold_is_said_in_words(
    asking: Asking, server: Server, authority: Authority, other: Authority, files: Path
) -> None:
    trusting = {"caBundle": "ca.crt"}
    (files / "other.crt").write_bytes(other.ca.read_bytes())
    trust = "is signed by a CA that is not trusted: name a file with its CA in auth.caBundle of the ClusterMetricSource"
    assert asking(server).detail == f"the certificate of localhost {trust}"
    assert asking(server, auth={"caBundle": "other.crt"}).detail == f"the certificate of localhost {trust}"
    assert asking(server, host="127.0.0.1", auth=trusting).detail == (
        "the certificate of 127.0.0.1 is not for this address: write a host that it is for in prometheus.url, or have"
        " one made for this address"
    )
    with serving(tls(*authority.issue("elsewhere", "DNS:elsewhere"))) as elsewhere:
        assert "the certificate of localhost is not for this host" in asking(elsewhere, auth=trusting).detail
    with serving(tls(*authority.issue("old", "DNS:localhost", expired=True))) as old:
        expired = "the certificate of localhost has expired: renew it on the server"
        assert asking(old, auth=trusting).detail == expired
    with serving(None) as plain:
        assert "does not speak TLS at this port" in asking(plain, auth=trusting).detail
    assert server.asked == []


def test_no_answer_and_no_file_shows_in_what_is_said(asking: Asking, server: Server) -> None:
    server.wanted = "Bearer another"
    answer = asking(server, auth=BEARER)
    assert answer.gap is Why.SOURCE_DOWN
    assert SECRET not in answer.detail
    assert "hunter2" not in answer.detail


def test_credentials_do_not_follow_a_redirect(asking: Asking, server: Server) -> None:
    with serving(None) as thief:
        server.to = f"http://127.0.0.1:{thief.server_port}/api/v1/query"
        assert "HTTP 302" in asking(server, auth=BEARER).detail
        assert thief.asked == []


def test_a_query_by_get_has_its_parameters_in_the_url(asking: Asking) -> None:
    with serving(None) as plain:
        spec: dict[str, Any] = {
            "method": "GET",
            "params": {"dedup": "true", "a[]": "b&c"},
            "headers": {"X-Scope-OrgID": "shop"},
        }
        assert asking(plain, scheme="http", **spec) == Answer(1.0)
        assert asking(plain, scheme="http", **(spec | {"method": "POST"})) == Answer(1.0)
    assert [method for method, _, _ in plain.asked] == ["GET", "POST"]
    for _, headers, form in plain.asked:
        sent = parse_qs(form)
        assert headers["X-Scope-OrgID"] == "shop"
        assert {"query", "time", "timeout", "partial_response"} <= sent.keys()
        assert (sent["dedup"], sent["a[]"], sent["partial_response"]) == (["true"], ["b&c"], ["false"])
