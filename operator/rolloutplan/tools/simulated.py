"""A simulated cluster with one plan in it, on which a host of `PlanRun` acts: everything is done at once, and succeeds.

It holds what the API server would: the plan's status and metadata, the weights of its routes, both Deployments. Where a
host wants more than that (answers to queries, delays, faults), it does that itself and leaves the rest to `carry_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from rolloutplan.api.abilities import described
from rolloutplan.api.route_kind import GATEWAY_API, WeightRules
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_fields import Side
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights, Status
from rolloutplan.api.traffic import RouteRef
from rolloutplan.engine.model.actions import (
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    RunJob,
    RunPreflight,
    Scale,
    StopJobs,
)
from rolloutplan.engine.model.effects import Effect, LintQueries, ListPods, Record, Result
from rolloutplan.engine.model.fence import with_fence
from rolloutplan.engine.model.grants import EVERYTHING
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import (
    EndpointsView,
    Facts,
    GateAnswers,
    JobsStopped,
    JobView,
    Pods,
    PreflightResult,
    RouteView,
    Scaled,
    ServiceUsers,
    ServiceView,
    SourceView,
    WorkloadView,
)
from rolloutplan.stats.verdict import Outcome, Verdict

_ALL: Final = 100
"""The weight of the old side in a route that is made up."""


class Cluster:
    """The cluster of one plan. `pods` are those of each Deployment; without, it has one."""

    def __init__(
        self,
        plan: PlanView,
        spec: PlanSpec,
        status: Status,
        source: SourceView,
        routes: Iterable[RouteWeights],
        pods: Mapping[str, int] | None = None,
    ) -> None:
        self.plan, self.spec, self.status, self.source = plan, spec, status, source
        self.routes = {route.id: _view(route) for route in routes}
        sizes = pods or {}
        self.sides = {
            ref.deployment: _workload(spec, ref.deployment, sizes.get(ref.deployment, 1))
            for ref in (spec.old, spec.new)
        }

    @property
    def facts(self) -> Facts:
        return Facts(
            plan=self.plan,
            status=self.status,
            routes=self.routes,
            old=self.sides[self.spec.old.deployment],
            new=self.sides[self.spec.new.deployment],
            endpoints={name: self._endpoints(name) for name in self.spec.services},
            source=self.source,
            grants=EVERYTHING,
        )

    def carry_out(self, effect: Effect, now: datetime) -> Result:
        """Do what an effect asks for, and return what came of it; queries are left to the host."""
        match effect.work:
            case RunPreflight():
                return self._inspected(now)
            case CheckGate(questions=questions):
                return GateAnswers(now, {question: Verdict(Outcome.PROVED) for question in questions})
            case FindUsers(service=service):
                return ServiceUsers(now, service)
            case ListPods():
                return Pods()
            case RunJob(name=name):
                return JobView(name, now, found=True, ended="Complete")
            case StopJobs():
                return JobsStopped(now, ())
            case LintQueries():
                return ""
        return self._write(effect, now)

    def _write(self, effect: Effect, now: datetime) -> Scaled | None:
        match effect.work:
            case Record(status=status):
                self.status = status
            case PatchPlanMetadata(finalizer=finalizer, undo_annotation=undo):
                self.plan = replace(self.plan, finalizer=finalizer, undo_annotation=undo)
            case PatchRoute():
                self._patch(effect.work)
            case Scale(deployment=name, replicas=replicas):
                self.sides[name] = resized(self.sides[name], replicas)
                return Scaled(name, now)
        return None

    def _patch(self, work: PatchRoute) -> None:
        """Write the weights of the rules of a target; those of other rules stay."""
        view = self.routes[work.target.id]
        written = {rule.index: rule for rule in work.target.rules}
        rules = tuple(written.get(rule.index, rule) for rule in view.rules)
        changed = rules != view.rules
        self.routes = {
            **self.routes,
            view.id: replace(
                view,
                rules=rules,
                generation=view.generation + changed,
                version=str(int(view.version) + 1),
                seq=with_fence(view.seq, work.fencing_token),
                undo_annotation=work.undo_command,
            ),
        }

    def _inspected(self, now: datetime) -> PreflightResult:
        services = {name: ServiceView(frozenset({_label(name)})) for name in self.spec.services}
        hashed = self.plan.spec.judged_hash() if self.plan.spec else ""
        return PreflightResult(at=now, judged_hash=hashed, services=services, rejected={})

    def _endpoints(self, service: str) -> EndpointsView:
        """The ready pods behind a Service."""
        owners = {ref.deployment for ref, name in _services(self.spec) if name == service}
        counts = ((side.name, side.ready) for side in self.sides.values() if side.name in owners)
        return EndpointsView(tuple(each for each in counts if each[1]))


def routes_on_old(spec: PlanSpec) -> tuple[RouteWeights, ...]:
    """The routes that a plan names, with all traffic on the old side, in every rule that it names."""
    return tuple(
        RouteWeights(kind=ref.kind, name=ref.id.name, rules=tuple(_rules_on_old(spec, ref)))
        for ref in spec.traffic.routes
    )


def _rules_on_old(spec: PlanSpec, ref: RouteRef) -> Iterable[RuleWeights]:
    limits, (old, new) = _limits(ref.kind), spec.names
    weight = limits.units * (limits.sum if limits.sum is not None else min(limits.max, _ALL))
    backends = (Backend(service=old, weight=weight), Backend(service=new, weight=0))
    places = [name for name in ref.rule_names if isinstance(name, int)]
    free = (index for index in range(len(ref.rule_names) + len(places) + 1) if index not in places)
    for name in ref.rule_names or (0,):
        named = {"index": name} if isinstance(name, int) else {"index": next(free), "name": name}
        yield RuleWeights(backends=backends, **named)


def _limits(kind: str) -> WeightRules:
    return BUILT_IN[kind].weights if kind in BUILT_IN else GATEWAY_API


def _view(route: RouteWeights) -> RouteView:
    able = described(BUILT_IN[route.kind]) if route.kind in BUILT_IN else {"header", "cookie", "mirror", "sticky"}
    limits = _limits(route.kind)
    return RouteView(route.id, 1, route.rules, "1", accepted=True, weights=limits, can=frozenset(able))


def _services(spec: PlanSpec) -> tuple[tuple[Side, str], ...]:
    """Each side with its Service."""
    return (spec.old, spec.services.old), (spec.new, spec.services.new)


def _workload(spec: PlanSpec, name: str, pods: int) -> WorkloadView:
    selected = frozenset(_label(service) for ref, service in _services(spec) if ref.deployment == name)
    return WorkloadView(
        name, wanted=pods, ready=pods, available=pods, revision="", settled=True, version="1", labels=selected
    )


def resized(side: WorkloadView, pods: int, ready: int | None = None) -> WorkloadView:
    """A Deployment that should have so many pods, of which so many are ready: all, where that is not said."""
    up = pods if ready is None else min(ready, pods)
    seen = f"{pods}/{up}"
    return replace(side, wanted=pods, ready=up, available=up, version=seen)


def _label(service: str) -> tuple[str, str]:
    """The label by which a Service selects its pods."""
    return "service", service
