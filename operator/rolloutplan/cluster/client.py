"""A thin asynchronous client: JSON in, JSON out, every failure an `ApiError`, every request bounded in time.

The other modules of `cluster`, the sinks and the loop send their requests with it to the API server. It uses the
transport and the configuration loaders of `kubernetes.aio`, but not its API classes and models: importing
`CustomObjectsApi` costs 12 MB, the models 24 MB, and they would only add types to what is plain JSON here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
from kubernetes.aio.config.kube_config import list_kube_config_contexts, load_kube_config

from rolloutplan import __version__
from rolloutplan.cluster.decoding import Raw as Raw  # noqa: PLC0414 - it is what this module gives
from rolloutplan.cluster.decoding import load, shortened
from rolloutplan.cluster.impersonation import impersonation
from rolloutplan.cluster.spelling import spelled

FIELD_MANAGER: Final = "rolloutplan"
USER_AGENT: Final = f"rolloutplan/{__version__}"
TIMEOUT: Final = 5.0
CONNECTIONS: Final = 32
"""Further requests wait for a free connection, whatever their priority, so loop/limiter.py admits fewer."""
NO_LIMIT: Final = 0
"""For streams, of which there is one for each namespace of the operator."""
KEPT_ALIVE: Final = 85.0
"""Seconds that an idle connection is kept, a little less than by the API server: a new one costs a TLS handshake."""
_RENEW_AFTER: Final = 5.0
_SECONDS: Final = re.compile("[0-9]{1,9}")
_HOME: Final = Path("~/.kube/config").expanduser()
_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DRY_RUN: Final = {"dryRun": "All"}
_PATCHES: Final = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}

ObserveRequest = Callable[[str, str, int, float], None]
"""Called for each request that was sent: method, path, HTTP status (0 where there was no answer), seconds."""
CompareClock = Callable[[str, float, float], None]
"""Called for each answer: its Date header, and when it was sent and received, in seconds of `time.monotonic`."""

_Answer = TypeVar("_Answer")

_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_TABLE: Final = "application/json;as=Table;g=meta.k8s.io;v=v1"


class ApiError(Exception):
    """A request that failed.

    `status` is the HTTP status, 0 where there was no answer (refused, timed out, no configuration). `reason` is
    the short form (`Conflict`), `message` the sentence; `retry_after` is in seconds, where the server sent one.
    """

    def __init__(self, status: int, reason: str, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if message else f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


async def if_there(request: Awaitable[_Answer]) -> _Answer | None:
    """The answer to a request; None where what it asks for does not exist. Raises ApiError where that is not known."""
    try:
        return await request
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


async def read_config() -> Configuration:
    """The configuration of the API server: KUBECONFIG, else the pod's service account, else ~/.kube/config.

    Whom the user impersonates is in the headers of `client_session_kwargs`, which each request has.
    Raises ApiError (status 0) where there is none, or where it cannot be read.
    """
    config = Configuration()
    # Otherwise aiohttp reads the proxy variables and .netrc for every request, which is half of its cost.
    config.client_session_kwargs = {"trust_env": False}
    try:
        if file := _kubeconfig():
            loader = await load_kube_config(config_file=file, client_configuration=config, persist_config=False)
            user = loader._user  # noqa: SLF001 - the loader chooses it by the context, and gives it to nobody
            config.client_session_kwargs["headers"] = impersonation(user.value if user else {})
        else:
            load_incluster_config(client_configuration=config)
    except Exception as error:  # a half-written file makes the loaders raise anything
        raise _no_config(error) from error
    return config


def read_namespace() -> str:
    """The namespace of the kubeconfig's context, else the pod's own; `default` where none is set.

    Raises ApiError (status 0) for a kubeconfig that cannot be read.
    """
    try:
        file = _kubeconfig()
        if file is None:
            return own_namespace()
        context = list_kube_config_contexts(file)[1]["context"]
        return str(context.get("namespace") or "default")
    except Exception as error:
        raise _no_config(error) from error


def own_namespace() -> str:
    """The namespace of the operator's pod; `default` outside of a cluster."""
    try:
        return _NAMESPACE.read_text().strip() or "default"
    except OSError:
        return "default"


