"""Wait until a plan has come as far as a pipeline needs, and say with the exit code how it went.

What ends the wait is a pure function of the plan as it was read; the rest is one watch, with a time limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.quantities import format_duration, parse_duration
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.record import RunOutcome, read_record
from rolloutplan.api.spec import read_begun_spec
from rolloutplan.api.status import Phase
from rolloutplan.cli.options import Namespace, PlanName, reads
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import POLL_EVERY, Plan, Session, explain, raise_hopeless, session
from rolloutplan.cli.views.records import records_of
from rolloutplan.cli.views.tail import Cursor, Told, rendered
from rolloutplan.cli.views.words import unreadable
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.cluster.paths import PLANS
from rolloutplan.engine.run.record import outcome_of

NOT_ASKED: Final = 3
"""The exit code where nothing was learned of the plan: a wrong call, no such plan, no cluster, no right to read it."""
STALLS_FOR: Final = 30.0
"""Seconds for which a plan must need a person: the other objects of its commit may come a little after it."""

Goal: TypeAlias = Literal["succeeded", "verdict", "held", "rolled-back"]


class Outcome(StrEnum):
    MET = "Met"
    MISSED = "Missed"
    TIMEOUT = "Timeout"
    UNKNOWN = "Unknown"


_CODES: Final = {Outcome.MET: 0, Outcome.MISSED: 1, Outcome.TIMEOUT: 2, Outcome.UNKNOWN: NOT_ASKED}
_GOALS: Final[Mapping[str, tuple[Goal, ...]]] = {
    RunOutcome.SUCCEEDED: ("succeeded", "verdict"),
    RunOutcome.ROLLED_BACK: ("rolled-back",),
    RunOutcome.SUPERSEDED: ("rolled-back",),
}
"""The ends of a run, and what is reached with each."""

_TELLS_THE_END: Final = frozenset(
    {"status", "phase", "reason", "verdict", "run", "plan_hash", "observed_generation", "conditions"}
)
"""The fields of a status that say whether a run has ended: one that cannot be read says nothing."""


@dataclass(frozen=True, slots=True)
class End:
    """Why the wait is over; one that is not `certain` counts only if it lasts."""

    outcome: Outcome
    words: str
    certain: bool = True


def wait(
    plan: PlanName,
    namespace: Namespace = None,
    goal: Annotated[
        Goal, typer.Option("--for", help="the end, a verdict at the present weight, or a hold (default: succeeded)")
    ] = "succeeded",
    timeout: Annotated[
        timedelta, typer.Option(metavar="TIME", parser=reads(parse_duration), help="the longest wait (default: 30m)")
    ] = timedelta(minutes=30),
    exists_within: Annotated[
        timedelta,
        typer.Option(
            metavar="TIME", parser=reads(parse_duration), help="how long the plan may not exist (default: 0s)"
        ),
    ] = timedelta(0),
    run: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="the number of the run (default: that of the plan as it is)")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="do not print the decisions as they come")] = False,
    output: Output = "text",
) -> int:
    """Decisions are printed to stderr as they come. A former run is not taken for that of the plan as it is now.

    Exit 0 if it came so far, 1 if it was rolled back, ended otherwise or needs a person for 30 s, 2 after the timeout,
    3 if the plan cannot be asked.
    """
    waiting = _Waiting(goal, run, (lambda _: None) if quiet else _tell)
    try:
        found, end = asyncio.run(_wait(plan, namespace, waiting, timeout, exists_within))
    except CliError as error:
        raise CliError(str(error), NOT_ASKED) from error
    code = _CODES[end.outcome]
    if output != "text":
        show_objects([found.raw if output == "name" else _as_object(found, end)], output, several=False)
    elif code:
        fail(f"{found.namespace}/{found.name}: {end.words}", code)
    else:
        print(line(f"{found.namespace}/{found.name}: {end.words}"))
    return code


# ---- what ends the wait ----------------------------------------------------------------------------------------------


def end_of(plan: Plan, goal: Goal, run: int | None = None) -> End | None:
    """Whether a plan has come as far as `goal`, or never will; None while that is open."""
    status = plan.status
    if run is not None and status.run != run:
        return None if status.run < run else _past(plan, goal, run)
    if not _TELLS_THE_END.isdisjoint(status.damaged):
        return None
    if status.observed_generation < safe_get.number(plan.raw, "metadata", "generation"):
        return None
    if run is None and _is_of_former_run(plan):
        return None
    words = _state(plan)
    stalled = status.condition("Stalled")
    is_stalled = stalled is not None and stalled.status == "True"
    if status.phase is Phase.ROLLED_BACK or (status.phase is Phase.SUCCEEDED and not is_stalled):
        return End(_met(goal, status.phase), words)
    if goal == "held" and status.phase is Phase.HELD:
        return End(Outcome.MET, words)
    if goal == "verdict" and status.verdict in ("Proved", "Refuted"):
        at = status.stage.display if status.stage else ""
        return End(Outcome.MET if status.verdict == "Proved" else Outcome.MISSED, f"{status.verdict} at {at}: {words}")
    if is_stalled:
        return End(Outcome.MISSED, f"needs a person: {words}", certain=False)
    return None


def _met(goal: Goal, ended: str) -> Outcome:
    """Whether a run that ended so came as far as `goal`. All its verdicts were good where it succeeded."""
    return Outcome.MET if goal in _GOALS.get(ended, ()) else Outcome.MISSED


def _is_of_former_run(plan: Plan) -> bool:
    """Whether the end in the status is that of a run that another one follows by itself."""
    status = plan.status
    if status.phase not in _GOALS:
        return False
    spec = safe_get.mapping(plan.raw, "spec")
    replaced = status.phase is Phase.ROLLED_BACK and status.reason == StatusReason.SUPERSEDED
    return replaced or read_begun_spec(spec, status.plan_hash) is None


def _past(plan: Plan, goal: Goal, run: int) -> End:
    """How a run ended that another one has followed, by its decisions: the plan may not have them any more."""
    decisions = sorted((each for each in plan.status.decisions if each.run == run), key=lambda each: each.seq)
    return _ended(plan, goal, run, outcome_of(decisions))


def recorded(plan: Plan, goal: Goal, run: int, records: Sequence[Raw]) -> End:
    """How a run of this plan ended, by its record."""
    uid = safe_get.text(plan.raw, "metadata", "uid")
    specs = {(each.spec.plan_uid, each.spec.run): each for each in map(read_record, records)}
    found = specs.get((uid, run))
    return _ended(plan, goal, run, found.status.outcome if found else RunOutcome.RUNNING)


def _ended(plan: Plan, goal: Goal, run: int, outcome: RunOutcome) -> End:
    if outcome is RunOutcome.RUNNING:  # nothing tells its end: another run has followed
        words = f"how run {run} ended is not known any more: rolloutplan record {plan.name} --run {run}"
        return End(Outcome.UNKNOWN, words)
    return End(_met(goal, outcome), f"{outcome}, run {run}; run {plan.status.run} has followed")


def _state(plan: Plan) -> str:
    """Where a run is, in one line: `Held: Conflict, run 3 at 25%: the message`."""
    status = plan.status
    reason = "" if status.reason in ("", status.phase) else f": {status.reason}"
    weight = f" at {status.weights.desired}" if status.weights.desired else ""
    words = f"{status.phase}{reason}, run {status.run}{weight}{f': {status.message}' if status.message else ''}"
    return "; ".join(filter(None, (words, unreadable(status))))


# ---- waiting ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Waiting:
    goal: Goal
    run: int | None
    tell: Callable[[Told], None]
    cursor: Cursor = field(default_factory=Cursor)
    """Up to which decision was told; those from before the wait are not."""
    lost: ApiError | None = None

    def lose(self, error: ApiError) -> None:
        self.lost = error

    def see(self, plan: Plan) -> End | None:
        """Tell the new decisions of a plan; return its end."""
        self.lost = None
        for each in self.cursor.news(plan.raw):
            self.tell(each)
        return end_of(plan, self.goal, self.run)

    def over(self, plan: Plan, timeout: timedelta) -> End:
        """Why it came to no end in time."""
        words = f"not {self.goal} within {format_duration(timeout)}: "
        if self.lost:
            return End(Outcome.TIMEOUT, words + explain(self.lost))
        generation = safe_get.number(plan.raw, "metadata", "generation")
        if plan.status.observed_generation < generation:
            return End(Outcome.TIMEOUT, f"{words}the operator has not seen the plan as it is (generation {generation})")
        return End(Outcome.TIMEOUT, words + _state(plan))


def _tell(told: Told) -> None:
    screen(stderr=True).print(rendered(told), soft_wrap=True)


async def _wait(
    name: str, namespace: str | None, waiting: _Waiting, timeout: timedelta, exists_within: timedelta
) -> tuple[Plan, End]:
    async with session(namespace) as cluster:
        plan = await _appeared(cluster, name, exists_within.total_seconds())
        list(waiting.cursor.news(plan.raw))
        plan, end = await _follow(cluster, plan, waiting, timeout)
        if end.outcome is Outcome.UNKNOWN and waiting.run is not None:
            end = recorded(plan, waiting.goal, waiting.run, await records_of(cluster, name))
        return plan, end


async def _appeared(cluster: Session, name: str, seconds: float) -> Plan:
    """Read a plan that may not exist yet. Raises CliError where it does not come in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            if plan := await cluster.find(name):
                return plan
        except ApiError as error:
            raise_hopeless(error, lambda _: None, but=())
        await asyncio.sleep(min(POLL_EVERY, until - loop.time()))
    return await cluster.plan(name)


