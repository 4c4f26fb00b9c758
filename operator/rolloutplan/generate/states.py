"""The page of states: what follows from what, as a picture and as a table, made of the engine's own table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rolloutplan.api.status import Phase
from rolloutplan.engine.decide import INNER_RULES, RULES
from rolloutplan.engine.model.transitions import TRANSITIONS, Target, Transition, TransitionName
from rolloutplan.engine.rules.match import Rule

_HEAD = """# States and decisions

`make generate` writes this page from `engine/model/transitions.py`: every transition between phases, and every decision
of a run. Each decision is published as an Event on the plan, and is an entry of `.status.decisions`.

Where a run met a step that is undecided or refuted (`Held` for Undecided, Failed, MetricsUnavailable or Incident, or
the end of a deadline), what follows is a choice: Persist, Adapt or Kill. Its decision has the evidence, and in `why` is
the question with its answer: knowing this, would it be started today?
"""
_TABLE = """
## The decisions

"""
_ORDER = """
## The rules, in the order in which they are evaluated

The first rule that applies decides (`engine/decide.py`). The list of a rule that has rules of its own is below it.

"""
_BACK_PHASES = {Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.INVALID}
_BACK = {Target.WHERE_IT_WAS_HELD: "the phase before the hold", Target.STAYS: "stays"}


def states() -> str:
    """The page, in Markdown with a Mermaid diagram. Always the same text for the same table."""
    return "".join((_HEAD, *_pictures(), _TABLE, *_rows(), _ORDER, *_order(RULES)))


def _pictures() -> Iterator[str]:
    """Every arrow in one of three pictures: in one picture they cross so often that nobody can follow them."""
    arrows = dict.fromkeys(("The way forward", "Held, and on again", "The way back"), "")
    for source, to, line in _arrows():
        ends = {source, to}
        title = (
            "The way back" if ends & _BACK_PHASES else "Held, and on again" if Phase.HELD in ends else "The way forward"
        )
        arrows[title] += line
    first = "    [*] --> Pending\n"
    for title, lines in arrows.items():
        yield f"\n## {title}\n\n```mermaid\nstateDiagram-v2\n{first}{lines}```\n"
        first = "    direction LR\n"


def _arrows() -> Iterator[tuple[Phase, Phase, str]]:
    """One arrow from a phase to another, with all the Events that lead there. What stays is no arrow."""
    steps = [
        (source, to, row.event_reason or row.rationale)
        for row in TRANSITIONS.values()
        for source in row.sources
        for to in _ends(row)
        if to is not source
    ]
    places = {phase: place for place, phase in enumerate(Phase)}
    steps.sort(key=lambda step: (places[step[0]], places[step[1]]))
    for (source, to), found in groupby(steps, key=lambda step: step[:2]):
        yield source, to, f"    {source} --> {to}: {', '.join(dict.fromkeys(words for _, _, words in found))}\n"


def _ends(row: Transition) -> frozenset[Phase]:
    match row.to:
        case Phase():
            return frozenset({row.to})
        case Target.WHERE_IT_WAS_HELD:
            return TRANSITIONS[TransitionName.HELD].sources
        case Target.STAYS:
            return frozenset()


def _rows() -> Iterator[str]:
    yield "| Event | decision | from | to | rationale | rule |\n|---|---|---|---|---|---|\n"
    for row in TRANSITIONS.values():
        rules = ", ".join(f"`{rule}`" for rule in row.by)
        cells = row.event_reason or "-", _kind(row), _from(row), _to(row), row.rationale, rules
        yield f"| {' | '.join(cells)} |\n"


def _order(rules: Iterable[Rule], indent: str = "") -> Iterator[str]:
    """The rules as they are read, with the first words of what each says of itself, and the lists that they lead to."""
    for number, rule in enumerate(rules, 1):
        what = " ".join((rule.__doc__ or "").partition("\n\n")[0].split())
        yield f"{indent}{number}. `{rule.__name__}`: {what}\n"
        yield from _order(INNER_RULES.get(rule, ()), indent + "    ")


def _kind(row: Transition) -> str:
    other = f"; as a choice {row.choice}" if row.choice not in (None, row.kind) else ""
    return f"{row.kind or '-'}{other}"


def _from(row: Transition) -> str:
    return "any" if len(row.sources) == len(Phase) else ", ".join(phase for phase in Phase if phase in row.sources)


def _to(row: Transition) -> str:
    return row.to if isinstance(row.to, Phase) else _BACK[row.to]
