"""Compare a plan with the other plans among the files, with metric sources and with policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rolloutplan.api.metric_source import ClusterMetricSourceSpec
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import SourceStatus, Status, Weights
from rolloutplan.engine.model.policy_view import Labels
from rolloutplan.engine.model.routes import rules_of
from rolloutplan.engine.model.snapshot import Snapshot, source_view
from rolloutplan.engine.policy.demands import unmet_demand
from rolloutplan.engine.policy.policies import in_force
from rolloutplan.tools.lint.judged import judged_predicates, texts_of
from rolloutplan.tools.objects.manifests import Note, Objects, PlanFile, hint, nearest, versions, warning

_VERSION: Final = re.compile("(?<![0-9])[0-9]+$")

_NAMESPACE: Final = re.compile(r'\bnamespace="([a-z0-9][-a-z0-9]{0,62})"')
_OF_ITS_SIDE: Final = re.compile(r'\b(?:pod|deployment)=~?"\$\{?(?:deployment|old|new)\b')
"""Matchers of what is in the plan's namespace for sure. A gateway counts in its own."""


def compare_plans(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    """Yield what does not fit between a plan, the plans before it among the files, its source and the policies."""
    yield from _named_for_another(plan)
    yield from _copied(plan, objects)
    yield from _same_routes(plan, objects)
    yield from _namespaces(plan)
    yield from _source(plan, objects)
    yield from _policies(plan, objects, seen)


def _named_for_another(plan: PlanFile) -> Iterator[Note]:
    """Yield that a plan has the name of one version and brings another, as a copy does that was not edited in whole."""
    name, new = plan.ref.name, plan.spec.new.deployment
    if not plan.spec.is_one_deployment and versions(name, new) and _VERSION.search(name) and _VERSION.search(new):
        words = f"the plan is called {name}, and its new side is {new}: is this a copy? Correct one of them"
        yield warning(None, "spec.new.deployment", "copied-plan", words)


def _before(plan: PlanFile, key: RouteId | str, objects: Objects) -> Iterator[PlanFile]:
    """Yield the plans before this one with the same route or new Deployment; a plan written twice is no other."""
    for other in objects.plans_by[plan.namespace, key]:
        if other is plan:
            return
        if other.ref != plan.ref:
            yield other


def _copied(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    new = plan.spec.new.deployment
    if plan.spec.is_one_deployment:
        return
    for other in _before(plan, new, objects):
        words = f"{other.ref} brings {new} as well: is this a copy? Name the Deployment that is new here"
        yield warning(None, "spec.new.deployment", "copied-plan", words)


def _same_routes(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    for i, ref in enumerate(plan.spec.traffic.routes):
        for other in _before(plan, ref.id, objects):
            in_a_row = _follows(plan, other, objects) or _follows(other, plan, objects)
            same = other.spec.new.deployment == plan.spec.new.deployment  # said as a copy
            if same or in_a_row or not _meet(plan, other, ref.id, objects):
                continue
            words = (
                f"{other.ref} moves {ref.id} too: the later of the two waits for the other's end; name different rules"
                f" (rules), or remove the plan that is done"
            )
            yield warning(None, f"spec.traffic.routes[{i}]", "same-route", words)


def _follows(plan: PlanFile, other: PlanFile, objects: Objects) -> bool:
    """Whether one plan begins where the other ends, directly or over plans between: releases in a row."""
    at, seen = plan.spec.old.deployment, {plan.spec.new.deployment}
    while at not in seen:
        if at == other.spec.new.deployment:
            return True
        seen.add(at)
        before = objects.bringing(plan.namespace, at)
        at = before[0].spec.old.deployment if before else at
    return False


def _meet(plan: PlanFile, other: PlanFile, route: RouteId, objects: Objects) -> bool:
    """Whether two plans move the same rule of a route; they do where that is not known."""
    found = objects.routes_of(route.kind).get(plan.namespace, route.name)
    if found is not None and found.view is not None:
        one, two = (rules_of(found.view, each.spec, Weights()) for each in (plan, other))
        return one is None or two is None or bool(one & two)
    named = [
        {name for ref in each.spec.traffic.routes if ref.id == route for name in ref.rules} for each in (plan, other)
    ]
    return not all(named) or bool(named[0] & named[1])


def _namespaces(plan: PlanFile) -> Iterator[Note]:
    """Yield queries of a side that name another namespace than the plan's, as a copy from elsewhere does."""
    for judged in judged_predicates(plan.spec) if plan.namespace else ():
        for field, text in texts_of(judged.predicate):
            others = {name for name in _NAMESPACE.findall(text) if name != plan.namespace}
            if others and _OF_ITS_SIDE.search(text) and "$namespace" not in text and "${namespace}" not in text:
                words = f'selects namespace="{min(others)}", and this plan is of namespace {plan.namespace}: write'
                yield hint(None, f"{judged.path}.{field}", "by-hand", f'{words} namespace="$namespace"')


def _source(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    home, name = plan.namespace, plan.spec.metrics.source
    if objects.sources.get(home, name) is not None:
        return
    shared = objects.cluster_sources.get("", name)
    if shared is None:
        names = [*objects.sources.within(home), *objects.cluster_sources.within("")]
        if names or "source" in plan.spec.metrics.model_fields_set:
            near = nearest(name, names)
            fix = f"did you mean {near}?" if near else "add its file, unless the cluster has it"
            words = f"neither MetricSource {name} of this namespace nor ClusterMetricSource {name} is among these files"
            path = "spec.metrics.source" if "source" in plan.spec.metrics.model_fields_set else "spec"
            yield hint(None, path, "not-in-files", f"{words}: {fix}")
    elif isinstance(shared, ClusterMetricSourceSpec) and home and not shared.allows(home):
        yield warning(None, "spec.metrics.source", "source", shared.not_admitted(name, home))


def _policies(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    """Yield the demand of a policy among the files that the plan does not meet: no weight would rise."""
    home, name = plan.namespace, plan.spec.metrics.source
    labels = Labels(plan.labels, None)
    own, shared = objects.sources.get(home, name), objects.cluster_sources.get("", name)
    source = None
    if spec := own or shared:
        kind = "MetricSource" if own else "ClusterMetricSource"
        source = source_view(spec, SourceStatus(kind=kind, name=name))
    policies = in_force(objects.policies, home, labels, Status())
    seen = replace(seen, policies=policies, source=source)
    if words := unmet_demand(seen, plan.spec, 0):
        yield warning(None, "spec", "policy", f"{words}; no weight rises before")
