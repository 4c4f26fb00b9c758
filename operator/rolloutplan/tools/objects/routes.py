"""Compare the routes of a plan with the files: their rules, backends, weights and ports, and who else sends traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rolloutplan.api.abilities import first_lacking
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import FEATURE_FLAG, HTTP_ROUTE, REPLICAS, RouteId, owned_name
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.stage import FULL
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.api.traffic import RouteRef
from rolloutplan.engine.model.fence import rule_label
from rolloutplan.engine.model.routes import UnusableError, select_in
from rolloutplan.engine.model.snapshot import RouteView, Snapshot
from rolloutplan.engine.model.weights import gives, rule_share
from rolloutplan.engine.policy.additions import rules_cannot
from rolloutplan.engine.policy.divisible import check_shares, unheld_by_kind
from rolloutplan.tools.objects.manifests import Note, Objects, PlanFile, Ref, RouteFile, RuleFile, hint, warning

SWAPPED: Final = "swapped-sides"


def compare_routes(plan: PlanFile, objects: Objects, seen: Snapshot) -> Iterator[Note]:
    """Yield what does not fit between a plan, its routes and their Services, and who else uses the old one."""
    for i, ref in enumerate(plan.spec.traffic.routes):
        there = objects.services if ref.kind == REPLICAS else objects.routes_of(ref.kind)
        if words := there.missing(plan.namespace, ref.name):
            yield warning(None, f"spec.traffic.routes[{i}].name", "not-in-files", words)
        yield from _other_ownership(plan, objects, ref)
        found = objects.routes_of(ref.kind).get(plan.namespace, ref.name)
        if found is not None and found.view is not None:
            yield from _route(plan, objects, seen, i, found, replace(found.view, id=ref.id))
    if plan.spec.replicas is not None:
        yield from _by_pods(plan, seen)
    if not plan.spec.shared_service:
        yield from _senders(plan, objects)


def _other_ownership(plan: PlanFile, objects: Objects, ref: RouteRef) -> Iterator[Note]:
    """Yield a plan of the same route with the other ownership: where one of them runs, the other cannot."""
    owns = plan.spec.traffic.ownership == "Owned"
    theirs = ref.written if owns else RouteId(ref.kind, owned_name(ref.name))
    for other in objects.plans_by.get((plan.namespace, theirs), ())[:1] if ref.kind == HTTP_ROUTE else ():
        both = ("has the operator make a route of its own from", "moves the weights of")
        here, there = both if owns else both[::-1]
        words = (
            f"this plan {here} {ref.written}, and {other.ref} {there} that one: neither begins while the other runs or "
            "its weights are not in Git; write the same in both, or remove the one whose release is over"
        )
        yield warning(None, "spec.traffic.ownership", "ownership", words)


def _by_pods(plan: PlanFile, seen: Snapshot) -> Iterator[Note]:
    """Yield the first stage whose share no number of pods has, where the files say how many the old side has."""
    pods = (seen.old.wanted if seen.old else 0) + (seen.new.wanted if seen.new else 0)
    if not seen.old or not pods:
        return
    kind = WeightRules(missing=0, max=pods, sum=pods)
    for stage in plan.spec.steps():
        if words := unheld_by_kind(kind, stage, *plan.spec.names):
            yield warning(None, f"spec.stages[{stage.entry}]", "weight", f"with {pods} pods of both sides {words}")
            return


def _route(
    plan: PlanFile, objects: Objects, seen: Snapshot, i: int, found: RouteFile, view: RouteView
) -> Iterator[Note]:
    ref = plan.spec.traffic.routes[i]
    old, new = plan.spec.names
    about = objects.routes_of(ref.kind).ref(plan.namespace, ref.name)
    rules: tuple[RuleWeights, ...] = ()
    if plan.spec.traffic.ownership == "Owned" and found.not_ownable:
        words = f"{ref.written}: {found.not_ownable}"
        yield warning(None, f"spec.traffic.routes[{i}]", "not-ownable", words)
    try:
        rules = select_in(seen, ref, old, new).rules
    except UnusableError as problem:
        if problem.reason != StatusReason.NO_TRAFFIC_TO_SHIFT or not objects.bringing(
            plan.namespace, plan.spec.old.deployment
        ):
            yield warning(None, f"spec.traffic.routes[{i}]", "route", problem.message + _elsewhere(view, old, new))
    for rule in rules:
        yield from _first_weight(plan, objects, rule, found, about)
        yield from _shares(plan, seen, i, view, rule)
    yield from _additions(plan, i, view, rules)
    for rule in () if ref.kind == FEATURE_FLAG else rules or view.rules:  # variants are no Services
        yield from _backends(plan, objects, ref, found, found.rules[rule.index])
    if rules and not ref.rules:
        moved = {rule.index for rule in rules}
        for rule in view.rules:
            if rule.index not in moved and gives(rule, old, view.weights):
                words = f"rule {rule_label(rule)} sends to {old} alone: its requests stay there"
                yield _stays(plan, about, found.rules[rule.index].path, words, f"add {new} with weight: 0 to it")


def _shares(plan: PlanFile, seen: Snapshot, i: int, view: RouteView, rule: RuleWeights) -> Iterator[Note]:
    """Yield a share that this rule cannot hold, because of other backends, though its kind could."""
    steps, names = plan.spec.steps(), plan.spec.names
    if any(unheld_by_kind(view.weights, step, *names) for step in steps):
        return  # the description says so, without any route
    try:
        check_shares(seen, plan.spec, RouteWeights(kind=view.id.kind, name=view.id.name), rule)
    except UnusableError as problem:
        yield warning(None, f"spec.traffic.routes[{i}]", "too-fine", problem.message)


def _additions(plan: PlanFile, i: int, view: RouteView, rules: tuple[RuleWeights, ...]) -> Iterator[Note]:
    """Yield what these rules cannot have in addition to weights, though their kind could."""
    if first_lacking(plan.spec.steps(), view.can) is None:  # else the description says so, without any route
        route = RouteWeights(kind=view.id.kind, name=view.id.name, rules=rules)
        if words := rules_cannot(view, plan.spec, route):
            yield warning(None, f"spec.traffic.routes[{i}]", "stage-not-possible", words)


def _elsewhere(view: RouteView, old: str, new: str) -> str:
    """That a side is a backend of another namespace, where it is: a plan moves between Services of its own."""
    for rule in view.rules:
        for backend in rule.backends:
            kind, _, rest = backend.service.partition("/")
            namespace, _, name = rest.partition("/")
            if name in (old, new):
                return f"; its {kind} {name} is of namespace {namespace}, and both must be of the plan's"
    return ""


def _first_weight(plan: PlanFile, objects: Objects, rule: RuleWeights, found: RouteFile, about: Ref) -> Iterator[Note]:
    """Yield what the new side gets before any run."""
    (old, new), first = plan.spec.names, plan.spec.steps()[0].permille
    at = next(i for i, backend in enumerate(rule.backends) if backend.service == new)
    written, path = found.rules[rule.index].backends[at], found.rules[rule.index].backends[at].weight_path
    share = rule_share(rule, old, new)
    if not written.has_weight and share:
        words = (
            f"{new} has no weight, which counts as {rule.backends[at].weight}: it gets {format_weight(share)} of the"
            f" traffic before any plan; write weight: 0"
        )
        yield warning(about, written.path, "first-weight", words)
    elif share == plan.spec.steps()[-1].permille:
        yield _ended(plan, objects, about, path, share)
    elif share > first:
        words = (
            f"{new} has {format_weight(share)} of the traffic before the run, more than the first stage gives it"
            f" ({format_weight(first)}): write weight: 0{', or begin the stages above it' if first else ''}"
        )
        yield warning(about, path, "first-weight", words)
    elif share:
        words = f"{new} has {format_weight(share)} of the traffic before the run: write weight: 0, unless that is meant"
        yield hint(about, path, "first-weight", words)


def _ended(plan: PlanFile, objects: Objects, about: Ref, path: str, permille: int) -> Note:
    """Say that the new side has its last weight already: right in Git after a success, and wrong before any run."""
    sides, part = plan.spec, "all" if permille == FULL else format_weight(permille)
    said = f"{sides.new.service_name} has {part} of the traffic in {about.kind} {about.name}"
    swapped = "old and new are swapped, and the plan judges nothing"
    for other in objects.bringing(plan.namespace, sides.old.deployment):
        if other.spec.old.deployment == sides.new.deployment:
            words = f"{said}, and {other.ref} goes the other way: remove {plan.ref} if that release is over; if not, "
            return warning(about, path, SWAPPED, words + swapped)
    return hint(about, path, SWAPPED, f"{said}: if this release has not run yet, {swapped}")


def _backends(plan: PlanFile, objects: Objects, ref: RouteRef, found: RouteFile, rule: RuleFile) -> Iterator[Note]:
    home, about = plan.namespace, objects.routes_of(ref.kind).ref(plan.namespace, ref.name)
    sides = {*plan.spec.services, *plan.spec.called(ref)}
    for backend in rule.backends:
        if "/" in backend.service:  # not a Service of this namespace
            continue
        if backend.service not in sides and (words := objects.services.missing(home, backend.service)):
            yield warning(about, backend.name_path, "not-in-files", words)
        service = objects.services.get(home, backend.service)
        if not backend.port:
            if found.needs_ports:
                words = f"{backend.service} has no port here: write that of the Service"
                yield warning(about, backend.path, "port", words)
        elif service is not None and service.ports and backend.port not in (ports := [p.port for p in service.ports]):
            has = ", ".join(map(str, ports))
            words = f"Service {backend.service} has no port {backend.port} (it has {has}): write one that it has"
            yield warning(about, f"{backend.path}.port", "port", words)


def _senders(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    """Yield what else sends to the old Service: the plan does not move it, and cannot remove the old side before."""
    home, old = plan.namespace, plan.spec.old.service_name
    named = {ref.written for ref in plan.spec.traffic.routes}
    for kind, shelf in objects.routes.items():
        for name, route in shelf.within(home).items():
            if route.view is None or RouteId(kind, name) in named:
                continue
            weights = route.view.weights
            rule = next((rule for rule in route.view.rules if gives(rule, old, weights)), None)
            if rule is not None:
                words = f"{Ref(kind, '', name)} sends to {old} too, and the plan does not move that"
                path = route.rules[rule.index].path
                yield _stays(plan, shelf.ref(home, name), path, words, "name it in traffic.routes")
    moved = _moved(plan, objects) | (frozenset() if plan.spec.contract.wanted else companions(plan, objects))
    for sender in objects.senders:
        if sender.ref in moved:
            continue
        if old in sender.services and (sender.ref.namespace in (home, "") or not home):
            words = f"{sender.ref.kind} {sender.ref.name} sends to {old} too, and a plan cannot move that"
            fix = f"send it through the {plan.spec.traffic.routes[0].kind}"
            yield _stays(plan, sender.ref, "spec", words, fix)


def companions(plan: PlanFile, objects: Objects) -> frozenset[Ref]:
    """The objects with the rest of what the routes of a plan give the new side: these move with them."""
    return frozenset().union(*(route.companions for route in _routes(plan, objects)))


def _moved(plan: PlanFile, objects: Objects) -> frozenset[Ref]:
    """The objects that the plan moves, called as the cluster calls them: an AlbIngress is an Ingress."""
    read = (route.view.reference for route in _routes(plan, objects) if route.view is not None)
    return frozenset(Ref(each["kind"], each.get("namespace", ""), each["name"]) for each in read)


def _routes(plan: PlanFile, objects: Objects) -> Iterator[RouteFile]:
    """The routes of a plan that are in the files."""
    found = (objects.routes_of(ref.kind).get(plan.namespace, ref.name) for ref in plan.spec.traffic.routes)
    return (route for route in found if route is not None)


def _stays(plan: PlanFile, about: Ref, path: str, words: str, fix: str) -> Note:
    """Say that traffic stays on the old side: a warning where the plan removes that side."""
    if plan.spec.contract.wanted:
        return warning(about, path, "stays-on-old", f"{words}, so the old side is not removed: {fix}")
    return hint(about, path, "stays-on-old", f"{words}: {fix}, or leave it if that is meant")
