"""The limits that a question or its answer can meet. Pure: `exchange.py`, `http.py` and `source.py` obey them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from rolloutplan.stats.verdict import Why

LONGEST_HEAD: Final = 16 << 10
"""Bytes of an answer's head, with all interim answers (100 Continue). Prometheus sends 150; proxies add some."""
MOST_FIELDS: Final = 64
"""Header lines of an answer. Prometheus sends five."""
LONGEST_ANSWER: Final = 1 << 20
"""Bytes. One number needs about 150; a longer answer than this has thousands of series."""
FRAMING: Final = 2
"""How many times the longest body may come over the wire: chunks, their sizes and trailers add to it."""
MOST_PIECES: Final = 4096
"""Reads of one body: a mebibyte in pieces of 256 bytes. Each costs Python's time, however few bytes it brings."""
MOST_VALUES: Final = 30_000
"""Brackets and commas of an answer: 3,000 series with their labels have 21,000. JSON with so many is parsed in a few
milliseconds, in which nothing else runs, and takes a few MiB."""
MOST_INSTANCES: Final = 3000
"""Series of one query for counters: the pods of a side. Each is kept for as long as its predicate counts."""
LONGEST_INSTANCE: Final = 256
"""Characters of `job/instance`; kept as long."""
LONGEST_WORDS: Final = 2000
"""Characters of a message of the source that are looked at: patterns are searched in them."""
ANSWERS_TOTAL: Final = 8 << 20
"""Bytes of the bodies that are being read at the same time, for all sources: four of one namespace that are as long as
may be."""
FREE_BYTES: Final = 64 << 10
"""Bytes of each body that do not count towards `ANSWERS_TOTAL`: an answer with a few numbers is always read."""
QUESTIONS_TOTAL: Final = 32 << 20
"""Bytes of the questions that wait for an answer, for all sources; 10,000 of one namespace fit in its half."""
QUESTION_BYTES: Final = 1024
"""What a question takes beside its text."""

COUNTERS_TOTAL: Final = 8 << 20
"""Bytes of counters that are kept for identical questions, for all sources. Without room, they are asked again."""
INSTANCE_BYTES: Final = 256
"""What the counter of one instance takes."""


class Limit(StrEnum):
    """Which limit it was; the label of a metric."""

    PLACES = "places"
    QUESTIONS = "questions"
    HEAD = "head"
    LENGTH = "length"
    VALUES = "values"
    BYTES = "bytes"


class LimitError(Exception):
    """An answer met a limit. The message says which; `why` is what the answer counts as."""

    def __init__(self, limit: Limit, words: str, why: Why = Why.SOURCE_DOWN) -> None:
        super().__init__(words)
        self.limit, self.why = limit, why


def no_place(namespace: str) -> LimitError:
    """Why a query was not sent in its time."""
    words = f"not sent in time: other queries of namespace {namespace} took its share of the requests under way"
    return LimitError(Limit.PLACES, f"{words}: write fewer predicates, or a longer interval")
