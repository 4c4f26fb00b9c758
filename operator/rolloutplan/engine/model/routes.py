"""Routes of a run: which rules it shifts, whether their weights are as desired, and the patches to write.

Route views come from the snapshot, desired weights from the status; the patches are actions of the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RouteWeights, RuleWeights, Weights
from rolloutplan.api.traffic import ACCEPTED_WITHIN, RouteRef
from rolloutplan.engine.model.actions import PatchRoute
from rolloutplan.engine.model.division import PodCounts
from rolloutplan.engine.model.fence import fence_of, others_wrote_last, read_fences, write_fence
from rolloutplan.engine.model.pod_numbers import is_on_its_way, next_sizes
from rolloutplan.engine.model.snapshot import RouteConflict, RouteView, Snapshot
from rolloutplan.engine.model.weights import holds_both, pair, restore, same_share, same_split, shift

REFUSED_FOR = timedelta(seconds=30)
"""How long a gateway may refuse a weight before it goes back. A refusal can pass by itself, when the gateway has seen
the Services; but meanwhile the gateway may serve nothing for the route, so this is shorter than the wait for an answer.
"""

FRAGILE: Final = {"Any": "either side", "Old": "the old side"}
"""Which side takes a route down as a whole while it has no endpoints."""


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
    candidates = [_rule_named(view, name, where) for name in ref.rules] or _shiftable(view, old, new)
    rules = [rule for rule in candidates if holds_both(rule, old, new)]
    if not rules or (ref.rules and len(rules) < len(candidates)):
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
    return RouteWeights(kind=ref.kind, name=ref.name, rules=tuple(rules)).with_added(())


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
        named = [rule for rule in view.rules if rule.index in ref.rules or (rule.name and rule.name in ref.rules)]
        candidates = named if ref.rules else _shiftable(view, old, new)
        rules = [rule for rule in candidates if holds_both(rule, old, new)]
    return frozenset(rule.index for rule in rules if rule is not None) or None


def meets_on(snapshot: Snapshot, conflict: RouteConflict, routes: Iterable[RouteId]) -> list[RouteId]:
    """Those of these routes in which another plan moves a rule that this one moves too."""
    views = {route: snapshot.routes.get(route) for route in routes}
    spec, weights = snapshot.plan.written, snapshot.status.weights
    ours = {route: rules_of(view, spec, weights) if view is not None else None for route, view in views.items()}
    return [route for route, rules in ours.items() if conflict.meets(route, rules)]


def locate(view: RouteView, rule: RuleWeights, sides: Collection[str] = ()) -> RuleWeights | None:
    """Find a rule again in a route that may have been edited: by its name, its index, or as the only match.

    A rule matches if it has each of `sides` once; without `sides`, if it has every service of `rule`.
    """
    matching = [candidate for candidate in view.rules if _matches(candidate, rule, sides)]
    named = [candidate for candidate in matching if rule.name and candidate.name == rule.name]
    placed = [candidate for candidate in matching if candidate.index == rule.index]
    return next(iter(named or placed or (matching if len(matching) == 1 else ())), None)


def _matches(candidate: RuleWeights, rule: RuleWeights, sides: Collection[str]) -> bool:
    services = [backend.service for backend in candidate.backends]
    if sides:
        return all(services.count(side) == 1 for side in sides)
    return {backend.service for backend in rule.backends} <= set(services)


def route_exists(snapshot: Snapshot, route: RouteId) -> bool:
    """Whether a route exists and is not being deleted."""
    return _existing_route(snapshot, route) is not None


def _existing_route(snapshot: Snapshot, route: RouteId) -> RouteView | None:
    view = snapshot.routes.get(route)
    return None if view is None or view.deleting else view


def route_mismatch(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> str:
    """The first difference between the routes and the desired weights, as text; empty where there is none."""
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            return f"{route.id} is gone"
        for rule in route.rules:
            found = locate(view, rule, (weights.old, weights.new))
            if found is None:
                return f"{route.id} no longer holds both {weights.old} and {weights.new} in one rule"
            if not same_split(found, rule, weights.old, weights.new):
                actual, desired = _words(found, weights), _words(rule, weights)
                return f"{route.id} rule {found.index} has weights {actual}, not {desired}{_by(view)}"
            if set(found.added) != set(rule.added):
                actual, desired = added_words(found), added_words(rule)
                return (
                    f"{route.id} rule {found.index} has {actual} in addition to its weights, not {desired}{_by(view)}"
                )
    return ""


def _by(view: RouteView) -> str:
    return f", last changed by {view.moved_by}" if view.moved_by else ""


def added_words(rule: RuleWeights) -> str:
    """What a run added to a rule in addition to its weights, as text."""
    return " and ".join(rule.added) or "nothing"


def divides_as_desired(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> bool:
    """Whether all rules exist and divide the traffic as desired, in whatever numbers: Git may hold smaller ones."""
    for route in routes:
        view = _existing_route(snapshot, route.id)
        for rule in route.rules:
            found = locate(view, rule, (weights.old, weights.new)) if view is not None else None
            if found is None or not same_share(found, rule, weights.old, weights.new):
                return False
    return True


def at_least_desired(snapshot: Snapshot, routes: Iterable[RouteWeights], weights: Weights) -> bool:
    """Whether the new side has at least these weights, and what a run added, everywhere, and all their rules exist."""
    for route in routes:
        view = _existing_route(snapshot, route.id)
        if view is None:
            return False
        for rule in route.rules:
            found = locate(view, rule, (weights.old, weights.new))
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


def _words(rule: RuleWeights, weights: Weights) -> str:
    return "/".join(str(b.weight) for b in rule.backends if b.service in (weights.old, weights.new))


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """Why a route is not accepted at its generation: a gateway has `refused` it, or one has not answered yet."""

    words: str
    refused: bool
    until: datetime | None = None
    """When the weights count as in force, where nothing is awaited but time: no gateway reports that they are."""

    def ends_at(self, deadline: datetime) -> datetime:
        """When to look again: when the weights count as in force, or when it is too late."""
        return self.until or deadline


def not_accepted(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> NotAccepted | None:
    """The first route that a gateway refuses, else the first that waits for one; None where all are accepted."""
    waiting = None
    for route in routes:
        view = snapshot.routes.get(route.id)
        if view is not None and view.accepted is False:
            return NotAccepted(f"{route.id}: {view.accepted_why or 'not accepted'}", refused=True)
        if view is None or waiting is not None:
            continue
        if view.accepted is not None:
            waiting = _settling(snapshot, view)
        elif not _is_accepted_since(snapshot, view) and not _is_unconfirmed(snapshot, view):
            waiting = NotAccepted(
                f"{route.id}: {view.accepted_why or 'its gateway has not answered yet'}", refused=False
            )
    return waiting


def _settling(snapshot: Snapshot, view: RouteView) -> NotAccepted | None:
    """What is left of the time in which the weights come into force, where no gateway reports that they are."""
    seen = snapshot.in_force.get(view.id)
    if view.settle is None or seen is None or snapshot.now >= seen.at + view.settle:
        return None
    words = f"{view.id}: its gateway does not report what it follows, so {format_duration(view.settle)} are waited for"
    return NotAccepted(words, refused=False, until=seen.at + view.settle)


def _is_accepted_since(snapshot: Snapshot, view: RouteView) -> bool:
    """Whether all gateways accepted a generation that had the requested weights already.

    Other writers, such as the run of another plan, may have changed other parts of the route since.
    """
    seen = snapshot.in_force.get(view.id)
    return seen is not None and view.accepted_generation >= seen.generation


def holds(view: RouteView, route: RouteWeights, weights: Weights) -> bool:
    """Whether a route has exactly these weights on both sides in all of their rules, and what a run added there."""
    found = ((locate(view, rule, (weights.old, weights.new)), rule) for rule in route.rules)
    return all(
        now is not None and same_split(now, rule, weights.old, weights.new) and set(now.added) == set(rule.added)
        for now, rule in found
    )


def _is_unconfirmed(snapshot: Snapshot, view: RouteView) -> bool:
    """Whether the gateway of a route accepted it before the run and does not report for which generation."""
    weights = snapshot.status.weights
    known = str(view.id) in weights.unconfirmed or (not weights.snapshot and _reports_no_change(snapshot, view))
    return view.accepted_before and known


def acceptance_deadline(snapshot: Snapshot, view: RouteView) -> datetime:
    """Until when the gateways may take to accept a route as somebody has written it, without any run."""
    return (view.changed_at or snapshot.plan.created) + accepted_within(snapshot)


def unconfirmed(snapshot: Snapshot, routes: Iterable[RouteId]) -> tuple[str, ...]:
    """The routes that are accepted, but whose gateways do not report for which generation, or report nothing at all.

    Some controllers write no generation; others write the same one for ever: they accepted an earlier generation, and
    have said nothing since, for longer than a gateway may take.
    """
    views = [view for route in routes if (view := snapshot.routes.get(route)) is not None]
    return tuple(str(view.id) for view in views if is_blind(snapshot, view))


def is_blind(snapshot: Snapshot, view: RouteView) -> bool:
    """Whether no answer of its gateways says that a route follows new weights."""
    return view.settle is not None or bool(view.undated) or _reports_no_change(snapshot, view)


def settling_routes(snapshot: Snapshot) -> tuple[RouteView, ...]:
    """The routes of the run, or of the plan before it, of which only the measured share proves the weights."""
    spec, weights = snapshot.plan.written, snapshot.status.weights
    ids = [route.id for route in weights.snapshot] or [ref.id for ref in (spec.traffic.routes if spec else ())]
    views = (snapshot.routes.get(route) for route in ids)
    return tuple(view for view in views if view is not None and view.settle is not None)


def _reports_no_change(snapshot: Snapshot, view: RouteView) -> bool:
    late = view.accepted is None and snapshot.now >= acceptance_deadline(snapshot, view)
    return late and view.accepted_before


def route_warnings(snapshot: Snapshot, routes: Iterable[RouteId]) -> dict[str, str]:
    """What users should know of these routes before a run, in sentences, by a reason in one word."""
    routes, warnings = tuple(routes), {}
    weights, spec = snapshot.status.weights, snapshot.plan.written
    views = [view for route in routes if (view := snapshot.routes.get(route)) is not None]
    blind = weights.unconfirmed if weights.snapshot else unconfirmed(snapshot, routes)
    silent = {str(view.id): view for view in settling_routes(snapshot)}
    if settling := [name for name in blind if name in silent]:
        longest = format_duration(max(silent[name].settle or timedelta(0) for name in settling))
        proof = (
            "nothing proves that the traffic follows (traffic.share: Ignore)"
            if spec is not None and spec.traffic.share == "Ignore"
            else "the run does not end before the measured share proves that the traffic follows"
        )
        warnings["NotReported"] = (
            f"no gateway reports which weights of {', '.join(settling)} it follows: one counts as in force {longest} "
            f"after it is written, and {proof}"
        )
    if blind := tuple(name for name in blind if name not in silent):
        warnings["NoGeneration"] = (
            f"the gateway of {', '.join(blind)} does not report which generation it accepted: a weight counts as "
            f"accepted once it is written, and only the measured share shows whether the traffic follows"
        )
    if fragile := [f"{view.id} ({FRAGILE[view.empty_breaks]})" for view in views if view.empty_breaks]:
        warnings["EmptySideBreaksRoute"] = (
            f"{', '.join(fragile)} serves nothing while that has no endpoints, whatever the weights: keep its pods as "
            f"long as it stands in the route"
        )
    if sticky := [rule for route in routes for rule in _sticky_rules(snapshot, route)]:
        warnings["SessionPersistence"] = (
            f"{', '.join(sticky)} has sessionPersistence: users stay on the side that answered first, also after a "
            f"rollback, until their session ends"
        )
    return warnings


def _sticky_rules(snapshot: Snapshot, route: RouteId) -> list[str]:
    view, weights, spec = snapshot.routes.get(route), snapshot.status.weights, snapshot.plan.written
    old, new = weights.old, weights.new
    if not new and spec is not None:
        old, new = spec.names
    rules = (rule for rule in view.rules if rule.index in view.sticky) if view is not None else ()
    return [rule_words(route, rule) for rule in rules if holds_both(rule, old, new)]


def is_under_way(snapshot: Snapshot, routes: Iterable[RouteWeights]) -> bool:
    """Whether pods are being added or taken away for these weights, so that others stand there until they are ready."""
    weights = snapshot.status.weights
    return any(
        (view := snapshot.routes.get(target.id)) is not None
        and all(is_on_its_way(view, *rules, weights) for rules in zip(before.rules, target.rules, strict=True))
        for before, target in zip(weights.written, routes, strict=False)
        if len(before.rules) == len(target.rules)
    )


def accepted_within(snapshot: Snapshot, problem: NotAccepted | None = None) -> timedelta:
    """How long the gateways may take to accept a weight, by the plan; a refusal may last no longer than `REFUSED_FOR`.

    A plan that can no longer be read has the default. Pods that are the weight have as long as they may take to start;
    where nothing is reported, it is no less than that takes.
    """
    spec = snapshot.plan.written
    within = spec.traffic.accepted_within if spec else ACCEPTED_WITHIN
    if spec is not None and spec.replicas is not None:
        within = max(within, spec.availability.ready_within)
    within = max((within, *(view.settle or within for view in settling_routes(snapshot))))
    return min(within, REFUSED_FOR) if problem is not None and problem.refused else within


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
    """The same rules with their present weights. Missing rules are left out."""
    found = []
    for route in routes:
        view = snapshot.routes.get(route.id)
        rules = [locate(view, rule, (weights.old, weights.new)) for rule in route.rules] if view else []
        found.append(route.with_rules(tuple(rule for rule in rules if rule is not None)))
    return tuple(found)


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
        if marked and not route_mismatch(snapshot, (route,), weights):
            continue
        found = ((locate(view, rule, (weights.old, weights.new)), rule) for rule in route.rules)
        rules = tuple(
            restore(current, rule, weights.old, weights.new, view.weights).with_added(rule.added)
            for current, rule in found
            if current is not None
        )
        if view.ready_pods is not None:
            rules = tuple(next_sizes(snapshot, view, rule, weights, back=back) for rule in rules)
            if marked and holds(view, route.with_rules(rules), weights):
                continue
        if rules:
            patches.append(PatchRoute(route.with_rules(rules), write_fence(fence, rules), undo_command))
    return tuple(patches)


def _is_marked(snapshot: Snapshot, view: RouteView, entry: str, undo_command: str) -> bool:
    """Whether the route has this fence, and the undo command; where another run wrote last, its command stays."""
    shared = any(conflict.running and view.id in conflict.routes for conflict in snapshot.route_conflicts)
    shared = shared or (not undo_command and others_wrote_last(view.seq, entry))
    (fence,) = read_fences(entry)
    return fence_of(view.seq, fence.owner) == fence.token and (shared or view.undo_annotation == undo_command)
