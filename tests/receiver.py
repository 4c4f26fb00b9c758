"""A webhook that gets the decisions of plans, and answers as the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.answering import HttpServer


@dataclass
class Receiver:
    """A webhook: answers with `status`, and keeps what it got."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hangs: threading.Event | None = None
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    got: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    sent: int = 0
    """Bytes of its answers that went out."""
    url: str = ""

    def keys(self, uid: str) -> list[int]:
        """The numbers of the decisions of a plan that came, each once, in the order in which each came first."""
        came = (headers["Idempotency-Key"].partition("/") for _, headers, _ in self.got)
        return list(dict.fromkeys(int(seq) for plan, _, seq in came if plan == uid and seq.isdecimal()))

    def told(self, uid: str) -> list[dict[str, Any]]:
        """The decisions of a plan that came, each once."""
        bodies = (json.loads(content) for _, _, content in self.got)
        found = {each["decision"]["seq"]: each["decision"] for each in bodies if each["plan"]["uid"] == uid}
        return [found[seq] for seq in self.keys(uid)]

    @contextmanager
    def serving(self, address: str = "127.0.0.1") -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), content))
                receiver.arrived.release()
                if receiver.hangs is not None:
                    receiver.hangs.wait(30)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                for start in range(0, len(receiver.body), 1 << 16):
                    receiver.sent += self.wfile.write(receiver.body[start : start + (1 << 16)])

            def log_message(self, *_: object) -> None:
                pass

        with HttpServer(Handler, address) as http:
            self.url = http.url
            try:
                yield self
            finally:
                if self.hangs is not None:
                    self.hangs.set()
