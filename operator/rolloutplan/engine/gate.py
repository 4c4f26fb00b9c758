"""The gate before every increment: a person's approval, the policies of the cluster, and alerts that fire already.

An alert that fires before a step is taken does not speak against the new side, and is no moment to take one. Nothing
here stands in the way of a rollback: only the rules that lead forward come by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from rolloutplan.engine.ask import InForce
from rolloutplan.engine.look import Look
from rolloutplan.engine.policy import At, concurrency_groups, frozen, next_change, queue_position, unreadable
from rolloutplan.engine.queries import AlertQuery, ValueQuery
from rolloutplan.engine.step import Observe
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.verdict import Outcome, Verdict
from rolloutplan.plan.quantities import format_weight, parse_is
from rolloutplan.plan.reasons import HoldReason
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import STARTING

ASKED_AGAIN = timedelta(seconds=10)
"""How old the answers to what the gate asks may be."""
CONTRACT = "the contract"
"""What is approved before anything of the old is taken away; no stage can have this name."""
_NONE = parse_is("== 0")
GATED = frozenset({HoldReason.AWAITING_APPROVAL, HoldReason.FROZEN, HoldReason.BUDGET_SPENT, HoldReason.CAPACITY})
"""The reasons of Held that the gate gives."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Why the gate is closed: the reason in a word, the words, and when to come by again (None: when told)."""

    reason: HoldReason
    words: str
    again: datetime | None = None
    evidence: tuple[InForce, ...] = ()


def closed_to_runs(look: Look) -> Closed | None:
    """What the policies have against a run that has not moved any weight yet."""
    if words := unreadable(look.policies):
        return Closed(HoldReason.FROZEN, words)
    if look.status.phase not in STARTING and (closed := _frozen(look)):
        return closed
    return None


def place_in_line(look: Look) -> str:
    """What a run that has not begun waits for, and where it stands in line; empty where there is a place for it."""
    at: At = "starting" if look.status.phase in STARTING else "waiting"
    return queue_position(at, concurrency_groups(look.policies), look.queues)


def closed_to(look: Look, stage: Stage) -> Closed | None:
    """What stands before the increment to this stage, apart from what is asked when nothing else does."""
    status, plan = look.status, look.plan
    if stage.approval and status.approved != stage.name:
        words = f"stage {stage.name} wants approval: `rolloutplan approve {plan.name} -n {plan.namespace}`"
        return Closed(HoldReason.AWAITING_APPROVAL, words)
    if words := unreadable(look.policies):
        return Closed(HoldReason.FROZEN, words)
    return _frozen(look) or _short(look, stage)


def closed_to_contract(look: Look, spec: PlanSpec) -> Closed | None:
    """What stands before anything of the old is taken away."""
    plan = look.plan
    if spec.contract.approval and look.status.approved != CONTRACT:
        words = f"taking the old away wants approval: `rolloutplan approve {plan.name} -n {plan.namespace}`"
        return Closed(HoldReason.AWAITING_APPROVAL, words)
    if words := unreadable(look.policies):
        return Closed(HoldReason.FROZEN, words)
    return _frozen(look) or _short(look, spec.ladder()[-1])


def _short(look: Look, stage: Stage) -> Closed | None:
    """Capacity before traffic: so much of the new side must be ready as gets of the traffic.

    The whole of it is what the run made it, also where somebody has made it smaller since.
    """
    new = look.new
    needed = -(-max(new.wanted, look.status.sized) * stage.permille // 1000) if new else 0
    if new is None or new.ready >= needed:
        return None
    worst = f": {new.worst}" if new.worst else ""
    words = f"{format_weight(stage.permille)} of the traffic needs {needed} ready pods of {new.name}, {new.ready} are"
    return Closed(HoldReason.CAPACITY, words + worst)


def _frozen(look: Look) -> Closed | None:
    freeze = frozen(look.policies, look.now)
    return (
        Closed(HoldReason.FROZEN, f"frozen by {freeze.words}", next_change(look.policies, look.now)) if freeze else None
    )


# ---- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Condition:
    """What must be so before an increment; where it is not so, or not known, the reason and the words."""

    question: Observe
    reason: HoldReason
    words: Callable[[Verdict | None], str]


def must_ask(look: Look, stage: Stage) -> tuple[Observe, ...]:
    """All that must be asked before the increment to this stage; nothing where all of it was asked just now."""
    questions = tuple(condition.question for condition in _conditions(look, stage))
    heard = look.heard
    recent = heard is not None and look.now < heard.at + ASKED_AGAIN and heard.verdicts.keys() >= set(questions)
    return () if recent else questions


def answered_against(look: Look, stage: Stage) -> Closed | None:
    """What was answered against the increment to this stage."""
    for condition in _conditions(look, stage):
        verdict = look.heard.verdicts.get(condition.question) if look.heard else None
        if verdict is None or verdict.outcome is not Outcome.PROVED:
            again = (look.heard.at if look.heard else look.now) + ASKED_AGAIN
            return Closed(condition.reason, condition.words(verdict), again)
    return None


def _conditions(look: Look, stage: Stage) -> Iterator[_Condition]:
    """The error budgets that policies name, and the alerts that will be judged at the stage and bind."""
    plan, spec = look.plan, look.plan.spec
    if spec is None:
        return

    def words(stage: str) -> dict[str, str]:
        return words_for(spec, namespace=plan.namespace, plan=plan.name, stage=stage, window=spec.interval)

    for policy in look.policies:
        if policy.spec is not None and (budget := policy.spec.error_budget) is not None:
            name, least = f"policy {policy.name}", parse_is(f">= {budget.at_least_text}")
            question = Observe(name, ValueQuery(render(budget.query, words(""))), least)
            yield _Condition(question, HoldReason.BUDGET_SPENT, partial(_left, name, budget.at_least_text))
    roles = {"guard": spec.guards, "fail": stage.fail}
    for name, alert in ((f"{role} {p.name}", p.alert) for role in roles for p in roles[role] if not p.dry_run):
        if alert is not None:
            matchers = render(alert.matchers, words(stage.name))
            question = Observe(name, AlertQuery(matchers), _NONE)
            yield _Condition(question, HoldReason.INCIDENT, partial(_firing, name, matchers))


def _left(name: str, least: str, verdict: Verdict | None) -> str:
    if verdict is None or verdict.value is None:
        left = f"nothing is known ({_unknown(verdict)})"
    else:
        left = f"{100 * verdict.value:.4g}% is left"
    return f"{name}: {left} of the error budget, {least} must be left"


def _firing(name: str, matchers: str, verdict: Verdict | None) -> str:
    goes_on = "nothing goes forward, and it goes on when none fires; `abort` goes back"
    if verdict is None or verdict.value is None:
        return f"{name}: nothing is known ({_unknown(verdict)}) of alerts with {matchers}: {goes_on}"
    alerts = "1 alert fires" if verdict.value == 1 else f"{verdict.value:.6g} alerts fire"
    return f"{name}: {alerts} already with {matchers}: {goes_on}"


def _unknown(verdict: Verdict | None) -> str:
    return str(verdict.why) if verdict else "not asked"
