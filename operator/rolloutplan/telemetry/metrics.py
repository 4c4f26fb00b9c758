"""The operator's own metrics, for Prometheus. One of them names plans: those with an owner, up to a number.

Those of how releases go are in changes.py. The loop, the client and the metric sources report to them; /metrics
(`health.py`) serves the result. What others choose is never a label as it is: HTTP codes are known ones or their class,
a metric source has series only while it exists, and owners have them up to a number.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Counted
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from rolloutplan import __version__
from rolloutplan.api.policy_status import Places
from rolloutplan.api.reasons import EventReason
from rolloutplan.telemetry.changes import OTHER, ChangeMetrics

IN_USE: Final = timedelta(minutes=10)
"""A source without a request for so long is not in use: the age of its newest sample would mislead."""
MOST_SOURCES: Final = 200
"""Sources with series of their own, of at most 16 codes each; further ones share those of `other`."""
PAGE_FOR: Final = 20.0
"""A page of /metrics is shown again for so many times the processor time that it took: that is a twentieth of a core,
however often somebody asks."""
MOST_PLANS: Final = 1000
"""Plans whose owners are told, of all namespaces: they take 100 KB of a page."""
MOST_GROUPS: Final = 200
"""Groups of plans with series for their places: those for which most plans wait come first."""
_KNOWN_CODES: Final = frozenset({0, 200, 201, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504})
_REASONS: Final = frozenset(map(str, EventReason))
_WRITTEN: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_LATE: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_ANSWERED: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The operator's own metrics. `count_source_request` may be called from any thread, all else only from the loop.

    HTTP codes are 0 where there was no answer. `clock` returns the present instant, `ahead` the seconds by which this
    machine's clock is ahead of the API server's. `page_for`: see PAGE_FOR.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        ahead: Callable[[], float] = lambda: 0.0,
        page_for: float = PAGE_FOR,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second, useless series for each counter
        self._clock, self._ahead = clock, ahead
        self._plans: Callable[[], Mapping[str, int]] = dict
        self._failing: Callable[[], int] = lambda: 0
        self._oldest_look: Callable[[], float | None] = lambda: None
        self._owners: Callable[[], Collection[tuple[str, str, str]]] = tuple
        self._computed: tuple[Metric, ...] = ()
        """The metrics of `collect`, as they were computed on the loop for the page that is built."""
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        self._building = asyncio.Lock()
        self._page, self._page_until, self._page_for = b"", float("-inf"), page_for
        self._sources: frozenset[str] | None = None
        """The sources that exist; None: all count as existing."""
        self._named: set[str] = set()
        """The sources that have series."""
        self._budget: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._places: Sequence[Places] = ()
        self._newest: dict[str, datetime] = {}
        self._asked_at: dict[str, datetime] = {}
        self._registry = registry = CollectorRegistry()
        self._decisions = Counter("rolloutplan_decisions", "Decisions taken.", ("kind", "reason"), registry=registry)
        self._verdicts = Counter("rolloutplan_verdicts", "Evaluations of predicates.", ("verdict",), registry=registry)
        self._written = Histogram(
            "rolloutplan_evidence_to_weights_seconds",
            "From the instant of the data that decided a rollback to its weights written.",
            registry=registry,
            buckets=_WRITTEN,
        )
        self._late = Histogram(
            "rolloutplan_evaluation_lag_seconds",
            "How late a plan was reconciled after it was due.",
            registry=registry,
            buckets=_LATE,
        )
        self._api = Counter(
            "rolloutplan_api_requests",
            "Requests to the API server; code 0 where there was no answer.",
            ("method", "resource", "code"),
            registry=registry,
        )
        self._api_seconds = Histogram(
            "rolloutplan_api_request_seconds",
            "How long requests to the API server took.",
            ("method",),
            registry=registry,
            buckets=_ANSWERED,
        )
        self._questions = Counter(
            "rolloutplan_metric_requests",
            "HTTP requests to metric sources; code 0 where there was no answer.",
            ("source", "code"),
            registry=registry,
        )
        self._limits = Counter(
            "rolloutplan_metric_limits",
            "Questions and answers of metric sources that met a limit.",
            ("limit",),
            registry=registry,
        )
        self._question_seconds = Histogram(
            "rolloutplan_metric_request_seconds",
            "How long HTTP requests to metric sources took.",
            registry=registry,
            buckets=_ANSWERED,
        )
        self._notifications = Counter(
            "rolloutplan_notifications",
            "Decisions for webhooks: delivered, failed (an attempt), given_up.",
            ("notifier", "result"),
            registry=registry,
        )
        self._notifiers: frozenset[str] = frozenset()
        """The notifiers that exist."""
        self._notified: set[str] = set()
        """The notifiers that have series."""
        self._spans = Counter(
            "rolloutplan_spans", "Spans of runs for the receiver of traces: sent, lost.", ("result",), registry=registry
        )
        self._leader = Gauge("rolloutplan_leader", "Whether this replica leads.", registry=registry)
        self._epoch = Gauge(
            "rolloutplan_epoch", "The epoch in which this replica leads, or led last.", registry=registry
        )
        self.changes = ChangeMetrics(registry)
        Info("rolloutplan_build", "The version of the operator.", registry=registry).info({"version": __version__})
        registry.register(self)
        ProcessCollector(registry=registry)
        for verdict in ("Proved", "Refuted", "Tripped", "Clear", "Undecided"):
            self._verdicts.labels(verdict)
        for result in ("sent", "lost"):
            self._spans.labels(result)

    def set_plan_counter(
        self,
        plans: Callable[[], Mapping[str, int]],
        failing: Callable[[], int],
        oldest_look: Callable[[], float | None] = lambda: None,
        owners: Callable[[], Collection[tuple[str, str, str]]] = tuple,
    ) -> None:
        """Set the sources of what is known of the plans; the loop calls them for a page.

        They return the number of plans by phase, the number of those that fail, the seconds since the oldest last look
        at a run, None where this replica does not lead, and namespace, name and owner of each plan that has an owner.
        """
        self._plans, self._failing, self._oldest_look, self._owners = plans, failing, oldest_look, owners

    def keep_notifiers(self, notifiers: Collection[str]) -> None:
        """Drop the series of all notifiers but these, named as in `count_notification`."""
        self._notifiers = frozenset(notifiers)
        for gone in self._notified - self._notifiers - {OTHER}:
            self._notifications.remove_by_labels({"notifier": gone})
            self._notified.discard(gone)

    def count_notification(self, notifier: str, result: str) -> None:
        """Count what came of sending a decision to a notifier, `namespace/name` or the name of that of the cluster."""
        is_one_more = notifier not in self._notified and len(self._notified) >= MOST_SOURCES
        label = OTHER if notifier not in self._notifiers or is_one_more else notifier
        self._notified.add(label)
        self._notifications.labels(label, result).inc()

    def count_spans(self, result: str, number: int) -> None:
        """Count spans that were sent, or lost."""
        self._spans.labels(result).inc(number)

    def keep_sources(self, sources: Collection[str]) -> None:
        """Drop the series of all metric sources but these, named as in `count_source_request`."""
        self._sources = frozenset(sources)
        for gone in self._named - self._sources - {OTHER}:
            self._questions.remove_by_labels({"source": gone})
            self._named.discard(gone)
        for known in (self._newest, self._asked_at):
            for gone in known.keys() - self._sources:
                known.pop(gone, None)

    def _source(self, source: str) -> str:
        """The label of a source: one that is gone, or one too many, has none of its own."""
        if self._sources is not None and source not in self._sources:
            return OTHER
        if source not in self._named and len(self._named) >= MOST_SOURCES:
            return OTHER
        self._named.add(source)
        return source

    def set_budget(self, totals: Callable[[], tuple[int, int]]) -> None:
        """Set the source of the bytes of all plans, and of the number of plans over the budget."""
        self._budget = totals

    def set_places(self, places: Iterable[Places]) -> None:
        """Set the places of policies: who has them and who waits, by group; of a group that comes twice the last."""
        groups = {each.group: each for each in places}
        self._places = sorted(groups.values(), key=lambda each: (-each.waiting, each.group))[:MOST_GROUPS]

    def count_decision(self, kind: str, reason: str) -> None:
        self._decisions.labels(kind, reason if reason in _REASONS else OTHER).inc()

    def count_verdict(self, verdict: str) -> None:
        """Count a verdict: Proved or Refuted for a pass predicate, Tripped or Clear for any other, or Undecided."""
        self._verdicts.labels(verdict).inc()

    def observe_write_delay(self, seconds: float) -> None:
        """Observe the time from the instant of the deciding query to the written weights."""
        self._written.observe(seconds)

    def observe_lag(self, seconds: float) -> None:
        """Observe how late a reconcile was."""
        self._late.observe(seconds)

    def record_answer(self, source: str, at: datetime) -> None:
        """Record that a source gave a number for the instant `at`; `source` is named as in `count_source_request`."""
        if (label := self._source(source)) != OTHER:
            self._newest[label] = max(at, self._newest.get(label, at))

    def count_source_request(self, source: str, code: int, seconds: float) -> None:
        """Count an HTTP request to a source."""
        label = self._source(source)
        self._asked_at[label] = self._clock()
        self._questions.labels(label, code_label(code)).inc()
        self._question_seconds.observe(seconds)

    def count_limit(self, limit: str) -> None:
        """Count a question or an answer that met a limit; there are six limits."""
        self._limits.labels(limit).inc()

    def count_api_request(self, method: str, path: str, code: int, seconds: float) -> None:
        """Count a request to the API server."""
        self._api.labels(method, resource(path), code_label(code)).inc()
        self._api_seconds.labels(method).observe(seconds)

    def set_leader(self, epoch: int | None) -> None:
        """Set whether this replica leads, and in which epoch; None where another one leads."""
        self._leader.set(epoch is not None)
        if epoch is not None:
            self._epoch.set(epoch)

    async def page(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type.

        What reads the loop's data is computed on the loop; the text is made in a thread, which does not hold it up.
        """
        async with self._building:
            if time.monotonic() >= self._page_until:
                began = time.thread_time()
                self._computed = self._compute()
                took = time.thread_time() - began
                loop = asyncio.get_running_loop()
                self._page, rendered = await loop.run_in_executor(self._builder, self._render)
                self._page_until = time.monotonic() + self._page_for * (took + rendered)
            return self._page, CONTENT_TYPE_PLAIN_0_0_4

    def _render(self) -> tuple[bytes, float]:
        """The page, and the processor time in seconds that its text took."""
        began = time.thread_time()
        return generate_latest(self._registry), time.thread_time() - began

    def close(self) -> None:
        """End the thread that makes the pages."""
        self._builder.shutdown(wait=False, cancel_futures=True)

    def collect(self) -> Iterable[Metric]:
        """The metrics that were computed for this page; called by the registry, in its thread."""
        return self._computed

    def _compute(self) -> tuple[Metric, ...]:
        plans = GaugeMetricFamily("rolloutplan_plans", "Plans by phase.", labels=("phase",))
        size, over = self._budget()
        sizes = GaugeMetricFamily("rolloutplan_plans_bytes", "Bytes of the specs of all plans that are read.", size)
        unread = GaugeMetricFamily(
            "rolloutplan_plans_over_budget", "Plans that are not read, because there are too many or too large.", over
        )
        for phase, number in self._plans().items():
            plans.add_metric((phase,), number)
        ages = GaugeMetricFamily(
            "rolloutplan_newest_sample_age_seconds",
            "Age of the newest instant for which a source returned a number.",
            labels=("source",),
        )
        now = self._clock()
        for source, at in self._newest.items():
            if now - self._asked_at.get(source, at) <= IN_USE:
                ages.add_metric((source,), (now - at).total_seconds())
        skew = GaugeMetricFamily(
            "rolloutplan_clock_ahead_seconds",
            "By how much the clock of this machine is ahead of the API server's at least; negative where it is behind.",
            value=self._ahead(),
        )
        failing = GaugeMetricFamily(
            "rolloutplan_plans_failing",
            "Plans on which the operator itself fails: each is an internal error, reported in its status.",
            value=self._failing(),
        )
        looks = GaugeMetricFamily(
            "rolloutplan_oldest_look_seconds",
            "Seconds since the last look at the run that waits for one the longest; only where this replica leads.",
        )
        if (oldest := self._oldest_look()) is not None:
            looks.add_metric((), oldest)
        owners = GaugeMetricFamily(
            "rolloutplan_plan_info", "Who answers for a plan; always 1.", labels=("namespace", "plan", "owner")
        )
        for owned in shown_plans(self._owners()):
            owners.add_metric(owned, 1)
        return plans, owners, failing, looks, sizes, unread, ages, skew, *self._families_of_places()

    def _families_of_places(self) -> tuple[Metric, ...]:
        labels = ("group",)
        there = GaugeMetricFamily("rolloutplan_places", "Places of a group of plans, by its policies.", labels=labels)
        taken = GaugeMetricFamily("rolloutplan_places_taken", "Plans that hold one.", labels=labels)
        waiting = GaugeMetricFamily("rolloutplan_places_waiting", "Plans that wait for one.", labels=labels)
        for each in self._places:
            there.add_metric((each.group,), each.of)
            taken.add_metric((each.group,), each.taken)
            waiting.add_metric((each.group,), each.waiting)
        return there, taken, waiting


def shown_plans(owned: Collection[tuple[str, str, str]]) -> Collection[tuple[str, str, str]]:
    """The plans that have series. Of too many the first of each namespace come first, then the second ones, and so on.

    So no namespace takes the series of another by a large number of plans.
    """
    if len(owned) <= MOST_PLANS:
        return owned
    before, turns = Counted[str](), []
    for plan in sorted(owned):
        turns.append((before[plan[0]], plan))
        before[plan[0]] += 1
    return [plan for _, plan in sorted(turns)[:MOST_PLANS]]


def code_label(code: int) -> str:
    """The label of an HTTP code: one that is known, else its class. A server may answer with any number."""
    if code in _KNOWN_CODES:
        return str(code)
    return f"{code // 100}xx" if 100 <= code <= 599 else OTHER


def resource(path: str) -> str:
    """The resource of a request, as RBAC names it: `rolloutplans/status`. Never the name of an object or namespace."""
    match path.strip("/").split("/"):
        case ["api", _, *rest] | ["apis", _, _, *rest]:
            pass
        case _:
            rest = []
    match rest:
        case ["namespaces", _, plural, *one] | [plural, *one]:
            return f"{plural}/{one[1]}" if len(one) > 1 else plural
    return "other"
