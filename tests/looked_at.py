"""Views as they are printed: the widths at which they are looked at, and words that must do no harm in them."""

import re
from io import StringIO
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType

WIDTHS: Final = (40, 80, 120)
HOSTILE: Final = "[red]:bomb:[/red]\x1b[2J\x07\r\n配布計画\u202e" + "x" * 60
COMMAND: Final = re.compile("  (rolloutplan|kubectl) ")
"""A line to be copied, which is not broken at any width."""


def shown(view: RenderableType, width: int) -> list[str]:
    """The lines of a view, which are never wider than the screen, except for commands that are copied."""
    out = StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(view, crop=False)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert [line for line in lines if cell_len(line) > width and not COMMAND.match(line)] == []
    return lines
