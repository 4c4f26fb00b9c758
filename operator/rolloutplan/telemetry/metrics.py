"""The operator's own metrics, for Prometheus. No label names a plan, so the number of series does not grow with plans.

The loop, the client and the metric sources report to it; /metrics (`health.py`) serves the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from rolloutplan import __version__

IN_USE: Final = timedelta(minutes=10)
"""A source without a request for so long is not in use: the age of its newest sample would mislead."""
_WRITTEN: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_LATE: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_ANSWERED: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The operator's own metrics. `count_source_request` may be called from any thread, all else only from the loop.

    HTTP codes are 0 where there was no answer. `clock` returns the present instant, `ahead` the seconds by which this
    machine's clock is ahead of the API server's.
    """

    def __init__(
        self, clock: Callable[[], datetime] = lambda: datetime.now(UTC), ahead: Callable[[], float] = lambda: 0.0
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second, useless series for each counter
        self._clock, self._ahead = clock, ahead
        self._plans: Callable[[], Mapping[str, int]] = dict
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
        self._leader = Gauge("rolloutplan_leader", "Whether this replica leads.", registry=registry)
        self._epoch = Gauge(
            "rolloutplan_epoch", "The epoch in which this replica leads, or led last.", registry=registry
        )
        Info("rolloutplan_build", "The version of the operator.", registry=registry).info({"version": __version__})
        registry.register(self)
        ProcessCollector(registry=registry)
        for verdict in ("Proved", "Refuted", "Tripped", "Clear", "Undecided"):
            self._verdicts.labels(verdict)

    def set_plan_counter(self, plans: Callable[[], Mapping[str, int]]) -> None:
        """Set the source of the number of plans by phase; it is called at each scrape."""
        self._plans = plans

    def count_decision(self, kind: str, reason: str) -> None:
        self._decisions.labels(kind, reason).inc()

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
        self._newest[source] = max(at, self._newest.get(source, at))

    def count_source_request(self, source: str, code: int, seconds: float) -> None:
        """Count an HTTP request to a source."""
        self._asked_at[source] = self._clock()
        self._questions.labels(source, code).inc()
        self._question_seconds.observe(seconds)

    def count_limit(self, limit: str) -> None:
        """Count a question or an answer that met a limit; there are five limits."""
        self._limits.labels(limit).inc()

    def count_api_request(self, method: str, path: str, code: int, seconds: float) -> None:
        """Count a request to the API server."""
        self._api.labels(method, resource(path), code).inc()
        self._api_seconds.labels(method).observe(seconds)

    def set_leader(self, epoch: int | None) -> None:
        """Set whether this replica leads, and in which epoch; None where another one leads."""
        self._leader.set(epoch is not None)
        if epoch is not None:
            self._epoch.set(epoch)

    def render(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterable[Metric]:
        """The metrics that are computed at each scrape; called by the registry."""
        plans = GaugeMetricFamily("rolloutplan_plans", "Plans by phase.", labels=("phase",))
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
        return plans, ages, skew


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
