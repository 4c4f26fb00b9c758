"""gRPC between a client and a pod of the bed: one method, whose answer says in its metadata which version gave it."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from tests.bed.behaviour import Behaviour

METHOD = "/bed.Pod/Ask"
"""Takes anything and returns nothing: what is looked at is the metadata of the answer."""

Decide = Callable[[], Awaitable[tuple[Behaviour, int]]]
"""How a pod answers one request: its behaviour, and an HTTP code."""


class Server:
    """A server that runs."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._closing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Refuse connections and cut those that are open, as soon as the loop gets to it."""
        self._closing = asyncio.ensure_future(self._server.stop(None))


async def serve(address: str, decide: Decide) -> Server:
    """Answer on an address, as `decide` says; every answer of 500 and more is INTERNAL here."""

    async def ask(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        behaviour, code = await decide()
        await context.send_initial_metadata((("x-version", behaviour.version),))
        if code >= 500:
            await context.abort(grpc.StatusCode.INTERNAL, "as its behaviour says")
        return b""

    _, service, method = METHOD.split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(ask)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(address)
    await server.start()
    return Server(server)
