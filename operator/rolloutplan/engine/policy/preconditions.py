"""The preconditions of a run that depend on the cluster: workloads, routes, other plans, metrics, policies.

They are checked in the snapshot, by the rules for the start. None of them affects a rollback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rolloutplan.api.printable import printable
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.reasons import HoldReason, Reason, StatusReason
from rolloutplan.api.route import REPLICAS, RouteId
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import STARTING, Paused, RouteWeights, RuleWeights, Status
from rolloutplan.engine.analysis.availability import scaled_to_zero
from rolloutplan.engine.analysis.traffic_share import NOT_COUNTED, counts_both_sides
from rolloutplan.engine.model.acceptance import acceptance_deadline, settling_routes, unconfirmed
from rolloutplan.engine.model.fence import rule_label
from rolloutplan.engine.model.plan_view import NeedsTemplates, Readable, Unreadable
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.routes import UnusableError, meets_on, rule_words, select_rules
from rolloutplan.engine.model.snapshot import PreflightResult, RouteConflict, ServiceView, Snapshot, WorkloadView
from rolloutplan.engine.model.transitions import TransitionName
from rolloutplan.engine.model.weights import holds_both, rule_share
from rolloutplan.engine.policy.additions import not_possible
from rolloutplan.engine.policy.divisible import check_shares
from rolloutplan.engine.policy.empty_sides import breaking_contract
from rolloutplan.engine.policy.endpoints import IGNORE, no_endpoints, receivers
from rolloutplan.engine.policy.gate import ANSWERS_VALID_FOR, block_on_start, position_in_queue
from rolloutplan.engine.policy.grants import account_of, jobs_of, left_as_it_is, not_granted
from rolloutplan.engine.policy.lost_run import LostRunError, lost_run, may_be_lost, restore_by_hand

ENDPOINTS_WITHIN = timedelta(seconds=10)
"""How long after its pods are ready a Service may have no endpoint: the slices are written by another controller."""
PROBE_EVERY = timedelta(seconds=10)
"""How often the preflight is repeated while its result blocks the start."""


@dataclass(frozen=True, slots=True)
class UnmetPrecondition:
    """Why a run cannot start. `cause` is the transition that reports it; with `asking`, another preflight may help."""

    reason: Reason
    message: str
    cause: TransitionName = TransitionName.REFUSED
    asking: bool = False
    again: datetime | None = None
    """When to check again, where no watch shows a change."""
    quiet: bool = False
    """Whether it is expected to pass by itself soon, so that it is not worth an Event."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))  # compared with what the status has


MAX_BACKENDS: Final = 512
"""Of all rules that a plan moves. Its status holds them three times, and its undo command names each: with this many it
has 150 KiB, of the 256 KiB that an object's annotations may have."""


def unmet_precondition(snapshot: Snapshot) -> UnmetPrecondition | None:
    """The first unmet precondition; None where all are met."""
    match snapshot.plan.content:
        case NeedsTemplates(problem=problem, reason=reason):
            return UnmetPrecondition(reason, problem)
        case Unreadable(problem=problem, reason=reason):
            return UnmetPrecondition(reason, problem)
        case Readable(spec=spec):
            pass
    if snapshot.plan.finalizer:
        return status_lost(snapshot)
    return (
        _paused(snapshot.status)
        or _grants(snapshot, spec)
        or _workloads(snapshot, spec)
        or _routers(snapshot, spec)
        or _route_conflict(snapshot, spec)
        or _routes(snapshot, spec)
        or _preflight(snapshot, spec)
        or _endpoints(snapshot, spec)
        or _acceptance(snapshot, spec)
        or _policy(snapshot)
        or _refused_job(snapshot, spec)
    )


