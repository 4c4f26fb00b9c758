"""Comparisons that do not fit what their query measures; and right ones, of which nothing is said."""

from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.lint.plans import lint_plan
from tests.refusals import changed
from tests.unit.test_tools_lint import PLAN

SCRAPE = timedelta(seconds=15)
ALL = 'sum(rate(http_requests_total{service="$service"}[$window]))'
BAD = 'sum(rate(http_requests_total{service="$service",code=~"5.."}[$window]))'
GOOD = 'sum(rate(http_requests_total{service="$service",code!~"5.."}[$window]))'
P99 = 'histogram_quantile(0.99, sum by (le) (rate(http_server_requests_seconds_bucket{service="$service"}[$window])))'
P99_MS = (
    "histogram_quantile(0.99, sum by (le)"
    ' (rate(http_request_duration_milliseconds_bucket{service="$service"}[$window])))'
)
MEMORY = 'max(max_over_time(container_memory_working_set_bytes{pod=~"$deployment-[a-z0-9]+-[a-z0-9]{5}"}[$window]))'
LIMIT = 'max(max_over_time(container_spec_memory_limit_bytes{pod=~"$deployment-[a-z0-9]+-[a-z0-9]{5}"}[$window]))'
COUNTED = {"bad": 'b_total{d="$service"}', "total": 'a_total{d="$service"}'}
RULES = ("unit", "inverted", "bad-is-total", "other-counter", "other-requests")


def told(role: str, asked: str | dict[str, str], comparison: str) -> list[str]:
    """What is said of a predicate: `is ...` is a comparison with a number, any other one with the old side."""
    place = role if role == "guards" else f"stages[0].{role}"
    question: dict[str, Any] = {"query": asked} if isinstance(asked, str) else {"events": asked}
    field = "is" if comparison.startswith("is ") else "vsOld"
    judged = {"name": "judged", **question, field: comparison.removeprefix("is ")}
    other = {"name": "any", "query": f"{GOOD} / {ALL}", "is": "> 0.9"}
    spec = read_plan_spec(changed(PLAN, {"stages[0].pass": [other], place: [judged]}))
    path = f"spec.{place}[0]."
    return [
        f"{each.path.removeprefix(path)}: {each.words}"
        for each in lint_plan(spec, SCRAPE)
        if each.path.startswith(path) and each.rule in RULES
    ]


