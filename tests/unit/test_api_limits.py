"""What is too large is refused before it is read or rendered, with the field and the limit."""

import json
from typing import Any

import pytest

from rolloutplan.api.limits import (
    KIB,
    MAX_DEPTH,
    MAX_PLAN,
    MAX_POLICY,
    MAX_SOURCE,
    MAX_TEMPLATE,
    TooLargeError,
    size_of,
)
from rolloutplan.api.metric_source import read_metric_source
from rolloutplan.api.policy import read_policy
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.rendering import MAX_QUERIES, MAX_QUERY, rendered_size
from rolloutplan.api.resolve import Template, resolve
from rolloutplan.api.spec import MAX_ALL_PREDICATES, PlanSpec, SpecError, read_plan_spec
from rolloutplan.api.template import read_template
from rolloutplan.engine.analysis.variables import render
from tests.refusals import PLAN, changed

VALUE = "x" * 1024
DEEP: Any = "end"
for _ in range(MAX_DEPTH):
    DEEP = [DEEP]


def guard(number: int, query: str, **fields: Any) -> dict[str, Any]:
    return {"name": f"g{number}", "query": query, "is": "> 1"} | fields


def stage(weight: int, predicates: int, query: str = "up") -> dict[str, Any]:
    """A stage with so many predicates, in three roles."""
    rows = [{"name": f"p{weight}-{i}", "query": query, "is": "> 1"} for i in range(predicates)]
    return {"weight": f"{weight}%", "pass": rows[:16], "fail": rows[16:32], "warn": rows[32:48]}


def plan(**fields: Any) -> dict[str, Any]:
    return changed(PLAN, fields)


def job(body: Any) -> dict[str, Any]:
    return {"template": {"spec": {"template": body}}}


def assumption(body: Any) -> dict[str, Any]:
    return {"name": "a", "belief": "b", "impact": 1, "uncertainty": 1, "job": job(body)}


