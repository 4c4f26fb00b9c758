"""Posts to a webhook: one request, which ends in time whatever the receiver does, to an address that was checked.

`notifications.py` calls it. No redirect is followed, no cookie is kept, no proxy variable is read. Of an answer no more
than its first bytes are read: HTTP is read in the event loop, on which the rollbacks of all teams run too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from rolloutplan import __version__
from rolloutplan.api.notifier import AnyNotifierSpec
from rolloutplan.api.printable import line
from rolloutplan.api.text_format import WEBHOOK
from rolloutplan.metrics.access import NOTIFIER_TOLD, Access, Place
from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus.address import Guard
from rolloutplan.metrics.prometheus.credentials import CredentialError, Credentials
from rolloutplan.metrics.prometheus.failures import words_of
from rolloutplan.publish.formats.base import Body

MOST_READ: Final = 1024
"""Bytes of the body of an answer: it is only shown, and a line of it is enough."""
MOST_TAKEN: Final = 16 << 10
"""Bytes of an answer that are read as HTTP, headers and interim answers (1xx) included: some 10 ms of work at most."""
MOST_SHOWN: Final = 200
LOOK_UPS: Final = 128
"""Names that are resolved at a time, in threads, twice as many as requests: a look-up that hangs outlives its request.
Namespaces share them, so a DNS server that hangs delays no notifier of another team."""
_MOST_ADDRESS: Final = 4096
_RETRY_AFTER_DIGITS: Final = 9
_BODY_WITHIN: Final = 0.5
"""Seconds for the body of an answer, which is only shown."""

_threads = ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="notify")
_shares = FairShare(LOOK_UPS)


class Answer(NamedTuple):
    """What a receiver answered; `status` is 0 where it did not, and `words` say why, or what it said."""

    status: int
    words: str = ""
    retry_after: float | None = None
    """Seconds, where it says when to come again."""

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_final(self) -> bool:
        """Whether the same request would be refused again: a redirect too, which is not followed."""
        again = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
        return (
            HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in again
        )


@dataclass(frozen=True, slots=True)
class _Checked(AbstractResolver):
    """Gives the addresses that were checked, so that the connection goes to one of these."""

    found: list[ResolveResult]

    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        return self.found

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a request goes, and with what."""

    url: str
    headers: Mapping[str, str]
    resolver: _Checked
    tls: ssl.SSLContext | bool


async def post(spec: AnyNotifierSpec, body: Body, key: str, access: Access, *, who: str = "") -> Answer:
    """Post a body to the webhook of a notifier of the namespace `who`. Never raises; ends within its timeout.

    What the receiver says is left out where it was shown a secret: many repeat the path or the headers of a request.
    """
    timeout = spec.timeout.total_seconds()
    host = Place.of_url(spec.webhook.url).host if spec.webhook.url else "the webhook"
    try:
        async with asyncio.timeout(timeout):
            target = await _prepared(spec, access, who)
            headers = {**target.headers, "Content-Type": body.content_type, "Idempotency-Key": key}
            answer = await _send(target, body.content, headers)
    except TimeoutError:
        return Answer(0, f"{host} gave no answer within {timeout:g} s")
    except Exception as error:  # noqa: BLE001 - any error here counts as no answer of the receiver
        return Answer(0, f"{host}: {line(words_of(error, host, NOTIFIER_TOLD))}"[:1024])
    return answer if spec.auth is None and spec.url_file is None else answer._replace(words="")


async def _prepared(spec: AnyNotifierSpec, access: Access, who: str) -> _Target:
    """`_prepare` in a thread, which has its place until the look-up ends, however long that hangs."""
    if not _shares.take(who):
        raise CredentialError("too many look-ups of names hang: check the DNS server of webhook.url")
    work = _threads.submit(_prepare, spec, access)
    work.add_done_callback(lambda _: _shares.give(who))
    return await asyncio.wrap_future(work)


def _prepare(spec: AnyNotifierSpec, access: Access) -> _Target:
    """Read the files, resolve the name and check each address. Blocks. Raises CredentialError, OSError."""
    credentials = Credentials(spec.auth, access.credentials)
    url = spec.webhook.url or _address(access.credentials, spec.url_file or "")
    place = Place.of_url(url)
    tls = credentials.context() if url.startswith("https:") else True
    guard = Guard(access, place, NOTIFIER_TOLD)
    found: list[ResolveResult] = []
    for family, _, proto, _, where in socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        address = str(where[0])
        guard.check(address)
        found.append(
            ResolveResult(
                hostname=place.host,
                host=address,
                port=place.port or 0,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST,
            )
        )
    headers = {"User-Agent": f"rolloutplan/{__version__}", **spec.headers, **credentials.headers()}
    return _Target(url, headers, _Checked(found), tls)


def _address(directory: Path, name: str) -> str:
    """The address in a credential file. Raises CredentialError, which does not repeat it."""
    try:
        with (directory / name).open() as file:
            text = file.read(_MOST_ADDRESS).strip()
        WEBHOOK.read(text)
    except FileNotFoundError:
        fix = "add it to the chart's value credentials, and check the Secret that it names"
        raise CredentialError(f"credential file {name}: not in {directory}: {fix}") from None
    except (OSError, ValueError):
        raise CredentialError(f"credential file {name}: holds no address of a webhook: write one in it") from None
    if not text.startswith("https://"):
        raise CredentialError(f"credential file {name}: its address is not https: write one that is")
    return text


class _FirstBytes(ResponseHandler):
    """Reads the first bytes of an answer, and nothing after them."""

    _left = MOST_TAKEN

    def data_received(self, data: bytes) -> None:
        taken, self._left = data[: self._left], max(self._left - len(data), 0)
        if taken:
            super().data_received(taken)
        if not self._left and self.transport is not None:
            self.transport.pause_reading()


class _Connector(aiohttp.TCPConnector):
    """Makes connections of which no more than the first bytes are read."""

    def __init__(self, resolver: AbstractResolver) -> None:
        super().__init__(resolver=resolver, use_dns_cache=False, force_close=True)
        self._factory = cast("partial[ResponseHandler]", partial(_FirstBytes, loop=self._loop))


async def _send(target: _Target, content: bytes, headers: Mapping[str, str]) -> Answer:
    async with (
        aiohttp.ClientSession(
            connector=_Connector(target.resolver),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session,
        session.post(
            URL(target.url, encoded=True), data=content, headers=headers, allow_redirects=False, ssl=target.tls
        ) as response,
    ):
        status, after = response.status, _seconds(response.headers.get("Retry-After", ""))
        said = b""
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            with suppress(TimeoutError, aiohttp.ClientError):  # the status counts, also where its body never comes
                said = await asyncio.wait_for(response.content.read(MOST_READ), _BODY_WITHIN)
        response.close()
        return Answer(status, line(said.decode(errors="replace"))[:MOST_SHOWN], after)


def _seconds(text: str) -> float | None:
    """A Retry-After header in seconds; None where it cannot be read."""
    if text.isascii() and text.isdecimal() and len(text) <= _RETRY_AFTER_DIGITS:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
