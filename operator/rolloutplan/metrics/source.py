"""One metric source: asks Prometheus one instant query at a time, and always comes back with an `Answer`.

Every failure is an answer too: what is not one finite number becomes a gap with the source's own words. A question
ends within its timeout whatever the server does; a server that hangs costs a thread, never the loop.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import requests
from prometheus_api_client.prometheus_connect import PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from rolloutplan import __version__
from rolloutplan.judge.verdict import Answer, Why
from rolloutplan.metrics.threads import Threads
from rolloutplan.plan.kinds import MetricSourceSpec

LONGEST_ANSWER: Final = 1 << 20
"""Bytes. One number needs about 150; an answer longer than this has thousands of series."""
LONGEST_DETAIL: Final = 300
Observe = Callable[[int, float], None]
"""Told of each HTTP question, in the thread that asked it: HTTP status (0 where there was no answer), seconds."""
_OUTAGES: Final = frozenset({"timeout", "canceled", "internal", "unavailable", "too_many_requests"})


class Source:
    """A metric source for one spec. Close it when the spec changes; questions under way still end."""

    def __init__(self, spec: MetricSourceSpec, observe: Observe | None = None) -> None:
        self._timeout = spec.timeout.total_seconds()
        self._client = _Client(spec, observe)
        self._threads: Threads[Answer] = Threads(spec.max_concurrency, "metrics")

    async def ask(self, query: str, at: datetime) -> Answer:
        """Ask for the value of `query` at the instant `at`. Never raises; ends within the spec's timeout + 0.5 s.

        The time spent waiting behind slower questions counts.
        """
        deadline = time.monotonic() + self._timeout
        try:
            question = self._threads.submit(partial(self._client.ask, query, at, deadline))
        except RuntimeError:
            return _gap(Why.SOURCE_DOWN, "not asked: the source has been changed or removed meanwhile")
        try:
            return await asyncio.wait_for(asyncio.wrap_future(question), self._timeout + 0.25)
        except TimeoutError:
            return _gap(Why.SOURCE_DOWN, f"no answer within {self._timeout:g} s")

    def close(self) -> None:
        """Take no more questions. Does not wait: a thread that hangs ends with its own timeout."""
        self._threads.close()
        self._client.close()


class _Client(PrometheusConnect):  # type: ignore[misc]  # it is not typed
    """PrometheusConnect that keeps what decides about an answer: the result's type, the warnings, the error's type."""

    def __init__(self, spec: MetricSourceSpec, observe: Observe | None) -> None:
        self._observe = observe
        self._seconds = spec.timeout.total_seconds()
        session = requests.Session()
        session.trust_env = False  # reads the proxy variables and .netrc for each request: half of a request's cost
        session.verify = os.environ.get("SSL_CERT_FILE") or True
        session.headers["User-Agent"] = f"rolloutplan/{__version__}"
        super().__init__(
            url=spec.prometheus.url.rstrip("/"), headers=dict(spec.headers), session=session, retry=Retry(total=0)
        )
        pool = HTTPAdapter(max_retries=Retry(total=0), pool_connections=1, pool_maxsize=spec.max_concurrency)
        session.mount(self.url, pool)

    def ask(self, query: str, at: datetime, deadline: float) -> Answer:
        """Ask and read the answer until the monotonic instant `deadline`. Blocks; never raises."""
        detail = f"not asked: others took the {self._seconds:g} s"
        for _ in range(2):  # twice, because a kept connection may have been closed by the server just now
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return self._ask(query, at, left, deadline)
            except requests.Timeout:
                return _gap(Why.SOURCE_DOWN, f"no answer within {self._seconds:g} s")
            except requests.ConnectionError as error:
                detail = _root(error)
            except Exception as error:  # noqa: BLE001 - whatever breaks here is the source's silence, never ours
                return _gap(Why.SOURCE_DOWN, _root(error))
        return _gap(Why.SOURCE_DOWN, detail)

    def _ask(self, query: str, at: datetime, left: float, deadline: float) -> Answer:
        form = {
            "query": query,
            "time": f"{at.timestamp():.3f}",
            "timeout": f"{left:.3f}",
            "partial_response": "false",  # Thanos answers with half of its data otherwise; others ignore it
        }
        status, body = self._post(form, left, deadline)
        if body is None:
            return _gap(Why.MANY_SERIES, f"the answer is longer than {LONGEST_ANSWER} bytes")
        return understand(status, body)

    def _post(self, form: Mapping[str, str], left: float, deadline: float) -> tuple[int, bytes | None]:
        """The HTTP status and body of an answer; the body is None where it is too long."""
        began, status = time.monotonic(), 0
        try:
            with self._session.post(
                f"{self.url}/api/v1/query",
                data=form,
                headers=self.headers,
                timeout=left,
                stream=True,
                allow_redirects=False,  # a redirected POST arrives as a GET without its form; headers may be secrets
            ) as response:
                body = _read(response, deadline)
                status = response.status_code
                return status, body
        finally:
            if self._observe is not None:
                self._observe(status, time.monotonic() - began)


def _read(response: requests.Response, deadline: float) -> bytes | None:
    """Read the body; None where it is too long. A body that drips past `deadline` raises requests.Timeout."""
    body = bytearray()
    while chunk := response.raw.read1(1 << 16, decode_content=True):
        body += chunk
        if len(body) > LONGEST_ANSWER:
            return None
        if time.monotonic() > deadline:
            raise requests.Timeout
    return bytes(body)


def understand(status: int, body: bytes) -> Answer:
    """What an HTTP status and body of `/api/v1/query` say. Pure."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return _gap(Why.SOURCE_DOWN, f"{_http(status)}, and the answer is not Prometheus' JSON")
    if said.get("status") != "success" or status >= HTTPStatus.BAD_REQUEST:
        return _refusal(status, said)
    if warnings := said.get("warnings"):
        return _gap(Why.WARNINGS, "; ".join(map(str, warnings)))
    if said.get("isPartial"):
        return _gap(Why.WARNINGS, "the answer is partial: not all storage nodes answered")
    data = said.get("data") or {}
    try:
        return _result(data.get("resultType"), data.get("result"))
    except (LookupError, TypeError, ValueError, AttributeError):
        return _gap(Why.SOURCE_DOWN, "the answer has not the shape of Prometheus' JSON")