def _kubeconfig() -> str | None:
    """The kubeconfig to use; None where the pod's service account is used. Raises FileNotFoundError.

    Of several paths the library takes those that exist; where none does, it logs a line of its own.
    """
    if chosen := os.environ.get("KUBECONFIG"):
        if not any(Path(each).expanduser().exists() for each in chosen.split(os.pathsep) if each):
            raise FileNotFoundError(f"KUBECONFIG names {chosen}, which does not exist")
        return chosen
    if SERVICE_HOST_ENV_NAME in os.environ:
        return None
    if not _HOME.exists():
        raise FileNotFoundError("KUBECONFIG names no file, and there is no ~/.kube/config")
    return str(_HOME)


def _no_config(error: Exception) -> ApiError:
    unexpected = isinstance(error, TypeError | AttributeError | LookupError)
    words = "the kubeconfig is not of the form that kubectl writes" if unexpected else error
    return ApiError(0, "NoConfig", f"no usable configuration to reach the API server: {words}")


async def authorization(config: Configuration) -> str | None:
    """The value of the Authorization header, read again where the token rotates; None with client certificates."""
    token = (await config.auth_settings()).get("BearerToken")
    return str(token["value"]).strip() if token else None


class _Transport(RESTClientObject):  # type: ignore[misc]
    """Keeps its idle connections."""

    def __init__(self, config: Configuration, connections: int) -> None:
        super().__init__(config)
        self._connections = connections

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self._connections, ssl=self.ssl_context, keepalive_timeout=KEPT_ALIVE)

    def _create_pool_manager(self) -> _Session:
        return _Session(super()._create_pool_manager())


class _Session:
    """A session of aiohttp. Kubernetes' client gives it bodies as text, and leaves nobody else to spell them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def request(self, **arguments: Any) -> aiohttp.ClientResponse:
        """Send a request, a JSON Patch in the spelling of the API server."""
        if arguments["headers"].get("Content-Type") == _PATCHES["json"]:
            arguments["data"] = spelled(json.loads(arguments["data"]))
        return await self._session.request(**arguments)


def _client(config: Configuration, connections: int) -> ApiClient:
    client = ApiClient(config)
    client.rest_client = _Transport(config, connections)
    return client


@dataclass(frozen=True, slots=True)
class _Request:
    """One request; only a write has a body. `timeout` is in seconds, None for the client's default."""

    method: str
    path: str
    query: Mapping[str, str | int]
    timeout: float | None
    body: object = None
    content: str = ""
    accept: str = "application/json"

    @property
    def target(self) -> str:
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")


class ResourceClient(Protocol):
    """The interface for requests: an Api, or a wrapper that queues them by priority.

    `timeout` is in seconds; every method raises ApiError. Api documents the methods.
    """

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw: ...

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw: ...

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> Raw: ...

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: Literal["merge", "json"] = "merge",
        timeout: float | None = None,
    ) -> Raw: ...


