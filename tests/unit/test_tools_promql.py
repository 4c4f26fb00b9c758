"""The traps of PromQL: each with a query that falls into it, and its twin that says what was meant."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.tools.promql.queries import lint_counter, lint_query
from rolloutplan.tools.promql.traps import Asking

MINUTE = timedelta(minutes=1)
ASKING = Asking(reach=MINUTE, scrape=timedelta(seconds=15), sampled=True)
"""Asked for the first time when the weight has stood for a minute, and not judged without traffic."""

TRAPS: dict[str, tuple[str, str, str]] = {
    # What the parser refuses.
    "an open parenthesis": ("error syntax", "sum(rate(x_total[1m])", "sum(rate(x_total[1m]))"),
    "a function that there is not": ("error type", "sum(rates(x_total[1m]))", "sum(rate(x_total[1m]))"),
    "a regex that is none": (
        "error type",
        'sum(rate(x_total{code=~"5(."}[1m]))',
        'sum(rate(x_total{code=~"5.."}[1m]))',
    ),
    "a range of ages": ("error syntax", "sum(rate(x_total[1e30]))", "sum(rate(x_total[60]))"),
    "a range of more than ages": ("error syntax", "sum(rate(x_total[1e15]))", "sum(rate(x_total[60]))"),
    "no query": ("error syntax", "# to do", "sum(x) # done"),
    "a word that is not filled in": ("error unknown-variable", "sum(rate(x_total[$windw]))", "sum(rate(x_total[1m]))"),
    "a label of a word that is not filled in": (
        "error unknown-variable",
        'sum(x{a="$deploymnt"})',
        'sum(x{a=~"v2|v3$"})',
    ),
    "a word in braces that is not filled in": ("error unknown-variable", 'sum(x{a="${tema}-v2"})', 'sum(x{a="$2"})'),
    # Types.
    "a sum of a range": ("error type", "sum(x_total[1m])", "sum(rate(x_total[1m]))"),
    "a rate of no range": ("error type", "rate(sum(x_total))", "sum(rate(x_total[1m]))"),
    "a text beside a number": ("error type", 'sum(x) > bool "1"', "sum(x) > bool 1"),
    "two numbers compared": ("error type", "1 > 2", "1 > bool 2"),
    "a text as the answer": ("error no-number", '"0.1"', "0.1"),
    "a range as the answer": ("error no-number", "x[1m]", "sum(avg_over_time(x[1m]))"),
    "a subquery as the answer": ("error no-number", "(sum(x)[1m:15s])", "max_over_time(sum(x)[1m:15s])"),
    # Answers that hide that there are none.
    "or vector(0)": ("warning hidden-gap", "sum(rate(x_total[1m])) or vector(0)", "sum(rate(x_total[1m]))"),
    "or on() vector(0)": ("warning hidden-gap", "sum(x) or on() vector(0)", "sum(x) or on() sum(y)"),
    "or a number in disguise": ("warning hidden-gap", "sum(x) or (vector(1) - 1)", "sum(x) or 0 * sum(y)"),
    "or what is absent": ("warning hidden-gap", "sum(x) or 0 * absent(x)", "sum(x) or 0 * count(y)"),
    "a number first": ("warning hidden-gap", "vector(0) or sum(x)", "sum(y) or sum(x)"),
    "no failures, in a ratio": (
        "warning hidden-gap",
        "(sum(rate(bad_total[1m])) or vector(0)) / sum(rate(all_total[1m]))",
        "(sum(rate(bad_total[1m])) or 0 * sum(rate(all_total[1m]))) / sum(rate(all_total[1m]))",
    ),
    # Nothing where a no was meant.
    "a comparison": ("warning filter", "sum(x) > 0.1", "sum(x) > bool 0.1"),
    "a comparison in arithmetic": ("warning filter", "100 * (sum(x) > 0.1)", "100 * (sum(x) > bool 0.1)"),
    "a comparison in a function": ("warning filter", "abs(-(sum(x) != 1))", "abs(-(sum(x) != bool 1))"),
    "a comparison over time": (
        "warning filter",
        "max_over_time((sum(x) > 1)[1m:])",
        "max_over_time((sum(x) > bool 1)[1m:])",
    ),
    "a comparison behind or": ("warning filter", "sum(x) or sum(y) > 1", "sum(y) > 1 or sum(x)"),
    "a comparison that is filtered": ("warning filter", "sum(x) > 1 and sum(y)", "sum(x) and sum(y) > 1"),
    "a count of what is wrong": ("warning filter", "count(x == 0)", "sum(x == bool 0)"),
    "a mean of what is right": ("hint filter", "avg(x > 0)", "avg(x)"),
    "what is absent": ("warning filter", "absent(x)", "count(x)"),
    # Counters and gauges.
    "a rate of a sum": ("warning rate-after-sum", "rate(sum(x_total)[1m:15s])", "sum(rate(x_total[1m]))"),
    "an increase of a mean": ("warning rate-after-sum", "increase((avg(x_total))[1m:])", "deriv((avg(x))[1m:])"),
    "a rate of a gauge": ("warning rate-of-gauge", "sum(rate(heap_used_bytes[1m]))", "sum(deriv(heap_used_bytes[1m]))"),
    "a rate of what may be a gauge": ("hint rate-of-gauge", "sum(rate(orders[1m]))", "sum(rate(orders_total[1m]))"),
    "a rate of a native histogram": (
        "hint rate-of-gauge",
        "sum(rate(latency_seconds[1m]))",
        "histogram_quantile(0.9, sum(rate(latency_seconds[1m]))) + histogram_avg(sum(rate(body_size_bytes[1m])))",
    ),
    "a counter as it is": ("hint raw-counter", "sum(x_total)", "sum(increase(x_total[1m]))"),
    "a counter by its label": ("hint raw-counter", 'sum({__name__="x_count"})', 'count({__name__="x_count"})'),
    "a counter over time": ("hint raw-counter", "max(avg_over_time(x_total[1m]))", "max(resets(x_total[1m]))"),
    # Many series.
    "no aggregation": ("hint many-series", "rate(x_total[1m])", "sum(rate(x_total[1m]))"),
    "by a label": ("hint many-series", "sum by (pod) (x)", 'sum by (pod) (x{pod="a"})'),
    "by a label of several values": (
        "hint many-series",
        'sum by (pod) (x{pod=~"a|b"})',
        'max(sum by (pod) (x{pod=~"a|b"}))',
    ),
    "without a label": ("hint many-series", "sum without (pod) (x)", "sum without (pod) (max(x))"),
    "the two largest": ("hint many-series", "topk(2, x)", "topk(1, x)"),
    "the largest of each": ("hint many-series", "topk by (pod) (1, x)", "topk by (pod) (2, max(x))"),
    "a count of each value": ("hint many-series", 'count_values("v", x)', "count(x)"),
    "many to one": ("hint many-series", "x / on () group_left () sum(y)", "sum(x) / on () group_left () sum(y)"),
    "one to many": ("hint many-series", "sum(y) / on () group_right () x", "sum(y) / on () group_right () sum(x)"),
    "a number in parts": ("hint many-series", "x - (time() - 1)", "-(time() - 1)"),
    "with a number": ("hint many-series", "1 - x", "1 - sum(x)"),
    "with a number of a series": ("hint many-series", "x - scalar(y)", "sum(x) - scalar(y)"),
    "either of many": ("hint many-series", "sum(x) or y", "sum(x) or sum(y)"),
    "only with": ("hint many-series", "x and sum(y)", "sum(x) and y"),
    "one against one": ("hint many-series", "x - y", "x - on () sum(y)"),
    "what was recorded": ("hint many-series", "job:x:rate1m", 'job:x:rate1m{job="a"}'),
    "quantiles of each": (
        "hint many-series",
        "histogram_quantile(0.9, sum by (le, pod) (rate(x_bucket[1m])))",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))",
    ),
    # Buckets.
    "buckets without bounds": (
        "warning no-le",
        "histogram_quantile(0.9, sum(rate(x_bucket[1m])))",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))",
    ),
    "buckets without le": (
        "warning no-le",
        'max(histogram_quantile(0.9, sum without (le, pod) (rate(x_bucket{job="a"}[1m]))))',
        'max(histogram_quantile(0.9, sum without (pod) (rate(x_bucket{job="a"}[1m]))))',
    ),
    "a share of buckets without le": (
        "warning no-le",
        'histogram_fraction(0, 0.1, sum by (job) (rate(x_bucket{job="a"}[1m])))',
        'histogram_fraction(0, 0.1, sum by (job, le) (rate(x_bucket{job="a"}[1m])))',
    ),
    # Time.
    "a range of few scrapes": ("warning short-range", "sum(rate(x_total[59s]))", "sum(rate(x_total[60s]))"),
    "a long range": ("warning before-stage", "sum(rate(x_total[61s]))", "sum(rate(x_total[60s]))"),
    "an offset": ("warning before-stage", "sum(rate(x_total[1m] offset 1s))", "sum(rate(x_total[1m]))"),
    "yesterday": ("warning before-stage", "sum(x) - sum(x offset 1d)", "sum(x) - sum(x offset 1m)"),
    "a subquery further back": ("warning before-stage", "max_over_time(sum(x)[2m:])", "max_over_time(sum(x)[1m:])"),
    "a range in a subquery": (
        "warning before-stage",
        "max_over_time(sum(rate(x_total[1m]))[30s:])",
        "max_over_time(sum(x)[30s:] offset 30s)",
    ),
    "an instant": ("warning before-stage", "sum(x @ 1767225600)", "sum(x @ end())"),
    "an instant before all instants": ("warning before-stage", "sum(x @ -1e18)", "sum(x @ start())"),
    "an instant of a subquery": (
        "warning before-stage",
        "max_over_time(sum(x)[1m:] @ 5)",
        "max_over_time(sum(x)[1m:] @ end())",
    ),
    "tomorrow": ("warning before-stage", "sum(x offset -1m)", "sum(x offset 1m)"),
}


def found(query: str, asking: Asking = ASKING) -> list[str]:
    return [f"{finding.severity} {finding.rule}" for finding in lint_query(query, asking)]


@pytest.mark.parametrize(("trap", "bad"), [(trap, bad) for trap, bad, _ in TRAPS.values()], ids=TRAPS)
def test_a_trap_is_found_and_nothing_else(trap: str, bad: str) -> None:
    assert found(bad) == [trap]


@pytest.mark.parametrize("good", [good for _, _, good in TRAPS.values()], ids=TRAPS)
def test_its_twin_is_free_of_all_traps(good: str) -> None:
    assert found(good) == []


@pytest.mark.parametrize(
    ("query", "asking", "trap"),
    [
        ("sum(rate(x_total[1s]))", Asking(), []),
        ("sum(rate(x_total[1y] offset 1y))", Asking(), []),
        ("sum(x) / sum(y)", Asking(), ["hint zero-division"]),
        ("sum(x) / sum(y)", Asking(sampled=True), []),
        ("sum(x) % sum(y)", Asking(), ["hint zero-division"]),
        ("sum(x) / (sum(y) > 0)", Asking(), []),
        ("sum(x) / (sum(y) > bool 0)", Asking(), ["hint zero-division"]),
        ("sum(x) / clamp_min(sum(y), 1)", Asking(), []),
        ("sum(x) / clamp_min(sum(y), 0)", Asking(), ["hint zero-division"]),
        ("sum(x) / count(y)", Asking(), []),
        ("sum(x) / 100", Asking(), []),
    ],
)
def test_what_depends_on_how_it_is_asked(query: str, asking: Asking, trap: list[str]) -> None:
    assert found(query, asking) == trap


def test_every_trap_of_a_query_is_found_once() -> None:
    query = "sum(rate(a_total[5s])) / sum(rate(b_total[5s])) > 0.01 or vector(0)"
    assert found(query, Asking(scrape=timedelta(seconds=5))) == [
        "warning hidden-gap",
        "warning short-range",
        "hint zero-division",
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sum(rate(x_total[$windw]))", "$windw is not a variable: did you mean $window?"),
        (
            'sum(x{team="$squad"})',
            "$squad is not a variable: define it in variables. Known: $namespace (the plan's namespace), $plan",
        ),
        (
            "rate(sum(x_total))",
            (
                "column 6, at 'sum(x_total)': rate() needs a range, such as x[$window], and sum(x_total) is"
                " an instant vector:"
                " write the range"
                " after the metric, and the sum outside: sum(rate(x_total[$window]))"
            ),
        ),
        ("sum(x) or vector(0)", '"or vector(0)" hides missing data'),
        ("sum(x) > 0.1", '"sum(x) > 0.1" returns nothing when it is false'),
        ("sum(rate(x_total[10s]))", "[10s] is shorter than 4 scrapes of 15s: write a window of 1m or more"),
        (
            "sum(rate(x_total[1m] offset 5m))",
            'reads 6m back, to before this stage (1m old at the first evaluation): write "[$window]" without offset',
        ),
        ("sum(x_total)", 'write "rate(x_total[$window])"'),
        ("rate(sum(x_total)[1m:])", 'apply rate() first: "sum(rate(x[$window]))"'),
        ("histogram_quantile(0.9, sum(rate(x_bucket[1m])))", 'write "sum by (le) (...)"'),
    ],
)
def test_the_words_hold_the_fix(query: str, words: str) -> None:
    (finding,) = lint_query(query, ASKING, "spec.guards[0].query")
    assert words in finding.words
    assert finding.path == "spec.guards[0].query"


def test_long_names_are_cut() -> None:
    (finding,) = lint_query(f"sum({'x' * 500}) > 1", ASKING)
    assert len(finding.words) < 200


COUNTERS: dict[str, tuple[str, str, str]] = {
    "a sum": ("warning no-counter", "sum(x_total)", "x_total"),
    "a rate": ("warning no-counter", "rate(x_total[1m])", 'x_total{code=~"5.."}'),
    "a range": ("warning no-counter", "x_total[1m]", "x_total{}"),
    "an offset": ("warning no-counter", "x_total offset 1m", "(x_total)"),
    "an instant": ("warning no-counter", "x_total @ 5", "x_bucket"),
    "a number": ("warning no-counter", "1", "x_count"),
    "no name": ("warning no-counter", '{code=~"5.."}', '{__name__="x_total",code=~"5.."}'),
    "a name of many": ("warning no-counter", '{__name__=~"x_.*"}', '{"x.y_total"}'),
    "a gauge": ("warning no-counter", "requests_in_flight", "requests_total"),
    "what may be a gauge": ("hint no-counter", "requests", "requests_total"),
    "braces": ("error syntax", "x_total{", "x_total"),
    "a word": ("error unknown-variable", 'x_total{a="$deploymnt"}', 'x_total{a="checkout-v2"}'),
}


@pytest.mark.parametrize(("trap", "bad", "good"), COUNTERS.values(), ids=COUNTERS)
def test_counters_as_they_are_scraped(trap: str, bad: str, good: str) -> None:
    (finding,) = lint_counter(bad, "bad")
    assert f"{finding.severity} {finding.rule}" == trap
    assert lint_counter(good, "bad") == ()


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("latency_seconds_bucket", "latency_seconds"),
        ("latency_seconds_sum", "latency_seconds"),
        ('latency_seconds{le="0.5"}', 'latency_seconds{code="200"}'),
        ("rate(latency_seconds[1m])", "latency_seconds"),
    ],
)
def test_histograms_by_their_own_names(bad: str, good: str) -> None:
    (finding,) = lint_counter(bad, "histogram", histogram=True)
    assert (finding.severity, finding.rule) == ("warning", "no-counter")
    assert lint_counter(good, "histogram", histogram=True) == ()


@pytest.mark.parametrize("nested", ["({})", "-{}", "abs({})", "sum({})", "x+{}", "x or {}", "1>bool {}"])
@pytest.mark.parametrize("depth", [20, 2_000, 200_000])
def test_no_depth_breaks_the_parser(nested: str, depth: int) -> None:
    """It recurses without a bound of its own, and would take the operator with it."""
    before, after = nested.split("{}")
    assert ("hint too-large" in found(before * depth + "x" + after * depth)) == (depth > 20)


def test_what_stands_in_texts_and_comments_is_not_deep() -> None:
    assert found(f'sum(x{{path=~"{"(a|b)*" * 99}"}}) # {"(" * 999}') == []


_WORDS = r"""
    sum rate increase histogram_quantile( 0.9, topk(1, count_values("a", absent( vector(0) scalar( time() clamp_min(
    and or unless on() group_left() by(le) without(a) bool offset @ + - * / % ^ == != > < ( ) ( ) { } # ` \ 's' "
    x_total x_bucket y {a=~"b.*"} {__name__="y"} [5m] [1m:15s] [1e30] [1e15] 5m -5m 1e30 -1e18 end() 1 -1 1e999 nan
    $window ${x}
""".split()  # noqa: SIM905 - PromQL is easier to read than its quoted parts


@given(st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join) | st.text(max_size=40))
def test_nothing_but_findings_comes_of_nonsense(text: Any) -> None:
    for finding in (*lint_query(text, ASKING), *lint_counter(text, "bad"), *lint_counter(text, "h", histogram=True)):
        assert finding.severity in ("error", "warning", "hint")
        assert finding.words
        assert "\n" not in finding.words
