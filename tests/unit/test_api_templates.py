"""Templates: what is refused of them, what comes of them, and that no value says more than its place allows."""

from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from promql_parser import VectorSelector, parse

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import opposite, parse_is, parse_vs_old
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import Resolved, Template, resolve, snapshot_lookup
from rolloutplan.api.spec import PlanSpec, SpecError, read_plan_spec
from rolloutplan.api.status import TemplateStatus
from rolloutplan.api.template import fill, read_template, samples
from tests.refusals import (
    COUNTING,
    GONE,
    ONLY_READ_TEMPLATES,
    PLAN,
    TEMPLATE,
    TEMPLATES,
    Refusal,
    changed,
)

KNOWN = {"success-rate": TEMPLATE, "slow": COUNTING}


def known(name: str) -> Template:
    raw = KNOWN.get(name)
    if raw is None:
        return Template("", name, None, f"no template {name}: create one", StatusReason.TEMPLATE_NOT_FOUND)
    return Template("PredicateTemplate", name, read_template(raw))


def plan(guard: Mapping[str, Any] | None = None, changes: Mapping[str, Any] = MappingProxyType({})) -> PlanSpec:
    return read_plan_spec(changed(PLAN, {**({"guards[0]": guard} if guard else {}), **changes}))


def resolved(guard: Mapping[str, Any] | None = None, changes: Mapping[str, Any] = MappingProxyType({})) -> Resolved:
    return resolve(plan(guard, changes), known)


def guard(written: dict[str, Any]) -> Predicate:
    found = resolved(written)
    assert found.problems == ()
    return found.spec.guards[0]


