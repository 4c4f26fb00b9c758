"""Rules of a route found again after others have edited it.

The rules of a run come from its status, the route as it is now from a view; which rule is which decides what is written
where.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rolloutplan.api.status import RouteWeights, RuleWeights, Weights
from rolloutplan.engine.model.snapshot import RouteView


def locate(view: RouteView, rule: RuleWeights, sides: Collection[str] = ()) -> RuleWeights | None:
    """Find a rule again in a route that may have been edited: by name, by what else it has, by place, or as only match.

    A rule matches if it has each of `sides` once; without `sides`, if it has every service of `rule`. While the rule of
    its name, or the one with all else that it has, does not match, none is found: another one that matches is somebody
    else's.
    """
    named = [candidate for candidate in view.rules if rule.name and candidate.name == rule.name]
    if view.keyed:
        named = [candidate for candidate in view.rules if candidate.at == rule.at]
    among = named if named or view.keyed else view.rules
    matching = [candidate for candidate in among if matches(candidate, rule, sides)]
    placed = [c for c in matching if (c.at == rule.at if rule.at else c.index == rule.index)]
    same = [c for c in among if rule.digest and view.digests.get(c.index) == rule.digest]
    if len(same) == 1:  # somebody may have put a rule before it, or taken one away
        return same[0] if same[0] in matching else None
    return next(iter(placed or (matching if len(matching) == 1 else ())), None)


def locate_each(
    view: RouteView, rules: Sequence[RuleWeights], sides: Collection[str] = ()
) -> tuple[RuleWeights | None, ...]:
    """Find rules of one route again, each in another place: where one is gone, another may have come to its place."""
    found = tuple(locate(view, rule, sides) for rule in rules)
    holders: dict[int, int] = {}
    for number, (now, rule) in enumerate(zip(found, rules, strict=True)):
        if now is not None and (now.index not in holders or view.digests.get(now.index) == rule.digest):
            holders[now.index] = number
    return tuple(now if now is not None and holders[now.index] == number else None for number, now in enumerate(found))


def readable(
    view: RouteView, route: RouteWeights, weights: Weights
) -> Iterator[tuple[RuleWeights | None, RuleWeights]]:
    """Each rule of a route as it is now, and as given; None for one that is gone, or has a weight nobody can read."""
    for now, rule in located(view, route, weights):
        yield now if now is not None and now.index not in view.unread else None, rule


def located(view: RouteView, route: RouteWeights, weights: Weights) -> Iterator[tuple[RuleWeights | None, RuleWeights]]:
    """Each rule of a route as it is now, and as given; None for one that is gone."""
    return zip(locate_each(view, route.rules, (weights.old, weights.new)), route.rules, strict=True)


def at_its_place(view: RouteView, rule: RuleWeights) -> RuleWeights | None:
    """What is in the annotation, or the entry of a mapping, in which a rule was."""
    return next((each for each in view.rules if each.at == rule.at), None) if view.keyed else None


def is_blank(view: RouteView, rule: RuleWeights) -> bool:
    """Whether nothing that can be read is where a rule was, and a snapshot has all that was there."""
    there = at_its_place(view, rule)
    return view.whole and (there is None or not there.backends or there.index in view.unread)


def same_rule(view: RouteView, rule: RuleWeights) -> RuleWeights | None:
    """The rule of a route that is surely this one, whatever it holds: by its name, or by what else it has."""
    found = locate(view, rule.with_backends(()))
    if found is None or not rule.digest or (rule.name and found.name == rule.name):
        return found
    return found if view.digests.get(found.index) == rule.digest else None


def matches(candidate: RuleWeights, rule: RuleWeights, sides: Collection[str]) -> bool:
    services = [backend.service for backend in candidate.backends]
    if sides:
        return all(services.count(side) == 1 for side in sides)
    return {backend.service for backend in rule.backends} <= set(services)
