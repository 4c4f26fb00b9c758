"""Replay: what would have been decided, from the answers alone and in virtual time.

`PlanRun` (engine/plan_run.py) decides, as in the operator. Its host here acts on a simulated cluster that does
everything at once (tools/simulated.py): each status is written, each weight is accepted, both sides are ready, and the
gate is open. `replay` yields the
queries and receives the answers from cli/replay.py, which gets them from a metric source or from a record.

In the replay of an existing run, each weight is in force from the instant at which it was verified. Until then the
guards continue at the weight before, as they did in the run. Actions of people and policies are not replayed, and
neither are alerts that fired before a step. A stage that waited for them begins when it began in the run. Where the run
went further than its evaluations lead to, the replay ends.

Counts are evaluated at the exact instants of the run, so the evidence is the same to the bit. A decision is made at the
instant of the evaluation or of the timer that causes it. The run itself decided some milliseconds later, and also sent
its queries for plain values later. Where a soak or a deadline ended within these milliseconds after an evaluation, the
run may have decided without that evaluation.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from rolloutplan.api.changes import change, change_weights
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import resolve, snapshot_lookup
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.status import Decision, Kind, Phase, Status, Weights
from rolloutplan.engine.analysis.measurements import active_predicates, current_stage
from rolloutplan.engine.analysis.stages import next_stage
from rolloutplan.engine.model.actions import CheckGate, PatchPlanMetadata, RunJob, Scale
from rolloutplan.engine.model.effects import Effect, Evaluate
from rolloutplan.engine.model.plan_view import PlanView, Readable
from rolloutplan.engine.model.queries import CountQuestion, Question, Series
from rolloutplan.engine.model.snapshot import Facts, SourceView
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.run.value_text import value_text
from rolloutplan.stats.sequential import Evidence, evidence
from rolloutplan.stats.verdict import Answer, Verdict
from rolloutplan.tools.simulated import Cluster, routes_on_old

AnyQuestion: TypeAlias = Question | CountQuestion
MetricAnswer: TypeAlias = Answer | Series

_ENDS: Final = (Phase.CONTRACTING, Phase.SUCCEEDED, Phase.ROLLED_BACK)


class ReplayError(ValueError):
    """There is nothing to replay; the message contains the reason."""


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """The plan, the metric source and the time span to replay."""

    namespace: str
    name: str
    raw: Mapping[str, Any]
    """The plan's spec as written, without references to templates."""
    source: SourceView
    start: datetime
    """The instant from which the first weight is in force."""
    end: datetime
    """No query runs after this instant."""
    run: int = 1
    weights: Weights = field(default_factory=Weights)
    """The weights that the run found; derived from the plan where there was no run."""
    verified_at: Mapping[str, datetime] | None = None
    """When the weight of each step was verified. None: each step begins as soon as the one before is proved."""


class Due(NamedTuple):
    """The queries to run at an instant."""

    now: datetime
    questions: tuple[AnyQuestion, ...]


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """A predicate after an evaluation. `at` is the instant that was queried."""

    at: datetime
    stage: str
    predicate: str
    role: str
    verdict: Verdict
    value: str
    evidence: Evidence | None
    """None where the predicate does not count events."""
    proof: float
    """The amount of evidence that is proof."""
    dry_run: bool = False
    """Whether the predicate has no effect on the run."""


@dataclass(frozen=True, slots=True)
class Replayed:
    rows: tuple[ReplayRow, ...]
    decisions: tuple[Decision, ...]
    ended: str
    """A message that says how the replay ends."""


ReplayGenerator: TypeAlias = Generator[Due, Sequence[MetricAnswer], Replayed]


