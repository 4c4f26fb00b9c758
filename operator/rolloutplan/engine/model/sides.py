"""Routes as a plan sees them: with the sides under the names that the plan has for them, whatever a route calls them.

A route may call a side `web/canary`, a revision, or the variant of a flag. The engine knows one name a side, the same
in all routes of a plan. So a view is renamed before it gets to the engine; what the route wrote stays in the backends,
for the patch and the undo command.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.flags import flag_fault, values_digest
from rolloutplan.engine.model.snapshot import RouteView

UNKNOWN: Final = ""
"""What a share calls the old side while nothing names it: the way back must not need it."""


def as_plan_sees(view: RouteView, called: Names, names: Names, plain: str, flag: str = "") -> RouteView:
    """The view in which the sides that the route calls `called` have the names of the plan.

    `plain` is the pointer of the field by which an item of the kind names its side. `flag` is the flag that the plan
    moves, if it moves one: the view says what is wrong with it, and has a digest of what its sides are.
    """
    if called == names and not any(each.service == UNKNOWN for rule in view.rules for each in rule.backends):
        return view

    def renamed(rules: tuple[RuleWeights, ...]) -> tuple[RuleWeights, ...]:
        return tuple(_renamed(rule, called, names, plain) for rule in rules)

    appliers = tuple(replace(each, rules=each.rules and renamed(each.rules)) for each in view.appliers)
    seen = replace(view, rules=renamed(view.rules), appliers=appliers)
    if not flag:
        return seen
    values = values_digest(view.raw, flag, called)
    digests = {rule.index: values for rule in view.rules if rule.name == flag}
    return replace(seen, refused=flag_fault(view.raw, flag, called), digests=digests)


def weights_as_plan_sees(route: RouteWeights, called: Names, names: Names) -> RouteWeights:
    """The same for weights that were read from an undo command, which names the sides as the route does."""
    if called == names and not any(each.service == UNKNOWN for rule in route.rules for each in rule.backends):
        return route
    pairs = zip(("old", "new"), called, names, strict=True)
    theirs = {side: his if his != ours else "" for side, his, ours in pairs}
    rules = tuple(_renamed(rule, called, names, "") for rule in route.rules)
    return route.with_rules(rules).model_copy(update=theirs)


def _renamed(rule: RuleWeights, called: Names, names: Names, plain: str) -> RuleWeights:
    return rule.with_backends(tuple(_named(backend, called, names, plain) for backend in rule.backends))


def _named(backend: Backend, called: Names, names: Names, plain: str) -> Backend:
    """A side under the plan's name; another backend that happens to have that name gets one that no Service has."""
    name = backend.service
    known = {UNKNOWN: names.old, called.old: names.old, called.new: names.new}
    found = known.get(name)
    if found is None and name in names:
        found = f"other/{name}"
    if found is None or found == name:
        return backend
    written = backend.names or ({plain: name} if plain and name else {})
    return backend.model_copy(update={"service": found, "names": written})
