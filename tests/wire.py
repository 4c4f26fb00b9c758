"""A server over bare sockets, which does whatever a test says: also what no honest server does."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rolloutplan.api.metric_source import MetricSourceSpec

Behaviour = Callable[[socket.socket, bytes], None]


@contextmanager
def server(behaviour: Behaviour) -> Iterator[str]:
    """A server that reads each request whole and then does what `behaviour` says."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := _request(connection):
                try:
                    behaviour(connection, request)
                except OSError:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listening.close()


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        try:
            if not (data := connection.recv(65536)):
                return b""
        except OSError:
            return b""
        request += data
    head, _, body = request.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", b"0")):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def say(body: bytes, *fields: str) -> Behaviour:
    head = "".join(f"{field}\r\n" for field in ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, ""))
    return lambda connection, _: connection.sendall(head.encode() + body)


def spec(url: str, timeout: str = "300ms", **more: Any) -> MetricSourceSpec:
    return MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": timeout} | more)
