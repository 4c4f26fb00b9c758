"""Plans of several namespaces ask one source: whatever one writes, the others hear what they would hear alone."""

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, NumberLiteral, ParenExpr, VectorSelector, parse

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.prometheus.response import RowLabels, each, number, parse_response
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.verdict import Answer, Why
from tests.answering import serving
from tests.hostile_queries import forging

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TRUE = {"victim_errors": 0.21, "other_errors": 0.0}
Series = dict[tuple[tuple[str, str], ...], float]
Story = Callable[["Evaluating", Source], Coroutine[Any, Any, None]]


class Evaluating:
    """Evaluates what it is sent, as far as these tests need, with a parser that is not the operator's."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.more: list[dict[str, Any]] = []
        """What it answers beside the series of a query that joins several."""
        self._lock = threading.Lock()

    def answer(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.asked.append(form["query"])
        try:
            found = _evaluated(parse(form["query"]))
        except ValueError as error:
            return 400, {"status": "error", "errorType": "bad_data", "error": str(error)}
        rows = [{"metric": dict(labels), "value": [0, str(value)]} for labels, value in found.items()]
        if "label_replace" in form["query"]:
            rows += self.more
        return 200, {"status": "success", "data": {"resultType": "vector", "result": rows}}


def _evaluated(expr: Expr) -> Series:
    match expr:
        case ParenExpr():
            return _evaluated(expr.expr)
        case VectorSelector():
            return {(): TRUE[expr.name or ""]}
        case AggregateExpr():
            return {(): sum(_evaluated(expr.expr).values())}
        case Call() if expr.func.name == "vector":
            value = expr.args[0]
            assert isinstance(value, NumberLiteral)
            return {(): value.val}
        case Call() if expr.func.name == "label_replace":
            name, value = (getattr(each, "val", "") for each in expr.args[1:3])
            inner = _evaluated(expr.args[0])
            return {tuple(sorted({**dict(labels), name: value}.items())): each for labels, each in inner.items()}
        case BinaryExpr() if str(expr.op) == "or":
            return _evaluated(expr.rhs) | _evaluated(expr.lhs)
    raise ValueError(f"not evaluated here: {expr.prettify()}")


def tell(story: Story) -> None:
    server = Evaluating()

    async def told(url: str) -> None:
        source = Source(MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": "5s"}))
        async with asyncio.timeout(20):
            await story(server, source)
        source.close()

    with serving(server) as url:
        asyncio.run(told(url))


@pytest.mark.parametrize("namespace", ["victim", "other"])
@pytest.mark.parametrize("quote", ['"', "'", "`", ""])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_query_never_answers_for_another(namespace: str, quote: str, end: str) -> None:
    async def story(_: Evaluating, source: Source) -> None:
        victim, other = Tenant(source, "victim"), Tenant(source, namespace)
        instants = (AT + i * SECOND for i in itertools.count())
        await asyncio.gather(*(victim.ask(f"sum({name})", next(instants)) for name in TRUE))
        for value, place in ((0, "1"), (1, "1"), (0, "-1"), (1, "0")):
            good, bad = forging(quote, end, value, place)
            await other.ask(good, next(instants))
            at = next(instants)
            own, first, *heard = await asyncio.gather(
                other.ask(bad, at), other.ask(good, at), *(victim.ask(f"sum({name})", at) for name in TRUE)
            )
            assert heard == [Answer(0.21), Answer(0.0)]
            assert first == Answer(0.0)
            assert own.gap is Why.QUERY_REJECTED

    tell(story)


def test_queries_of_two_namespaces_never_stand_in_one_text() -> None:
    async def story(server: Evaluating, source: Source) -> None:
        tenants = {name: Tenant(source, name) for name in ("victim", "other")}
        for i in range(4):
            at = AT + i * SECOND
            asks = (
                tenant.ask(f"sum({name}_errors) or vector({j})", at)
                for j in range(6)
                for name, tenant in tenants.items()
            )
            assert await asyncio.gather(*asks) == [Answer(0.21), Answer(0.0)] * 6
        assert len(server.asked) < 2 * 6 * 4, "those of one namespace do"
        assert not any("victim" in text and "other" in text for text in server.asked)

    tell(story)


def test_the_same_question_is_asked_for_each_namespace() -> None:
    """Or one would wait where the other's questions wait."""

    async def story(server: Evaluating, source: Source) -> None:
        tenants = [Tenant(source, name) for name in ("victim", "other")]
        assert await asyncio.gather(*(tenant.ask("victim_errors", AT) for tenant in tenants)) == [Answer(0.21)] * 2
        assert len(server.asked) == 2

    tell(story)


ROWS = RowLabels("row_a", ("00", "01", "02"))


def answered(*metrics: dict[str, Any], kind: str = "vector") -> list[Answer] | Answer:
    rows = [{"metric": metric, "value": [0, str(i)]} for i, metric in enumerate(metrics)]
    body = json.dumps({"status": "success", "data": {"resultType": kind, "result": rows}}).encode()
    return parse_response(200, body, lambda result: each([number] * 3, ROWS, result))


def test_each_series_goes_to_the_query_of_its_row_label() -> None:
    found = answered({"row_a": "02", "pod": "a"}, {"row_a": "00"})
    assert isinstance(found, list)
    assert [(answer.value, answer.gap) for answer in found] == [(1.0, None), (None, Why.NO_DATA), (0.0, None)]


@pytest.mark.parametrize(
    "label",
    ["0", "1", "+1", " 01", "-1", "03", "01\n", "", "O0", "\u0660\u0660", "row_a", None, 1, ["01"], {"01": 1}],
    ids=ascii,
)
def test_a_series_of_no_query_voids_the_answer_to_all(label: Any) -> None:
    void = answered({"row_a": "00"}, {"row_a": label}, {"row_a": "02"})
    assert isinstance(void, Answer)
    assert void.gap is Why.SOURCE_DOWN


@pytest.mark.parametrize("metric", [{}, {"row_b": "01"}, {"q": "1"}, {"ROW_A": "01"}])
def test_a_series_without_a_row_label_voids_the_answer_to_all(metric: dict[str, Any]) -> None:
    assert isinstance(answered({"row_a": "00"}, metric), Answer)
    assert isinstance(answered({"row_a": "00"}, kind="matrix"), Answer)


def test_row_labels_are_others_each_time() -> None:
    batches = [RowLabels.new(3) for _ in range(20)]
    parts = [part for batch in batches for part in (batch.name, *batch.values)]
    assert len(set(parts)) == len(parts) == 80
    assert all(part.removeprefix("row_").isalnum() and len(part.removeprefix("row_")) == 16 for part in parts)


def test_after_a_void_answer_each_question_is_asked_again_alone() -> None:
    async def story(server: Evaluating, source: Source) -> None:
        tenant, names = Tenant(source, "victim"), sorted(TRUE)

        async def heard(at: datetime) -> tuple[list[Answer], int]:
            before = len(server.asked)
            answers = await asyncio.gather(*(tenant.ask(name, at) for name in names))
            return answers, len(server.asked) - before

        true = [Answer(TRUE[name]) for name in names]
        assert await heard(AT) == (true, 2)
        assert await heard(AT + SECOND) == (true, 1)
        server.more = [{"metric": {}, "value": [0, "1"]}]
        assert await heard(AT + 2 * SECOND) == (true, 1 + 2)

    tell(story)
