"""Whether the traffic is where the weights ask for it, by the requests that predicates count on both sides.

What was counted is remembered and not recorded: after a restart it is counted anew. A run that is held because the
traffic did not move is judged by what was counted since then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.status import Phase, Status
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.weights import is_valid_snapshot
from rolloutplan.engine.model.weights import share as asked_of
from rolloutplan.stats import sequential
from rolloutplan.stats.traffic_share import Share, mismatch, update
from rolloutplan.stats.verdict import Outcome

FOLLOWS: Final = timedelta(seconds=5)
"""A gateway may take so long to follow a route that it has accepted."""


def update_share(
    status: Status, share: Share | None, over: tuple[datetime, datetime], counted: sequential.CountDelta
) -> Share | None:
    """The share after a look from one instant to another; None where no weight stands that could be measured.

    The first whole look is left out: what was scraped for it may be from before the weight.
    """
    anew, (start, end) = _nothing_yet(status), over
    if anew is None:
        return None
    known = share if share is not None and _same(share, anew) else anew
    if start < known.since + max(end - start, FOLLOWS):
        return known
    return update(known, counted.new_total, counted.old_total)


def _nothing_yet(status: Status) -> Share | None:
    """The share at the weight that stands, or since it is held for it, before anything is counted."""
    stage, weights = status.stage, status.weights
    held = status.held if status.phase is Phase.HELD else None
    phase = held.back_to if held else status.phase
    if phase is not Phase.JUDGING or status.intent is not None or stage is None or stage.judged_since is None:
        return None
    if not is_valid_snapshot(weights.written, weights.old, weights.new):
        return None
    since = held.reason_since or held.since if held and held.reason == HoldReason.NOT_EFFECTIVE else stage.judged_since
    return Share(since, asked_of(weights.written, weights.old, weights.new) / 1000)


def _same(one: Share, other: Share) -> bool:
    return (one.since, one.asked) == (other.since, other.asked)


def _fullest(snapshot: Snapshot) -> tuple[str, Share] | None:
    """Of all predicates that count both sides at this weight, the name and the share of the one with most requests.

    A dry run does not speak, nor does what only warns: a run is held for what is said here.
    """
    anew, silent = _nothing_yet(snapshot.status), _silent(snapshot)
    shares = {
        n: track.count.share
        for n, track in snapshot.measurements.items()
        if track.count is not None and n not in silent
    }
    ours = [(name, share) for name, share in shares.items() if share and anew and _same(share, anew)]
    return max(ours, key=lambda each: (each[1].total, each[0]), default=None)


def _silent(snapshot: Snapshot) -> set[str]:
    """What does not bind at the stage that stands; at another stage a predicate of the same name may."""
    spec, at = snapshot.plan.spec, snapshot.status.stage
    if spec is None or at is None:
        return set()
    stages = [stage for stage in spec.steps() if stage.name == at.name]
    judged = (*spec.guards, *(predicate for stage in stages for predicate in stage.predicates))
    warn = {predicate.name for stage in stages for predicate in stage.warn}
    return warn | {predicate.name for predicate in judged if predicate.dry_run}


def measured(snapshot: Snapshot) -> str:
    """The measured share as `24.6%`; empty where it is not known."""
    found = _fullest(snapshot)
    return _percent(found[1]) if found else ""


def traffic_not_shifted(snapshot: Snapshot) -> str:
    """Why the weight is not effective; empty where that is not proved, or is no longer so."""
    spec = snapshot.plan.spec
    if spec is None or spec.traffic.share == "Ignore":
        return ""
    found = _fullest(snapshot)
    outcome = mismatch(found[1]) if found else Outcome.UNDECIDED
    if snapshot.status.held_for == HoldReason.NOT_EFFECTIVE:
        return "" if outcome is Outcome.REFUTED else snapshot.status.message
    if found is None or outcome is not Outcome.PROVED:
        return ""
    routes = ", ".join(str(route.id) for route in snapshot.status.weights.written)
    return (
        f"{moved_words(snapshot)}: check whether the gateway follows {routes}, and look for another route that takes "
        f"its traffic; if requests also come by other ways, count in `total` only those that come by the route, "
        f"or set spec.traffic.share to Ignore"
    )


def moved_words(snapshot: Snapshot) -> str:
    """How much of the traffic has moved, as far as was counted."""
    found, weights = _fullest(snapshot), snapshot.status.weights
    assert found is not None
    return f"{_counted(found[1])} by {found[0]} came to {weights.new}, and {weights.desired} is asked"


def _counted(share: Share) -> str:
    return f"{_percent(share)} of {share.total} requests counted since {share.since:%H:%M:%S}"


def _percent(share: Share) -> str:
    return "" if share.measured is None else f"{100 * share.measured:.1f}%"
