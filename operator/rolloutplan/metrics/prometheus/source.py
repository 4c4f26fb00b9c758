"""One metric source: answers every question in time, and batches questions where possible.

Questions come from `tenant.py`, each with the namespace that asks; requests go to `http.py` through a pool of threads.
Questions of one namespace and one turn of the loop for the same instant are sent as one query, as far as `QueryBatcher`
allows; those of a failed batch are sent again, each alone. Identical questions of a namespace are sent once. A question
ends within its timeout whatever the server does; a server that hangs blocks a thread, never the loop.

What all sources share (`capacity.py`) is shared out by namespace: threads, bytes of answers, and questions that wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.access import Access
from rolloutplan.metrics.base import ObserveRequest
from rolloutplan.metrics.prometheus.batching import Batch, Fingerprint, QueryBatcher
from rolloutplan.metrics.prometheus.capacity import Capacity
from rolloutplan.metrics.prometheus.http import CHANGED, PrometheusHttp, Reply
from rolloutplan.metrics.prometheus.limits import INSTANCE_BYTES, QUESTION_BYTES, Limit, no_place
from rolloutplan.metrics.prometheus.response import Counts, Instants, Read, Result, counts, each, number, undecided
from rolloutplan.stats.verdict import Answer, Why

T = TypeVar("T")

REUSED_FOR: Final = 2.0
"""Seconds for which an answer is reused for identical questions: plans that share an instant do not ask at the same
moment."""
FORGETS_EVERY: Final = 0.1
"""Shortest time between two looks for answers that are not reused any more, in seconds: one look for many answers, and
little beside `REUSED_FOR`."""
MAX_INSTANTS: Final = 100
"""Most instants in one range query."""
MAX_NAMESPACES: Final = 1000
"""Namespaces whose queries are remembered: those that asked last. Of others, one query is asked alone first again."""
MAX_AT_ONCE: Final = 128
"""Questions that are sent in one turn of the loop: a few milliseconds, and as many as four batches hold."""
_TOO_LONG: Final = frozenset({Limit.LENGTH, Limit.VALUES, Limit.BYTES})
_GRACE: Final = 0.25
_CLOSING: Final = undecided(Why.SOURCE_DOWN, "not sent: the operator is stopping")
_ANSWERED_GAPS: Final = frozenset({None, Why.NO_DATA, Why.NAN})
"""The gaps (None: no gap) with which a query may still be batched."""


@dataclass(slots=True, eq=False)
class _Question:
    namespace: str
    query: str
    at: datetime
    read: Callable[[Result], Any]
    asked: float
    fingerprint: Fingerprint
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    weight: int = 0
    """Bytes that its answer takes of the kept counters."""
    expires: float = 0.0
    """When its answer is not reused any more, in the loop's time."""

    @property
    def key(self) -> tuple[object, ...]:
        """What identical questions have in common."""
        return self.namespace, self.read, self.query, self.at

    def settle(self, value: object) -> None:
        if not self.answer.done():
            self.answer.set_result(value)


