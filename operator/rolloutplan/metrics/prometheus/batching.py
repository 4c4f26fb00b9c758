"""Which questions go as one query. Pure: instants and answers come from outside.

A query may go with others once one of its form has been answered well alone: then it is known to be valid, and whether
it gives a scalar. A form is the query without what its strings and its whole seconds say, so the plans of one template
need not each be asked alone first. How long each takes says how many go together: a slow one keeps no quick one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from rolloutplan.metrics.prometheus.response import BATCH_LABEL

QUICK: Final = 0.5
"""Seconds. What takes longer alone is slow, unless the source is."""
PATIENCE: Final = 8
"""What takes so many times as long as usual is slow; and those that go as one may take so many times as long as the
quickest of them alone."""
MEMORY: Final = 16
"""What is usual is a running mean of about so many."""
MOST: Final = 32
"""Questions in one. More cost less each, until what each `or` copies outweighs that."""
LONGEST: Final = 16_000
"""Characters of one query: VictoriaMetrics takes no more than 16 KiB."""
KEPT: Final = 10_000
"""So many forms, and so many slow queries, are remembered: the latest."""

_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`')
_SECONDS: Final = re.compile(r"\b[0-9]+s\b")
_AROUND: Final = 48
"""Characters that each query gets around it."""


class Fingerprint(NamedTuple):
    """What is remembered of a query's text: hashes, so two that share one may be asked together in vain, no more."""

    text: int
    """Of the query whatever its window: that grows from look to look."""
    form: int
    """Of the query whatever its labels, too."""

    @classmethod
    def of(cls, query: str) -> Fingerprint:
        text = _SECONDS.sub("s", query)
        return cls(hash(text), hash(_STRING.sub('""', text)))


class Asked(Protocol):
    @property
    def query(self) -> str: ...
    @property
    def fingerprint(self) -> Fingerprint: ...


A = TypeVar("A", bound=Asked)
V = TypeVar("V")


class Batch(NamedTuple, Generic[A]):
    """Questions that go as one `query`, which may take `within` seconds; `slow` where it will not be quick."""

    query: str
    questions: Sequence[A]
    within: float
    slow: bool


class BatchPlan(NamedTuple, Generic[A]):
    """Questions by how they are to be asked."""

    batches: list[Batch[A]]
    slow: list[A]
    """Each alone, with all the time that there is."""
    unknown: list[A]
    """Each alone, because none of its form has been answered yet."""


class _Form(NamedTuple):
    kind: object
    """Of its result: scalar, vector."""
    seconds: float
    """How long one took that was not slow, or a row of them together."""


class _Known(NamedTuple, Generic[A]):
    seconds: float
    kind: object
    question: A


class QueryBatcher:
    """What is known of the queries of one source, whose questions end after `timeout` seconds."""

    def __init__(self, timeout: float, quick: float = QUICK) -> None:
        self._timeout = timeout
        self._least = quick
        self._pace = 0.0
        """Seconds that questions take which go as one, as a running mean."""
        self._forms: dict[int, _Form] = {}
        self._slow: dict[int, float] = {}
        """Seconds of single queries that were slow. One that was not answered well counts as the whole timeout."""

    @property
    def quick(self) -> float:
        """Seconds. What takes longer alone is slow."""
        return min(max(self._least, PATIENCE * self._pace), self._timeout / 2)

    # ---- what goes together --------------------------------------------------------------------------------------

    def plan_batches(self, questions: Iterable[A], *, saturated: bool = False) -> BatchPlan[A]:
        """Say how each is to be asked.

        Where it is `saturated`, slow ones go with each other: each alone would be asked too late.
        """
        quick: list[_Known[A]] = []
        slow: list[_Known[A]] = []
        unknown: list[A] = []
        for question in questions:
            form = self._forms.get(question.fingerprint.form)
            if form is None:
                unknown.append(question)
                continue
            known = _Known(self._slow.get(question.fingerprint.text, form.seconds), form.kind, question)
            (quick if known.seconds <= self.quick else slow).append(known)
        quick.sort(key=lambda known: known.seconds)
        batches = [self._batch(row) for row in _rows(quick, self._limit)]
        if not saturated:
            return BatchPlan(batches, _questions(slow), unknown)
        batches += [Batch(_render(row), _questions(row), self._timeout, slow=True) for row in _rows(slow)]
        return BatchPlan(batches, [], unknown)

    def _limit(self, quickest: float) -> float:
        """Seconds that several may take together."""
        return min(max(self.quick, PATIENCE * quickest), self._timeout / 2)

    def _batch(self, row: Sequence[_Known[A]]) -> Batch[A]:
        seconds = sum(known.seconds for known in row)
        within = min(max(self.quick, 2 * seconds), self._timeout / 2)
        return Batch(_render(row), _questions(row), within, slow=seconds > self.quick)

    # ---- what was learnt -----------------------------------------------------------------------------------------

    def record_single(self, fingerprint: Fingerprint, kind: object, seconds: float) -> None:
        """A query was answered well alone; one that was slow is believed to be quick again only after a while."""
        seconds = max(seconds, self._slow.pop(fingerprint.text, 0.0) / 2)
        if seconds > self.quick:
            _keep(self._slow, fingerprint.text, seconds)
            known = self._forms.get(fingerprint.form)
            seconds = known.seconds if known else self.quick
        _keep(self._forms, fingerprint.form, _Form(kind, seconds))

    def record_failure(self, fingerprint: Fingerprint) -> None:
        """A query was not answered well, or went badly with others: it is asked alone for a while."""
        _keep(self._slow, fingerprint.text, self._timeout)

    def record_latency(self, seconds: float) -> None:
        """Some were asked as one, however that ended."""
        self._pace += (seconds - self._pace) / MEMORY

    def record_success(self, fingerprints: Iterable[Fingerprint], seconds: float) -> None:
        """Some were answered well as one: none of them takes longer than all."""
        for fingerprint in fingerprints:
            if self._slow.get(fingerprint.text, 0.0) > seconds:
                self._slow[fingerprint.text] = seconds
            known = self._forms.get(fingerprint.form)
            if known and known.seconds > seconds:
                self._forms[fingerprint.form] = known._replace(seconds=seconds)


def _rows(
    known: Iterable[_Known[A]], limit: Callable[[float], float] = lambda _: math.inf
) -> Iterator[list[_Known[A]]]:
    """Cut what stands in order, the quickest first, into what can go as one."""
    row: list[_Known[A]] = []
    total, length = 0.0, 0
    for one in known:
        size = len(one.question.query) + _AROUND
        if row and (length + size > LONGEST or len(row) == MOST or total + one.seconds > limit(row[0].seconds)):
            yield row
            row, total, length = [], 0.0, 0
        row.append(one)
        total += one.seconds
        length += size
    if row:
        yield row


def _questions(row: Iterable[_Known[A]]) -> list[A]:
    return [known.question for known in row]


def _render(row: Sequence[_Known[A]]) -> str:
    """One query for several, whose series carry the place of theirs in the label `q`."""
    if len(row) == 1:
        return row[0].question.query
    vectors = (  # a query may end in a comment
        f"vector(\n{one.question.query}\n)" if one.kind == "scalar" else f"\n{one.question.query}\n" for one in row
    )
    return " or ".join(f'label_replace({vector}, "{BATCH_LABEL}", "{i}", "", "")' for i, vector in enumerate(vectors))


def _keep(memory: dict[int, V], key: int, value: V) -> None:
    """Remember, the newest last: a dict keeps the order in which its keys came, so the first is what is forgotten."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > KEPT:
        del memory[next(iter(memory))]
