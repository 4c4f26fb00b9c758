"""Fields at the wrong place: where they belong, and what other tools call what we have under another name.

It works on the models alone: their schemas give the place of every field, so a new field needs nothing here.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from rolloutplan.api.shown import shown

Loc = Sequence[str | int]

_OF_STAGES: Final = "write guards under spec for the whole run, or pass, fail or warn in a stage"
_COMPARE: Final = 'write is (such as is: "> 0.99") or vsOld'
_LONGER: Final = "a predicate that must be true for some time has for: 1m"
_NAMESPACE: Final = "everything that a plan names is in the plan's own namespace: remove it"
_SOURCE: Final = "the address belongs into a MetricSource: write metrics: {source: NAME}"
_LADDER: Final = "write the weights of a stage, such as weights: [5%, 25%, 50%, 100%]"
_SIDES: Final = "write the Services as old.service and new.service"
_OF_PLANS: Final[Mapping[str, str]] = {
    # Argo Rollouts
    "strategy": "write stages",
    "canary": "write new for the new side, and stages",
    "stable": "write old",
    "blueGreen": "write stages: [{weight: 100%, approval: Required}]",
    "steps": "write stages",
    "setWeight": "write weight in a stage, such as stages: [{weight: 20%}]",
    "pause": "write soak: 5m in the stage, or approval: Required to wait for a person",
    "duration": "write soak, the shortest time at a stage's weight",
    "analysis": _OF_STAGES,
    "experiment": _OF_STAGES,
    "analysisTemplate": "write template in a predicate, which names a PredicateTemplate",
    "templateName": "write template in a predicate, which names a PredicateTemplate",
    "args": "write with, such as with: {atLeast: 99%}",
    "successCondition": f"{_COMPARE} in a predicate under pass",
    "failureCondition": f"{_COMPARE} in a predicate under guards or fail",
    "failureLimit": f"one failure is enough here; {_LONGER}",
    "consecutiveErrorLimit": "write onMetricsUnavailable under spec",
    "inconclusiveLimit": "write onUndecided under spec",
    "count": "a stage looks again until its soak is over: write soak",
    "initialDelay": "write warmup under spec",
    "trafficRouting": "write traffic: {routes: [...]}",
    "stableService": _SIDES,
    "canaryService": _SIDES,
    "activeService": _SIDES,
    "previewService": _SIDES,
    "workloadRef": "write old: {deployment: NAME} and new: {deployment: NAME}",
    "progressDeadlineSeconds": "write deadline in a stage, and availability.readyWithin",
    "scaleDownDelaySeconds": "write traffic.drain, and bake",
    "abortScaleDownDelaySeconds": "write traffic.drain",
    "autoPromotionEnabled": "write approval: Required in a stage to wait for a person",
    "setCanaryScale": "write expand: {scale: {new: MatchOld}}",
    "replicas": "the replicas are the Deployments'; write expand: {scale: {new: MatchOld}} to scale the new one",
    # Flagger
    "targetRef": "write old: {deployment: NAME} and new: {deployment: NAME}",
    "autoscalerRef": "an autoscaler is left to its work: remove it",
    "canaryWeight": "write weight in a stage, such as stages: [{weight: 20%}]",
    "stepWeight": _LADDER,
    "stepWeights": _LADDER,
    "stepWeightPromotion": _LADDER,
    "maxWeight": "write stopAt for a plan that ends below 100%",
    "iterations": "write soak, the shortest time at a stage's weight",
    "threshold": f"{_COMPARE}; {_LONGER}",
    "thresholdRange": f'{_COMPARE}: min: 99 is is: ">= 99"',
    "templateRef": "write template in a predicate, which names a PredicateTemplate",
    "webhooks": "write assumptions or expand.jobs, which run Jobs",
    "provider": "the kind of each route is in traffic.routes; the metric source is metrics: {source: NAME}",
    "gatewayRefs": "write traffic: {routes: [{kind: HTTPRoute, name: NAME}]}",
    "skipAnalysis": "send the command `promote` for a run, or write dryRun: true in predicates",
    "revertOnDeletion": "write deletionPolicy",
    "mirrorWeight": "write mirror: 10% in a stage",
    "setMirrorRoute": "write mirror: 10% in a stage",
    "setHeaderRoute": 'write match: {header: {name: x-staff, value: "yes"}} in a stage',
    "sessionAffinity": "write sticky: {cookie: NAME, for: 1h} under traffic",
    # words that come to mind
    "route": "write traffic: {routes: [{kind: HTTPRoute, name: NAME}]}",
    "httpRoute": "write traffic: {routes: [{kind: HTTPRoute, name: NAME}]}",
    "prometheus": _SOURCE,
    "prometheusUrl": _SOURCE,
    "url": _SOURCE,
    "address": _SOURCE,
    "promql": "write query",
    "expr": "write query",
    "operator": _COMPARE,
    "value": _COMPARE,
    "condition": _COMPARE,
    "bound": _COMPARE,
    "if": _COMPARE,
    "percent": "write weight in a stage",
    "percentage": "write weight in a stage",
    "success": "write pass in a stage",
    "failure": "write fail in a stage, or guards under spec",
    "description": "write hypothesis under spec, or a comment in YAML",
    "team": "write owner under spec",
    "metadata": "metadata is next to spec, not in it",
    "spec": "write its fields here",
    "apiVersion": "apiVersion is next to spec, not in it",
    "min": f'{_COMPARE}: min: 99 is is: ">= 99"',
    "max": f'{_COMPARE}: max: 1 is is: "<= 1"',
    "alerts": "write alert: {matchers: 'severity=\"page\"'}",
    "rollback": "write onFail: Rollback under spec",
    "onFailure": "write onFail under spec",
    "rollbackOnFailure": "write onFail: Rollback under spec",
    "autoRollback": "write onFail: Rollback under spec",
    "failurePolicy": "write onFail under spec",
    "timeout": "write deadline in a stage",
    "wait": "write soak, the shortest time at a stage's weight",
    "steptime": "write soak, the shortest time at a stage's weight",
    "manual": "write approval: Required in a stage",
    "manualApproval": "write approval: Required in a stage",
    "checks": _OF_STAGES,
    "predicates": _OF_STAGES,
    "hooks": "write assumptions or expand.jobs, which run Jobs",
    "namespace": _NAMESPACE,
    "namespaces": _NAMESPACE,
    "paused": "send the command: rolloutplan pause PLAN",
    "suspend": "send the command: rolloutplan pause PLAN",
    "labels": "labels belong under metadata",
    "annotations": "annotations belong under metadata",
}
_URL: Final = 'write prometheus: {url: "http://prometheus.monitoring:9090"}'
_CREDENTIALS: Final = "write auth in a ClusterMetricSource, with the names of credential files"
_OF_SOURCES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("address", "endpoint", "server", "host", "type", "provider", "thanos", "mimir"), _URL),
    **dict.fromkeys(("token", "password", "username", "bearerToken", "credentials", "secretRef", "tls"), _CREDENTIALS),
    **dict.fromkeys(("ca", "caFile", "insecureSkipVerify", "insecure"), "write auth: {caBundle: FILE}"),
    "interval": "write scrapeInterval",
}
_OF_TEMPLATES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("args", "arguments", "params", "variables"), "write parameters"),
    **dict.fromkeys(("successCondition", "failureCondition", "threshold", "thresholdRange", "condition"), _COMPARE),
    **dict.fromkeys(("promql", "expr"), "write query"),
}
_OF_POLICIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("limit", "maxParallel", "parallelism", "concurrency"), "write maxConcurrent"),
    **dict.fromkeys(("blackout", "schedule", "frozen", "freezeWindows"), "write freeze.now, or freeze.windows"),
    "lock": "write lockGroup",
    "budget": "write errorBudget: {query: ..., atLeast: 20%}",
    "approvals": "write require: {approvals: [All]}",
}
_FOREIGN: Final[Mapping[str, Mapping[str, str]]] = {
    "PlanSpec": _OF_PLANS,
    "MetricSourceSpec": _OF_SOURCES,
    "ClusterMetricSourceSpec": _OF_SOURCES,
    "PredicateTemplateSpec": _OF_TEMPLATES,
    "RolloutPolicySpec": _OF_POLICIES,
}
"""Fields of Argo Rollouts and Flagger, and words that come to mind, with what to write here, by the kind's model."""

