"""What many do at once is spread over so much time as those need who do it, and no more."""

from collections import Counter
from uuid import UUID

import pytest

from rolloutplan.loop.stagger import CLAIMED_A_SECOND, JUDGED_A_SECOND, Offsets, Stagger
from tests.world import START

KEYS = [f"shop/{UUID(int=number * 7919)}" for number in range(5000)]


def test_one_who_counts_hardly_waits_whoever_else_there_is() -> None:
    stagger = Stagger(125)
    for key in KEYS:
        stagger.join(key)
    for key in KEYS[1:]:
        stagger.leave(key)
    assert stagger.offset(KEYS[0]) < 1 / 125
    stagger.clear()
    assert stagger.offset(KEYS[0]) == 0


@pytest.mark.parametrize("many", [10, 500, 5000])
def test_so_many_do_it_in_a_second_as_may(many: int) -> None:
    stagger = Stagger(125)
    for key in KEYS[:many]:
        stagger.join(key)
        stagger.join(key)
    offsets = [stagger.offset(key) for key in KEYS[:many]]
    assert min(offsets) >= 0 and max(offsets) < many / 125
    assert max(Counter(int(offset) for offset in offsets).values()) < 125 * 1.5


def test_each_keeps_its_place_while_as_many_take_part() -> None:
    stagger = Stagger(125)
    for key in KEYS[:100]:
        stagger.join(key)
    before = stagger.offset(KEYS[3])
    stagger.leave(KEYS[0])
    stagger.join(KEYS[200])
    assert stagger.offset(KEYS[3]) == before


@pytest.mark.parametrize("many", [1, 50, 1000])
def test_a_new_leader_claims_runs_when_it_has_judged_them_all_and_then_so_many_a_second(many: int) -> None:
    offsets = Offsets()
    offsets.lead(START, KEYS[:many])
    claims = [(offsets.claim_at(key) - START).total_seconds() for key in KEYS[:many]]
    judged = many / JUDGED_A_SECOND
    assert judged <= min(claims) and max(claims) <= judged + many / CLAIMED_A_SECOND
