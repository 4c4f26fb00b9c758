"""Routes of a run: which rules it shifts, whether their weights are as desired, and the patches to write.

Route views come from the snapshot, desired weights from the status; the patches are actions of the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import FEATURE_FLAG, RouteId
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RouteWeights, RuleWeights, Weights
from rolloutplan.api.traffic import RouteRef
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.aims import Aim, aims_of
from rolloutplan.engine.model.division import PodCounts
from rolloutplan.engine.model.fence import fence_of, others_wrote_last, read_fences, write_fence
from rolloutplan.engine.model.finding import at_its_place, locate, located, readable
from rolloutplan.engine.model.pod_numbers import is_on_its_way, next_sizes
from rolloutplan.engine.model.snapshot import RouteConflict, RouteView, Snapshot
from rolloutplan.engine.model.weights import holds_both, pair, restore, rule_share, same_share, shift


class UnusableError(Exception):
    """A route cannot be shifted; has the reason (one word) and the message with the fix."""

    def __init__(self, reason: StatusReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def select_rules(snapshot: Snapshot) -> tuple[RouteWeights, ...]:
    """The rules that the plan shifts, with their present weights. Raises UnusableError."""
    spec = snapshot.plan.spec
    assert spec is not None
    old, new = spec.names
    return tuple(select_in(snapshot, ref, old, new) for ref in spec.traffic.routes)


def select_in(snapshot: Snapshot, ref: RouteRef, old: str, new: str) -> RouteWeights:
    """The rules of one route that a plan shifts between two Services. Raises UnusableError."""
    view = _existing_route(snapshot, ref.id)
    where = f"{ref.kind} {snapshot.plan.namespace}/{ref.name}"
    if view is None:
        raise UnusableError(
            StatusReason.ROUTE_NOT_FOUND, f"{where} does not exist: create it, or correct spec.traffic.routes"
        )
    if view.refused:
        raise UnusableError(StatusReason.FLAG_NOT_USABLE, f"{where}: {view.refused}")
    candidates = [_rule_named(view, name, where) for name in ref.rule_names] or _shiftable(view, old, new)
    rules = [rule for rule in candidates if holds_both(rule, old, new)]
    if not rules or (ref.rule_names and len(rules) < len(candidates)):
        _check_readable(view, candidates, where)
        held = sorted({backend.service for rule in candidates for backend in rule.backends})
        found = ", ".join(held) or f"no Service ({view.place})"
        to = view.place.rpartition(".")[2].strip("[]") if view.place.endswith("[]") else view.place
        raise UnusableError(
            StatusReason.ROUTE_WITHOUT_BOTH_SERVICES,
            f"{where} must hold both Services {old} and {new}, each once, in one rule; its rules hold "
            f"{found}: add the missing one to {to} (weight 0 for the new side)",
        )
    _check_readable(view, rules, where)
    for rule in rules:
        _check_weights(rule, old, new, view.weights, f"{where} rule {rule.index}")
    spec = snapshot.plan.written
    called = zip(spec.called(ref), (old, new), strict=True) if spec is not None else ()
    theirs = dict(zip(("old", "new"), (his if his != ours else "" for his, ours in called), strict=False))
    known = tuple(_known(view, rule) for rule in rules)
    return RouteWeights(kind=ref.kind, name=ref.id.name, rules=known, **theirs).with_added(())


def _check_readable(view: RouteView, rules: Iterable[RuleWeights], where: str) -> None:
    """Raise UnusableError where what one of these rules says could not be read."""
    for fault in (view.faults[rule.index] for rule in rules if rule.index in view.faults):
        raise UnusableError(StatusReason.ROUTE_UNREADABLE, f"{where}: {fault}")


def _check_weights(rule: RuleWeights, old: str, new: str, kind: WeightRules, where: str) -> None:
    """Raise UnusableError where a rule's weights are none of its kind, or leave nothing to shift."""
    heaviest, total = max(rule.backends, key=lambda each: each.weight), sum(each.weight for each in rule.backends)
    if heaviest.weight > kind.max * kind.units:
        words = f"{heaviest.service} has a weight above {kind.max}: write smaller ones with the same shares"
        raise UnusableError(StatusReason.WEIGHTS_TOO_LARGE, f"{where}: {words}")
    if kind.sum is not None and total != kind.sum * kind.units:
        words = f"its weights add up to {total / kind.units:g}, and must to {kind.sum}: correct them"
        raise UnusableError(StatusReason.WEIGHTS_WRONG_SUM, f"{where}: {words}")
    if not sum(pair(rule, old, new)):
        means = ", which divides the traffic evenly" if kind.all_zero == "Even" and not total else ""
        words = f"{old} and {new} both have weight 0{means}; give {old} the traffic first"
        raise UnusableError(StatusReason.NO_TRAFFIC_TO_SHIFT, f"{where}: {words}")


