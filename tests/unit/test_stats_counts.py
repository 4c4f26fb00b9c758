"""What samples of raw counters give one after another, and what they do not."""

from collections.abc import Sequence
from math import inf, nan

import pytest

from rolloutplan.stats.counts import LAG, Increase, Marks, Sample, counter_increase, first_marks
from rolloutplan.stats.verdict import Why

Counters = tuple[float, float | None]
LOOK = 15.0


def run(samples: Sequence[Sample], look: float = LOOK) -> list[Increase]:
    """The increase of each sample after the first, `look` seconds apart."""
    marks: Marks = first_marks(samples[0], 0)
    found = []
    for i, sample in enumerate(samples[1:], 1):
        found.append(counter_increase(marks, sample, i * look))
        marks = found[-1].marks
    return found


def one(*counters: Counters, key: str = "job/a", look: float = LOOK) -> list[Increase]:
    return run([{key: each} for each in counters], look)


def steady(looks: int, start: float = 0, rate: float = 10, bad: float = 0.1) -> list[Counters]:
    """An instance with so many requests a second, after it has served `start`."""
    totals = [start + i * rate * LOOK for i in range(looks)]
    return [(total, int(bad * total)) for total in totals]


def together(pods: int, looks: int, start: float) -> list[Counters]:
    """Several such instances under one key."""
    return [(pods * total, pods * (bad or 0)) for total, bad in steady(looks, start)]


def counted(found: Sequence[Increase]) -> tuple[int, int]:
    return sum(each.total for each in found), sum(each.bad for each in found)


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        pytest.param({"a": (100, 1)}, {"a": (150, 4)}, (50, 3), id="both rose"),
        pytest.param({"a": (100, 1)}, {"a": (100, 1)}, (0, 0), id="nothing came"),
        pytest.param({"a": (100, 1), "b": (7, 0)}, {"a": (150, 4), "b": (8, 1)}, (51, 4), id="instances add up"),
        pytest.param({"a": (100, None)}, {"a": (150, None)}, (50, 0), id="no bad series yet"),
        pytest.param({"a": (100, None)}, {"a": (150, 2)}, (50, 2), id="the bad series is born"),
        pytest.param({}, {"a": (150, 4)}, (0, 0), id="seen for the first time"),
        pytest.param({"a": (100, 1)}, {"a": (150, 1), "b": (9, 9)}, (50, 0), id="one of two for the first time"),
        pytest.param({"a": (100, 1), "b": (7, 1)}, {"a": (150, 1)}, (50, 0), id="gone"),
        pytest.param({"a": (100, 9)}, {}, (0, 0), id="all gone"),
        pytest.param({"a": (0.1 + 0.2, 0)}, {"a": (1000.3, 0)}, (1000, 0), id="a sum that is not quite whole"),
        pytest.param({"a": (2.0**53 - 5, 0)}, {"a": (2.0**53, 5)}, (5, 5), id="the largest"),
    ],
)
def test_counts(before: Sample, after: Sample, counts: tuple[int, int]) -> None:
    (found,) = run([before, after])
    assert found.problem is None
    assert (found.total, found.bad) == counts


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        pytest.param((40, 3), (40, 3), id="both fell"),
        pytest.param((40, 40), (40, 40), id="all bad since"),
        pytest.param((40, None), (40, 0), id="without a bad series"),
        pytest.param((0, 0), (0, 0), id="to nothing"),
    ],
)
def test_a_restart_counts_from_0(after: Counters, counts: tuple[int, int]) -> None:
    found = one(*steady(20, 50_000), after)
    assert found[-1].problem is None
    assert (found[-1].total, found[-1].bad) == counts


def test_a_restart_that_could_be_an_older_answer_is_counted_when_that_would_be_too_old() -> None:
    """All of it, from the restart on."""
    looks = int(LAG / LOOK) + 2
    found = one(*steady(3, 3_000), *steady(looks, 100))
    assert all(each.problem is None for each in found)
    assert counted(found) == (300 + 100 + (looks - 1) * 150, 30 + int(0.1 * (100 + (looks - 1) * 150)))


@pytest.mark.parametrize("life", [0, 500_000], ids=["young", "old"])
@pytest.mark.parametrize("lag", [1, 2, 4], ids="{} looks behind".format)
def test_the_older_answer_of_another_replica_counts_nothing_twice(lag: int, life: float) -> None:
    counters = steady(80, life)
    answers = [counters[max(0, i - lag * (i % 2))] for i in range(len(counters))]
    found = one(*answers)
    totals, bads = [total for total, _ in answers], [bad or 0 for _, bad in answers]
    assert all(each.problem is None for each in found)
    assert counted(found) == (max(totals) - totals[0], max(bads) - bads[0])


def test_an_answer_from_before_a_restart_is_not_counted_for_an_instance_that_was_seen_first_after_it() -> None:
    found = one((50, 1), (1_000_000, 400_000), (1_900, 20), (1_000_100, 400_010), (2_500, 26), (4_000, 40))
    assert all(each.problem is None for each in found)
    assert counted(found) == (3_950, 39)


def test_a_leap_of_a_new_instance_is_counted_when_the_next_scrape_confirms_it() -> None:
    found = one((0, 0), (30_000, 30), (60_000, 60), (90_000, 90))
    assert [(each.total, each.bad) for each in found] == [(0, 0), (60_000, 60), (30_000, 30)]
    assert found[1].since == 0


