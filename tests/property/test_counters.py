"""Random counters behind replicas that lag: whatever restarts, joins and leaves, no lifetime is ever counted as new."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from rolloutplan.stats.counts import Sample, counter_increase, first_marks
from rolloutplan.stats.verdict import Why
from tests.repetition import times

LOOK = 15
SCRAPE = 60
RUNS = times(100)
PACED = 10
"""Looks until the pace of an instance is known: in them a restart behind a lagging replica cannot be told from none."""


def history(rng: Random, looks: int, *, restarts: bool) -> tuple[list[dict[str, tuple[int, int]]], list[int]]:
    """The counters of each pod, second by look, and how many requests all of them served by then."""
    pods: dict[str, list[int]] = {}
    for i in range(rng.randint(1, 6)):
        served = rng.choice((0, 500, 50_000, 5_000_000))
        pods[f"pod-{i}"] = [served, served // 10]
    seen, true, served_by_all = [], [], 0
    for look in range(looks):
        for counters in pods.values():
            more = int(rng.uniform(0.5, 1.5) * 10 * LOOK)
            if restarts and look > PACED and rng.random() < 0.01:
                counters[:] = [0, 0]
            counters[0] += more
            counters[1] += rng.randint(0, more // 10)
            served_by_all += more
        if rng.random() < 0.03 and len(pods) > 1:
            del pods[rng.choice([*pods])]
        if rng.random() < 0.03:
            pods[f"new-{look}"] = [0, 0]
        seen.append({pod: (counters[0], counters[1]) for pod, counters in pods.items()})
        true.append(served_by_all)
    return seen, true


def answers(rng: Random, seen: list[dict[str, tuple[int, int]]], lag: int, *, merged: bool) -> Iterator[Sample]:
    """What one of two replicas answers, `lag` looks behind; `merged` leaves the pods' names out."""
    for look in range(lag, len(seen)):
        sample = seen[look - rng.choice((0, lag))]
        totals = {f"job/{pod}": (float(total), float(bad)) for pod, (total, bad) in sample.items()}
        if not merged:
            yield totals
            continue
        yield {"/": (sum(total for total, _ in totals.values()), sum(bad for _, bad in totals.values()))}


@pytest.mark.parametrize("merged", [False, True], ids=["a key for each pod", "one key for all"])
@pytest.mark.parametrize("restarts", [False, True], ids=["steady", "restarts"])
def test_no_increase_is_more_than_what_was_served(merged: bool, restarts: bool) -> None:
    for seed in range(RUNS):
        rng = Random(seed)
        lag = rng.choice((0, 1, 2, SCRAPE // LOOK))
        seen, true = history(rng, 120, restarts=restarts)
        samples = list(answers(rng, seen, lag, merged=merged))
        marks, counted, told = first_marks(samples[0], 0), 0, False
        for i, sample in enumerate(samples[1:], 1):
            found = counter_increase(marks, sample, i * LOOK)
            marks, counted = found.marks, counted + found.total
            assert found.bad <= found.total, seed
            if found.problem is not None:
                assert found.problem.gap is Why.NOT_COUNTERS, seed
                told = True
        served = true[-1] - (true[lag - 1] if lag else 0)
        # A young pod's first requests and a restart behind a lagging replica may count again, for some scrapes' worth.
        assert counted <= 1.1 * served + 6 * 3 * SCRAPE * 15, (seed, counted, served)
        if not merged and not restarts:
            assert not told and counted >= 0.5 * served, (seed, counted, served)