def of_run(plan: PlanView, raw: Mapping[str, Any], status: Status, source: SourceView, now: datetime) -> ReplayInput:
    """Return the newest run of a plan, up to its end or until now; `raw` is the plan's spec. Raises ReplayError.

    The replay uses the templates with which the run began.
    """
    written = plan.written
    if written is None:
        raise ReplayError(f"the plan is invalid: {plan.problem}")
    trail = [decision for decision in status.decisions if decision.run == status.run]
    verified_at: dict[str, datetime] = {}
    for decision in trail:
        if decision.reason == TRANSITIONS[TransitionName.VERIFIED].event_reason:
            verified_at.setdefault(_step(written, decision), decision.at)
    if not verified_at or not status.weights.snapshot:
        raise ReplayError(
            "no run of this plan has moved a weight yet: give --file and --start to replay it over any period"
        )
    if written.plan_hash() != status.plan_hash:
        raise ReplayError(
            f"the plan was changed after run {status.run}: give --file with the plan of that run, and --start"
        )
    found = resolve(written, snapshot_lookup(status.templates))
    if found.problems:
        raise ReplayError(f"{found.problems[0].path}: {found.problems[0].words}")
    first = written.steps()[0].name
    if first not in verified_at:
        raise ReplayError(f"the status no longer has the start of stage {first}: give --file and --start")
    over = (d.at for d in trail if d.kind in (Kind.ROLLBACK, Kind.FINISH, Kind.KILL) and d.at > verified_at[first])
    end = next(over, now)
    raw = found.raw() if found.used else raw
    return ReplayInput(
        plan.namespace, plan.name, raw, source, verified_at[first], end, status.run, status.weights, verified_at
    )


def _step(spec: PlanSpec, verified: Decision) -> str:
    """Return the step whose weight a decision verified."""
    stage = next((stage for stage in spec.steps() if stage.name == verified.stage), None)
    half = stage is not None and verified.weight_to != format_weight(stage.permille)
    return stage.at(0).step if stage is not None and half else verified.stage


def replay(replay_input: ReplayInput) -> ReplayGenerator:
    """Return a generator that yields the queries of each instant; send it the answers in the order of the queries.

    Raises SpecError where the plan cannot be parsed.
    """
    return _Host(replay_input).run_through()


# ---- the run, in virtual time --------------------------------------------------------------------