def _shiftable(view: RouteView, old: str, new: str) -> list[RuleWeights]:
    """The rules of a route from which no rule is named: all but those for testers, unless there is no other.

    A rule is for testers if it matches requests by headers or query parameters and sends all of them to the new side.
    """
    others = [rule for rule in view.rules if not (rule.index in view.selective and _only_new(rule, old, new))]
    return others if any(holds_both(rule, old, new) for rule in others) else list(view.rules)


def _only_new(rule: RuleWeights, old: str, new: str) -> bool:
    return holds_both(rule, old, new) and pair(rule, old, new)[0] == 0 < pair(rule, old, new)[1]


def _rule_named(view: RouteView, name: str | int, where: str) -> RuleWeights:
    for rule in view.rules:
        if rule.index == name or (rule.name and rule.name == name):
            return rule
    raise UnusableError(
        StatusReason.RULE_NOT_FOUND, f"{where} has no rule {name!r}: correct spec.traffic.routes[].rules"
    )


def rules_of(view: RouteView, spec: PlanSpec | None, weights: Weights) -> frozenset[int] | None:
    """The indexes of the rules of a route that a run moves, or would move; None where that may be any."""
    kept = next((route for route in weights.snapshot if route.id == view.id), None)
    ref = next((ref for ref in spec.traffic.routes if ref.id == view.id), None) if spec else None
    rules: list[RuleWeights | None] = []
    if kept is not None:
        rules = [locate(view, rule, (weights.old, weights.new)) for rule in kept.rules]
    elif ref is not None and spec is not None:
        old, new = spec.names
        names = ref.rule_names
        named = [rule for rule in view.rules if rule.index in names or (rule.name and rule.name in names)]
        candidates = named if names else _shiftable(view, old, new)
        rules = [rule for rule in candidates if holds_both(rule, old, new)]
    return frozenset(rule.index for rule in rules if rule is not None) or None


def meets_on(snapshot: Snapshot, conflict: RouteConflict, routes: Iterable[RouteId]) -> list[RouteId]:
    """Those of these routes in which another plan moves a rule that this one moves too."""
    views = {route: snapshot.routes.get(route) for route in routes}
    spec, weights = snapshot.plan.written, snapshot.status.weights
    ours = {route: rules_of(view, spec, weights) if view is not None else None for route, view in views.items()}
    return [route for route, rules in ours.items() if conflict.meets(route, rules)]