async def _follow(cluster: Session, plan: Plan, waiting: _Waiting, timeout: timedelta) -> tuple[Plan, End]:
    """Watch a plan to its end, or for so long."""
    clock = asyncio.get_running_loop().time
    until, end = clock() + timeout.total_seconds(), waiting.see(plan)
    stalls_until = clock() + STALLS_FOR
    try:
        async with asyncio.timeout_at(min(until, stalls_until) if end else until) as limit:
            async with aclosing(cluster.watch(PLANS, plan.name, since=plan.raw, lost=waiting.lose)) as changes:
                while end is None or not end.certain:
                    change = await anext(changes)
                    plan, before = Plan(change.raw), end
                    if change.gone:
                        return plan, End(Outcome.MISSED, "was deleted before it came so far")
                    end = waiting.see(plan)
                    stalls_until = stalls_until if before else clock() + STALLS_FOR
                    limit.reschedule(min(until, stalls_until) if end else until)
    except TimeoutError:
        end = end or waiting.over(plan, timeout)
    return plan, end


def _as_object(plan: Plan, end: End) -> dict[str, Any]:
    status = plan.status
    return {
        "namespace": plan.namespace,
        "name": plan.name,
        "run": status.run,
        "outcome": str(end.outcome),
        "phase": str(status.phase),
        "reason": status.reason,
        "weight": status.weights.desired,
        "message": end.words,
    }
