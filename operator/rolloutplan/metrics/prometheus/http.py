"""Requests to a source's HTTP API: each ends in time, whatever the server does, and never raises.

`source.py` passes the parameters; the parsed reply goes back to it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Generic, NamedTuple, TypeVar

import requests
import urllib3
from prometheus_api_client.prometheus_connect import PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from rolloutplan import __version__
from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.clock import confirm, now
from rolloutplan.metrics.base import ObserveRequest
from rolloutplan.metrics.prometheus.response import Read, parse_response, undecided
from rolloutplan.stats.verdict import Answer, Why

T = TypeVar("T")

LONGEST_ANSWER: Final = 1 << 20
"""Bytes. One number needs about 150; a longer answer than this has thousands of series."""
LONGEST_RANGE: Final = 4 << 20
CLOCK_AHEAD: Final = 30.0
"""Seconds by which a source's clock may be ahead of ours. Its samples of before a weight would count for the weight."""


class Reply(NamedTuple, Generic[T]):
    """The outcome of one HTTP request."""

    value: T | Answer
    """The parsed value, or the gap."""
    seconds: float = 0.0
    """The duration, without the time spent waiting for a thread."""
    status: int = 0
    """0 where there was no answer."""
    late: bool = False
    """Whether it timed out."""

    @property
    def affects_all_queries(self) -> bool:
        """Whether any other query would have failed too: the source was not reached, or limits requests."""
        return (self.status == 0 and not self.late) or self.status == HTTPStatus.TOO_MANY_REQUESTS


class PrometheusHttp(PrometheusConnect):  # type: ignore[misc]  # it is not typed
    """PrometheusConnect that keeps what it would drop: the result's type, the warnings, the error's type."""

    def __init__(self, spec: MetricSourceSpec, observe: ObserveRequest | None) -> None:
        self._observe = observe
        self._flavor = spec.prometheus.flavor
        self._fixed = {"partial_response": "false"}  # Thanos may answer with partial data otherwise; others ignore it
        if self._flavor == "VictoriaMetrics":
            self._fixed["nocache"] = "1"  # it shifts recent instants back otherwise
        session = requests.Session()
        session.trust_env = False  # reads the proxy variables and .netrc for each request: half of a request's cost
        session.verify = os.environ.get("SSL_CERT_FILE") or True
        session.headers["User-Agent"] = f"rolloutplan/{__version__}"
        super().__init__(
            url=spec.prometheus.url.rstrip("/"), headers=dict(spec.headers), session=session, retry=Retry(total=0)
        )
        pool = HTTPAdapter(max_retries=Retry(total=0), pool_connections=1, pool_maxsize=spec.max_concurrency)
        session.mount(self.url, pool)

    def query(self, params: Mapping[str, str], read: Read[T], deadline: float, within: float = math.inf) -> Reply[T]:
        """Send a query and read its answer until the monotonic instant `deadline`, at most `within` seconds. Blocks.

        Parameters with a `step` make it a range query.
        """
        began = time.monotonic()
        until = min(deadline, began + within)
        detail = "not sent: other queries used up the time"
        for _ in range(2):  # twice, because the server may just have closed a kept connection
            if time.monotonic() >= until:
                break
            try:
                status, value = self._once(params, read, until)
            except (requests.Timeout, urllib3.exceptions.TimeoutError):
                seconds = time.monotonic() - began
                return Reply(undecided(Why.SOURCE_DOWN, f"no answer within {seconds:.1f} s"), seconds, late=True)
            except requests.ConnectionError as error:
                detail = _root(error)
            except Exception as error:  # noqa: BLE001 - any error here counts as no answer of the source
                return Reply(undecided(Why.SOURCE_DOWN, _root(error)))
            else:
                return Reply(value, time.monotonic() - began, status)
        return Reply(undecided(Why.SOURCE_DOWN, detail), time.monotonic() - began)

    def _once(self, params: Mapping[str, str], read: Read[T], until: float) -> tuple[int, T | Answer]:
        left = until - time.monotonic()
        ranges = "step" in params
        longest = LONGEST_RANGE if ranges else LONGEST_ANSWER
        params = {**self._fixed, **params, "timeout": f"{left:.3f}"}
        status, body, ahead = self._post("query_range" if ranges else "query", params, left, until, longest)
        if ahead > CLOCK_AHEAD:
            fix = "set the clocks right (NTP)"
            words = f"its clock is {ahead:.0f} s ahead: samples of before a weight would count for the weight; {fix}"
            return status, undecided(Why.SOURCE_DOWN, words)
        if body is None:
            return status, undecided(Why.MANY_SERIES, f"the answer is longer than {longest} bytes")
        return status, parse_response(status, body, read, self._flavor)

    def _post(
        self, path: str, params: Mapping[str, str], left: float, until: float, longest: int
    ) -> tuple[int, bytes | None, float]:
        """The HTTP status and body of an answer, and by how many seconds its Date is ahead of our clock.

        The body is None where it is too long.
        """
        began, status = time.monotonic(), 0
        try:
            with self._session.post(
                f"{self.url}/api/v1/{path}",
                data=params,
                headers=self.headers,
                timeout=left,
                stream=True,
                allow_redirects=False,  # a redirected POST arrives as a GET without its body; headers may be secrets
            ) as response:
                body = _read(response, until, longest)
                status, date = response.status_code, response.headers.get("Date", "")
                confirm(date, began, time.monotonic())
                return status, body, _ahead(date)
        finally:
            if self._observe is not None:
                self._observe(status, time.monotonic() - began)


def _ahead(date: str) -> float:
    """By how many seconds the instant of a Date header is in the future; 0 where it is not, or cannot be read."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now().timestamp())
    except ValueError:
        return 0.0


def _read(response: requests.Response, until: float, longest: int) -> bytes | None:
    """Read the body; None where it is too long. A body that is not complete at `until` raises requests.Timeout."""
    body = bytearray()
    while chunk := response.raw.read1(1 << 16, decode_content=True):
        body += chunk
        if len(body) > longest:
            return None
        if time.monotonic() > until:
            raise requests.Timeout
    return bytes(body)


def _root(error: BaseException) -> str:
    """The first cause, as `Connection refused`; the errors around it repeat the URL and class names."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words or type(error).__name__
