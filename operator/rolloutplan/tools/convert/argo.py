"""A Rollout of Argo: its steps as stages, its pods as two Deployments, its analyses as predicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.quantities import format_duration
from rolloutplan.tools.convert.argo_analysis import Analysis, read_analyses
from rolloutplan.tools.convert.argo_routes import add_routes
from rolloutplan.tools.convert.draft import CannotConvertError, Draft, Objects, Raw, draft_of, duration
from rolloutplan.tools.convert.judging import add_usual_guards
from rolloutplan.tools.convert.sides import add_deployments, add_service
from rolloutplan.tools.convert.testers import match_of, mirror_of, told

_CANARY: Final = "spec.strategy.canary"
_SHORTEST: Final = timedelta(minutes=1)
"""The soak of a step at which the Rollout does not wait: so long, at least, until the guards have looked."""
_SPEC: Final = (
    "replicas",
    "selector",
    "template",
    "workloadRef",
    "minReadySeconds",
    "revisionHistoryLimit",
    "progressDeadlineSeconds",
    "strategy",
)
_SPEC_LEFT: Final = {
    "analysis": "records of runs are kept by their number: recordsKept",
    "paused": "annotate the plan to pause a run: rolloutplan pause",
    "progressDeadlineAbort": "new pods that are not ready in time are always rolled back: availability.readyWithin",
    "restartAt": "restart a Deployment with kubectl rollout restart",
    "rollbackWindow": "to go back is a release like any other, in the next plan",
}
_CANARY_READ: Final = (
    "steps",
    "analysis",
    "trafficRouting",
    "stableService",
    "canaryService",
    "canaryMetadata",
    "stableMetadata",
)
_CANARY_LEFT: Final = {
    "maxSurge": "both sides are Deployments with a number of pods of their own: expand.scale sizes the new one",
    "maxUnavailable": "both sides are Deployments of their own: availability says what is required of their pods",
    "antiAffinity": "write podAntiAffinity into the pod templates",
    "dynamicStableScale": "the old side keeps its pods until contract, so that a rollback finds them",
    "pingPong": "name the Services of both sides as old.service and new.service; rolloutplan next changes them over",
    "abortScaleDownDelaySeconds": "the new side keeps its pods after a rollback",
    "scaleDownDelaySeconds": "the old side keeps its pods: contract.scaleOld removes them after bake",
    "scaleDownDelayRevisionLimit": "the old side keeps its pods: contract.scaleOld removes them after bake",
    "minPodsPerReplicaSet": "write the number of pods into the Deployments",
}
_EVERY_PATH: Final = {"path": {"prefix": "/"}}
_STEPS_LEFT: Final = {
    "setCanaryScale": "expand.scale sizes the new side before any traffic",
    "experiment": "write a Job under assumptions or expand.jobs, or a stage with mirror: docs/writing-a-plan.md",
    "setHeaderRoute": "one header with an exact value, or one cookie, before all weights would be a stage with match, "
    "where the kind of route can",
    "setMirrorRoute": "a mirror of all requests before all weights would be a stage with mirror, "
    "where the kind of route can",
    "plugin": "plug-ins of steps are not known here: a Job under expand.jobs runs before any traffic",
    "replicaProgressThreshold": "availability.minReady says how many pods must stay ready",
}


def convert_rollout(raw: Raw, objects: Objects) -> Draft:
    """Raises CannotConvertError where no plan does what the Rollout does."""
    draft, spec = draft_of(raw), safe_get.mapping(raw, "spec")
    strategy = safe_get.mapping(spec, "strategy")
    draft.leave_out(spec, "spec", _SPEC_LEFT, _SPEC)
    draft.leave_out(strategy, "spec.strategy", {}, ("canary", "blueGreen"))
    draft.spec |= {"old": {"deployment": draft.old}, "new": {"deployment": draft.new}}
    if isinstance(strategy.get("canary"), Mapping):
        services = _canary(draft, strategy["canary"], objects)
    elif isinstance(strategy.get("blueGreen"), Mapping):
        services = _blue_green(draft, strategy["blueGreen"], objects)
    else:
        raise CannotConvertError("spec.strategy has neither canary nor blueGreen: it says no steps")
    kind = draft.spec["traffic"]["routes"][0]["kind"]
    add_usual_guards(draft, kind)
    if (seconds := duration(spec.get("progressDeadlineSeconds"))) is not None:
        draft.spec["availability"] = {"readyWithin": format_duration(seconds)}
    _workloads(draft, raw, objects, {} if kind == "Replicas" else services)
    return draft


# ---- canary ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Step:
    """One weight, and what is waited for and judged at it."""

    weight: int
    path: str
    without_weight: Mapping[str, Any] = field(default_factory=dict)
    """The match or the mirror that it has instead of a weight."""
    approval: bool = False
    soak: timedelta = timedelta()
    passing: list[dict[str, Any]] = field(default_factory=list)
    failing: list[dict[str, Any]] = field(default_factory=list)

    def stage(self, draft: Draft, number: int) -> dict[str, Any]:
        if self.soak < _SHORTEST:
            words = f"the Rollout waits {format_duration(self.soak)} here; the guards need a minute to look"
            draft.changed(self.path, words, f"spec.stages[{number}].soak")
        share: Mapping[str, Any] = {"weight": f"{self.weight}%"}
        if only := self.without_weight:
            share = {"name": f"{'mirror' if 'mirror' in only else 'testers'}-{number + 1}", **only}
        raw: dict[str, Any] = {**share, "soak": format_duration(max(self.soak, _SHORTEST))}
        if self.approval:
            raw["approval"] = "Required"
        return raw | ({"pass": self.passing} if self.passing else {}) | ({"fail": self.failing} if self.failing else {})


def _canary(draft: Draft, canary: Raw, objects: Objects) -> Mapping[str, str]:
    draft.leave_out(canary, _CANARY, _CANARY_LEFT, _CANARY_READ)
    if not safe_get.items(canary, "steps"):
        words = "has no steps, as the rolling update of a Deployment: write a Deployment, or steps"
        raise CannotConvertError(f"{_CANARY} {words}")
    services = {
        "old": safe_get.text(canary, "stableService"),
        "new": safe_get.text(canary, "canaryService"),
    }
    if safe_get.mapping(canary, "trafficRouting"):
        _name_services(draft, services)
    add_routes(draft, canary, services, objects)
    steps = _steps(draft, safe_get.items(canary, "steps"), objects)
    draft.spec["stages"] = [step.stage(draft, i) for i, step in enumerate(steps)]
    if "analysis" in canary:
        _background(draft, canary["analysis"], f"{_CANARY}.analysis", objects)
    return services


def _steps(draft: Draft, raws: Any, objects: Objects) -> list[_Step]:
    steps: list[_Step] = []
    wanted = False  # an answer of a person, before the next weight
    for i, raw in enumerate(raws):
        for verb, value in raw.items() if isinstance(raw, Mapping) else ():
            path = f"{_CANARY}.steps[{i}].{verb}"
            now = steps[-1] if steps else None
            at = f"spec.stages[{len(steps) - 1}]" if steps else "spec.stages"
            if verb == "setWeight":
                if step := _weight(draft, value, now, path, wanted=wanted):
                    steps.append(step)
                    wanted = False
            elif only := _without_weight(draft, verb, value, now):
                steps.append(_Step(0, path, only, wanted))
                wanted = False
            elif verb == "pause":
                wanted |= _pause(draft, value, now, path)
            elif verb == "analysis" and now is not None:
                _judged(draft, value, now, path, objects)
            elif verb == "analysis":
                words = "there is no traffic to judge before the first weight: write it under assumptions"
                draft.left_out(path, words, at)
            elif not _ends_mirror(verb, value):
                draft.left_out(path, _STEPS_LEFT.get(verb, "this step is not known to the converter"), at)
    _to_the_end(draft, steps, wanted=wanted)
    return steps


def _to_the_end(draft: Draft, steps: list[_Step], *, wanted: bool) -> None:
    """Add the step to all of the traffic, which a Rollout takes by itself; `wanted`: a person is to answer first."""
    if not steps or steps[-1].weight < 100:
        steps.append(_Step(100, f"{_CANARY}.steps", approval=wanted))
        words = "after the last step a Rollout gives all to the new side"
        draft.changed(f"{_CANARY}.steps", words, f"spec.stages[{len(steps) - 1}]")
    elif wanted:
        words = "a pause after the last weight: write contract.approval to be asked before the old side is removed"
        draft.left_out(f"{_CANARY}.steps", words, f"spec.stages[{len(steps) - 1}]")


def _without_weight(draft: Draft, verb: object, value: object, now: _Step | None) -> Mapping[str, Any]:
    """The match or the mirror of a stage; empty after the first weight, and where there can be none."""
    rules = safe_get.items(value, "match") if now is None or now.without_weight else ()
    if verb == "setHeaderRoute":
        headers = (told(safe_get.text(rule, "headerName"), safe_get.value(rule, "headerValue")) for rule in rules)
        match = match_of(draft, headers)
        return {"match": match} if match else {}
    if verb == "setMirrorRoute" and rules and all(rule == _EVERY_PATH for rule in rules):
        percent = safe_get.value(value, "percentage")
        mirror = mirror_of(draft, 100 if percent is None else percent)
        return {"mirror": mirror} if mirror else {}
    return {}


def _ends_mirror(verb: object, value: object) -> bool:
    """Whether a step ends a mirror, as the end of its stage does in a plan."""
    return verb == "setMirrorRoute" and "match" not in safe_get.mapping(value)


def _weight(draft: Draft, value: object, before: _Step | None, path: str, *, wanted: bool) -> _Step | None:
    last = before.weight if before is not None else 0
    if not isinstance(value, int) or isinstance(value, bool) or not last < value <= 100:
        if value != 0 or before is not None:
            draft.left_out(path, f"weights of a plan rise up to 100: {value} does not come after {last}", "spec.stages")
        return None
    return _Step(value, path, approval=wanted)


def _pause(draft: Draft, value: object, now: _Step | None, path: str) -> bool:
    """Add the time of a pause; return whether it waits for a person."""
    if safe_get.value(value, "duration") in (None, 0, "0", "0s"):
        words = "it waits until somebody promotes; here the next stage waits for rolloutplan approve"
        draft.changed(path, words, "spec.stages")
        return True
    time = duration(safe_get.value(value, "duration"))
    if time is None or now is None:
        reason = "is no time" if time is None else "is before the first weight, where nothing is to be waited for"
        draft.left_out(path, f"it {reason}", "spec.stages")
        return False
    now.soak += time
    return False


def _judged(draft: Draft, value: object, now: _Step, path: str, objects: Objects) -> None:
    found = read_analyses(draft, value, path, objects, Analysis.STEP)
    now.passing += found.passing
    now.failing += found.failing
    now.soak += found.lasts


def _background(draft: Draft, value: object, path: str, objects: Objects) -> None:
    found = read_analyses(draft, value, path, objects, Analysis.BACKGROUND)
    draft.spec.setdefault("guards", []).extend(found.failing)
    if "startingStep" in safe_get.mapping(value):
        draft.left_out(f"{path}.startingStep", "guards are on from the first weight", "spec.guards")


# ---- blue and green --------------------------------------------------------------------------------------------------

_GREEN: Final = "spec.strategy.blueGreen"
_GREEN_READ: Final = (
    "activeService",
    "previewService",
    "autoPromotionEnabled",
    "postPromotionAnalysis",
    "activeMetadata",
    "previewMetadata",
)
_GREEN_LEFT: Final = {
    "autoPromotionSeconds": "an approval has no end: the run waits for it with the old side serving",
    "prePromotionAnalysis": "nobody uses the new side before the weight: write a Job under assumptions, "
    "or a stage with mirror or match before the weight, with pass",
    "previewReplicaCount": "expand.scale sizes the new side before the traffic",
    "scaleDownDelaySeconds": "the old side keeps its pods: contract.scaleOld removes them after bake",
    "scaleDownDelayRevisionLimit": "the old side keeps its pods: contract.scaleOld removes them after bake",
    "antiAffinity": "write podAntiAffinity into the pod templates",
    "abortScaleDownDelaySeconds": "the new side keeps its pods after a rollback",
    "maxUnavailable": "both sides are Deployments of their own: availability says what is required of their pods",
}


def _blue_green(draft: Draft, green: Raw, objects: Objects) -> Mapping[str, str]:
    """One stage of 100 %: the whole traffic at once. What it switches is a route, and no selector of a Service."""
    draft.leave_out(green, _GREEN, _GREEN_LEFT, _GREEN_READ)
    services = {"old": safe_get.text(green, "activeService"), "new": safe_get.text(green, "previewService")}
    _name_services(draft, services)
    draft.spec["traffic"] = {"routes": [{"kind": "HTTPRoute", "name": draft.base}]}
    words = "a Rollout changes the selector of this Service; a plan moves weights on a route: write one"
    draft.to_do(f"{_GREEN}.activeService", f"{words} with both Services", "spec.traffic.routes[0]")
    stage: dict[str, Any] = {"weight": "100%", "soak": "5m"}
    if green.get("autoPromotionEnabled") is not False:
        draft.changed(_GREEN, "it is promoted as soon as the new pods are ready, and so is the plan", "spec.stages[0]")
    else:
        stage["approval"] = "Required"
    draft.spec["stages"] = [stage]
    draft.changed(
        _GREEN, "weights in between are what a plan adds: 5 % shows a fault to 5 % of the users", "spec.stages[0]"
    )
    if "postPromotionAnalysis" in green:
        _background(draft, green["postPromotionAnalysis"], f"{_GREEN}.postPromotionAnalysis", objects)
    if not services["new"]:
        draft.to_do(
            _GREEN, f"it has no previewService: the new side needs a Service of its own, {draft.new}", "spec.new"
        )
    return services


# ---- both sides ------------------------------------------------------------------------------------------------------


def _workloads(draft: Draft, raw: Raw, objects: Objects, services: Mapping[str, str]) -> None:
    spec, path = safe_get.mapping(raw, "spec"), "spec"
    metadata = safe_get.mapping(raw, "metadata")
    if name := safe_get.text(spec, "workloadRef", "name"):
        found = objects.find("Deployment", name, draft.namespace)
        metadata, path = safe_get.mapping(found, "metadata"), "spec.workloadRef"
        kept = {each: spec[each] for each in ("replicas",) if spec.get(each) is not None}
        spec = {**safe_get.mapping(found, "spec"), **kept}
    if not safe_get.mapping(spec, "template"):
        words = f"its pod template is not in these files: add its file, or write {draft.old} and {draft.new} by hand"
        draft.to_do(path, words)
        labels: Raw = {}
    else:
        strategy = safe_get.mapping(raw, "spec", "strategy")
        canary, green = safe_get.mapping(strategy, "canary"), safe_get.mapping(strategy, "blueGreen")
        also = (
            safe_get.mapping(canary, "stableMetadata") or safe_get.mapping(green, "activeMetadata"),
            safe_get.mapping(canary, "canaryMetadata") or safe_get.mapping(green, "previewMetadata"),
        )
        labels = add_deployments(draft, spec, path, metadata, also)
    shared = safe_get.text(draft.spec["traffic"]["routes"][0], "old").partition("/")[0].partition(".")[0]
    for side, version in (("old", "v1"), ("new", "v2")):
        if name := services.get(side, ""):
            _service(draft, name, labels, version, objects.find("Service", name, draft.namespace))
        elif services and (original := objects.find("Service", shared, draft.namespace)) and labels:
            add_service(draft, original, safe_get.text(draft.spec, side, "deployment"), labels, version)


def _name_services(draft: Draft, services: Mapping[str, str]) -> None:
    for side, name in services.items():
        draft.spec[side] |= {"service": name} if name else {}


def _service(draft: Draft, name: str, labels: Raw, version: str, original: Raw) -> None:
    if original and labels:
        add_service(draft, original, name, labels, version)
    else:
        words = f"the Rollout selects for the Service {name}: write version: {version} into its selector"
        draft.to_do("spec.strategy", words, "spec.old" if version == "v1" else "spec.new")