class Source:
    """A metric source for one spec. Close it when the spec changes; questions in flight still end."""

    def __init__(
        self,
        spec: MetricSourceSpec,
        observe: ObserveRequest | None = None,
        capacity: Capacity | None = None,
        access: Access | None = None,
    ) -> None:
        self._timeout = spec.timeout.total_seconds()
        self._capacity = capacity or Capacity()
        self._http = PrometheusHttp(spec, observe, self._capacity.answers, access)
        self._threads = self._capacity.threads.lane(spec.max_concurrency, self._timeout / 2)
        self._batching = spec.batching == "On"
        self._batchers: dict[str, QueryBatcher] = {}
        """What is known of each namespace's queries; the namespace that asked last is last."""
        self._questions: dict[tuple[object, ...], _Question] = {}
        self._due: list[_Question] = []
        self._canaries: dict[int, _Question] = {}
        """The first question of each form, while it is in flight alone."""
        self._tasks: set[asyncio.Task[object]] = set()
        self._kept: deque[_Question] = deque()
        """Those whose answers are reused; the one that expires first is first."""
        self._forgetting: asyncio.TimerHandle | None = None
        """The next look for answers that expired; None where none is kept."""
        self._closed = False

    async def ask(self, query: str, at: datetime, namespace: str) -> Answer:
        """Query one value at the instant `at` for a namespace. Never raises; ends within the spec's timeout + 0.5 s.

        The time spent waiting behind slower queries counts.
        """
        return await self._question(number, query, at, namespace)

    async def sample(self, query: str, at: datetime, namespace: str) -> Counts | Answer:
        """Query counters, `sum by (job, instance) (SELECTOR)`, at the instant `at`; otherwise as `ask`.

        Empty where there is no series; an Answer is a gap for all instances.
        """
        return await self._question(counts, query, at, namespace)

    async def samples(
        self, query: str, start: datetime, end: datetime, step: timedelta, namespace: str
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        """What `sample` would return at start, start + step, ... up to `end`; an Answer where one part is missing.

        An instant with a number that is not finite is left out. Ends within the spec's timeout for each 100 instants.
        Where an answer is too long, fewer instants are asked for at once.
        """
        if not self._capacity.questions.take(namespace, size := _size(query)):
            return self._refused(namespace)
        try:
            return await self._ranges(query, start, end, step, namespace)
        finally:
            self._capacity.questions.give(namespace, size)

    async def _ranges(
        self, query: str, start: datetime, end: datetime, step: timedelta, namespace: str
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        found: list[tuple[datetime, Counts]] = []
        left, most = (end - start) // step + 1, MAX_INSTANTS
        due, deadline = 0, 0.0
        while left > 0:
            if due <= 0:
                due, deadline = MAX_INSTANTS, time.monotonic() + self._timeout
            part = Instants(start, step, min(left, most))
            last = start + (part.number - 1) * step
            params = {
                "query": query,
                "start": _instant(start),
                "end": _instant(last),
                "step": str(step.total_seconds()),
            }
            reply = await self._request(params, part, deadline, namespace, slow=True)
            if isinstance(reply.value, Answer):
                if reply.limit not in _TOO_LONG or part.number == 1:
                    return reply.value
                most = part.number // 2
                continue
            found += reply.value
            start, left, due = last + step, left - part.number, due - part.number
        return found

    def close(self) -> None:
        """Accept no more questions. Does not wait: what is under way ends a second later at the latest."""
        self._closed = True
        self._threads.close()
        self._http.close()
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forget_until(math.inf)

    # ---- identical questions are sent once -----------------------------------------------------------------------

    async def _question(self, read: Read[T], query: str, at: datetime, namespace: str) -> T | Answer:
        key = namespace, read, query, at
        question = self._questions.get(key)
        if question is None or (question.answer.done() and _is_outage(question.answer.result())):
            if not self._capacity.questions.take(namespace, _size(query)):
                return self._refused(namespace)
            question = _Question(namespace, query, at, read, time.monotonic(), Fingerprint.of(query, namespace))
            self._questions[key] = question
            question.answer.add_done_callback(partial(self._answered, question))
            self._due.append(question)
            if len(self._due) == 1:
                asyncio.get_running_loop().call_soon(self._send)
        value: T | Answer = await asyncio.shield(question.answer)  # other callers may wait for it too
        return value

    def _refused(self, namespace: str) -> Answer:
        self._capacity.count_limit(Limit.QUESTIONS)
        held, total = self._capacity.questions.held(namespace) >> 20, self._capacity.questions.total >> 20
        words = f"not sent: the questions of namespace {namespace} that wait for an answer take {held} MiB"
        return undecided(Why.SOURCE_DOWN, f"{words}, its share of the {total} MiB for all: write fewer predicates")

    def _answered(self, question: _Question, answer: asyncio.Future[Any]) -> None:
        """Keep an answer for a while, for identical questions. Counters of many instances only as far as they fit."""
        counted = 0 if answer.cancelled() or isinstance(answer.result(), Answer) else len(answer.result())
        weight = counted * INSTANCE_BYTES
        if self._closed or not self._capacity.counters.take(question.namespace, weight):
            self._forget(question)
            return
        loop = asyncio.get_running_loop()
        question.weight, question.expires = weight, loop.time() + REUSED_FOR
        self._kept.append(question)
        if self._forgetting is None:
            self._forgetting = loop.call_later(REUSED_FOR, self._forget_expired)

    def _forget_expired(self) -> None:
        """Forget the answers that expired. A timer for each of them would cost several percent of asking."""
        loop = asyncio.get_running_loop()
        self._forget_until(now := loop.time())
        self._forgetting = None
        if self._kept:
            wait = max(FORGETS_EVERY, self._kept[0].expires - now)
            self._forgetting = loop.call_later(wait, self._forget_expired)

    def _forget_until(self, instant: float) -> None:
        """Forget the answers that expire until then."""
        while self._kept and self._kept[0].expires <= instant:
            question = self._kept.popleft()
            self._capacity.counters.give(question.namespace, question.weight)
            self._forget(question)

    def _forget(self, question: _Question) -> None:
        if self._questions.get(question.key) is question:
            del self._questions[question.key]
        self._capacity.questions.give(question.namespace, _size(question.query))

    # ---- batches of one turn -------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send the oldest of what is due. The rest follows in later turns of the loop, with other work in between."""
        due, self._due = self._due[:MAX_AT_ONCE], self._due[MAX_AT_ONCE:]
        if self._due:
            asyncio.get_running_loop().call_soon(self._send)
        together: dict[tuple[str, datetime], list[_Question]] = {}
        for question in due:
            together.setdefault((question.namespace, question.at), []).append(question)
        for (namespace, _), questions in together.items():
            unknown = self._dispatch(questions, namespace)
            followers = [question for question in unknown if not self._as_canary(question)]
            if followers:
                canaries = {self._canaries[question.fingerprint.form].answer for question in followers}
                self._spawn(self._follow(canaries, followers, namespace))

    def _batcher(self, namespace: str) -> QueryBatcher:
        """What is known of a namespace's queries: nobody else's can displace it, or make them look slow."""
        batcher = self._batchers.pop(namespace, None) or QueryBatcher(self._timeout, batching=self._batching)
        self._batchers[namespace] = batcher
        if len(self._batchers) > MAX_NAMESPACES:
            del self._batchers[next(iter(self._batchers))]
        return batcher

    def _as_canary(self, question: _Question) -> bool:
        """Send it alone if no question of its form is in flight yet."""
        form = question.fingerprint.form
        if form in self._canaries:
            return False
        self._canaries[form] = question
        question.answer.add_done_callback(lambda _: self._canaries.pop(form))
        self._spawn(self._single(question), question)
        return True

    async def _follow(self, canaries: set[asyncio.Future[Any]], questions: Sequence[_Question], namespace: str) -> None:
        """Wait briefly for the canaries; then batch the questions whose form they made known."""
        await asyncio.wait(canaries, timeout=self._batcher(namespace).quick)
        for question in self._dispatch(questions, namespace):
            self._spawn(self._single(question), question)

    def _dispatch(self, questions: Iterable[_Question], namespace: str) -> list[_Question]:
        """Send what can be sent now; return the questions whose form is still unknown. All are of one namespace."""
        saturated = self._threads.saturated(namespace)
        batches, slow, unknown = self._batcher(namespace).plan_batches(questions, saturated=saturated)
        for batch in batches:
            self._spawn(self._batched(batch), *batch.questions)
        for question in slow:
            self._spawn(self._single(question), question)
        return unknown

    def _spawn(self, coroutine: Coroutine[Any, Any, object], *questions: _Question) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)

        def done(task: asyncio.Task[object]) -> None:
            self._tasks.discard(task)
            for question in questions:
                question.settle(_CLOSING)

        task.add_done_callback(done)

    async def _batched(self, batch: Batch[_Question]) -> None:
        """Send a batch; if it fails, send each question alone in the time that is left."""
        questions, deadline = batch.questions, min(map(self._deadline, batch.questions))
        namespace = questions[0].namespace
        batcher = self._batcher(namespace)
        params = {"query": batch.query, "time": _instant(questions[0].at)}
        read = partial(each, [question.read for question in questions], batch.rows)
        put = partial(self._request, params, read, deadline, namespace)
        reply = await put(within=batch.within, slow=batch.slow)
        batcher.record_latency(reply.seconds)
        late = reply.seconds > batch.within / 2
        if late and self._threads.saturated(namespace) and isinstance(reply.value, Answer):
            reply = await put(slow=True)  # once more: sent alone, they would be too late
        if not isinstance(reply.value, Answer):
            batcher.record_success((question.fingerprint for question in questions), reply.seconds)
            for question, value in zip(questions, reply.value, strict=True):
                self._settle(question, value)
        elif reply.affects_all_queries or time.monotonic() >= deadline:
            for question in questions:
                question.settle(reply.value)
        else:
            well = await asyncio.gather(*map(self._single, questions))
            if all(well) and not late:
                for question in questions:
                    batcher.record_failure(question.fingerprint)

    async def _single(self, question: _Question) -> bool:
        """Send one question; return whether it succeeded."""
        params = {"query": question.query, "time": _instant(question.at)}
        read, batcher = _with_kind(question.read), self._batcher(question.namespace)
        reply = await self._request(params, read, self._deadline(question), question.namespace, slow=True)
        if isinstance(reply.value, Answer):
            if not reply.affects_all_queries:
                batcher.record_failure(question.fingerprint)
            question.settle(reply.value)
            return False
        kind, value = reply.value
        batcher.record_single(question.fingerprint, kind, reply.seconds)
        return self._settle(question, value)

    def _settle(self, question: _Question, value: object) -> bool:
        well = not isinstance(value, Answer) or value.gap in _ANSWERED_GAPS
        if not well:
            self._batcher(question.namespace).record_failure(question.fingerprint)
        question.settle(value)
        return well

    def _deadline(self, question: _Question) -> float:
        return question.asked + self._timeout

    async def _request(
        self,
        params: Mapping[str, str],
        read: Read[T],
        deadline: float,
        namespace: str,
        *,
        within: float = math.inf,
        slow: bool,
    ) -> Reply[T]:
        """Send a request in a thread."""
        query = partial(self._http.query, params, read, deadline, within, namespace)
        try:
            call = self._threads.submit(query, namespace=namespace, slow=slow)
        except RuntimeError:
            return Reply(undecided(Why.SOURCE_DOWN, CHANGED))
        try:
            reply = await asyncio.wait_for(asyncio.wrap_future(call), max(0, deadline - time.monotonic()) + _GRACE)
        except TimeoutError:
            if not call.cancelled():
                return Reply(undecided(Why.SOURCE_DOWN, f"no answer within {self._timeout:g} s"), late=True)
            error = no_place(namespace)
            reply = Reply(undecided(error.why, str(error)), late=True, limit=error.limit)
        except RuntimeError as error:
            return Reply(undecided(Why.SOURCE_DOWN, f"not asked: {error}: raise the limit of the operator's processes"))
        if reply.limit is not None:
            self._capacity.count_limit(reply.limit)
        return reply


def _with_kind(read: Read[T]) -> Callable[[Result], tuple[object, T | Answer]]:
    return lambda result: (result.kind, read(result))


def _size(query: str) -> int:
    """Bytes that a question takes."""
    return len(query) + QUESTION_BYTES


def _is_outage(value: object) -> bool:
    return isinstance(value, Answer) and value.gap is Why.SOURCE_DOWN


def _instant(at: datetime) -> str:
    return f"{at.timestamp():.3f}"
