"""The spec of a plan: what is refused and how it is said, what it means, and when its hash changes."""

import re
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.metric_source import ClusterMetricSourceSpec, read_metric_source
from rolloutplan.api.printable import printable
from rolloutplan.api.route import RouteId, owned_name
from rolloutplan.api.spec import SpecError, read_plan_spec
from rolloutplan.api.tasks import JobTemplate
from tests.refusals import (
    CLUSTER_SOURCE,
    COUNTED,
    GONE,
    ONLY_READ,
    PLAN,
    PLANS,
    SOURCE,
    SOURCES,
    TAKEN,
    TASKS,
    UNKNOWN,
    Refusal,
    alert,
    changed,
    predicate,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
MINIMAL = changed(PLAN, {"hypothesis": GONE, "stages": [{"weights": ["0.5%", "5%", "25%", "100%"]}]})


@pytest.mark.parametrize("refusal", [*PLANS, *ONLY_READ, *UNKNOWN], ids=lambda refusal: refusal.name)
def test_plans_that_are_refused(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as refused:
        read_plan_spec(refusal.spec())
    assert all(word in str(refused.value) for word in refusal.words), refused.value
    assert "pydantic" not in str(refused.value)


@pytest.mark.parametrize("refusal", SOURCES, ids=lambda refusal: refusal.name)
def test_sources_that_are_refused(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as refused:
        read_metric_source(refusal.spec(), cluster=refusal.good is CLUSTER_SOURCE)
    assert all(word in str(refused.value) for word in refusal.words), refused.value


def test_a_refusal_has_a_line_a_field_and_at_most_three() -> None:
    with pytest.raises(SpecError) as refused:
        read_plan_spec({**PLAN, "interval": "1", "bake": "2", "onFail": "3", "traffic": None, "guards": {"a": 1}})
    *lines, more = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["spec.traffic", "spec.interval", "spec.guards"]
    assert more == "and 2 more"


NOTHING_WRITTEN: Mapping[str, Any] = {
    "a text": {"metrics": {"source": None}},
    "a time": {"stages[0].soak": None},
    "a list": {"stages[0].fail": None},
    "one of some choices": {"onFail": None},
    "a model": {"availability": None},
    "a mapping": {"variables": None},
    "a word": {"variables": {"team": None}},
    "a label": {"assumptions[0].job.template.metadata": {"labels": {"team": None}}},
    "what a Job must not have": {"expand.jobs[0].template.spec.ttlSecondsAfterFinished": None},
}


@pytest.mark.parametrize("changes", NOTHING_WRITTEN.values(), ids=NOTHING_WRITTEN)
def test_what_has_nothing_behind_it_is_left_out(changes: dict[str, Any]) -> None:
    assert read_plan_spec(changed(TASKS, changes)) == read_plan_spec(TASKS)


def test_a_field_that_is_not_there_is_refused_with_nothing_behind_it_too() -> None:
    with pytest.raises(SpecError, match=r"spec\.intervall: unknown field; did you mean interval\?"):
        read_plan_spec({**PLAN, "intervall": None})


@pytest.mark.parametrize(("number", "good"), [(3, True), (3.0, True), (3.5, False), ("3", False), (True, False)])
def test_a_whole_number_is_what_the_api_server_takes_for_one(number: object, good: bool) -> None:
    raw = changed(PLAN, {"availability": {"maxRestarts": number}})
    if good:
        assert read_plan_spec(raw).availability.max_restarts == 3
    else:
        with pytest.raises(SpecError, match=r"spec\.availability\.maxRestarts: .* is not a whole number: write"):
            read_plan_spec(raw)


def test_an_unknown_field_names_the_one_that_was_meant() -> None:
    with pytest.raises(SpecError, match=r"spec\.stages\[0\]\.soaks: unknown field; did you mean soak\?"):
        read_plan_spec(changed(PLAN, {"stages[0].soaks": "5m"}))


@pytest.mark.parametrize(
    "raw", [None, [], "spec", 5, {}, {"stages": None}, {"stages": [None]}, {"old": {"deployment": {}}}]
)
def test_what_is_no_spec_at_all(raw: Any) -> None:
    with pytest.raises(SpecError, match=r"^spec"):
        read_plan_spec(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["old", "new", "traffic", "routes", "stages", "weights", "guards", "variables", "is"]),
                inner,
            )
            | st.lists(inner)
        ),
    )
)
def test_nothing_but_a_refusal_comes_of_nonsense(raw: Any) -> None:
    with pytest.raises(SpecError):
        read_plan_spec(raw)


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("first-plan.yaml", ["canary", "ramp-w25", "ramp-w50", "all"]),
        ("counts.yaml", ["canary", "w25", "w50", "w100"]),
        ("schema-migration.yaml", ["canary", "ramp-w25", "ramp-w50", "all"]),
    ],
)
def test_the_examples_are_good(file: str, stages: list[str]) -> None:
    source, plan, *_ = yaml.safe_load_all((EXAMPLES / file).read_text())
    read_metric_source(source["spec"], cluster=True)
    assert [stage.name for stage in read_plan_spec(plan["spec"]).steps()] == stages


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN)
def test_plans_of_counts_that_are_taken(changes: Mapping[str, Any]) -> None:
    read_plan_spec(changed(COUNTED, changes))


