"""Compare a plan with what it does not name: further Services of its pods, and autoscalers of nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.policy.preconditions import TELLING, telling_label
from rolloutplan.tools.objects.manifests import Note, Objects, PlanFile, hint, versions, warning


def compare_others(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    """Yield the Services and autoscalers of the plan's namespace that do not do what they are there for."""
    yield from _services(plan, objects, seen)
    yield from _autoscalers(plan, objects)


def _services(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    home, spec = plan.namespace, plan.spec
    for name, service in objects.services.within(home).items():
        about = objects.services.ref(home, name)
        if "." in name:
            words = f"{name} is not a name for a Service, because it has a dot: write {name.replace('.', '-')}"
            yield warning(about, "metadata.name", "service", words)
        if name in spec.services or service.view is None or service.view.external:
            continue
        selector = service.view.selector
        if not selector or name in objects.mesh_services:
            continue
        if not service.view.headless and seen.old and seen.new and selector <= seen.old.labels & seen.new.labels:
            words = f"{about} selects the pods of {seen.old.name} and of {seen.new.name}: it sends its callers to both"
            words += f" at once, also before the plan; add {telling_label(seen.old, seen.new)} to its selector"
            yield warning(about, "spec.selector", "service", words)
        elif lost := _lost(selector, objects, home):
            words = f"{about} selects no pods of the Deployments among these files ({_shown(selector)}), and"
            words += f" {lost.name} has another version: name its pods, or remove the Service"
            yield warning(about, "spec.selector", "service", words)


def _lost(selector: frozenset[tuple[str, str]], objects: Objects, home: str) -> WorkloadView | None:
    """A Deployment of another version than a selector that no Deployment has in whole: its own has gone."""
    views = [each.view for each in objects.deployments.within(home).values() if each.view is not None]
    if any(selector <= view.labels for view in views):
        return None
    return next((view for view in views if _of_another_version(selector, view.labels)), None)


def _of_another_version(selector: frozenset[tuple[str, str]], labels: frozenset[tuple[str, str]]) -> bool:
    values = dict(labels)
    differ = [(name, value) for name, value in selector - labels if name in values]
    if len(differ) < len(selector - labels) or not selector & labels:
        return False
    return all(name in TELLING or versions(value, values[name]) for name, value in differ)


def _shown(selector: frozenset[tuple[str, str]]) -> str:
    return ", ".join(f"{label}={value}" for label, value in sorted(selector))


def _autoscalers(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    home, spec = plan.namespace, plan.spec
    own = [each for each in objects.autoscalers if home in (each.ref.namespace, "") or not each.ref.namespace]
    for scaler in own:
        if words := objects.deployments.missing(home, scaler.deployment):
            yield warning(scaler.ref, "spec.scaleTargetRef.name", "autoscaler", f"scales nothing: {words}")
        scaled = objects.deployments.get(home, scaler.deployment)
        if scaled is not None and scaled.view is not None and scaled.has_replicas:
            words = f"{scaler.ref} scales {scaled.view.name}, and each apply of this file sets its replicas to"
            words += f" {scaled.view.wanted} again: leave replicas out"
            yield hint(objects.deployments.ref(home, scaler.deployment), "spec.replicas", "autoscaler", words)
    old, new = spec.old.deployment, spec.new.deployment
    of_old = next((each for each in own if each.deployment == old), None)
    alone = of_old is not None and not any(each.deployment == new for each in own)
    if of_old is not None and alone and spec.expand.scale.new == "None" and objects.deployments.get(home, new):
        words = f"{of_old.ref} scales {old}, and nothing among these files scales {new}: it keeps its number of pods"
        yield warning(None, "spec.new.deployment", "autoscaler", f"{words} at all weights; write an autoscaler for it")
