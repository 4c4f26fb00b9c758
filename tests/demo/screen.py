"""The live picture: what `rolloutplan list` and `rolloutplan status -w` show, and the traffic. For 80 x 24 and more."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rolloutplan.cli.session import Plan as Read
from rolloutplan.cli.views import plans, status
from tests.demo.watch import Moment, Version

BAR = 16
FRAME = 4
"""Columns of a panel around its content."""


def picture(moment: Moment, width: int) -> Layout:
    now, inside = datetime.now(UTC), width - FRAME
    listed = plans.rendered([plan.raw for plan in moment.plans], now, inside)
    parts = [Layout(_panel(listed, "rolloutplan list"), size=len(moment.plans) + 3)]
    if plan := moment.current:
        tree = status.rendered(Read(plan.raw), moment.series, now, inside)
        parts.append(Layout(_panel(tree, f"rolloutplan status {plan.view.name} -w")))
    layout = Layout()
    layout.split_column(*parts, Layout(_panel(_traffic(moment.versions), "Traffic", _answers(moment)), size=6))
    return layout


def _panel(content: RenderableType, title: str, remark: str = "") -> Panel:
    heading = Text.assemble((title, "bold"), ("  " + remark if remark else "", "dim"))
    return Panel(content, title=heading, title_align="left", box=box.ROUNDED, border_style="bright_black")


def _grid(*columns: str) -> Table:
    """A table without lines; each column is left, right, or fill."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for column in columns:
        fill = column == "fill"
        table.add_column(justify="right" if column == "right" else "left", no_wrap=True, ratio=1 if fill else None)
    return table


def _widths(table: Table, least: Mapping[int, int]) -> None:
    """Give columns room for what will come, so that nothing jumps."""
    for column, width in least.items():
        table.columns[column].min_width = width


def _answers(moment: Moment) -> str:
    return f"{moment.per_second:.0f} answers a second, {moment.lost} lost"


def _traffic(versions: Sequence[Version]) -> Table:
    table = _grid("left", "right", "right", "left", "right", "right", "right", "fill")
    _widths(table, {5: 7, 6: 6})
    table.add_row(*(Text(title, style="dim") for title in ("", "asked", "measured", "", "a second", "good", "failed")))
    for version in versions:
        failed = Text(str(version.failed), style="bold red" if version.failed else "dim")
        bar = Text("█" * math.ceil(BAR * version.measured - 0.01), style="red" if version.failed else "cyan")
        bar.append("░" * (BAR - len(bar)), "bright_black")
        asked, measured = f"{version.asked:.0%}", f"{version.measured:.1%}"
        numbers = (f"{version.per_second:.0f}", f"{version.good:,}", failed)
        table.add_row(Text(version.name, style="bold"), asked, measured, bar, *numbers)
    return table
