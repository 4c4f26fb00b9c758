"""Takes up a run whose status is lost, on the command of a person: held at the weights that the routes have."""

from __future__ import annotations

from collections.abc import Sequence

from rolloutplan.api.changes import RunChange
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import spec_digest
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import Held, Paused, Phase, StageStatus, Status
from rolloutplan.engine.analysis.availability import baseline
from rolloutplan.engine.model.snapshot import PreflightResult, Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.policy.endpoints import old_pods
from rolloutplan.engine.run.decision_log import CommandSource
from rolloutplan.engine.run.transition import reset_run, sealed


def adopted(
    snapshot: Snapshot, spec: PlanSpec, new: WorkloadView, probe: PreflightResult, paused: Paused, source: CommandSource
) -> Status:
    """The run, held at the present weights until `resume`; `snapshot` has what is known of it.

    It goes on with the last stage that gives the new side no more than it has now. That stage is judged from its
    beginning, because nothing is known of what it has shown: so the bake of a control group is not passed over. The
    guards are on meanwhile.
    """
    weights, steps = snapshot.status.weights, spec.steps()
    live = share(weights.written, weights.old, weights.new)
    stage = _stage_at(steps, live, {each for route in weights.written for rule in route.rules for each in rule.added})
    fields: RunChange = {
        "run": snapshot.status.run or 1,
        "plan_hash": spec.plan_hash(),
        "revision": new.revision,
        "templates": snapshot.plan.templates,
        "spec_digest": spec_digest(spec),
        "weights": weights,
        "revert": snapshot.status.revert,
        "restarted_before": baseline(probe.pods),
        "old_pods": old_pods(snapshot),
        "counted_since": snapshot.now,
        **sealed(snapshot),
        "paused": paused,
        "held": Held(reason=HoldReason.PAUSED, since=snapshot.now, reason_since=snapshot.now, back_to=Phase.SHIFTING),
        "stage": StageStatus(
            name=stage.name,
            index=stage.index,
            display=f"{stage.index + 1}/{len(steps)} {stage.step}",
            weight=stage.title,
            entered_at=snapshot.now,
            judged_since=snapshot.now,
        ),
    }
    by = f"adopted by {paused.by}{f': {paused.reason}' if paused.reason else ''}"
    words = (
        f"{by}; held at {weights.desired} on {weights.new} with the guards on: `resume` starts stage {stage.step} "
        f"again at {stage.title}, `abort` restores the old weights"
    )
    return reset_run(snapshot, TransitionName.ADOPTED, words, reason=HoldReason.PAUSED, commanded_by=source, **fields)


def _stage_at(steps: Sequence[Stage], live: int, added: set[str]) -> Stage:
    """The last step with no more than this share for the new side; at no share, the one with what the routes have."""
    if not live:
        return next((each for each in steps if each.moves_no_weight and set(each.additions) == added), steps[0])
    return next((each for each in reversed(steps) if each.permille <= live and not each.completes), steps[0])
