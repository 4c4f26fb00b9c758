"""A Canary of Flagger: its weights as stages, its target as two Deployments, its metrics as guards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.quantities import format_duration
from rolloutplan.tools.convert.draft import CannotConvertError, Draft, Objects, Raw, draft_of, duration, is_name
from rolloutplan.tools.convert.judging import (
    add_template,
    add_usual_guards,
    asks,
    ending_of,
    forgiven,
    name_of,
    windowed,
)
from rolloutplan.tools.convert.sides import add_deployments, add_service
from rolloutplan.tools.convert.testers import Told, match_of, mirror_of, sticky_of, told

_SPEC_READ: Final = (
    "provider",
    "targetRef",
    "service",
    "analysis",
    "canaryAnalysis",
    "ingressRef",
    "routeRef",
    "upstreamRef",
    "progressDeadlineSeconds",
)
_SPEC_LEFT: Final = {
    "autoscalerRef": "write an autoscaler for each Deployment: docs/autoscaling.md",
    "skipAnalysis": "rolloutplan promote goes straight to the last weight",
    "revertOnDeletion": "deletionPolicy: Restore puts the old weights back; the Deployments stay as they are",
    "suspend": "rolloutplan pause holds a plan",
    "metricsServer": "write a MetricSource with this address, and name it as metrics.source",
}
_ANALYSIS_READ: Final = (
    "interval",
    "iterations",
    "maxWeight",
    "stepWeight",
    "stepWeights",
    "threshold",
    "match",
    "metrics",
    "webhooks",
    "mirror",
    "mirrorWeight",
    "sessionAffinity",
)
_ANALYSIS_LEFT: Final = {
    "stepWeightPromotion": "the pods of the new side stay where they are: there is no promotion to copy them",
    "alerts": "write a Notifier: docs/observing.md#notifications",
    "primaryReadyThreshold": "availability.old.atLeast says how many pods the old side must have",
    "canaryReadyThreshold": "availability.minReady says how many pods of the new side must stay ready",
}
_MATCH: Final = (
    "one header with an exact value, or one cookie, would be a stage with match, where the kind of route can: "
    "docs/writing-a-plan.md#stages-without-weights"
)
_SERVICE_READ: Final = ("name", "port", "targetPort", "portName", "appProtocol")
_ROUTE_WORDS: Final = "Flagger makes the route from this: write it into the route, which is yours now"
_KINDS: Final[Mapping[str, str]] = {
    "istio": "VirtualService",
    "linkerd": "TrafficSplit",
    "smi": "TrafficSplit",
    "osm": "TrafficSplit",
    "contour": "HTTPProxy",
    "gatewayapi": "HTTPRoute",
    "gloo": "RouteTable",
    "nginx": "NginxCanary",
    "skipper": "SkipperIngress",
    "traefik": "TraefikService",
    "apisix": "ApisixRoute",
    "kuma": "MeshHTTPRoute",
    "kubernetes": "HTTPRoute",
}
_MOST: Final = 49
"""Weights below 100 %: a plan has at most 50."""


def convert_canary(raw: Raw, objects: Objects, provider: str = "") -> Draft:
    """`provider` is that of the installation, for a Canary that names none. Raises CannotConvertError."""
    draft, spec = draft_of(raw), safe_get.mapping(raw, "spec")
    where = "canaryAnalysis" if "canaryAnalysis" in spec and "analysis" not in spec else "analysis"
    analysis, path = safe_get.mapping(spec, where), f"spec.{where}"
    draft.leave_out(spec, "spec", _SPEC_LEFT, _SPEC_READ)
    draft.leave_out(analysis, path, _ANALYSIS_LEFT, _ANALYSIS_READ, "spec.stages")
    target = _target(spec)
    draft.spec |= {"old": {"deployment": draft.old}, "new": {"deployment": draft.new}}
    kind = _add_route(draft, spec, provider)
    every = duration(safe_get.value(analysis, "interval")) or timedelta(minutes=1)
    _add_stages(draft, analysis, path, every)
    _add_sticky(draft, analysis, path)
    _add_guards(draft, analysis, path, kind, _words_of(draft, spec, target, every), objects)
    _add_gates(draft, analysis, path)
    _forgive(draft, analysis, path, every)
    add_usual_guards(draft, kind)
    if (deadline := duration(spec.get("progressDeadlineSeconds"))) is not None:
        draft.spec["availability"] = {"readyWithin": format_duration(deadline)}
    _add_workloads(draft, spec, target, objects)
    return draft


def _target(spec: Raw) -> str:
    kind, name = safe_get.text(spec, "targetRef", "kind"), safe_get.text(spec, "targetRef", "name")
    if kind != "Deployment" or not is_name(name):
        words = "a plan moves traffic between two Deployments"
        raise CannotConvertError(f'spec.targetRef is the {kind or "object"} "{name}": {words}')
    return name


# ---- the route -------------------------------------------------------------------------------------------------------


def _add_route(draft: Draft, spec: Raw, installed: str) -> str:
    """Add traffic.routes; return the kind. Raises CannotConvertError where it is not known, or none of ours."""
    provider = safe_get.text(spec, "provider") or installed or _guessed(spec)
    if not provider:
        words = "names no provider: name that of the installation (Flagger's -mesh-provider) with --provider"
        raise CannotConvertError(f"spec {words}")
    family = provider.partition(":")[0]
    kind = _KINDS.get(family)
    if kind is None:
        words = f"is no kind of route that a plan can move: name one of {', '.join(sorted(_KINDS))}"
        raise CannotConvertError(f"the provider {provider} {words}, or write a plan by hand and describe a RouteKind")
    name = _route_name(draft, spec, family)
    if not is_name(name):
        raise CannotConvertError(
            f"the provider {provider} needs the name of a route: see spec.ingressRef or spec.routeRef"
        )
    draft.spec["traffic"] = {"routes": [{"kind": kind, "name": name}]}
    words = f"Flagger makes this {kind}, and takes it away with the Canary: write one with the Services {draft.old} and"
    draft.to_do("spec.provider", f"{words} {draft.new}, the new one with weight 0", "spec.traffic.routes[0]")
    if family == "kubernetes":
        words = "this provider moves no weights, it changes a Service: a plan needs a route, or Replicas"
        draft.changed("spec.provider", words, "spec.traffic.routes[0]")
    draft.leave_out(
        safe_get.mapping(spec, "service"),
        "spec.service",
        dict.fromkeys(map(str, safe_get.mapping(spec, "service")), _ROUTE_WORDS),
        _SERVICE_READ,
        "spec.traffic.routes[0]",
    )
    return kind


def _guessed(spec: Raw) -> str:
    """The provider that the fields for its routes belong to; empty where they are not of one alone."""
    service = safe_get.mapping(spec, "service")
    if "gatewayRefs" in service:
        return "gatewayapi"
    return "istio" if "gateways" in service else ""


def _route_name(draft: Draft, spec: Raw, family: str) -> str:
    ingress, route = safe_get.text(spec, "ingressRef", "name"), safe_get.text(spec, "routeRef", "name")
    if family in ("nginx", "skipper"):
        return f"{ingress}-canary" if ingress else ""
    if family == "apisix":
        return f"{route}-{draft.base}-canary" if route else ""
    return safe_get.text(spec, "service", "name") or safe_get.text(spec, "targetRef", "name")


# ---- the stages ------------------------------------------------------------------------------------------------------


def _add_stages(draft: Draft, analysis: Raw, path: str, every: timedelta) -> None:
    weights = _weights(draft, analysis, path)
    mirrored = _mirror(draft, analysis, path)
    turns = min(max(safe_get.number(analysis, "iterations"), 0), 1000)
    soak = format_duration(max(every, timedelta(seconds=1)))
    if weights:
        stages = [*mirrored, {"weights": [f"{each}%" for each in weights]}]
        words = "after the last step Flagger copies the new version to the primary: here its pods get all requests"
        draft.changed(f"{path}.maxWeight" if "maxWeight" in analysis else path, words, f"spec.stages[{len(stages)}]")
    elif turns:
        stages = [*mirrored, *_testers(draft, analysis, path)]
        if not stages:
            words = f"{turns} iterations without weights: a plan judges the requests of users, so it begins with 5 %"
            draft.changed(f"{path}.iterations", words, "spec.stages[0]")
            stages = [{"weight": "5%"}]
    else:
        raise CannotConvertError(f"{path} has no stepWeight, stepWeights or iterations: it says no steps for a plan")
    if "match" in analysis and weights:
        draft.left_out(f"{path}.match", "Flagger reads it with iterations only", "spec.stages[0]")
    stages = [{**stage, "soak": soak} for stage in stages]
    if not weights:
        stages[-1]["soak"] = format_duration(every * turns)
    draft.spec["stages"] = [*stages, {"weight": "100%", "soak": soak}]


def _mirror(draft: Draft, analysis: Raw, path: str) -> list[dict[str, Any]]:
    """The stage in which the new side gets copies of requests, without its soak; none where there is no such stage."""
    if analysis.get("mirror") is not True:
        return []
    weight = analysis.get("mirrorWeight")
    if mirror := mirror_of(draft, 100 if weight is None else weight):
        return [{"name": "mirror", "mirror": mirror}]
    draft.left_out(f"{path}.mirror", "the kind of route cannot mirror, or not this share", "spec.stages")
    return []


def _testers(draft: Draft, analysis: Raw, path: str) -> list[dict[str, Any]]:
    """A stage for each kind of testers: each adds its own to those before it. What cannot be told apart is left out."""
    found = []
    for i, each in enumerate(safe_get.items(analysis, "match")):
        if match := match_of(draft, _headers(each)):
            found.append(match)
        else:
            draft.left_out(f"{path}.match[{i}]", _MATCH, "spec.stages[0]")
    names = ["testers"] if len(found) == 1 else [f"testers-{i + 1}" for i in range(len(found))]
    return [{"name": name, "match": match} for name, match in zip(names, found, strict=True)]


def _headers(raw: object) -> list[Told]:
    """The headers of testers; none where something else counts too."""
    if [*safe_get.mapping(raw)] != ["headers"]:
        return []
    return [told(f"{name}", value) for name, value in safe_get.mapping(raw, "headers").items()]


def _add_sticky(draft: Draft, analysis: Raw, path: str) -> None:
    affinity = safe_get.mapping(analysis, "sessionAffinity")
    if not affinity:
        return
    if sticky := sticky_of(draft, affinity):
        draft.spec["traffic"]["sticky"] = dict(sticky)
        words = "it keeps users of the old side there too, so that they do not follow a higher weight"
        draft.changed(f"{path}.sessionAffinity", words, "spec.traffic.sticky")
    else:
        words = "traffic.sticky keeps a user on a side for up to 168h, and this kind of route cannot"
        draft.left_out(f"{path}.sessionAffinity", words, "spec.traffic")


def _weights(draft: Draft, analysis: Raw, path: str) -> list[int]:
    """The weights below 100, each larger than the one before."""
    steps, largest = safe_get.items(analysis, "stepWeights"), safe_get.number(analysis, "maxWeight", default=100)
    step = safe_get.number(analysis, "stepWeight")
    if not steps and step > 0:
        steps = list(range(step, min(largest, 100) + 1, step))
    whole = [each for each in steps if isinstance(each, int) and not isinstance(each, bool) and 0 < each < 100]
    rising = [*whole[:1], *(after for before, after in pairwise(whole) if after > before)]
    rising = sorted(dict.fromkeys(rising))
    if len(rising) < len([each for each in steps if each != 100]):
        draft.left_out(
            f"{path}.stepWeights", "weights of a plan are whole numbers that rise up to 100", "spec.stages[0]"
        )
    if len(rising) > _MOST:
        words = f"a plan has at most 50 weights, so of {len(rising)} every second is left out"
        draft.changed(f"{path}.stepWeight", words, "spec.stages[0]")
        rising = rising[1::2]
    return rising


def _add_gates(draft: Draft, analysis: Raw, path: str) -> None:
    """Webhooks that confirm are approvals of a person; for the others it says what does the same."""
    for i, hook in enumerate(safe_get.items(analysis, "webhooks")):
        kind, at = safe_get.text(hook, "type") or "rollout", f"{path}.webhooks[{i}]"
        if kind == "confirm-traffic-increase":
            draft.spec["stages"] = [*_one_by_one(draft.spec["stages"])]
        if kind not in _ASKED:
            draft.left_out(at, _HOOKS.get(kind, f"{kind} is not known to the converter"), "spec.stages")
            continue
        for stage in draft.spec["stages"][_ASKED[kind]]:
            stage["approval"] = "Required"
        words = f"{kind} asks an address: here rolloutplan approve answers, from a pipeline or a person"
        draft.changed(at, words, "spec.stages")


def _one_by_one(stages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A stage for each weight, with all else of its stage: an approval is asked once for a stage."""
    for stage in stages:
        rest = {key: value for key, value in stage.items() if key not in ("weight", "weights")}
        for weight in stage.get("weights") or [stage["weight"]]:
            yield {"weight": weight, **rest}


