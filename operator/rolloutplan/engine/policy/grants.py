"""Holds a plan to what the installation lends: Jobs, scaling and owned routes (engine/model/grants.py).

Each problem names the field, the value against the ceiling, and what to do; the chart's value is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.shown import shown
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.tasks import JobTemplate
from rolloutplan.engine.model.grants import Grants
from rolloutplan.engine.model.plan_view import PlanView, Unreadable
from rolloutplan.engine.model.snapshot import Snapshot

_BY_DEFAULT: Final = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "backoffLimitPerIndex": 0}
"""What Kubernetes takes for a figure that a Job does not name."""


@dataclass(frozen=True, slots=True)
class NotGranted:
    """Why the installation lets this plan not do what it asks for."""

    reason: StatusReason
    words: str


def not_granted(grants: Grants, spec: PlanSpec, replicas: int) -> NotGranted | None:
    """The first thing in a plan that the installation does not lend; None where it lends all.

    `replicas` are those of the old side, which `expand.scale.new: MatchOld` takes.
    """
    if spec.traffic.ownership == "Owned" and not grants.owned_routes:
        off = "the operator may make no routes"
        return _switched_off("spec.traffic.ownership", off, "ownedRoutes.enabled", "--owned-routes")
    return next(_problems(grants, jobs_of(spec), _sizes(spec, replicas)), None)


def not_granted_in_contract(grants: Grants, spec: PlanSpec) -> NotGranted | None:
    """The same for what is removed at the end of a run."""
    return next(_problems(grants, _contract_jobs(spec), _old_size(spec)), None)


def left_as_it_is(snapshot: Snapshot) -> str:
    """What of the current task cannot be ended, because the installation does not lend that any more; empty: nothing.

    The weights go back all the same. A person has to look after what is named here.
    """
    task, grants = snapshot.status.task, snapshot.grants
    parts = []
    if task is not None and task.job and not grants.jobs:
        parts.append(
            f"Job {task.job} is not suspended, because plans may not run Jobs in this installation any more "
            "(jobs.enabled): suspend or delete it by hand if it still runs"
        )
    if task is not None and task.replicas_before and not grants.scaling:
        parts.append(
            f"the old side is not scaled up to {task.replicas_before} again, because plans may scale no Deployments in "
            "this installation any more (scaling.enabled): scale it by hand if it has fewer"
        )
    return "; ".join(parts)


def unserved(plan: PlanView, *, judged: bool) -> PlanView:
    """A plan of a namespace that is not served: no run starts, and one in progress goes no further.

    With `judged`, the guards of a run that is in progress stay on, so that it can still be rolled back.
    """
    words = (
        f"metadata.namespace: plans in {plan.namespace} are not served by an operator of all namespaces, because "
        "whoever may write them there would have a part in the operator or in the cluster itself: write the plan in "
        "another namespace, or have whoever runs the operator name this one (namespaces in the chart, --namespace)"
    )
    kept = plan.last_good if judged else None
    return replace(plan, content=Unreadable(words, kept, StatusReason.NAMESPACE_NOT_SERVED))


def outdated(plan: PlanView, lack: str, *, judged: bool) -> PlanView:
    """A plan under CRDs that lack fields, as `lack` says, so that what is written there is lost.

    `judged` is as in `unserved`.
    """
    words = f"{lack}; until then no run begins and no weight rises, but guards, rollbacks and abort work"
    kept = plan.last_good if judged else None
    return replace(plan, content=Unreadable(words, kept, StatusReason.CRDS_OUTDATED, for_now=True))


def jobs_of(spec: PlanSpec) -> dict[str, JobTemplate]:
    """All Jobs of a plan, by field."""
    probes = {
        f"spec.assumptions[{i}].job": each.job.template
        for i, each in enumerate(spec.assumptions)
        if each.job is not None
    }
    expand = {f"spec.expand.jobs[{i}]": job.template for i, job in enumerate(spec.expand.jobs)}
    return {**probes, **expand, **_contract_jobs(spec)}


def _contract_jobs(spec: PlanSpec) -> dict[str, JobTemplate]:
    return {f"spec.contract.jobs[{i}]": job.template for i, job in enumerate(spec.contract.jobs)}


def account_of(template: JobTemplate) -> str:
    """The ServiceAccount of a Job's pods; the reader has refused a template without one."""
    return safe_get.text(template.spec, "template", "spec", "serviceAccountName")