ACTS = {
    "guards": "a guard acts when this is true",
    "fail": "a fail predicate acts when this is true",
    "warn": "a warn predicate slows the rollout down when this is true",
}
WRONG_WAY: list[tuple[str, str | dict[str, str], str, str, str]] = [
    ("guards", P99, "is < 0.8", "p99 < 0.8", "> 0.8"),
    ("guards", f"{BAD} / {ALL}", "is < 99%", "the share of bad requests < 99%", "> 1%"),
    ("guards", f"{BAD} / {ALL}", "is < 5%", "the share of bad requests < 5%", "> 5%"),
    ("fail", f"{BAD} / {ALL}", "is <= 0.01", "the share of bad requests <= 0.01", "> 0.01"),
    ("guards", f"{GOOD} / {ALL}", "is > 99%", "the share of good requests > 99%", "< 99%"),
    ("guards", f"{GOOD} / {ALL}", "is >= 0.995", "the share of good requests >= 0.995", "< 0.995"),
    ("guards", f"{GOOD} / {ALL}", "is > 5%", "the share of good requests > 5%", "< 95%"),
    ("guards", f"1 - {BAD} / {ALL}", "is > 0.99", "the share of good requests > 0.99", "< 0.99"),
    ("guards", f"1 - {GOOD} / {ALL}", "is < 0.05", "the share of bad requests < 0.05", "> 0.05"),
    ("warn", f"100 * {BAD} / {ALL}", "is < 5", "the share of bad requests < 5", "> 5"),
    ("guards", f"100 * (1 - {BAD} / {ALL})", "is > 99", "the share of good requests > 99", "< 99"),
    ("guards", f"({ALL} - {GOOD}) / {ALL}", "is < 0.1", "the share of bad requests < 0.1", "> 0.1"),
    ("guards", f"{BAD} / ({BAD} + {GOOD})", "is < 0.1", "the share of bad requests < 0.1", "> 0.1"),
    ("guards", f"({BAD} or 0 * {ALL}) / {ALL}", "is < 0.1", "the share of bad requests < 0.1", "> 0.1"),
    ("guards", 'max(max_over_time(up{job="$service"}[$window]))', "is > 0", "up > 0", "< 1"),
    ("guards", 'min(up{job="$service"})', "is == 1", "up == 1", "< 1"),
    (
        "guards",
        'sum(increase(app_errors_total{service="$service"}[$window]))',
        "is < 5",
        "the number of app_errors_total < 5",
        "> 5",
    ),
    (
        "guards",
        'sum(increase(app_errors_total{service="$service"}[$window]))',
        "is == 0",
        "the number of app_errors_total == 0",
        "> 0",
    ),
    (
        "guards",
        (
            'sum(rate(grpc_server_handled_total{d="$service",grpc_code!="OK"}[$window])) /'
            ' sum(rate(grpc_server_handled_total{d="$service"}[$window]))'
        ),
        "is < 1%",
        "the share of bad requests < 1%",
        "> 1%",
    ),
    (
        "guards",
        (
            'sum(rate(http_server_requests_seconds_count{service="$service",outcome="SERVER_ERROR"}[$window])) /'
            ' sum(rate(http_server_requests_seconds_count{service="$service"}[$window]))'
        ),
        "is < 1%",
        "the share of bad requests < 1%",
        "> 1%",
    ),
    (
        "guards",
        (
            'sum(rate(requests_failed_total{service="$service"}[$window])) /'
            ' sum(rate(requests_total{service="$service"}[$window]))'
        ),
        "is < 1%",
        "the share of bad requests < 1%",
        "> 1%",
    ),
    (
        "guards",
        (
            'sum(rate(http_server_requests_seconds_sum{service="$service"}[$window]))'
            ' / sum(rate(http_server_requests_seconds_count{service="$service"}[$window]))'
        ),
        "is < 0.2",
        "the mean < 0.2",
        "> 0.2",
    ),
    (
        "guards",
        f"{MEMORY} / {LIMIT}",
        "is < 90%",
        "container_memory_working_set_bytes of container_spec_memory_limit_bytes < 90%",
        "> 90%",
    ),
    (
        "guards",
        (
            'sum(rate(http_request_duration_seconds_bucket{service="$service",le="0.5"}[$window]))'
            ' / sum(rate(http_request_duration_seconds_count{service="$service"}[$window]))'
        ),
        "is > 95%",
        "the share of fast requests > 95%",
        "< 95%",
    ),
    (
        "guards",
        'sum(increase(kube_pod_container_status_restarts_total{d="$new"}[$window]))',
        "is < 1",
        "the number of kube_pod_container_status_restarts_total < 1",
        "> 1",
    ),
    ("guards", 'slo:http_errors:ratio{service="$service"}', "is < 0.01", "slo:http_errors:ratio < 0.01", "> 0.01"),
    (
        "guards",
        'avg_over_time(service:availability{service="$service"}[$window])',
        "is > 0.99",
        "service:availability > 0.99",
        "< 0.99",
    ),
    ("guards", COUNTED, "is < 5%", "the share of bad requests < 5%", "> 5%"),
    ("guards", COUNTED, "is < 99%", "the share of bad requests < 99%", "> 1%"),
    (
        "fail",
        {"histogram": 'h{d="$service"}', "slowerThan": "1s"},
        "is < 5%",
        "the share of slow requests < 5%",
        "> 5%",
    ),
]


@pytest.mark.parametrize(("role", "asked", "comparison", "said", "fix"), WRONG_WAY)
def test_a_guard_that_is_true_for_a_healthy_version(
    role: str, asked: str | dict[str, str], comparison: str, said: str, fix: str
) -> None:
    words = f'is: {ACTS[role]}, and "{said}" is true for a healthy version: did you mean "{fix}"?'
    assert told(role, asked, comparison) == [words]


PASS_WRONG_WAY: list[tuple[str | dict[str, str], str, str, str]] = [
    (P99, "is > 0.8", "p99 > 0.8", "< 0.8"),
    (f"{BAD} / {ALL}", "is > 1%", "the share of bad requests > 1%", "< 1%"),
    (f"{BAD} / {ALL}", "is >= 99%", "the share of bad requests >= 99%", "< 1%"),
    (f"{GOOD} / {ALL}", "is < 99%", "the share of good requests < 99%", "> 99%"),
    (f"{GOOD} / {ALL}", "is < 1%", "the share of good requests < 1%", "> 99%"),
    (
        'sum(increase(app_errors_total{service="$service"}[$window]))',
        "is > 0",
        "the number of app_errors_total > 0",
        "== 0",
    ),
    (COUNTED, "is > 5%", "the share of bad requests > 5%", "< 5%"),
    (f"{BAD} / {ALL}", "is != 0", "the share of bad requests != 0", "== 0"),
]


