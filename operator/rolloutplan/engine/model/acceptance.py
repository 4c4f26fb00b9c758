"""Whether the gateways of a run's routes accept its weights, and for which of them nothing reports that they do.

Answers come from route views, as far as a kind has any; the rules wait for them, roll back without them, and warn where
only the measured share can prove a weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.quantities import format_duration
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RouteWeights
from rolloutplan.api.traffic import ACCEPTED_WITHIN
from rolloutplan.engine.model.routes import rule_words
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import holds_both

REFUSED_FOR = timedelta(seconds=30)
"""How long a gateway may refuse a weight before it goes back. A refusal can pass by itself, when the gateway has seen
the Services; but meanwhile the gateway may serve nothing for the route, so this is shorter than the wait for an answer.
"""

FRAGILE: Final = {"Any": "either side", "Old": "the old side"}
"""Which side takes a route down as a whole while it has no endpoints."""


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
            f"long as the route names it"
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
