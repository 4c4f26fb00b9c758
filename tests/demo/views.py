"""How the demo is shown: a live screen on a terminal, plain lines elsewhere, and a picture where one is wanted."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.live import Live

from rolloutplan.api.status import Phase
from tests.demo.screen import picture
from tests.demo.watch import Event, Moment

STATUS_EVERY = 5.0
WIDTH_OF_LINES = 120
WIDE, HIGH = 100, 28
"""Columns and lines of the picture that is kept: the whole of the tree of a plan with four stages."""

Show = Callable[[Moment], None]


def console() -> Console:
    """Standard output; where it is no terminal, wide enough for the tables of the summary."""
    out = Console(highlight=False, emoji=False)
    if not out.file.isatty():
        out.width = WIDTH_OF_LINES
    return out


def kept(show: Show, path: Path) -> Show:
    """Show each moment, and keep the screen as it is once a plan has rolled back, as an SVG."""

    def show_and_keep(moment: Moment) -> None:
        show(moment)
        if any(plan.status.phase is Phase.ROLLED_BACK for plan in moment.plans):
            paper = Console(record=True, width=WIDE, height=HIGH, file=io.StringIO(), force_terminal=True)
            paper.print(picture(moment, WIDE), height=HIGH)
            path.write_text(paper.export_svg(title="make demo", code_format=_WITHOUT_FONTS))

    return show_and_keep


_WITHOUT_FONTS = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""rich has the font fetched from another server, where a page that shows the picture should fetch nothing."""


@contextmanager
def shown(out: Console) -> Iterator[Show]:
    """Give the function that shows each moment. A screen is taken only for as long as the block lasts."""
    if not out.file.isatty() or out.is_dumb_terminal:
        yield Lines(out).show
        return
    with Live(console=out, screen=True, auto_refresh=False) as live:
        yield lambda moment: live.update(picture(moment, out.width), refresh=True)


class Lines:
    """A line for each Event and each change of weights, and every few seconds one on how it stands."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._told: set[Event] = set()
        self._weights = ""
        self._status_at = 0.0

    def show(self, moment: Moment) -> None:
        for event in moment.events:
            if event not in self._told:
                self._told.add(event)
                self._say(moment, f"{event.plan}: {event.reason}: {event.note}")
        weights = "  ".join(f"{version.name} {version.asked:.0%}" for version in moment.versions)
        if weights != self._weights:
            self._weights = weights
            self._say(moment, f"weights: {weights}")
        if moment.per_second and moment.seconds - self._status_at >= STATUS_EVERY:
            self._status_at = moment.seconds
            self._say(moment, f"status: {_status(moment)}")

    def _say(self, moment: Moment, line: str) -> None:
        self._out.print(f"{moment.seconds:5.1f} s  {line}", markup=False, soft_wrap=True)


def _status(moment: Moment) -> str:
    measured = "  ".join(f"{version.name} {version.measured:.1%}" for version in moment.versions)
    traffic = f"measured {measured} of {moment.per_second:.0f} answers/s, {moment.lost} lost"
    if not (plan := moment.current):
        return traffic
    stage = f" {plan.status.stage.display}" if plan.status.stage else ""
    verdicts = "; ".join(
        f"{each.role} {each.name} {each.value or '-'} ({each.bound}) {each.verdict}" for each in plan.status.predicates
    )
    return f"{plan.view.name}: {plan.status.phase}{stage}; {traffic}; {verdicts or 'nothing to judge yet'}"
