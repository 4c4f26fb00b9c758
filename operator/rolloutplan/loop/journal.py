"""What is said of runs in the operator's own log and its metrics: decisions, verdicts and refusals, as they come."""

from __future__ import annotations

import structlog

from rolloutplan.api.status import Decision
from rolloutplan.engine.analysis.measurements import indicates_failure
from rolloutplan.engine.model.effects import Effect, Evaluate, Failure, Result
from rolloutplan.engine.model.snapshot import Facts
from rolloutplan.engine.model.transitions import is_loud
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.run.decision_log import verdict_word
from rolloutplan.telemetry.metrics import Metrics

log = structlog.stdlib.get_logger("rolloutplan")


class Journal:
    """Writes a line and counts, each time that something is decided, judged or refused."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def decided(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            self._metrics.decided(decision.kind, decision.reason)
            level = log.warning if is_loud(decision) else log.info
            level(decision.note, decision=decision.reason, seq=decision.seq, by=decision.by)

    def done(self, run: PlanRun, effect: Effect, result: Result) -> None:
        """An effect has come back: a refusal, or an evaluation with its verdict, is worth a line."""
        if isinstance(result, Failure):
            log.warning("refused; trying again", what=" ".join(effect.key).strip(), error=str(result))
        elif isinstance(effect.work, Evaluate):
            self._judged(run, effect, effect.work.name)

    def _judged(self, run: PlanRun, effect: Effect, name: str) -> None:
        track, snapshot = run.measurements.get(name), effect.snapshot
        if track is None or track.verdict is None:
            return
        role = next((each.role for each in snapshot.status.predicates if each.name == name), "")
        self._metrics.judged(verdict_word(role, track.verdict.outcome))
        if snapshot.plan.spec and indicates_failure(snapshot.plan.spec, snapshot.status, name, track):
            log.warning("a predicate tripped", predicate=name, value=track.verdict.value)


def context(facts: Facts) -> dict[str, object]:
    """What stands on every line that is logged of a plan."""
    status = facts.status
    return {"plan": facts.plan.key, "run": status.run, "stage": status.stage.name if status.stage else ""}
