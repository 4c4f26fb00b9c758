"""Find predicates that cannot be decided in time: by their window, warmup, `for`, and by the traffic. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.engine.analysis.measurements import first_window
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.engine.rules.forecast import slow_predicate_problem
from rolloutplan.stats.feasibility import Shortage, Traffic, shortage
from rolloutplan.tools.lint.judged import Judged, judged_predicates
from rolloutplan.tools.promql.meaning import counted_back
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.tools.promql.text import FilledText


def lint_window(judged: Judged) -> Iterator[Finding]:
    """Find a window that does not fit into the soak."""
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


def lint_warmups(spec: PlanSpec, scrape: timedelta | None) -> Iterator[Finding]:
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


def lint_deadlines(spec: PlanSpec, scrape: timedelta, traffic: Traffic) -> Iterator[Finding]:
    """Find the stages that cannot be decided by their deadline at this traffic (of both sides together)."""
    every = max(spec.interval, scrape)
    for i, stage in enumerate(spec.stages):
        steps = [step for step in spec.steps() if step.entry == i and not step.completes]
        for j, predicate in enumerate(stage.pass_):
            if predicate.has_references or predicate.events is None or predicate.dry_run:
                continue
            for step in steps:
                at_weight = traffic.at(step.share / 1000)
                if words := slow_predicate_problem(predicate, step, at_weight, every):
                    yield Finding(f"spec.stages[{i}].pass[{j}]", "cannot-conclude", "warning", words)
                    break


# ---- predicates with a `for` ---------------------------------------------------------------------


def lint_for(spec: PlanSpec, judged: Judged, scrape: timedelta | None) -> Iterator[Finding]:
    """Find a `for` that is longer than what is left of the time at a weight."""
    predicate = judged.predicate
    if predicate.for_ is None or predicate.events is not None:
        return
    late = [
        step
        for step in _steps(spec, judged)
        if _acts_after(judged, predicate, step, scrape) > _time_at(spec, judged, step)
    ]
    if not late:
        return
    step = late[0]
    first = _acts_after(judged, predicate, step, scrape) - predicate.for_
    limit = "deadline" if judged.role == "pass" else "soak"
    have = format_duration(_time_at(spec, judged, step))
    words = (
        f"{predicate.name} cannot {'be proved' if judged.role == 'pass' else 'act'} at {_weights(late)}: it is first"
        f" judged after {format_duration(first)} and must then stay true for {format_duration(predicate.for_)}, and the"
        f" {limit} is {have}: write a shorter for or window, or a longer {limit}"
    )
    yield Finding(f"{judged.path}.for", "too-slow", "warning", words)


def _steps(spec: PlanSpec, judged: Judged) -> Sequence[Stage]:
    """The steps at which a predicate is judged."""
    steps = [step for step in spec.steps() if not step.completes]
    return [step for step in steps if judged.entry is None or step.entry == judged.entry]


def _acts_after(judged: Judged, predicate: Predicate, step: Stage, scrape: timedelta | None) -> timedelta:
    """The time at a weight after which a predicate has been true for as long as it must."""
    held, warmup = predicate.for_ or timedelta(0), left_out(step, predicate)
    if judged.role == "pass":
        return max(step.soak, warmup + predicate.window) + held
    window = predicate.window if scrape is None else first_window(predicate, scrape)
    return warmup + window + held


def _time_at(spec: PlanSpec, judged: Judged, step: Stage) -> timedelta:
    """How long a weight is in force at least; for pass, at most."""
    if judged.role == "pass":
        return step.deadline
    passes = [left_out(step, each) + each.window for each in step.pass_ if each.query is not None]
    least = max([step.soak, *(each for each in passes if each <= step.deadline)])
    last = _steps(spec, judged)[-1]
    return least + (spec.bake_for if judged.role == "guard" and step == last else timedelta(0))


def _weights(steps: Sequence[Stage]) -> str:
    """The weights of steps, such as 5%, 25% and 50%, or what they have instead."""
    *first, last = dict.fromkeys(step.title for step in steps)
    return f"{', '.join(first)} and {last}" if first else last


# ---- minSamples, by the traffic ------------------------------------------------------------------


def lint_samples(spec: PlanSpec, traffic: Traffic) -> Iterator[Finding]:
    """Find minSamples that the traffic of both sides together cannot give, where they count all requests."""
    for judged in judged_predicates(spec):
        samples = judged.predicate.min_samples
        if samples is None or judged.predicate.dry_run:
            continue
        filled = FilledText.fill(samples.query, {**spec.variables, **_windows(judged.predicate.window)})
        window = counted_back(filled.text)
        if window is None:
            continue
        rate = traffic.new + traffic.old
        steps = _steps(spec, judged)
        short = [
            (step, each)
            for step in steps
            if step.share and (each := shortage(samples.at_least, rate, step.share / 1000, window.total_seconds()))
        ]
        if short:
            late = "" if len(short) < len(steps) else ", so it is never decided"
            words = _shortage(rate, window, samples.at_least, [step for step, _ in short], short[0][1]) + late
            path = f"{judged.path}.minSamples.atLeast"
            yield Finding(path, "few-samples", "warning", f"{words}: {_remedy(short[0][1])}")


_LONGEST_WINDOW: Final = 24 * 60
"""Minutes. Nobody waits longer for the samples of one weight."""


def _windows(window: timedelta) -> dict[str, str]:
    seconds = f"{max(1, int(window.total_seconds()))}s"
    words = ("namespace", "plan", "stage", "deployment", "service", "old", "new")
    return {**dict.fromkeys(words, "name"), "window": seconds, "elapsed": seconds}


def _shortage(rate: float, window: timedelta, least: int, steps: Sequence[Stage], first: Shortage) -> str:
    share = format_weight(steps[0].share)
    others = f" (as at {_weights(steps[1:])})" if len(steps) > 1 else ""
    come = f"there are about {first.expected:.3g} requests in {format_duration(window)}"
    return f"at {rate:g} requests/s x {share} {come}, and {least} are required{others}"


def _remedy(short: Shortage) -> str:
    # Rounded up to what people write: whole percents and minutes.
    share = -int(-short.share * 100 // 1)
    minutes = -int(-short.seconds / 60 // 1)
    fixes = [f"write at most {int(short.expected)}"] if short.expected >= 1 else []
    fixes += [f"a weight of {share}%"] if share <= 100 else []
    fixes += [f"a window of {format_duration(timedelta(minutes=minutes))}"] if minutes <= _LONGEST_WINDOW else []
    return ", or ".join((", ".join(fixes[:-1]), fixes[-1])) if len(fixes) > 1 else "".join(fixes) or "remove it"
