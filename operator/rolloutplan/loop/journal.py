"""Write decisions, verdicts and refusals of runs to the operator's log and metrics.

They come from loop/reconcile.py, as they happen.
"""

from __future__ import annotations

import structlog

from rolloutplan.api.status import Decision
from rolloutplan.engine.analysis.measurements import indicates_failure
from rolloutplan.engine.model.effects import Effect, Evaluate, Failure, NoEffect, Result
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.model.transitions import is_loud
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.run.decision_log import verdict_word
from rolloutplan.telemetry.metrics import Metrics

log = structlog.stdlib.get_logger("rolloutplan")


class Journal:
    """Logs decisions, tripped predicates and refusals, and counts decisions and verdicts in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def log_decisions(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            self._metrics.count_decision(decision.kind, decision.reason)
            level = log.warning if is_loud(decision) else log.info
            own = {"run": decision.run, "stage": decision.stage}  # a pass begins a run, and the next stage
            level(decision.note, decision=decision.reason, seq=decision.seq, by=decision.by, **own)

    def log_result(self, run: PlanRun, effect: Effect, result: Result) -> None:
        """Handle the result of an effect: log a refusal, and count and log the verdict of an evaluation."""
        if isinstance(result, Failure):
            log.warning("a request was refused; retrying", what=" ".join(effect.key).strip(), error=str(result))
        elif isinstance(result, NoEffect):
            log.warning("a write changed no weight; retrying ever less often", what=" ".join(effect.key).strip())
        elif isinstance(effect.work, Evaluate):
            self._log_verdict(run, effect, effect.work.name)

    def _log_verdict(self, run: PlanRun, effect: Effect, name: str) -> None:
        measurement, snapshot = run.measurements.get(name), effect.snapshot
        if measurement is None or measurement.verdict is None:
            return
        role = next((each.role for each in snapshot.status.predicates if each.name == name), "")
        self._metrics.count_verdict(verdict_word(role, measurement.verdict.outcome))
        if snapshot.plan.spec and indicates_failure(snapshot.plan.spec, snapshot.status, name, measurement):
            log.warning("a predicate tripped", predicate=name, value=measurement.verdict.value)


def context(facts: Facts) -> dict[str, object]:
    """Return the fields of every log line about a plan."""
    status = facts.status
    return {"plan": facts.plan.key, "run": status.run, "stage": status.stage.name if status.stage else ""}