_NOTES: Final[Mapping[tuple[str, str], str]] = {
    ("StageSpec", "guards"): "guards hold for the whole run: write them under spec; for one stage write fail",
    ("StageSpec", "job"): "Jobs run before and after the stages: write assumptions, expand.jobs or contract.jobs",
    ("StageSpec", "jobs"): "Jobs run before and after the stages: write assumptions, expand.jobs or contract.jobs",
    ("PlanSpec", "name"): "the name of a plan is metadata.name",
    ("PredicateTemplateSpec", "name"): "the name of a template is metadata.name",
    ("RolloutPolicySpec", "name"): "the name of a policy is metadata.name",
    ("PlanSpec", "template"): "a predicate names a template: write it under guards, or pass, fail or warn of a stage",
    ("Predicate", "interval"): "interval belongs under spec, for all predicates; the range of a query is window",
    ("Predicate", "soak"): "soak belongs to a stage, under spec.stages; a predicate has for",
    ("Alert", "name"): "the name of an alert is a label: write matchers: 'alertname=\"NAME\"'",
    ("Events", "errors"): "write bad",
    ("Events", "good"): "write bad, the counter of bad requests, with total",
    ("Contract", "delete"): "write scaleOld: 0",
    ("Contract", "deleteOld"): "write scaleOld: 0",
    ("Side", "name"): "write deployment",
    ("Side", "version"): "write deployment: each version has a Deployment of its own",
    ("Side", "image"): "write deployment: each version has a Deployment of its own",
    ("Side", "namespace"): _NAMESPACE,
    ("RouteRef", "namespace"): _NAMESPACE,
}
"""What else is to be said of a field in a model, by the name of the model and that of the field."""