def _sizes(spec: PlanSpec, replicas: int) -> dict[str, int]:
    """The replicas that a plan sets, by field: with Replicas, up to as many as the old side has."""
    new = spec.expand.scale.new
    if spec.replicas is not None:
        return {"spec.traffic.routes": replicas}
    size = {} if new == "None" else {"spec.expand.scale.new": new if isinstance(new, int) else replicas}
    return {**size, **_old_size(spec)}


def _old_size(spec: PlanSpec) -> dict[str, int]:
    size = spec.contract.scale_old
    return {} if size is None else {"spec.contract.scaleOld": size}


def _problems(grants: Grants, jobs: Mapping[str, JobTemplate], sizes: Mapping[str, int]) -> Iterator[NotGranted]:
    if jobs and not grants.jobs:
        yield _switched_off(next(iter(jobs)), "plans may not run Jobs", "jobs.enabled", "--jobs")
    if sizes and not grants.scaling:
        yield _switched_off(next(iter(sizes)), "plans may not scale Deployments", "scaling.enabled", "--scaling")
    for field, template in jobs.items():
        yield from _job_problems(grants, f"{field}.template", template)
    for field, size in sizes.items():
        if size > grants.max_replicas:
            yield _above(field, size, grants.max_replicas, "scaling.maxReplicas")


def _switched_off(field: str, off: str, value: str, option: str) -> NotGranted:
    words = (
        f"{field}: in this installation {off}: remove it, or have whoever runs the operator set {value} in the chart "
        f"({option}); nothing of the plan is done before that"
    )
    return NotGranted(StatusReason.SWITCHED_OFF, words)


def _job_problems(grants: Grants, field: str, template: JobTemplate) -> Iterator[NotGranted]:
    spec = template.spec
    per_index = spec.get("backoffLimitPerIndex") is not None
    ceilings = {
        "parallelism": (grants.max_parallelism, "jobs.maxParallelism"),
        "completions": (grants.max_completions, "jobs.maxCompletions"),
        "backoffLimitPerIndex" if per_index else "backoffLimit": (grants.max_backoff_limit, "jobs.maxBackoffLimit"),
    }
    for name, (ceiling, value) in ceilings.items():
        written = _BY_DEFAULT[name] if spec.get(name) is None else spec[name]
        if not isinstance(written, int) or isinstance(written, bool):
            words = f"{field}.spec.{name}: {shown(written)} is not a whole number: write one"
            yield NotGranted(StatusReason.NOT_GRANTED, words)
        elif written > ceiling:
            yield _above(f"{field}.spec.{name}", written, ceiling, value)
    pods = safe_get.mapping(spec, "template", "metadata")
    marks: dict[str, Mapping[str, Any]] = {
        f"{field}.metadata.labels": template.metadata.labels,
        f"{field}.metadata.annotations": template.metadata.annotations,
        f"{field}.spec.template.metadata.labels": safe_get.mapping(pods, "labels"),
        f"{field}.spec.template.metadata.annotations": safe_get.mapping(pods, "annotations"),
    }
    for where, keys in marks.items():
        for key in keys:
            if not grants.allows_key(key):
                words = (
                    f"{where}: {str(key)[:128]!r} is not among the names that Jobs of plans may have (a controller "
                    "or a Service may go by it): remove it, or have whoever runs the operator add it to jobs.metadata "
                    "in the chart (--job-metadata)"
                )
                yield NotGranted(StatusReason.NOT_GRANTED, words)


def _above(field: str, written: int, ceiling: int, value: str) -> NotGranted:
    words = f"{field}: {written} is above the limit of {ceiling} ({value} in the chart): write {ceiling} or less"
    return NotGranted(StatusReason.NOT_GRANTED, words)
