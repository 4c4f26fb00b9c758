"""`rolloutplan why`: the last decision about a plan in sentences, what follows from it, and how it is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.status import Decision
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.output import CliError
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import Plan, session
from rolloutplan.cli.views.words import (
    KINDS,
    duration,
    next_commands,
    of_owned_routes,
    phase_text,
    undo_commands,
    unreadable,
)


def why(plan: PlanName, namespace: Namespace = None, output: Output = "text") -> int:
    """What was expected, what was observed, what was decided, and by whom.

    Exit 0, 1 if the plan cannot be read; with -o json and yaml also 1 if nothing has been decided yet.
    """
    found = asyncio.run(read_plan(namespace, plan))
    if output == "name":
        show_objects([found.raw], output)
    elif output != "text":
        last = safe_get.items(found.raw, "status", "decisions")[-1:]
        if not last:
            words = f"nothing has been decided about {found.name} yet"
            raise CliError(f"{words}: rolloutplan status -n {found.namespace} {found.name} shows what it waits for")
        show_objects(last, output, several=False)
    else:
        screen().show(rendered(found, datetime.now(UTC)))
    return 0


async def read_plan(namespace: str | None, name: str) -> Plan:
    """Read one plan. Raises CliError."""
    async with session(namespace) as cluster:
        return await cluster.plan(name)


def rendered(plan: Plan, now: datetime) -> RenderableType:
    """The last decision, a paragraph for each question that is asked about it."""
    last = max(plan.status.decisions, key=lambda decision: decision.seq, default=None)
    parts = [*_of_decision(last, now)] if last else [*_undecided(plan)]
    return Group(head(plan), *parts, *_onwards(plan))


def head(plan: Plan) -> Text:
    """Which plan it is, its phase and the reason."""
    made = Text.assemble((f"{line(plan.namespace)}/{line(plan.name)}", "bold"), "  ", phase_text(plan.raw))
    return made.append(f"  {line(plan.status.reason)}" if plan.status.reason else "")


def _of_decision(decision: Decision, now: datetime) -> Iterator[RenderableType]:
    by = "the operator" if decision.by == "rolloutplan" else line(decision.by)
    when = f"{duration(now - decision.at)} ago, {decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z, by {by}"
    yield said("decided", f"{line(decision.reason)}: {line(decision.note)}", KINDS.get(decision.kind, ""))
    yield said("when", f"{when}, in run {decision.run}{f' at stage {line(decision.stage)}' if decision.stage else ''}")
    if decision.weight_from != decision.weight_to:
        yield said("weight", f"from {line(decision.weight_from) or '?'} to {line(decision.weight_to) or '?'}")
    for title, text in (("expected", decision.believed), ("observed", decision.observed), ("because", decision.why)):
        if text:
            yield said(title, text)


def _undecided(plan: Plan) -> Iterator[RenderableType]:
    """There is no decision; not where those that there are cannot be read."""
    if not plan.status.damaged:
        yield said("decided", "nothing yet")


def _onwards(plan: Plan) -> Iterator[RenderableType]:
    status = plan.status
    if words := unreadable(status):
        yield said("status", words, "bold yellow")
    if status.message:
        yield said("now", status.message)
    if status.waiting_for:
        yield said("waits for", status.waiting_for)
    if words := of_owned_routes(status):
        yield said("routes", words, "bold yellow")
    for each in next_commands(plan.raw):
        yield typed("go on", each)
    for title, each in undo_commands(plan.raw).items():
        yield typed(title, each)
    if runbook := safe_get.text(plan.raw, "spec", "runbook"):
        yield said("runbook", runbook)


def typed(title: str, command: str, *, live: bool = False) -> RenderableType:
    """A heading, and under it a command."""
    return Group(Text(title, "dim"), to_copy(command, live=live))


def to_copy(command: str, *, live: bool = False) -> Text:
    """A command on one line at every width, so that a copy has no breaks. A `live` screen cuts it, and shows that."""
    return Text(f"  {command}", "bold", no_wrap=True, overflow="ellipsis" if live else "ignore")


def said(title: str, text: str, style: str = "") -> RenderableType:
    """A heading, and under it the text, so that it is readable at 40 columns too."""
    return Group(Text(title, "dim"), Padding(Text(line(text), style), (0, 0, 0, 2), expand=False))
