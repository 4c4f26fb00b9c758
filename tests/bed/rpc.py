"""gRPC between a client and a pod of the bed: one method, whose answer says in its metadata which version gave it.

With grpclib, since a server of grpcio answers nothing for seconds while both cores are busy.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpclib.server
from grpclib.client import Channel
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from tests.bed.behaviour import Behaviour
from tests.bed.load import Key

METHOD = "/bed.Pod/Ask"
"""Takes anything and returns nothing: what is looked at is the metadata of the answer."""

Decide = Callable[[], Awaitable[tuple[Behaviour, int]]]
"""How a pod answers one request: its behaviour, and an HTTP code."""

Stream = grpclib.server.Stream[bytes, bytes]


class _Bytes(CodecBase):
    """Messages as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


class Server(grpclib.server.Server):
    """Answers as `decide` says; every answer of 500 and more is INTERNAL here."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._connections: list[H2Protocol] = []
        super().__init__([self], codec=_Bytes())

    def __mapping__(self) -> dict[str, Handler]:
        return {METHOD: Handler(self._answer, Cardinality.UNARY_UNARY, bytes, bytes)}

    async def _answer(self, stream: Stream) -> None:
        await stream.recv_message()
        behaviour, code = await self._decide()
        await stream.send_initial_metadata(metadata={"x-version": behaviour.version})
        if code >= 500:
            raise GRPCError(Status.INTERNAL, "as its behaviour says")
        await stream.send_message(b"")

    def _protocol_factory(self) -> H2Protocol:
        self._connections.append(super()._protocol_factory())
        return self._connections[-1]

    def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        super().close()
        for each in self._connections:
            each.processor.close("the pod is gone")


class _Client(Channel):
    """Asks an address for a host."""

    def __init__(self, address: str, host: str) -> None:
        self._host_asked_for = host
        name, _, port = address.rpartition(":")
        super().__init__(name, int(port), codec=_Bytes())

    def _get_authority(self, host: str, port: int) -> str:
        return self._host_asked_for


@asynccontextmanager
async def client(
    address: str, host: str, timeout: float, headers: Mapping[str, str]
) -> AsyncIterator[Callable[[], Awaitable[Key]]]:
    """What asks a host over one connection; the code is HTTP's that says the same."""
    metadata = {name.lower(): value for name, value in headers.items()}
    channel = _Client(address, host)

    async def ask() -> Key:
        version = "-"
        try:
            async with channel.request(METHOD, Cardinality.UNARY_UNARY, bytes, bytes, metadata=metadata) as stream:
                async with asyncio.timeout(timeout):
                    await stream.send_message(b"", end=True)
                    await stream.recv_initial_metadata()
                    received = stream.initial_metadata
                    version = str(received.get("x-version", "-")) if received is not None else "-"
                    await stream.recv_message()
        except GRPCError as error:
            return version, 500 if version != "-" else error.status.name.lower()
        except TimeoutError:
            return "-", "timeout"
        except StreamTerminatedError:
            return "-", "reset"
        except OSError:
            return "-", "refused"
        return version, 200

    try:
        yield ask
    finally:
        channel.close()
