"""MetricSource and ClusterMetricSource objects: reads them, and chooses the one that a plan uses.

The objects come from the store's watches; the spec goes to the pool of providers and into the facts of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.limits import spec_of
from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec, read_metric_source
from rolloutplan.api.spec import SpecError
from rolloutplan.api.status import RUNNING, SourceStatus, Status
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.metrics.access import Place, SourceHosts
from rolloutplan.metrics.pool import Key

CLUSTER: Final = "ClusterMetricSource"
CLUSTER_RESOURCE: Final = "clustermetricsources.rolloutplan.dev"
OWN: Final = "MetricSource"


@dataclass(frozen=True, slots=True)
class SourceObject:
    """A metric source as written; `spec` is None where it cannot be read, or where the plan may use none."""

    key: Key
    spec: MetricSourceSpec | None
    problem: str = ""
    uid: str = ""

    @property
    def kind(self) -> str:
        return OWN if self.key.namespace else CLUSTER

    def sealed(self, own: SourceObject | None) -> SourceStatus | None:
        """The form in which a run keeps it; `own` is the MetricSource of this name, if there is one."""
        if self.spec is None:
            return None
        shadow = own.uid if own is not None and self.kind == CLUSTER else ""
        return SourceStatus(
            kind=self.kind, name=self.key.name, uid=self.uid, digest=self.spec.digest, shadowed_by=shadow
        )


def read_source(kind: str, raw: Mapping[str, Any], *, hosts: SourceHosts | None = None) -> SourceObject:
    """Read an object of one of the two kinds; `kind` is its resource, with the group. Never raises.

    A namespaced one may point to `hosts`, and anywhere where that is None, as on the command line.
    """
    meta, cluster = raw["metadata"], kind == CLUSTER_RESOURCE
    key = Key(kind, meta.get("namespace", ""), meta["name"])
    title = f"{'Cluster' if cluster else ''}MetricSource {meta['name']}"
    try:
        spec = read_metric_source(spec_of(raw), cluster)
        place = Place.of_url(spec.address)
    except SpecError as error:
        return SourceObject(key, None, f"{title}: {error}")
    except Exception as error:  # noqa: BLE001 - a source that cannot be read is a problem of its own plans alone
        return SourceObject(key, None, f"{title}: cannot be read ({type(error).__name__}): correct its spec")
    if cluster or hosts is None or hosts.allow(place):
        return SourceObject(key, spec, uid=safe_get.text(meta, "uid"))
    words = f"{title}: spec.prometheus.url: {place} is not among the hosts that namespaced sources may point to"
    fix = "have it added to the operator's --source-hosts (sourceHosts of the chart), or use a ClusterMetricSource"
    return SourceObject(key, None, f"{words}: {fix}", safe_get.text(meta, "uid"))


def source_name(plan: PlanView) -> str:
    """The name of the source that a plan uses."""
    return plan.written.metrics.source if plan.written else "default"


def kept_kind(plan: PlanView, status: Status) -> str:
    """The kind of source with which the run of a plan began; empty where there is no run, or it is not known."""
    began = status.source if status.phase in RUNNING else None
    return began.kind if began is not None and began.name == source_name(plan) else ""


def choose_source(
    plan: PlanView, own: SourceObject | None, shared: SourceObject | None, began: str = ""
) -> SourceObject:
    """The source of that name in the plan's namespace, else the cluster's. Its problem says the fix.

    A run keeps the kind of source with which it `began`, whatever gets the name of that meanwhile.
    """
    name = source_name(plan)
    if own and began != CLUSTER:
        return own
    if shared and began != OWN:
        return admitted(shared, plan.namespace)
    words = f"neither MetricSource {plan.namespace}/{name} nor ClusterMetricSource {name} exists"
    fix = "create one, or correct spec.metrics.source"
    if began:
        words, fix = f"{began} {name}, with which the run began, is gone", "create it again, or send `abort`"
    return SourceObject(Key("", "", name), None, f"{words}: {fix}")


def admitted(shared: SourceObject, namespace: str) -> SourceObject:
    """A cluster source as plans of a namespace may use it: without a spec where it does not admit them."""
    if not isinstance(shared.spec, ClusterMetricSourceSpec) or shared.spec.allows(namespace):
        return shared
    return SourceObject(shared.key, None, shared.spec.not_admitted(shared.key.name, namespace))