# ---- what is refused of a template -----------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [*TEMPLATES, *ONLY_READ_TEMPLATES], ids=lambda refusal: refusal.name)
def test_templates_that_are_refused(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as refused:
        read_template(refusal.spec())
    assert all(word in str(refused.value) for word in refusal.words), refused.value


def test_what_has_no_default_is_judged_when_it_is_filled_in() -> None:
    read_template(changed(TEMPLATE, {"parameters[2].default": GONE, "is": "about $(atLeast)"}))


@pytest.mark.parametrize("template", [TEMPLATE, COUNTING], ids=["a value", "counts"])
def test_there_is_a_sample_for_each_that_must_be_said(template: dict[str, Any]) -> None:
    read = read_template(template)
    fill(read, samples(read))


# ---- what comes of it ------------------------------------------------------------------------------------------------


def test_a_template_is_a_predicate_with_its_values_in_place() -> None:
    found = guard({"template": "success-rate", "with": {"atLeast": "99.5%", "metric": "served", "samples": "20"}})
    assert found.name == "success-rate"
    assert found.query is not None
    assert 'served{deployment="$deployment",code!~"5.."}' in found.query
    assert found.min_samples is not None
    assert found.min_samples.at_least == 20
    assert not found.has_references


def test_counts_of_a_template() -> None:
    found = guard({"name": "new-slow", "template": "slow", "with": {"slowerThan": "500ms"}})
    assert found.events is not None
    assert (found.name, found.events.slower_than) == ("new-slow", timedelta(milliseconds=500))
    assert (found.comparison.text, found.confidence) == ("> 1.5x", Fraction(99, 100))


@pytest.mark.parametrize(
    ("kind", "text", "asked"),
    [
        ("Number", "0.5", "0.5"),
        ("Number", "-3", "-3"),
        ("Percent", "99%", "0.99"),
        ("Percent", "0.05%", "0.0005"),
        ("Percent", "150%", "1.5"),
        ("Duration", "90s", "1m30s"),
        ("Duration", "1.001s", "1001ms"),
        ("Name", "job:errors:rate1m", "job:errors:rate1m"),
        ("String", "5..|4[0-9]{2}", "5..|4[0-9]{2}"),
        ("String", "$service.$namespace.svc", "$service.$namespace.svc"),
        ("String", "${namespace}_${service}_80", "${namespace}_${service}_80"),
    ],
)
def test_a_value_stands_in_promql_as_promql_writes_it(kind: str, text: str, asked: str) -> None:
    """And in a comparison as people write it."""
    raw = {"indicates": "Success", "parameters": [{"name": "x", "type": kind}], "query": 'f("$(x)")', "is": "$(x)"}
    assert fill(read_template(raw), {"x": text}) == {"query": f'f("{asked}")', "is": text}


@pytest.mark.parametrize(
    ("place", "indicates", "text"),
    [
        ("guards[0]", "Success", "< 99%"),
        ("guards[0]", "Failure", ">= 99%"),
        ("stages[0].fail", "Success", "< 99%"),
        ("stages[0].warn", "Success", "< 99%"),
        ("stages[0].warn", "Failure", ">= 99%"),
        ("stages[0].pass", "Success", ">= 99%"),
        ("stages[0].pass", "Failure", "< 99%"),
    ],
)
def test_a_comparison_is_turned_round_where_the_place_wants_the_opposite(place: str, indicates: str, text: str) -> None:
    one = {"template": "success-rate"}
    spec = plan(changes={place: one if place.endswith("]") else [one]})
    template = Template("", "success-rate", read_template({**TEMPLATE, "indicates": indicates}))
    found = resolve(spec, lambda _: template).spec
    (predicate,) = (p for _, p in found.predicates() if p.name == "success-rate")
    assert predicate.comparison.text == text


@pytest.mark.parametrize(
    ("text", "turned"),
    [("> 1", "<= 1"), (">= 1", "< 1"), ("< 1", ">= 1"), ("<= 1", "> 1"), ("== 1", "!= 1"), ("!= 1", "== 1")],
)
def test_of_a_comparison_and_its_opposite_one_holds(text: str, turned: str) -> None:
    assert opposite(parse_is(text)) == parse_is(turned)
    assert opposite(opposite(parse_is(text))) == parse_is(text)


def test_a_ratio_is_turned_round_too() -> None:
    assert opposite(parse_vs_old("> 1.5x")) == parse_vs_old("<= 1.5x")


def test_what_is_written_beside_a_template_takes_the_place_of_its_own() -> None:
    found = guard({"template": "success-rate", "vsOld": "< 0.9x", "window": "5m", "for": "30s"})
    assert (found.is_, found.vs_old and found.vs_old.text) == (None, "< 0.9x")
    assert (found.window, found.for_) == (timedelta(minutes=5), timedelta(seconds=30))
    assert found.min_samples is not None, "and the rest is the template's"


def test_what_is_used_is_judged_under_its_name_at_another_place() -> None:
    uses = {"stages[2].pass": [{"use": "hits"}, {"name": "not-wrong", "use": "wrong"}]}
    spec = resolved(changes={**uses, "stages[2].warn": [{"name": "few", "use": "hits"}]}).spec
    hits, not_wrong = spec.stages[2].pass_
    assert [(few.name, few.comparison.text) for few in spec.stages[2].warn] == [("few", "<= 0.9")]
    assert hits == spec.stages[0].pass_[0]
    assert (not_wrong.name, not_wrong.query, not_wrong.comparison.text) == ("not-wrong", "wrong", "<= 0")


def test_a_template_can_be_used_too() -> None:
    good = {"name": "good", "template": "success-rate", "with": {"atLeast": "95%"}}
    found = resolved(changes={"stages[0].pass": [good], "stages[2].pass": [{"use": "good"}]})
    assert found.problems == ()
    assert found.spec.stages[2].pass_ == found.spec.stages[0].pass_


def test_a_dry_run_is_one_where_it_is_written_and_nowhere_else() -> None:
    tried = {"name": "tried", "template": "success-rate", "dryRun": True}
    later = [{"use": "tried"}, {"use": "hits", "dryRun": True}, {"name": "again", "use": "tried", "dryRun": True}]
    found = resolved(changes={"stages[0].fail": [tried], "stages[2].pass": later})
    assert found.problems == ()
    assert [p.dry_run for p in (*found.spec.stages[0].pass_, *found.spec.stages[0].fail)] == [False, True]
    assert [(p.name, p.dry_run) for p in found.spec.stages[2].pass_] == [
        *(("tried", False), ("hits", True), ("again", True)),
    ]
    assert resolve(read_plan_spec(found.raw()), snapshot_lookup(())).spec.judged_hash() == found.spec.judged_hash()


def test_a_plan_without_references_stays_as_it_is() -> None:
    spec = plan()
    assert resolve(spec, known).spec is spec


# ---- what is in the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "why", "words"),
    [
        ({"template": "sucess-rate"}, "TemplateNotFound", "no template sucess-rate: create one"),
        (
            {"template": "success-rate", "with": {"atleast": "99%"}},
            "TemplateInvalid",
            "PredicateTemplate success-rate: with.atleast: is not a parameter of the template: did you mean atLeast?",
        ),
        (
            {"template": "success-rate", "with": {"p": "99%"}},
            "TemplateInvalid",
            "with.p: is not a parameter of the template: write one of deployment, metric, atLeast, samples",
        ),
        (
            {"template": "success-rate", "with": {"atLeast": "0.99"}},
            "TemplateInvalid",
            'with.atLeast: "0.99" is not a percentage: write "99%"',
        ),
        ({"template": "slow"}, "TemplateInvalid", "with.slowerThan: has no default: write a Duration"),
        (
            {"template": "slow", "with": {"slowerThan": "0s"}},
            "TemplateInvalid",
            "with the values of this plan: spec.events.slowerThan: 0s is below the minimum",
        ),
        (
            {"template": "success-rate", "with": {"samples": "1.5"}},
            "TemplateInvalid",
            "with the values of this plan: spec.minSamples.atLeast",
        ),
        (
            {"template": "slow", "with": {"slowerThan": "1s"}, "for": "30s"},
            "TemplateInvalid",
            "spec.for: is not allowed with events",
        ),
        (
            {"template": "success-rate", "confidence": "99%"},
            "TemplateInvalid",
            "spec.confidence: is only allowed with events",
        ),
    ],
)
def test_a_reference_that_cannot_be_replaced_says_why(written: dict[str, Any], why: str, words: str) -> None:
    (problem,) = resolved(written).problems
    assert (problem.path, problem.why) == ("spec.guards[0]", why)
    assert words in problem.words