def test_defaults() -> None:
    plan = read_plan_spec(MINIMAL)
    assert (plan.old.service_name, plan.new.service_name) == ("checkout-v1", "checkout-v2")
    assert (plan.metrics.source, plan.interval, plan.bake_for) == ("default", timedelta(seconds=10), timedelta(0))
    assert (plan.on_fail, plan.on_undecided, plan.on_metrics_unavailable.action) == ("Rollback", "Hold", "Hold")
    assert plan.deletion_policy == "Restore"
    assert (plan.availability.min_ready, plan.availability.max_restarts) == (500, 3)
    assert (plan.traffic.drain, plan.traffic.routes[0].rules) == (timedelta(seconds=30), ())
    (guard,) = plan.guards
    assert (guard.comparison.kind, guard.window, guard.for_, guard.min_samples) == (
        "ratio",
        timedelta(minutes=1),
        None,
        None,
    )


def test_predicates_of_counts() -> None:
    plan = read_plan_spec(COUNTED)
    (errors,), (slow,) = plan.guards, plan.steps()[0].fail
    assert errors.query is None
    assert errors.events is not None
    assert slow.events is not None
    assert (errors.events.kind, errors.events.total) == ("counters", "http_requests_total")
    assert (slow.events.kind, slow.events.slower_than) == ("histogram", timedelta(seconds=0.5))
    assert (errors.confidence, slow.confidence) == (Fraction(99, 100), Fraction(19, 20))


def test_the_most_dangerous_assumption_comes_first_and_ties_as_they_are_written() -> None:
    one = TASKS["assumptions"][0]
    dangers = {"a": (2, 3), "b": (5, 5), "c": (3, 2), "d": (1, 1)}
    assumptions = [{**one, "name": n, "impact": i, "uncertainty": u} for n, (i, u) in dangers.items()]
    plan = read_plan_spec(changed(PLAN, {"assumptions": assumptions}))
    assert [assumption.name for assumption in plan.assumptions_by_risk()] == ["b", "a", "c", "d"]