@pytest.mark.parametrize(("asked", "comparison", "said", "fix"), PASS_WRONG_WAY)
def test_a_pass_predicate_that_is_false_for_a_healthy_version(
    asked: str | dict[str, str], comparison: str, said: str, fix: str
) -> None:
    words = f'is: pass needs this to be true, and "{said}" is false for a healthy version: did you mean "{fix}"?'
    assert told("pass", asked, comparison) == [words]


OTHER_END: list[tuple[str, str | dict[str, str], str, str]] = [
    ("guards", f"{BAD} / {ALL}", "> 99%", "> 1%"),
    ("guards", f"1 - {GOOD} / {ALL}", ">= 0.95", ">= 0.05"),
    ("guards", f"{GOOD} / {ALL}", "< 5%", "< 95%"),
    ("fail", f"100 * {BAD} / {ALL}", "> 99", "> 1"),
    ("guards", COUNTED, "> 99%", "> 1%"),
    ("pass", f"{BAD} / {ALL}", "< 99%", "< 1%"),
    ("pass", f"{GOOD} / {ALL}", "> 1%", "> 99%"),
    ("pass", COUNTED, "< 95%", "< 5%"),
]


@pytest.mark.parametrize(("role", "asked", "comparison", "fix"), OTHER_END)
def test_a_bound_for_the_other_end_of_the_scale(
    role: str, asked: str | dict[str, str], comparison: str, fix: str
) -> None:
    good = isinstance(asked, str) and asked.startswith(GOOD)
    when = "even if" if role == "pass" else "only when"
    said = f"the share of {'good' if good else 'bad'} requests {comparison}"
    assert told(role, asked, f"is {comparison}") == [
        f'is: "{said}" is true {when} nearly all requests are bad: did you mean "{fix}"?'
    ]


JUST_AS, BETTER = "for a version that is just as the old one", "for a version that is better"
OLD_WRONG_WAY: list[tuple[str, str | dict[str, str], str, str, str, str]] = [
    ("guards", COUNTED, "< 1.5x", "true", JUST_AS, "> 1.5x"),
    ("guards", COUNTED, "<= +50%", "true", JUST_AS, "> +50%"),
    ("guards", P99, "<= +20%", "true", JUST_AS, "> +20%"),
    ("guards", P99, "< +0.2", "true", JUST_AS, "> +0.2"),
    ("guards", f"{GOOD} / {ALL}", "> 0.9x", "true", JUST_AS, "< 0.9x"),
    ("guards", f"{GOOD} / {ALL}", ">= -10%", "true", JUST_AS, "< -10%"),
    ("fail", 'sum(anything{d="$service"})', "< 2x", "true", JUST_AS, "> 2x"),
    ("warn", 'sum(anything{d="$service"})', ">= -5%", "true", JUST_AS, "< -5%"),
    ("guards", P99, "< -20%", "true", BETTER, "> +20%"),
    ("guards", f"{GOOD} / {ALL}", "> 1.25x", "true", BETTER, "< 0.8x"),
    ("pass", COUNTED, "> 1.5x", "false", JUST_AS, "< 1.5x"),
    ("pass", P99, "> +20%", "false", JUST_AS, "< +20%"),
    ("pass", f"{GOOD} / {ALL}", "< 0.9x", "false", JUST_AS, "> 0.9x"),
]


@pytest.mark.parametrize(("role", "asked", "comparison", "true", "whom", "fix"), OLD_WRONG_WAY)
def test_a_comparison_with_the_old_side_the_wrong_way_round(
    role: str, asked: str | dict[str, str], comparison: str, true: str, whom: str, fix: str
) -> None:
    when = ACTS.get(role, "pass needs this to be true")
    assert told(role, asked, comparison) == [
        f'vsOld: {when}, and "{comparison}" is {true} {whom}: did you mean "{fix}"?'
    ]


