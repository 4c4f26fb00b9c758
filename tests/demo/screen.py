"""The live picture: plans and their stages, traffic, verdicts, Events. Made for 80 x 24 and more."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.status import Phase
from tests.demo import BAD
from tests.demo.readings import Reading
from tests.demo.watch import Event, Moment, Plan, Version

BAR = 16
STYLES = {Phase.SUCCEEDED: "bold green", Phase.ROLLING_BACK: "bold red", Phase.ROLLED_BACK: "bold red"}


def picture(moment: Moment) -> Layout:
    layout = Layout()
    layout.split_column(
        Layout(_panel(_plans(moment), "RolloutPlan", f"{moment.seconds:.0f} s"), size=4),
        Layout(_panel(_traffic(moment.versions), "Traffic", _answers(moment)), size=6),
        Layout(_panel(_verdicts(moment.readings), "Verdicts", _judged(moment.current)), size=4),
        Layout(_panel(_events(moment.events), "Events", "newest first")),
    )
    return layout


def _panel(content: RenderableType, title: str, remark: str) -> Panel:
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


# ---- plans ---------------------------------------------------------------------------------------------------------


def _plans(moment: Moment) -> Table:
    table = _grid("left", "left", "left", "fill")
    for plan in moment.plans:
        if spec := plan.view.spec:
            way = f"{_version(spec.old.deployment)} → {_version(spec.new.deployment)}"
            phase = Text(_phase(plan), style=STYLES.get(plan.status.phase, "bold cyan"))
            table.add_row(Text(plan.view.name, style="bold"), way, _ladder(plan), phase)
    if len(moment.plans) == 1:
        table.add_row(Text(BAD, style="dim"), "", Text("comes next", style="dim"))
    return table


def _version(deployment: str) -> str:
    return deployment.rpartition("-")[2]


def _ladder(plan: Plan) -> Text:
    """✔ 5%  ● 25%  ○ 50%  ○ 100%."""
    assert plan.view.spec is not None
    stage, phase = plan.status.stage, plan.status.phase
    at = stage.index if stage else 0 if phase is Phase.SHIFTING else -1
    words = Text()
    for step in plan.view.spec.steps():
        done = step.index < at or phase is Phase.SUCCEEDED
        mark, style = ("✔", "green") if done else ("○", "dim")
        if step.index == at and not done:
            failed = phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
            mark, style = ("✘", "bold red") if failed else ("●", "bold cyan")
        words.append(f"{mark} {format_weight(step.permille)}  ", style)
    return words


def _phase(plan: Plan) -> str:
    at, phase = plan.status.stage, plan.status.phase
    if phase is Phase.JUDGING and at and at.verified_at and at.soak_until:
        soak, gone = at.soak_until - at.verified_at, datetime.now(UTC) - at.verified_at
        return f"{phase}  {min(gone, soak).total_seconds():.0f} s of {soak.total_seconds():.0f} s"
    return phase


# ---- traffic -------------------------------------------------------------------------------------------------------


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


# ---- verdicts ------------------------------------------------------------------------------------------------------


def _judged(plan: Plan | None) -> str:
    if plan is None or plan.status.stage is None:
        return ""
    return f"{plan.view.name} at {plan.status.stage.weight}"


def _verdicts(readings: Sequence[Reading]) -> Table:
    table = _grid("left", "left", "right", "left", "left", "fill")
    _widths(table, {2: 8, 3: 14})
    for reading in readings:
        style = {True: "green", False: "bold red", None: "yellow"}[reading.good]
        verdict, value = Text(reading.verdict, style=style), Text(reading.value, style="bold")
        table.add_row(
            Text(reading.role, style="dim"),
            reading.name,
            value,
            Text(reading.bound, style="dim"),
            verdict,
            Text(reading.note, style="dim"),
        )
    return table


# ---- Events --------------------------------------------------------------------------------------------------------


def _events(events: Sequence[Event]) -> Table:
    """The newest in full, the older ones in a line each; what does not fit is cut off below."""
    table = _grid("left", "left", "fill")
    for event in reversed(events):
        newest = event is events[-1]
        style = "yellow" if event.warning else "green"
        note = Text(event.note, no_wrap=False) if newest else Text(event.note, "dim", overflow="ellipsis")
        table.add_row(Text(event.at[11:19], style="dim"), Text(event.reason, style=style), note)
    return table