class Api:
    """The API server. Make one with `await Api.connect()`; close it at the end.

    No request takes longer than `timeout` seconds; a call may choose a shorter time. `may_write` is called right
    before each write is sent; where it returns False, the write raises ApiError (status 0, `NotLeading`).

    What is too large in an answer is left out (cluster/decoding.py), unless answers are read `whole`: that is three
    times as fast, but nothing else runs meanwhile.
    """

    def __init__(
        self,
        config: Configuration,
        *,
        timeout: float = TIMEOUT,
        observe: ObserveRequest | None = None,
        compare_clock: CompareClock | None = None,
        connections: int = CONNECTIONS,
        whole: bool = False,
    ) -> None:
        self.may_write: Callable[[], bool] | None = None
        self._client, self._connections = _client(config, connections), connections
        self._timeout, self._whole = timeout, whole
        self._observe, self._compare_clock = observe, compare_clock
        self._made = time.monotonic()
        self._renewing = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        *,
        timeout: float = TIMEOUT,
        observe: ObserveRequest | None = None,
        compare_clock: CompareClock | None = None,
        connections: int = CONNECTIONS,
        whole: bool = False,
    ) -> Self:
        """Read the configuration; the first request connects. Raises ApiError (status 0)."""
        config = await read_config()
        return cls(
            config,
            timeout=timeout,
            observe=observe,
            compare_clock=compare_clock,
            connections=connections,
            whole=whole,
        )

    async def close(self) -> None:
        await self._client.close()

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        """Read one object. Raises ApiError."""
        return await self._send(_Request("GET", path, query, timeout))

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        """Read a list: `items`, and `metadata.resourceVersion`. Raises ApiError.

        Items of custom resources are complete; those of built-in kinds come without `kind` and `apiVersion`.
        """
        return await self._send(_Request("GET", path, query, timeout))

    async def list_table(self, path: str, **query: str | int) -> Raw:
        """Read a list as `kubectl get` shows it: `columnDefinitions`, and `rows` with `cells` and `object.metadata`.

        Only for a client that reads answers whole. Raises ApiError.
        """
        return await self._send(_Request("GET", path, query, None, accept=_TABLE))

    async def list_metadata(self, path: str, **query: str | int) -> Raw:
        """Read a list of which each item has its metadata alone, however large the objects are. Raises ApiError."""
        return await self._send(_Request("GET", path, query, None, accept=_METADATA))

    async def delete(self, path: str, *, version: str) -> Raw:
        """Delete an object at this resourceVersion. Raises ApiError; 409 means that it has changed."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": version}}
        return await self._send(_Request("DELETE", path, {}, None, body, "application/json"))

    async def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float | None = None, dry_run: bool = False
    ) -> Raw:
        """Create an object, or only check whether it could be. Raises ApiError; 409 means that it exists."""
        query = {"fieldManager": FIELD_MANAGER, **(_DRY_RUN if dry_run else {})}
        return await self._send(_Request("POST", path, query, timeout, body, "application/json"))

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: Literal["merge", "json"] = "merge",
        field_manager: str = FIELD_MANAGER,
        timeout: float | None = None,
        dry_run: bool = False,
    ) -> Raw:
        """Patch an object, or only check whether it could be, and return the result. Raises ApiError.

        409 means that its resourceVersion differs, 422 that a `test` of a JSON Patch failed or that the result is
        invalid.
        """
        query = {"fieldManager": field_manager, **(_DRY_RUN if dry_run else {})}
        return await self._send(_Request("PATCH", path, query, timeout, body, _PATCHES[kind]))

    async def stream(self, path: str, *, within: float, whole: bool = True, **query: str | int) -> AsyncGenerator[Raw]:
        """Follow a watch: yield its events until the API server ends it, after `within` seconds at the latest.

        Unless `whole`, what is too large or too deep in an object is left out (cluster/decoding.py).

        Raises ApiError; also for an event that reports an error, such as 410 for a version that is too old.
        """
        client, body = self._client, b""
        asked = _Request("GET", path, {**query, "watch": "true", "timeoutSeconds": int(within)}, None)
        url = client.configuration.host + asked.target
        limits = aiohttp.ClientTimeout(total=within + self._timeout, sock_connect=self._timeout)
        try:
            response = await client.call_api("GET", url, await _headers(client), None, _request_timeout=limits)
            async with response.response as raw:
                if response.status != HTTPStatus.OK:
                    _read(response.status, response.headers, await response.read())
                async for chunk in raw.content.iter_any():
                    *lines, body = (body + chunk).split(b"\n") if b"\n" in chunk else (body + chunk,)
                    for line in lines:
                        yield _event(line if whole else shortened(line))
        except ApiError as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                await self._renew(client)
            raise
        except TimeoutError:
            raise ApiError(0, "Timeout", f"the stream did not end within {within:g} s") from None
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error

    async def _send(self, request: _Request) -> Raw:
        client = self._client
        try:
            return await self._once(client, request)
        except ApiError as error:
            if error.status != 401 or not await self._renew(client):
                raise
        return await self._once(self._client, request)

    async def _once(self, client: ApiClient, request: _Request) -> Raw:
        timeout = self._timeout if request.timeout is None else min(request.timeout, self._timeout)
        try:
            headers = await _headers(client)
            headers["Accept"] = request.accept
            if request.content:
                headers["Content-Type"] = request.content
            return _read(*await self._exchange(client, request, headers, timeout), whole=self._whole)
        except TimeoutError:
            raise ApiError(0, "Timeout", f"no answer within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise ApiError(0, type(error).__name__, str(error)) from error

    async def _exchange(
        self, client: ApiClient, request: _Request, headers: Mapping[str, str], timeout: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request and read the whole answer: status, headers, body."""
        if request.body is not None and self.may_write is not None and not self.may_write():
            raise ApiError(0, "NotLeading", "this replica does not hold the Lease")
        url = client.configuration.host + request.target
        began, status = time.monotonic(), 0
        try:
            response = await client.call_api(request.method, url, headers, request.body, _request_timeout=timeout)
            received = time.monotonic()
            body = await response.read()
            status = response.status
            if self._compare_clock is not None and "Date" in response.headers:
                self._compare_clock(response.headers["Date"], began, received)
        finally:
            if self._observe is not None:
                self._observe(request.method, request.path, status, time.monotonic() - began)
        return status, response.headers, body

    async def _renew(self, refused: ApiClient) -> bool:
        """Read the configuration again after a 401 to this client: a token or certificate may have been replaced.

        Returns whether there is another client now. At most one is made every `_RENEW_AFTER` seconds.
        """
        async with self._renewing:
            if self._client is not refused:
                return True
            if time.monotonic() - self._made < _RENEW_AFTER:
                return False
            self._client, self._made = _client(await read_config(), self._connections), time.monotonic()
        # The former client may still have requests in flight; all of them end within the timeout.
        asyncio.get_running_loop().call_later(self._timeout, lambda: asyncio.ensure_future(refused.close()))
        return True


