"""`status -w`: every change is shown once, through whatever happens to the connection, until the plan has ended."""

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.api.status import read_status
from rolloutplan.cli.main import main
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views.watching import changes, end_of
from rolloutplan.cluster.client import Raw
from tests.answering import HttpServer

Watch = Callable[["ApiServer"], tuple[int, list[str], str]]
CUT = "cut"
EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


def plan(version: int, phase: str = "Judging", seq: int = 1, **status: Any) -> Raw:
    decisions = [
        {"seq": n, "at": f"2026-03-01T09:00:{n:02}Z", "kind": "Advance", "reason": f"Reason{n}", "note": f"note {n}"}
        for n in range(1, seq + 1)
    ]
    meta = {"namespace": "shop", "name": "checkout-v2", "uid": "u", "resourceVersion": str(version), "generation": 1}
    found = {"phase": phase, "seq": seq, "decisions": decisions, "observedGeneration": 1, "run": 1, **status}
    return {"metadata": meta, "spec": {}, "status": found}


class ApiServer:
    """What it says to reads and to watches is told in advance; it counts the watches that are open."""

    def __init__(self, reads: list[Raw | int], watches: list[list[Raw | str]]) -> None:
        self.reads, self.watches = reads, watches
        self.open, self.most = 0, 0
        self.lock = threading.Lock()

    def watching(self, by: int) -> None:
        with self.lock:
            self.open += by
            self.most = max(self.most, self.open)


def handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._watch() if "watch=true" in self.path else self._read()

        def _read(self) -> None:
            said = server.reads.pop(0) if len(server.reads) > 1 else server.reads[0]
            code, found = (said, {"message": "busy"}) if isinstance(said, int) else (200, said)
            body = json.dumps(found).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _watch(self) -> None:
            server.watching(1)
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for each in server.watches.pop(0) if server.watches else []:
                if each == CUT:
                    break
                event = each if isinstance(each, dict) and "type" in each else {"type": "MODIFIED", "object": each}
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            else:
                self.wfile.write(b"0\r\n\r\n")
            server.watching(-1)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Watch:
    """Watches the plan on such a server; returns the exit code, the lines on stdout, and stderr."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("rolloutplan.cli.views.watching.LEAST", 0.001)
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "POLL_EVERY"):
        monkeypatch.setattr(f"rolloutplan.cli.session.{name}", 0.05)

    def run(server: ApiServer) -> tuple[int, list[str], str]:
        with HttpServer(handler(server)) as http:
            context = {"cluster": "c", "user": "u", "namespace": "shop"}
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": http.url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": context}],
                "current-context": "x",
            }
            (tmp_path / "kubeconfig").write_text(json.dumps(config))
            code = main(["status", "checkout-v2", "-w"])
        said = capsys.readouterr()
        assert server.most <= 1, "one watch shows it all"
        return code, said.out.splitlines(), said.err

    return run


def decided(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines if "Reason" in line]


def test_a_plan_is_watched_until_it_has_succeeded(watch: Watch) -> None:
    server = ApiServer([plan(1)], [[plan(2, seq=2), plan(3, "Succeeded", seq=3)]])
    code, lines, said = watch(server)
    assert (code, said) == (0, "")
    assert decided(lines) == ["Reason2:", "Reason3:"]
    assert lines[0].startswith("Judging")
    assert lines[-1].startswith("Succeeded")


@pytest.mark.parametrize("fault", [CUT, EXPIRED], ids=["cut", "too old"])
def test_nothing_is_lost_or_told_twice_where_the_watch_breaks(watch: Watch, fault: Any) -> None:
    reads: list[Raw | int] = [plan(1), 503, 503, plan(3, seq=3)]
    code, lines, _ = watch(ApiServer(reads, [[plan(2, seq=2), fault], [fault], [plan(4, "RolledBack", seq=4)]]))
    assert code == 1
    assert decided(lines) == ["Reason2:", "Reason3:", "Reason4:"]
    assert [line for line in lines if line.startswith("connection lost, retrying")]


def test_colours_make_no_terminal_of_a_pipe(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, lines, _ = watch(ApiServer([plan(1, "Succeeded")], []))
    assert "\x1b[?1049h" not in "".join(lines)


def test_a_plan_that_is_deleted_ends_the_watch(watch: Watch) -> None:
    gone = {"type": "DELETED", "object": plan(2)}
    assert watch(ApiServer([plan(1)], [[gone]]))[::2] == (1, "rolloutplan: shop/checkout-v2 was deleted\n")


def test_rights_that_are_taken_away_end_the_watch_with_words(watch: Watch) -> None:
    code, _, said = watch(ApiServer([plan(1), 401], [[CUT]]))
    assert (code, said) == (1, "rolloutplan: the API server rejects your credentials: log in again\n")


STALLED: dict[str, Any] = {"conditions": [{"type": "Stalled", "status": "True"}]}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (plan(1), None),
        (plan(1, "Held"), None),
        (plan(1, "Pending"), None),
        (plan(1, "Succeeded"), 0),
        (plan(1, "RolledBack"), 1),
        (plan(1, "Held", **STALLED), 1),
        (plan(1, "Invalid", **STALLED), 1),
        (plan(1, "RolledBack", observedGeneration=0), None),
    ],
    ids=["judging", "held", "pending", "succeeded", "rolled back", "stalled", "invalid", "edited since"],
)
def test_when_a_watch_ends(raw: Raw, code: int | None) -> None:
    assert end_of(Plan(raw)) == code


def test_changes_are_told_by_what_changed() -> None:
    def status(verdict: str, **fields: Any) -> Any:
        predicate = {"name": "errors", "role": "guard", "verdict": verdict, "value": "1%", "bound": "> 5%"}
        return read_status({"phase": "Judging", "message": "m", "predicates": [predicate], **fields})

    first, clear = status("Undecided"), status("Clear")
    assert list(changes(None, first)) == ["Judging, m", "guard errors: Undecided, 1% (> 5%)"]
    assert list(changes(first, first)) == []
    assert list(changes(first, clear)) == ["guard errors: Clear, 1% (> 5%)"]
    assert list(changes(clear, status("Clear", weights={"desired": "\x1b[25%"}))) == ["Judging, weight [25%, m"]
