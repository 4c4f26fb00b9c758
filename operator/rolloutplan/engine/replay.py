"""Replay: what would have been decided, from the answers alone and in virtual time.

The engine's own functions look, ask, weigh and decide, over routes that take each weight at once and sides that stand.
What is asked is handed out, and the answers handed in: from a metric source, or from a record of what one has said.

Of a run that there was, each weight is in force from the instant at which it was verified. Until then the guards go on
over the weight before, as they did. What people and policies said meanwhile is not replayed, nor alerts that fired
before a step: a stage that waited for them begins when it did begin, and where the run went on by more than its looks
the replay ends.

What is counted is looked at in the very instants of the run, so that its evidence is the same to the bit. A decision
is taken in the instant of the look or of the clock that it follows from; the run's own stands some milliseconds later,
and so do its questions for plain values. Where a soak or a deadline ended within these milliseconds after a look, the
run may have decided without it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from rolloutplan.engine.ask import count, current_stage, in_force, needs, note_asked, weigh
from rolloutplan.engine.counting import CountQuestion
from rolloutplan.engine.decide import decide
from rolloutplan.engine.gate import nothing_against
from rolloutplan.engine.look import (
    EMPTY_LEDGER,
    Ledger,
    Look,
    PlanView,
    Question,
    Readable,
    RouteView,
    SourceView,
    WorkloadView,
)
from rolloutplan.engine.narrate import value_text
from rolloutplan.engine.queries import Series
from rolloutplan.engine.rules.forward import next_stage
from rolloutplan.engine.step import PatchRoute, Step
from rolloutplan.engine.table import TABLE, Cause
from rolloutplan.engine.weights import share
from rolloutplan.judge.sequential import Evidence, evidence
from rolloutplan.judge.verdict import Answer, Verdict, Why
from rolloutplan.plan.changes import change, change_weights
from rolloutplan.plan.quantities import format_weight
from rolloutplan.plan.reading import SpecError
from rolloutplan.plan.reasons import StatusReason
from rolloutplan.plan.resolve import as_kept, resolve
from rolloutplan.plan.spec import PlanSpec, read_plan_spec
from rolloutplan.plan.status import Backend, Decision, Kind, Phase, RouteWeights, RuleWeights, Status, Weights

Asked: TypeAlias = Question | CountQuestion
Said: TypeAlias = Answer | Series

_ENDS: Final = (Phase.CONTRACTING, Phase.SUCCEEDED, Phase.ROLLED_BACK)


class ReplayError(ValueError):
    """There is nothing to replay; the message says why."""


class RecordError(ValueError):
    """A record cannot be read; the message names the line."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is replayed."""

    namespace: str
    name: str
    raw: Mapping[str, Any]
    """The plan's spec, as it was written; no template stands in it."""
    source: SourceView
    start: datetime
    """When the first weight is in force."""
    end: datetime
    """After this instant nothing is asked."""
    run: int = 1
    weights: Weights = field(default_factory=Weights)
    """As the run found them; made of the plan where there was no run."""
    stood: Mapping[str, datetime] | None = None
    """When the weight of each step was verified. None: each as soon as the one before is proved."""


