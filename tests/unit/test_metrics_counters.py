"""What is asked to count requests and bad ones, and which bounds of slowness can be counted."""

from typing import Any

import pytest

from rolloutplan.api.predicate import Events
from rolloutplan.metrics.prometheus.counters import bounds_query, counter_queries, no_bound, unreadable

BY = "sum by (job, instance)"


def events(**written: Any) -> Events:
    return Events.model_validate(written)


def test_counters_are_summed_as_they_are() -> None:
    selectors = {"total": 'http_requests_total{a="b"}', "bad": 'http_requests_total{a="b",code=~"5.."}'}
    assert counter_queries(events(**selectors)) == (f"{BY} ({selectors['total']})", f"{BY} ({selectors['bad']})")


def test_a_comment_swallows_no_bracket() -> None:
    selectors = {"total": '{"http.requests"} # all', "bad": 'http_requests_total{a="#b"}'}
    total, bad = counter_queries(events(**selectors))
    assert (total, bad) == (f'{BY} ({{"http.requests"}})', f"{BY} ({selectors['bad']})")


def test_a_histogram_that_a_variable_made_unreadable_is_told() -> None:
    assert unreadable(events(histogram='x{a="b"}', slowerThan="1s")) == ""
    rendered = events(histogram="$x", slowerThan="1s").model_copy(update={"histogram": "rate(x[1m])"})
    assert "more than one histogram: write only one name" in unreadable(rendered)


@pytest.mark.parametrize(
    ("histogram", "slower_than", "every", "quick"),
    [
        ("x", "500ms", 'x_bucket{le="+Inf"}', 'x_bucket{le=~"0[.]50*"}'),
        ('x{a="b"}', "1s", 'x_bucket{a="b",le="+Inf"}', 'x_bucket{a="b",le=~"1([.]0+)?"}'),
        ('x { a="}", c=~"d|e", }', "10s", 'x_bucket{a="}",c=~"d|e",le="+Inf"}', None),
        ('{"a.b", "c.d"="e"}', "1s", '{__name__="a.b_bucket","c.d"="e",le="+Inf"}', None),
        (
            '{__name__="a.b_ms"}',
            "1s",
            '{__name__="a.b_ms_bucket",le="+Inf"}',
            '{__name__="a.b_ms_bucket",le=~"1000([.]0+)?"}',
        ),
        ('{"c.d"="e", __name__="x"}', "1s", 'x_bucket{"c.d"="e",le="+Inf"}', None),
        ('x{a="b # c"}  # agreed with payments', "1s", 'x_bucket{a="b # c",le="+Inf"}', None),
        ('# slow ones\nx{a="b"}', "1s", 'x_bucket{a="b",le="+Inf"}', None),
        ("x{}", "10s", 'x_bucket{le="+Inf"}', 'x_bucket{le=~"10([.]0+)?"}'),
        ("x", "1ms", 'x_bucket{le="+Inf"}', 'x_bucket{le=~"0[.]0010*"}'),
        ("istio_milliseconds", "1.5s", None, 'istio_milliseconds_bucket{le=~"1500([.]0+)?"}'),
    ],
)
def test_slow_requests_are_all_but_those_in_the_bucket(
    histogram: str, slower_than: str, every: str | None, quick: str | None
) -> None:
    total, slow = counter_queries(events(histogram=histogram, slowerThan=slower_than), native=False)
    if every:
        assert total == f"{BY} ({every})"
    assert slow.startswith(f"({total} - {BY} (")
    assert quick is None or f"{BY} ({quick}))" in slow


def test_a_native_histogram_is_asked_for_beside_the_classic_one() -> None:
    total, slow = counter_queries(events(histogram='x{a="b"}', slowerThan="250ms"))
    assert total.endswith(f' or {BY} (histogram_count(x{{a="b"}}))')
    assert 'histogram_fraction(0.25, +Inf, x{a="b"}) >= 0' in slow


@pytest.mark.parametrize(
    ("name", "slower_than", "bounds", "words"),
    [
        ("x", "500ms", ["0.25", "0.5", "+Inf"], ""),
        ("x", "1s", ["1.0", "+Inf"], ""),
        ("x", "300ms", ["0.0005", "0.25", "0.5", "2.5", "+Inf"], "300ms is not a bucket bound of the histogram: "),
        ("x", "300ms", ["0.25", "0.5", "2.5", "+Inf", "0.0005"], "write one of 250ms, 500ms, 2.5s"),
        ("x", "300ms", [], ""),
        ("x", "300ms", ["+Inf"], ""),
        ("x_milliseconds", "500ms", ["250.0", "500.0", "+Inf"], ""),
        ("response_latency_ms", "500ms", ["250.0", "500.0", "+Inf"], ""),
        ("x_milliseconds", "300ms", ["250.0", "500.0", "+Inf"], "write one of 250ms, 500ms"),
    ],
)
def test_only_a_bound_of_the_buckets_can_be_counted(name: str, slower_than: str, bounds: list[str], words: str) -> None:
    found = {f"/{bound}": 1.0 for bound in bounds}
    said = no_bound(events(histogram=name, slowerThan=slower_than), found)
    assert words in said
    assert bool(said) is bool(words)


def test_counters_have_no_bounds() -> None:
    assert no_bound(events(total="a", bad="b"), {}) == ""


def test_the_bounds_are_asked_for_as_instances() -> None:
    query = bounds_query(events(histogram='x{a="b"}', slowerThan="1s"))
    assert query == 'label_replace(group by (le) (x_bucket{a="b"}), "instance", "$1", "le", "(.*)")'