def test_the_ladder_has_one_rung_a_weight() -> None:
    steps = read_plan_spec(changed(PLAN, {"stages[1].soak": "10m", "stages[2].deadline": "1h"})).steps()
    assert [(step.index, step.name, step.permille) for step in steps] == [
        (0, "canary", 50), (1, "ramp-w10", 100), (2, "ramp-w50", 500), (3, "w100", 1000),
    ]  # fmt: skip
    minutes = [(step.soak.seconds // 60, step.deadline.seconds // 60) for step in steps]
    assert minutes == [(5, 35), (10, 40), (10, 40), (5, 60)]
    assert [p.name for p in steps[0].pass_] == ["hits"]
    assert [p.name for p in steps[1].fail] == [p.name for p in steps[2].fail] == ["wrong"]


def test_a_warmup_is_that_of_the_stage_or_else_of_the_plan() -> None:
    one = read_plan_spec(changed(PLAN, {"warmup": "2m", "stages[0].warmup": "0s", "stages[1].warmup": "90s"}))
    assert [stage.warmup.total_seconds() for stage in one.steps()] == [0, 90, 90, 120]
    other = read_plan_spec(changed(PLAN, {"stages[1].warmup": "90s", "stages[2].warmup": "2m"}))
    assert one.plan_hash() == other.plan_hash() != read_plan_spec(PLAN).plan_hash()


def test_stages_without_a_name_are_named_for_their_weights() -> None:
    assert [step.name for step in read_plan_spec(MINIMAL).steps()] == ["w0-5", "w5", "w25", "w100"]


@given(st.sets(st.integers(1, 999), min_size=1, max_size=20), st.data())
def test_the_rungs_of_every_ladder_rise_and_have_names_of_their_own(permille: set[int], data: st.DataObject) -> None:
    weights = [f"{p // 10}.{p % 10}%" for p in sorted(permille)]
    cut = data.draw(st.integers(0, len(weights) - 1))
    stages = [{"weight": weight} for weight in weights[:cut]] + [{"name": "ramp", "weights": [*weights[cut:], "100%"]}]
    steps = read_plan_spec(changed(PLAN, {"stages": stages})).steps()
    assert [step.permille for step in steps] == [*sorted(permille), 1000]
    assert len({step.name for step in steps}) == len(steps)
    assert all(len(step.name) <= 63 for step in steps)


def test_predicates_are_named_by_their_paths() -> None:
    paths = [where for where, _ in read_plan_spec(PLAN).predicates()]
    assert paths == ["guards[0]", "stages[0].pass[0]", "stages[1].fail[0]"]


def test_the_hash_is_the_same_in_every_version() -> None:
    """A hash that changes without cause starts every finished plan again: change this figure only with great care."""
    assert read_plan_spec(PLAN).plan_hash() == "60e80e947dd27721"
    _, first_plan = yaml.safe_load_all((EXAMPLES / "first-plan.yaml").read_text())
    assert read_plan_spec(first_plan["spec"]).plan_hash() == "6658caa806065032"


def test_the_hash_is_that_of_plans_stored_with_the_window_that_was_a_default_of_the_crd() -> None:
    windows = {f"{where}.window": "1m" for where, _ in read_plan_spec(PLAN).predicates()}
    assert read_plan_spec(changed(PLAN, windows)).plan_hash() == "60e80e947dd27721"


SAME: tuple[Mapping[str, Any], ...] = (
    {"owner": "team-checkout", "runbook": "https://wiki/checkout"},
    {"interval": "10s"},
    {"interval": "10000ms"},
    {"bake": "0d"},
    {"stages[0].soak": "0d5m"},
    {"stages[0].weight": 5},
    {"stages[1].weights": [10, "50%"]},
    {"stopAt": 100},
    {"availability": {"minReady": 50, "old": {"atLeast": 50}}},
    {"availability": {}},
    {"availability.minReady": "50.0%"},
    {"metrics": {"source": "default"}},
    {"old.service": "checkout-v1"},
    {"stopAt": "100%"},
    {"stages[0].soak": "300s"},
    {"stages[0].deadline": "35m"},
    {"stages[0].pass[0].is": ">0.9"},
    {"stages[0].pass[0].window": "60s"},
    {"stages[0].fail": []},
    {"stages[0].warn": []},
    {"stages[2].name": "w100"},
    {"stages[2]": {"weights": ["100%"]}},
    {"traffic.routes[0].rules": []},
    {"onMetricsUnavailable": {"action": "Hold"}},
    {"deletionPolicy": "Keep"},
    {"expand": {}},
    {"contract": {}},
    {"expand": {"scale": {"new": "None"}}},
)
OTHER: tuple[Mapping[str, Any], ...] = (
    {"interval": "11s"},
    {"availability.minReady": "51%"},
    {"old.service": "checkout"},
    {"stages[0].soak": "6m"},
    {"stages[0].deadline": "36m"},
    {"stages[0].weight": "4.9%"},
    {"stages[0].name": "first"},
    {"stages[1].weights": ["10%", "25%", "50%"]},
    {"stages[0].pass[0].is": ">= 0.9"},
    {"stages[0].pass[0].query": "sum(hits)"},
    {"guards[0].for": "10s"},
    {"guards": [alert("page")]},
    {"guards": [alert("page", 'severity="ticket"')]},
    {"stages[0].warn": [predicate("slow")]},
    {"traffic.routes[0].rules": [0]},
    {"variables": {"a": "b"}},
    {"onFail": "Hold"},
    {"hypothesis": ""},
)


SAME_COUNTS: tuple[Mapping[str, Any], ...] = (
    {"guards[0].confidence": "99.0%"},
    {"guards[0].confidence": 99},
    {"stages[0].fail[0].confidence": "95%"},
    {"stages[0].fail[0].events.slowerThan": "0.5s"},
)
OTHER_COUNTS: tuple[Mapping[str, Any], ...] = (
    {"guards[0].confidence": GONE},
    {"guards[0].confidence": "99.01%"},
    {"guards[0].events.bad": "http_errors_total"},
    {"guards[0].events.total": "http_errors_total"},
    {"guards[0].events": COUNTED["stages"][0]["fail"][0]["events"]},
    {"stages[0].fail[0].events.slowerThan": "501ms"},
    {"stages[0].fail[0].events.histogram": "h"},
)


@pytest.mark.parametrize("changes", SAME, ids=str)
def test_the_hash_stays_when_the_meaning_stays(changes: Mapping[str, Any]) -> None:
    assert read_plan_spec(changed(PLAN, changes)).plan_hash() == read_plan_spec(PLAN).plan_hash()


@pytest.mark.parametrize("changes", SAME_COUNTS, ids=str)
def test_the_hash_stays_when_the_meaning_of_counts_stays(changes: Mapping[str, Any]) -> None:
    assert read_plan_spec(changed(COUNTED, changes)).plan_hash() == read_plan_spec(COUNTED).plan_hash()


SAME_TASKS: tuple[Mapping[str, Any], ...] = (
    {"assumptions[0].deadline": "5m"},
    {"assumptions[1].predicate.window": "60s"},
    {"assumptions[0].job.template.metadata": {}},
    {"expand.jobs[0].deadline": "600s"},
)
OTHER_TASKS: tuple[Mapping[str, Any], ...] = (
    {"assumptions": []},
    {"assumptions[0].deadline": "6m"},
    {"assumptions[0].impact": 4},
    {"assumptions[0].job.template.metadata": {"labels": {"a": "b"}}},
    {"assumptions[0].job.template.spec.backoffLimit": 1},
    {"assumptions[1].predicate.window": "2m"},
    {"assumptions[1].belief": "the cache is hot"},
    {"expand.jobs": []},
    {"expand.jobs[0].deadline": "11m"},
    {"expand.jobs[0].template.spec.backoffLimit": 2},
    {"expand.scale.new": 4},
    {"expand.scale": {}},
    {"contract.approval": GONE},
    {"contract.scaleOld": 1},
    {"contract.scaleOld": GONE},
    {"contract.jobs": []},
    {"contract": {}},
)


@pytest.mark.parametrize("changes", SAME_TASKS, ids=str)
def test_the_hash_stays_when_the_meaning_of_tasks_stays(changes: Mapping[str, Any]) -> None:
    assert read_plan_spec(changed(TASKS, changes)).plan_hash() == read_plan_spec(TASKS).plan_hash()


@pytest.mark.parametrize(
    ("good", "others"),
    [(PLAN, OTHER), (COUNTED, OTHER_COUNTS), (TASKS, OTHER_TASKS)],
    ids=["values", "counts", "tasks"],
)
def test_the_hash_changes_with_the_meaning(good: dict[str, Any], others: tuple[Mapping[str, Any], ...]) -> None:
    hashes = {read_plan_spec(changed(good, changes)).plan_hash() for changes in ({}, *others)}
    assert len(hashes) == len(others) + 1


@pytest.mark.parametrize("written", [PLAN, COUNTED, TASKS], ids=["values", "counts", "tasks"])
def test_a_plan_is_read_as_it_was_written(written: dict[str, Any]) -> None:
    plan = read_plan_spec(written)
    assert read_plan_spec(plan.model_dump(mode="json", exclude_none=True)) == plan


@pytest.mark.parametrize(
    "runbook",
    [
        "https://wiki.example/runbooks/checkout",
        "http://10.0.0.1:8080",
        "http://[2001:db8::1]/",
        "https://wiki.example/pages/viewpage.action?pageId=123&v=2#What-to-do",
        "https://wiki.example/a%20b/(v2)/@team",
    ],
)
def test_addresses_of_pages_as_people_copy_them(runbook: str) -> None:
    read = read_plan_spec(changed(PLAN, {"runbook": runbook})).runbook
    assert read == runbook == printable(runbook), "it is shown as it was written"


def test_a_plan_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_plan_spec(PLAN).interval = timedelta(1)  # type: ignore[misc]


def test_fifty_stages_of_sixteen_predicates() -> None:
    stages = [{"weight": f"{2 * i + 2}%", "fail": [predicate(f"p{i}-{j}") for j in range(16)]} for i in range(50)]
    assert len(read_plan_spec(changed(PLAN, {"stages": stages})).steps()) == 50


def test_sources() -> None:
    source = read_metric_source(SOURCE, cluster=False)
    assert (source.prometheus.url, source.prometheus.flavor) == ("http://prometheus.monitoring:9090", "Prometheus")
    assert (source.timeout, source.scrape_interval) == (timedelta(seconds=5), timedelta(seconds=15))
    assert (source.ingestion_delay, source.max_concurrency, source.headers) == (timedelta(0), 16, {})
    assert not isinstance(source, ClusterMetricSourceSpec)


def test_who_may_ask_a_cluster_source() -> None:
    everyone = read_metric_source(SOURCE, cluster=True)
    shop = read_metric_source(CLUSTER_SOURCE, cluster=True)
    assert isinstance(everyone, ClusterMetricSourceSpec)
    assert isinstance(shop, ClusterMetricSourceSpec)
    assert (everyone.allows("shop"), everyone.allows("bank")) == (True, True)
    assert (shop.allows("shop"), shop.allows("bank")) == (True, False)


@pytest.mark.parametrize(
    ("written", "read"),
    [({}, "On"), *(({"batching": each}, "Off") for each in ("Off", False)), ({"batching": True}, "On")],
)
def test_a_switch_is_the_same_in_and_without_quotes(written: dict[str, Any], read: str) -> None:
    """YAML takes Off without quotes for false."""
    assert read_metric_source({**SOURCE, **written}, cluster=False).batching == read


def test_what_a_cluster_source_enforces_is_filled_in_for_each_namespace() -> None:
    enforce = {"namespace": "$namespace", "tenant": "eu/${namespace}s", "cluster": "main"}
    source = read_metric_source({**CLUSTER_SOURCE, "enforce": enforce}, cluster=True)
    assert source.enforced("shop") == {"namespace": "shop", "tenant": "eu/shops", "cluster": "main"}
    assert read_metric_source(SOURCE, cluster=False).enforced("shop") == {}


def test_the_former_form_of_a_field_is_answered_with_the_present_one() -> None:
    words = 'spec.onIncident: "Hold" is not a mapping: write onIncident: {action: Hold, after: 5m, then: Rollback}'
    with pytest.raises(SpecError, match=re.escape(words)):
        read_plan_spec(changed(PLAN, {"onIncident": "Hold"}))


# ---- the template of a Job ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ({8080: "open", "b": 1}, {"b": 1, "8080": "open"}),
    ],
    ids=["another order of keys", "a key that YAML reads as a number"],
)
def test_jobs_that_mean_the_same_are_equal(one: dict[Any, Any], other: dict[Any, Any]) -> None:
    made = [
        JobTemplate.model_validate({"spec": {"template": {"spec": {"serviceAccountName": "jobs", "more": more}}}})
        for more in (one, other)
    ]
    assert made[0] == made[1]


def test_nothing_that_was_worked_out_of_a_spec_is_left_in_a_changed_copy() -> None:
    spec = read_plan_spec(PLAN)
    assert spec.services.new and spec.traffic.routes[0].id
    other = spec.model_copy(update={"new": spec.new.model_copy(update={"service": "another"})})
    assert (spec.services.new, other.services.new) == (spec.new.service_name, "another")
    owned = spec.traffic.routes[0].owned()
    assert (owned.id, owned.written) == (RouteId("HTTPRoute", owned_name(owned.name)), spec.traffic.routes[0].id)
