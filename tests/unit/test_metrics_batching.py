"""Questions that go together: asked as one, answered as if each had been asked alone, and none waits for a slow one."""

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.prometheus.batching import MAX_LENGTH, MAX_QUESTIONS, QUICK_WITHIN, Fingerprint, QueryBatcher
from rolloutplan.metrics.prometheus.source import Source
from rolloutplan.metrics.prometheus.tenant import Tenant
from rolloutplan.stats.verdict import Answer, Why
from tests.answering import serving

AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
LOOK = timedelta(seconds=10)
Story = Callable[["Server", Tenant], Coroutine[Any, Any, None]]


# ---- a server that knows a few queries, alone and as one -------------------------------------------------------------

GROUP = re.compile(r'label_replace\((vector\()?\n(.*?)\n\)?, "(row_\w+)", "(\w+)", "", ""\)', re.DOTALL)
Part = tuple[str, tuple[str, str] | None, bool]
"""A query, the name and value of its row label, and whether it is within vector()."""


@dataclass
class Known:
    """What a query is answered: `rows` of labels and values, or one number for a scalar."""

    rows: Sequence[tuple[Mapping[str, str], str]] | float = 1.0
    more: Mapping[str, Any] = field(default_factory=dict)
    """Beside the data, such as warnings."""
    status: int = 200
    error: str = ""
    held: threading.Event | None = None
    """Until when it takes."""


class RefusedError(Exception):
    """The server's error."""


