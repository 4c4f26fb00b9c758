"""A route read again: what is as it was in the version before is taken from the view of that.

Of thousands of rules an event changes few, and a view of one rule is of nothing but this rule and its place.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Final

from rolloutplan.engine.model.snapshot import RouteView

_BY_RULE: Final = ("unable", "no_port", "unread", "digests", "faults")


def is_same(before: Any, now: Any) -> bool:
    """Whether two values of JSON are the same. Python alone has it that true is 1."""
    try:
        return before == now and repr(before) == repr(now)
    except RecursionError:
        return False


def completed(view: RouteView, before: RouteView, same: AbstractSet[int]) -> RouteView:
    """The view of a route, of which only those rules were read that are not the same as before."""
    rules = {rule.index: rule for each in (before, view) for rule in each.rules if each is view or rule.index in same}
    fields: dict[str, Any] = {
        name: {index: value for index, value in getattr(before, name).items() if index in same} | getattr(view, name)
        for name in _BY_RULE
    }
    return replace(
        view,
        rules=tuple(rules[index] for index in sorted(rules)),
        selective=view.selective | (before.selective & same),
        sticky=view.sticky | (before.sticky & same),
        **fields,
    )
