"""Decisions as a table, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rolloutplan.api.printable import line
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.status import Decision
from rolloutplan.cli.views.words import KINDS

NARROW: Final = 100
"""Columns below which a decision takes two lines: one with its fields, one with its note."""
_SECOND: Final = timedelta(seconds=1)


def rendered(decisions: Sequence[Decision], width: int, since: datetime | None = None) -> RenderableType:
    """A table; on a narrow screen the note stands under each decision. With `since`, times are those after that."""
    table = Table.grid(padding=(0, 2, 0, 0))
    if width < NARROW:
        table.add_column(overflow="fold")
        for each in decisions:
            by = f"by {line(each.by)}" if each.by != "rolloutplan" else ""
            parts = (_at(each, since), f"run {each.run}", line(each.stage), _weights(each), by)
            table.add_row(Text.assemble(_reason(each), "  ", ("  ".join(filter(None, parts)), "dim")))
            table.add_row(Text(f"  {line(each.note)}"))
        return table
    for title in ("AT", "RUN", "DECISION", "STAGE", "WEIGHT", "BY"):
        table.add_column(title, no_wrap=True)
    table.add_column("NOTE", overflow="fold", ratio=1)
    table.add_row(*(Text(str(column.header), "dim") for column in table.columns))
    for each in decisions:
        texts = (Text(line(text)) for text in (each.stage, _weights(each), each.by, each.note))
        table.add_row(Text(_at(each, since), "dim"), Text(str(each.run)), _reason(each), *texts)
    return table


def _at(decision: Decision, since: datetime | None) -> str:
    if since is not None:
        return format_duration(round((decision.at - since) / _SECOND) * _SECOND)
    return f"{decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _reason(decision: Decision) -> Text:
    return Text(line(decision.reason), KINDS.get(decision.kind, ""))


def _weights(decision: Decision) -> str:
    if decision.weight_from == decision.weight_to:
        return line(decision.weight_to)
    return f"{line(decision.weight_from) or '?'} -> {line(decision.weight_to) or '?'}"