UNITS: list[tuple[str, str | dict[str, str], str, str]] = [
    (
        "guards",
        'max(max_over_time(http_server_requests_seconds_max{service="$service"}[$window]))',
        "is > 800",
        'is: the latency is in seconds, and "> 800" is 13 minutes: did you mean "> 0.8"?',
    ),
    (
        "guards",
        'histogram_quantile(0.99, sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket{c="$service"}[$window])))',
        "is > 0.5",
        'is: p99 is in milliseconds, and "> 0.5" is 0.5 milliseconds: did you mean "> 500"?',
    ),
    ("guards", P99, "is > 800", 'is: p99 is in seconds, and "> 800" is 13 minutes: did you mean "> 0.8"?'),
    ("guards", P99, "is > 250", 'is: p99 is in seconds, and "> 250" is 4 minutes: did you mean "> 0.25"?'),
    ("guards", P99, "is > 50", 'is: p99 is in seconds, and "> 50" is 50s: did you mean "> 0.05"?'),
    ("guards", P99, "is > 5000", 'is: p99 is in seconds, and "> 5000" is 83 minutes: did you mean "> 5"?'),
    ("pass", P99, "is <= 300", 'is: p99 is in seconds, and "<= 300" is 5 minutes: did you mean "<= 0.3"?'),
    (
        "guards",
        P99.replace("0.99", "0.5"),
        "is > 100",
        'is: p50 is in seconds, and "> 100" is 1m40s: did you mean "> 0.1"?',
    ),
    (
        "guards",
        P99.replace("0.99", "0.999"),
        "is > 800",
        'is: p999 is in seconds, and "> 800" is 13 minutes: did you mean "> 0.8"?',
    ),
    (
        "guards",
        P99_MS,
        "is > 0.8",
        'is: p99 is in milliseconds, and "> 0.8" is 0.8 milliseconds: did you mean "> 800"?',
    ),
    (
        "guards",
        f"1000 * {P99}",
        "is > 0.8",
        'is: p99 is in milliseconds, and "> 0.8" is 0.8 milliseconds: did you mean "> 800"?',
    ),
    (
        "guards",
        f"{P99_MS} / 1000",
        "is > 800",
        'is: p99 is in seconds, and "> 800" is 13 minutes: did you mean "> 0.8"?',
    ),
    (
        "guards",
        P99,
        "is > 5%",
        'is: p99 is a time and no share, so 5% is 0.05: compare with the old side, vsOld: "> +5%"',
    ),
    (
        "guards",
        BAD,
        "is > 5%",
        (
            "is: the rate of http_requests_total is a number per second and no share, so 5% is 0.05:"
            " divide by all requests for a share"
        ),
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "is > 5",
        'is: the share of bad requests is from 0 to 1, so "> 5" is never true: did you mean "> 5%"?',
    ),
    (
        "guards",
        {"histogram": 'http_server_requests_seconds{d="$service"}', "slowerThan": "500s"},
        "is > 3%",
        (
            "events.slowerThan: 8m20s is longer than gateways wait for an answer, so no request counts as slow:"
            " did you mean 500ms?"
        ),
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "is > 1",
        'is: the share of bad requests is from 0 to 1, so "> 1" is never true: did you mean "> 1%"?',
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "is >= 1",
        'is: "the share of bad requests >= 1" is true only when all requests are bad: did you mean ">= 1%"?',
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "is > 100%",
        'is: the share of bad requests is from 0 to 1, so "> 100%" is never true: write a bound between 0 and 100%',
    ),
    (
        "guards",
        {"bad": 'a_total{s="$service",status=~"5.."}', "total": 'b_total{s="$service"}'},
        "is > 5%",
        (
            "events.bad: a_total is not the counter of total (b_total), so this is no share of its requests:"
            " select the bad ones of the same counter"
        ),
    ),
    (
        "guards",
        {"bad": 'r_total{s="$service",status=~"2.."}', "total": 'r_total{s="$service"}'},
        "is > 5%",
        (
            'events.bad: r_total{s="$service",status=~"2.."} counts good requests: select the bad ones, such as'
            ' status=~"5.."'
        ),
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "is > 500%",
        ('is: the share of bad requests is from 0 to 1, so "> 500%" is never true: write a bound between 0 and 100%'),
    ),
    (
        "guards",
        f"{GOOD} / {ALL}",
        "is < 99",
        ('is: the share of good requests is from 0 to 1, so "< 99" is always true: did you mean "< 99%"?'),
    ),
    (
        "guards",
        f"100 * {BAD} / {ALL}",
        "is > 5%",
        ('is: the share of bad requests is multiplied by 100, and 5% is 0.05: did you mean "> 5"?'),
    ),
    (
        "guards",
        f"100 * {BAD} / {ALL}",
        "is > 101",
        ('is: the share of bad requests is from 0 to 100, so "> 101" is never true: write a bound between 0 and 100'),
    ),
    (
        "guards",
        'max(max_over_time(cpu_usage_percent{d="$new"}[$window]))',
        "is > 0.05",
        ('is: cpu_usage_percent is a percentage, from 0 to 100, and 0.05 is 0.05%: did you mean "> 5"?'),
    ),
    (
        "guards",
        'max(max_over_time(cpu_usage_percent{d="$new"}[$window]))',
        "is > 90%",
        ('is: cpu_usage_percent is a percentage, from 0 to 100, and 90% is 0.9: did you mean "> 90"?'),
    ),
    (
        "guards",
        MEMORY,
        "is > 0.9",
        (
            'is: container_memory_working_set_bytes is in bytes, and "> 0.9" is 0.9 bytes: write bytes,'
            " such as 500e6 for 500 MB, or divide by the limit for a share"
        ),
    ),
    (
        "guards",
        MEMORY,
        "is > 90%",
        (
            'is: container_memory_working_set_bytes is in bytes, and "> 90%" is 0.9 bytes: write bytes,'
            " such as 500e6 for 500 MB, or divide by the limit for a share"
        ),
    ),
    (
        "guards",
        MEMORY,
        "is > 500",
        (
            'is: container_memory_working_set_bytes is in bytes, and "> 500" is 500 bytes: write bytes,'
            " such as 500e6 for 500 MB, or divide by the limit for a share"
        ),
    ),
    (
        "guards",
        'sum(rate(container_cpu_usage_seconds_total{d="$new"}[$window]))',
        "is > 80",
        ('is: the CPU is in cores, and "> 80" is 80 of them: divide by the limit for a share, or write cores'),
    ),
    (
        "guards",
        f"{BAD} / {ALL}",
        "> +0.5%",
        (
            'vsOld: "> +0.5%" is relative, 1.005x the share of the old side, and not 0.5 percentage'
            ' points: did you mean points? Write "> +0.005"'
        ),
    ),
    (
        "pass",
        f"{BAD} / {ALL}",
        "<= +1%",
        (
            'vsOld: "<= +1%" is relative, 1.01x the share of the old side, and not 1 percentage'
            ' points: did you mean points? Write "<= +0.01"'
        ),
    ),
    (
        "guards",
        f"100 * {BAD} / {ALL}",
        "> +1%",
        (
            'vsOld: "> +1%" is relative, 1.01x the share of the old side, and not 1 percentage'
            ' points: did you mean points? Write "> +1"'
        ),
    ),
    (
        "guards",
        COUNTED,
        "> +0.5%",
        (
            'vsOld: "> +0.5%" is relative, 1.005x the share of the old side, and not 0.5 percentage'
            ' points: write a ratio that is a real change, such as "> 1.5x"'
        ),
    ),
    (
        "guards",
        'sum(increase(errors_total{d="$new"}[$window])) / sum(rate(requests_total{d="$new"}[$window]))',
        "is > 1%",
        "query: divides an increase over the window by a rate per second, or the other way: write rate() in both",
    ),
    (
        "guards",
        {"bad": 'r_total{s="$service"}', "total": 'r_total{s="$service"}'},
        "is > 5%",
        ('events.bad: is the same counter as total, so all requests are bad: select the bad ones, such as code=~"5.."'),
    ),
    (
        "guards",
        {"bad": 'r_total{s="$service",code=~"2.."}', "total": 'r_total{s="$service"}'},
        "is > 5%",
        (
            "events.bad:"
            ' r_total{s="$service",code=~"2.."} counts good requests: select the bad ones, such as code=~"5.."'
        ),
    ),
    (
        "guards",
        {"bad": 'r_total{s="$service",code="500"}', "total": 'r_total{s="$service",code=~"5.."}'},
        "is > 5%",
        'events.total: r_total{s="$service",code=~"5.."} counts only bad requests: count all of them here',
    ),
]


