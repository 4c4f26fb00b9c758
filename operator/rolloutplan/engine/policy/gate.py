"""The gate before every increase: a person's approval, policies, ready pods, and alerts that already fire.

An alert that fires before a step says nothing against the new side, but the step must wait. The gate does not affect a
rollback: only rules that go forward use it. They read the answers of its queries from the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from rolloutplan.api.quantities import format_weight, parse_is
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import STARTING
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.actions import QueryOnce
from rolloutplan.engine.model.policy_view import At
from rolloutplan.engine.model.queries import AlertQuery, ValueQuery
from rolloutplan.engine.model.snapshot import Snapshot, WorkloadView
from rolloutplan.engine.policy.blocked import Blocked
from rolloutplan.engine.policy.committed import block_by_appliers
from rolloutplan.engine.policy.demands import CONTRACT, demands_approval, title_of, unmet_demand
from rolloutplan.engine.policy.divisible import block_by_division
from rolloutplan.engine.policy.endpoints import block_on_increase, block_on_removal, receiver, verifies
from rolloutplan.engine.policy.policies import (
    concurrency_groups,
    longest_freeze,
    next_change,
    queue_position,
    unreadable_policy,
)
from rolloutplan.engine.policy.seal import seal_of
from rolloutplan.stats.verdict import Outcome, Verdict

ANSWERS_VALID_FOR = timedelta(seconds=10)
"""The greatest age of the answers to the gate's queries."""
_NONE = parse_is("== 0")
GATED = frozenset(
    {
        HoldReason.AWAITING_APPROVAL,
        HoldReason.FROZEN,
        HoldReason.BUDGET_SPENT,
        HoldReason.NO_PLACE,
        HoldReason.POLICY_NOT_MET,
        HoldReason.CAPACITY,
        HoldReason.OLD_SIDE_SHORT,
        HoldReason.OLD_SIDE_IN_USE,
        HoldReason.WEIGHTS_NOT_COMMITTED,
    }
)
"""The reasons of a hold that come from the gate."""


def block_on_start(snapshot: Snapshot) -> Blocked | None:
    """Why policies block a run that has not moved any weight yet; None where they do not."""
    if words := unreadable_policy(snapshot.policies):
        return Blocked(HoldReason.FROZEN, words)
    if snapshot.status.phase in STARTING:
        return None
    return _unmet_demand(snapshot, begun=0) or _frozen(snapshot)


def _unmet_demand(snapshot: Snapshot, *, begun: int) -> Blocked | None:
    """What policies demand and the plan does not have, from its first step that has not `begun`."""
    spec = snapshot.plan.spec
    words = unmet_demand(snapshot, spec, begun) if spec is not None else ""
    return Blocked(HoldReason.POLICY_NOT_MET, words) if words else None


def _await_approval(snapshot: Snapshot, name: str) -> str:
    """How to approve what waits for approval: its command, and its seal."""
    plan, spec = snapshot.plan, snapshot.plan.spec
    words = f"{title_of(name)} needs approval: `rolloutplan approve -n {plan.namespace} {plan.name}`"
    if spec is None:
        return words
    if policy := demands_approval(snapshot.policies, spec, name):
        words = f"{words}, as policy {policy} demands"
    return f"{words}; `--seal {seal_of(spec, name)}` approves exactly what the plan says of it now"


def is_approved(snapshot: Snapshot, name: str) -> bool:
    """Whether a person approved this stage, or the contract, at its turn or before, as the plan has it now."""
    status, spec = snapshot.status, snapshot.plan.spec
    sealed = status.approved_seals.get(name)
    return name in (status.approved, *status.approved_ahead) and (
        sealed is None or spec is None or sealed == seal_of(spec, name)
    )


def position_in_queue(snapshot: Snapshot) -> str:
    """The position in the queue of a run that has not started, as text; empty where there is a place for it."""
    at: At = "starting" if snapshot.status.phase in STARTING else "waiting"
    return _position(snapshot, at)


def _position(snapshot: Snapshot, at: At) -> str:
    return queue_position(at, concurrency_groups(snapshot.policies, snapshot.plan.namespace), snapshot.queues)


def _lost_place(snapshot: Snapshot) -> Blocked | None:
    """A run that lost its place while it was held, and for which there is none now."""
    if not snapshot.status.place:
        return None
    if not (words := _position(snapshot, "waiting" if snapshot.status.place == "Lost" else "starting")):
        return None
    again = snapshot.now + ANSWERS_VALID_FOR
    return Blocked(HoldReason.NO_PLACE, f"its place went to others while it was held: {words}", again)


