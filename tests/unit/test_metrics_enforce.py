"""A source that enforces labels answers for no other series, whatever is asked and whoever wrote the query."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.api.predicate import Events
from rolloutplan.engine.model.queries import AlertQuery, CountQuery, Query, ValueQuery
from rolloutplan.metrics.prometheus.enforce import CannotEnforceError, enforced
from rolloutplan.metrics.prometheus.provider import PrometheusProvider
from rolloutplan.metrics.prometheus.response import undecided
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.verdict import Answer, Why
from tests.hostile_queries import bound

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
SHOP = {"namespace": "shop"}
MINUTE = timedelta(minutes=1)

REWRITTEN = {
    "up": 'up{namespace="shop"}',
    "(up)": '(up{namespace="shop"})',
    "up{}": 'up{namespace="shop"}',
    'up{a="b"}': 'up{namespace="shop",a="b"}',
    'up {a="b",} > 1': 'up {namespace="shop",a="b",} > 1',
    '{"a.b"}': '{namespace="shop","a.b"}',
    '{"a.b", "c d"=~"e"}': '{namespace="shop","a.b", "c d"=~"e"}',
    '{__name__=~"a{3}"}': '{namespace="shop",__name__=~"a{3}"}',
    'up{namespace="bank"}': 'up{namespace="shop",namespace="bank"}',
    'up{namespace=~".*"} or up{"namespace"!=""}': (
        'up{namespace="shop",namespace=~".*"} or up{namespace="shop","namespace"!=""}'
    ),
    "rate(up[5m])": 'rate(up{namespace="shop"}[5m])',
    "up[5m] offset -1h @ 12.5": 'up{namespace="shop"}[5m] offset -1h @ 12.5',
    "max_over_time(sum(up)[1h:5m] @ end())": 'max_over_time(sum(up{namespace="shop"})[1h:5m] @ end())',
    "sum by (namespace, up) (up)": 'sum by (namespace, up) (up{namespace="shop"})',
    "sum(up) without (namespace)": 'sum(up{namespace="shop"}) without (namespace)',
    "a / on(namespace) group_left(b) c": 'a{namespace="shop"} / on(namespace) group_left(b) c{namespace="shop"}',
    "a unless ignoring(d) b": 'a{namespace="shop"} unless ignoring(d) b{namespace="shop"}',
    "a > bool b": 'a{namespace="shop"} > bool b{namespace="shop"}',
    "-a ^ NaN": '-a{namespace="shop"} ^ NaN',
    "topk by (x) (3, sum)": 'topk by (x) (3, sum{namespace="shop"})',
    '{__name__=~"a|b", "__type__"="gauge"}': '{namespace="shop",__name__=~"a|b", "__type__"="gauge"}',
    "count(ALERTS)": 'count(ALERTS{namespace="shop"})',
    'label_replace(up, "namespace", "bank", "", "")': (
        'label_replace(up{namespace="shop"}, "namespace", "bank", "", "")'
    ),
    'up{a=`\\d{2}"`} # up{b="c"}\n+ up': 'up{namespace="shop",a=`\\d{2}"`} + up{namespace="shop"}',
    "up{a='}, up{'}": "up{namespace=\"shop\",a='}, up{'}",
    "vector(1) + time()": "vector(1) + time()",
}


@pytest.mark.parametrize("query", REWRITTEN)
def test_the_label_is_put_in_every_selector(query: str) -> None:
    assert enforced(query, SHOP) == REWRITTEN[query]
    assert enforced(query, {}) == query


def test_several_labels_are_put_in_at_once() -> None:
    assert enforced("up", {"namespace": "shop", "cluster": "eu"}) == 'up{namespace="shop",cluster="eu"}'


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("info(up)", "info() reads series that no selector names"),
        ("sum(Info(up))", "info() reads"),
        ('up{a="b" or c="d"}', "character 10: a comma or } is missing"),
        ('{__graphite__="bank.*"}', "__graphite__ is not a label of series"),
        ("WITH (x = up) x", "an operator or the end is missing"),
        ("up # \r or secret", "carriage return"),
        ("up{a=`\\`} or secret{b=`}", "the string does not end"),
        ('up{a="\\`"}', "an escape"),
        ("up{a='b\n'}", "a line end"),
        ("up) or (secret", "no parenthesis is open"),
        ("sum(up", "a closing parenthesis is missing"),
        ("foo(up)", "the operator's parser does not read it: unknown function with name 'foo'"),
        ("up default secret", "an operator or the end is missing"),
        ("rate(up[$windw])", "write a range"),
        ("a.b", "'.' is not part of PromQL"),
        ("\u00fcp", "is not part of PromQL"),
        ("", "is missing"),
        ("+".join(["up"] * 200), "it has more than 100 operators"),
        ("(" * 80 + "up" + ")" * 80, "more than 64 parentheses"),
        (f'up{{a="{"x" * 40_000}"}}', "it has more than 32,768 characters"),
    ],
)
def test_what_cannot_be_rewritten_for_sure_is_refused(query: str, words: str) -> None:
    with pytest.raises(CannotEnforceError) as refused:
        enforced(query, SHOP)
    assert words in str(refused.value)


# ---- every query of the operator -------------------------------------------------------------------------------------


class Recording:
    """As Source: keeps what it is asked, and answers that there is no data."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def ask(self, query: str, _: datetime, namespace: str) -> Answer:
        assert namespace == "shop"
        self.sent.append(query)
        return undecided(Why.NO_DATA, "none")

    async def sample(self, query: str, _: datetime, namespace: str) -> Mapping[str, float]:
        await self.ask(query, AT, namespace)
        return {}

    async def samples(self, query: str, *_: object) -> Sequence[object]:
        await self.ask(query, AT, "shop")
        return []