@pytest.mark.parametrize(("role", "asked", "comparison", "words"), UNITS)
def test_a_bound_in_another_unit(role: str, asked: str | dict[str, str], comparison: str, words: str) -> None:
    assert told(role, asked, comparison) == [words]


HEALTHY: list[tuple[str, str | dict[str, str], str]] = [
    ("guards", f"{BAD} / {ALL}", "is > 5%"),
    ("guards", f"{BAD} / {ALL}", "is > 0.05"),
    ("guards", f"{GOOD} / {ALL}", "is < 99%"),
    ("guards", f"1 - {GOOD} / {ALL}", "is > 1%"),
    ("guards", f"100 * {BAD} / {ALL}", "is > 0.5"),
    ("guards", f"100 - 100 * {BAD} / {ALL}", "is < 99"),
    ("guards", P99, "is > 0.8"),
    ("guards", P99, "is > 2.5"),
    ("guards", P99, "is > 30"),
    ("guards", P99_MS, "is > 800"),
    ("guards", P99_MS, "is > 2"),
    ("guards", f"{P99} * 1000", "is > 800"),
    ("guards", f"{P99_MS} / 1000", "is > 0.8"),
    ("guards", P99, "> 1.5x"),
    ("guards", P99, "> +20%"),
    ("guards", P99, "> +5%"),
    ("guards", P99, "> +0.1"),
    ("guards", f"{BAD} / {ALL}", "> +0.005"),
    ("guards", f"{BAD} / {ALL}", "> +50%"),
    ("guards", COUNTED, "> 1.5x"),
    ("guards", COUNTED, "is > 5%"),
    ("guards", {"histogram": 'h{d="$service"}', "slowerThan": "500ms"}, "is > 3%"),
    ("guards", {"histogram": 'h{d="$service"}', "slowerThan": "60s"}, "is > 3%"),
    ("guards", {"histogram": 'batch_seconds{d="$service"}', "slowerThan": "9m"}, "is > 3%"),
    ("guards", 'sum(increase(panics_total{d="$new"}[$window]))', "is > 0"),
    ("guards", 'sum(increase(kube_pod_container_status_restarts_total{d="$new"}[$window]))', "is >= 2"),
    ("guards", 'min(up{job="$service"})', "is < 1"),
    ("guards", 'min(up{job="$service"})', "is == 0"),
    ("guards", 'avg(up{job="$service"})', "is < 0.9"),
    ("guards", f"{MEMORY} / {LIMIT}", "is > 90%"),
    ("guards", MEMORY, "is > 900e6"),
    ("guards", 'max(kafka_consumergroup_lag{d="$new"})', "is > 1000"),
    ("guards", 'max(max_over_time(jvm_gc_pause_seconds_max{d="$new"}[$window]))', "is > 2"),
    (
        "guards",
        'histogram_quantile(0.9, sum by (le) (rate(batch_job_duration_seconds_bucket{d="$new"}[$window])))',
        "is > 900",
    ),
    ("guards", 'max(mails_oldest_seconds{d="$new"})', "is > 300"),
    ("guards", 'time() - max(last_success_timestamp_seconds{d="$new"})', "is > 7200"),
    (
        "guards",
        'sum(rate(cache_hits_total{d="$new"}[$window])) / sum(rate(cache_reads_total{d="$new"}[$window]))',
        "is < 0.8",
    ),
    (
        "guards",
        'sum(rate(cache_misses_total{d="$new"}[$window])) / sum(rate(cache_reads_total{d="$new"}[$window]))',
        "is > 30%",
    ),
    ("guards", ALL, "is < 1"),
    ("guards", ALL, "is > 5000"),
    (
        "guards",
        'sum(rate(db_queries_total{d="$new"}[$window])) / sum(rate(http_requests_total{d="$new"}[$window]))',
        "is > 20",
    ),
    (
        "guards",
        'sum(rate(retries_total{d="$new"}[$window])) / sum(rate(http_requests_total{d="$new"}[$window]))',
        "is > 1.5",
    ),
    (
        "guards",
        (
            'kube_deployment_status_replicas_available{deployment="$new"} /'
            ' kube_deployment_spec_replicas{deployment="$new"}'
        ),
        "is < 0.9",
    ),
    ("guards", 'sum(rate(container_cpu_usage_seconds_total{d="$new"}[$window]))', "is > 1.5"),
    ("guards", 'sum(rate(process_cpu_seconds_total{d="$new"}[$window]))', "> 1.3x"),
    (
        "guards",
        (
            'sum(rate(http_requests_total{d="$new",code="404"}[$window])) /'
            ' sum(rate(http_requests_total{d="$new"}[$window]))'
        ),
        "is > 20%",
    ),
    (
        "guards",
        (
            'sum(rate(http_requests_total{d="$new",code!~"404"}[$window])) /'
            ' sum(rate(http_requests_total{d="$new"}[$window]))'
        ),
        "is < 50%",
    ),
    ("guards", 'max(nodejs_eventloop_lag_seconds{d="$new"})', "is > 0.2"),
    ("guards", 'max(hikaricp_connections_pending{d="$new"})', "is > 5"),
    ("guards", 'hikaricp_connections_active{d="$new"} / hikaricp_connections_max{d="$new"}', "is > 0.9"),
    ("guards", 'slo:error_budget_remaining:ratio{service="$service"}', "is < 20%"),
    ("guards", 'min(node_filesystem_avail_bytes{d="$new"})', "is < 1e9"),
    ("pass", f"{GOOD} / {ALL}", "is >= 99%"),
    ("pass", f"{GOOD} / {ALL}", "is >= 100%"),
    ("pass", f"{BAD} / {ALL}", "is == 0"),
    ("pass", P99, "<= +20%"),
    ("pass", P99, "< -10%"),
    ("pass", P99, "is <= 0.25"),
    ("pass", f"{GOOD} / {ALL}", "> 0.99x"),
    ("pass", f"{GOOD} / {ALL}", ">= -0.5%"),
    ("pass", COUNTED, "< 2x"),
    ("pass", COUNTED, "is < 1%"),
    ("pass", ALL, "is > 1"),
    ("pass", 'sum(increase(jobs_completed_total{d="$new"}[$window]))', "is >= 3"),
    ("pass", 'max(max_over_time(mails_queue_length{d="$old"}[$window]))', "is == 0"),
    ("pass", 'max(max_over_time(smoke_ok{d="$new"}[$window]))', "is == 1"),
    ("warn", f"{BAD} / {ALL}", "is > 0.1%"),
    ("fail", 'sum(increase(shadow_compare_mismatch_total{d="$new"}[$window]))', "is > 0"),
]


