"""The values of predicates over time: what decisions rest on, and what was seen while a plan was watched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from rolloutplan.api.status import Status

Series: TypeAlias = Mapping[str, Mapping[datetime, float]]
"""By predicate: its values by the instant of the evaluation, the oldest first."""
KEPT: Final = 60
"""Values of a predicate: more than a screen has room for."""
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_BARS: Final = "▁▂▃▄▅▆▇█"


def with_evidence(series: Series, status: Status) -> Series:
    """The series, and what this status says of its run."""
    told = [each for decision in status.decisions if decision.run == status.run for each in decision.evidence]
    made = {name: dict(values) for name, values in series.items()}
    found = [(each.predicate, each.at, each.value) for each in told]
    for name, at, value in (*found, *((each.name, each.at, each.value) for each in status.predicates)):
        if at is not None and (number := _NUMBER.match(value)):
            made.setdefault(name, {})[at] = float(number[0])
    return {name: dict(sorted(values.items())[-KEPT:]) for name, values in made.items()}


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as bars between the least and the greatest; "" where there are fewer than two."""
    shown = values[-width:]
    if len(values) < 2 or not shown:
        return ""
    least, most = min(shown), max(shown)
    step = (most - least) / (len(_BARS) - 1)
    return "".join(_BARS[round((value - least) / step) if step else 0] for value in shown)
