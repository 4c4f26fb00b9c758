"""Columns of many rows, as wide as they need: a table of rich measures each cell several times, and takes a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from rich.cells import cell_len
from rich.text import Text

GAP: Final = 2
LEAST: Final = 12
"""Columns of the terminal that the last column gets, unless others are left out for it."""
FIRST: Final = 0.4
"""Of a width that is not enough, the most that the first column gets: one long name must not hide the rest."""
Row: TypeAlias = Mapping[str, Text]


def columns(titles: Sequence[str], rows: Sequence[Row], width: int | None, drop: Sequence[str] = ()) -> Text:
    """Rows under their titles. What is wider than the `width` is cut at its end; None: nothing is cut.

    Columns without any text are left out, and on a narrow screen those in `drop`, the first one first.
    """
    kept = [title for title in titles if title == titles[0] or any(row[title].plain for row in rows)]
    widths = {title: max([len(title), *(cell_len(row[title].plain) for row in rows)]) for title in kept}
    if width is not None and _narrowest(widths) > width:
        widths[titles[0]] = min(widths[titles[0]], int(width * FIRST))
    for title in drop:
        if width is not None and title in widths and _narrowest(widths) > width:
            del widths[title]
    head = {title: Text(title, "dim") for title in widths}
    return Text("\n").join(_line(row, widths, width) for row in (head, *rows))


def _narrowest(widths: Mapping[str, int]) -> int:
    *first, last = widths.values()
    return sum(width + GAP for width in first) + min(last, LEAST)


def _line(row: Row, widths: Mapping[str, int], width: int | None) -> Text:
    made = Text()
    *first, last = widths
    for title in first:
        cell = row[title].copy()
        cell.truncate(widths[title], overflow="ellipsis", pad=True)
        made.append_text(cell).append(" " * GAP)
    made.append_text(row[last])
    made.rstrip()
    if width is not None and cell_len(made.plain) > width:
        made.truncate(width, overflow="ellipsis")
    return made