@pytest.mark.parametrize(("role", "asked", "comparison"), HEALTHY)
def test_nothing_is_said_of_what_is_right(role: str, asked: str | dict[str, str], comparison: str) -> None:
    assert told(role, asked, comparison) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            'sum(rate(r_total{d="$new"}[$window]))',
            (
                'rate(r_total{d="$new"}[$window]) is a number per second, so atLeast asks for 500 requests'
                " each second: write"
                " increase() for their number in the window"
            ),
        ),
        ('sum(increase(r_total{d="$new"}[$window]))', ""),
        ('sum(count_over_time(r{d="$new"}[$window]))', ""),
    ],
)
def test_samples_are_a_number_and_no_rate(query: str, words: str) -> None:
    judged = {"name": "j", "query": P99, "is": "> 0.8", "minSamples": {"query": query, "atLeast": 500}}
    spec = read_plan_spec(changed(PLAN, {"guards": [judged]}))
    assert [each.words for each in lint_plan(spec, SCRAPE) if each.rule == "unit"] == ([words] if words else [])


@pytest.mark.parametrize(
    ("bad", "total", "labels"),
    [
        ('d="$new",code=~"5..",handler!="/healthz"', 'd="$new"', "handler"),
        ('d="$new",code=~"5.."', 'd="$new",handler!="/healthz"', "handler"),
        ('d="$new",code=~"5..",namespace="$namespace",path="/a"', 'd="$new"', "namespace and path"),
        ('d="$new",code=~"5..",handler!="/healthz"', 'd="$new",handler!="/healthz"', ""),
        ('d="$new",code=~"5..",reason="timeout",grpc_code="Internal"', 'd="$new"', ""),
    ],
)
def test_bad_and_total_that_count_different_requests(bad: str, total: str, labels: str) -> None:
    events = {"bad": f"requests_total{{{bad}}}", "total": f"requests_total{{{total}}}"}
    words = f"bad and total do not both select by {labels}, so they count different requests: write it in both"
    assert told("guards", events, "is > 1%") == ([f"events.bad: {words}"] if labels else [])