_ASKED: Final = {
    "confirm-rollout": slice(0, 1),
    "confirm-promotion": slice(-1, None),
    "confirm-traffic-increase": slice(None),
}
_HOOKS: Final = {
    "pre-rollout": "write what it runs as a Job under assumptions or expand.jobs, before any traffic",
    "rollout": "a plan sends no requests: the traffic of users is judged",
    "post-rollout": "a Notifier tells the end of a run: docs/observing.md#notifications",
    "event": "a Notifier tells all decisions: docs/observing.md#notifications",
    "rollback": "rolloutplan abort rolls back, from a pipeline or a person",
}


def _forgive(draft: Draft, analysis: Raw, path: str, every: timedelta) -> None:
    """Have guards trip after the time that so many failed checks take."""
    failures = min(max(safe_get.number(analysis, "threshold"), 0), 1000)
    if failures > 1 and draft.spec["guards"]:
        lasts = forgiven(failures - 1, every)
        for guard in draft.spec["guards"]:
            guard["for"] = lasts
        words = f"{failures} failed checks of all metrics end it; here a guard that is true without a break"
        draft.changed(f"{path}.threshold", f"{words} for {lasts}", "spec.guards")


# ---- the guards ------------------------------------------------------------------------------------------------------

_BUILT_IN: Final = ("request-success-rate", "request-duration")
_VARIABLE: Final = re.compile(r"{{\s*([A-Za-z.]+)\s*}}(-(?:canary|primary)(?![A-Za-z0-9-]))?(?=([A-Za-z0-9_])?)")