async def _headers(client: ApiClient) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
    if token := await authorization(client.configuration):
        headers["Authorization"] = token
    return headers


def _event(line: bytes) -> Raw:
    """An event of a stream. Raises ApiError for one that reports an error."""
    try:
        event: Raw = json.loads(line)
        if event["type"] != "ERROR":
            return event
        said = event["object"]
        raise ApiError(int(said.get("code") or 0), str(said.get("reason") or "Unknown"), str(said.get("message") or ""))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ApiError(0, "NotJson", line[:200].decode(errors="replace")) from error


def _read(status: int, headers: Mapping[str, str], body: bytes, *, whole: bool = False) -> Raw:
    """The JSON object of an answer. Raises ApiError for every status but 2xx."""
    try:
        parsed = _decoded(body) if whole else load(body)
    except ValueError:
        parsed = None
    if 200 <= status < 300 and isinstance(parsed, dict):
        return parsed
    if not isinstance(parsed, dict):
        raise ApiError(status, "NotJson", body[:200].decode(errors="replace").strip())
    details = parsed.get("details")
    details = details if isinstance(details, dict) else {}
    after = headers.get("Retry-After") or details.get("retryAfterSeconds")
    raise ApiError(
        status,
        str(parsed.get("reason") or "Unknown"),
        str(parsed.get("message") or ""),
        float(str(after)) if _SECONDS.fullmatch(str(after)) else None,
    )


def _decoded(body: bytes) -> Any:
    """An answer in one piece; one with an object that is too deep for that, without the parts of it that are."""
    try:
        return json.loads(body)
    except RecursionError:
        return load(body)
