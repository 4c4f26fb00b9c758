"""The requests of testers, told by a header, as a stage before all weights: where the kinds of all routes can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rolloutplan.api.abilities import described
from rolloutplan.api.added import TESTER, TOKEN
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.tools.convert.draft import Draft


def match_of(draft: Draft, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The match of a stage; empty where it is not one header with an exact value, or a route of the plan cannot."""
    kinds = [BUILT_IN.get(route["kind"]) for route in draft.spec["traffic"]["routes"]]
    able = all(kind is not None and "header" in described(kind) for kind in kinds)
    found = [*headers]
    if not able or len(found) != 1 or not (TOKEN.matches(found[0][0]) and TESTER.matches(found[0][1])):
        return {}
    return {"header": dict(zip(("name", "value"), found[0], strict=True))}
