"""What all sources of the process share, shared out by the namespace that asks. `pool.py` makes one for all sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rolloutplan.metrics.fair_share import FairShare
from rolloutplan.metrics.prometheus.limits import ANSWERS_TOTAL, COUNTERS_TOTAL, QUESTIONS_TOTAL, Limit
from rolloutplan.metrics.prometheus.threads import Threads


@dataclass(frozen=True, slots=True)
class Capacity:
    """Threads for requests, and bytes of what they are for.

    `count_limit` is called on the event loop for each question or answer that met a limit.
    """

    count_limit: Callable[[Limit], None] = lambda _: None
    threads: Threads = field(default_factory=Threads)
    answers: FairShare = field(default_factory=lambda: FairShare(ANSWERS_TOTAL))
    """Bodies that are being read."""
    questions: FairShare = field(default_factory=lambda: FairShare(QUESTIONS_TOTAL))
    """Questions that wait for an answer, or whose answer is kept for identical ones."""
    counters: FairShare = field(default_factory=lambda: FairShare(COUNTERS_TOTAL))
    """Counters that are kept for identical questions."""