def _words_of(draft: Draft, spec: Raw, target: str, every: timedelta) -> Mapping[str, str]:
    """What the words of a query of Flagger are here."""
    return {
        "namespace": "$namespace",
        "target": "$deployment",
        "name": draft.base,
        "service": safe_get.text(spec, "service", "name") or target,
        "ingress": safe_get.text(spec, "ingressRef", "name"),
        "route": safe_get.text(spec, "routeRef", "name"),
        "interval": format_duration(every),
    }


def _add_guards(draft: Draft, analysis: Raw, path: str, kind: str, words: Mapping[str, str], objects: Objects) -> None:
    guards: list[dict[str, Any]] = draft.spec.setdefault("guards", [])
    for i, metric in enumerate(safe_get.items(analysis, "metrics")):
        at, name = f"{path}.metrics[{i}]", safe_get.text(metric, "name")
        lowest, highest = _range(metric, "min"), _range(metric, "max")
        window = duration(safe_get.value(metric, "interval"))
        if name in _BUILT_IN and "templateRef" not in metric:
            guards += _built_in(draft, at, name, lowest if name == _BUILT_IN[0] else highest, window, kind)
        else:
            guards += _custom(draft, at, metric, (lowest, highest), words, objects)


def _range(metric: object, end: str) -> float | None:
    """An end of thresholdRange; the threshold of old is the one end that the metric has."""
    found = safe_get.value(metric, "thresholdRange", end)
    if found is None and "thresholdRange" not in safe_get.mapping(metric):
        of = "min" if safe_get.text(metric, "name") == _BUILT_IN[0] else "max"
        found = safe_get.value(metric, "threshold") if end == of else None
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and -1e12 < found < 1e12
    return float(found) if is_number else None  # type: ignore[arg-type]


