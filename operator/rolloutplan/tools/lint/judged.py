"""The predicates of a plan with their places, and their texts as they are asked. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.analysis.counting import round_up
from rolloutplan.engine.analysis.measurements import Role, first_window
from rolloutplan.engine.analysis.variables import variables_for
from rolloutplan.engine.analysis.warmup import left_out
from rolloutplan.tools.promql.text import FilledText


@dataclass(frozen=True, slots=True)
class Judged:
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
    entry: int | None
    """The entry of its stage; None for a guard, which is judged at all."""

    def first(self, scrape: timedelta | None) -> tuple[timedelta, timedelta]:
        """Return the window of the first query, and the time at the weight by then. Queries use whole seconds."""
        window = self.predicate.window
        if self.role == "pass":
            return window, max(window, self.soak)
        if scrape is not None:
            window = min(window, round_up(first_window(self.predicate, scrape), timedelta(seconds=1)))
        return window, window


def judged_predicates(spec: PlanSpec) -> Iterator[Judged]:
    """The predicates of a plan that have a query or counters, guards first."""
    return (each for each in _all(spec) if not each.predicate.has_references)


def _all(spec: PlanSpec) -> Iterator[Judged]:
    steps = [step for step in spec.steps() if not step.completes]
    for i, guard in enumerate(spec.guards):
        longest = max(steps, key=lambda step: step.soak - left_out(step, guard))
        warmup = left_out(longest, guard)
        soak = max(spec.bake_for, longest.soak - warmup)
        yield Judged(f"spec.guards[{i}]", "guard", guard, steps[0].name, soak, soak, warmup, None)
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
                yield Judged(path, role, predicate, name, step.soak - warmup, step.deadline - warmup, warmup, i)


def texts_of(predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Yield the counters or the query of a predicate, with their field."""
    yield from ((f"events.{field}", text) for field, text in counters_of(predicate))
    if predicate.query is not None:
        yield "query", predicate.query


def counters_of(predicate: Predicate) -> Iterator[tuple[str, str]]:
    """Yield the counters of a predicate, with their field below `events`."""
    if predicate.events is not None:
        texts = {field: getattr(predicate.events, field) for field in ("bad", "total", "histogram")}
        yield from ((field, text) for field, text in texts.items() if text is not None)


def filled(spec: PlanSpec, stage: str, text: str, side: str, window: timedelta, elapsed: timedelta) -> FilledText:
    """A text of a predicate as one side is asked."""
    words = variables_for(
        spec, namespace="namespace", plan="plan", stage=stage, side=side, window=window, elapsed=elapsed
    )
    return FilledText.fill(text, words)
