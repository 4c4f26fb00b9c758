"""`rolloutplan status`: one plan as a tree: its stages with their verdicts, what it waits for, and what to type.

What a person has to do stands above the stages, since a small terminal cuts off the end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import RUNNING, Phase, PredicateStatus, Status
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views.evidence import Series, sparkline, with_evidence
from rolloutplan.cli.views.why import read_plan, typed
from rolloutplan.cli.views.words import duration, next_commands, of_owned_routes, phase_text, undo_commands, unreadable
from rolloutplan.cluster.plans import view

BAR: Final = 20
"""Columns of the bar of the weight, and of a sparkline; half as many on a narrow screen."""
NARROW: Final = 60
_SHARE: Final = 100
_MARKS: Final = {
    "Proved": ("✔", "green"),
    "Clear": ("✔", "green"),
    "Refuted": ("✘", "bold red"),
    "Tripped": ("✘", "bold red"),
}
_UNDECIDED: Final = ("?", "yellow")
_BACK: Final = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK})
_RESULTS: Final = {
    EventReason.STAGE_PROVED: "Proved",
    EventReason.STAGE_SKIPPED: "skipped by a person",
    EventReason.PROMOTED: "left by a promote",
}
"""How a stage ended, by the reason of the decision."""


def status(
    plan: PlanName,
    namespace: Namespace = None,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="show each change, until the run has ended or needs a repair")
    ] = False,
    output: Output = "text",
) -> int:
    """What it believes, what it measured, what it waits for, and the commands to go on and to undo.

    Exit 0, 1 if it cannot be read; with -w 0 when it has succeeded, 1 when it was rolled back or is stalled.
    """
    if watch:
        if output != "text":
            raise typer.BadParameter("-w is for text only: kubectl get rp -w -o json shows each change for programs")
        from rolloutplan.cli.views.watching import watch_plan  # noqa: PLC0415 - imports what only -w needs

        return asyncio.run(watch_plan(namespace, plan))
    found = asyncio.run(read_plan(namespace, plan))
    if output != "text":
        show_objects([found.raw], output, several=False)
    else:
        console = screen()
        console.show(rendered(found, with_evidence({}, found.status), datetime.now(UTC), console.width))
    return 0


def rendered(
    plan: Plan, series: Series, now: datetime, width: int, notice: str = "", *, live: bool = False
) -> RenderableType:
    """The plan as a tree. `series` are the values of its predicates so far; `notice` is about the connection."""
    tree = Tree(_weight(plan.status, width), guide_style="bright_black")
    _add_stages(tree, plan, series, now, width)
    return Group(_head(plan, notice), *_waiting(plan), *_onwards(plan, live=live), tree)


# ---- the plan --------------------------------------------------------------------------------------------------------


def _head(plan: Plan, notice: str) -> Text:
    status = plan.status
    head = Text.assemble((f"{line(plan.namespace)}/{line(plan.name)}", "bold"), "  ", phase_text(plan.raw))
    if status.reason and status.reason != status.phase:
        head.append(f" {line(status.reason)}")
    if notice:
        head.append(f"  {line(notice)}", "bold yellow")
    old, new = (line(safe_get.text(plan.raw, "spec", side, "deployment")) for side in ("old", "new"))
    parts = (
        f"{old} -> {new}",
        f"run {status.run}" if status.run else "",
        line(safe_get.text(plan.raw, "spec", "owner")),
    )
    head.append(f"\n{'  '.join(filter(None, parts))}", "dim")
    if hypothesis := line(safe_get.text(plan.raw, "spec", "hypothesis")):
        head.append(f"\n{hypothesis}", "italic")
    return head


def _weight(status: Status, width: int) -> Text:
    asked, measured = line(status.weights.desired) or "0%", line(status.weights.measured)
    size = BAR if width >= NARROW else BAR // 2
    full = math.ceil(size * _percent(asked) / _SHARE)
    made = Text.assemble(
        _title("weight"), ("█" * full, "cyan"), ("░" * (size - full), "bright_black"), f" {asked} asked"
    )
    return made.append(f", {measured} measured" if measured else "", "dim")


def _percent(share: str) -> float:
    try:
        percent = float(share.removesuffix("%")) if share.endswith("%") else 0.0
    except ValueError:
        return 0
    return min(max(0.0, percent), _SHARE)  # in this order, NaN is 0


def _waiting(plan: Plan) -> Iterator[Text]:
    if words := unreadable(plan.status):
        yield Text(words, "bold yellow")
    if plan.status.message:
        yield Text.assemble(_title("now"), line(plan.status.message))
    if plan.status.waiting_for:
        yield Text.assemble(_title("waits for"), line(plan.status.waiting_for))
    if words := of_owned_routes(plan.status):
        yield Text.assemble(_title("routes"), (words, "bold yellow"))


def _onwards(plan: Plan, *, live: bool) -> Iterator[RenderableType]:
    for title, each in (*(("go on", each) for each in next_commands(plan.raw)), *undo_commands(plan.raw).items()):
        yield typed(f"{title}:", each, live=live)
    if runbook := line(safe_get.text(plan.raw, "spec", "runbook")):
        yield Text.assemble(_title("runbook"), runbook)


def _title(words: str) -> tuple[str, str]:
    return f"{words}: ", "dim"


# ---- its stages ------------------------------------------------------------------------------------------------------


def _add_stages(tree: Tree, plan: Plan, series: Series, now: datetime, width: int) -> None:
    status, steps = plan.status, _steps(plan)
    for step in steps:
        branch = tree.add(_stage(step.name, _share(step), step.index, status, now))
        if status.stage and step.index == status.stage.index:
            _add_predicates(branch, status, series, width)
    if status.stage and status.stage.index not in {step.index for step in steps}:
        stage = status.stage
        _add_predicates(tree.add(_stage(stage.name, stage.weight, stage.index, status, now)), status, series, width)


def written(plan: Plan) -> PlanSpec | None:
    """The plan as its author wrote it; None where it cannot be read."""
    try:
        return view(plan.raw).written
    except (KeyError, TypeError):  # an object without metadata, which no API server sends
        return None


def _steps(plan: Plan) -> tuple[Stage, ...]:
    """The stages of the plan, each with one weight; none where it cannot be read."""
    spec = written(plan)
    return spec.steps() if spec else ()


def _share(step: Stage) -> str:
    return format_weight(step.permille) if step.permille else str(step.mirror or step.match)


def _stage(name: str, share: str, index: int, status: Status, now: datetime) -> Text:
    at, phase = status.stage.index if status.stage else -1, status.phase
    done = index < at or phase is Phase.SUCCEEDED
    mark, style = ("✔", "green") if done else ("○", "dim")
    if index == at and not done:
        mark, style = ("✘", "bold red") if phase in _BACK else ("●", "bold cyan")
    made = Text.assemble((f"{mark} {line(name)}", style), f" {line(share)}")
    if index == at and phase in RUNNING:
        made.append(f"  {line(status.verdict)}" if status.verdict else "").append(_time_left(status, now), "dim")
    elif done:
        made.append(f"  {_result(name, status)}", "dim")
    return made


def _result(name: str, status: Status) -> str:
    """How a stage ended; "" where the decision is not kept any more."""
    ends = (each.reason for each in reversed(status.decisions) if each.run == status.run and each.stage == name)
    return next((_RESULTS[EventReason(reason)] for reason in ends if reason in _RESULTS), "")


def _time_left(status: Status, now: datetime) -> str:
    stage, words = status.stage, ""
    if stage is None or status.phase not in (Phase.JUDGING, Phase.BAKING, Phase.HELD):
        return ""
    soak = "bake" if status.phase is Phase.BAKING else "soak"
    if stage.soak_until and status.phase is not Phase.HELD:
        words += f"  {soak} {_left(stage.soak_until, now)}"
    if stage.deadline_at and status.phase is not Phase.BAKING:
        words += f"  deadline {_left(stage.deadline_at, now)}"
    return words


def _left(until: datetime, now: datetime) -> str:
    return f"{duration(until - now)} left" if until > now else "over"


def _add_predicates(branch: Tree, status: Status, series: Series, width: int) -> None:
    for each in status.predicates:
        branch.add(predicate(each, list(series.get(each.name, {}).values()), width))
    if status.stage and status.stage.forecast:
        branch.add(Text(line(status.stage.forecast), "yellow"))


def predicate(each: PredicateStatus, values: list[float], width: int) -> Text:
    """A predicate: its verdict, its value against the bound, the values so far, and the samples."""
    mark, style = _MARKS.get(each.verdict, _UNDECIDED)
    made = Text.assemble(
        (f"{mark} ", style), (f"{each.role} ", "dim"), line(each.name), "  ", (line(each.value) or "-", "bold")
    )
    made.append(f" ({line(each.bound)})" if each.bound else "", "dim").append(f"  {line(each.verdict)}", style)
    if trace := sparkline(values, BAR if width >= NARROW else BAR // 2):
        made.append(f"  {trace}", "cyan")
    made.append(f"  {line(each.samples)} samples" if each.samples else "", "dim")
    if each.dry_run:
        made.append("  dry run", "dim")
    if each.why and (mark, style) == _UNDECIDED:
        made.append(f"  {line(each.why)}", "dim")
    return made
