"""`approve`: a stage, or the removal of the old side, may begin; now, or when its turn comes."""

from __future__ import annotations

from rolloutplan.api.reasons import EventReason, HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import RUNNING, Phase
from rolloutplan.engine.analysis.stages import next_stage
from rolloutplan.engine.model.actions import ReconcileResult
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.policy.demands import CONTRACT, demands_approval, demands_seal, title_of
from rolloutplan.engine.policy.gate import is_approved
from rolloutplan.engine.policy.seal import seal_of
from rolloutplan.engine.rules.commands.context import CommandContext, DeniedError
from rolloutplan.engine.run.end_state import starts_again
from rolloutplan.engine.run.transition import leave_hold, transition

_CONTRACT = "contract"
"""How `approve` names the removal of the old side."""


def approve(context: CommandContext) -> ReconcileResult | None:
    """Let the stage that waits begin. An approval that names another stage is kept until the turn of that stage."""
    snapshot, held = context.snapshot, context.snapshot.status.held
    spec, waits = snapshot.plan.written, _awaits_approval(context.snapshot)
    named = _named_stage(context, spec) if spec is not None else ""
    if held is not None and waits and named in ("", waits):
        seals = _checked_seal(context, waits)
        words = f"{context.words}; {_may(waits)}"
        return ReconcileResult(
            leave_hold(snapshot, held, words, context.commanded_by, approved=waits, approved_seals=seals)
        )
    if not named or spec is None:
        ahead = _awaited_approvals(snapshot, spec) if spec is not None else ()
        by_name = f"; or name the stage before its turn: `approve <new token> {_shown(ahead[0])}`" if ahead else ""
        raise DeniedError(
            f"nothing waits for approval: send `approve` when the plan is Held: AwaitingApproval{by_name}"
        )
    return _approved_ahead(context, spec, named)


def _approved_ahead(context: CommandContext, spec: PlanSpec, named: str) -> ReconcileResult | None:
    snapshot, status = context.snapshot, context.snapshot.status
    if status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK):
        if starts_again(snapshot):
            return None  # `finished` starts the next run first
        raise DeniedError(f"the run has ended (it is {status.phase}): send it when the next run has begun")
    if status.failed:
        raise DeniedError(f"the run failed and cannot go forward: {status.failed}")
    if is_approved(snapshot, named):
        raise DeniedError(f"{_shown(named)} is approved already")
    if named != CONTRACT and named not in _awaited_approvals(snapshot, spec):
        raise DeniedError(f"stage {named} has begun already")
    seals = _checked_seal(context, named)
    words = f"{context.words}; {_may(named)} when its turn comes"
    ahead = (*(each for each in status.approved_ahead if each != named), named)
    kept = transition(
        snapshot,
        TransitionName.APPROVED,
        words,
        commanded_by=context.commanded_by,
        message=status.message,
        predicates=status.predicates,
        approved_ahead=ahead,
        approved_seals=seals,
    )
    return ReconcileResult(kept)


def _checked_seal(context: CommandContext, name: str) -> dict[str, str]:
    """`status.approved_seals` with the approval of this stage, or of the contract: it is for what the plan says now.

    Raises DeniedError where the command names another seal, or none and a policy demands one.
    """
    snapshot, given, spec = context.snapshot, context.command.seal, context.snapshot.plan.spec
    seal = seal_of(spec, name) if spec is not None else ""
    what = title_of(name)
    if given and given != seal:
        edits = (each.note for each in reversed(snapshot.status.decisions) if each.reason == EventReason.ADAPTED)
        edit = f"; the last edit was: {last[:300]}" if (last := next(edits, "")) else ""
        raise DeniedError(f"the seal of {what} is {seal or 'not known'}, not {given}: it was changed since{edit}")
    if not given and (policy := demands_seal(snapshot.policies)):
        plan = f"-n {snapshot.plan.namespace} {snapshot.plan.name}"
        raise DeniedError(
            f"policy {policy} demands the seal of what is approved: look at {what}, then "
            f"`rolloutplan approve {plan} --seal {seal}`"
        )
    known = snapshot.status.approved_seals
    return {**known, name: seal} if seal else {key: value for key, value in known.items() if key != name}


def _awaits_approval(snapshot: Snapshot) -> str:
    """The stage, or the contract, that waits for approval now; empty where none does."""
    status, spec = snapshot.status, snapshot.plan.written
    asks = (HoldReason.AWAITING_APPROVAL, HoldReason.WEIGHTS_NOT_COMMITTED)
    if status.held_for not in asks or spec is None:
        return ""
    return CONTRACT if status.effective_phase is Phase.CONTRACTING else next_stage(spec, status).name


def _named_stage(context: CommandContext, spec: PlanSpec) -> str:
    """The stage that `approve` names: behind its token, or in front of it, or as its token; empty where it names none.

    The removal may be approved where the plan asks for none: it may wait for what is applied from Git. Raises
    DeniedError where that is no stage which needs approval.
    """
    policies = context.snapshot.policies
    gated = [stage for stage in spec.steps() if stage.approval]
    needed = {name: stage.name for stage in gated for name in (spec.stages[stage.entry].name, stage.name) if name}
    for stage in spec.steps():
        if demands_approval(policies, spec, stage.name):
            needed.setdefault(stage.name, stage.name)
    if spec.bake_step.name in needed:  # the step to 100% after the bake of a control group is part of the last stage
        needed.setdefault(spec.steps()[-1].name, spec.bake_step.name)
    if spec.contract.approval or (spec.contract.wanted and demands_approval(policies, spec, CONTRACT)):
        needed.setdefault(_CONTRACT, CONTRACT)
    words = (context.command.stage, context.command.token)
    known = {_CONTRACT: CONTRACT, **needed} if spec.contract.wanted else needed
    if found := next((known[word] for word in words if word in known), ""):
        return found
    if not context.command.stage:
        return ""
    if context.command.stage in {name for stage in spec.steps() for name in spec.entries(stage)}:
        raise DeniedError(f"stage {context.command.stage} needs no approval")
    choice = f"; those that need approval are {', '.join(needed)}" if needed else ""
    raise DeniedError(f'the plan has no stage "{context.command.stage}"{choice}')


def _awaited_approvals(snapshot: Snapshot, spec: PlanSpec) -> tuple[str, ...]:
    """The stages, and the contract, that need an approval and have not begun in this run."""
    status, policies = snapshot.status, snapshot.policies
    begun = status.stage.index if status.stage is not None and status.phase in RUNNING else -1
    stages = [
        stage.name
        for stage in spec.steps()[begun + 1 :]
        if stage.approval or demands_approval(policies, spec, stage.name)
    ]
    demanded = spec.contract.wanted and demands_approval(policies, spec, CONTRACT)
    contract = [CONTRACT] if spec.contract.approval or demanded else []
    return tuple(name for name in (*stages, *contract) if not is_approved(snapshot, name))


def _may(name: str) -> str:
    return "the old side may be removed" if name == CONTRACT else f"stage {name} may begin"


def _shown(name: str) -> str:
    return _CONTRACT if name == CONTRACT else name
