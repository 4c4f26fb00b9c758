"""PlanRun under a host that refuses, delays, repeats, reorders and loses whatever it is asked for, and what it is told.

Each batch lives through stories that once broke a promise, and then through others that are drawn from seeds, one after
the other, until it has done its share of steps. A story that breaks a promise is named by its seed: `python -m
tests.bench.model --seed N` tells it.
"""

from __future__ import annotations

from itertools import chain, count

import pytest

from tests.ordeal import lived_through

STEPS = 20_000
BATCHES = 4
ONCE_BROKEN = (235, 668, 684, 1021, 1027, 1420, 1501, 1504)
"""A report of a refusal that fails itself (668); rollbacks of which no status was ever written (235, 1021).

An answer that comes when the next weight was requested (1027); a removal of which the old Deployment is gone and comes
back (1420); a decision that is published a minute late (1501); a run that is taken up at its last weight, and rolls
back while its statuses are not written (684), or takes the old side away (1504).
"""


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_invariants_hold_whatever_becomes_of_effects_and_events(batch: int) -> None:
    each = len(ONCE_BROKEN) // BATCHES
    steps, seeds = 0, chain(ONCE_BROKEN[each * batch : each * (batch + 1)], count(100_000 * (batch + 1)))
    while steps < STEPS / BATCHES:
        seed = next(seeds)
        ordeal = lived_through(seed)
        assert not ordeal.violations, f"seed {seed}: {ordeal.violations[0]}"
        steps += ordeal.host.steps
