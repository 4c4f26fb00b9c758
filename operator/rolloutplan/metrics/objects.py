"""MetricSource and ClusterMetricSource objects: reads them, and chooses the one that a plan uses.

The objects come from the store's watches; the spec goes to the pool of providers and into the facts of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec, read_metric_source
from rolloutplan.api.spec import SpecError
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.metrics.pool import Key


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A metric source as written; `spec` is None where it cannot be read, or where the plan may use none."""

    key: Key
    spec: MetricSourceSpec | None
    problem: str = ""


def read_source(kind: str, raw: Mapping[str, Any], *, cluster: bool) -> SourceObject:
    """Read an object of one of the two kinds; `kind` is its plural."""
    meta = raw["metadata"]
    key = Key(kind, meta.get("namespace", ""), meta["name"])
    try:
        return SourceObject(key, read_metric_source(safe_get.mapping(raw, "spec"), cluster))
    except SpecError as error:
        return SourceObject(key, None, f"{'Cluster' if cluster else ''}MetricSource {meta['name']}: {error}")


def source_name(plan: PlanView) -> str:
    """The name of the source that a plan uses."""
    return plan.written.metrics.source if plan.written else "default"


def choose_source(plan: PlanView, own: SourceObject | None, shared: SourceObject | None) -> SourceObject:
    """The source of that name in the plan's namespace, else the cluster's. Its problem says the fix."""
    name = source_name(plan)
    if own:
        return own
    if shared:
        return admitted(shared, plan.namespace)
    words = f"neither MetricSource {plan.namespace}/{name} nor ClusterMetricSource {name} exists"
    return SourceObject(Key("", "", name), None, f"{words}: create one, or correct spec.metrics.source")


def admitted(shared: SourceObject, namespace: str) -> SourceObject:
    """A cluster source as plans of a namespace may use it: without a spec where it does not admit them."""
    if not isinstance(shared.spec, ClusterMetricSourceSpec) or shared.spec.allows(namespace):
        return shared
    name = shared.key.name
    words = f"ClusterMetricSource {name} does not admit namespace {namespace}: add it to spec.namespaces"
    return SourceObject(shared.key, None, words)
