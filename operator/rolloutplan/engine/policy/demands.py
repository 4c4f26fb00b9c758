"""What policies demand of a plan (`require`): approvals, templates, a source, the shortest soak.

They come from the policies in force. The gate asks before a start and before each increase; commands that skip parts
of a plan ask too. None of this affects a rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from rolloutplan.api.policy import Require
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.resolve import CLUSTER_TEMPLATE
from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.snapshot import Snapshot

CONTRACT = "the contract"
"""Stored in `approved` for the removal of the old side; no stage can have this name."""


def title_of(name: str) -> str:
    """What a stage, or the contract, is called where somebody is to approve it."""
    return "removing the old side" if name == CONTRACT else f"stage {name}"


def demands_approval(policies: Iterable[PolicyView], spec: PlanSpec, name: str) -> str:
    """The policy that demands a person's approval of a stage, or of the contract; empty where none does.

    The step to 100% after the bake of a control group is part of the last stage, and was approved with it.
    """
    last, end = spec.bake_step.name, spec.steps()[-1]
    if end.completes and end.name == name:
        return ""
    for policy, required in _required(policies):
        asked = set(required.approvals)
        if name == CONTRACT and "Contract" in asked:
            return policy
        if name != CONTRACT and ("All" in asked or ("Last" in asked and name == last)):
            return policy
    return ""


def demands_seal(policies: Iterable[PolicyView]) -> str:
    """The policy that demands that approvals name a seal; empty where none does."""
    return next((policy for policy, required in _required(policies) if required.sealed_approvals), "")


def demanded_soak(policies: Iterable[PolicyView]) -> tuple[timedelta, str]:
    """The longest soak that policies demand, and the policy; zero where none does."""
    found = ((required.soak_at_least, policy) for policy, required in _required(policies))
    return max(found, default=(timedelta(0), ""))


def unmet_demand(snapshot: Snapshot, spec: PlanSpec, begun: int) -> str:
    """The first demand that the plan does not meet, with policy, field and fix; empty where it meets all.

    `begun` is the number of entries of `stages` that have begun: these cannot be edited any more.
    """
    return next(_unmet(snapshot, spec, begun), "")


def _unmet(snapshot: Snapshot, spec: PlanSpec, begun: int) -> Iterator[str]:
    for policy, required in _required(snapshot.policies):
        where = f"policy {policy}, require"
        for template in snapshot.plan.templates if required.templates == "Cluster" else ():
            if template.kind != CLUSTER_TEMPLATE:
                yield (
                    f"{where}.templates is Cluster: {template.name} is a {template.kind} of namespace "
                    f"{snapshot.plan.namespace}: delete that, or name a {CLUSTER_TEMPLATE}"
                )
        if required.source is not None and (words := _other_source(snapshot, required)):
            yield f"{where}.source: {words}"
        for stage in spec.steps():
            if stage.entry >= begun and stage.soak < required.soak_at_least and not stage.completes:
                least = format_duration(required.soak_at_least)
                yield (
                    f"{where}.soakAtLeast is {least}: stage {stage.name} soaks for {format_duration(stage.soak)}: "
                    f"write a soak of at least {least}"
                )


def _other_source(snapshot: Snapshot, required: Require) -> str:
    source, wants = snapshot.source.object if snapshot.source else None, required.source
    if source is None or wants is None or (source.kind == wants.kind and wants.name in (None, source.name)):
        return ""
    wanted = f"{wants.kind} {wants.name}" if wants.name else f"a {wants.kind}"
    fix = f"set metrics.source to {wants.name}" if wants.name and wants.name != source.name else "name another source"
    if source.kind != wants.kind and (wants.name or source.name) == source.name:
        fix = f"delete that {source.kind}, or name another source"
    return f"the plan asks {source.kind} {source.name}, and must ask {wanted}: {fix}"


def _required(policies: Iterable[PolicyView]) -> Iterator[tuple[str, Require]]:
    return ((policy.name, policy.spec.require) for policy in policies if policy.spec is not None)
