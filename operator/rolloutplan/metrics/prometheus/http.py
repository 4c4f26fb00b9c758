"""Requests to a source's HTTP API: each ends in time, whatever the server does, and never raises.

`source.py` passes the parameters; the parsed reply goes back to it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Final, Generic, NamedTuple, TypeVar

import requests
import urllib3
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.util.retry import Retry

from rolloutplan import __version__
from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec
from rolloutplan.clock import confirm, now
from rolloutplan.metrics.access import CREDENTIALS, Access, Place
from rolloutplan.metrics.base import ObserveRequest
from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus.address import Guard
from rolloutplan.metrics.prometheus.credentials import Credentials
from rolloutplan.metrics.prometheus.exchange import BoundedAdapter, Exchange
from rolloutplan.metrics.prometheus.failures import words_of
from rolloutplan.metrics.prometheus.limits import LONGEST_ANSWER, MOST_PIECES, MOST_VALUES, Limit, LimitError, no_place
from rolloutplan.metrics.prometheus.response import Read, parse_response, undecided
from rolloutplan.stats.verdict import Answer, Why

T = TypeVar("T")

CLOSING: Final = 1.0
"""Seconds after which what is under way ends when a source is changed: most answers come sooner."""
CHANGED: Final = "not sent: the source was changed or removed"
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
    limit: Limit | None = None
    """The limit that the answer met."""

    @property
    def affects_all_queries(self) -> bool:
        """Whether any other query would have failed too: the source gave no usable answer, or limits requests."""
        return (self.status == 0 and not self.late) or self.status == HTTPStatus.TOO_MANY_REQUESTS


class PrometheusHttp(PrometheusConnect):  # type: ignore[misc]  # it is not typed
    """PrometheusConnect that keeps what it would drop: the result's type, the warnings, the error's type."""

    def __init__(
        self, spec: MetricSourceSpec, observe: ObserveRequest | None, budget: FairShare, access: Access | None = None
    ) -> None:
        self._observe, self._budget = observe, budget
        self._verb, self._kept = spec.method, spec.max_concurrency
        self._place = Place.of_url(spec.prometheus.url)
        self._guard = Guard(access, self._place) if access else None
        self._trusted = isinstance(spec, ClusterMetricSourceSpec)
        """Whether the cluster's operators wrote it: no tenant may confirm the clock that dates all evidence."""
        auth = spec.auth if access and isinstance(spec, ClusterMetricSourceSpec) else None
        self._credentials = Credentials(auth, access.credentials if access else CREDENTIALS)
        self._adapter: BoundedAdapter | None = None
        self._preparing = threading.Lock()
        self._flavor = spec.prometheus.flavor
        # Thanos may answer with partial data otherwise; others ignore it.
        self._fixed = {**spec.params, "partial_response": "false"}
        if self._flavor == "VictoriaMetrics":
            self._fixed["nocache"] = "1"  # it shifts recent instants back otherwise
        self._ends = math.inf
        """When all that is under way ends, because the source was closed."""
        self._under_way: set[Exchange] = set()
        session = requests.Session()
        session.trust_env = False  # reads the proxy variables and .netrc for each request: half of a request's cost
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # none is kept
        session.headers.update({"User-Agent": f"rolloutplan/{__version__}", "Accept-Encoding": "gzip"})
        super().__init__(
            url=spec.prometheus.url.rstrip("/"), headers=dict(spec.headers), session=session, retry=Retry(total=0)
        )
        session.adapters.clear()  # what `_prepare` does not send is not sent at all

    def query(
        self,
        params: Mapping[str, str],
        read: Read[T],
        deadline: float,
        within: float = math.inf,
        namespace: str = "",
    ) -> Reply[T]:
        """Send a query and read its answer until the monotonic instant `deadline`, at most `within` seconds. Blocks.

        Parameters with a `step` make it a range query. `namespace` asks.
        """
        began = time.monotonic()
        until = min(deadline, began + within, self._ends)
        with Exchange(until, LONGEST_ANSWER, self._budget, namespace, self._guard) as exchange:
            self._under_way.add(exchange)
            try:
                return self._answer(params, read, exchange, began)
            finally:
                self._under_way.discard(exchange)

    def close(self) -> None:
        """Send no more queries. What is under way ends within `CLOSING` seconds; does not wait for it."""
        self._ends = time.monotonic() + CLOSING
        for exchange in self._under_way.copy():
            exchange.end_by(self._ends)
        super().close()

    def _answer(self, params: Mapping[str, str], read: Read[T], exchange: Exchange, began: float) -> Reply[T]:
        detail = ""
        for _ in range(2):  # twice, because the server may just have closed a kept connection
            if time.monotonic() >= exchange.until:
                break
            try:
                status, value = self._once(params, read, exchange)
            except LimitError as error:
                status = HTTPStatus.OK if error.why is Why.MANY_SERIES else 0
                value = undecided(error.why, str(error))
                return Reply(value, time.monotonic() - began, status, limit=error.limit)
            except Exception as error:  # noqa: BLE001 - any error here counts as no answer of the source
                if exchange.over or isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
                    seconds = time.monotonic() - began
                    return Reply(undecided(Why.SOURCE_DOWN, f"no answer within {seconds:.1f} s"), seconds, late=True)
                detail = words_of(error, self._place.host)
                if not isinstance(error, requests.ConnectionError):
                    return Reply(undecided(Why.SOURCE_DOWN, detail))
            else:
                return Reply(value, time.monotonic() - began, status)
        if detail:
            return Reply(undecided(Why.SOURCE_DOWN, detail), time.monotonic() - began)
        if exchange.until >= self._ends:
            return Reply(undecided(Why.SOURCE_DOWN, CHANGED))
        late = no_place(exchange.namespace)
        return Reply(undecided(late.why, str(late)), limit=late.limit)

    def _once(self, params: Mapping[str, str], read: Read[T], exchange: Exchange) -> tuple[int, T | Answer]:
        left = exchange.until - time.monotonic()
        params = {**self._fixed, **params, "timeout": f"{left:.3f}"}
        status, body, ahead = self._send("query_range" if "step" in params else "query", params, left, exchange)
        if ahead > CLOCK_AHEAD:
            fix = "set the clocks right (NTP)"
            words = f"its clock is {ahead:.0f} s ahead: samples of before a weight would count for the weight; {fix}"
            return status, undecided(Why.SOURCE_DOWN, words)
        return status, parse_response(status, body, read, self._flavor)

    def _prepare(self) -> Mapping[str, str]:
        """The headers of a request. Where files with certificates changed, connections begin anew with them."""
        with self._preparing:
            tls = self._credentials.context() if self.url.startswith("https:") else None
            if self._adapter is None or self._adapter.tls is not tls:
                former, self._adapter = self._adapter, BoundedAdapter(tls, self._kept)
                self._session.adapters = OrderedDict({"http": self._adapter})
                if former is not None:
                    former.close()
            return {**self.headers, **self._credentials.headers()}

    def _send(self, path: str, params: Mapping[str, str], left: float, exchange: Exchange) -> tuple[int, bytes, float]:
        """The HTTP status and body of an answer, and by how many seconds its Date is ahead of our clock."""
        headers = self._prepare()
        began, status = time.monotonic(), 0
        try:
            with self._session.request(
                self._verb,
                f"{self.url}/api/v1/{path}",
                **{"params" if self._verb == "GET" else "data": params},
                headers=headers,
                timeout=left,
                stream=True,
                allow_redirects=False,  # a redirected POST arrives as a GET without its body; headers may be secrets
            ) as response:
                try:
                    body = _read(response, exchange)
                except LimitError:
                    status = response.status_code
                    raise
                status, date = response.status_code, response.headers.get("Date", "")
                if self._trusted:
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


def _read(response: requests.Response, exchange: Exchange) -> bytes:
    """Read the body. Raises LimitError where it is too long, or has more values than are parsed."""
    if response.headers.get("Content-Encoding", "identity").lower() not in {"identity", "gzip", "x-gzip"}:
        raise LimitError(Limit.LENGTH, "the answer is compressed in another way than gzip")  # or several times
    pieces: list[bytes] = []
    length = 0
    while piece := response.raw.read1(1 << 16, decode_content=True):
        pieces.append(piece)
        length += len(piece)
        exchange.count(length)
        if len(pieces) > MOST_PIECES:
            raise LimitError(Limit.LENGTH, f"the answer comes in more than {MOST_PIECES} pieces")
    body = b"".join(pieces)
    if (values := sum(map(body.count, (b"{", b"[", b",")))) > MOST_VALUES:
        words = f"the answer has about {values} values, more than {MOST_VALUES}"
        raise LimitError(Limit.VALUES, words, Why.MANY_SERIES)
    return body
