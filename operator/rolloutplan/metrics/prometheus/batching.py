"""Decides which questions are joined to one query. Pure: `source.py` passes the questions and reports the results.

A batch holds queries of one namespace, each of which was read whole as one closed expression, exactly as it stands in
the batch: whatever its author wrote, it ends where it seems to end. Any other query is always sent alone. A query may
be batched once one of its form was answered successfully alone in its namespace: then it is known whether it gives a
scalar. The form is the query without the content of its strings and its whole seconds, so that plans of one template
need not each be asked alone first. The durations decide how many go together: a slow query must not delay a quick one.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from rolloutplan.metrics.prometheus.response import RowLabels
from rolloutplan.tools.promql.syntax import UnclearError, read_syntax

QUICK_WITHIN: Final = 0.5
"""Seconds. A query that takes longer alone is slow, unless the whole source is."""
SLOW_FACTOR: Final = 8
"""A query that takes so many times the usual duration is slow. A batch may take so many times the duration of its
quickest query alone."""
AVERAGED_OVER: Final = 16
"""The usual duration is a running mean over about so many batches."""
MAX_QUESTIONS: Final = 32
"""Most questions in a batch. Larger batches cost less per question, until the copying of each `or` outweighs that."""
MAX_LENGTH: Final = 16_000
"""Characters of one query: VictoriaMetrics takes no more than 16 KiB."""
MAX_REMEMBERED: Final = 1_000
"""The number of forms, and of slow queries, that are remembered for each namespace: the latest."""
MAX_BYTES: Final = 8 << 20
"""Of what is remembered of queries that were read. Those of a thousand plans take 4 MiB."""

_SECONDS: Final = re.compile(r"\b[0-9]+s\b")
_OVERHEAD: Final = 80
"""Characters added around each query, with its row labels."""


class Fingerprint(NamedTuple):
    """What is remembered of a query's text. If two hashes collide, the only harm is a batch that fails."""

    text: int
    """Hash of the namespace and the query without its window, which grows with each evaluation."""
    form: int
    """Hash of the namespace and the query without its labels, too."""
    closed: bool
    """Whether this very text is one closed expression: nothing in it can end what is written around it."""

    @classmethod
    def of(cls, query: str, namespace: str) -> Fingerprint:
        """The fingerprint of a query; that of one that was read lately is remembered."""
        key = namespace, query
        if (known := _fingerprints.get(key)) is not None:
            return known
        text = _SECONDS.sub("s", query)
        try:
            found = cls(hash((namespace, text)), hash((namespace, read_syntax(query).form())), closed=True)
        except UnclearError:
            found = cls(hash((namespace, text)), hash(key), closed=False)
        _fingerprints.keep(key, found)
        return found


class _Fingerprints(dict[tuple[str, str], Fingerprint]):
    """The fingerprints of the queries that were read, by namespace and text.

    It is emptied when it takes too much memory: then each query is read once more, and a look-up costs no more than
    that of a dict.
    """

    size = 0

    def keep(self, key: tuple[str, str], found: Fingerprint) -> None:
        self.size += sum(map(sys.getsizeof, (key, *key, found, *found)))
        if self.size > MAX_BYTES:
            self.clear()
            self.size = 0
        self[key] = found


_fingerprints: Final = _Fingerprints()


class BatchQuestion(Protocol):
    @property
    def query(self) -> str: ...
    @property
    def fingerprint(self) -> Fingerprint: ...


A = TypeVar("A", bound=BatchQuestion)
V = TypeVar("V")


class Batch(NamedTuple, Generic[A]):
    """Questions joined to one `query`, which may take `within` seconds; `slow` where it is expected to be slow.

    `rows` tells the series of each question apart.
    """

    query: str
    rows: RowLabels
    questions: Sequence[A]
    within: float
    slow: bool


class BatchPlan(NamedTuple, Generic[A]):
    """Questions, grouped by the way in which they are to be sent."""

    batches: list[Batch[A]]
    slow: list[A]
    """Sent alone, each with all the time that is left; also those that are not closed expressions."""
    unknown: list[A]
    """Sent alone, because no query of their form has been answered yet."""


class _Form(NamedTuple):
    kind: object
    """The type of its result: scalar, vector."""
    seconds: float
    """The duration of one that was not slow, or of a batch with one."""


class _Known(NamedTuple, Generic[A]):
    seconds: float
    kind: object
    question: A