def test_a_leap_after_which_nothing_comes_is_counted_when_it_could_not_be_an_older_answer() -> None:
    found = one((0, 0), *[(30_000.0, 30.0)] * (int(LAG / LOOK) + 2))
    assert counted(found) == (30_000, 30)


def test_what_a_new_instance_can_have_served_is_counted_at_once() -> None:
    assert counted(one((0, 0), (15_000, 30))) == (15_000, 30)


def test_a_pod_that_leaves_a_key_of_several_is_told_and_never_counted_anew() -> None:
    """Neither what is left, nor what returns with all that it ever counted."""
    for key in ("/", "job/", "otel/collector:8889"):
        found = one(*together(3, 20, 50_000), *together(2, 20, 53_000), *together(3, 3, 56_000), key=key)
        told = [each for each in found if each.problem is not None]
        assert len(told) == 20, key
        assert told[0].problem is not None and told[0].problem.gap is Why.NOT_COUNTERS
        assert "too little for a restart: one key counts several pods" in told[0].problem.detail
        assert "keep the labels job and instance of each pod" in told[0].problem.detail
        unpaced = int(LAG / LOOK)
        looks = 19 - unpaced if key.endswith("/") else 19 + 2
        assert counted(found)[0] == 3 * looks * 150, key


def test_counters_without_an_instance_are_never_restarted() -> None:
    found = one(*steady(20, 50_000), (40, 3), key="/")
    assert found[-1].problem is not None and found[-1].problem.gap is Why.NOT_COUNTERS
    looks = 19 - int(LAG / LOOK)
    assert counted(found) == (looks * 150, looks * 15), "from when its pace is known"


def test_an_answer_from_before_a_restart_is_an_older_answer() -> None:
    found = one(*steady(20, 50_000), (40, 3), (53_000, 5_300), (340, 30), (490, 45))
    assert all(each.problem is None for each in found)
    assert counted(found) == (19 * 150 + 490, 19 * 15 + 45)


def test_pods_that_come_back_to_a_key_of_several_are_told() -> None:
    found = one(*together(2, 20, 50_000), *together(3, 3, 53_000), key="/")
    assert found[19].problem is not None and "as if pods had come back to it" in found[19].problem.detail


def test_bad_requests_that_return_are_not_counted_anew() -> None:
    """A series that expires while it is idle comes back with all that it ever counted."""
    found = one((1000, 90), (1100, None), (1200, None), (1300, 91))
    assert [each.problem is not None for each in found] == [True, True, False]
    assert counted(found) == (300, 1)


@pytest.mark.parametrize(
    ("before", "after", "why", "words"),
    [
        pytest.param((100, 9), (150, 4), Why.NOT_COUNTERS, "fell from 9 to 4", id="bad ran backwards"),
        pytest.param((100, 9), (150, None), Why.NOT_COUNTERS, "fell from 9 to 0", id="bad vanished"),
        pytest.param((100, 1), (105, 9), Why.NOT_COUNTERS, "8 bad of only 5", id="more bad than all"),
        pytest.param((100, 200), (150, 210), Why.NOT_COUNTERS, "bad must be a part of total", id="bad above total"),
        pytest.param((100.5, 1), (150.2, 1), Why.NOT_COUNTERS, "not whole numbers", id="a rate"),
        pytest.param((100, 1.5), (150, 2), Why.NOT_COUNTERS, "not whole numbers", id="bad is a rate"),
        pytest.param((-3, 0), (5, 0), Why.NOT_COUNTERS, "not counts", id="a gauge below 0"),
        pytest.param((5, 0), (-3, 0), Why.NOT_COUNTERS, "not counts", id="a gauge that fell below 0"),
        pytest.param((5, 0), (1e300, 0), Why.NOT_COUNTERS, "not counts", id="too large to be exact"),
        pytest.param((100, 1), (nan, 1), Why.NAN, "not numbers", id="NaN"),
        pytest.param((100, nan), (150, 1), Why.NAN, "not numbers", id="bad was NaN"),
        pytest.param((100, 1), (inf, 1), Why.NAN, "not numbers", id="infinite"),
    ],
)
def test_counters_that_contradict_themselves_give_the_reason(
    before: Counters, after: Counters, why: Why, words: str
) -> None:
    (found,) = run([{"a": (1, 0), "pod-1": before}, {"a": (2, 0), "pod-1": after}])
    assert found.problem is not None
    assert (found.problem.value, found.problem.gap) == (None, why)
    assert found.problem.detail.startswith("pod-1: ") and words in found.problem.detail
    assert (found.total, found.bad) == (0, 0)


def test_a_restart_to_more_bad_than_all_is_none() -> None:
    found = one(*steady(20, 50_000), (30, 40))
    assert found[-1].problem is not None and "40 bad of only 30" in found[-1].problem.detail


def test_of_several_the_first_by_name_is_told() -> None:
    """So that a replay says the very words of the run."""
    names = [f"pod-{i}" for i in range(20)]
    (found,) = run([dict.fromkeys(names, (5, 5)), dict.fromkeys(reversed(names), (6, 4))])
    assert found.problem is not None and found.problem.detail.startswith("pod-0: ")
