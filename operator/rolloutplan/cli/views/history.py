"""`rolloutplan history`: the decisions about a plan that are kept, the oldest first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.status import Decision
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.output import fail
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.views.why import read_plan
from rolloutplan.cli.views.words import KINDS, line

NARROW: Final = 100
"""Columns below which a decision takes two lines: one with its fields, one with its note."""


def history(plan: PlanName, namespace: Namespace = None, output: Output = "text") -> int:
    """The newest decision comes last. `-o json` and `yaml` have the evidence too. Exit 0, 1 if it cannot be read."""
    found = asyncio.run(read_plan(namespace, plan))
    if output == "name":
        show_objects([found.raw], output)
    elif output != "text":
        show_objects(_by_number(safe_get.items(found.raw, "status", "decisions")), output)
    elif found.status.decisions:
        console = screen()
        console.print(rendered(found.status.decisions, console.width))
    else:
        fail(f"{found.namespace}/{found.name}: nothing was decided yet", 0)
    return 0


def _by_number(decisions: Sequence[Any]) -> list[Any]:
    return sorted(decisions, key=lambda decision: safe_get.number(decision, "seq"))


def rendered(decisions: Sequence[Decision], width: int) -> RenderableType:
    """The decisions as a table; on a narrow screen the note stands under each."""
    ordered = sorted(decisions, key=lambda decision: decision.seq)
    table = Table.grid(padding=(0, 2, 0, 0))
    if width < NARROW:
        table.add_column(overflow="fold")
        for each in ordered:
            by = f"by {line(each.by)}" if each.by != "rolloutplan" else ""
            parts = (_at(each), f"run {each.run}", line(each.stage), _weights(each), by)
            table.add_row(Text.assemble(_reason(each), "  ", ("  ".join(filter(None, parts)), "dim")))
            table.add_row(Text(f"  {line(each.note)}"))
        return table
    for title in ("AT", "RUN", "DECISION", "STAGE", "WEIGHT", "BY"):
        table.add_column(title, no_wrap=True)
    table.add_column("NOTE", overflow="fold", ratio=1)
    table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
    for each in ordered:
        texts = (Text(line(text)) for text in (each.stage, _weights(each), each.by, each.note))
        table.add_row(Text(_at(each), "dim"), Text(str(each.run)), _reason(each), *texts)
    return table


def _at(decision: Decision) -> str:
    return f"{decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _reason(decision: Decision) -> Text:
    return Text(line(decision.reason), KINDS.get(decision.kind, ""))


def _weights(decision: Decision) -> str:
    if decision.weight_from == decision.weight_to:
        return line(decision.weight_to)
    return f"{line(decision.weight_from) or '?'} -> {line(decision.weight_to) or '?'}"