def _built_in(
    draft: Draft, at: str, name: str, bound: float | None, window: timedelta | None, kind: str
) -> list[dict[str, Any]]:
    what, given = ("success-rate", "atLeast") if name == _BUILT_IN[0] else ("latency", "atMost")
    template = f"{what}{ending_of(kind)}"
    if bound is None or not (0 <= bound <= 100 if given == "atLeast" else bound > 0):
        draft.left_out(at, "it has no bound in thresholdRange that could be kept", "spec.guards")
        return []
    value = f"{_plain(bound)}%" if given == "atLeast" else _plain(bound / 1000)
    note = f"{template} of deploy/predicates asks the same" + ("" if given == "atLeast" else ", in seconds")
    draft.changed(at, note, "spec.guards")
    span = {"window": format_duration(window)} if window else {}
    return [{"template": template, **draft.told_apart(template), "with": {given: value}, **span}]


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _custom(
    draft: Draft,
    at: str,
    metric: object,
    bounds: tuple[float | None, float | None],
    words: Mapping[str, str],
    objects: Objects,
) -> list[dict[str, Any]]:
    name, query = safe_get.text(metric, "name"), safe_get.text(metric, "query")
    if ref := safe_get.text(metric, "templateRef", "name"):
        where = safe_get.text(metric, "templateRef", "namespace") or draft.namespace
        template = safe_get.mapping(objects.find("MetricTemplate", ref, where), "spec")
        provider, query = safe_get.text(template, "provider", "type"), safe_get.text(template, "query")
        if not template:
            draft.left_out(at, f"its MetricTemplate {ref} is not in these files: add its file", "spec.guards")
            return []
        if provider != "prometheus":
            draft.left_out(at, f"{provider}: plans ask the HTTP API of Prometheus only", "spec.guards")
            return []
        if not asks(draft, at, safe_get.text(template, "provider", "address")):
            return []
    variables = safe_get.mapping(metric, "templateVariables")
    span = duration(safe_get.value(metric, "interval"))
    text, unknown = _translated(
        query, {**words, **_own(variables), **({"interval": format_duration(span)} if span else {})}
    )
    if unknown or not text:
        reason = f"its query needs {{{{ {unknown} }}}}, which is not known here" if unknown else "it has no query"
        draft.left_out(at, reason, "spec.guards")
        return []
    if "$deployment" in text:
        told = f"{{{{ target }}}} is $deployment, such as {draft.new}: a label such as app has another value"
        draft.changed(at, told, "spec.guards")
    return _bounded(draft, at, name, text, bounds)


