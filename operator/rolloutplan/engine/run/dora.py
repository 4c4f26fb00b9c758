"""What a run says about delivery, decision by decision: whether the change failed, for how long, and for whom.

Nothing is estimated: what no decision says is left out. The figures are those of DORA; docs/observing.md defines each.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from rolloutplan.api.reasons import EventReason, HoldReason, StatusReason
from rolloutplan.api.record import DoraFigures
from rolloutplan.api.status import Decision, Evidence
from rolloutplan.engine.run.decision_log import TRIPPED
from rolloutplan.stats.verdict import Outcome

_TRAFFIC: Final = re.compile(r"(?!0%)[0-9.]+%")
"""A share of the requests; neither none of them, nor copies of some."""
_SEEN_WITHOUT_SAMPLES: Final = frozenset(
    {
        StatusReason.NEW_SIDE_GONE,
        StatusReason.NEW_SIDE_DOWN,
        StatusReason.NEW_SIDE_SHORT,
        StatusReason.NEW_SIDE_RESTARTING,
        HoldReason.NEW_SIDE_AWAY,
        HoldReason.FAILED,
    }
)
"""The states that follow from pods and endpoints: their fault is seen when it is decided. A hold for a failure without
evidence is one of them."""
_COUNTED: Final = " at "
"""What only the bound of counted events has: with which confidence it is tested."""


def after(before: DoraFigures | None, decision: Decision, committed_at: datetime | None) -> DoraFigures | None:
    """The figures after one more decision of the run. None: no request has gone to the new side so far."""
    figures = before or (DoraFigures() if _gives_traffic(decision) else None)
    if figures is None:
        return None
    match decision.reason, decision.state:
        case EventReason.ROLLBACK_STARTED, _:
            return _at_fault(figures, decision)
        case EventReason.HELD, HoldReason.FAILED:
            return _at_fault(figures, decision).model_copy(update={"failed": True})
        case EventReason.HELD, HoldReason.OLD_SIDE_DOWN if any(map(_is_against, decision.evidence)):
            return _at_fault(figures, decision)
        case EventReason.HELD, HoldReason.NEW_SIDE_AWAY if figures.bad_at is not None:
            return figures.model_copy(update={"restored_at": figures.restored_at or _written(decision.at)})
        case EventReason.RESUMED, _ if not figures.failed:
            return DoraFigures()
        case EventReason.ROLLED_BACK, _:
            return _restored(figures, decision)
        case EventReason.SUCCEEDED, _ if committed_at is not None and committed_at <= decision.at:
            return figures.model_copy(update={"lead_seconds": _seconds(committed_at, _written(decision.at))})
    return figures


def _gives_traffic(decision: Decision) -> bool:
    """Whether a weight has been in force that was not there before the run; one that goes back may have been."""
    match decision.reason:
        case EventReason.WEIGHT_SHIFTED:
            share = decision.weight_to
        case EventReason.ROLLBACK_STARTED:
            share = decision.weight_from
        case _:
            return False
    return decision.weight_from != decision.weight_to and _TRAFFIC.fullmatch(share) is not None


def _at_fault(figures: DoraFigures, decision: Decision) -> DoraFigures:
    """The figures; the first sample that shows the fault counts, and the requests until then."""
    against = [each for each in decision.evidence if _is_against(each)]
    seen = min((each.at for each in against if each.at is not None), default=None)
    if seen is None and decision.state in _SEEN_WITHOUT_SAMPLES:
        seen = decision.at
    counted = [count for each in against if (count := _counted_by(each)) is not None]
    changes = {
        "bad_at": figures.bad_at or (_written(seen) if seen else None),
        "exposed_requests": max(counted) if counted else figures.exposed_requests,
    }
    return figures.model_copy(update=changes)


def _restored(figures: DoraFigures, decision: Decision) -> DoraFigures:
    """The figures at the end of a rollback. A gateway that does not accept the old weights has not restored them.

    Where another leader took over whose clock is behind, the old weights were back before the fault was seen: nobody
    knows for how long.
    """
    accepted = decision.state != StatusReason.RESTORED_NOT_ACCEPTED
    restored = figures.restored_at or (_written(decision.at) if accepted else None)
    failed = figures.failed or decision.state != StatusReason.SUPERSEDED
    bad = figures.bad_at
    seconds = _seconds(bad, restored) if failed and bad and restored and bad <= restored else None
    return figures.model_copy(update={"failed": failed, "restored_at": restored, "restore_seconds": seconds})


def _is_against(evidence: Evidence) -> bool:
    """Whether a predicate says that the new side is bad."""
    return evidence.verdict in (TRIPPED, Outcome.REFUTED) and not evidence.dry_run


def _counted_by(evidence: Evidence) -> float | None:
    """The requests of the new side that were counted since its first weight; only a guard counts from there on."""
    if evidence.role != "guard" or _COUNTED not in evidence.bound:
        return None
    try:
        return float(evidence.samples)
    except ValueError:
        return None


def _written(at: datetime) -> datetime:
    """The instant as it is written, so that the figures are the same for who reads the decision again."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 3)
