"""Read the objects among the files that plans are compared with, by the readers of the operator itself.

Objects come from files.py, go to tools/objects/manifests.py and its comparisons, and the findings go to lint.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.object_path import first, steps
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.route import HTTP_ROUTE
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.cli.files import Diagnostic, ParsedObject, Templates, own_kinds, resolve_templates
from rolloutplan.cluster import workloads
from rolloutplan.cluster.accounts import unlabelled
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.tools.objects.compare import compared
from rolloutplan.tools.objects.manifests import (
    Autoscaler,
    BackendFile,
    DeploymentFile,
    Note,
    Objects,
    PlanFile,
    Ref,
    RouteFile,
    RuleFile,
    Sender,
    ServiceFile,
    ServicePort,
    Shelf,
)
from rolloutplan.tools.objects.routes import SWAPPED
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.traffic import ingresses
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.forms.fields import item_of, list_of
from rolloutplan.traffic.owned import is_ours, refusal
from rolloutplan.traffic.precedence import loser

_GROUPS: Final[Mapping[str, str]] = {
    "Deployment": "apps",
    "Service": "",
    "ServiceAccount": "",
    "HorizontalPodAutoscaler": "autoscaling",
    "ScaledObject": "keda.sh",
    ingresses.KIND: "networking.k8s.io",
}
"""The kinds that are compared, and their API groups: other groups have kinds of the same names."""
_OTHER_WORKLOADS: Final[Mapping[str, str]] = {
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "ReplicaSet": "apps",
    "Rollout": "argoproj.io",
}
_REWRITING: Final = (
    "namePrefix",
    "nameSuffix",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "replacements",
    "vars",
    "components",
    "transformers",
)
"""Fields of a kustomization after which the objects are not those of the files."""
_BUILT_IN: Final = {kind: DescribedKind(kind, spec) for kind, spec in BUILT_IN.items()}
_HPA_MINIMUM, _KEDA_MINIMUM, _KEDA_MAXIMUM = 1, 0, 100
"""The defaults of minReplicas, minReplicaCount and maxReplicaCount."""


def is_compared(found: ParsedObject) -> bool:
    """Whether an object of another API is compared with plans."""
    return _is_of(found, _GROUPS) or any(_is_route(found, kind.spec) for kind in _BUILT_IN.values())


def compare(objects: Sequence[ParsedObject], templates: Templates) -> Iterator[Diagnostic]:
    """Yield what does not fit between the objects in the files, each finding once and in the file to correct."""
    if built := next((found for found in objects if _rewrites(found)), None):
        words = "Kustomize changes the objects of this folder, so they are not compared: lint what it builds: "
        words += f"kubectl kustomize {Path(built.file).parent} | rolloutplan lint -"
        yield built.row(Finding("", "kustomize", "hint", words))
        return
    yield from _twice(objects)
    by_ref = {_ref(each): each for each in objects if each.kind}
    by_ref |= {ref: each for kind in _kinds(objects).values() for ref, each in _routes_in(objects, kind).items()}
    seen: set[tuple[Ref | None, Finding]] = set()
    for parsed, (about, finding) in _compared(objects, templates):
        if about is None:
            yield parsed.row(finding)
        elif (about, finding) not in seen:
            seen.add((about, finding))
            yield by_ref[about].row(finding)


def swapped(objects: Sequence[ParsedObject], templates: Templates) -> Mapping[int, str]:
    """What is said, by the id of its object, of each plan whose new side has all of the traffic in the files."""
    if any(_rewrites(found) for found in objects):
        return {}
    found = ((parsed, finding) for parsed, (_, finding) in _compared(objects, templates))
    return {id(parsed): finding.words for parsed, finding in found if finding.rule == SWAPPED}


def _compared(objects: Sequence[ParsedObject], templates: Templates) -> Iterator[tuple[ParsedObject, Note]]:
    """Yield what does not fit between each plan and the objects, with the plan as it is in the files."""
    among = read_objects(objects, templates)
    plans = [each for each in objects if isinstance(each.checked[0], PlanSpec)]
    for plan, parsed in zip(among.plans, plans, strict=True):
        yield from ((parsed, note) for note in compared(plan, among))


def _rewrites(found: ParsedObject) -> bool:
    """Whether this is a kustomization that gives objects other names or parts than their files do."""
    is_one = Path(found.file).name.lower().startswith("kustomization") and isinstance(found.raw, dict)
    return is_one and any(field in found.raw for field in _REWRITING)


def _is_of(found: ParsedObject, groups: Mapping[str, str]) -> bool:
    return _is_named(found) and groups.get(found.kind) == _group(found)


def _is_route(found: ParsedObject, spec: RouteKindSpec) -> bool:
    """Whether an object is one of the resource of a kind: VirtualService is of virtualservices."""
    word = found.kind.lower()
    plurals = (f"{word}s", f"{word}es", f"{word[:-1]}ies")
    return _is_named(found) and _group(found) == spec.group and spec.resource in plurals


def _group(found: ParsedObject) -> str:
    version = safe_get.text(found.raw, "apiVersion")
    return version.partition("/")[0] if "/" in version else ""


def _is_named(found: ParsedObject) -> bool:
    return isinstance(found.raw, dict) and isinstance(safe_get.value(found.raw, "metadata", "name"), str)


def _ref(found: ParsedObject) -> Ref:
    namespace, name = found.name
    return Ref(found.kind, "" if found.kind.startswith("Cluster") else namespace or "", name)


def _twice(objects: Sequence[ParsedObject]) -> Iterator[Diagnostic]:
    """Yield the objects of ours that are written twice: the API server keeps the one that is applied last."""
    first: dict[Ref, ParsedObject] = {}
    for found in objects:
        if not found.is_ours or not found.kind:
            continue
        before = first.setdefault(_ref(found), found)
        if before is not found and "name" in safe_get.mapping(found.raw, "metadata"):
            where = f"{before.file}, line {before.row(Finding('', '', 'hint', '')).place.line}"
            words = (
                f"{_ref(found)} is in {where}, too: the one that is applied last wins; a copy needs a name of its own"
            )
            yield found.row(Finding("metadata.name", "same-object", "warning", words))


# ---- reading -------------------------------------------------------------------------------------


def read_objects(objects: Sequence[ParsedObject], templates: Templates | None = None) -> Objects:
    """What is among the files that plans are compared with; without templates, their predicates stay references."""
    templates = templates or {}
    raws: dict[str, dict[tuple[str, str], Any]] = {}
    others: dict[tuple[str, str], str] = {}
    for found in objects:
        ref = _ref(found) if found.kind else None
        if ref is not None and _is_of(found, _GROUPS):
            raws.setdefault(ref.kind, {})[ref[1:]] = found.raw
        elif ref is not None and _is_of(found, _OTHER_WORKLOADS):
            others[ref[1:]] = ref.kind
    checked = [(each, each.checked[0]) for each in objects]
    owned = {
        (each.name[0] or "", ref.name)
        for each, spec in checked
        if isinstance(spec, PlanSpec) and spec.traffic.ownership == "Owned"
        for ref in spec.traffic.routes
    }
    return Objects(
        plans=tuple(_plan(each, spec, templates) for each, spec in checked if isinstance(spec, PlanSpec)),
        deployments=Shelf("Deployment", {key: _deployment(raw) for key, raw in raws.get("Deployment", {}).items()}),
        others=Shelf("workload", others),
        services=Shelf("Service", {key: _service(raw) for key, raw in raws.get("Service", {}).items()}),
        routes={name: _shelf(kind, _routes_in(objects, kind), owned) for name, kind in _kinds(objects).items()},
        mesh_services=frozenset(
            safe_get.text(parent, "name")
            for found in objects
            if found.kind.endswith("Route") and _is_named(found)
            for parent in safe_get.items(found.raw, "spec", "parentRefs")
            if safe_get.text(parent, "kind") == "Service"
        ),
        senders=tuple(
            Sender(Ref(ingresses.KIND, *key), ingresses.services(raw))
            for key, raw in raws.get(ingresses.KIND, {}).items()
        ),
        autoscalers=tuple(
            scaler
            for kind in ("HorizontalPodAutoscaler", "ScaledObject")
            for key, raw in raws.get(kind, {}).items()
            if (scaler := _autoscaler(Ref(kind, *key), raw)) is not None
        ),
        accounts=Shelf(
            "ServiceAccount", {key: unlabelled(*key, raw) for key, raw in raws.get("ServiceAccount", {}).items()}
        ),
        sources=_sources(checked, "MetricSource"),
        cluster_sources=_sources(checked, "ClusterMetricSource"),
        policies=tuple(PolicyView(each.name[1], spec) for each, spec in checked if isinstance(spec, RolloutPolicySpec)),
    )


def _plan(found: ParsedObject, spec: PlanSpec, templates: Templates) -> PlanFile:
    labels = {name: str(value) for name, value in safe_get.mapping(found.raw, "metadata", "labels").items()}
    return PlanFile(_ref(found), resolve_templates(found, spec, templates), labels)


def _sources(checked: Sequence[tuple[ParsedObject, object]], kind: str) -> Shelf[MetricSourceSpec]:
    specs = ((each, spec) for each, spec in checked if isinstance(spec, MetricSourceSpec) and each.kind == kind)
    return Shelf(kind, {_ref(each)[1:]: spec for each, spec in specs})


def _deployment(raw: Mapping[str, Any]) -> DeploymentFile:
    if not safe_get.mapping(raw, "spec", "template", "metadata", "labels"):
        return DeploymentFile(None)
    labels = safe_get.mapping(raw, "spec", "selector", "matchLabels")
    selects_more = safe_get.items(raw, "spec", "selector", "matchExpressions")
    containers = safe_get.items(raw, "spec", "template", "spec", "containers")
    ports = (port for each in containers for port in safe_get.items(each, "ports"))
    return DeploymentFile(
        workloads.view(raw),
        frozenset() if selects_more else frozenset((name, str(value)) for name, value in labels.items()),
        frozenset(filter(None, (safe_get.text(port, "name") for port in ports))),
        safe_get.value(raw, "spec", "replicas") is not None,
    )


def _service(raw: Mapping[str, Any]) -> ServiceFile:
    ports = safe_get.items(raw, "spec", "ports")
    kind = safe_get.text(raw, "spec", "type")
    if not ports and not safe_get.mapping(raw, "spec", "selector") and kind != "ExternalName":
        return ServiceFile(None)
    return ServiceFile(
        workloads.service(raw),
        tuple(
            ServicePort(
                safe_get.number(port, "port"),
                safe_get.text(port, "targetPort") or safe_get.number(port, "targetPort"),
            )
            for port in ports
        ),
    )


def _kinds(objects: Sequence[ParsedObject]) -> Mapping[str, DescribedKind]:
    """The kinds of route that a plan can name, by their names there: the built-in ones, and those among the files."""
    return {**_BUILT_IN, **{name: DescribedKind(name, spec) for name, spec in own_kinds(objects).items()}}


def _routes_in(objects: Sequence[ParsedObject], kind: DescribedKind) -> dict[Ref, ParsedObject]:
    """The objects that a plan can name as routes of a kind: of HTTPRoutes, those that the operator does not own."""
    found = (
        (_ref(each), each)
        for each in objects
        if each.kind and _is_route(each, kind.spec) and not (kind.kind == HTTP_ROUTE and is_ours(each.raw))
    )
    return {Ref(kind.kind, ref.namespace, ref.name): each for ref, each in found}


def _shelf(
    kind: DescribedKind, found: Mapping[Ref, ParsedObject], owned: Collection[tuple[str, str]]
) -> Shelf[RouteFile]:
    """The routes of a kind. `owned` are those in whose place the operator makes one of its own."""
    raws = {_ref(each): _at_home(each.raw) for each in found.values()}
    routes = {ref[1:]: _route(kind, raw, _others(raws, ref)) for ref, raw in raws.items()}
    for ref, raw in raws.items() if kind.kind == HTTP_ROUTE else ():
        if ref[1:] in owned:
            routes[ref[1:]] = replace(routes[ref[1:]], not_ownable=refusal(raw) or loser(raw, raws.values()))
    return Shelf(kind.kind, routes)


def _at_home(raw: Any) -> dict[str, Any]:
    """An object whose namespace is a text, also where none is written."""
    return {**raw, "metadata": {**raw["metadata"], "namespace": safe_get.text(raw, "metadata", "namespace")}}


def _others(raws: Mapping[Ref, Any], ref: Ref) -> Mapping[Ref, Any]:
    """The other objects of the resource in a namespace."""
    return {other: raw for other, raw in raws.items() if other != ref and other.namespace == ref.namespace}


def _route(kind: DescribedKind, raw: Mapping[str, Any], siblings: Mapping[Ref, Any]) -> RouteFile:
    view = kind.view(raw, tuple(siblings.values()))
    if not view.rules and kind.spec.annotations is None:
        return RouteFile(None)
    return RouteFile(
        view,
        tuple(_rule(raw, rule) for rule in view.rules),
        needs_ports=kind.spec.group == BUILT_IN["HTTPRoute"].group,
        companions=frozenset(siblings) if kind.spec.share is not None else frozenset(),
    )


def _rule(raw: Mapping[str, Any], rule: RuleWeights) -> RuleFile:
    return RuleFile(
        _path(steps(list_of(rule))[:-1]),
        tuple(_backend(raw, backend, steps(item_of(rule, place))) for place, backend in enumerate(rule.backends)),
    )


def _backend(raw: Mapping[str, Any], backend: Backend, at: Sequence[str]) -> BackendFile:
    path = _path(at)
    item = first(raw, (tuple(int(step) if step.isdecimal() else step for step in at),))
    port = safe_get.number(item.value if item else None, "port")
    return BackendFile(
        backend.service,
        port if "/" not in backend.service else 0,
        backend.missing is not True,
        path,
        _path((*at, *steps(next(iter(backend.names), "/name")))),
        f"{path}.weight",
    )


def _path(at: Sequence[str]) -> str:
    """A place as findings name it, as far as its keys have no dots."""
    known = list(takewhile(lambda step: "." not in step, at))
    return "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in known).lstrip(".")


def _autoscaler(ref: Ref, raw: Mapping[str, Any]) -> Autoscaler | None:
    target = safe_get.mapping(raw, "spec", "scaleTargetRef")
    is_keda = ref.kind == "ScaledObject"
    if safe_get.text(target, "kind") not in (("Deployment", "") if is_keda else ("Deployment",)):
        return None
    if is_keda:
        least = safe_get.number(raw, "spec", "minReplicaCount", default=_KEDA_MINIMUM)
        most = safe_get.number(raw, "spec", "maxReplicaCount", default=_KEDA_MAXIMUM)
    else:
        least = safe_get.number(raw, "spec", "minReplicas", default=_HPA_MINIMUM)
        most = safe_get.number(raw, "spec", "maxReplicas")
    return Autoscaler(ref, safe_get.text(target, "name"), least, most)