# ---- values stay in their place --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("String", 'a"} or vector(1) or x{a="'),
        ("String", "a'"),
        ("String", "a`"),
        ("String", "a\\"),
        ("String", "a\nb"),
        ("String", "$team"),
        ("String", "$deploymentx"),
        ("String", "${team}"),
        ("String", "${deployment"),
        ("String", "a$"),
        ("String", "$(other)"),
        ("String", "a" * 257),
        ("Name", "a b"),
        ("Name", "a{}"),
        ("Name", "1a"),
        ("Name", ""),
        ("Number", "1 or vector(1)"),
        ("Number", "1e9"),
        ("Number", ""),
        ("Percent", "5"),
        ("Duration", "5"),
        ("Duration", "1m] or x[1m"),
    ],
)
def test_values_that_are_refused(kind: str, text: str) -> None:
    raw = {"indicates": "Success", "parameters": [{"name": "x", "type": kind}], "query": 'f("$(x)")', "is": "> 1"}
    with pytest.raises(SpecError, match=r"with\.x: "):
        fill(read_template(raw), {"x": text})


@given(st.text(max_size=40))
def test_a_string_is_the_value_of_its_label_and_nothing_else(text: str) -> None:
    raw = {
        "indicates": "Success",
        "parameters": [{"name": "x", "type": "String"}],
        "query": 'up{a="$(x)",b=\'$(x)\',c=`$(x)`,d="1"}',
        "is": "> 1",
    }
    try:
        query = fill(read_template(raw), {"x": text})["query"]
    except SpecError:
        assume(False)
    tree = parse(query)
    assert isinstance(tree, VectorSelector)
    values = {matcher.name: matcher.value for matcher in tree.matchers.matchers}
    assert values == {"a": text, "b": text, "c": text, "d": "1"}