def _bounded(
    draft: Draft, at: str, name: str, text: str, bounds: tuple[float | None, float | None]
) -> list[dict[str, Any]]:
    """A guard for each end of the range."""
    text, window = windowed(text)
    guards = []
    for ending, sign, bound in (("low", "<", bounds[0]), ("high", ">", bounds[1])):
        if bound is not None:
            body = {"indicates": "Failure", "query": text, "is": f"{sign} {_plain(bound)}"}
            body |= {"window": window} if window else {}
            both = None not in bounds
            if use := add_template(draft, at, name_of(draft, name, ending if both else ""), body):
                guards.append({"template": use, **draft.told_apart(use)})
    if bounds == (None, None):
        draft.left_out(at, "it has no bound in thresholdRange", "spec.guards")
    return guards


def _own(variables: Raw) -> dict[str, str]:
    return {f"variables.{name}": value for name, value in variables.items() if isinstance(value, str)}


def _translated(query: str, words: Mapping[str, str]) -> tuple[str, str]:
    """The query with our variables, and the first word in it that has no value."""
    unknown: list[str] = []

    def word(found: re.Match[str]) -> str:
        name, side, glued = found[1], found[2] or "", found[3]
        value = words.get(name, "")
        if not value:
            unknown.append(name)
        if name in ("service", "target") and side:
            value, side = ("$service" if side == "-canary" else "$old"), ""
        braced = f"${{{value[1:]}}}" if glued and value.startswith("$") else value
        return f"{braced}{side}"

    text = _VARIABLE.sub(word, query)
    return text, unknown[0] if unknown else ""


# ---- both sides ------------------------------------------------------------------------------------------------------


def _add_workloads(draft: Draft, spec: Raw, target: str, objects: Objects) -> None:
    found = objects.find("Deployment", target, draft.namespace)
    if not safe_get.mapping(found, "spec", "template"):
        words = f"Deployment {target} is not in these files: add its file, or write {draft.old} and {draft.new} by hand"
        draft.to_do("spec.targetRef", words)
        labels: Raw = {"app": target}
    else:
        labels = add_deployments(
            draft, safe_get.mapping(found, "spec"), "spec.targetRef", safe_get.mapping(found, "metadata")
        )
    if (port := safe_get.number(spec, "service", "port")) <= 0:
        draft.to_do(
            "spec.service", f"it has no port: write the Services {draft.old} and {draft.new} by hand", "spec.old"
        )
        return
    inner = safe_get.value(spec, "service", "targetPort")
    name = safe_get.text(spec, "service", "portName") or "http"
    ports = [{"name": name, "port": port, "targetPort": inner if isinstance(inner, int | str) else port}]
    for each, version in ((draft.old, "v1"), (draft.new, "v2")):
        add_service(draft, {"spec": {"ports": ports}}, each, labels, version)