COUNTED = CountQuery(Events(total='all_total{a="b"}', bad='{"bad.total"}'))
SLOW = CountQuery(Events(histogram='latency_seconds{a=~"b|c"}', slower_than=timedelta(milliseconds=500)))
ODD = CountQuery(Events(histogram='{"a.latency", c="d"}', slower_than=timedelta(milliseconds=250)))
QUERIES: Sequence[Query] = [
    ValueQuery('sum(up{a="b"}) / sum(rate(x{b=`c`}[5m]))', since=AT),
    ValueQuery("max(smoke)", since=AT - MINUTE),
    AlertQuery('severity="page"'),
    AlertQuery('severity="page"', since=AT),
    COUNTED,
    SLOW,
    ODD,
]


@pytest.mark.parametrize("native", [True, False])
def test_every_query_is_bound_also_those_that_the_operator_writes(native: bool) -> None:
    async def everything(provider: PrometheusProvider) -> None:
        await provider.check(QUERIES, AT)
        for query in QUERIES:
            if isinstance(query, CountQuery):
                await provider.counters(query, AT, AT, MINUTE)
                await provider.counters(query, AT - 5 * MINUTE, AT, MINUTE)
            else:
                await provider.evaluate(query, AT)

    source = Recording()
    asyncio.run(everything(PrometheusProvider(Tenant(cast("Source", source), "shop", SHOP), native_histograms=native)))
    assert len(set(source.sent)) > 15
    assert [query for query in source.sent if not bound(query, "namespace", "shop")] == []


def test_a_query_that_cannot_be_bound_is_refused_before_the_run_and_never_sent() -> None:
    query, counted = ValueQuery("info(up)"), CountQuery(Events(total='a_total{b="c" or d="e"}', bad="b_total"))
    source = Recording()
    provider = PrometheusProvider(Tenant(cast("Source", source), "shop", SHOP))

    async def everything() -> None:
        result = await provider.check([query, counted], AT)
        assert result.refused.keys() == {query, counted}
        assert all('enforces namespace="shop"' in words for words in result.refused.values())
        assert "info() reads series" in result.refused[query]
        answers = (
            await provider.evaluate(query, AT),
            await provider.counters(counted, AT, AT, MINUTE),
            await provider.counters(counted, AT - 5 * MINUTE, AT, MINUTE),
        )
        assert [getattr(answer, "gap", None) for answer in answers] == [Why.QUERY_REJECTED] * 3

    asyncio.run(everything())
    assert not any("info" in text or "a_total" in text for text in source.sent)


def test_the_labels_are_those_of_the_namespace_that_asks() -> None:
    spec = {"prometheus": {"url": "http://a:9090"}, "enforce": {"namespace": "$namespace"}}
    source = read_metric_source(spec, cluster=True)
    assert (source.enforced("shop"), source.enforced("bank")) == (SHOP, {"namespace": "bank"})