class Due(NamedTuple):
    """What is to be asked at an instant."""

    now: datetime
    questions: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A predicate after a look. `at` is the instant that was asked about."""

    at: datetime
    stage: str
    predicate: str
    verdict: Verdict
    value: str
    evidence: Evidence | None
    """None where it does not count events."""
    proof: float
    """How much evidence is proof."""
    dry_run: bool = False
    """Whether nothing follows from it."""


@dataclass(frozen=True, slots=True)
class Replayed:
    rows: tuple[Row, ...]
    decisions: tuple[Decision, ...]
    ended: str
    """How it ends, in words."""


Replaying: TypeAlias = Generator[Due, Sequence[Said], Replayed]


def of_run(plan: PlanView, raw: Mapping[str, Any], status: Status, source: SourceView, now: datetime) -> Case:
    """The newest run of a plan, up to its end or until now; `raw` is the plan's spec. Raises ReplayError.

    It is judged by the templates that it began with.
    """
    written = plan.written
    if written is None:
        raise ReplayError(f"the plan cannot be read: {plan.problem}")
    trail = [decision for decision in status.decisions if decision.run == status.run]
    stood: dict[str, datetime] = {}
    for decision in trail:
        if decision.reason == TABLE[Cause.VERIFIED].tells:
            stood.setdefault(_step(written, decision), decision.at)
    if not stood or not status.weights.snapshot:
        raise ReplayError("no run of it has moved a weight yet: give --file and --start to replay it over any time")
    if written.plan_hash() != status.plan_hash:
        raise ReplayError(f"it was changed after run {status.run}: give --file with the plan of that run, and --start")
    found = resolve(written, as_kept(status.templates))
    if found.problems:
        raise ReplayError(f"{found.problems[0].path}: {found.problems[0].words}")
    first = written.ladder()[0].name
    if first not in stood:
        raise ReplayError(f"its status no longer says when {first} began: give --file and --start")
    over = (d.at for d in trail if d.kind in (Kind.ROLLBACK, Kind.FINISH, Kind.KILL) and d.at > stood[first])
    end = next(over, now)
    raw = found.raw() if found.used else raw
    return Case(plan.namespace, plan.name, raw, source, stood[first], end, status.run, status.weights, stood)


def _step(spec: PlanSpec, verified: Decision) -> str:
    """Of which step a decision says that its weight is in force."""
    stage = next((stage for stage in spec.ladder() if stage.name == verified.stage), None)
    half = stage is not None and verified.weight_to != format_weight(stage.permille)
    return stage.at(0).step if stage is not None and half else verified.stage


def replay(case: Case) -> Replaying:
    """Replay a case: a generator of what is to be asked, to be sent the answers in the order of the questions.

    Raises SpecError where the plan cannot be read.
    """
    return _Run(case).through()


# ---- the run, in virtual time --------------------------------------------------------------------


class _Run:
    def __init__(self, case: Case) -> None:
        self.case, self.now = case, case.start
        self.spec = resolve(read_plan_spec(case.raw), as_kept(())).spec
        self.plan = PlanView(case.namespace, case.name, "replay", 1, case.start, Readable(self.spec))
        found = case.weights if case.weights.snapshot else _at_rest(self.spec)
        held = format_weight(share(found.snapshot, found.old, found.new))
        self.status = Status(
            phase=Phase.SHIFTING,
            reason=StatusReason.SHIFTING,
            observed_generation=1,
            plan_hash=self.spec.plan_hash(),
            run=case.run,
            weights=change_weights(found, desired=held, written=found.snapshot),
        )
        self.routes = {r.id: RouteView(r.id, 1, r.rules, "1", accepted=True) for r in found.snapshot}
        self.ledger: Ledger = EMPTY_LEDGER
        self.rows: list[Row] = []
        self.decisions: list[Decision] = []

    def through(self) -> Replaying:
        while True:
            wake_at = yield from self._settle()
            if self.status.phase in _ENDS:
                return self._replayed(f"it ends as {self.status.phase}")
            if words := self._outrun():
                return self._replayed(words)
            instants = (wake_at, *(self.case.stood or {}).values())
            later = min((at for at in instants if at is not None and at > self.now), default=None)
            if later is None or later > self.case.end:
                why = self.status.message if self.status.phase is Phase.HELD else "nothing more is decided"
                return self._replayed(f"it ends with the looks, as {self.status.phase}: {why}")
            self.now = later

    def _settle(self) -> Generator[Due, Sequence[Said], datetime | None]:
        """All that follows at this instant; returns when to look again. The order is that of the operator's loop."""
        while True:
            look = self._look()
            step = decide(look)
            due = () if step.urgent else needs(look.plan, look.status, look.source, look.ledger, look.now)
            self.ledger = note_asked(look.status, self.ledger, due, self.now)
            moved = self._carry_out(step)
            if due:
                answers = yield Due(self.now, due)
                self._hear(due, answers)
            elif not moved:
                return step.wake_at

    def _look(self) -> Look:
        """A weight is moved only on a plan that bears our finalizer: it does from when the run itself went on."""
        stage = next_stage(self.spec, self.status)
        goes_on = self.case.stood is None or self._stood(stage.step)
        if goes_on and stage.approval and self.status.approved != stage.name:
            self.status = change(self.status, approved=stage.name)
        look = Look(
            plan=replace(self.plan, finalizer=goes_on),
            status=self.status,
            now=self.now,
            routes=self.routes,
            old=_side(self.spec.old.deployment),
            new=_side(self.spec.new.deployment),
            source=self.case.source,
            ledger=self.ledger,
        )
        return replace(look, heard=nothing_against(look, stage))

    def _carry_out(self, step: Step) -> bool:
        if step.status is not None:
            self.decisions += [each for each in step.status.decisions if each.seq > self.status.seq]
            self.status = step.status
        patches = [action for action in step.actions if isinstance(action, PatchRoute)]
        for patch in patches:
            view = self.routes[patch.target.id]
            self.routes[view.id] = replace(view, rules=patch.target.rules, seq=patch.fence, breadcrumb=patch.revert)
        return step.status is not None or bool(patches)

    def _hear(self, due: Sequence[Asked], answers: Sequence[Said]) -> None:
        heard = zip(due, answers, strict=True)
        for name, group in groupby(heard, key=lambda pair: pair[0].name):
            pairs = list(group)
            self.ledger = self._folded(name, pairs)
            self._note(name, pairs[0][0])

    def _folded(self, name: str, pairs: Sequence[tuple[Asked, Said]]) -> Ledger:
        spec, status, source = self.spec, self.status, self.case.source
        if isinstance(pairs[0][0], CountQuestion):
            counters: dict[str, Said] = {question.part: said for question, said in pairs}
            ledger = count(spec, status, source, self.ledger, name, counters, self.now)
            return ledger if self.case.stood is not None else _without_share(ledger, name)
        values: dict[str, Answer] = {question.part: said for question, said in pairs if isinstance(said, Answer)}
        return weigh(spec, status, self.ledger, name, values, self.now)

    def _note(self, name: str, asked: Asked) -> None:
        item = next((row for row in in_force(self.spec, self.status, self.case.source) if row.name == name), None)
        track = self.ledger.get(name)
        if item is None or track is None or track.verdict is None or self.status.stage is None:
            return
        row = Row(
            asked.end if isinstance(asked, CountQuestion) else asked.at,
            self.status.stage.name,
            name,
            track.verdict,
            value_text(item.predicate.comparison, track.verdict),
            evidence(track.count.state) if track.count else None,
            1 / (1 - float(item.predicate.confidence)),
            item.predicate.dry_run,
        )
        self.rows.append(row)

    def _outrun(self) -> str:
        """Where the run has gone on to a later stage than these looks lead to; empty where it has not."""
        stage, ladder = current_stage(self.spec, self.status), self.spec.ladder()
        reached = (stage.index, not stage.half) if stage else (-1, True)
        steps = (step for stage in ladder for step in (stage.at(0), stage))
        ahead = [step for step in steps if (step.index, not step.half) > reached and self._stood(step.step)]
        if not ahead:
            return ""
        words = f"the run went on to {ahead[0].step} then, and by its looks it was {self.status.phase}"
        return f"{words}: a person's word, a policy or an outage is not replayed"

    def _stood(self, step: str) -> bool:
        """Whether the run had the weight of this step in force by now."""
        at = (self.case.stood or {}).get(step)
        return at is not None and at <= self.now

    def _replayed(self, ended: str) -> Replayed:
        return Replayed(tuple(self.rows), tuple(self.decisions), ended)