class QueryBatcher:
    """Knowledge about the queries of one source, whose questions time out after `timeout` seconds.

    Without `batching`, each is sent alone.
    """

    def __init__(self, timeout: float, quick: float = QUICK_WITHIN, *, batching: bool = True) -> None:
        self._batching = batching
        self._timeout = timeout
        self._quick_floor = quick
        self._mean_seconds = 0.0
        """Seconds that a batch takes, as a running mean."""
        self._forms: dict[int, _Form] = {}
        self._slow: dict[int, float] = {}
        """Seconds of single queries that were slow. One that failed counts as the whole timeout."""

    @property
    def quick(self) -> float:
        """Seconds. A query that takes longer alone is slow."""
        return min(max(self._quick_floor, SLOW_FACTOR * self._mean_seconds), self._timeout / 2)

    # ---- planning ------------------------------------------------------------------------------------------------

    def plan_batches(self, questions: Iterable[A], *, saturated: bool = False) -> BatchPlan[A]:
        """Plan how to send each question. All are of one namespace.

        Where the threads are `saturated`, slow queries are batched with each other: sent alone, they would be too late.
        """
        quick: list[_Known[A]] = []
        slow: list[_Known[A]] = []
        unknown: list[A] = []
        alone: list[A] = []
        for question in questions:
            if not (self._batching and question.fingerprint.closed):
                alone.append(question)
                continue
            form = self._forms.get(question.fingerprint.form)
            if form is None:
                unknown.append(question)
                continue
            known = _Known(self._slow.get(question.fingerprint.text, form.seconds), form.kind, question)
            (quick if known.seconds <= self.quick else slow).append(known)
        quick.sort(key=lambda known: known.seconds)
        batches = [self._batch(row) for row in _rows(quick, self._limit)]
        if not saturated:
            return BatchPlan(batches, alone + _questions(slow), unknown)
        batches += [_joined(row, self._timeout, slow=True) for row in _rows(slow)]
        return BatchPlan(batches, alone, unknown)

    def _limit(self, quickest: float) -> float:
        """Seconds that a batch may take."""
        return min(max(self.quick, SLOW_FACTOR * quickest), self._timeout / 2)

    def _batch(self, row: Sequence[_Known[A]]) -> Batch[A]:
        seconds = sum(known.seconds for known in row)
        within = min(max(self.quick, 2 * seconds), self._timeout / 2)
        return _joined(row, within, slow=seconds > self.quick)

    # ---- learning ------------------------------------------------------------------------------------------------

    def record_single(self, fingerprint: Fingerprint, kind: object, seconds: float) -> None:
        """Record a success alone. A query that was slow counts as quick again only after several of them."""
        seconds = max(seconds, self._slow.pop(fingerprint.text, 0.0) / 2)
        if seconds > self.quick:
            _keep(self._slow, fingerprint.text, seconds)
            known = self._forms.get(fingerprint.form)
            seconds = known.seconds if known else self.quick
        _keep(self._forms, fingerprint.form, _Form(kind, seconds))

    def record_failure(self, fingerprint: Fingerprint) -> None:
        """Record a failure, alone or in a batch: the query is sent alone for a while."""
        _keep(self._slow, fingerprint.text, self._timeout)

    def record_latency(self, seconds: float) -> None:
        """Record the duration of a batch, whatever its result."""
        self._mean_seconds += (seconds - self._mean_seconds) / AVERAGED_OVER

    def record_success(self, fingerprints: Iterable[Fingerprint], seconds: float) -> None:
        """Record the success of a batch: no query in it takes longer than the whole."""
        for fingerprint in fingerprints:
            if self._slow.get(fingerprint.text, 0.0) > seconds:
                self._slow[fingerprint.text] = seconds
            known = self._forms.get(fingerprint.form)
            if known and known.seconds > seconds:
                self._forms[fingerprint.form] = known._replace(seconds=seconds)


def _rows(
    known: Iterable[_Known[A]], limit: Callable[[float], float] = lambda _: math.inf
) -> Iterator[list[_Known[A]]]:
    """Split queries, sorted with the quickest first, into batches."""
    row: list[_Known[A]] = []
    total, length = 0.0, 0
    for one in known:
        size = len(one.question.query) + _OVERHEAD
        if row and (
            length + size > MAX_LENGTH or len(row) == MAX_QUESTIONS or total + one.seconds > limit(row[0].seconds)
        ):
            yield row
            row, total, length = [], 0.0, 0
        row.append(one)
        total += one.seconds
        length += size
    if row:
        yield row


def _questions(row: Iterable[_Known[A]]) -> list[A]:
    return [known.question for known in row]


def _joined(row: Sequence[_Known[A]], within: float, *, slow: bool) -> Batch[A]:
    rows = RowLabels.new(len(row))
    return Batch(_render(row, rows), rows, _questions(row), within, slow)


def _render(row: Sequence[_Known[A]], rows: RowLabels) -> str:
    """One query for several; the label `rows.name` of each series says whose it is."""
    if len(row) == 1:
        return row[0].question.query
    vectors = (  # a query may end in a comment
        f"vector(\n{one.question.query}\n)" if one.kind == "scalar" else f"\n{one.question.query}\n" for one in row
    )
    labelled = zip(vectors, rows.values, strict=True)
    return " or ".join(f'label_replace({vector}, "{rows.name}", "{value}", "", "")' for vector, value in labelled)


def _keep(memory: dict[int, V], key: int, value: V) -> None:
    """Remember a value, the newest last: a dict keeps the order of insertion, so its first key is the one to forget."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MAX_REMEMBERED:
        del memory[next(iter(memory))]
