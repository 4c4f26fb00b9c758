"""`status -w`: one watch of one plan, shown as a live screen on a terminal, and as lines elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias

from rich.live import Live

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.status import Phase, PredicateStatus, Status
from rolloutplan.cli.output import CliError
from rolloutplan.cli.screen import Screen, screen
from rolloutplan.cli.session import Plan, Session, session
from rolloutplan.cli.views.evidence import Series, with_evidence
from rolloutplan.cli.views.status import rendered
from rolloutplan.cli.views.words import is_stalled
from rolloutplan.cluster.client import ApiError
from rolloutplan.cluster.paths import PLANS

DONE, FAILED = 0, 1
TICK: Final = 1.0
"""Seconds between pictures without news: they show the time that is left."""
LEAST: Final = 0.1
"""Seconds between pictures: more of them nobody can see."""
LOST: Final = "connection lost, retrying"


@dataclass(slots=True)
class Seen:
    """What is known of a plan while it is watched."""

    plan: Plan
    series: Series = field(default_factory=dict)
    notice: str = ""
    """About the connection; empty while it stands."""
    gone: bool = False

    def __post_init__(self) -> None:
        self.series = with_evidence(self.series, self.plan.status)

    def take_in(self, plan: Plan) -> None:
        """The plan as it is now. A new run begins without values."""
        same = plan.status.run == self.plan.status.run
        self.plan, self.notice = plan, ""
        self.series = with_evidence(self.series if same else {}, plan.status)


Show: TypeAlias = Callable[[Seen], None]


async def watch_plan(namespace: str | None, name: str) -> int:
    """Show a plan until it has ended; return 0 where it has succeeded, 1 where not. Raises CliError."""
    async with session(namespace) as cluster:
        seen, console = Seen(await cluster.plan(name)), screen()
        with shown(console) as show:
            await _follow(cluster, name, seen, show)
        if console.is_watched:  # the live screen is gone
            console.show(rendered(seen.plan, seen.series, datetime.now(UTC), console.width))
    if seen.gone:
        raise CliError(f"{seen.plan.namespace}/{name} was deleted")
    return end_of(seen.plan) or DONE


def end_of(plan: Plan) -> int | None:
    """The exit code of a plan that has ended, or does not go on without a person or a commit; None of any other."""
    status = plan.status
    if safe_get.number(plan.raw, "metadata", "generation") > status.observed_generation >= 0:
        return None  # the operator has not seen the present plan
    if status.phase is Phase.ROLLED_BACK or is_stalled(plan.raw):
        return FAILED
    return DONE if status.phase is Phase.SUCCEEDED else None


async def _follow(cluster: Session, name: str, seen: Seen, show: Show) -> None:
    """Show what is seen at each change, and each second, until the plan has ended."""
    news = asyncio.Event()

    def lost(error: ApiError) -> None:
        seen.notice = f"{LOST}: {error.message or error.reason}"
        news.set()

    def found() -> None:
        seen.notice = ""
        news.set()

    async def listen() -> None:
        async with aclosing(cluster.watch(PLANS, name, since=seen.plan.raw, lost=lost, found=found)) as changes:
            async for change in changes:
                if change.gone:
                    seen.gone = True
                else:
                    seen.take_in(Plan(change.raw))
                news.set()

    listening = asyncio.create_task(listen())
    listening.add_done_callback(lambda _: news.set())
    try:
        while not listening.done():
            news.clear()
            show(seen)
            if seen.gone or end_of(seen.plan) is not None:
                return
            await asyncio.sleep(LEAST)
            with suppress(TimeoutError):  # not wait_for: before Python 3.12 it may lose the cancellation of Ctrl-C
                async with asyncio.timeout(TICK):
                    await news.wait()
        await listening  # it ends by itself only with an error
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError, ApiError):
            await listening


# ---- on a terminal, and elsewhere ------------------------------------------------------------------------------------


@contextmanager
def shown(console: Screen) -> Iterator[Show]:
    """Give the function that shows what is seen. The screen is taken only for as long as the block lasts."""
    if not console.is_watched or console.is_dumb_terminal:
        yield Lines(console).show
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda seen: live.update(
            rendered(seen.plan, seen.series, datetime.now(UTC), console.width, seen.notice, live=True), refresh=True
        )


class Lines:
    """A line for each change."""

    def __init__(self, console: Screen) -> None:
        self._console = console
        self._before: Status | None = None
        self._notice = ""

    def show(self, seen: Seen) -> None:
        for text in changes(self._before, seen.plan.status):
            self._console.print(text, soft_wrap=True)
        if seen.notice and not self._notice:
            self._console.print(line(seen.notice), soft_wrap=True)
        self._before, self._notice = seen.plan.status, seen.notice
        self._console.file.flush()


def changes(before: Status | None, after: Status) -> Iterator[str]:
    """What has changed in a status, a line each: decisions, where the run is, and verdicts. At first, how it stands."""
    newest = before.seq if before else after.seq
    for decision in after.decisions:
        if decision.seq > newest:
            yield f"{decision.at.astimezone(UTC):%H:%M:%S} {line(decision.reason)}: {line(decision.note)}"
    if before is None or _state(before) != _state(after):
        yield _state(after)
    known = {each.name: _verdict(each) for each in before.predicates} if before else {}
    for each in after.predicates:
        if known.get(each.name) != _verdict(each):
            value = f", {line(each.value)} ({line(each.bound)})" if each.value else ""
            yield f"{each.role} {line(each.name)}: {line(each.verdict)}{value}"


def _verdict(each: PredicateStatus) -> tuple[str, str]:
    return each.role, each.verdict


def _state(status: Status) -> str:
    """Where the run is, in one line."""
    stage = f"stage {line(status.stage.display or status.stage.name)}" if status.stage else ""
    weight = f"weight {line(status.weights.desired)}" if status.weights.desired else ""
    waits = f"waits for {line(status.waiting_for)}" if status.waiting_for else line(status.message)
    return ", ".join(filter(None, (f"{status.phase} {line(status.reason)}".rstrip(), stage, weight, waits)))