def _without_share(ledger: Ledger, name: str) -> Ledger:
    """Where there was no run, the traffic followed other weights than these."""
    track = ledger.get(name)
    if track is None or track.count is None:
        return ledger
    return {**ledger, name: replace(track, count=replace(track.count, share=None))}


def _at_rest(spec: PlanSpec) -> Weights:
    """All traffic on the old side, on every route that the plan names."""
    old, new = spec.old.service_name, spec.new.service_name
    backends = (Backend(service=old, weight=100), Backend(service=new, weight=0))
    rule = RuleWeights(index=0, backends=backends)
    routes = tuple(RouteWeights(kind=ref.kind, name=ref.name, rules=(rule,)) for ref in spec.traffic.routes)
    return Weights(old=old, new=new, written=routes, snapshot=routes)


def _side(name: str) -> WorkloadView:
    return WorkloadView(name, wanted=1, ready=1, revision="", settled=True)


# ---- the record ----------------------------------------------------------------------------------

Key: TypeAlias = tuple[datetime, str, str]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Header(_Line):
    record: Literal[1]
    namespace: str
    plan: str
    run: int
    spec: dict[str, Any]
    scrape: timedelta
    delay: timedelta
    timeout: timedelta
    start: AwareDatetime
    end: AwareDatetime
    weights: Weights
    stages: dict[str, AwareDatetime] | None