TOO_LARGE: dict[str, tuple[dict[str, Any], str]] = {
    "a query of one variable": (
        plan(variables={"a": VALUE}, guards=[guard(0, "$a" * 2000)]),
        "spec.guards[0].query: with its variables filled in it has 2000 KiB: write a query of at most 8 KiB",
    ),
    "samples": (
        plan(variables={"a": VALUE}, guards=[guard(0, "1", minSamples={"query": "${a}" * 9, "atLeast": 1})]),
        "spec.guards[0].minSamples.query",
    ),
    "matchers of an alert": (
        plan(variables={"a": VALUE}, guards=[{"name": "g", "alert": {"matchers": 'a="' + "$a" * 9 + '"'}}]),
        "spec.guards[0].alert.matchers",
    ),
    "a counter": (
        plan(
            variables={"a": VALUE},
            guards=[{"name": "g", "events": {"bad": "up", "total": "$a" * 9}, "vsOld": "> 2x"}],
        ),
        "spec.guards[0].events.total",
    ),
    "an assumption": (
        plan(
            variables={"a": VALUE},
            assumptions=[
                {
                    "name": "a",
                    "belief": "b",
                    "impact": 1,
                    "uncertainty": 1,
                    "predicate": {"query": "$a" * 9, "is": "> 1"},
                }
            ],
        ),
        "spec.assumptions[0].predicate.query",
    ),
    "a value of four bytes a character": (
        plan(variables={"a": "\U0001f4a5" * 1024}, guards=[guard(0, "$a$a$a")]),
        "spec.guards[0].query: with its variables filled in it has 12 KiB",
    ),
    "all queries together": (
        plan(
            variables={"a": VALUE},
            guards=[guard(i, f"$stage+{i}+$a$a$a") for i in range(16)],
            stages=[{"weights": [f"{2 * i}%" for i in range(1, 51)]}],
        ),
        "spec.guards[6].query: the plan's queries, with their variables filled in, have more than 2048 KiB together",
    ),
    "their number": (
        plan(
            guards=[guard(i, f"$stage+{i}") for i in range(16)],
            stages=[{**stage(2, 32, "$stage"), "weight": None, "weights": [f"{2 * i}%" for i in range(1, 51)]}],
        ),
        f"the plan asks more than {MAX_QUERIES} different queries",
    ),
    "bytes": (
        plan(assumptions=[assumption({"x": "y" * MAX_PLAN})]),
        "385 KiB are too large to read",
    ),
    "bytes of four a character": (plan(assumptions=[assumption({"x": "\U0001f4a5" * 100_000})]), "are too large"),
    "small things": (plan(assumptions=[assumption({"x": [{}] * 330_000})]), "968 KiB are too large to read"),
    "Jobs": (
        plan(
            assumptions=[assumption({"x": "y" * 100 * KIB})],
            expand={"jobs": [{"name": "b", **job({"x": "y" * 100 * KIB})}]},
        ),
        "spec.expand.jobs[0]: the Jobs of the plan have 201 KiB together: write at most 128 KiB",
    ),
    "levels": (plan(assumptions=[assumption(DEEP)]), f"more than {MAX_DEPTH} levels"),
    "predicates": (
        plan(stages=[stage(2 * i, 48) for i in range(1, 51)]),
        f"spec.stages: too many predicates in guards and all stages: write at most {MAX_ALL_PREDICATES}, not 2401",
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_plan_that_is_too_large_is_refused_with_the_field_and_the_limit(name: str) -> None:
    raw, words = TOO_LARGE[name]
    with pytest.raises(SpecError) as refused:
        read_plan_spec(raw)
    assert words in str(refused.value)
    assert len(str(refused.value)) < KIB


def test_a_plan_of_fifty_stages_with_sixteen_predicates_each_is_not_too_large() -> None:
    query = 'sum(rate(http_requests_total{deployment="$deployment",handler="/api/v1/orders",code=~"5.."}[$window]))'
    raw = plan(stages=[stage(2 * i, 16, f"{query} / {query}") for i in range(1, 51)])
    assert len(list(read_plan_spec(raw).predicates())) == 801


@pytest.mark.parametrize("text", ["$a", "${a}", "$a$b${a}x", "$deployment", "$unknown${unknown}", "é$a", "a", "$$a"])
def test_the_size_that_is_computed_is_never_less_than_that_of_the_rendered_text(text: str) -> None:
    values = {"a": "é" * 7, "b": "", "deployment": "checkout-v2"}
    sizes = {name: len(value.encode()) for name, value in values.items()}
    assert 0 <= rendered_size(text, sizes) - len(render(text, values).encode()) <= 2 * text.count("{")


def test_a_query_of_a_policy_is_not_made_larger_than_a_query_may_be() -> None:
    text = "$a" * 2000
    assert render(text, {"a": VALUE}) == text
    assert len(render("$a" * 7, {"a": VALUE})) == 7 * 1024 < MAX_QUERY


@pytest.mark.parametrize(
    ("read", "limit"),
    [
        (read_template, MAX_TEMPLATE),
        (read_policy, MAX_POLICY),
        (lambda raw: read_metric_source(raw, cluster=False), MAX_SOURCE),
        (lambda raw: read_metric_source(raw, cluster=True), MAX_SOURCE),
    ],
)
def test_other_kinds_have_limits_too(read: Any, limit: int) -> None:
    with pytest.raises(TooLargeError, match=f"write at most {limit // KIB} KiB"):
        read({"x": "y" * limit})


TEMPLATE = read_template(
    {
        "indicates": "Failure",
        "parameters": [{"name": "p", "type": "String"}],
        "query": f'up{{a="$(p)"}} # {"x" * 2000}',
        "is": "> 1",
    }
)


def with_templates(count: int) -> PlanSpec:
    rows = [{"name": f"t{i}", "template": "t", "with": {"p": "v"}} for i in range(count)]
    stages = [{"weight": f"{i + 1}%", "fail": rows[16 * i : 16 * (i + 1)]} for i in range(49)]
    return read_plan_spec(plan(stages=[*stages, {"weight": "100%"}]))


@pytest.mark.parametrize(("count", "refused"), [(10, False), (200, True)])
def test_what_a_plan_fills_in_of_templates_is_limited(count: int, *, refused: bool) -> None:
    found = resolve(with_templates(count), lambda name: Template("PredicateTemplate", name, TEMPLATE))
    assert [problem.why for problem in found.problems] == [StatusReason.TOO_LARGE] * refused


def test_queries_of_templates_are_limited_once_they_are_filled_in() -> None:
    raw = plan(variables={"big": VALUE}, guards=[{"template": "t", "with": {"p": "v"}}])
    template = read_template({"indicates": "Failure", "query": "$big" * 9, "is": "> 1"})
    raw["guards"] = [{"template": "t"}]
    found = resolve(read_plan_spec(raw), lambda name: Template("PredicateTemplate", name, template))
    assert [(problem.path, problem.why) for problem in found.problems] == [
        ("spec.guards[0].query", StatusReason.TOO_LARGE)
    ]


def test_a_message_about_thousands_of_errors_names_three_and_counts_the_others() -> None:
    with pytest.raises(SpecError) as refused:
        read_plan_spec(plan(variables={f"v{i}": 1 for i in range(31)}))
    assert str(refused.value).splitlines()[-1] == "and 28 more"


def test_sizes_are_bytes_of_compact_json() -> None:
    raw = {"a": "é", "b": [1, 2]}
    assert size_of(raw) == len(json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode()) == 20


def test_a_job_is_kept_as_bytes_and_read_when_it_is_asked_for() -> None:
    """As long as it is not needed, it takes no more memory than its text."""
    pods = {"spec": {"serviceAccountName": "jobs"}, "x": [{}] * 1000}
    (found,) = read_plan_spec(plan(assumptions=[assumption(pods)])).assumptions
    assert found.job is not None
    assert isinstance(found.job.template.body, bytes)
    assert found.job.template.spec == {"template": pods}
    assert found.model_dump(mode="json", by_alias=True)["job"]["template"]["spec"] == {"template": pods}
