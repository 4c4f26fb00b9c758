"""Queries that do not say which side they ask, matchers that fit more than they should, and what comes too late."""

from datetime import timedelta
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.stats.feasibility import Shortage, Traffic, shortage
from rolloutplan.tools.lint.plans import lint_plan, lint_time
from tests.refusals import changed
from tests.unit.test_tools_lint import PLAN

SCRAPE = timedelta(seconds=15)
RULES = ("both-sides", "prefix", "by-hand", "no-pod", "no-deployment", "no-side", "same-sides", "no-namespace")
PODS = '"$deployment-[a-z0-9]+-[a-z0-9]{5}"'
NO_SIDE = (
    'write a label with $deployment, $service, $old or $new, such as deployment="$deployment" (if it has one already,'
    " another tool has replaced it: Flux and envsubst replace ${...})"
)


def told(guard: dict[str, Any], **changes: Any) -> list[str]:
    """What is said of a guard: the field, the severity, the rule and the words."""
    guard = {"name": "g", "is": "> 0.5", **guard}
    if "vsOld" in guard:
        del guard["is"]
    spec = read_plan_spec(changed(PLAN, {"guards": [guard], **changes}))
    return [
        f"{each.path.removeprefix('spec.guards[0].')}: {each.severity} {each.rule}: {each.words}"
        for each in lint_plan(spec, SCRAPE)
        if each.path.startswith("spec.guards") and each.rule in RULES
    ]


MATCHERS: dict[str, str] = {
    'pod=~"checkout.*"': 'warning both-sides: pod=~"checkout.*" fits the pods of both sides (checkout-v1 and'
    f" checkout-v2): write pod=~{PODS}",
    'pod=~"checkout-v[0-9]-.*"': 'warning both-sides: pod=~"checkout-v[0-9]-.*" fits the pods of both sides'
    " (checkout-v1 and"
    f" checkout-v2): write pod=~{PODS}",
    'pod=~".*checkout.*"': 'warning both-sides: pod=~".*checkout.*" fits the pods of both sides (checkout-v1 and'
    " checkout-v2):"
    f" write pod=~{PODS}",
    'pod=~"($old|$new)-.*"': 'warning both-sides: pod=~"($old|$new)-.*" fits the pods of both sides (checkout-v1 and'
    " checkout-v2):"
    f" write pod=~{PODS}",
    'pod=~"$deployment.*"': 'warning prefix: pod=~"$deployment.*" also fits what is called checkout-v20 or'
    " checkout-v2-canary:"
    f" write pod=~{PODS}",
    'pod=~"$deployment-.*"': 'hint prefix: pod=~"$deployment-.*" also fits what is called checkout-v2-canary:'
    f" write pod=~{PODS}",
    'pod=~"$deployment"': 'warning no-pod: pod=~"$deployment" fits no pod, because it is the name of the Deployment,'
    " and its"
    " pods"
    f" have longer ones: write pod=~{PODS}",
    'pod="$deployment"': 'warning no-pod: pod="$deployment" fits no pod, because it is the name of the Deployment,'
    " and its"
    " pods"
    f" have longer ones: write pod=~{PODS}",
    'pod=~"checkout-v1"': 'warning no-pod: pod=~"checkout-v1" fits no pod, because it is the name of the Deployment,'
    " and its"
    " pods"
    f" have longer ones: write pod=~{PODS}",
    'deployment=~"$deployment-.*"': 'warning no-deployment: deployment=~"$deployment-.*" does not fit checkout-v2'
    " itself,"
    " only"
    ' longer names: write deployment="$deployment"',
    'deployment=~"$deployment.*"': 'warning prefix: deployment=~"$deployment.*" also fits what is called checkout-v20'
    ' or checkout-v2-canary: write deployment="$deployment"',
    'deployment=~"checkout-.*"': 'warning both-sides: deployment=~"checkout-.*" fits the series of both sides'
    " (checkout-v1 and"
    ' checkout-v2): write deployment="$deployment"',
    'service=~"checkout.*"': 'warning both-sides: service=~"checkout.*" fits the series of both sides (checkout-old and'
    ' checkout-v2): write service="$service"',
    'service="checkout-v2"': 'hint by-hand: service="checkout-v2" names a side by hand, so a copy for the next release'
    " judges"
    " this"
    ' one again: write service="$service"',
    'deployment="checkout-v2"': 'hint by-hand: deployment="checkout-v2" names a side by hand, so a copy for the next'
    " release"
    " judges"
    ' this one again: write deployment="$deployment"',
    'deployment="checkout-v1"': 'hint by-hand: deployment="checkout-v1" names a side by hand, so a copy for the next'
    " release"
    " judges"
    ' this one again: write deployment="$old"',
    'pod=~"checkout-v2-[a-z0-9]+-[a-z0-9]{5}"': 'hint by-hand: pod=~"checkout-v2-[a-z0-9]+-[a-z0-9]{5}" names a side by'
    " hand,"
    " so a"
    f" copy for the next release judges this one again: write pod=~{PODS}",
}


