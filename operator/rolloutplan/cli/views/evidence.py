"""The values of predicates over time: what decisions rest on, and what was seen while a plan was watched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
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
        if at is not None and (written := _NUMBER.match(value)) and isfinite(number := float(written[0])):
            made.setdefault(name, {})[at] = number
    return {name: dict(sorted(values.items())[-KEPT:]) for name, values in made.items()}


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as bars between the least and the greatest; "" where there are fewer than two."""
    shown = values[-width:]
    if len(values) < 2 or not shown:
        return ""
    halves = [value / 2 for value in shown]  # the difference of two floats may be no float
    least, span = min(halves), max(halves) - min(halves)
    return "".join(_BARS[round((half - least) / span * (len(_BARS) - 1)) if span else 0] for half in halves)