def test_a_value_is_not_looked_through_for_parameters() -> None:
    raw = {
        "indicates": "Success",
        "parameters": [{"name": "a", "type": "String"}, {"name": "b", "type": "String"}],
        "query": 'up{a="$(a)(b)"}',
        "is": "> 1",
    }
    with pytest.raises(SpecError):
        fill(read_template(raw), {"a": "$", "b": "x"})


# ---- hashes, and what a run keeps ------------------------------------------------------------------------------------


def test_the_hash_of_a_plan_is_that_of_what_was_written() -> None:
    """Else a change of a template would end runs, and start plans again that are done."""
    spec = plan({"template": "success-rate"})
    other = Template("PredicateTemplate", "success-rate", read_template(changed(TEMPLATE, {"is": "> 0.5"})))
    first, second = resolve(spec, known).spec, resolve(spec, lambda _: other).spec
    assert first.plan_hash() == second.plan_hash() == spec.plan_hash()
    assert first.judged_hash() != second.judged_hash()


@pytest.mark.parametrize("beside", [{"window": "1m"}, {"confidence": "95%"}, {"for": "10s"}, {"is": "< 99%"}])
def test_what_is_written_beside_a_template_makes_another_plan(beside: dict[str, str]) -> None:
    """Our defaults too: the template may say otherwise, and a run must not go on with what was changed under it."""
    assert plan({"template": "slow", **beside}).plan_hash() != plan({"template": "slow"}).plan_hash()


def test_a_plan_full_of_wrong_names_is_read_at_once() -> None:
    stages = [{"weight": f"{2 * i}%", "pass": [{"use": f"n-{i}-{j}"} for j in range(16)]} for i in range(1, 51)]
    with pytest.raises(SpecError, match="is not a predicate of this plan"):
        plan(changes={"stages": stages, "guards": [{"name": f"g-{i}", "query": "up", "is": "> 1"} for i in range(16)]})


@pytest.mark.parametrize("with_", [{"atLeast": "99.5%"}, {"metric": "served"}])
def test_other_values_make_another_plan(with_: dict[str, str]) -> None:
    assert (
        plan({"template": "success-rate"}).plan_hash() != plan({"template": "success-rate", "with": with_}).plan_hash()
    )


def test_a_name_that_is_written_out_makes_no_other_plan() -> None:
    short, long = plan({"template": "success-rate"}), plan({"template": "success-rate", "name": "success-rate"})
    assert short.plan_hash() == long.plan_hash()


def test_what_a_run_keeps_is_what_it_began_with() -> None:
    spec = plan({"template": "success-rate"}, {"stages[2].pass": [{"template": "slow", "with": {"slowerThan": "1s"}}]})
    found = resolve(spec, known)
    kept = tuple(template.to_status() for template in found.used)
    assert [(each.kind, each.name) for each in kept] == [
        ("PredicateTemplate", "slow"),
        ("PredicateTemplate", "success-rate"),
    ]
    assert resolve(spec, snapshot_lookup(kept)).spec.judged_hash() == found.spec.judged_hash()


@pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"indicates": "Success"}'])
def test_what_a_run_kept_and_somebody_edited_is_missed(text: str) -> None:
    found = resolve(
        plan({"template": "success-rate"}), snapshot_lookup([TemplateStatus(name="success-rate", text=text)])
    )
    assert "no longer holds template success-rate" in found.problems[0].words


def test_a_plan_can_be_written_and_read_again_without_its_templates() -> None:
    found = resolved({"template": "success-rate"}, {"stages[2].pass": [{"use": "hits"}]})
    again = resolve(read_plan_spec(found.raw()), snapshot_lookup(()))
    assert again.problems == ()
    assert again.spec.judged_hash() == found.spec.judged_hash()
