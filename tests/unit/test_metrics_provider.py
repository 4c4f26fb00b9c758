"""The engine's queries in PromQL, and what a Prometheus that is asked them before a run refuses."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from rolloutplan.api.predicate import Events
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, Query, ValueQuery
from rolloutplan.metrics.base import CheckResult
from rolloutplan.metrics.prometheus.provider import PrometheusProvider
from rolloutplan.metrics.prometheus.response import Counts
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.verdict import Answer, Why
from tests.refusals import changed
from tests.world import PLAN

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SERIES = 'ALERTS{alertstate="firing",severity="page"}'
REFUSED = Answer(gap=Why.QUERY_REJECTED, detail="parse error")


@dataclass
class Prometheus:
    """A server whose histogram has these bounds, in seconds, and that answers each query so, or as `said`."""

    bounds: tuple[str, ...] | Answer = ("0.25", "0.5", "1.0", "+Inf")
    number: Answer = field(default_factory=lambda: Answer(1.0))
    counted: dict[str, Counts | Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    said: dict[str, Answer] = field(default_factory=dict)

    async def ask(self, query: str, at: datetime) -> Answer:
        self.asked.append(query)
        return self.said.get(query, self.number)

    async def sample(self, query: str, at: datetime) -> Counts | Answer:
        if "label_replace" in query:
            if isinstance(self.bounds, Answer):
                return self.bounds
            return {f"/{bound}": 1.0 for bound in self.bounds}
        self.asked.append(query)
        return self.counted[query]

    async def samples(
        self, query: str, start: datetime, end: datetime, step: timedelta
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        found = self.counted[query]
        assert not isinstance(found, Answer)
        return [(start + i * step, found) for i in range((end - start) // step + 1 - ("bad" in query))]


def provider(server: Prometheus, *, native: bool = True) -> PrometheusProvider:
    return PrometheusProvider(cast("Tenant", server), native_histograms=native)


def slow(slower_than: str = "300ms") -> CountQuery:
    return CountQuery(Events.model_validate({"histogram": "latency_seconds", "slowerThan": slower_than}))


def checked(server: Prometheus, *queries: Query, native: bool = True) -> CheckResult:
    return asyncio.run(provider(server, native=native).check(queries, AT))


@pytest.mark.parametrize(
    ("query", "promql"),
    [
        (ValueQuery("sum(up)"), "sum(up)"),
        (AlertQuery('severity="page"'), f"count({SERIES}) or 0 * count(ALERTS)"),
        (
            AlertQuery('severity="page"', since=AT),
            f"count({SERIES} unless {SERIES} @ {AT.timestamp():.3f}) or 0 * count(ALERTS)",
        ),
    ],
)
def test_what_is_asked_for_one_number(query: ValueQuery | AlertQuery, promql: str) -> None:
    server = Prometheus()
    assert asyncio.run(provider(server).evaluate(query, AT)) == Answer(1.0)
    assert server.asked == [promql]


# ---- whether a value is of this weight, and whether there are alerts at all ----------------------------------------

SMOKE = 'smoke_ok{release="v2"}'
AGE = (
    f'min(timestamp({SMOKE}) or label_replace(push_time_seconds{{release="v2"}} and on (job, instance) {SMOKE}, '
    '"pushed", "1", "", ""))'
)
QUIET = f"count({SERIES} unless {SERIES} @ {AT.timestamp():.3f}) or 0 * count(ALERTS)"
ANY = "count(last_over_time(ALERTS[1d]))"
SILENT = Answer(gap=Why.SOURCE_DOWN, detail="timed out")
NONE = Answer(gap=Why.NO_DATA, detail="the query gives no series")


def at(seconds: float) -> Answer:
    """The time of a sample, so many seconds after the weight was verified."""
    return Answer(AT.timestamp() + seconds)


@pytest.mark.parametrize(
    ("value", "age", "answer", "gap"),
    [
        (Answer(1.0), at(0), 1.0, None),
        (Answer(1.0), at(30), 1.0, None),
        (Answer(1.0), at(-0.001), None, Why.STALE_SAMPLES),
        (Answer(1.0), at(-7 * 86400), None, Why.STALE_SAMPLES),
        (Answer(1.0), NONE, 1.0, None),
        (Answer(1.0), REFUSED, 1.0, None),
        (Answer(1.0), SILENT, None, Why.SOURCE_DOWN),
        (NONE, at(-60), None, Why.NO_DATA),
    ],
)
def test_a_sample_from_before_the_weight_is_no_answer(
    value: Answer, age: Answer, answer: float | None, gap: Why | None
) -> None:
    server = Prometheus(number=value, said={AGE: age})
    found = asyncio.run(provider(server).evaluate(ValueQuery(f"max({SMOKE})", since=AT), AT + MINUTE))
    assert (found.value, found.gap) == (answer, gap)
    assert server.asked == [f"max({SMOKE})", AGE]
    if gap is Why.STALE_SAMPLES:
        assert found.detail.startswith(f"{SMOKE} has a sample of ")


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(x_total[1m])) / sum(rate(y_total[1m]))",
        "max_over_time(smoke_ok[1m])",
        "max_over_time(sum(x)[1m:15s])",
        "x offset 5m",
        "time() - max(push_time_seconds)",
        "time() - max(timestamp(x))",
        "absent(x)",
        "1",
        "sum(",
    ],
)
def test_a_query_that_says_itself_of_what_time_it_asks_is_asked_alone(query: str) -> None:
    server = Prometheus()
    assert asyncio.run(provider(server).evaluate(ValueQuery(query, since=AT), AT + MINUTE)) == Answer(1.0)
    assert server.asked == [query]


def test_each_selector_without_a_range_is_looked_at_once() -> None:
    server = Prometheus(number=at(9))
    asyncio.run(provider(server).evaluate(ValueQuery('up{a="b"} / (up{a="b"} + on () y{c=~"d"})', since=AT), AT))
    assert [query.partition(" or ")[0] for query in server.asked[1:]] == [
        'min(timestamp(up{a="b"})',
        'min(timestamp(y{c=~"d"})',
    ]


@pytest.mark.parametrize(
    ("fires", "known", "answer", "gap"),
    [
        (Answer(2.0), None, 2.0, None),
        (Answer(0.0), None, 0.0, None),
        (SILENT, None, None, Why.SOURCE_DOWN),
        (NONE, Answer(3.0), 0.0, None),
        (NONE, NONE, None, Why.NO_ALERT_SERIES),
        (NONE, SILENT, None, Why.SOURCE_DOWN),
    ],
)
def test_no_alert_is_known_to_be_quiet_where_there_are_none_of_any_kind(
    fires: Answer, known: Answer | None, answer: float | None, gap: Why | None
) -> None:
    server = Prometheus(said={QUIET: fires, **({ANY: known} if known else {})})
    found = asyncio.run(provider(server).evaluate(AlertQuery('severity="page"', since=AT), AT))
    assert (found.value, found.gap) == (answer, gap)
    assert server.asked == [QUIET, *([ANY] if known else [])]


def test_that_there_are_no_alerts_is_told_before_the_run() -> None:
    query = AlertQuery('severity="page"', since=AT)
    result = checked(Prometheus(said={QUIET: NONE, ANY: NONE}), query, ValueQuery("up"))
    assert (result.refused, result.down, [*result.warnings]) == ({}, "", [query])
    assert result.warnings[query].startswith("the metric source has no series ALERTS of any kind in 24 h")
    assert checked(Prometheus(said={QUIET: NONE, ANY: Answer(1.0)}), query).warnings == {}


ALL, BAD = "sum by (job, instance) (all)", "sum by (job, instance) (bad)"
COUNT = CountQuery(Events(total="all", bad="bad"))


def series(server: Prometheus, end: datetime) -> Any:
    return asyncio.run(provider(server).counters(COUNT, AT, end, MINUTE))


def test_counters_of_one_instant_go_together_and_an_instance_may_have_no_bad_ones_yet() -> None:
    server = Prometheus(counted={ALL: {"web/a": 9.0, "web/b": 5.0}, BAD: {"web/a": 2.0}})
    assert series(server, AT) == [(AT, {"web/a": (9.0, 2.0), "web/b": (5.0, None)})]


def test_an_instant_at_which_one_of_them_is_missing_is_left_out() -> None:
    server = Prometheus(counted={ALL: {"web/a": 9.0}, BAD: {"web/a": 2.0}})
    assert [at for at, _ in series(server, AT + 2 * MINUTE)] == [AT, AT + MINUTE]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"web/a": 2.0, "gw/b": 1.0}, "bad is counted for gw/b, and total is not"),
        ({"/": 2.0}, "bad is counted for series without the labels job and instance, and total is not"),
    ],
)
def test_bad_requests_of_other_instances_than_all_are_no_counts(bad: dict[str, float], words: str) -> None:
    for end in (AT, AT + 2 * MINUTE):
        found = series(Prometheus(counted={ALL: {"web/a": 9.0}, BAD: bad}), end)
        assert isinstance(found, Answer) and found.gap is Why.NOT_COUNTERS
        assert words in found.detail


def test_a_gap_of_either_is_the_answer() -> None:
    gap = Answer(gap=Why.SOURCE_DOWN, detail="HTTP 503")
    assert series(Prometheus(counted={ALL: {}, BAD: gap}), AT) == gap


def test_the_traps_of_promql_are_found_by_how_often_the_samples_come() -> None:
    hidden = read_plan_spec(changed(PLAN, {"guards[0].query": "sum(rate(errors_total[20s])) or vector(0)"}))
    often = provider(Prometheus()).lint(hidden)
    assert '"or vector(0)" hides missing data' in often
    seldom = PrometheusProvider(cast("Tenant", Prometheus()), scrape_interval=MINUTE).lint(hidden)
    assert "20s" not in often
    assert "20s" in seldom


# ---- before a run ------------------------------------------------------------------------------------


def test_a_time_that_is_no_bound_of_the_buckets_is_refused_with_those_that_are() -> None:
    found = "300ms is not a bucket bound of the histogram: write one of 250ms, 500ms, 1s"
    assert checked(Prometheus(), slow()) == CheckResult({slow(): f"events.slowerThan: {found}"}, "")


@pytest.mark.parametrize(
    ("server", "slower_than"),
    [
        pytest.param(Prometheus(), "500ms", id="it is a bound"),
        pytest.param(Prometheus(bounds=()), "300ms", id="nothing is known yet"),
        pytest.param(Prometheus(number=Answer(gap=Why.NO_DATA)), "500ms", id="there is no data yet"),
    ],
)
def test_nothing_is_refused_where_it_can_be_counted_or_nobody_knows(server: Prometheus, slower_than: str) -> None:
    assert checked(server, slow(slower_than)) == CheckResult({}, "")


def test_a_source_that_answers_all_but_the_bounds_is_down() -> None:
    silent = Answer(gap=Why.SOURCE_DOWN, detail="timed out")
    assert checked(Prometheus(bounds=silent), slow()) == CheckResult({}, "timed out")


@pytest.mark.parametrize("native", [True, False])
def test_a_source_without_native_histograms_is_not_asked_for_them(native: bool) -> None:
    server = Prometheus()
    checked(server, slow(), native=native)
    assert any("histogram_fraction" in query for query in server.asked) is native


@pytest.mark.parametrize("query", [ValueQuery("su("), AlertQuery("severity=", since=AT), slow("500ms"), COUNT])
def test_what_the_source_refuses_is_refused_in_its_words(query: Query) -> None:
    assert checked(Prometheus(number=REFUSED), query).refused == {
        query: "the metric source refuses the query: parse error"
    }


def test_that_the_source_does_not_answer_is_no_refusal() -> None:
    silent = Prometheus(number=Answer(gap=Why.SOURCE_DOWN, detail="Connection refused"))
    assert checked(silent, ValueQuery("up")) == CheckResult({}, "Connection refused")


def test_each_text_is_tried_once_and_alerts_as_they_will_be_asked_for() -> None:
    server = Prometheus()
    checked(server, ValueQuery("up"), COUNT, AlertQuery('severity="page"', since=AT), CountQuery(COUNT.events))
    alerts = f"count({SERIES} unless {SERIES} @ {AT.timestamp():.3f}) or 0 * count(ALERTS)"
    assert server.asked == ["up", f"sum({ALL})", f"sum({BAD})", alerts]