_OF_JOBS: Final = ("JobTemplate", "JobMetadata")
"""Models whose fields have names that people write in many places, and seldom mean these."""
_ALIKE: Final = 0.75
"""How like a name must be to one at another place (difflib's ratio): less is a guess that leads astray."""
_PREFERRED: Final = ("StageSpec", "Predicate")
"""Of several places of a name, the one that is meant: most fields that people misplace are of stages and predicates."""
_PLACES: Final = {
    "StageSpec": "to a stage, under spec.stages",
    "Predicate": "to a predicate, under guards, pass, fail or warn",
}

_SHORT: Final[Mapping[str, str]] = {
    "Side": "{deployment: VALUE}",
    "MetricsRef": "{source: VALUE}",
    "Traffic": "{routes: [{kind: HTTPRoute, name: VALUE}]}",
    "RouteRef": "{kind: HTTPRoute, name: VALUE}",
    "StageSpec": "{weight: VALUE}",
    "Predicate": "{template: VALUE} for a template, or {use: VALUE} for another predicate of the plan",
    "Events": "{bad: VALUE, total: ...}, two counters",
    "TemplateEvents": "{bad: VALUE, total: ...}, two counters",
    "Alert": "{matchers: VALUE}",
    "MinSamples": "{query: ..., atLeast: VALUE}",
    "TemplateSamples": "{query: ..., atLeast: VALUE}",
    "OldAvailability": "{atLeast: VALUE}",
    "Availability": "{minReady: VALUE}",
    "Scaling": "{new: VALUE}",
    "OnMetricsUnavailable": "{action: VALUE}",
    "OnIncident": "{action: VALUE, after: 5m, then: Rollback}",
    "Prometheus": "{url: VALUE}",
    "Auth": "{bearer: VALUE}, the name of a credential file",
    "FreezeSpec": "{now: VALUE}, with the reason",
    "RequiredSource": "{kind: ClusterMetricSource, name: VALUE}",
    "Selector": "{namespaces: [VALUE]}",
}
"""What a value stands for where a mapping is wanted, by the name of the model."""


