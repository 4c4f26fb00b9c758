"""One metric source: answers every question in time, and batches questions where possible.

Questions come from `tenant.py`, each with the namespace that asks; requests go to `http.py` through a pool of threads.
Questions of one namespace and one turn of the loop for the same instant are sent as one query, as far as `QueryBatcher`
allows; those of a failed batch are sent again, each alone. Identical questions of a namespace are sent once. A question
ends within its timeout whatever the server does; a server that hangs blocks a thread, never the loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.base import ObserveRequest
from rolloutplan.metrics.prometheus.batching import Batch, Fingerprint, QueryBatcher
from rolloutplan.metrics.prometheus.http import PrometheusHttp, Reply
from rolloutplan.metrics.prometheus.response import Counts, Instants, Read, Result, counts, each, number, undecided
from rolloutplan.metrics.prometheus.threads import Threads
from rolloutplan.stats.verdict import Answer, Why

T = TypeVar("T")

REUSED_FOR: Final = 2.0
"""Seconds for which an answer is reused for identical questions: plans that share an instant do not ask at the same
moment."""
MAX_INSTANTS: Final = 100
"""Most instants in one range query."""
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

    def settle(self, value: object) -> None:
        if not self.answer.done():
            self.answer.set_result(value)


class Source:
    """A metric source for one spec. Close it when the spec changes; questions in flight still end."""

    def __init__(self, spec: MetricSourceSpec, observe: ObserveRequest | None = None) -> None:
        self._timeout = spec.timeout.total_seconds()
        self._http = PrometheusHttp(spec, observe)
        self._threads = Threads(spec.max_concurrency, "metrics", self._timeout / 2)
        self._batcher = QueryBatcher(self._timeout, batching=spec.batching == "On")
        self._questions: dict[tuple[object, ...], _Question] = {}
        self._due: list[_Question] = []
        self._canaries: dict[int, _Question] = {}
        """The first question of each form, while it is in flight alone."""
        self._tasks: set[asyncio.Task[object]] = set()

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
        self, query: str, start: datetime, end: datetime, step: timedelta
    ) -> Sequence[tuple[datetime, Counts]] | Answer:
        """What `sample` would return at start, start + step, ... up to `end`; an Answer where one part is missing.

        An instant with a number that is not finite is left out. Ends within the spec's timeout for each 100 instants.
        """
        found: list[tuple[datetime, Counts]] = []
        left = (end - start) // step + 1
        while left > 0:
            part = Instants(start, step, min(left, MAX_INSTANTS))
            last = start + (part.number - 1) * step
            params = {
                "query": query,
                "start": _instant(start),
                "end": _instant(last),
                "step": str(step.total_seconds()),
            }
            reply = await self._request(params, part, time.monotonic() + self._timeout, slow=True)
            if isinstance(reply.value, Answer):
                return reply.value
            found += reply.value
            start, left = last + step, left - part.number
        return found

    def close(self) -> None:
        """Accept no more questions. Does not wait: a thread that hangs ends with its own timeout."""
        self._threads.close()
        self._http.close()

    # ---- identical questions are sent once -----------------------------------------------------------------------

    async def _question(self, read: Read[T], query: str, at: datetime, namespace: str) -> T | Answer:
        now = time.monotonic()
        self._forget(now)
        key = namespace, read, query, at
        question = self._questions.get(key)
        if question is None or (question.answer.done() and _is_outage(question.answer.result())):
            question = _Question(namespace, query, at, read, now, Fingerprint.of(query, namespace))
            self._questions.pop(key, None)
            self._questions[key] = question
            self._due.append(question)
            if len(self._due) == 1:
                asyncio.get_running_loop().call_soon(self._send)
        value: T | Answer = await asyncio.shield(question.answer)  # other callers may wait for it too
        return value

    def _forget(self, now: float) -> None:
        """Forget old answers. A question that is asked again is put last, so the oldest one is first."""
        while self._questions:
            key, oldest = next(iter(self._questions.items()))
            if not oldest.answer.done() or now - oldest.asked < REUSED_FOR:
                return
            del self._questions[key]

    # ---- batches of one turn -------------------------------------------------------------------------------------

    def _send(self) -> None:
        due, self._due = self._due, []
        together: dict[tuple[str, datetime], list[_Question]] = {}
        for question in due:
            together.setdefault((question.namespace, question.at), []).append(question)
        for questions in together.values():
            followers = [question for question in self._dispatch(questions) if not self._as_canary(question)]
            if followers:
                canaries = {self._canaries[question.fingerprint.form].answer for question in followers}
                self._spawn(self._follow(canaries, followers))

    def _as_canary(self, question: _Question) -> bool:
        """Send it alone if no question of its form is in flight yet."""
        form = question.fingerprint.form
        if form in self._canaries:
            return False
        self._canaries[form] = question
        question.answer.add_done_callback(lambda _: self._canaries.pop(form))
        self._spawn(self._single(question), question)
        return True

    async def _follow(self, canaries: set[asyncio.Future[Any]], questions: Sequence[_Question]) -> None:
        """Wait briefly for the canaries; then batch the questions whose form they made known."""
        await asyncio.wait(canaries, timeout=self._batcher.quick)
        for question in self._dispatch(questions):
            self._spawn(self._single(question), question)

    def _dispatch(self, questions: Iterable[_Question]) -> list[_Question]:
        """Send what can be sent now; return the questions whose form is still unknown."""
        batches, slow, unknown = self._batcher.plan_batches(questions, saturated=self._threads.saturated)
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
        params = {"query": batch.query, "time": _instant(questions[0].at)}
        read = partial(each, [question.read for question in questions], batch.rows)
        put = partial(self._request, params, read, deadline)
        reply = await put(within=batch.within, slow=batch.slow)
        self._batcher.record_latency(reply.seconds)
        late = reply.seconds > batch.within / 2
        if late and self._threads.saturated and isinstance(reply.value, Answer):
            reply = await put(slow=True)  # once more: sent alone, they would be too late
        if not isinstance(reply.value, Answer):
            self._batcher.record_success((question.fingerprint for question in questions), reply.seconds)
            for question, value in zip(questions, reply.value, strict=True):
                self._settle(question, value)
        elif reply.affects_all_queries or time.monotonic() >= deadline:
            for question in questions:
                question.settle(reply.value)
        else:
            well = await asyncio.gather(*map(self._single, questions))
            if all(well) and not late:
                for question in questions:
                    self._batcher.record_failure(question.fingerprint)

    async def _single(self, question: _Question) -> bool:
        """Send one question; return whether it succeeded."""
        params = {"query": question.query, "time": _instant(question.at)}
        reply = await self._request(params, _with_kind(question.read), self._deadline(question), slow=True)
        if isinstance(reply.value, Answer):
            if not reply.affects_all_queries:
                self._batcher.record_failure(question.fingerprint)
            question.settle(reply.value)
            return False
        kind, value = reply.value
        self._batcher.record_single(question.fingerprint, kind, reply.seconds)
        return self._settle(question, value)

    def _settle(self, question: _Question, value: object) -> bool:
        well = not isinstance(value, Answer) or value.gap in _ANSWERED_GAPS
        if not well:
            self._batcher.record_failure(question.fingerprint)
        question.settle(value)
        return well

    def _deadline(self, question: _Question) -> float:
        return question.asked + self._timeout

    async def _request(
        self, params: Mapping[str, str], read: Read[T], deadline: float, *, within: float = math.inf, slow: bool
    ) -> Reply[T]:
        """Send a request in a thread."""
        try:
            call = self._threads.submit(partial(self._http.query, params, read, deadline, within), slow=slow)
        except RuntimeError:
            return Reply(undecided(Why.SOURCE_DOWN, "not sent: the source was changed or removed"))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), max(0, deadline - time.monotonic()) + _GRACE)
        except TimeoutError:
            return Reply(undecided(Why.SOURCE_DOWN, f"no answer within {self._timeout:g} s"), late=True)


def _with_kind(read: Read[T]) -> Callable[[Result], tuple[object, T | Answer]]:
    return lambda result: (result.kind, read(result))


def _is_outage(value: object) -> bool:
    return isinstance(value, Answer) and value.gap is Why.SOURCE_DOWN


def _instant(at: datetime) -> str:
    return f"{at.timestamp():.3f}"