def _refusal(status: int, said: Mapping[str, Any]) -> Answer:
    kind, words = str(said.get("errorType", "")), str(said.get("error") or "no words")
    rejected = status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY) and kind not in _OUTAGES
    if rejected and said.get("status") == "error":
        return _gap(Why.QUERY_REJECTED, words)
    return _gap(Why.SOURCE_DOWN, f"{_http(status)}: {words}")


def _result(kind: object, result: Any) -> Answer:
    match kind:
        case "scalar":
            return _number(result[1])
        case "vector" if not result:
            return _gap(Why.NO_DATA, "the query gives no series")
        case "vector" if len(result) > 1:
            two = " and ".join(_labels(series["metric"]) for series in result[:2])
            return _gap(Why.MANY_SERIES, f"{len(result)} series instead of one, such as {two}")
        case "vector" if "value" not in result[0]:
            return _gap(Why.QUERY_REJECTED, "the query gives a histogram, not a number")
        case "vector":
            return _number(result[0]["value"][1])
        case "matrix":
            return _gap(Why.QUERY_REJECTED, "the query gives a range of samples, not one value: wrap it in a function")
        case _:
            return _gap(Why.QUERY_REJECTED, f"the query gives a {kind}, not a number")


def _number(text: str) -> Answer:
    value = float(text)
    return Answer(value) if math.isfinite(value) else _gap(Why.NAN, f"the value is {text}")


def _labels(metric: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(metric.items())) + "}"


def _http(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _root(error: BaseException) -> str:
    """The first cause, as `Connection refused`; what was raised around it repeats the URL and class names."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words or type(error).__name__


def _gap(why: Why, detail: str) -> Answer:
    printable = "".join(c if c.isprintable() else " " for c in detail)
    return Answer(gap=why, detail=" ".join(printable.split())[:LONGEST_DETAIL])
