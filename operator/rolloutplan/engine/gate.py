"""The gate before every increment: a person's approval, and what the policies of the cluster say.

Nothing here stands in the way of a rollback: only the rungs that lead forward come by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from rolloutplan.engine.ask import InForce
from rolloutplan.engine.look import Look
from rolloutplan.engine.policy import Peer, frozen, groups, next_change, unreadable, wait_for_slot
from rolloutplan.judge.threshold import judge
from rolloutplan.judge.verdict import Answer, Outcome, Verdict
from rolloutplan.plan.policy import ErrorBudget
from rolloutplan.plan.quantities import format_weight, parse_is
from rolloutplan.plan.spec import PlanSpec, Stage
from rolloutplan.plan.status import STARTING

ASKED_AGAIN = timedelta(seconds=10)
"""How old the answer about an error budget may be."""
CONTRACT = "the contract"
"""What is approved before anything of the old is taken away; no stage can have this name."""
GATED = frozenset({"AwaitingApproval", "Frozen", "BudgetSpent", "Capacity"})
"""The reasons of Held that the gate gives."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Why the gate is closed: the reason in a word, the words, and when to come by again (None: when told)."""

    reason: str
    words: str
    again: datetime | None = None
    evidence: tuple[InForce, ...] = ()


def closed_to_runs(look: Look) -> Closed | None:
    """What the policies have against a run that has not moved any weight yet."""
    if words := unreadable(look.policies):
        return Closed("Frozen", words)
    if look.status.phase not in STARTING and (closed := _frozen(look)):
        return closed
    if words := wait_for_slot(_me(look), groups(look.policies), look.peers):
        return Closed("Waiting", words, look.now + ASKED_AGAIN)
    return None


def closed_to(look: Look, stage: Stage) -> Closed | None:
    """What stands before the increment to this stage; error budgets apart, which are asked when nothing else does."""
    status, plan = look.status, look.plan
    if stage.approval and status.approved != stage.name:
        words = f"stage {stage.name} wants approval: `rolloutplan approve {plan.name} -n {plan.namespace}`"
        return Closed("AwaitingApproval", words)
    if words := unreadable(look.policies):
        return Closed("Frozen", words)
    return _frozen(look) or _short(look, stage)


def closed_to_contract(look: Look, spec: PlanSpec) -> Closed | None:
    """What stands before anything of the old is taken away."""
    plan = look.plan
    if spec.contract.approval and look.status.approved != CONTRACT:
        words = f"taking the old away wants approval: `rolloutplan approve {plan.name} -n {plan.namespace}`"
        return Closed("AwaitingApproval", words)
    if words := unreadable(look.policies):
        return Closed("Frozen", words)
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
    return Closed("Capacity", words + worst)


def must_ask_budgets(look: Look) -> bool:
    """Whether a policy names an error budget of which nothing recent is known."""
    named = any(policy.spec is not None and policy.spec.error_budget is not None for policy in look.policies)
    return named and (look.budgets is None or look.now >= look.budgets.at + ASKED_AGAIN)


def budget_left(budget: ErrorBudget, answer: Answer) -> Verdict:
    """Proved while as much of the budget is left as the policy wants."""
    return judge(parse_is(f">= {budget.at_least_text}"), answer)


def _frozen(look: Look) -> Closed | None:
    freeze = frozen(look.policies, look.now)
    return Closed("Frozen", f"frozen by {freeze.words}", next_change(look.policies, look.now)) if freeze else None


def spent(look: Look) -> Closed | None:
    """The error budget of which too little is left, as far as was asked."""
    for policy in look.policies:
        budget = policy.spec.error_budget if policy.spec else None
        verdict = look.budgets.verdicts.get(policy.name) if look.budgets and budget else None
        if budget is None or look.budgets is None:
            continue
        if verdict is None or verdict.outcome is not Outcome.PROVED:
            words = f"policy {policy.name}: {_left(verdict)} of the error budget, {budget.at_least_text} must be left"
            return Closed("BudgetSpent", words, look.budgets.at + ASKED_AGAIN)
    return None


def _left(verdict: Verdict | None) -> str:
    if verdict is None or verdict.value is None:
        return f"nothing is known ({verdict.why if verdict else 'not asked'})"
    return f"{100 * verdict.value:.4g}% is left"


def _me(look: Look) -> Peer:
    at: Literal["waiting", "starting"] = "starting" if look.status.phase in STARTING else "waiting"
    return Peer(look.plan.key, frozenset(groups(look.policies)), at, look.plan.created, look.plan.uid)