class _Heard(_Line):
    """A question with its answer: a value, a gap, or `looks` (by instance all requests and the bad ones)."""

    asked: AwareDatetime
    predicate: str
    part: Literal["new", "old", "samples", "oldSamples"]
    at: AwareDatetime
    looks: tuple[tuple[AwareDatetime, dict[str, tuple[float, float | None]]], ...] | None = None
    value: float | None = None
    gap: Why | None = None
    detail: str = ""


class Record:
    """What was answered, by question."""

    def __init__(self, said: Mapping[Key, Said]) -> None:
        self._said = said

    def answer(self, now: datetime, question: Asked) -> Said:
        """What was said to a question that was asked at an instant. Raises RecordError.

        One beside others may be missing: it was then not asked, or not answered in time.
        """
        key = (now, question.name, question.part)
        if key not in self._said and isinstance(question, Question) and question.beside:
            return Answer(gap=Why.NO_DATA, detail="not on record")
        if key not in self._said:
            asked = f"{question.name} ({question.part}) at {now.isoformat()}"
            raise RecordError(f"the record holds no answer for {asked}: it is not whole")
        return self._said[key]


def header(case: Case) -> str:
    """The first line of a record."""
    line = _Header(
        record=1,
        namespace=case.namespace,
        plan=case.name,
        run=case.run,
        spec=dict(case.raw),
        scrape=case.source.scrape,
        delay=case.source.delay,
        timeout=case.source.timeout,
        start=case.start,
        end=case.end,
        weights=case.weights,
        stages=None if case.stood is None else dict(case.stood),
    )
    return line.model_dump_json(by_alias=True)


def heard(now: datetime, question: Asked, said: Said) -> str:
    """The line of a record for one question."""
    about = question.end if isinstance(question, CountQuestion) else question.at
    answer: dict[str, Any]
    if isinstance(said, Answer):
        answer = {"value": said.value, "gap": said.gap, "detail": said.detail}
    else:
        answer = {"looks": [(at, dict(sample)) for at, sample in said]}
    line = _Heard(asked=now, predicate=question.name, part=question.part, at=about, **answer)
    return line.model_dump_json(exclude_defaults=True)


def read_record(lines: Iterable[str]) -> tuple[Case, Record]:
    """Read a record. Raises RecordError, with the number of the line."""
    case: Case | None = None
    said: dict[Key, Said] = {}
    for number, text in enumerate(lines, 1):
        try:
            if case is None:
                case = _case(_Header.model_validate_json(text))
            else:
                line = _Heard.model_validate_json(text)
                said[line.asked, line.predicate, line.part] = _said(line)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"]))
            words = f"{where}: {problem['msg']}" if where else problem["msg"]
            raise RecordError(f"line {number}: {words}") from None
        except SpecError as error:
            raise RecordError(f"line {number}: {error}") from None
    if case is None:
        raise RecordError("line 1: the record is empty")
    return case, Record(said)


def _case(line: _Header) -> Case:
    if resolve(read_plan_spec(line.spec), as_kept(())).problems:
        raise SpecError("spec: a template stands in it, and no record holds templates: record the run again")
    return Case(
        line.namespace,
        line.plan,
        line.spec,
        SourceView(line.scrape, line.delay, line.timeout),
        line.start,
        line.end,
        line.run,
        line.weights,
        line.stages,
    )


def _said(line: _Heard) -> Said:
    if line.looks is not None:
        return line.looks
    return Answer(line.value, line.gap, line.detail)