def _grants(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """What the plan asks for and the installation does not lend. It comes before all that a run would begin with."""
    found = not_granted(snapshot.grants, spec, snapshot.old.wanted if snapshot.old else 0)
    if found is None:
        return None
    return UnmetPrecondition(found.reason, "; ".join(filter(None, (found.words, left_as_it_is(snapshot)))))


def _paused(status: Status) -> UnmetPrecondition | None:
    return (
        UnmetPrecondition(HoldReason.PAUSED, paused_words(status.paused), TransitionName.BLOCKED)
        if status.paused
        else None
    )


def paused_words(paused: Paused) -> str:
    reason = f": {paused.reason}" if paused.reason else ""
    return f"paused by {paused.by}{reason}; `resume` ends the pause"


def _policy(snapshot: Snapshot) -> UnmetPrecondition | None:
    blocked = block_on_start(snapshot)
    if blocked is not None:
        return UnmetPrecondition(blocked.reason, blocked.words, TransitionName.BLOCKED, again=blocked.again)
    if words := position_in_queue(snapshot):
        return UnmetPrecondition(
            StatusReason.WAITING, words, TransitionName.BLOCKED, again=snapshot.now + ANSWERS_VALID_FOR
        )
    return None


def _refused_job(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """A Job of exactly this plan that the API server refused: it would refuse it again."""
    status = snapshot.status
    if status.reason == StatusReason.JOB_REFUSED and status.plan_hash == spec.plan_hash():
        return UnmetPrecondition(StatusReason.JOB_REFUSED, status.message)
    return None


def status_lost(snapshot: Snapshot) -> UnmetPrecondition:
    """The status of a run in progress is lost or contradicts itself."""
    fields = f" ({', '.join(snapshot.status.damaged)})" if snapshot.status.damaged else ""
    lost = f"the status of the run was edited or lost{fields}, so the operator no longer changes weights"
    by_hand = f"{restore_by_hand(snapshot)}, then remove the finalizer rolloutplan.dev/restore; or delete the plan"
    try:
        lost_run(snapshot)
    except LostRunError as problem:
        return UnmetPrecondition(StatusReason.STATUS_LOST, f"{lost}: {by_hand} ({problem})")
    plan = f"-n {snapshot.plan.namespace} {snapshot.plan.name}"
    ways = (
        f"`rolloutplan adopt {plan}` takes the run up, held at the present weights; `rolloutplan abort {plan}`, or "
        f"deleting the plan, restores the old ones"
    )
    return UnmetPrecondition(StatusReason.STATUS_LOST, f"{lost}: {ways}; without the operator: {by_hand}")


def _workloads(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    for side, ref, found in (("old", spec.old, snapshot.old), ("new", spec.new, snapshot.new)):
        if found is None:
            name = f"{snapshot.plan.namespace}/{ref.deployment}"
            words = f"Deployment {name} does not exist: create it, or correct spec.{side}.deployment"
            return UnmetPrecondition(StatusReason.DEPLOYMENT_NOT_FOUND, words)
    return None


def _routers(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """A route that is not known, as of a kind that the cluster does not have, or does not let the operator see."""
    for ref in spec.traffic.routes:
        where = f"{ref.kind} {snapshot.plan.namespace}/{ref.name}"
        if (problem := snapshot.routers.get(ref.kind)) is not None:
            return UnmetPrecondition(problem.reason, f"{where}: {problem.words}")
        if (why := snapshot.unread_routes.get(ref.id)) is not None:
            return UnmetPrecondition(StatusReason.ROUTE_UNREADABLE, f"{where}: {why}")
        if (note := snapshot.route_notes.get(ref.id)) is not None:
            return UnmetPrecondition(_reason(note, StatusReason.ROUTE_NOT_OWNED), f"{where}: {note}")
        if ref.id != ref.written and ref.id not in snapshot.routes:
            words = f"{where}: waiting for the operator to make {ref.id} from it"
            return UnmetPrecondition(StatusReason.ROUTE_NOT_OWNED, words, quiet=True)
    return None


def _reason(why: str, otherwise: StatusReason) -> StatusReason:
    """The reason for what cannot be known or done."""
    return StatusReason.FORBIDDEN if isinstance(why, MissingRight) else otherwise


def _routes(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    try:
        routes = select_rules(snapshot)
    except UnusableError as problem:
        return UnmetPrecondition(problem.reason, problem.message)
    (old, new), first = spec.names, spec.steps()[0].permille
    backends = sum(len(rule.backends) for _, rule in _rules(routes))
    if backends > MAX_BACKENDS:
        words = f"the rules that the plan moves have {backends} backends together, of at most {MAX_BACKENDS}"
        return UnmetPrecondition(StatusReason.TOO_LARGE, f"{words}: name fewer routes, or fewer of their rules")
    for route, rule in _rules(routes):
        current = rule_share(rule, old, new)
        if current > first:
            words = (
                f"{rule_words(route.id, rule)}: {new} already has {format_weight(current)} of the traffic, more than "
                f"the weight of the first stage ({format_weight(first)}): lower it there"
                f"{', or start the stages above it' if first else ''}"
            )
            words += _way_out(snapshot, route, rule, spec)
            if may_be_lost(snapshot):
                plan = f"-n {snapshot.plan.namespace} {snapshot.plan.name}"
                words += f"; if a run of this plan was lost in a restore, `rolloutplan adopt {plan}` takes it up"
            return UnmetPrecondition(StatusReason.NEW_SIDE_ALREADY_SERVING, words)
        if words := not_possible(snapshot, spec, routes):
            return UnmetPrecondition(StatusReason.STAGE_NOT_POSSIBLE, words)
        try:
            check_shares(snapshot, spec, route, rule)
        except UnusableError as problem:
            return UnmetPrecondition(problem.reason, problem.message)
    if words := breaking_contract(snapshot, spec):
        return UnmetPrecondition(StatusReason.EMPTY_SIDE_BREAKS_ROUTE, words)
    if words := _never_proved(snapshot, spec):
        return UnmetPrecondition(StatusReason.SHARE_NOT_MEASURED, words)
    return None


def _never_proved(snapshot: Snapshot, spec: PlanSpec) -> str:
    """Why a run could never prove that the traffic follows its weights, as text; empty where it could, or need not."""
    silent = ", ".join(str(view.id) for view in settling_routes(snapshot))
    if not silent or spec.traffic.share == "Ignore" or counts_both_sides(spec):
        return ""
    return f"no gateway reports which weights of {silent} it follows, and {NOT_COUNTED}"


def _acceptance(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """What a gateway has against a route before the run, or that none has answered for it in time.

    A weight would be refused for the same reason, and rolled back. While a gateway may still answer, it is waited for;
    a run that has started goes on meanwhile, and waits before its first weight. The preflight comes first: a Service
    that is missing is why a gateway refuses the route.
    """
    known = snapshot.preflight is not None and snapshot.preflight.judged_hash == spec.judged_hash()
    if snapshot.status.phase not in STARTING and not known:
        return None
    for ref in spec.traffic.routes:
        view = snapshot.routes[ref.id]
        where = f"{ref.kind} {snapshot.plan.namespace}/{ref.name}"
        if view.accepted is False:
            words = (
                f"{where} is not accepted as it is, before any weight has moved: {view.accepted_why or 'refused'}; fix "
                f"that in the route or its gateway, or remove the parent or the rule that it is about"
            )
            return UnmetPrecondition(StatusReason.ROUTE_NOT_ACCEPTED, words)
        if view.accepted or unconfirmed(snapshot, [ref.id]):
            continue
        deadline = acceptance_deadline(snapshot, view)
        words = f"{where}: {view.accepted_why or 'no gateway has answered for it yet'}"
        if snapshot.now >= deadline:
            within = format_duration(spec.traffic.accepted_within)
            fix = "check that its parentRefs name a gateway that runs and admits it"
            return UnmetPrecondition(StatusReason.ROUTE_NOT_ACCEPTED, f"{words}, for longer than {within}: {fix}")
        if snapshot.status.phase not in STARTING:
            reason = StatusReason.ROUTE_NOT_ACCEPTED
            return UnmetPrecondition(reason, f"{words}: waiting for it", again=deadline, quiet=True)
    return None


def _way_out(snapshot: Snapshot, route: RouteWeights, rule: RuleWeights, spec: PlanSpec) -> str:
    """How to leave this rule out of the plan, where the route has other rules; empty where it has none."""
    old, new = spec.names
    view = snapshot.routes[route.id]
    first = spec.steps()[0].permille
    fit = (each for each in view.rules if holds_both(each, old, new) and rule_share(each, old, new) <= first)
    names = ", ".join(rule_label(each) for each in fit if each.index != rule.index)
    fix = f"; if the rollout must leave this rule alone, name the others: traffic.routes[].rules: [{names}]"
    return fix if names else ""


def _rules(routes: Iterable[RouteWeights]) -> Iterator[tuple[RouteWeights, RuleWeights]]:
    return ((route, rule) for route in routes for rule in route.rules)


def end_state(snapshot: Snapshot) -> tuple[RouteWeights, ...]:
    """The routes, where every rule gives the new side exactly what the last stage would; empty where one does not.

    It is also empty while a person or another plan decides about the routes, where the plan cannot be read, and where
    these routes do not have the traffic.
    """
    spec = snapshot.plan.spec
    if spec is None or snapshot.plan.finalizer or snapshot.status.paused or _route_conflict(snapshot, spec):
        return ()
    if any(ref.id in snapshot.route_notes for ref in spec.traffic.routes):
        return ()  # its traffic goes by another route
    try:
        routes = select_rules(snapshot)
    except UnusableError:
        return ()
    (old, new), last = spec.names, spec.steps()[-1].permille
    return routes if all(rule_share(rule, old, new) == last for _, rule in _rules(routes)) else ()


def _route_conflict(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    ours = sorted({route.id for route in spec.traffic.routes})
    for conflict in snapshot.route_conflicts:
        shared = meets_on(snapshot, conflict, ours)
        if conflict.sizes and not shared and _has_priority(conflict, snapshot):
            return UnmetPrecondition(HoldReason.CONFLICT, _sized(conflict), TransitionName.BLOCKED)
        if shared and _has_priority(conflict, snapshot):
            words = _in_use(conflict, shared)
            if any(len(snapshot.routes[route].rules) > 1 for route in shared if route in snapshot.routes):
                words = f"{words}; plans that move other rules run side by side (traffic.routes[].rules)"
            return UnmetPrecondition(HoldReason.CONFLICT, words, TransitionName.BLOCKED)
    return None


def _sized(conflict: RouteConflict) -> str:
    """That another plan sizes the same Deployments, and what to do."""
    sized = ", ".join(sorted(conflict.sizes))
    words = f"Deployment {sized} is sized by plan {conflict.key} too, and its number of pods is a weight ({REPLICAS})"
    fix = "leave expand.scale and contract.scaleOld out of the plan that moves no Replicas"
    return f"{words}: wait until that plan ends, or delete it; or {fix}"


def _in_use(conflict: RouteConflict, shared: Sequence[RouteId]) -> str:
    """That another plan moves these routes, and what to do."""
    routes, ends = ", ".join(map(str, shared)), "wait until that plan ends, or delete it"
    theirs = next((conflict.others[route] for route in shared if route in conflict.others), None)
    if theirs is None:
        return f"{routes} is in use by plan {conflict.key}: {ends}"
    return (
        f"{routes} is one object with {theirs}, which plan {conflict.key} moves, and its weights are moved as one kind "
        f"only: {ends}; or name the same kind in both"
    )


def _has_priority(conflict: RouteConflict, snapshot: Snapshot) -> bool:
    older = (conflict.created, conflict.uid) < (snapshot.plan.created, snapshot.plan.uid)
    if snapshot.status.phase in STARTING:
        return conflict.running and older
    return conflict.running or (conflict.waiting and older)


def _services(snapshot: Snapshot, spec: PlanSpec, probe: PreflightResult) -> UnmetPrecondition | None:
    if spec.traffic.endpoints == "Ignore":
        return None
    return next((problem for _, problem in service_problems(snapshot, spec, probe.services)), None)


def service_problems(
    snapshot: Snapshot, spec: PlanSpec, services: Mapping[str, ServiceView]
) -> Iterator[tuple[str, UnmetPrecondition]]:
    """The Services that cannot be a side, or select other pods than those of their side; those not known are left out.

    Each has its name and what is wrong.
    """
    workloads = ((snapshot.old, snapshot.new), (snapshot.new, snapshot.old))
    for called, (own, other) in zip(spec.services, workloads, strict=True):
        service, name = services.get(called), f"Service {snapshot.plan.namespace}/{called}"
        if service is None:
            continue
        if kind := _unusable(service):
            words = f"{name} {kind}, so it is not known who would get its traffic: name another Service, {IGNORE}"
            yield called, UnmetPrecondition(StatusReason.SERVICE_NOT_USABLE, words, asking=True)
        elif words := _wrong_pods(name, service, own, None if spec.shared_service else other):
            yield called, UnmetPrecondition(StatusReason.SERVICE_SELECTS_WRONG_PODS, words, asking=True)


def _unusable(service: ServiceView) -> str:
    """Why a Service cannot be a side, as text; empty where it can."""
    if service.external:
        return "is of type ExternalName"
    return "is headless" if service.headless else "" if service.selector else "has no selector"


def _wrong_pods(name: str, service: ServiceView, own: WorkloadView | None, other: WorkloadView | None) -> str:
    """That a Service selects other pods than those of its side, as text; empty where it does not."""
    selector = ",".join(f"{key}={value}" for key, value in sorted(service.selector))
    if own is not None and other is not None and service.selector <= own.labels & other.labels:
        fix = f"add {telling_label(own, other)} to its selector"
        return f"{name} selects the pods of {own.name} and of {other.name} ({selector}): {fix}"
    if own is not None and not service.selector <= own.labels:
        words = f"{name} selects {selector}, and the pods of Deployment {own.name} do not have these labels"
        if other is not None and service.selector <= other.labels:
            words = f"{name} selects {selector}: the pods of Deployment {other.name}, and not those of {own.name}"
        return f"{words}: correct its selector, or the labels of the pod template"
    return ""


def telling_label(own: WorkloadView, other: WorkloadView) -> str:
    """A label that only the pods of `own` have, as `version: v1`, or in words where they have none."""
    found = sorted(own.labels - other.labels, key=lambda label: (label[0] not in TELLING, label))
    return f"{found[0][0]}: {found[0][1]}" if found else f"a label that only the pods of {own.name} have"


TELLING: Final = ("version", "app.kubernetes.io/version", "deployment", "release", "track")
"""The labels by which people usually tell versions apart."""


def _endpoints(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """A side that nobody would answer for. The new side has until shortly after its pods are ready."""
    if spec.traffic.endpoints == "Ignore":
        return None
    for each in receivers(snapshot, spec):
        name = f"Service {snapshot.plan.namespace}/{each.service}"
        if each.problem:
            words = f"the endpoints of {name} are not known: {each.problem}; {IGNORE}"
            return UnmetPrecondition(_reason(each.problem, StatusReason.ENDPOINTS_UNKNOWN), words)
        if each.strangers:
            words = f"{name} also sends to {each.strangers}, not to {each.deployment} alone: correct its selector"
            return UnmetPrecondition(StatusReason.SERVICE_SELECTS_WRONG_PODS, words)
        if each.is_down and (each.side == "old" or _has_stood(snapshot, each.workload)):
            fix = "check its selector, its targetPort and the readiness of its pods"
            words = f"{no_endpoints(each)}, so nobody would answer what is sent there: {fix}"
            return UnmetPrecondition(StatusReason.NO_READY_ENDPOINTS, words)
    return None


def _has_stood(snapshot: Snapshot, workload: WorkloadView | None) -> bool:
    """Whether all pods have been ready for so long that they would be endpoints by now."""
    if workload is None or not workload.settled or workload.wanted == 0 or workload.ready < workload.wanted:
        return False
    return workload.ready_since is None or not timedelta(0) <= snapshot.now - workload.ready_since < ENDPOINTS_WITHIN


def _movable(snapshot: Snapshot, spec: PlanSpec, probe: PreflightResult) -> UnmetPrecondition | None:
    """A route whose weights the API server would refuse."""
    for ref in spec.traffic.routes:
        if words := probe.not_movable.get(ref.id):
            where = f"{ref.kind} {snapshot.plan.namespace}/{ref.name}"
            return UnmetPrecondition(StatusReason.FORBIDDEN, f"{where}: {words}", asking=True)
    return None


def _accounts(probe: PreflightResult, spec: PlanSpec) -> UnmetPrecondition | None:
    """A ServiceAccount that the namespace has not named for Jobs."""
    for field, template in jobs_of(spec).items():
        if problem := probe.accounts.get(account_of(template)):
            words = f"{field}.template.spec.template.spec.serviceAccountName: {problem}"
            return UnmetPrecondition(StatusReason.NOT_GRANTED, words, asking=True)
    return None


def _scaled_to_zero(snapshot: Snapshot, spec: PlanSpec, probe: PreflightResult) -> UnmetPrecondition | None:
    new, starts = snapshot.new, snapshot.status.phase in STARTING
    if spec.replicas is not None:
        return _autoscaled(snapshot, probe)
    if new is not None and new.wanted == 0 and spec.expand.scale.new == "None" and not starts:
        return UnmetPrecondition(
            StatusReason.NEW_SIDE_SCALED_TO_ZERO, scaled_to_zero(new, probe.autoscaler), asking=True
        )
    return None


def _autoscaled(snapshot: Snapshot, probe: PreflightResult) -> UnmetPrecondition | None:
    """An autoscaler of either side, where the numbers of pods are the weights: it would move traffic by itself."""
    for name, autoscaler in sorted(probe.autoscalers.items()):
        words = f"{autoscaler} sets the number of pods of Deployment {snapshot.plan.namespace}/{name}"
        fix = "with Replicas that number is the weight: remove the autoscaler for the run, or use a router"
        return UnmetPrecondition(StatusReason.AUTOSCALED, f"{words}, and {fix}", asking=True)
    return None


def _preflight(snapshot: Snapshot, spec: PlanSpec) -> UnmetPrecondition | None:
    """What the preflight found. None before the preflight of exactly this plan; `run_preflight` then waits for it."""
    if snapshot.source is None:
        return UnmetPrecondition(StatusReason.METRIC_SOURCE_NOT_FOUND, snapshot.source_problem)
    probe = snapshot.preflight
    if probe is None or probe.judged_hash != spec.judged_hash():
        return None
    if found := _movable(snapshot, spec, probe):
        return found
    for side, service in spec.services._asdict().items():
        if service not in probe.services:
            name = f"{snapshot.plan.namespace}/{service}"
            fix = "correct spec.traffic.routes" if spec.replicas is not None else f"set spec.{side}.service"
            words = f"Service {name} does not exist: create it, or {fix}"
            return UnmetPrecondition(StatusReason.SERVICE_NOT_FOUND, words, asking=True)
    if found := _accounts(probe, spec) or _scaled_to_zero(snapshot, spec, probe) or _services(snapshot, spec, probe):
        return found
    enforced = {
        predicate.name: f"predicate {predicate.name}" for _, predicate in spec.predicates() if not predicate.dry_run
    }
    enforced |= {assumption.called: assumption.called for assumption in spec.assumptions}
    for name, words in probe.rejected.items():
        if name in enforced:
            return UnmetPrecondition(StatusReason.QUERY_REJECTED, f"{enforced[name]}: {words}", asking=True)
    if probe.down:
        words = f"the metric source does not answer, and a run does not start without metrics: {probe.down}"
        return UnmetPrecondition(HoldReason.METRICS_UNAVAILABLE, words, TransitionName.BLOCKED, asking=True)
    return None