@pytest.mark.parametrize(("matcher", "words"), MATCHERS.items(), ids=MATCHERS)
def test_a_matcher_that_fits_what_it_should_not(matcher: str, words: str) -> None:
    assert told({"query": f'max(x{{{matcher}}}) + max(y{{d="$new"}})'}) == [f"query: {words}"]


@pytest.mark.parametrize(
    "matcher",
    [
        f"pod=~{PODS}",
        'pod=~"$deployment-[0-9a-f]{8,10}-.{5}"',
        'deployment="$deployment"',
        'service=~"$namespace-$service-(http-)?[0-9]+@kubernetesgateway"',
        'deployment="$deployment",pod=~".+"',
        'deployment="$deployment",pod=~"checkout.*"',
        'pod!~"$deployment.*",deployment="$new"',
        'deployment="$old"',
        'job="$service",instance=~".*:8080"',
        'release="v2"',
        'path=~"/checkout.*",service="$service"',
    ],
)
def test_a_matcher_that_fits_what_it_should(matcher: str) -> None:
    assert told({"query": f"max(x{{{matcher}}})"}) == []


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (
            {"query": "sum(rate(x_total[$window]))"},
            (
                "query: warning no-side: does not say which side it asks, neither by a variable nor as"
                " checkout-v1 or checkout-v2, so"
                f" it judges both together: {NO_SIDE}"
            ),
        ),
        (
            {
                "query": 'max(x{d="$new"})',
                "minSamples": {"query": "sum(increase(r_total[$window]))", "atLeast": 5},
            },
            (
                "minSamples.query: warning no-side: does not say which side it counts, so requests of both are enough:"
                f" {NO_SIDE}"
            ),
        ),
        (
            {"query": 'max(x{d="$new"})', "vsOld": "> 2x"},
            (
                "query: warning same-sides: the query is the same for both sides, which never differ: select one"
                " with $deployment or"
                " $service"
            ),
        ),
        (
            {
                "query": 'max(x{d="$deployment"})',
                "vsOld": "> 2x",
                "minSamples": {"query": 'sum(increase(r_total{d="$new"}[$window]))', "atLeast": 5},
            },
            (
                "minSamples.query: warning same-sides: the query is the same for both sides, which never differ:"
                " select one with"
                " $deployment or $service"
            ),
        ),
    ],
)
def test_a_query_that_does_not_say_which_side_it_asks(guard: dict[str, Any], words: str) -> None:
    assert told(guard) == [words]


def test_a_query_without_the_namespace_of_the_others_is_told() -> None:
    words = (
        "query: hint no-namespace: does not select the namespace, as other queries of this plan do, so it"
        " also asks namesakes in"
        ' other namespaces: write namespace="$namespace"'
    )
    passes = "stages[0].pass[0].query"
    with_it = 'sum(rate(up_total{namespace="$namespace",d="$deployment"}[$window]))'
    assert told({"query": 'max(x{d="$new"})'}, **{passes: with_it}) == [words]
    for other in ('x{d="$new",kube_namespace="shop"}', 'x{d="$namespace/$new"}', 'job:x:rate5m{d="$new"}'):
        assert told({"query": f"max({other})" if ":" not in other else other}, **{passes: with_it}) == []
    assert told({"query": 'max(x{d="$new"})'}) == []


@pytest.mark.parametrize(
    ("place", "fields", "words"),
    [
        (
            "guards",
            {"for": "20m"},
            (
                "more cannot act at 5%: it is first judged after 1m and must then stay true for 20m, and the"
                " soak is 10m: write a"
                " shorter for or window, or a longer soak"
            ),
        ),
        (
            "stages[0].fail",
            {"for": "9m30s"},
            (
                "more cannot act at 5% and 100%: it is first judged after 1m and must then stay true for 9m30s,"
                " and the soak is 10m:"
                " write a shorter for or window, or a longer soak"
            ),
        ),
        (
            "stages[0].pass",
            {"for": "55m"},
            (
                "more cannot be proved at 5% and 100%: it is first judged after 10m and must then stay true for"
                " 55m, and the deadline is"
                " 1h: write a shorter for or window, or a longer deadline"
            ),
        ),
        ("guards", {"for": "8m"}, ""),
        ("stages[0].pass", {"for": "30m"}, ""),
        ("guards", {}, ""),
    ],
)
def test_what_comes_too_late_for_its_weight(place: str, fields: dict[str, Any], words: str) -> None:
    judged = {"name": "more", "query": 'max(max_over_time(x{d="$new"}[$window]))', "is": "> 0", **fields}
    spec = read_plan_spec(changed(PLAN, {place: [judged], "bake": "15m"}))
    found = [each.words for each in lint_plan(spec, SCRAPE) if each.rule == "too-slow"]
    assert found == ([words] if words else [])


ASKED = 'sum(increase(r_total{d="$deployment"}[$window]))'


