"""Alerts of a metric source, asked for so that a number comes out whether any fires or not.

Prometheus keeps what fires in the series `ALERTS`. An alert is its set of labels: whatever differs in one is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rolloutplan.engine.words import render
from rolloutplan.plan.predicate import Alert
from rolloutplan.plan.quantities import parse_is

NONE: Final = parse_is("== 0")


def firing(alert: Alert, words: Mapping[str, str]) -> str:
    """The series of all that match and fire."""
    return f'ALERTS{{alertstate="firing",{render(alert.matchers, words)}}}'


def how_many(alert: Alert, words: Mapping[str, str]) -> str:
    """How many fire."""
    return f"count({firing(alert, words)}) or vector(0)"


def how_many_new(alert: Alert, words: Mapping[str, str], since: datetime) -> str:
    """How many fire that did not fire at an instant."""
    series = firing(alert, words)
    return f"count({series} unless {series} @ {since.timestamp():.3f}) or vector(0)"
