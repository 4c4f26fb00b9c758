"""What a plan asks and cannot mean: every query in its place and its role, every window in its time."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.policy import read_policy
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.template import read_template
from rolloutplan.tools.lint.plans import TELLABLE, lint_plan, lint_policy, lint_template, warnings_of
from tests.refusals import GONE, POLICY, TEMPLATE, changed

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRAPE = timedelta(seconds=15)
PLAN: dict[str, Any] = {
    "old": {"deployment": "checkout-v1", "service": "checkout-old"},
    "new": {"deployment": "checkout-v2"},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "checkout"}]},
    "guards": [{"name": "idle", "query": 'sum(rate(up_total{d="$deployment"}[$window]))', "is": "< 1", "window": "5m"}],
    "stages": [
        {
            "weights": ["5%", "100%"],
            "soak": "10m",
            "deadline": "1h",
            "pass": [
                {
                    "name": "good",
                    "query": 'sum(rate(up_total{d="$deployment"}[$window]))',
                    "vsOld": "> 0.9x",
                    "window": "5m",
                }
            ],
            "fail": [],
        }
    ],
    "bake": "5m",
    "variables": {"team": "pay"},
}
PLACES = ("guards", "stages[0].pass", "stages[0].fail", "stages[0].warn")


def plan(place: str, **judged: Any) -> PlanSpec:
    """A plan with this predicate alone in its place."""
    comparison = {} if "vsOld" in judged else {"is": "> 0"}
    return read_plan_spec(changed(PLAN, {place: [{"name": "more", **comparison, **judged}]}))


def found(spec: PlanSpec, scrape: timedelta | None = SCRAPE) -> list[str]:
    """What is found, except what one short query lacks: a side, the namespace, a range, a fit comparison, a guard."""
    lacking = ("no-side", "old-samples", "no-namespace", "inverted", "unguarded")
    return [each for each in all_found(spec, scrape) if each.split()[1] not in lacking]


def all_found(spec: PlanSpec, scrape: timedelta | None = SCRAPE) -> list[str]:
    return [f"{finding.severity} {finding.rule} {finding.path}" for finding in lint_plan(spec, scrape)]


def counted(**fields: str) -> dict[str, Any]:
    return {"events": fields, "vsOld": "> 1.5x"}


def test_a_good_plan_has_nothing_to_tell() -> None:
    assert all_found(read_plan_spec(PLAN)) == []
    assert warnings_of(read_plan_spec(PLAN), SCRAPE) == ""


def test_what_an_assumption_asks_is_looked_at_as_it_is_asked_before_any_weight() -> None:
    """A range may reach as far back as it likes, for no stage has begun."""
    asked = [{"query": "rate(a_total[5s])", "is": "> 0"}, {"query": "sum(rate(a_total[2h]))", "is": "> 0"}]
    assumed = [
        {"name": f"a{i}", "belief": "b", "impact": 1, "uncertainty": 1, "predicate": each}
        for i, each in enumerate(asked)
    ]
    told = found(read_plan_spec(changed(PLAN, {"assumptions": assumed})))
    assert told
    assert all("spec.assumptions[0].predicate.query" in each for each in told), told


@pytest.mark.parametrize("file", ["first-plan.yaml", "counts.yaml", "schema-migration.yaml"])
def test_the_examples_have_no_warnings(file: str) -> None:
    objects = yaml.safe_load_all((EXAMPLES / file).read_text())
    (spec,) = (read_plan_spec(each["spec"]) for each in objects if each["kind"] == "RolloutPlan")
    assert warnings_of(spec, SCRAPE) == ""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("judged", "trap"),
    [
        ({"query": "sum(x) or vector(0)"}, "warning hidden-gap {}.query"),
        ({"query": "sum(x"}, "error syntax {}.query"),
        ({"query": 'sum(x{team="$taem"})'}, "error unknown-variable {}.query"),
        ({"query": "sum(rate(x_total[10s]))"}, "warning short-range {}.query"),
        ({"query": "sum(x) / sum(y)"}, "hint zero-division {}.query"),
        ({"query": "sum(x)", "minSamples": {"query": "x", "atLeast": 5}}, "hint many-series {}.minSamples.query"),
        ({"query": "sum(x)", "vsOld": "> 2x"}, "warning same-sides {}.query"),
        ({"query": 'sum(x{a="$old",b="$new"})', "vsOld": "> 2x"}, "warning same-sides {}.query"),
        (counted(bad='b_total{d="$service"}', total="a_total"), "warning same-sides {}.events.total"),
        (counted(bad='b{d="$service"}', total='a_total{d="$service"}'), "hint no-counter {}.events.bad"),
        (counted(histogram='h{d="$service",le="1"}', slowerThan="1s"), "warning no-counter {}.events.histogram"),
    ],
)
def test_what_is_asked_is_looked_at_wherever_it_stands(place: str, judged: dict[str, Any], trap: str) -> None:
    assert found(plan(place, **judged)) == [trap.format(f"spec.{place}[0]")]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "judged",
    [
        {"query": 'sum(x{a="$namespace",b="$plan",c="$stage",d="$old",e="$new",f="${team}"})'},
        {"query": "sum(x) / sum(y)", "minSamples": {"query": "sum(increase(y_total[$window]))", "atLeast": 5}},
        {"query": "sum(increase(x_total[$elapsed]))"},
        {"query": 'sum(x{d="$service"})', "vsOld": "> 2x"},
        counted(bad='b_total{d="$deployment"}', total='a_total{d="$deployment"}'),
        counted(histogram='h{d="$deployment"}', slowerThan="1s"),
        {"events": {"bad": "b_total", "total": "a_total"}, "is": "> 1%"},
    ],
)
def test_what_means_what_it_says(place: str, judged: dict[str, Any]) -> None:
    assert found(plan(place, **judged)) == []


@pytest.mark.parametrize(
    ("place", "range_", "window", "scrape", "reads_before"),
    [
        # Asked first when four scrapes fit, and the window grows with the stage: a range of its own does not.
        ("guards", "$window", "10m", 15, False),
        ("stages[0].fail", "$window", "10m", 15, False),
        ("stages[0].fail", "1m", "10m", 15, False),
        ("stages[0].fail", "5m", "10m", 15, True),
        ("guards", "2m", "10m", 30, False),
        ("guards", "5m", "5m", None, False),
        # Asked first after the soak.
        ("stages[0].pass", "$window", "10m", 15, False),
        ("stages[0].pass", "10m", "1m", 15, False),
        ("stages[0].pass", "11m", "1m", 15, True),
        ("stages[0].pass", "$window] offset 5m", "5m", 15, False),
        ("stages[0].pass", "$window] offset 5m", "6m", 15, True),
        ("stages[0].fail", "$window] offset 1s", "6m", 15, True),
    ],
)
def test_no_range_reaches_back_before_its_stage(
    place: str, range_: str, window: str, scrape: int | None, reads_before: bool
) -> None:
    query = f"sum(rate(x_total[{range_}]))" if "]" not in range_ else f"sum(rate(x_total[{range_}))"
    spec = plan(place, query=query, window=window)
    trap = [f"warning before-stage spec.{place}[0].query"] if reads_before else []
    assert found(spec, timedelta(seconds=scrape) if scrape else None) == trap


@pytest.mark.parametrize("scrape", [0.1, 1.3, 14.9, 29.999])
@pytest.mark.parametrize("place", PLACES)
def test_a_window_in_whole_seconds_holds_scrapes_that_are_not(place: str, scrape: float) -> None:
    spec = plan(place, query="sum(rate(x_total[$window]))", window="10m")
    assert found(spec, timedelta(seconds=scrape)) == []


@pytest.mark.parametrize(
    ("place", "window", "trap", "words"),
    [
        ("stages[0].pass", "10m", "", ""),
        ("stages[0].pass", "11m", "warning", "11m does not fit in the soak of 10m, so the stage takes 11m: write a"),
        ("stages[0].pass", "2h", "warning", "nor before the deadline of 1h, so it is never proved: write a shorter"),
        (
            "stages[0].fail",
            "11m",
            "hint",
            "11m does not fit in the soak of 10m, so the window is never full: write a shorter",
        ),
        ("guards", "10m", "", ""),
        ("guards", "2h", "hint", "2h does not fit in the soak of 10m, so the window is never full: write a shorter"),
    ],
)
def test_a_window_fits_in_the_soak(place: str, window: str, trap: str, words: str) -> None:
    findings = lint_plan(plan(place, query='sum(rate(x_total{d="$deployment"}[$window]))', window=window), SCRAPE)
    told = [(finding.rule, finding.severity, finding.path) for finding in findings]
    assert told == ([("window-over-soak", trap, f"spec.{place}[0].window")] if trap else [])
    assert all(words in finding.words for finding in findings)


def test_a_guard_has_the_bake_to_fill_its_window() -> None:
    guards = [{"name": "more", "query": "sum(x)", "is": "> 0", "window": "1h"}]
    assert found(read_plan_spec(changed(PLAN, {"guards": guards, "bake": "1h"}))) == []


def test_an_unknown_scrape_interval_accuses_no_range() -> None:
    assert found(plan("guards", query="sum(rate(x_total[1s]))"), None) == []


@pytest.mark.parametrize(
    ("query", "traps"),
    [
        ('slo:budget:ratio{service="$service"}', []),
        ("sum(increase(x_total[30d])) / 100", []),
        ("sum(x) or vector(1)", ["hidden-gap"]),
        ('sum(x{team="$team"})', ["unknown-variable"]),
    ],
)
def test_what_a_policy_asks(query: str, traps: list[str]) -> None:
    findings = lint_policy(read_policy(changed(POLICY, {"errorBudget.query": query, "selector": GONE})))
    assert [finding.rule for finding in findings] == traps
    assert {finding.path for finding in findings} <= {"spec.errorBudget.query"}
    assert lint_policy(read_policy({})) == ()


def test_a_policy_that_selects_by_labels_of_plans_is_told_that_authors_can_leave_it() -> None:
    (found,) = lint_policy(read_policy({"selector": {"matchLabels": {"tier": "prod"}}}))
    assert (found.path, found.severity) == ("spec.selector.matchLabels", "warning")
    assert "authors can leave the policy" in found.words
    assert lint_policy(read_policy({"selector": {"namespaceLabels": {"tier": "prod"}}})) == ()


@pytest.mark.parametrize(
    ("changes", "traps"),
    [
        ({}, []),
        ({"query": 'sum(x{a="$(deployment)"}) or vector(0)'}, ["warning hidden-gap spec.query"]),
        ({"query": 'sum(x{a="$(deployment)"', "parameters[0].default": GONE}, ["error syntax spec.query"]),
        ({"minSamples.query": 'sum(x{a="$taem"})'}, ["error unknown-variable spec.minSamples.query"]),
        (
            {"query": GONE, "minSamples": GONE, "events": {"bad": "x_total > 0", "total": "x_total"}},
            ["warning no-counter spec.events.bad"],
        ),
    ],
)
def test_what_a_template_asks_with_its_defaults_and_samples(changes: dict[str, Any], traps: list[str]) -> None:
    findings = lint_template(read_template(changed(TEMPLATE, changes)))
    told = [f"{f.severity} {f.rule} {f.path}" for f in findings if f.severity != "hint"]
    assert [each for each in told if each.split()[1] not in ("no-side", "inverted")] == traps


def test_a_finding_in_a_template_shows_its_text_with_the_parameters() -> None:
    query = 'sum(rate(x_total{a="$deployment",n="$(name)"}[$window]) * $(times)'
    parameters = [{"name": "name", "type": "String", "default": "a-long-value"}, {"name": "times", "type": "Number"}]
    changes = {"query": query, "parameters": parameters, "minSamples": GONE, "is": "> 1"}
    (found,) = (each for each in lint_template(read_template(changed(TEMPLATE, changes))) if each.severity == "error")
    assert found.words == 'column 4, at \'(rate(x_total{a="$deployment\': "(" is never closed: write ")"'
    late = 'sum(rate(x_total{a="$deployment",n="$(name)"}[$window])) * nosuch($(times))'
    spec = read_template(changed(TEMPLATE, {**changes, "query": late}))
    (found,) = (each for each in lint_template(spec) if each.severity == "error")
    assert found.words.startswith(f"column {late.index('nosuch') + 1}, at 'nosuch': nosuch() is not a function")
    assert found.offset == late.index("nosuch")


def test_a_reference_that_nobody_replaced_asks_nothing() -> None:
    assert found(read_plan_spec(changed(PLAN, {"guards": [{"template": "unknown"}]}))) == []


# ---- what is never known -------------------------------------------------------------------------

TOTAL = 'x_total{d="$service"}'
SIDES = [
    ('sum(rate(x_total{d="$deployment"}[$window]))', True),
    ('sum(rate(x_total{d="${service}"}[$window]))', True),
    ('sum(rate(x_total{d="$old"}[$window]))', True),
    ('sum(rate(x_total{pod=~"checkout-v2-.*"}[$window]))', True),
    ('sum(rate(x_total{d="checkout-old"}[$window]))', True),
    ('sum(rate(x_total{release="v2"}[$window]))', True),
    ("sum(rate(x_v2_total[$window]))", True),
    ("sum(rate(x_total[$window]))", False),
    ('sum(rate(x_total{d=""}[$window]))', False),
    ('sum(rate(x_total{cluster=~"__[0-9]+"}[$window]))', False),
    ('sum(rate(x_total{app="checkout"}[$window]))', False),
    ('sum(rate(x_total{team="$team"}[$window]))', False),
    ('sum(rate(x_total{release="v20"}[$window]))', False),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("query", "names"), SIDES)
def test_a_query_that_names_no_side_is_told(place: str, query: str, names: bool) -> None:
    told = [each for each in all_found(plan(place, query=query)) if "no-side" in each]
    assert told == ([] if names else [f"warning no-side spec.{place}[0].query"])


@pytest.mark.parametrize(("bad", "told"), [('b_total{d="$new"}', []), ("b_total", ["bad", "total"])])
def test_counters_that_name_no_side_are_told(bad: str, told: list[str]) -> None:
    spec = plan("guards", events={"bad": bad, "total": "x_total"}, **{"is": "> 5%"})
    assert [each for each in all_found(spec) if "no-side" in each] == [
        f"warning no-side spec.guards[0].events.{field}" for field in told
    ]


def test_a_template_whose_variables_another_tool_has_eaten_is_told() -> None:
    library = Path(__file__).parents[2] / "deploy" / "predicates"
    for file in library.glob("*.yaml"):
        assert "${" not in file.read_text(), f"Flux and envsubst would replace it in {file}"
        for each in yaml.safe_load_all(file.read_text().replace("$deployment", "").replace("$service", "")):
            told = {finding.rule for finding in lint_template(read_template(each["spec"]))}
            assert "no-side" in told, each["metadata"]["name"]


@pytest.mark.parametrize(
    ("place", "query", "told"),
    [
        ("stages[0].pass", 'max(smoke_ok{release="v2"})', True),
        ("stages[0].pass", 'min(up{d="$deployment"})', True),
        ("stages[0].pass", 'max(max_over_time(smoke_ok{release="v2"}[$window]))', False),
        ("stages[0].pass", 'max(max_over_time((x{d="$new"} * 2)[1m:15s]))', False),
        ("stages[0].pass", 'time() - max(push_time_seconds{release="v2"})', False),
        ("stages[0].pass", 'time() - max(timestamp(x{d="$new"}))', False),
        ("stages[0].fail", 'min(up{d="$deployment"})', False),
        ("guards", 'min(up{d="$deployment"})', False),
    ],
)
def test_a_pass_predicate_that_may_be_proved_by_a_sample_of_before_is_told(place: str, query: str, told: bool) -> None:
    path = f"warning old-samples spec.{place}[0].query"
    assert [each for each in all_found(plan(place, query=query)) if "old-samples" in each] == ([path] if told else [])


def test_a_stage_that_silence_alone_proves_is_told() -> None:
    quiet = {"name": "quiet", "query": f"sum(rate({TOTAL}[$window]))", "is": "> 0", "noData": "Clear"}
    alone = changed(PLAN, {"guards": [quiet], "stages[0].pass": []})
    assert all_found(read_plan_spec(alone)) == ["warning only-silence spec.stages[0]"]
    assert all_found(read_plan_spec(changed(PLAN, {"guards": [quiet]}))) == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("weights", "told"), [(["100%"], True), (["5%", "100%"], False)])
def test_a_comparison_that_never_has_an_old_side_is_told(place: str, weights: list[str], told: bool) -> None:
    judged = {"name": "worse", "query": f"sum(rate({TOTAL}[$window]))", "vsOld": "> 1.5x"}
    other = {"name": "any", "query": f"sum(rate({TOTAL}[$window]))", "is": "> 0"}
    changes = {"guards": [{**other, "name": "low"}], "stages[0].pass": [other], "stages[0].weights": weights}
    judges = [judged] if place != "guards" else [judged, {**other, "name": "beside"}]
    spec = read_plan_spec(changed(PLAN, {**changes, place: judges}))
    assert all_found(spec) == ([f"warning no-old-side spec.{place}[0].vsOld"] if told else [])


# ---- told in one line ----------------------------------------------------------------------------


def test_warnings_are_told_with_their_places_and_hints_are_not() -> None:
    line = warnings_of(plan("guards", query="sum(x) / sum(y) or vector(0)"), SCRAPE)
    assert line.startswith('spec.guards[0].query: "or vector(0)" hides missing data')
    assert "NaN" not in line


@pytest.mark.parametrize("length", [1, 100, 1000, 4000])
@pytest.mark.parametrize("many", [1, 2, 7, 16])
def test_a_line_fits_in_the_note_of_an_event(many: int, length: int) -> None:
    guards = [
        {"name": f"g{i}", "query": f'sum(x{{d="$new",a="{"ä" * length}"}}) or on(a{i}) vector(0)', "is": "> 0"}
        for i in range(many)
    ]
    line = warnings_of(read_plan_spec(changed(PLAN, {"guards": guards})), SCRAPE)
    told = line.count("hides missing data")
    assert len(line.encode()) <= TELLABLE
    assert "\n" not in line
    assert told >= 1
    assert line.endswith(f"; and {many - told} more") == (told < many)


def test_one_warning_that_is_too_long_is_cut() -> None:
    line = warnings_of(plan("guards", query=f"sum(rate({'x' * 2000}_used{{d='$new'}}[$window]))"), SCRAPE)
    assert line.startswith("spec.guards[0].query: xxx")
    assert line.endswith("xxx...")
    assert len(line) == TELLABLE


LATENCY = 'histogram_quantile(0.99, sum by (le) (rate(s_bucket{d="$deployment"}[$window])))'
SLOW = {"name": "slow", "query": LATENCY, "is": "> 1"}


@pytest.mark.parametrize(
    ("changes", "told", "words"),
    [
        pytest.param({}, [], "", id="all fits"),
        pytest.param({"stages[0].deadline": "5m", "stages[0].warmup": "270s"},
                     ["warning warmup-over-deadline spec.stages[0].deadline"],
                     "5m is too short: slow judges latency, so its first verdict is 5m30s after the weight, with the"
                     " warmup of 4m30s: write a longer deadline, or a shorter warmup", id="no verdict by the deadline"),
        pytest.param({"stages[0].deadline": "5m", "stages[0].warmup": "239s"}, [], "", id="just in time"),
        pytest.param({"guards[0].window": "4m", "bake": "0s"}, ["hint window-over-soak spec.guards[0].window"],
                     "4m does not fit in the soak of 5m after the warmup of 2m, so the window is never full: write a"
                     " shorter window, or a longer soak, or a shorter warmup", id="a window that is never full"),
        pytest.param({"stages[0].pass[0]": {**SLOW, "name": "fast", "is": "< 1", "window": "4m"}},
                     ["warning window-over-soak spec.stages[0].pass[0].window"], "so the stage takes 6m",
                     id="a window that is waited for"),
        pytest.param({"guards[0].query": 'histogram_quantile(0.9, sum by (le) (rate(s_bucket{d="$deployment"}[5m])))'},
                     ["warning before-stage spec.guards[0].query"], "", id="a range that reaches into the warmup"),
        pytest.param({"guards[0].query": 'sum(rate(x_total{d="$deployment"}[$window]))'},
                     ["hint warmup-unused spec.warmup"], "no predicate judges latency", id="nothing judges latency"),
    ],
)  # fmt: skip
def test_a_warmup_fits_in_its_stage(changes: dict[str, Any], told: list[str], words: str) -> None:
    """The soak is of 5 minutes, and the plan's warmup of 2."""
    base = {"warmup": "2m", "guards": [SLOW], "stages[0].soak": "5m"}
    spec = read_plan_spec(changed(changed(PLAN, base), changes))
    assert found(spec) == told
    assert any(words in finding.words for finding in lint_plan(spec, SCRAPE)) or not words