def block_on_stage(snapshot: Snapshot, stage: Stage) -> Blocked | None:
    """What blocks the increase to this stage, without the queries of the gate; these are sent if nothing else does."""
    spec, at = snapshot.plan.spec, snapshot.status.stage
    if spec is None:
        return None  # the run is held for that
    steps = spec.steps()
    begun = steps[at.index].entry + 1 if at is not None and at.index < len(steps) else 0
    if blocked := _unmet_demand(snapshot, begun=begun):
        return blocked
    asked = stage.approval or demands_approval(snapshot.policies, spec, stage.name)
    if asked and not is_approved(snapshot, stage.name):
        words = _await_approval(snapshot, stage.name)
        return Blocked(HoldReason.AWAITING_APPROVAL, words)
    if words := unreadable_policy(snapshot.policies):
        return Blocked(HoldReason.FROZEN, words)
    # Its autoscaler makes the old side of a bake smaller; that the control group goes too makes no rollback harder.
    small = None if stage.completes else block_on_increase(snapshot)
    short = _capacity(snapshot, stage) or small
    return _frozen(snapshot) or _lost_place(snapshot) or short or block_by_division(snapshot, stage)


def block_on_contract(snapshot: Snapshot, spec: PlanSpec) -> Blocked | None:
    """What blocks the removal of the old side; None where nothing does."""
    weights = snapshot.status.weights
    blind = ", ".join(weights.unconfirmed) if not weights.measured else ""
    asked = spec.contract.approval or demands_approval(snapshot.policies, spec, CONTRACT)
    if (asked or blind) and not is_approved(snapshot, CONTRACT):
        words = _await_approval(snapshot, CONTRACT)
        if blind:
            words = (
                f"{words}; the gateway of {blind} does not report what it follows, and no predicate counts the "
                f"requests of both sides: check first that {weights.old} gets none"
            )
        return Blocked(HoldReason.AWAITING_APPROVAL, words)
    if blocked := None if _is_overruled(snapshot, spec) else block_by_appliers(snapshot, spec):
        return blocked
    if words := unreadable_policy(snapshot.policies):
        return Blocked(HoldReason.FROZEN, words)
    return _frozen(snapshot) or _capacity(snapshot, spec.steps()[-1]) or block_on_removal(snapshot)


def _is_overruled(snapshot: Snapshot, spec: PlanSpec) -> bool:
    """Whether a person approved the removal although somebody applies other weights.

    An approval before its turn says so only where the plan itself asks for none.
    """
    status = snapshot.status
    asked = spec.contract.approval or demands_approval(snapshot.policies, spec, CONTRACT)
    return status.approved == CONTRACT or (CONTRACT in status.approved_ahead and not asked)


def _load_words(stage: Stage) -> str:
    """What the new side must answer at this stage, as text."""
    return stage.title if stage.moves_no_weight else f"{format_weight(stage.permille)} of the traffic"


