"""Find pitfalls in the queries of plans, policies and templates: each query as it first runs, each window in its stage.

Specs come from `cli` and from the metric provider; findings go to `lint`'s output and to the plan's query warnings. No
finding blocks a plan: it is only reported, and the metric source decides what it answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rolloutplan.api.policy import PLAN_LABELS, RolloutPolicySpec
from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.api.template import PredicateTemplateSpec, fill, samples
from rolloutplan.engine.analysis.counting import round_up
from rolloutplan.engine.analysis.measurements import Role, first_window
from rolloutplan.engine.analysis.variables import names_a_side, render, variables_for
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.rules.forecast import slow_predicate_problem
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.promql import Asking, Finding, lint_alerts, lint_counter, lint_query

TELLABLE: Final = 1024
"""The most bytes in the note of an Event."""
_NO_SIDE: Final = (
    "it says the same of both, or another tool has replaced a variable (Flux and envsubst replace ${...}); write"
    " $deployment, $service, $old or $new"
)
_MINUTE: Final = timedelta(minutes=1)
_THEMSELVES: Final = {word: word for word in BUILTIN_VARIABLES} | {"window": "1m", "elapsed": "1m"}
"""The values of the variables where there is no plan to fill them in: each stands for itself."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A predicate and its path.

    `soak` is the longest time at one weight while the predicate is in force and judges, `deadline` the time by which it
    must. Both are without the warmup, which is 0 where it judges at once.
    """

    path: str
    role: Role
    predicate: Predicate
    stage: str
    soak: timedelta
    deadline: timedelta
    warmup: timedelta

    def first(self, scrape: timedelta | None) -> tuple[timedelta, timedelta]:
        """Return the window of the first query, and the time at the weight by then. Queries use whole seconds."""
        window = self.predicate.window
        if self.role == "pass":
            return window, max(window, self.soak)
        if scrape is not None:
            window = min(window, round_up(first_window(self.predicate, scrape), timedelta(seconds=1)))
        return window, window


def lint_plan(spec: PlanSpec, scrape: timedelta | None) -> tuple[Finding, ...]:
    """Find the pitfalls in every predicate of a plan, and in the queries of its assumptions.

    `scrape` is the scrape interval, None if unknown. A reference that could not be resolved has no query to check.
    """
    return (
        *_assumed(spec, scrape),
        *(
            finding
            for judged in _judged(spec)
            if not judged.predicate.has_references
            for finding in (*_time(judged), *_questions(spec, judged, scrape), *_sides(spec, judged))
        ),
        *_silences(spec),
        *_warmups(spec, scrape),
    )


def lint_time(spec: PlanSpec, scrape: timedelta, traffic: Traffic) -> Iterator[Finding]:
    """Find the stages that cannot be decided by their deadline at this traffic (of both sides together)."""
    every = max(spec.interval, scrape)
    for i, stage in enumerate(spec.stages):
        steps = [step for step in spec.steps() if step.entry == i and not step.completes]
        for j, predicate in enumerate(stage.pass_):
            if predicate.has_references or predicate.events is None or predicate.dry_run:
                continue
            for step in steps:
                at_weight = traffic.at(step.permille / 1000)
                if words := slow_predicate_problem(predicate, step, at_weight, every):
                    yield Finding(f"spec.stages[{i}].pass[{j}]", "cannot-conclude", "warning", words)
                    break


def lint_policy(spec: RolloutPolicySpec) -> tuple[Finding, ...]:
    """Find the pitfalls in a policy. Its query runs for any plan, so each variable stands for itself."""
    found: tuple[Finding, ...] = ()
    if spec.selector.match_labels:
        found = (Finding("spec.selector.matchLabels", "plan-labels", "warning", PLAN_LABELS),)
    if spec.error_budget is None:
        return found
    return found + lint_query(render(spec.error_budget.query, _THEMSELVES), Asking(), "spec.errorBudget.query")


def lint_template(spec: PredicateTemplateSpec) -> Iterator[Finding]:
    """Find the pitfalls in a template, with its defaults, and with sample values where it has none."""
    body = fill(spec, samples(spec))
    counted, min_samples = body.get("events", {}), body.get("minSamples", {})
    for path, query in (("query", body.get("query")), ("minSamples.query", min_samples.get("query"))):
        if query is not None:
            yield from lint_query(render(query, _THEMSELVES), Asking(sampled=bool(min_samples)), f"spec.{path}")
    texts = {f"events.{field}": text for field, text in counted.items() if field != "slowerThan"}
    texts |= {"query": body["query"]} if "query" in body else {}
    said_by_plan = any(each.default is None and each.type in ("String", "Name") for each in spec.parameters)
    if not said_by_plan and not any(map(names_a_side, texts.values())):
        yield from (Finding(f"spec.{field}", "no-side", "warning", f"names no side: {_NO_SIDE}") for field in texts)
    for field in ("bad", "total", "histogram"):
        if field in counted:
            series = render(counted[field], _THEMSELVES)
            yield from lint_counter(series, f"spec.events.{field}", histogram=field == "histogram")


def warnings_of(spec: PlanSpec, scrape: timedelta | None) -> str:
    """Return the warnings in one line of at most 1,024 bytes; "" where there are none."""
    warnings = [f"{found.path}: {found.words}" for found in lint_plan(spec, scrape) if found.severity == "warning"]
    for shown in range(min(len(warnings), TELLABLE // 32), 0, -1):
        more = f"; and {len(warnings) - shown} more" if shown < len(warnings) else ""
        line = "; ".join(warnings[:shown]) + more
        if len(line.encode()) <= TELLABLE:
            return line
    return warnings[0].encode()[: TELLABLE - 3].decode(errors="ignore") + "..." if warnings else ""


def _assumed(spec: PlanSpec, scrape: timedelta | None) -> Iterator[Finding]:
    """Find the pitfalls in assumptions. They run before any weight changes, so they read no data of another stage."""
    for i, assumption in enumerate(spec.assumptions):
        if (asked := assumption.predicate) is not None:
            query = _filled(spec, "", asked.query, "new", asked.window, timedelta(0))
            yield from lint_query(query, Asking(scrape=scrape), f"spec.assumptions[{i}].predicate.query")


def _judged(spec: PlanSpec) -> Iterator[_Judged]:
    steps = [step for step in spec.steps() if not step.completes]
    for i, guard in enumerate(spec.guards):
        longest = max(steps, key=lambda step: step.soak - left_out(step, guard))
        warmup = left_out(longest, guard)
        soak = max(spec.bake_for, longest.soak - warmup)
        yield _Judged(f"spec.guards[{i}]", "guard", guard, steps[0].name, soak, soak, warmup)
    for i, stage in enumerate(spec.stages):
        step = next(step for step in steps if step.entry == i)
        roles: tuple[tuple[Role, tuple[Predicate, ...]], ...] = (
            ("pass", stage.pass_),
            ("fail", stage.fail),
            ("warn", stage.warn),
        )
        for role, predicates in roles:
            for j, predicate in enumerate(predicates):
                path, name, warmup = f"spec.stages[{i}].{role}[{j}]", stage.name or "stage", left_out(step, predicate)
                yield _Judged(path, role, predicate, name, step.soak - warmup, step.deadline - warmup, warmup)


def _time(judged: _Judged) -> Iterator[Finding]:
    window, path = judged.predicate.window, f"{judged.path}.window"
    if judged.predicate.query is None or window <= judged.soak:
        return
    too_long = f"{format_duration(window)} does not fit in the soak of {format_duration(judged.soak + judged.warmup)}"
    fix = "write a shorter window, or a longer soak"
    if judged.warmup:
        too_long += f" after the warmup of {format_duration(judged.warmup)}"
        fix += ", or a shorter warmup"
    if judged.role != "pass":
        yield Finding(path, "window-over-soak", "hint", f"{too_long}, so the window is never full: {fix}")
    elif window <= judged.deadline:
        taken = f"{too_long}, so the stage takes {format_duration(judged.warmup + window)}"
        yield Finding(path, "window-over-soak", "warning", f"{taken}: {fix}")
    else:
        deadline = format_duration(judged.deadline + judged.warmup)
        never = f"{too_long}, nor before the deadline of {deadline}, so it is never proved"
        yield Finding(path, "window-over-soak", "warning", f"{never}: {fix}")


def _questions(spec: PlanSpec, judged: _Judged, scrape: timedelta | None) -> Iterator[Finding]:
    predicate = judged.predicate
    window, reach = judged.first(scrape)
    samples = predicate.min_samples

    def filled(text: str) -> str:
        return _filled(spec, judged.stage, text, "new", window, reach)

    if predicate.query is not None:
        asking = Asking(reach, scrape, sampled=samples is not None, proves=judged.role == "pass")
        yield from lint_query(filled(predicate.query), asking, f"{judged.path}.query")
    if samples is not None:
        asking = Asking(reach, scrape, sampled=True)
        yield from lint_query(filled(samples.query), asking, f"{judged.path}.minSamples.query")
    if predicate.alert is not None:
        yield from lint_alerts(filled(predicate.alert.matchers), f"{judged.path}.alert.matchers")
    for field, text in _counted(predicate):
        yield from lint_counter(filled(text), f"{judged.path}.events.{field}", histogram=field == "histogram")


def _sides(spec: PlanSpec, judged: _Judged) -> Iterator[Finding]:
    predicate = judged.predicate
    if predicate.comparison.kind == "value":
        yield from _names_no_side(spec, judged)
        return
    if _only_at_full_weight(spec, judged):
        fix = "compare with a number (is), or judge at a smaller weight first"
        words = f"at 100% no old side is left to compare with, and it is judged at no smaller weight: {fix}"
        yield Finding(f"{judged.path}.vsOld", "no-old-side", "warning", words)
    for field, text in _texts(predicate):
        new, old = (_filled(spec, judged.stage, text, side, _MINUTE, _MINUTE) for side in ("new", "old"))
        if new == old:
            words = "the query is the same for both sides, which never differ: select one with $deployment or $service"
            yield Finding(f"{judged.path}.{field}", "same-sides", "warning", words)


def _names_no_side(spec: PlanSpec, judged: _Judged) -> Iterator[Finding]:
    """Find queries that say nothing about one side: another tool may have taken a variable out of them."""
    if any(names_a_side(text) or _has_name_of_side(spec, text) for _, text in _texts(judged.predicate)):
        return
    for field, _ in _texts(judged.predicate):
        words = (
            f"names no side, neither by a variable nor as {spec.old.deployment} or {spec.new.deployment}: {_NO_SIDE}"
        )
        yield Finding(f"{judged.path}.{field}", "no-side", "warning", words)


def _has_name_of_side(spec: PlanSpec, text: str) -> bool:
    """Whether a query holds the name of a side, or the part in which both names differ (v2 of checkout-v2)."""
    filled = render(text, spec.variables)
    old, new = set(spec.old.deployment.split("-")), set(spec.new.deployment.split("-"))
    names = {spec.old.deployment, spec.old.service_name, spec.new.deployment, spec.new.service_name, *(old ^ new)}
    return any(re.search(rf"(?<![a-zA-Z0-9]){re.escape(name)}(?![a-zA-Z0-9])", filled) for name in names)


def _only_at_full_weight(spec: PlanSpec, judged: _Judged) -> bool:
    """Whether all weights at which a predicate is judged leave the old side nothing. A holdback leaves it something."""
    if spec.holdback:
        return False
    places = {f"spec.stages[{i}].": stage.steps for i, stage in enumerate(spec.stages)}
    own = next((steps for start, steps in places.items() if judged.path.startswith(start)), None)
    return all(permille == FULL for permille in own or (step.permille for step in spec.steps()))


def _silences(spec: PlanSpec) -> Iterator[Finding]:
    """Find stages that are proved by silence alone."""
    for i, stage in enumerate(spec.stages):
        enforced = [each for each in (*spec.guards, *stage.fail, *stage.pass_) if not each.dry_run]
        if enforced and all(each.silence_is_clear for each in enforced):
            fix = "add a predicate that always has a value, such as a share of all requests"
            words = f"all that is enforced here says noData: Clear, so a misspelled name is good news: {fix}"
            yield Finding(f"spec.stages[{i}]", "only-silence", "warning", words)


def _warmups(spec: PlanSpec, scrape: timedelta | None) -> Iterator[Finding]:
    """Find stages that end before the first verdict on latency, and warmups from which nothing follows."""
    steps = [next(step for step in spec.steps() if step.entry == i) for i in range(len(spec.stages))]
    for i, step in enumerate(steps):
        signals = [each for each in (*spec.guards, *step.fail) if each.query is not None and not each.dry_run]
        for predicate in (each for each in signals if left_out(step, each)):
            window = predicate.window if scrape is None else first_window(predicate, scrape)
            if step.warmup + window > step.deadline:
                words = (
                    f"{format_duration(step.deadline)} is too short: {predicate.name} judges latency, so its first "
                    f"verdict is {format_duration(step.warmup + window)} after the weight, with the warmup of "
                    f"{format_duration(step.warmup)}: write a longer deadline, or a shorter warmup"
                )
                yield Finding(f"spec.stages[{i}].deadline", "warmup-over-deadline", "warning", words)
                break
    judged = [predicate for _, predicate in spec.predicates()]
    if any(step.warmup for step in steps) and not any(each.judges_latency or each.has_references for each in judged):
        own = next((f"spec.stages[{i}].warmup" for i, stage in enumerate(spec.stages) if stage.warmup), "")
        fix = "remove it, or add events.histogram or a query of histogram_quantile"
        words = f"it leaves nothing out, because no predicate judges latency: {fix}"
        yield Finding("spec.warmup" if spec.warmup else own, "warmup-unused", "hint", words)


def _texts(predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Yield the counters or the query of a predicate, with their field."""
    yield from ((f"events.{field}", text) for field, text in _counted(predicate))
    if predicate.query is not None:
        yield "query", predicate.query


def _counted(predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Yield the counters of a predicate, with their field below `events`."""
    if predicate.events is not None:
        texts = {field: getattr(predicate.events, field) for field in ("bad", "total", "histogram")}
        yield from ((field, text) for field, text in texts.items() if text is not None)


def _filled(spec: PlanSpec, stage: str, text: str, side: str, window: timedelta, elapsed: timedelta) -> str:
    words = variables_for(
        spec, namespace="namespace", plan="plan", stage=stage, side=side, window=window, elapsed=elapsed
    )
    return render(text, words)