def not_put_back(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> str:
    """What a rollback could not put back of these routes, because others changed them, as text; else empty."""
    weights = snapshot.status.weights
    views = ((_existing_route(snapshot, route.id), route) for route in routes)
    aims = (aim for view, route in views if view is not None for aim in aims_of(view, route, weights, back=True))
    return "; ".join(dict.fromkeys(aim.lacks for aim in aims if aim.lacks))


def _known(view: RouteView, rule: RuleWeights) -> RuleWeights:
    """A rule of a view, as the status keeps it: with that by which it is found again."""
    digest = view.digests.get(rule.index, "")
    return rule.model_copy(update={"digest": digest}) if digest else rule


def route_exists(snapshot: Snapshot, route: RouteId) -> bool:
    """Whether a route exists and is not being deleted."""
    return _existing_route(snapshot, route) is not None


def unread_words(snapshot: Snapshot, routes: Iterable[RouteId]) -> str:
    """Which of these routes are not known as they are now, and why; empty where all are known, or known to be gone."""
    unread = ((route, snapshot.unread_routes.get(route)) for route in routes)
    return "; ".join(f"{route} is not known: {why}" for route, why in unread if why)


def _existing_route(snapshot: Snapshot, route: RouteId) -> RouteView | None:
    view = snapshot.routes.get(route)
    return None if view is None or view.deleting else view


def route_mismatch(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights, *, back: bool = False) -> str:
    """The first difference between the routes and the desired weights, as text; empty where there is none.

    On the way `back`, that is what is left to be put back of what can be.
    """
    owner = owner_of(snapshot)
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            return unread_words(snapshot, (route.id,)) or f"{route.id} is gone"
        if words := _difference(view, aims_of(view, route, weights, back=back), weights, owner):
            return words
    return ""


def _difference(view: RouteView, aims: Collection[Aim], weights: Weights, owner: str) -> str:
    """The first difference between a route and what is to become of its rules, as text; empty where there is none."""
    if words := next(filter(None, (_differs(view, each, weights, owner) for each in aims)), ""):
        return words
    strays = _strays(view, aims, owner)
    return f"{view.id} has {' and '.join(strays)} in another place than this run put it{_by(view)}" if strays else ""


def _differs(view: RouteView, aim: Aim, weights: Weights, owner: str) -> str:
    """What is not as it is to be in a rule, as text; empty where nothing is."""
    found, wanted = aim.now, aim.wanted
    if found is None or wanted is None:
        return "" if aim.is_there else aim.lacks
    if not aim.is_there:
        if found.index in view.faults and found.index in view.unread:
            return f"{view.id}: {view.faults[found.index]}"
        actual, desired = (_words(each, weights, view.weights.units) for each in (found, aim.shown))
        return f"{view.id} rule {found.index} has weights {actual}, not {desired}{_by(view)}"
    if set(found.added) != set(wanted.added):
        actual, desired = added_words(found), added_words(wanted)
        return (
            f"{view.id} rule {found.index} has {actual} in addition to its weights, not {desired}{_by(view)}"
            f"{_left_words(view, owner)}"
        )
    return ""


def _strays(view: RouteView, aims: Iterable[Aim], owner: str) -> list[str]:
    """What this run has added to a route, and is not or no longer to be where it is: moved, or there twice."""
    rules, there = {each.now.index for each in aims if each.now is not None}, set()
    strays = []
    for piece in view.pieces:
        if (piece.owner == owner and piece.rule not in rules) or (piece.rule in rules and piece in there):
            strays.append(piece.text)
        there.add(piece)
    return strays


def left_to_editors(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> str:
    """What somebody edited that this run had added, as text; empty where nothing was."""
    views = (view for route in routes if (view := _existing_route(snapshot, route.id)) is not None)
    found = (_left_words(view, owner_of(snapshot)).removeprefix("; ") for view in views)
    return "; ".join(filter(None, found))


def edited(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> frozenset[str]:
    """What this run added and nothing is left of on these routes, but in the form that somebody gave it."""
    views = [view for route in routes if (view := _existing_route(snapshot, route.id)) is not None]
    there = {piece.text for view in views for piece in view.pieces}
    return frozenset(each.text for view in views for each in view.left if each.text not in there)


def _left_words(view: RouteView, owner: str) -> str:
    """What is left to its editor, as text to append to a message; empty where nothing is."""
    found = [each for each in view.left if each.owner in (owner, "")]
    words = (
        f"{each.text}{'' if each.rule is None else f' at rule {each.rule}'} was edited: that is left to its editor"
        for each in found
    )
    return "".join(f"; on {view.id} {each}" for each in dict.fromkeys(words))


def owner_of(snapshot: Snapshot) -> str:
    """The part of the plan's uid that its fencing tokens have, and what it adds to routes."""
    return snapshot.plan.uid[:8]


def _by(view: RouteView) -> str:
    return f", last changed by {view.moved_by}" if view.moved_by else ""


def added_words(rule: RuleWeights) -> str:
    """What a run added to a rule in addition to its weights, as text."""
    return " and ".join(rule.added) or "nothing"


def route_fault(snapshot: Snapshot) -> str:
    """What is wrong with a route of a run or a rule that it moves, beyond other weights; empty where nothing is.

    No run would begin on it, so none goes on; the way back does not need what is missing there.
    """
    weights = snapshot.status.weights
    for route in weights.snapshot:
        view = _existing_route(snapshot, route.id)
        if view is None:
            continue
        if view.refused:
            return f"{route.id}: {view.refused}"
        found = [*located(view, route, weights)]
        if route.kind == FEATURE_FLAG and any(_has_other_values(view, now, rule) for now, rule in found):
            return f"{route.id}: {_OTHER_VALUES}"
        rules = (now or at_its_place(view, rule) for now, rule in found)
        faults = (view.faults[rule.index] for rule in rules if rule is not None and rule.index in view.faults)
        if fault := next(faults, ""):
            return f"{route.id}: {fault}"
    return ""


_OTHER_VALUES: Final = (
    "the values of the variants that this run moves were changed since it began, so its weights do not say who gets "
    "the new side: put the values back, or abort and begin again"
)


def _has_other_values(view: RouteView, now: RuleWeights | None, began: RuleWeights) -> bool:
    """Whether the sides of a flag are other values than when the run began; earlier versions did not note them."""
    return now is not None and bool(began.digest) and view.digests.get(now.index) != began.digest


def divides_as_desired(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> bool:
    """Whether all rules exist and divide the traffic as desired, in whatever numbers: Git may hold smaller ones."""
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            return False
        for found, rule in readable(view, route, weights):
            if found is None or not same_share(found, rule, weights.old, weights.new):
                return False
    return True


def at_least_desired(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> bool:
    """Whether the new side has at least these weights, and what a run added, everywhere, and all their rules exist."""
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            return False
        for found, rule in readable(view, route, weights):
            if found is None:
                return False
            (old, new), (old_desired, new_desired) = (pair(each, weights.old, weights.new) for each in (found, rule))
            if old + new == 0 or new * (old_desired + new_desired) < new_desired * (old + new):
                return False
            if not set(rule.added) <= set(found.added):
                return False
    return True


def rule_words(route: RouteId, rule: RuleWeights) -> str:
    """A rule as shown to users: its route, its index from 0, and its name where it has one."""
    return f"{route} rule {rule.index}{f' ({rule.name})' if rule.name else ''}"


def _words(rule: RuleWeights, weights: Weights, units: int) -> str:
    """The weights of both sides, or of all where these are not there, in the numbers that the route has."""
    sides = (weights.old, weights.new) if holds_both(rule, weights.old, weights.new) else ()
    return "/".join(weight_text(b.weight, units) for b in rule.backends if not sides or b.service in sides)


def weight_text(weight: int, units: int) -> str:
    """A weight as a route has it: `95`, or `99.5` where it counts in hundredths."""
    return str(weight) if units == 1 else f"{weight / units:.10g}"


def holds(view: RouteView, route: RouteWeights, weights: Weights, owner: str, *, back: bool = False) -> bool:
    """Whether a route has exactly these weights on both sides in all of their rules, and what its owner added there.

    Nothing else of this owner may be anywhere in it. On the way `back`, as far as that can be put back.
    """
    return not _difference(view, aims_of(view, route, weights, back=back), weights, owner)


def is_under_way(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> bool:
    """Whether pods are being added or taken away for these weights, so that others stand there until they are ready."""
    weights = snapshot.status.weights
    return any(
        (view := snapshot.routes.get(target.id)) is not None
        and all(is_on_its_way(view, *rules, weights) for rules in zip(before.rules, target.rules, strict=True))
        for before, target in zip(weights.written, routes, strict=False)
        if len(before.rules) == len(target.rules)
    )


def shift_routes(
    snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights, permille: int
) -> tuple[RouteWeights, ...]:
    """The routes with this share on the new side, as precisely as each can divide its traffic."""
    return tuple(route.with_rules(tuple(_shift_rules(snapshot, route, weights, permille))) for route in routes)


def _shift_rules(snapshot: Snapshot, route: RouteWeights, weights: Weights, permille: int) -> Iterator[RuleWeights]:
    """Each rule with this share. The totals are those of before the run, where these hold it."""
    before = next((each.rules for each in weights.snapshot if each.id == route.id), ())
    usual = {rule.index: sum(pair(rule, weights.old, weights.new)) for rule in before}
    pods, kind = pod_counts(snapshot, weights.old, weights.new), snapshot.routes[route.id].weights
    for rule in route.rules:
        yield shift(rule, weights.old, weights.new, permille, kind, pods=pods, usual=usual.get(rule.index, 0))


def pod_counts(snapshot: Snapshot, old: str, new: str) -> PodCounts:
    """The ready endpoints of both sides; the pods that a side should have where it has none yet, or they are unknown.

    Before the new side is scaled, that is the size which the plan gives it.
    """
    spec, wanted = snapshot.plan.spec, {old: snapshot.old, new: snapshot.new}
    size = {side: view.wanted if view is not None else 0 for side, view in wanted.items()}
    planned = spec.expand.scale.new if spec is not None and not snapshot.status.weights.snapshot else "None"
    if planned != "None":
        size[new] = max(size[new], size[old] if planned == "MatchOld" else int(planned))
    ready = {side: view.ready for side in size if (view := snapshot.endpoints.get(side)) is not None}
    if planned != "None":
        ready.pop(new, None)
    return PodCounts(ready.get(old) or size[old], ready.get(new) or size[new])


def live_weights(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> tuple[RouteWeights, ...]:
    """The same rules with their present weights. Those that are missing, or cannot be read, are left out."""
    found = []
    for route in routes:
        view = snapshot.routes.get(route.id)
        there = [now for now, _ in readable(view, route, weights) if now is not None] if view else []
        found.append(route.with_rules(tuple(_known(view, now) for now in there if view)))
    return tuple(found)


def kept_weights(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> tuple[RouteWeights, ...]:
    """The same rules with their present weights; those that are missing, or cannot be read, as given.

    So a run that goes on forgets none of them: it is held for one that is gone, and shifts one that is there again.
    """
    return tuple(_kept(snapshot.routes.get(route.id), route, weights) for route in routes)


def _kept(view: RouteView | None, route: RouteWeights, weights: Weights) -> RouteWeights:
    if view is None:
        return route
    return route.with_rules(
        tuple(rule if now is None else _known(view, now) for now, rule in readable(view, route, weights))
    )


def route_patches(
    snapshot: Snapshot,
    routes: Iterable[RouteWeights],
    weights: Weights,
    fence: str,
    undo_command: str,
    *,
    marks: bool = False,
    back: bool = False,
) -> tuple[PatchRoute, ...]:
    """The patches that set these weights; routes that are missing or already correct are left out.

    On the way `back` a rule that cannot be read is written as well, and one of which nothing is left is put back.
    Where weights are numbers of pods, that is the next step towards them, on the way `back` or forward; none while pods
    are waited for.

    With `marks`, a route is correct only if it also has this fencing token and this undo command. Where another plan
    moves other rules of the route, the undo command there may be that plan's.
    """
    patches = []
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            continue
        marked = not marks or _is_marked(snapshot, view, write_fence(fence, route.rules), undo_command)
        possible = [each for each in aims_of(view, route, weights, back=back) if each.wanted is not None]
        too = _restored_too(snapshot, view, route, weights) if back else []
        if marked and not too and not _difference(view, possible, weights, owner_of(snapshot)):
            continue
        rules = (*(each.wanted for each in possible if each.wanted is not None), *too)
        if view.ready_pods is not None:
            rules = tuple(next_sizes(snapshot, view, rule, weights, back=back) for rule in rules)
            if marked and holds(view, route.with_rules(rules), weights, owner_of(snapshot)):
                continue
        if rules:
            patches.append(PatchRoute(route.with_rules(rules), write_fence(fence, rules), undo_command))
    return tuple(patches)


def _restored_too(snapshot: Snapshot, view: RouteView, route: RouteWeights, weights: Weights) -> list[RuleWeights]:
    """The rules that a way back restores where it cannot tell which of several was one of the run: all that may be it.

    Only where the plan names no rules: then each that holds both sides is its own, unless another plan moves it. They
    get the weights of the missing rule that gave the new side the least.
    """
    spec, sides = snapshot.plan.written, (weights.old, weights.new)
    ref = next((ref for ref in spec.traffic.routes if ref.id == view.id), None) if spec is not None else None
    found = [*located(view, route, weights)]
    lost = [rule for now, rule in found if now is None and not rule.name and holds_both(rule, *sides)]
    if ref is None or ref.rule_names or not lost or view.keyed:
        return []
    least = min(lost, key=lambda rule: rule_share(rule, *sides))
    known = {now.index for now, _ in found if now is not None} | view.unread.keys()
    rivals = [conflict for conflict in snapshot.route_conflicts if conflict.running]
    return [
        restore(rule, least, *sides, view.weights)
        for rule in _shiftable(view, *sides)
        if holds_both(rule, *sides)
        and rule.index not in known
        and rule_share(rule, *sides) > rule_share(least, *sides)
        and not any(rival.meets(view.id, frozenset({rule.index})) for rival in rivals)
    ]


def _is_marked(snapshot: Snapshot, view: RouteView, entry: str, undo_command: str) -> bool:
    """Whether the route has this fence, and the undo command; where another run wrote last, its command stays."""
    shared = any(conflict.running and view.id in conflict.routes for conflict in snapshot.route_conflicts)
    shared = shared or (not undo_command and others_wrote_last(view.seq, entry))
    (fence,) = read_fences(entry)
    return fence_of(view.seq, fence.owner) == fence.token and (shared or view.undo_annotation == undo_command)
