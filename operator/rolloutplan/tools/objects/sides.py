"""Compare the two sides of a plan with the files: Deployments, Services, what scales them, accounts of Jobs."""

from __future__ import annotations

from collections.abc import Iterator

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.engine.analysis.availability import scaled_to_zero
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.policy.grants import account_of, jobs_of
from rolloutplan.engine.policy.preconditions import service_problems, telling_label
from rolloutplan.tools.objects.manifests import Autoscaler, Note, Objects, PlanFile, hint, warning


def compare_sides(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    """Yield what does not fit between a plan and its Deployments, Services, autoscalers and ServiceAccounts."""
    yield from _missing(plan, objects)
    yield from _deployments(plan, objects, seen)
    yield from _services(plan, objects, seen)
    for scaler in objects.autoscalers:
        if plan.namespace in (scaler.ref.namespace, "") or not scaler.ref.namespace:
            yield from _autoscaler(plan, scaler, objects, seen)
    yield from _accounts(plan, objects)


def _missing(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    home, spec = plan.namespace, plan.spec
    for side, ref, other in (("old", spec.old, spec.new), ("new", spec.new, spec.old)):
        if side == "new" and spec.is_one_deployment:
            return
        path = f"spec.{side}.deployment"
        words = objects.deployments.missing(home, ref.deployment, taken=[other.deployment])
        there = objects.deployments.get(home, ref.deployment) is not None
        if not there and (kind := objects.others.get(home, ref.deployment)):
            words = f"{ref.deployment} is a {kind}, and a side of a plan is a Deployment: name one"
        if words:
            yield warning(None, path, "not-in-files", words)
            if ref.service is None:  # its name follows from this one
                continue
        if spec.replicas is not None:  # the Service is the route
            continue
        if words := objects.services.missing(home, ref.service_name, taken=[other.service_name]):
            if ref.service is None:
                words += f": the Service of a side has the name of its Deployment, unless spec.{side}.service names it"
            yield warning(None, path if ref.service is None else f"spec.{side}.service", "not-in-files", words)


def _deployments(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    spec, home = plan.spec, plan.namespace
    for ref, view in ((spec.old, seen.old), (spec.new, seen.new)):
        if view is None:
            continue
        about = objects.deployments.ref(home, ref.deployment)
        if view.hindered:
            yield warning(about, "spec.paused", "deployment", view.hindered)
        if view.wanted == 0 and ref is spec.old:
            words = f"{view.name} is the old side, and has no replicas: nobody answers before the run"
            yield warning(about, "spec.replicas", "deployment", words)
        elif view.wanted == 0 and spec.expand.scale.new == "None" and spec.replicas is None:
            yield warning(about, "spec.replicas", "deployment", scaled_to_zero(view, ""))
    files = [objects.deployments.get(home, ref.deployment) for ref in (spec.old, spec.new)]
    if spec.is_one_deployment:
        return
    for own, other in ((files[0], files[1]), (files[1], files[0])):
        if own is None or other is None or own.view is None or other.view is None or not own.selector:
            continue
        if own.selector <= other.view.labels:
            words = f"{own.view.name} selects the pods of {other.view.name} too: add "
            words += (
                f"{telling_label(own.view, other.view)} to its labels and its selector, which needs a new Deployment"
            )
            about = objects.deployments.ref(home, own.view.name)
            yield warning(about, "spec.selector", "selector", words)


def _services(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    spec, home = plan.spec, plan.namespace
    found = {}
    for name in spec.services:
        service = objects.services.get(home, name)
        if service is not None and service.view is not None:
            found[name] = service
    if spec.traffic.endpoints == "Verify":
        views = {name: service.view for name, service in found.items() if service.view is not None}
        wrong = dict(service_problems(seen, spec, views))
        for name, problem in wrong.items():
            path = "spec.type" if problem.reason == StatusReason.SERVICE_NOT_USABLE else "spec.selector"
            yield warning(objects.services.ref(home, name), path, "service", problem.message)
        yield from _strangers(plan, objects, set(views) - set(wrong))
    for ref, name in zip((spec.old, spec.new), spec.services, strict=True):
        deployment = objects.deployments.get(home, ref.deployment)
        service = found.get(name)
        if service is None or deployment is None or deployment.view is None:
            continue
        for i, port in enumerate(service.ports):
            if isinstance(port.target, str) and port.target not in deployment.ports:
                has = ", ".join(sorted(deployment.ports)) or "none with a name"
                words = f"no container of {ref.deployment} has a port called {port.target} (it has {has})"
                words += ": the Service would have no endpoints"
                about = objects.services.ref(home, name)
                yield warning(about, f"spec.ports[{i}].targetPort", "service", words)


def _strangers(plan: PlanFile, objects: Objects, names: set[str]) -> Iterator[Note]:
    """Yield the Services of a side that select pods of a third Deployment too."""
    home, spec = plan.namespace, plan.spec
    sides = {spec.services.new: spec.new.deployment, spec.services.old: spec.old.deployment}
    both = (spec.old.deployment, spec.new.deployment)
    for name in sorted(names):
        service, own = objects.services.get(home, name), objects.deployments.get(home, sides[name])
        if service is None or service.view is None or own is None or own.view is None:
            continue
        for other, deployment in objects.deployments.within(home).items():
            if other in both or deployment.view is None or not service.view.selector <= deployment.view.labels:
                continue
            words = f"{objects.services.ref(home, name)} selects the pods of {own.view.name} and of {other}: add "
            words += f"{telling_label(own.view, deployment.view)} to its selector"
            yield warning(objects.services.ref(home, name), "spec.selector", "service", words)
            break


def _autoscaler(plan: PlanFile, scaler: Autoscaler, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    spec = plan.spec
    if spec.replicas is not None:
        if scaler.deployment in (spec.old.deployment, spec.new.deployment):
            words = f"it sets the pods of {scaler.deployment}, whose number is the weight with Replicas: no run starts"
            yield warning(scaler.ref, "spec.scaleTargetRef", "autoscaler", f"{words}; remove it, or use a router")
        return
    if scaler.deployment == spec.new.deployment:
        yield from _of_new(plan, scaler, _size_of_old(plan, objects, seen))
    elif scaler.deployment == spec.old.deployment:
        yield from _of_old(spec, scaler)


def _of_new(plan: PlanFile, scaler: Autoscaler, needs: int) -> Iterator[Note]:
    spec, new = plan.spec, scaler.deployment
    if spec.expand.scale.new != "None":
        words = f"{scaler.ref.kind} {scaler.ref.name} scales {new}, so the run does not: remove one of the two"
        yield warning(None, "spec.expand.scale.new", "autoscaler", words)
    if scaler.least == 0:
        words = f"{new} may be scaled to 0, and then no run starts (NewSideScaledToZero): write 1 or more for the run"
        yield warning(scaler.ref, scaler.field, "autoscaler", words)
        return
    if scaler.least < needs:
        words = (
            f"{new} may have {_pods(scaler.least)}, and {spec.old.deployment} has {needs} or more: a weight waits for"
            f" the pods that {new} wants, not for those that the traffic needs; write {needs} for the run"
        )
        yield hint(scaler.ref, scaler.field, "autoscaler", words)


def _size_of_old(plan: PlanFile, objects: Objects, seen: Snapshot) -> int:
    """The fewest pods that the old side has before a run, as far as the files say; 0 where they do not."""
    name = plan.spec.old.deployment
    least = [scaler.least for scaler in objects.autoscalers if scaler.deployment == name]
    return max(least) if least else seen.old.wanted if seen.old is not None else 0


def _of_old(spec: PlanSpec, scaler: Autoscaler) -> Iterator[Note]:
    old = scaler.deployment
    if spec.contract.scale_old is not None:
        words = f"{scaler.ref.kind} {scaler.ref.name} scales {old}, so the run does not: remove one of the two"
        yield warning(None, "spec.contract.scaleOld", "autoscaler", words)
    if scaler.least == 0:
        words = (
            f"{old} may be scaled to 0 when its traffic leaves: nobody could take it back; write 1 or more for the run"
        )
        yield warning(scaler.ref, scaler.field, "autoscaler", words)
    elif scaler.least < scaler.most:
        needs = spec.availability.old.at_least * scaler.most
        words = f"{old} may shrink to {_pods(scaler.least)} when its traffic leaves: "
        if scaler.least * FULL < needs:
            words += f"below {format_weight(spec.availability.old.at_least)} of the pods with which the run began"
            words += " (availability.old.atLeast) no weight rises, and "
        words += f"a rollback lands on {scaler.least} of up to {scaler.most}; write as many as can take the traffic"
        words += " back, for the run"
        yield hint(scaler.ref, scaler.field, "autoscaler", words)


def _pods(number: int) -> str:
    return f"{number} pod{'s' * (number != 1)}"


def _accounts(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    home = plan.namespace
    for path, template in jobs_of(plan.spec).items():
        name, field = account_of(template), f"{path}.template.spec.template.spec.serviceAccountName"
        words = objects.accounts.missing(home, name) or objects.accounts.get(home, name)
        if words:
            yield warning(None, field, "service-account", words)
