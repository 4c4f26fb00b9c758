"""`make bench-model`: a million steps of PlanRun under a hostile host, and how often a promise was broken.

The stories are drawn from seeds: the same on every machine. `--seed N` lives through one of them and tells it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import Pool, cpu_count

from tests.bench.table import Row, text
from tests.ordeal import lived_through

STEPS = 1_000_000
MOST = 100_000
"""Stories at the most: the loop ends by itself, whatever is asked for."""
AT_ONCE = 20
"""Stories in one piece of work."""


@dataclass
class Lived:
    """What came of some stories."""

    stories: int = 0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str, str]] = field(default_factory=list)
    """The seed of a story, the promise that it broke, and the words."""

    def add(self, other: Lived) -> None:
        self.stories += other.stories
        self.steps += other.steps
        self.counts += other.counts
        self.broken += other.broken


def live(first: int) -> Lived:
    """Live through the stories of the seeds from this one on."""
    lived = Lived()
    for seed in range(first, first + AT_ONCE):
        ordeal = lived_through(seed)
        found = [(seed, name, words) for name, words in ordeal.violations]
        lived.add(Lived(1, ordeal.host.steps, Counter(ordeal.host.counts), found))
    return lived


def tell(seed: int) -> int:
    """Tell one story: what happened, what was decided, and what was not as it must be."""
    ordeal = lived_through(seed)
    for at, words in ordeal.told:
        print(f"{at:%H:%M:%S} {words}")
    for decision in ordeal.world.trail.values():
        print(f"{decision.at:%H:%M:%S} {decision.reason}: {decision.note}")
    for name, words in ordeal.violations:
        print(f"BROKEN {name}: {words}")
    return bool(ordeal.violations)


def rows(lived: Lived, seconds: float, wanted: int) -> Iterator[Row]:
    figure = f"steps of PlanRun under a hostile host, {lived.stories:,} stories, {seconds:.0f} s"
    yield Row(figure, f">= {wanted:,}", f"{lived.steps:,}", lived.steps >= wanted)
    yield Row("promises broken", "0", str(len(lived.broken)), not lived.broken)
    for name, times in lived.counts.most_common():
        yield Row(name, "> 0", f"{times:,}", times > 0)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tests.bench.model")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, help="live through this story alone, and tell it")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return tell(chosen.seed)
    began, lived = time.monotonic(), Lived()
    with Pool(cpu_count()) as pool:
        for some in pool.imap_unordered(live, range(0, MOST, AT_ONCE)):
            lived.add(some)
            if lived.steps >= chosen.steps:
                break
        pool.terminate()
    print(text(rows(lived, time.monotonic() - began, chosen.steps)))
    for seed, name, words in lived.broken[:20]:
        print(f"\nseed {seed}: {name}: {words}")
    return 0


sys.exit(main())