def _capacity(snapshot: Snapshot, stage: Stage) -> Blocked | None:
    """Capacity before traffic: the share of available pods of the new side must be at least its share of the traffic.

    The full size is the one to which the run scaled it, even if somebody has scaled it down since. With
    `traffic.endpoints: Verify` its Service must have so many ready endpoints too.
    """
    new = snapshot.new
    needed = -(-max(new.wanted, snapshot.status.scaled_to) * stage.load // 1000) if new else 0
    if new is None:
        return None
    if new.available < needed:
        needs = f"{_load_words(stage)} needs {needed} available pods of {new.name}"
        words = f"{needs}, only {new.available} are available"
        return Blocked(HoldReason.CAPACITY, words + _scaled_back(snapshot, new) + new.why)
    if new.outdated:
        words = f"{new.outdated} pods of {new.name} are still of its former template, and are being replaced{new.why}"
        return Blocked(HoldReason.CAPACITY, words)
    service = receiver(snapshot, "new")
    if verifies(snapshot) and service.known and service.ready < needed:
        words = f"{_load_words(stage)} needs {needed} ready endpoints of Service"
        return Blocked(HoldReason.CAPACITY, f"{words} {service.service}, it has {service.ready}")
    return None


def _scaled_back(snapshot: Snapshot, new: WorkloadView) -> str:
    """Who made the new side smaller than the run had made it, and what to do; empty where it is not smaller."""
    size = snapshot.status.scaled_to
    if new.wanted >= size:
        return ""
    return (
        f"; the run scaled it to {size} replicas, and {new.sized_by or 'somebody'} set {new.wanted}: leave `replicas` "
        f"out of what is applied, or commit {size}"
    )


def _frozen(snapshot: Snapshot) -> Blocked | None:
    freeze = longest_freeze(snapshot.policies, snapshot.now)
    return (
        Blocked(HoldReason.FROZEN, f"frozen by {freeze.words}", next_change(snapshot.policies, snapshot.now))
        if freeze
        else None
    )


# ---- the queries of the gate -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Condition:
    """A query that must be proved before an increase; else the reason and the message of the hold."""

    question: QueryOnce
    reason: HoldReason
    words: Callable[[Verdict | None], str]


def gate_queries(snapshot: Snapshot, stage: Stage) -> tuple[QueryOnce, ...]:
    """The queries for the increase to this stage; none where the answers to all of them are recent."""
    questions = tuple(condition.question for condition in _conditions(snapshot, stage))
    answers = snapshot.gate_answers
    recent = (
        answers is not None
        and snapshot.now < answers.at + ANSWERS_VALID_FOR
        and answers.verdicts.keys() >= set(questions)
    )
    return () if recent else questions


def block_by_answers(snapshot: Snapshot, stage: Stage) -> Blocked | None:
    """What blocks the increase to this stage by the answers; a missing answer blocks it too."""
    for condition in _conditions(snapshot, stage):
        verdict = snapshot.gate_answers.verdicts.get(condition.question) if snapshot.gate_answers else None
        if verdict is None or verdict.outcome is not Outcome.PROVED:
            again = (snapshot.gate_answers.at if snapshot.gate_answers else snapshot.now) + ANSWERS_VALID_FOR
            return Blocked(condition.reason, condition.words(verdict), again)
    return None


def _conditions(snapshot: Snapshot, stage: Stage) -> Iterator[_Condition]:
    """The error budgets of the policies, and the enforced alerts of the stage."""
    plan, spec = snapshot.plan, snapshot.plan.spec
    if spec is None:
        return

    def variables(stage: str) -> dict[str, str]:
        return variables_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage, window=spec.interval)

    for policy in snapshot.policies:
        if policy.spec is not None and (budget := policy.spec.error_budget) is not None:
            name, least = f"policy {policy.name}", parse_is(f">= {budget.at_least_text}")
            # The plan's own variables are its author's to choose, and so would be the query.
            words = {key: value for key, value in variables("").items() if key not in spec.variables}
            question = QueryOnce(name, ValueQuery(render(budget.query, words)), least, budget.source)
            yield _Condition(question, HoldReason.BUDGET_SPENT, partial(_budget_words, name, budget.at_least_text))
    roles = {"guard": spec.guards, "fail": stage.fail}
    for name, alert in ((f"{role} {p.name}", p.alert) for role in roles for p in roles[role] if not p.dry_run):
        if alert is not None:
            matchers = render(alert.matchers, variables(stage.name))
            question = QueryOnce(name, AlertQuery(matchers), _NONE)
            yield _Condition(question, HoldReason.INCIDENT, partial(_alert_words, name, matchers))


def _budget_words(name: str, least: str, verdict: Verdict | None) -> str:
    if verdict is None or verdict.value is None:
        detail = f": {verdict.detail}" if verdict and verdict.detail else ""
        unknown = f"{name}: the error budget is unknown ({_no_answer_reason(verdict)}){detail}"
        return f"{unknown}; at least {least} must be left"
    return f"{name}: {100 * verdict.value:.4g}% of the error budget is left; at least {least} must be left"


def _alert_words(name: str, matchers: str, verdict: Verdict | None) -> str:
    consequence = "no weight is increased until none fires; `abort` rolls back"
    if verdict is None or verdict.value is None:
        return f"{name}: no answer ({_no_answer_reason(verdict)}) about alerts with {matchers}: {consequence}"
    alerts = "1 alert fires" if verdict.value == 1 else f"{verdict.value:.6g} alerts fire"
    return f"{name}: {alerts} already with {matchers}: {consequence}"


def _no_answer_reason(verdict: Verdict | None) -> str:
    return str(verdict.why) if verdict else "not queried yet"
