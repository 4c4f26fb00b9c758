"""What each rule of a route is to become: forward and back, whatever others have made of the route meanwhile.

Rules come from the intent or the snapshot of weights, the route as it is now from a view; the result is compared and
written (routes.py).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from rolloutplan.api.status import RouteWeights, RuleWeights, Weights
from rolloutplan.engine.model.finding import at_its_place, is_blank, locate, located, matches, same_rule
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import holds_both, restore, restore_one, same_share, same_split


class Aim(NamedTuple):
    """A rule as it is, and as it is to be."""

    now: RuleWeights | None
    wanted: RuleWeights | None
    """With the weights to write; None where there is nothing to write them to."""
    is_there: bool = False
    """Whether the weights are as wanted, or nothing of them is left."""
    shown: RuleWeights = RuleWeights(index=0)
    """What is wanted, for messages: it may be a share that the route cannot have."""
    lacks: str = ""
    """What somebody has made of the rule that no weight puts right, as text."""


def aims_of(view: RouteView, route: RouteWeights, weights: Weights, *, back: bool) -> list[Aim]:
    """What is to become of the rules of a route that may have been edited.

    Forward, both sides get what the rule says, or nothing is written. On the way `back` the new side goes back alone
    where the old one is no longer with it: a rollback waits for nothing that can be missing.
    """
    return [_aim(view, now, rule, weights, back=back) for now, rule in located(view, route, weights)]


def _aim(view: RouteView, now: RuleWeights | None, rule: RuleWeights, weights: Weights, *, back: bool) -> Aim:
    if not holds_both(rule, weights.old, weights.new):  # only a person can have made the status so
        words = f"the status does not say what {weights.old} and {weights.new} had in {_own(rule)} of {view.id}"
        return Aim(None, None, lacks=words)
    if now is not None and (back or now.index not in view.unread):
        return _aim_at(view, now, rule, weights, back=back)
    lacks = _lost_words(view, rule, weights)
    if back and is_blank(view, rule):
        return Aim(None, rule, lacks=lacks)
    return _aim_alone(view, rule, weights, lacks) if back else Aim(None, None, lacks=lacks)


def _aim_at(view: RouteView, now: RuleWeights, rule: RuleWeights, weights: Weights, *, back: bool) -> Aim:
    """What a rule is to become that has both sides."""
    old, new, is_read = weights.old, weights.new, now.index not in view.unread
    wanted = restore(now, rule, old, new, view.weights, whole=_whole(view)).with_added(rule.added)
    if not is_read and not view.one_number and matches(now, rule, ()):
        wanted = rule  # what the others have now cannot be known
    exact = back or same_split(wanted, rule, old, new) or same_share(wanted, rule, old, new)
    there = is_read and exact and same_split(now, wanted, old, new)
    fault = view.faults.get(now.index, "") if is_read else ""
    return Aim(now, wanted, there, wanted if exact else rule, fault and f"{view.id}: {fault}")


def _aim_alone(view: RouteView, rule: RuleWeights, weights: Weights, lacks: str) -> Aim:
    """What can be put back of a rule that has no longer both sides.

    One that is gone has nothing to put back, unless it may be another one that holds both. Rules that give the new side
    requests by themselves, such as those of testers, are no rules of the run.
    """
    now, new = same_rule(view, rule), weights.new
    services = [each.service for each in now.backends] if now is not None else []
    if now is None or not services:
        hidden = view.keyed or any(holds_both(each, weights.old, new) for each in view.rules)
        return Aim(None, None, is_there=not hidden, lacks=lacks)
    if new not in services and not view.one_number:  # its requests go to others
        return Aim(now, now.with_added(rule.added), is_there=True, lacks=lacks)
    if services.count(new) > 1 and not view.one_number:
        return Aim(now, None, lacks=f"{lacks}, and has {new} more than once: put the old side back")
    place = len(services) - 1 if view.one_number else services.index(new)
    wanted = restore_one(now, place, rule, new, _whole(view))
    if wanted is None:
        return Aim(now, None, lacks=f"{lacks}: without {new}, nobody would answer there; put the old side back")
    wanted = wanted.with_added(rule.added)
    same = [each.weight for each in now.backends] == [each.weight for each in wanted.backends]
    return Aim(now, wanted, same and now.index not in view.unread, wanted, lacks)


def _whole(view: RouteView) -> int:
    """What the weights of each rule must add up to; 0 where that is nothing, or where they are numbers of pods."""
    kind = view.weights
    return kind.sum * kind.units if kind.sum and view.ready_pods is None else 0


def took_effect(view: RouteView, target: RouteWeights) -> bool:
    """Whether a route, as it was read back, has what was written to it."""
    found = ((locate(view, rule), rule) for rule in target.rules)
    return all(now is not None and now.index not in view.unread and _has_weights(now, rule) for now, rule in found)


def _has_weights(now: RuleWeights, rule: RuleWeights) -> bool:
    """Whether a rule has all weights and additions of another one; it may have more backends."""
    found, wanted = (Counter((each.service, each.weight) for each in one.backends) for one in (now, rule))
    return wanted <= found and set(now.added) == set(rule.added)


def _lost_words(view: RouteView, rule: RuleWeights, weights: Weights) -> str:
    """What has become of a rule that is not found again, or cannot be read."""
    now = locate(view, rule, (weights.old, weights.new)) or at_its_place(view, rule) or same_rule(view, rule)
    if now is not None and now.index in view.faults:
        return f"{view.id}: {view.faults[now.index]}"
    if now is None and rule.text:
        return f"{view.id} no longer has {rule.at}"
    return f"{view.id} no longer holds both {weights.old} and {weights.new} in {_own(rule)}"


def _own(rule: RuleWeights) -> str:
    return f"its rule {rule.name}" if rule.name else "one rule"
