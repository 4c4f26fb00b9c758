"""What a kind of route can do in addition to weights, and which kinds can do what.

`can` is a set of words: `header`, `cookie`, `mirror`, `sticky`, and `mirror/10` where the finest mirror is 10 permille.
A description says it; the gateway that answers for a route may take some of it away (`RouteView.can`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from rolloutplan.api.added import Addition, Word, read_addition
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.route_kind import ControllerRules, RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.stage import Stage

_FINEST: Final = "mirror/"
_DONE: Final[Mapping[Word, str]] = {
    "mirror": "mirror requests",
    "header": "send the requests with a header to one side",
    "cookie": "send the requests with a cookie to one side",
    "sticky": "keep users on a side by a cookie",
}


def described(spec: RouteKindSpec, overrides: Iterable[ControllerRules] = ()) -> frozenset[str]:
    """What a kind can by its description, where controllers answer that do something in another way."""
    others, mirror = tuple(overrides), spec.mirror
    if not all(other.mirror for other in others):
        mirror = None
    able = {
        "header": spec.ab is not None and spec.ab.header is not None,
        "cookie": spec.ab is not None and spec.ab.cookie is not None,
        "mirror": mirror is not None,
        "sticky": spec.affinity is not None,
    }
    shares = [mirror.finest, *(other.finest_mirror or 0 for other in others)] if mirror else []
    finest = [f"{_FINEST}{max(shares)}"] if shares else []
    return frozenset((*(word for word, can in able.items() if can), *finest))


def kinds_that_can(word: Word) -> tuple[str, ...]:
    """The built-in kinds that can do this, in the order of their names."""
    return tuple(kind for kind, spec in BUILT_IN.items() if word in described(spec))


def lacks(addition: Addition, can: Collection[str]) -> str:
    """Why a route that can these things cannot have an addition, after its name; empty where it can."""
    if addition.word not in can:
        return f"cannot {_DONE[addition.word]}"
    finest = next((int(word.removeprefix(_FINEST)) for word in can if word.startswith(_FINEST)), 1)
    if addition.word == "mirror" and addition.permille % finest:
        steps = "all requests or none" if finest == 1000 else f"shares in steps of {format_weight(finest)}"
        return f"can mirror {steps}, not {addition.value}"
    return ""


def first_lacking(steps: Collection[Stage], can: Collection[str]) -> tuple[Stage, Addition, str] | None:
    """The first step with something that a route cannot have, with that and why; None where it can have all."""
    for step in steps:
        for addition in filter(None, map(read_addition, step.additions)):
            if words := lacks(addition, can):
                return step, addition, words
    return None


def way_out(stage: Stage, addition: Addition, kind: str) -> str:
    """What to do where a route cannot have an addition."""
    others = [each for each in kinds_that_can(addition.word) if each != kind]
    where = "spec.traffic.sticky" if addition.word == "sticky" else f"the stage {stage.name}"
    named = f", or move a route of a kind that can: {', '.join(others)}" if others else ""
    return f"leave {where} out{named}"