@pytest.mark.parametrize(
    ("query", "at_least", "window", "rate", "words"),
    [
        (
            ASKED,
            300,
            "3m",
            4,
            (
                "at 4 requests/s x 5% there are about 36 requests in 3m, and 300 are required: write at most 36,"
                " a weight of 42%, or a"
                " window of 25m"
            ),
        ),
        (
            ASKED,
            10_000,
            "3m",
            4,
            (
                "at 4 requests/s x 5% there are about 36 requests in 3m, and 10000 are required (as at 100%), so"
                " it is never decided:"
                " write at most 36, or a window of 13h54m"
            ),
        ),
        (ASKED, 36, "3m", 4, ""),
        (ASKED, 300, "3m", 40, ""),
        (
            'sum(increase(r_total{d="$deployment"}[10m]))',
            130,
            "3m",
            4,
            (
                "at 4 requests/s x 5% there are about 120 requests in"
                " 10m, and"
                " 130 are required: write at most 120, a weight of 6%, or a window of 11m"
            ),
        ),
        ('sum(increase(r_total{d="$deployment",code=~"5.."}[$window]))', 300, "3m", 4, ""),
        ('sum(count_over_time(r{d="$deployment"}[$window]))', 300, "3m", 4, ""),
    ],
)
def test_samples_that_the_traffic_cannot_give(query: str, at_least: int, window: str, rate: float, words: str) -> None:
    judged = {
        "name": "j",
        "query": 'max(max_over_time(x{d="$new"}[$window]))',
        "is": "> 9",
        "window": window,
        "minSamples": {"query": query, "atLeast": at_least},
    }
    spec = read_plan_spec(changed(PLAN, {"guards": [judged]}))
    found = list(lint_time(spec, SCRAPE, Traffic(new=0, old=rate, bad=0.001)))
    assert [each.words for each in found if each.rule == "few-samples"] == ([words] if words else [])
    assert {each.path for each in found if each.rule == "few-samples"} <= {"spec.guards[0].minSamples.atLeast"}


def test_how_requests_fall_short() -> None:
    assert shortage(300, 4, 0.05, 180) == Shortage(expected=36, share=300 / 720, seconds=1500)
    assert shortage(36, 4, 0.05, 180) is None


@pytest.mark.parametrize("comparison", [{"vsOld": "> 2x"}, {"is": "> 2"}])
def test_a_matcher_of_the_old_side_that_fits_the_new_one_too(comparison: dict[str, str]) -> None:
    """Of old checkout and new checkout-v2, the pods of the new side have the old side's name and a dash, too."""
    query = 'max(x{pod=~"$deployment-.*"})'
    found = told({"query": query, **comparison}, old={"deployment": "checkout"})
    words = (
        'query: warning both-sides: pod=~"$deployment-.*" fits the pods of both sides (checkout and checkout-v2): write'
        f" pod=~{PODS}"
    )
    assert (words in found) == ("vsOld" in comparison)


def test_a_matcher_that_fits_both_sides_is_told_once() -> None:
    found = told({"query": 'max(x{pod=~"checkout.*"}) + max(y{d="$deployment"})', "vsOld": "> 2x"})
    assert len(found) == 1


def test_what_is_said_of_pods_by_hand_is_what_no_other_rule_refuses() -> None:
    said = told({"query": 'max(x{pod=~"checkout-v2-.*"})'})
    assert [words.partition(": write ")[2] for words in said] == [f"pod=~{PODS}"] * 2
    assert told({"query": f"max(x{{pod=~{PODS}}})"}) == []


ONE_PART = "those of a Deployment end with two parts, the hash of the ReplicaSet and five characters"


@pytest.mark.parametrize(
    ("matcher", "why"),
    [
        ('pod=~"$deployment-[a-z0-9]{5}"', ONE_PART),
        ('pod=~"$deployment-[0-9]+"', ONE_PART),
        ('pod=~"$deployment-[a-z0-9]+"', ONE_PART),
        ('pod=~"$old-[a-z0-9]{5}"', ONE_PART),
        ('pod=~"public-.*"', ""),
        ('pod=~"$deployment-[a-z0-9]+-.+"', ""),
        ('pod=~"$deployment-6d4cf56db6-.*"', ""),
        ('pod=~"$deployment-abcdef0123-.*"', ""),
        ('pod!~"$deployment-[a-z0-9]{5}"', ""),
    ],
)
def test_pods_of_a_deployment_have_two_parts_after_its_name(matcher: str, why: str) -> None:
    said = [words for words in told({"query": f'max(x{{{matcher}}}) + max(y{{d="$new"}})'}) if " no-pod: " in words]
    expected = f"query: warning no-pod: {matcher} fits no pod, because {why}: write pod=~{PODS}"
    assert said == ([expected] if why else [])


@pytest.mark.parametrize("service", ["public", "checkout-v2", None])
def test_pods_have_the_name_of_the_deployment_and_not_of_the_service(service: str | None) -> None:
    matcher = 'pod=~"$service-[a-z0-9]+-[a-z0-9]{5}"'
    new = {"deployment": "checkout-v2"} | ({"service": service} if service else {})
    said = [words for words in told({"query": f"max(x{{{matcher}}})"}, new=new) if " no-pod: " in words]
    why = "it has the name of the Service, and pods have that of their Deployment"
    expected = f"query: warning no-pod: {matcher} fits no pod, because {why}: write pod=~{PODS}"
    assert said == ([expected] if service == "public" else [])