class _Host:
    """The host of one `PlanRun`."""

    def __init__(self, replay_input: ReplayInput) -> None:
        self.replay_input, self.now = replay_input, replay_input.start
        self.spec = _spec_of(replay_input)
        plan = PlanView(replay_input.namespace, replay_input.name, "replay", 1, replay_input.start, Readable(self.spec))
        found = replay_input.weights if replay_input.weights.snapshot else _weights_on_old(self.spec)
        held = format_weight(share(found.snapshot, found.old, found.new))
        status = Status(
            phase=Phase.SHIFTING,
            reason=StatusReason.SHIFTING,
            observed_generation=1,
            plan_hash=self.spec.plan_hash(),
            run=replay_input.run,
            weights=change_weights(found, desired=held, written=found.snapshot),
        )
        self.cluster = Cluster(plan, self.spec, status, replay_input.source, found.snapshot)
        self.run = PlanRun(self._facts(), self.now, undo_command=lambda *_: "")
        self.rows: list[ReplayRow] = []
        self.decisions: list[Decision] = []

    @property
    def status(self) -> Status:
        return self.cluster.status

    def run_through(self) -> ReplayGenerator:
        while True:
            wake_at = yield from self._settle()
            if self.status.phase in _ENDS:
                return self._replayed(f"the replay ends in phase {self.status.phase}")
            if words := self._outrun_message():
                return self._replayed(words)
            instants = (wake_at, *(self.replay_input.verified_at or {}).values())
            later = min((at for at in instants if at is not None and at > self.now), default=None)
            if later is None or later > self.replay_input.end:
                why = self.status.message if self.status.phase is Phase.HELD else "nothing more is decided"
                return self._replayed(f"the replay ends with the last evaluation, in phase {self.status.phase}: {why}")
            self.now = later

    def _settle(self) -> Generator[Due, Sequence[MetricAnswer], datetime | None]:
        """Carry out everything that happens at this instant; return when to reconcile again."""
        evaluations: list[Effect] = []
        while True:
            effects = self.run.advance(self._facts(), self.now)
            self.decisions += effects.decided
            evaluations += [effect for effect in effects.todo if isinstance(effect.work, Evaluate)]
            done = [self._carry_out(effect) for effect in effects.todo if not isinstance(effect.work, Evaluate)]
            if any(isinstance(effect.work, CheckGate) for effect in effects.todo):
                continue  # an open gate takes no time: its consequences come before the answers
            if evaluations:
                yield from self._ask(evaluations)
                evaluations = []
            elif not any(done):
                return effects.wake_at

    def _facts(self) -> Facts:
        """Return the facts. Weights change only on a plan with the finalizer: it is set once the run itself went on."""
        facts = self.cluster.facts
        stage = next_stage(self.spec, facts.status)
        has_gone_on = self.replay_input.verified_at is None or self._is_verified(stage.step)
        approved = stage.name if has_gone_on and stage.approval else facts.status.approved
        return replace(
            facts, plan=replace(facts.plan, finalizer=has_gone_on), status=change(facts.status, approved=approved)
        )

    def _carry_out(self, effect: Effect) -> bool:
        """Carry out an effect at once; return whether anything can follow from it at this instant.

        The plan's metadata, Jobs and replicas do not change: they are not replayed.
        """
        is_replayed = not isinstance(effect.work, PatchPlanMetadata | RunJob | Scale)
        result = self.cluster.carry_out(effect, self.now) if is_replayed else None
        self.run.on_result(effect, result, self.now)
        return is_replayed

    def _ask(self, effects: Sequence[Effect]) -> Generator[Due, Sequence[MetricAnswer], None]:
        """Yield all queries of this instant, and pass each predicate's answers to the run."""
        evaluations = [(effect, work.questions) for effect in effects if isinstance(work := effect.work, Evaluate)]
        answered = iter(
            (yield Due(self.now, tuple(question for _, questions in evaluations for question in questions)))
        )
        for effect, questions in evaluations:
            answers: dict[str, MetricAnswer] = {question.part: next(answered) for question in questions}
            self.run.on_result(effect, answers, self.now)
            self._add_row(questions[0])

    def _add_row(self, question: AnyQuestion) -> None:
        name, measurement = question.name, self.run.measurements.get(question.name)
        item = next(
            (row for row in active_predicates(self.spec, self.status, self.replay_input.source) if row.name == name),
            None,
        )
        if item is None or measurement is None or measurement.verdict is None or self.status.stage is None:
            return
        row = ReplayRow(
            question.end if isinstance(question, CountQuestion) else question.at,
            self.status.stage.name,
            name,
            item.role,
            measurement.verdict,
            value_text(item.predicate.comparison, measurement.verdict),
            evidence(measurement.count.state) if measurement.count else None,
            1 / (1 - float(item.predicate.confidence)),
            item.predicate.dry_run,
        )
        self.rows.append(row)

    def _outrun_message(self) -> str:
        """Return a message where the run went to a later stage than its evaluations lead to; empty where it did not."""
        stage, steps = current_stage(self.spec, self.status), self.spec.steps()
        reached = (stage.index, not stage.half) if stage else (-1, True)
        halves = (step for stage in steps for step in (stage.at(0), stage))
        later_steps = [
            step for step in halves if (step.index, not step.half) > reached and self._is_verified(step.step)
        ]
        if not later_steps:
            return ""
        words = f"the run went on to {later_steps[0].step}, but the replay is in phase {self.status.phase}"
        return f"{words}: commands, policies and outages are not replayed"

    def _is_verified(self, step: str) -> bool:
        """Whether the run had the weight of this step in force by now."""
        at = (self.replay_input.verified_at or {}).get(step)
        return at is not None and at <= self.now

    def _replayed(self, ended: str) -> Replayed:
        return Replayed(tuple(self.rows), tuple(self.decisions), ended)


def _spec_of(replay_input: ReplayInput) -> PlanSpec:
    """Return the spec. Without a run, traffic followed other weights than the replay's, so its share is ignored."""
    spec = read_plan_spec(replay_input.raw)
    if replay_input.verified_at is None:
        spec = spec.model_copy(update={"traffic": spec.traffic.model_copy(update={"share": "Ignore"})})
    return resolve(spec, snapshot_lookup(())).spec


def _weights_on_old(spec: PlanSpec) -> Weights:
    """Return weights with all traffic on the old side, on every route that the plan names."""
    old, new = spec.names
    routes = routes_on_old(spec)
    return Weights(old=old, new=new, service=spec.shared_service, written=routes, snapshot=routes)
