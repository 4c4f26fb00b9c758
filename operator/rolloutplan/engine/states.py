"""The page of states: what follows from what, as a picture and as a table, made of the engine's own table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rolloutplan.engine.table import TABLE, Cause, Row, Whither
from rolloutplan.plan.status import Phase

_HEAD = """# States and decisions

Made of the operator's own table (`engine/table.py`) by `make generate`: every way from one phase to another, and every
decision that a run can take. A decision is an Event of its reason on the plan, and an entry of `.status.decisions`.

```mermaid
stateDiagram-v2
    [*] --> Pending
"""
_BACK = {Whither.WHERE_IT_WAS_HELD: "where it was held", Whither.STAYS: "stays"}


def states() -> str:
    """The page, in Markdown with a Mermaid diagram. Always the same text for the same table."""
    return _HEAD + "".join(_arrows()) + "```\n\n" + "".join(_rows())


def _arrows() -> Iterator[str]:
    """One arrow from a phase to another, with all the Events that lead there. What stays is no arrow."""
    steps = [
        (source, to, row.tells or row.because)
        for row in TABLE.values()
        for source in row.sources
        for to in _ends(row)
        if to is not source
    ]
    places = {phase: place for place, phase in enumerate(Phase)}
    steps.sort(key=lambda step: (places[step[0]], places[step[1]]))
    for (source, to), found in groupby(steps, key=lambda step: step[:2]):
        yield f"    {source} --> {to}: {', '.join(dict.fromkeys(words for _, _, words in found))}\n"


def _ends(row: Row) -> frozenset[Phase]:
    match row.to:
        case Phase():
            return frozenset({row.to})
        case Whither.WHERE_IT_WAS_HELD:
            return TABLE[Cause.HELD].sources
        case Whither.STAYS:
            return frozenset()


def _rows() -> Iterator[str]:
    yield "| Event | decision | from | to | because |\n|---|---|---|---|---|\n"
    for row in TABLE.values():
        yield f"| {row.tells or '-'} | {row.kind or '-'} | {_from(row)} | {_to(row)} | {row.because} |\n"


def _from(row: Row) -> str:
    return "any" if len(row.sources) == len(Phase) else ", ".join(phase for phase in Phase if phase in row.sources)


def _to(row: Row) -> str:
    return row.to if isinstance(row.to, Phase) else _BACK[row.to]