class Server:
    """Speaks as Prometheus does. What it is not told of is the scalar 1."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.down = False

    def number(self) -> int:
        """How many HTTP questions were put since it was asked this last."""
        number, self.asked = len(self.asked), []
        return number

    def let_go(self) -> None:
        """Answer whatever is held back."""
        for known in self.known.values():
            if known.held:
                known.held.set()

    def answer(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        query = form["query"]
        self.asked.append(query)
        self.forms.append(dict(form))
        if self.down:
            return 429, {"status": "error", "errorType": "too_many_requests", "error": "come back later"}
        try:
            parts: list[Part] = [(m[2], (m[3], m[4]), bool(m[1])) for m in GROUP.finditer(query)]
            parts = parts or [(query, None, False)]
            found = [self._part(*part, float(form["timeout"])) for part in parts]
        except RefusedError as refused:
            status, words = refused.args
            return status, {"status": "error", "errorType": "execution", "error": words}
        more = {key: value for known in found for key, value in known.more.items()}
        if parts[0][1] is None and isinstance(found[0].rows, float):
            return 200, {
                "status": "success",
                "data": {"resultType": "scalar", "result": [1.5, str(found[0].rows)]},
                **more,
            }
        result = [row for part, known in zip(parts, found, strict=True) for row in self._rows(part[1], known)]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}, **more}

    def _part(self, query: str, q: tuple[str, str] | None, wrapped: bool, timeout: float) -> Known:
        known = self.known.get(query, Known())
        if known.held and not known.held.wait(timeout):
            raise RefusedError(503, "query timed out in expression evaluation")
        if known.error:
            raise RefusedError(known.status, known.error)
        if q is not None and isinstance(known.rows, float) is not wrapped:
            raise RefusedError(400, "expected type instant vector in call to function")
        return known

    @staticmethod
    def _rows(q: tuple[str, str] | None, known: Known) -> Iterator[dict[str, Any]]:
        rows = [({}, str(known.rows))] if isinstance(known.rows, float) else known.rows
        for labels, value in rows:
            yield {"metric": {**labels, **({} if q is None else {q[0]: q[1]})}, "value": [1.5, value]}


def tell(story: Story, *, hurried: bool = False, **spec: Any) -> None:
    """Unless it is `hurried`, nothing counts as slow, however busy this machine is."""
    server = Server()

    async def in_time(url: str) -> None:
        source = Source(MetricSourceSpec.model_validate({"prometheus": {"url": url}, "timeout": "2s", **spec}))
        if not hurried:
            source._batchers["shop"] = QueryBatcher(60, quick=30)
        try:
            async with asyncio.timeout(60):
                await story(server, Tenant(source, "shop"))
        finally:
            server.let_go()
            source.close()

    with serving(server) as url:
        asyncio.run(in_time(url))


async def ask(source: Tenant, queries: Sequence[str], at: datetime = AT) -> list[Answer]:
    return await asyncio.gather(*(source.ask(query, at) for query in queries))


class Looks:
    """The instants of looks, one after the other."""

    def __init__(self, source: Tenant, queries: Sequence[str]) -> None:
        self._source, self._queries, self._at = source, queries, AT

    async def snapshot(self) -> list[Answer]:
        self._at += LOOK
        return await ask(self._source, self._queries, self._at)


VECTOR = Known([({}, "1")])
EIGHT = [f'rate(x{{a="{i}"}}[10s])' for i in range(8)]


# ---- as one --------------------------------------------------------------------------------------------------------


def test_a_looks_questions_are_one_once_each_has_succeeded_alone() -> None:
    queries = [f"sum by (a) (x{i})" for i in range(8)]

    async def story(server: Server, source: Tenant) -> None:
        looks = Looks(source, queries)
        assert [answer.value for answer in await looks.snapshot()] == [1.0] * 8
        assert server.number() == 8
        for i, query in enumerate(queries):
            server.known[query] = Known(float(i))
        assert [answer.value for answer in await looks.snapshot()] == [*map(float, range(8))]
        assert server.number() == 1
        assert server.forms[-1]["time"] == f"{AT.timestamp() + 20:.3f}"

    tell(story)


class Row(NamedTuple):
    query: str
    known: Known
    gap: Why | None = None


ANSWERS = [
    Row("time()", Known(4.5)),
    Row("a # says nothing", Known([({"pod": "a", "q": "of its own"}, "2")])),
    Row('b{c="), \\"q\\" or"}', Known([({"__name__": "b"}, "3")])),
    Row("absent", Known([]), Why.NO_DATA),
    Row("0 / 0", Known([({}, "NaN")]), Why.NAN),
]


def test_each_answer_is_what_it_is_alone() -> None:
    async def story(server: Server, source: Tenant) -> None:
        server.known = {row.query: row.known for row in ANSWERS}
        looks = Looks(source, [row.query for row in ANSWERS])
        alone, together = await looks.snapshot(), await looks.snapshot()
        assert together == alone
        assert server.number() == len(ANSWERS) + 1
        assert [answer.gap for answer in together] == [row.gap for row in ANSWERS]

    tell(story)


def test_counters_go_with_values() -> None:
    total = Known([({"job": "web", "instance": "a"}, "10"), ({"job": "web", "instance": "b"}, "20")])

    async def story(server: Server, source: Tenant) -> None:
        server.known = {"value": VECTOR, "total": total, "bad": Known([])}

        for at, questions in ((AT, 3), (AT + LOOK, 1)):
            value, counted, none = await asyncio.gather(
                source.ask("value", at), source.sample("total", at), source.sample("bad", at)
            )
            assert (value, counted, none) == (Answer(1.0), {"web/a": 10, "web/b": 20}, {})
            assert server.number() == questions

    tell(story)


def test_series_that_come_to_be_many_go_alone_from_then_on() -> None:
    async def story(server: Server, source: Tenant) -> None:
        server.known = dict.fromkeys(EIGHT, VECTOR)
        looks = Looks(source, EIGHT)
        await looks.snapshot()
        server.known[EIGHT[3]] = Known([({"pod": "a"}, "1"), ({"pod": "b"}, "1")])
        server.number()
        assert [answer.gap for answer in await looks.snapshot()] == [None] * 3 + [Why.MANY_SERIES] + [None] * 4
        assert server.number() == 1
        await looks.snapshot()
        assert sorted(map(len, map(GROUP.findall, server.asked))) == [0, 7]

    tell(story)


def test_another_plan_of_the_same_form_needs_not_be_asked_alone_first() -> None:
    def queries(plan: str, window: str) -> list[str]:
        return [f'{metric}{{plan="{plan}"}}[{window}]' for metric in "abcd"]

    async def story(server: Server, source: Tenant) -> None:
        await ask(source, queries("p1", "4s"))
        assert server.number() == 4
        await ask(source, queries("p2", "14s"))
        assert server.number() == 1

    tell(story)


def test_the_first_of_a_form_goes_ahead_and_the_others_follow_as_one() -> None:
    """As after a start, when all plans ask at the same moment."""

    async def story(server: Server, source: Tenant) -> None:
        def queries(plans: Sequence[int]) -> list[str]:
            return [f'{metric}{{plan="{plan}"}}' for plan in plans for metric in "abcd"]

        answers = asyncio.gather(ask(source, queries(range(3))), ask(source, queries(range(3, 6)), AT + LOOK))
        assert {answer.value for found in await answers for answer in found} == {1.0}
        assert server.number() == 4 + 2

    tell(story)


def test_who_follows_does_not_wait_for_a_slow_one() -> None:
    async def story(server: Server, source: Tenant) -> None:
        held = threading.Event()
        server.known['a{plan="0"}'] = Known(held=held)
        first, *others = _asks(source, [f'a{{plan="{plan}"}}' for plan in range(4)], AT)
        ahead = asyncio.ensure_future(first)
        assert await asyncio.gather(*others) == [Answer(1.0)] * 3
        assert not ahead.done()
        held.set()
        assert await ahead == Answer(1.0)

    tell(story, hurried=True)


def test_questions_for_other_instants_do_not_go_together() -> None:
    async def story(server: Server, source: Tenant) -> None:
        await ask(source, ["a", "b"])
        server.number()
        later = [AT + i * LOOK for i in (1, 1, 2, 2)]
        await asyncio.gather(*map(source.ask, ["a", "b"] * 2, later))
        assert server.number() == 2
        assert sorted(form["time"] for form in server.forms[-2:]) == [f"{AT.timestamp() + s:.3f}" for s in (10, 20)]

    tell(story)


def test_tasks_of_one_turn_go_together_however_they_are_nested() -> None:
    """Each predicate is a task, and gathers its parts."""

    async def story(server: Server, source: Tenant) -> None:
        queries = ["a", "b", "c", "d"]
        await ask(source, queries)
        server.number()

        async def predicate(*parts: str) -> list[Answer]:
            return await ask(source, parts, AT + LOOK)

        tasks = [asyncio.create_task(predicate(*parts)) for parts in (["a"], ["b", "c"], ["d"])]
        await asyncio.gather(*tasks)
        assert server.number() == 1

    tell(story)


# ---- once ----------------------------------------------------------------------------------------------------------


def test_a_question_is_asked_once_whoever_asks() -> None:
    async def story(server: Server, source: Tenant) -> None:
        server.known["a"] = Known(held=threading.Event())
        first = [asyncio.create_task(source.ask("a", AT)) for _ in range(3)]
        await asyncio.sleep(0.05)
        later = asyncio.create_task(source.ask("a", AT))
        first[0].cancel()
        server.known["a"].held.set()  # type: ignore[union-attr]
        assert await asyncio.gather(*first[1:], later) == [Answer(1.0)] * 3
        assert await source.ask("a", AT) == Answer(1.0)
        assert server.number() == 1
        await source.ask("a", AT + LOOK)
        assert server.number() == 1

    tell(story)


def test_a_question_that_was_not_answered_is_asked_again() -> None:
    async def story(server: Server, source: Tenant) -> None:
        server.down = True
        assert (await source.ask("a", AT)).gap is Why.SOURCE_DOWN
        server.down = False
        assert await source.ask("a", AT) == Answer(1.0)
        assert server.number() == 2

    tell(story)


# ---- what goes badly ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "gap"),
    [
        (Known(status=422, error="many-to-many matching"), Why.QUERY_REJECTED),
        (Known(status=500, error="panic"), Why.SOURCE_DOWN),
        (Known(more={"warnings": ["half of it"]}), Why.WARNINGS),
        (Known(more={"isPartial": True}), None),
    ],
    ids=["error", "broken", "warning", "partial"],
)
def test_what_goes_badly_is_asked_alone_and_only_the_bad_one_stays_alone(bad: Known, gap: Why | None) -> None:
    async def story(server: Server, source: Tenant) -> None:
        looks = Looks(source, EIGHT)
        await looks.snapshot()
        server.number()
        server.known[EIGHT[5]] = bad
        for questions in (1 + 8, 2, 2):
            answers = await looks.snapshot()
            assert answers[:5] + answers[6:] == [Answer(1.0)] * 7
            assert answers[5].value is None
            assert answers[5].gap is gap or gap is None
            assert server.number() == questions
        del server.known[EIGHT[5]]
        numbers = [len(await looks.snapshot()) and server.number() for _ in range(8)]
        assert (numbers[0], numbers[-1]) == (2, 1), "it comes back in a while, and not at once"

    tell(story)


def test_what_is_refused_together_and_not_alone_stays_apart_for_a_while() -> None:
    async def story(server: Server, source: Tenant) -> None:
        queries = ["a", "b", "c"]
        looks = Looks(source, queries)
        await looks.snapshot()
        server.known["b"] = VECTOR  # no longer a scalar: whoever knew it as one asks in vain
        server.number()
        assert await looks.snapshot() == [Answer(1.0)] * 3
        assert server.number() == 1 + 3
        assert await looks.snapshot() == [Answer(1.0)] * 3
        assert server.number() == 3

    tell(story)


@pytest.mark.parametrize("reached", [True, False])
def test_a_source_that_is_not_there_is_not_asked_once_more_for_each(reached: bool) -> None:
    async def story(server: Server, source: Tenant) -> None:
        looks = Looks(source, EIGHT)
        await looks.snapshot()
        server.down = True
        server.number()
        if not reached:
            source._source._http.url = "http://127.0.0.1:1"
        answers = await looks.snapshot()
        assert {answer.gap for answer in answers} == {Why.SOURCE_DOWN}
        assert server.number() == reached

    tell(story)


# ---- what is slow ----------------------------------------------------------------------------------------------------


def test_a_query_that_comes_to_be_slow_keeps_its_look_no_longer_than_a_moment_and_then_not_at_all() -> None:
    """While the server holds it back, the others are answered: they do not wait for it."""

    async def story(server: Server, source: Tenant) -> None:
        source._source._batchers["shop"] = knowing(dict.fromkeys(EIGHT, 0.01))
        slow, *others = EIGHT
        held = threading.Event()
        server.known = {**dict.fromkeys(others, VECTOR), slow: Known(held=held, status=503, error="it takes too long")}
        for look in (1, 2):
            first, *quick = [asyncio.ensure_future(a) for a in _asks(source, EIGHT, AT + look * LOOK)]
            assert await asyncio.gather(*quick) == [Answer(1.0)] * 7
            assert not first.done()
            held.set()
            assert (await first).gap is Why.SOURCE_DOWN
            held.clear()
        [together] = [form for form in server.forms if slow in form["query"] and form["query"] != slow]
        assert float(together["timeout"]) <= QUICK_WITHIN

    tell(story, hurried=True, timeout="20s")


def _asks(source: Tenant, queries: Sequence[str], at: datetime) -> list[Awaitable[Answer]]:
    return [source.ask(query, at) for query in queries]


def test_slow_queries_of_one_plan_keep_no_other_plan_waiting() -> None:
    """Twice as many as there are places, known and never seen, while another plan asks."""

    async def story(server: Server, source: Tenant) -> None:
        await ask(source, ["quick", *EIGHT[:4]])
        held = threading.Event()
        strangers = [f"new{i}" for i in range(8)]
        server.known |= {query: Known(held=held) for query in (*EIGHT[:4], *strangers)}
        slow = [asyncio.ensure_future(a) for a in _asks(source, [*EIGHT[:4], *strangers], AT + LOOK)]
        for i in range(5):
            assert await source.ask("quick", AT + (2 + i) * LOOK) == Answer(1.0)
        assert not any(question.done() for question in slow)
        held.set()
        await asyncio.gather(*slow)

    tell(story, hurried=True, maxConcurrency=4, timeout="20s")


def test_where_slow_ones_wait_already_a_look_that_is_late_is_asked_once_more_and_not_eight_times() -> None:
    async def story(server: Server, source: Tenant) -> None:
        await ask(source, EIGHT)
        server.number()
        held, strangers = threading.Event(), ["new", "newer", "newest"]
        server.known = dict.fromkeys([*strangers, EIGHT[0]], Known(held=held))
        waiting = asyncio.gather(ask(source, strangers, AT + LOOK))
        snapshot = asyncio.ensure_future(ask(source, EIGHT, AT + 2 * LOOK))
        await asyncio.sleep(QUICK_WITHIN + 0.2)
        held.set()
        assert await snapshot == [Answer(1.0)] * 8
        await waiting
        assert server.number() == len(strangers) + 2

    tell(story, hurried=True, maxConcurrency=2)


def test_a_slow_source_is_asked_together_all_the_same() -> None:
    """All take the same, so none waits for another one."""

    async def story(server: Server, source: Tenant) -> None:
        server.known = {query: Known(held=_Sleep(0.07)) for query in EIGHT}
        looks = Looks(source, EIGHT)
        await looks.snapshot()
        server.number()
        assert [answer.value for answer in await looks.snapshot()] == [1.0] * 8
        assert server.number() < 8

    tell(story, hurried=True)


class _Sleep(threading.Event):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep(self._seconds)
        return True


# ---- the choice ------------------------------------------------------------------------------------------------------


class Query(NamedTuple):
    query: str

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.of(self.query, "shop")


def knowing(seconds: Mapping[str, float]) -> QueryBatcher:
    """What is known where each took so long when it was asked alone; the timeout is 5 s."""
    batcher = QueryBatcher(5)
    for query, took in seconds.items():
        batcher.record_single(Fingerprint.of(query, "shop"), "vector", took)
    return batcher


@pytest.mark.parametrize(
    ("seconds", "batches", "alone"),
    [
        ({"a": 0.01, "b": 0.02}, [["a", "b"]], []),
        ({"slow": 0.6, "a": 0.01, "b": 0.02}, [["a", "b"]], ["slow"]),
        ({"a": 0.01, "b": 0.3, "c": 0.3}, [["a", "b"], ["c"]], []),
        ({f"x{chr(97 + i)}": 0.2 for i in range(8)}, [[f"x{chr(97 + i)}" for i in range(8)]], []),
        ({"a": 0.7, "b": 0.7, "c": 0.7}, [], ["a", "b", "c"]),
    ],
    ids=["quick", "one is slow", "no more than a moment", "far away", "all are slow"],
)
def test_how_many_go_together(seconds: Mapping[str, float], batches: list[list[str]], alone: list[str]) -> None:
    found = knowing(seconds).plan_batches(map(Query, seconds))
    assert [[question.query for question in batch.questions] for batch in found.batches] == batches
    assert [question.query for question in found.slow] == alone


def test_slow_ones_go_together_where_it_is_crowded_and_still_not_with_quick_ones() -> None:
    batcher = knowing({"a": 0.01, "b": 0.7, "c": 2.0, "d": 0.01})
    batches, slow, unknown = batcher.plan_batches(map(Query, "abcde"), saturated=True)
    assert [([q.query for q in batch.questions], batch.slow) for batch in batches] == [
        (["a", "d"], False),
        (["b", "c"], True),
    ]
    assert (slow, unknown) == ([], [Query("e")])


def test_where_the_source_is_slow_no_query_is() -> None:
    batcher = knowing({"a": 0.7, "b": 0.7})
    for _ in range(16):
        batcher.record_latency(0.6)
    batches, *_ = batcher.plan_batches(map(Query, "ab"))
    assert [len(batch.questions) for batch in batches] == [2]
    assert batches[0].within > 2


@pytest.mark.parametrize(
    ("queries", "sizes"),
    [
        ([f"x{'y' * i}" for i in range(MAX_QUESTIONS + 1)], [MAX_QUESTIONS, 1]),
        ([f"{chr(97 + i) * (MAX_LENGTH // 2 - 200)}" for i in range(3)], [2, 1]),
    ],
    ids=["number", "characters"],
)
def test_one_query_stays_within_bounds(queries: Sequence[str], sizes: Sequence[int]) -> None:
    batcher = knowing(dict.fromkeys(queries, 0.001))
    batches, *_ = batcher.plan_batches(map(Query, queries))
    assert [len(batch.questions) for batch in batches] == sizes
    assert all(len(batch.query) <= MAX_LENGTH for batch in batches)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('rate(x{a="1"}[4s])', 'rate(x{a="2"}[14s])', True),
        ("x{a='1'}", 'x{a="it\'s \\" two"}', True),
        ("x{a=`1`}", "x{a='2'}", True),
        ("x > 1", "x > 2", False),
        ("x", "y", False),
        ("x[1m]", "x[2m]", False),
    ],
)
def test_what_is_of_one_form(one: str, other: str, same: bool) -> None:
    assert bool(knowing({one: 0.001}).plan_batches([Query(other)])[0]) is same


def test_a_query_that_is_slow_does_not_make_those_of_its_form_slow() -> None:
    batcher = knowing({'x{a="1"}': 0.01, 'x{a="2"}': 2.0})
    batches, slow, _ = batcher.plan_batches([Query('x{a="1"}'), Query('x{a="2"}'), Query('x{a="3"}')])
    assert [[question.query for question in batch.questions] for batch in batches] == [['x{a="1"}', 'x{a="3"}']]
    assert slow == [Query('x{a="2"}')]


def test_what_was_slow_comes_back_after_a_while() -> None:
    batcher = knowing({"x": 3.0})
    looks = 0
    while not batcher.plan_batches([Query("x")])[0]:
        batcher.record_single(Fingerprint.of("x", "shop"), "vector", 0.01)
        looks += 1
    assert looks == 3
