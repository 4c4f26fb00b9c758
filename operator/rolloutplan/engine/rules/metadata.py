"""The finalizer and the undo command on the plan: set before the first weight, and kept for the whole run.

Some tools replace the whole object (`kubectl replace`, Argo CD with Replace=true), and with it what others have put
there. Without the finalizer a deletion would leave the weights where they are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rolloutplan.api.changes import change
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.actions import PatchPlanMetadata, ReconcileResult
from rolloutplan.engine.model.snapshot import FINALIZER, Snapshot
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES

TWICE_WITHIN = timedelta(minutes=1)
"""They are written at most twice in this time: a tool may remove them as often as they are written."""


def await_metadata(snapshot: Snapshot) -> ReconcileResult | None:
    """Set what is missing on the plan before a weight; None where nothing is.

    No weight is raised on a plan whose deletion would leave it there. A tool that removes what is set at once holds up
    the run, which then says so.
    """
    patch, status = _missing(snapshot), snapshot.status
    if patch is None:
        return None
    if not _written_recently(snapshot):
        return ReconcileResult(actions=(patch,))
    words = (
        f"the finalizer {FINALIZER} and the undo command are removed from the plan again and again, so no weight is "
        f"raised: stop the tool that replaces the plan"
    )
    at = snapshot.metadata_writes[0] + TWICE_WITHIN
    return ReconcileResult(None if status.message == words else change(status, message=words), wake_at=at)


def _missing(snapshot: Snapshot) -> PatchPlanMetadata | None:
    """What is missing on the plan of a run; None where nothing is.

    During the contract a finalizer that is gone stays so: a deletion then restores nothing.
    """
    plan, status = snapshot.plan, snapshot.status
    finalizer = plan.finalizer or status.effective_phase is not Phase.CONTRACTING
    if (plan.finalizer, plan.undo_annotation) == (finalizer, status.revert):
        return None
    return PatchPlanMetadata(finalizer=finalizer, undo_annotation=status.revert)


def restore_metadata(snapshot: Snapshot, result: ReconcileResult) -> ReconcileResult:
    """The result, with what is missing on the plan put back. It goes with any result that writes nothing itself."""
    status = snapshot.status
    runs = status.stage is not None and status.phase in {*TRAFFIC_SHIFTED_PHASES, Phase.CONTRACTING}
    if not runs or result.status is not None or result.actions or snapshot.plan.deleting is not None:
        return result
    if (patch := _missing(snapshot)) is None:
        return result
    if not _written_recently(snapshot):
        return replace(result, actions=(patch,))
    instants = (result.wake_at, snapshot.metadata_writes[0] + TWICE_WITHIN)
    return replace(result, wake_at=min(instant for instant in instants if instant is not None))


def _written_recently(snapshot: Snapshot) -> bool:
    writes = snapshot.metadata_writes
    return len(writes) > 1 and snapshot.now < writes[0] + TWICE_WITHIN
