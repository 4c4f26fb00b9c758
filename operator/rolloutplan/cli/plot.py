"""Plot the logarithm of the evidence for each evaluation, with the line above which it is proof.

The curves come from cli/replay.py. They go to the terminal, to SVG, or to PNG where Pillow is installed. Both file
formats show the same drawing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

COLUMNS, LINES = 72, 10
WIDTH, HEIGHT, LEFT, TOP = 860, 260, 70, 40
_INK, _PALE, _CURVE, _PROOF = "#222222", "#bbbbbb", "#1f6fb2", "#c0392b"
_NO_PILLOW: Final = "PNG needs Pillow: install rolloutplan[plot], or write an SVG"


class PlotError(Exception):
    """A plot cannot be written; the message contains the fix."""


class Point(NamedTuple):
    at: datetime
    stage: str
    evidence: float


class Curve(NamedTuple):
    """The evidence after each evaluation; `proof` is the amount that is proof."""

    name: str
    proof: float
    points: Sequence[Point]

    @property
    def decades(self) -> tuple[int, int]:
        """Return the exponents of the powers of ten that enclose all values."""
        values = [self.proof, *(point.evidence for point in self.points if point.evidence > 0)]
        return math.floor(math.log10(min(values))), math.floor(math.log10(max(values))) + 1

    def height(self, evidence: float) -> float:
        """Return the position of an amount of evidence between the lowest decade (0) and the highest (1)."""
        low, high = self.decades
        return (math.log10(max(evidence, 10.0**low)) - low) / (high - low)


# ---- in a terminal -------------------------------------------------------------------------------


def terminal(curve: Curve) -> str:
    """Draw the curve in characters. With more evaluations than columns, a column shows the maximum of its own."""
    points, width = curve.points, min(COLUMNS, len(curve.points))
    edges = [i * len(points) // width for i in range(width + 1)]
    heights = [_line(curve, max(p.evidence for p in points[a:b])) for a, b in pairwise(edges)]
    proof, (low, high) = _line(curve, curve.proof), curve.decades
    names = {LINES - 1: f"1e{high}", 0: f"1e{low}"} | {proof: f"{curve.proof:.4g}"}
    rows = [f"{curve.name}: evidence after each evaluation, {curve.proof:.4g} is proof"]
    for line in reversed(range(LINES)):
        marks = ("●" if height == line else "─" if line == proof else " " for height in heights)
        rows.append(f"{names.get(line, ''):>6} │{''.join(marks)}".rstrip())
    first, last = (f"{point.at:%H:%M:%S}" for point in (points[0], points[-1]))
    rows.append(f"{'':>6} └{'─' * width}")
    rows.append(f"{'':>8}{first}{last:>{max(width - len(first), len(last) + 1)}}")
    return "\n".join(rows)


def _line(curve: Curve, evidence: float) -> int:
    return round(curve.height(evidence) * (LINES - 1))


# ---- in a file -----------------------------------------------------------------------------------


class _Stroke(NamedTuple):
    points: Sequence[tuple[float, float]]
    colour: str
    width: int = 1


class _Words(NamedTuple):
    x: float
    y: float
    text: str
    colour: str = _INK


def write(path: Path, curves: Sequence[Curve]) -> None:
    """Write the curves below one another, in the format of the file's suffix. Raises PlotError and OSError."""
    shapes = [shape for number, curve in enumerate(curves) for shape in _drawing(curve, number * HEIGHT)]
    match path.suffix.lower():
        case ".svg":
            path.write_text(_svg(shapes, HEIGHT * len(curves)))
        case ".png":
            _png(path, shapes, HEIGHT * len(curves))
        case _:
            raise PlotError(f"{path.name} is neither .svg nor .png")


def _drawing(curve: Curve, top: float) -> Iterator[_Stroke | _Words]:
    right, bottom = WIDTH - 20.0, top + HEIGHT - 40.0
    step = (right - LEFT) / max(len(curve.points) - 1, 1)

    def y(evidence: float) -> float:
        return bottom - curve.height(evidence) * (bottom - top - TOP)

    yield _Words(LEFT, top + 18, f"{curve.name}: evidence after each evaluation, {curve.proof:.4g} is proof")
    low, high = curve.decades
    for decade in range(low, high + 1, max(1, (high - low) // 5)):
        yield _Stroke([(LEFT, y(10.0**decade)), (right, y(10.0**decade))], _PALE)
        yield _Words(LEFT - 45, y(10.0**decade) + 4, f"1e{decade}")
    number = 0
    for stage, looks in groupby(curve.points, key=lambda point: point.stage):
        x = LEFT + number * step
        yield _Stroke([(x, top + TOP), (x, bottom)], _PALE)
        yield _Words(x + 3, bottom - 4, stage)
        number += len(list(looks))
    yield _Stroke([(LEFT, y(curve.proof)), (right, y(curve.proof))], _PROOF)
    yield _Words(LEFT + 4, y(curve.proof) - 4, "proof", _PROOF)
    yield _Stroke([(LEFT + i * step, y(point.evidence)) for i, point in enumerate(curve.points)], _CURVE, 2)
    yield _Words(LEFT, bottom + 18, f"{curve.points[0].at:%Y-%m-%d %H:%M:%S}")
    yield _Words(right - 60, bottom + 18, f"{curve.points[-1].at:%H:%M:%S}")


def _svg(shapes: Sequence[_Stroke | _Words], height: int) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" style="font: 12px sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for shape in shapes:
        if isinstance(shape, _Words):
            text = escape(shape.text)
            lines.append(f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" fill="{shape.colour}">{text}</text>')
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            style = f'fill="none" stroke="{shape.colour}" stroke-width="{shape.width}"'
            lines.append(f'<polyline points="{points}" {style}/>')
    return "\n".join([*lines, "</svg>", ""])


def _png(path: Path, shapes: Sequence[_Stroke | _Words], height: int) -> None:
    try:
        pillow: Any = importlib.import_module("PIL.Image")
        pencil: Any = importlib.import_module("PIL.ImageDraw")
    except ImportError:
        raise PlotError(_NO_PILLOW) from None
    image = pillow.new("RGB", (WIDTH, height), "white")
    draw = pencil.Draw(image)
    for shape in shapes:
        if isinstance(shape, _Words):
            draw.text((shape.x, shape.y - 10), shape.text, fill=shape.colour)
        else:
            draw.line([tuple(point) for point in shape.points], fill=shape.colour, width=shape.width)
    image.save(path, "PNG")
