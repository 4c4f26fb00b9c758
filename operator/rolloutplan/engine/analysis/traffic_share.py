"""Whether the traffic follows the weights, by the requests that predicates count on both sides.

Counts come from `counting.py`; the outcome goes to the rules, which hold the run on a proved mismatch. The counts are
not persisted: after a restart they begin again. A run that is held because the traffic did not shift is judged by the
counts since the hold.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Phase, Status, Weights
from rolloutplan.engine.model.acceptance import settling_routes
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.model.weights import share as asked_of
from rolloutplan.stats import sequential
from rolloutplan.stats.traffic_share import Share, mismatch, update
from rolloutplan.stats.verdict import Outcome

FOLLOWS_WITHIN: Final = timedelta(seconds=5)
"""How long a gateway may take to follow a route that it has accepted."""
NOT_COUNTED: Final = (
    "no predicate counts the requests of both sides at the last weight, which alone could prove that the traffic "
    "follows: add a guard with events and vsOld, or write traffic.share: Ignore to have nothing proved"
)


def update_share(
    status: Status, share: Share | None, interval: tuple[datetime, datetime], delta: sequential.CountDelta
) -> Share | None:
    """The share after an evaluation from one instant to another; None where there is no weight to measure.

    The first whole evaluation is left out: its scrapes may be from before the weight.
    """
    empty, (start, end) = _empty_share(status), interval
    if empty is None:
        return None
    known = share if share is not None and _same(share, empty) else empty
    if start < known.since + max(end - start, FOLLOWS_WITHIN):
        return known
    return update(known, delta.new_total, delta.old_total)


def _empty_share(status: Status) -> Share | None:
    """The empty share at the present weight, from when it is judged or the run is held for its share."""
    stage, weights = status.stage, status.weights
    held = status.held if status.phase is Phase.HELD else None
    phase = held.back_to if held else status.phase
    if phase is not Phase.JUDGING or status.intent is not None or stage is None or stage.judged_since is None:
        return None
    if not is_valid_snapshot(weights.written, weights.old, weights.new) or _is_not_by_weight(weights):
        return None
    since = held.reason_since or held.since if held and held.reason == HoldReason.NOT_EFFECTIVE else stage.judged_since
    return Share(since, asked_of(weights.written, weights.old, weights.new) / 1000)


def _is_not_by_weight(weights: Weights) -> bool:
    """Whether more than the weights decides who answers: copies, testers, or cookies that keep users on a side."""
    return any(rule.added for route in weights.written for rule in route.rules)


def _same(one: Share, other: Share) -> bool:
    return (one.since, one.desired) == (other.since, other.desired)


def _largest_share(snapshot: Snapshot) -> tuple[str, Share] | None:
    """The name and share of the predicate with most requests, of those that count both sides at this weight.

    Dry runs and warn predicates are left out, because the result may hold the run.
    """
    empty, ignored = _empty_share(snapshot.status), _not_enforced(snapshot)
    shares = {
        n: track.count.share
        for n, track in snapshot.measurements.items()
        if track.count is not None and n not in ignored
    }
    ours = [(name, share) for name, share in shares.items() if share and empty and _same(share, empty)]
    return max(ours, key=lambda each: (each[1].total, each[0]), default=None)


def _not_enforced(snapshot: Snapshot) -> set[str]:
    """The predicates not enforced at the present stage; at another stage one of the same name may be enforced."""
    spec, at = snapshot.plan.spec, snapshot.status.stage
    if spec is None or at is None:
        return set()
    stages = [stage for stage in spec.steps() if stage.name == at.name]
    judged = (*spec.guards, *(predicate for stage in stages for predicate in stage.predicates))
    warn = {predicate.name for stage in stages for predicate in stage.warn}
    return warn | {predicate.name for predicate in judged if predicate.dry_run}


def measured(snapshot: Snapshot) -> str:
    """The measured share as `24.6%`; empty where it is not known."""
    found = _largest_share(snapshot)
    return _percent(found[1]) if found else ""


def traffic_not_shifted(snapshot: Snapshot) -> str:
    """Why the weight is not effective; empty where that is not proved, or is no longer true."""
    spec = snapshot.plan.spec
    if spec is None or spec.traffic.share == "Ignore":
        return ""
    found = _largest_share(snapshot)
    outcome = _outcome(snapshot, found[1]) if found else Outcome.UNDECIDED
    if snapshot.status.held_for == HoldReason.NOT_EFFECTIVE:
        return "" if outcome is Outcome.REFUTED else snapshot.status.message
    if found is None or outcome is not Outcome.PROVED:
        return ""
    routes = ", ".join(str(route.id) for route in snapshot.status.weights.written)
    return (
        f"{moved_words(snapshot)}: check whether the gateway follows {routes}, and look for another route that takes "
        f"its traffic; if requests also arrive without this route, count in `total` only those that use it, "
        f"or set spec.traffic.share to Ignore"
    )


def counts_both_sides(spec: PlanSpec) -> bool:
    """Whether a predicate with consequences counts requests of both sides at the last weights of a plan.

    A reference whose template is not known may do so.
    """
    return all(
        any(
            each.has_references or (each.events is not None and each.vs_old is not None)
            for each in (*spec.guards, *step.fail, *step.pass_)
            if not each.dry_run
        )
        for step in (spec.bake_step, spec.steps()[-1])
    )


def unproved_share(snapshot: Snapshot) -> str:
    """What the last stage still lacks, where no gateway reports which weights it follows; empty where nothing.

    Then only the requests that both sides have counted prove that a weight is effective. Where cookies keep users on a
    side, they prove nothing; the very last step has none.
    """
    spec, stage = snapshot.plan.spec, snapshot.status.stage
    if spec is None or stage is None or spec.traffic.share == "Ignore" or stage.index < spec.bake_step.index:
        return ""
    silent = settling_routes(snapshot)
    if not silent or stage.halfway is not None or _is_not_by_weight(snapshot.status.weights):
        return ""
    found = _largest_share(snapshot)
    if found is not None and _outcome(snapshot, found[1]) is Outcome.REFUTED:
        return ""
    counted = "no predicate has counted requests of both sides here"
    if found is not None and found[1].total:
        counted = f"{_counted(found[1])} by {found[0]} went to {snapshot.status.weights.new}"
    routes = ", ".join(str(view.id) for view in silent)
    return f"it is not proved that the traffic follows {routes}, of which no gateway reports that: {counted}"


def _outcome(snapshot: Snapshot, share: Share) -> Outcome:
    """Whether a share mismatches; at 100% where no gateway reports which weights it follows."""
    return mismatch(share, of_all=bool(settling_routes(snapshot)))


def moved_words(snapshot: Snapshot) -> str:
    """How much of the traffic has shifted, by the counts so far, as text."""
    found, weights = _largest_share(snapshot), snapshot.status.weights
    assert found is not None
    return f"{_counted(found[1])} by {found[0]} went to {weights.new}, whose weight is {weights.desired}"


def _counted(share: Share) -> str:
    return f"{_percent(share)} of {share.total} requests counted since {share.since:%H:%M:%S}"


def _percent(share: Share) -> str:
    return "" if share.measured is None else f"{100 * share.measured:.1f}%"