class _Owner(NamedTuple):
    model: str
    path: tuple[str, ...]
    """Names, and `[]` for any item of a list."""


def mapping(model: str, field: str, value: object) -> str:
    """What to write for a value where a mapping is wanted: for `old: checkout-v1` it is `{deployment: checkout-v1}`."""
    if model not in _SHORT or isinstance(value, bool) or not isinstance(value, str | int | float):
        return "its fields below it"
    return (f"{field}: " if field else "") + _SHORT[model].replace("VALUE", shown([value])[1:-1])


def unknown(model: type[BaseModel], loc: Loc) -> str:
    """What follows "unknown field" for one at a location below a model."""
    *above, name = (str(part) if isinstance(part, str) else "[]" for part in loc)
    place, owners = tuple(above), _owners(model)
    here = next((each.model for named in owners.values() for each in named if each.path == place), "")
    if (here, name) in _NOTES:
        return f": {_NOTES[here, name]}"
    if elsewhere := [each for each in owners.get(name, ()) if each.model not in _OF_JOBS]:
        return f": {name} belongs {_where(elsewhere, place)}"
    if words := _FOREIGN.get(model.__name__, {}).get(name):
        return f": {words}"
    siblings = [each for each, named in owners.items() if any(owner.path == place for owner in named)]
    if near := get_close_matches(name, siblings, n=1):
        return f"; did you mean {near[0]}?"
    if near := get_close_matches(name, owners, n=1, cutoff=_ALIKE):
        return f"; did you mean {near[0]}? It belongs {_where(owners[near[0]], place)}."
    return ": remove it"


def _where(owners: Sequence[_Owner], place: tuple[str, ...]) -> str:
    """The place of a field that is nearest to another place."""

    def far(owner: _Owner) -> tuple[bool, bool, int, int]:
        above, below = owner.path == place[: len(owner.path)], owner.path[: len(place)] == place
        rank = _PREFERRED.index(owner.model) if owner.model in _PREFERRED else len(_PREFERRED)
        return not above, not below, rank, -len(owner.path) if above else len(owner.path)

    best = min(owners, key=far)
    if best.model in _PLACES:
        return _PLACES[best.model]
    same = [each.path for each in owners if far(each) == far(best)]
    return "under " + " or ".join(dict.fromkeys(map(_written, same[:2])))


def _written(path: tuple[str, ...]) -> str:
    return "spec" + "".join(part if part == "[]" else f".{part}" for part in path)


@cache
def _owners(model: type[BaseModel]) -> Mapping[str, tuple[_Owner, ...]]:
    """The models that have a field, with their places, by the name of the field."""
    schema = model.model_json_schema(by_alias=True)
    found: dict[str, list[_Owner]] = {}
    for name, owner in _fields({**schema, "title": model.__name__}, schema.get("$defs", {}), ()):
        found.setdefault(name, []).append(owner)
    return {name: tuple(owners) for name, owners in found.items()}


def _fields(node: Mapping[str, Any], models: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, _Owner]]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        node = {**models[name], "title": name}
    for choice in node.get("anyOf", ()):
        yield from _fields(choice, models, path)
    fields = node.get("properties", {}) if "title" in node and path[-1:] != ("spec",) else {}
    for name, below in fields.items():  # but for those below the spec of a Job, which are not ours
        yield name, _Owner(str(node["title"]), path)
        yield from _fields(below, models, (*path, name))
    if isinstance(node.get("items"), dict):
        yield from _fields(node["items"], models, (*path, "[]"))
