"""Ways to ask a gateway: one request at a time, and who answered it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.bed import rpc
from tests.bed.load import Key

Ask = Callable[[], Awaitable[Key]]
"""Send one request, and say what came of it."""


def asking(
    url: str, host: str, timeout: float, ca: Path, *, fresh: bool = False, headers: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[Ask]:
    """What asks at a URL for a host; an answer that takes longer than `timeout` seconds is lost.

    The scheme of `url` is http, or https with the host as its SNI and an authority in the file `ca`, or grpc. `fresh`
    makes a connection for each request, where the scheme leaves the choice. `headers` are sent with each, in addition.
    """
    scheme, _, address = url.partition("://")
    if scheme == "grpc":
        return rpc.client(address, host, timeout, headers or {})
    tls = ssl.create_default_context(cafile=ca) if scheme == "https" else None
    return _by_http(url, {"Host": host, **(headers or {})}, timeout, tls, fresh=fresh)


@asynccontextmanager
async def _by_http(
    url: str, headers: Mapping[str, str], timeout: float, tls: ssl.SSLContext | None, *, fresh: bool
) -> AsyncIterator[Ask]:
    connector = aiohttp.TCPConnector(limit=0, force_close=fresh)
    limit = aiohttp.ClientTimeout(total=timeout)
    name = headers["Host"] if tls else None
    async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session:

        async def ask() -> Key:
            try:
                async with session.get(url, ssl=tls or True, server_hostname=name) as answer:
                    await answer.read()
                    return answer.headers.get("X-Version", "-"), answer.status
            except TimeoutError:
                return "-", "timeout"
            except aiohttp.ClientConnectorError:
                return "-", "refused"
            except aiohttp.ClientError:
                return "-", "reset"

        yield ask
