"""Rows of figures, and the table they are printed as."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True)
class Row:
    """One figure: what it is, what is to be reached, what was measured."""

    figure: str
    bar: str
    measured: str
    reached: bool


def measured(name: str, measure: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of a measurement, printed as they are made; one that cannot be made takes no other with it."""
    rows: list[Row] = []
    try:
        for row in measure():
            print(_line(row), flush=True)
            rows.append(row)
    except (AssertionError, TimeoutError) as error:
        rows.append(Row(name, "a figure", f"none: {error}", reached=False))
    return rows


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of all values do not exceed; the largest where there are too few for that."""
    if len(values) < 2:
        return values[0]
    return min(max(values), quantiles(sorted(values), n=100, method="inclusive")[percent - 1])


def text(rows: Iterable[Row]) -> str:
    """The table as Markdown, so that it can stand in a note as it is."""
    lines = ["| figure | to reach | measured | |", "|---|---|---|---|"]
    return "\n".join((*lines, *map(_line, rows)))


def _line(row: Row) -> str:
    return f"| {row.figure} | {row.bar} | {row.measured} | {'reached' if row.reached else 'MISSED'} |"
