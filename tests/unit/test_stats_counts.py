"""What two scrapes of raw counters give, and what they do not."""

from math import inf, nan

import pytest

from rolloutplan.stats.counts import Sample, counter_delta
from rolloutplan.stats.verdict import Answer, Why


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
        pytest.param({"a": (100, 9)}, {"a": (30, 2)}, (30, 2), id="a reset counts from 0"),
        pytest.param({"a": (100, 2)}, {"a": (30, 9)}, (30, 9), id="a reset with more bad than before"),
        pytest.param({"a": (100, 9)}, {"a": (30, None)}, (30, 0), id="a reset without a bad series"),
        pytest.param({"a": (0.1 + 0.2, 0)}, {"a": (1000.3, 0)}, (1000, 0), id="a sum that is not quite whole"),
        pytest.param({"a": (2.0**53 - 5, 0)}, {"a": (2.0**53, 5)}, (5, 5), id="the largest"),
    ],
)
def test_counts(before: Sample, after: Sample, counts: tuple[int, int]) -> None:
    assert counter_delta(before, after) == counts


@pytest.mark.parametrize(
    ("before", "after", "why", "words"),
    [
        pytest.param((100, 9), (150, 4), Why.NOT_COUNTERS, "fell from 9 to 4", id="bad ran backwards"),
        pytest.param((100, 9), (150, None), Why.NOT_COUNTERS, "fell from 9 to 0", id="bad vanished"),
        pytest.param((100, 1), (105, 9), Why.NOT_COUNTERS, "8 bad of only 5", id="more bad than all"),
        pytest.param((100, 200), (150, 210), Why.NOT_COUNTERS, "bad must be a part of total", id="bad above total"),
        pytest.param((100, 1), (30, 40), Why.NOT_COUNTERS, "40 bad of only 30", id="a reset to more bad than all"),
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
    before: tuple[float, float | None], after: tuple[float, float | None], why: Why, words: str
) -> None:
    found = counter_delta({"a": (1, 0), "pod-1": before}, {"a": (2, 0), "pod-1": after})
    assert isinstance(found, Answer)
    assert (found.value, found.gap) == (None, why)
    assert found.detail.startswith("pod-1: ") and words in found.detail


def test_of_several_the_first_by_name_is_told() -> None:
    """So that a replay says the very words of the run."""
    names = [f"pod-{i}" for i in range(20)]
    found = counter_delta(dict.fromkeys(names, (5, 5)), dict.fromkeys(reversed(names), (6, 4)))
    assert isinstance(found, Answer) and found.detail.startswith("pod-0: ")
