"""Find pitfalls in the queries of plans, policies and templates: each query as it first runs, each window in its stage.

Specs come from `cli` and from the metric provider; findings go to `lint`'s output and to the plan's query warnings. No
finding blocks a plan: it is only reported, and the metric source decides what it answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from rolloutplan.api.policy import PLAN_LABELS, RolloutPolicySpec
from rolloutplan.api.quantities import Comparison, parse_is, parse_vs_old
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.template import PredicateTemplateSpec, fill, promql_values, samples
from rolloutplan.engine.analysis.in_force import unguarded
from rolloutplan.engine.analysis.variables import names_a_side
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.lint.additions import lint_additions
from rolloutplan.tools.lint.comparisons import Role
from rolloutplan.tools.lint.judged import Judged, counters_of, filled, judged_predicates
from rolloutplan.tools.lint.meaning import comparison_check, lint_events, lint_slowness, samples_check
from rolloutplan.tools.lint.pace import lint_deadlines, lint_for, lint_samples, lint_warmups, lint_window
from rolloutplan.tools.lint.sides import (
    NO_SIDE,
    lint_namespaces,
    lint_old_matchers,
    lint_sides,
    matcher_check,
    sides_of,
)
from rolloutplan.tools.lint.unseen import lint_unseen
from rolloutplan.tools.promql.queries import Check, Finding, lint_alerts, lint_counter, lint_query
from rolloutplan.tools.promql.text import FilledText
from rolloutplan.tools.promql.traps import Asking

TELLABLE: Final = 1024
"""The most bytes in the note of an Event."""
_THEMSELVES: Final = {word: word for word in BUILTIN_VARIABLES} | {"window": "1m", "elapsed": "1m"}
"""The values of the variables where there is no plan to fill them in: each stands for itself."""


def lint_plan(spec: PlanSpec, scrape: timedelta | None, flavor: str = "Prometheus") -> tuple[Finding, ...]:
    """Find the pitfalls in every predicate of a plan, and in the queries of its assumptions.

    `scrape` is the scrape interval, None if unknown. A reference that could not be resolved has no query to check.
    What Prometheus refuses is an error, and a warning where the metric source has another `flavor`.
    """
    judged = tuple(judged_predicates(spec))
    found = (
        *_unguarded(spec),
        *lint_additions(spec),
        *lint_unseen(spec),
        *_assumed(spec, scrape, flavor),
        *(
            finding
            for each in judged
            for finding in (
                *lint_window(each),
                *_questions(spec, each, scrape, flavor),
                *lint_sides(spec, each),
                *lint_old_matchers(spec, each),
                *lint_for(spec, each, scrape),
            )
        ),
        *lint_namespaces(judged),
        *_silences(spec),
        *lint_warmups(spec, scrape),
    )
    return tuple(dict.fromkeys(found))  # what both sides are asked may be wrong for both


def lint_time(spec: PlanSpec, scrape: timedelta, traffic: Traffic) -> Iterator[Finding]:
    """Find what cannot be decided in time at this traffic (of both sides together)."""
    yield from lint_deadlines(spec, scrape, traffic)
    yield from lint_samples(spec, traffic)


def lint_policy(spec: RolloutPolicySpec) -> tuple[Finding, ...]:
    """Find the pitfalls in a policy. Its query runs for any plan, so each variable stands for itself."""
    found: tuple[Finding, ...] = ()
    if spec.selector.match_labels:
        found = (Finding("spec.selector.matchLabels", "plan-labels", "warning", PLAN_LABELS),)
    if spec.error_budget is None:
        return found
    query = FilledText.fill(spec.error_budget.query, _THEMSELVES)
    return found + lint_query(query, Asking(), "spec.errorBudget.query")


def lint_template(spec: PredicateTemplateSpec) -> Iterator[Finding]:
    """Find the pitfalls in a template, with its defaults, and with sample values where it has none."""
    body = fill(spec, samples(spec))
    counted, min_samples = body.get("events", {}), body.get("minSamples", {})
    role: Role = "success" if spec.indicates == "Success" else "failure"
    comparison = _comparison(body)
    values = promql_values(spec, samples(spec))
    asked = spec.min_samples.query if spec.min_samples else None
    for path, query in (("query", spec.query), ("minSamples.query", asked)):
        if query is not None:
            checks = (comparison_check(role, comparison, "spec"),) if comparison and path == "query" else ()
            filled_in = FilledText.fill(query, _THEMSELVES, values)
            yield from lint_query(filled_in, Asking(sampled=bool(min_samples)), f"spec.{path}", checks)
    texts = {f"events.{field}": text for field, text in counted.items() if field != "slowerThan"}
    texts |= {"query": body["query"]} if "query" in body else {}
    said_by_plan = any(each.default is None and each.type in ("String", "Name") for each in spec.parameters)
    if not said_by_plan and not any(map(names_a_side, texts.values())):
        words = f"does not say which side it asks, so it judges both together: {NO_SIDE}"
        yield from (Finding(f"spec.{field}", "no-side", "warning", words) for field in texts)
    counters = {
        field: FilledText.fill(getattr(spec.events, field), _THEMSELVES, values)
        for field in ("bad", "total", "histogram")
        if field in counted
    }
    for field, series in counters.items():
        yield from lint_counter(series, f"spec.events.{field}", histogram=field == "histogram")
    if counters and comparison:
        yield from lint_events(role, comparison, counters, "spec")


def _comparison(body: Mapping[str, Any]) -> Comparison | None:
    """The comparison of a template whose parameters are filled in; None where a sample value fits none."""
    with suppress(ValueError):
        return parse_is(body["is"]) if "is" in body else parse_vs_old(body["vsOld"])
    return None


def warnings_of(spec: PlanSpec, scrape: timedelta | None, flavor: str = "Prometheus") -> str:
    """Return the errors and warnings in one line of at most 1,024 bytes; "" where there are none."""
    found = [each for each in lint_plan(spec, scrape, flavor) if each.severity != "hint"]
    found.sort(key=lambda each: each.severity != "error")
    warnings = [f"{each.path}: {each.words}" for each in found]
    for shown in range(min(len(warnings), TELLABLE // 32), 0, -1):
        more = f"; and {len(warnings) - shown} more" if shown < len(warnings) else ""
        line = "; ".join(warnings[:shown]) + more
        if len(line.encode()) <= TELLABLE:
            return line
    return warnings[0].encode()[: TELLABLE - 3].decode(errors="ignore") + "..." if warnings else ""


def _assumed(spec: PlanSpec, scrape: timedelta | None, flavor: str) -> Iterator[Finding]:
    """Find the pitfalls in assumptions. They run before any weight changes, so they read no data of another stage."""
    for i, assumption in enumerate(spec.assumptions):
        if (asked := assumption.predicate) is not None:
            query = filled(spec, "", asked.query, "new", asked.window, timedelta(0))
            path = f"spec.assumptions[{i}].predicate"
            checks = (comparison_check("assumption", asked.is_, path),)
            yield from lint_query(query, Asking(scrape=scrape, flavor=flavor), f"{path}.query", checks)


def _questions(spec: PlanSpec, judged: Judged, scrape: timedelta | None, flavor: str) -> Iterator[Finding]:
    predicate, path = judged.predicate, judged.path
    window, reach = judged.first(scrape)
    samples = predicate.min_samples
    sides = sides_of(spec)

    def filled_in(text: str) -> FilledText:
        return filled(spec, judged.stage, text, "new", window, reach)

    if predicate.query is not None:
        asking = Asking(reach, scrape, samples is not None, judged.role == "pass", flavor)
        means = comparison_check(judged.role, predicate.comparison, path)
        checks: tuple[Check, ...] = (matcher_check(sides, f"{path}.query"), means)
        yield from lint_query(filled_in(predicate.query), asking, f"{path}.query", checks)
    if samples is not None:
        asking = Asking(reach, scrape, sampled=True, flavor=flavor)
        checks = (matcher_check(sides, f"{path}.minSamples.query"), samples_check(samples, f"{path}.minSamples"))
        yield from lint_query(filled_in(samples.query), asking, f"{path}.minSamples.query", checks)
    if predicate.alert is not None:
        yield from lint_alerts(filled_in(predicate.alert.matchers), f"{path}.alert.matchers", flavor)
    counters = {field: filled_in(text) for field, text in counters_of(predicate)}
    for field, text in counters.items():
        where = f"{path}.events.{field}"
        checks = (matcher_check(sides, where),)
        yield from lint_counter(text, where, histogram=field == "histogram", flavor=flavor, checks=checks)
    if counters:
        yield from lint_events(judged.role, predicate.comparison, counters, path)
    if predicate.events is not None and predicate.events.slower_than and "histogram" in counters:
        yield from lint_slowness(predicate.events.slower_than, counters["histogram"], path)


def _unguarded(spec: PlanSpec) -> Iterator[Finding]:
    """Find weights and a bake in which nothing can act."""
    if words := unguarded(spec):
        yield Finding("spec.guards" if spec.guards else "spec.stages", "unguarded", "warning", words)


def _silences(spec: PlanSpec) -> Iterator[Finding]:
    """Find stages that are proved by silence alone."""
    for i, stage in enumerate(spec.stages):
        enforced = [each for each in (*spec.guards, *stage.fail, *stage.pass_) if not each.dry_run]
        if enforced and all(each.silence_is_clear for each in enforced):
            fix = "add a predicate that always has a value, such as a share of all requests"
            words = f"all that is enforced here says noData: Clear, so a misspelled name is good news: {fix}"
            yield Finding(f"spec.stages[{i}]", "only-silence", "warning", words)
