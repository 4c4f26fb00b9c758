"""PlanRun: decides about one plan. It does no I/O and has no clock; every host drives it in the same way.

    facts, now -> advance -> effects -> (the host carries them out) -> on_result -> advance -> ...

It gets facts and results from its host (the loop, the tests, or replay) and returns effects to it. It holds what of a
run is not persisted: measurements, results, and in engine/memory what it remembers of its effects. It also defines the
order of a pass:

- A status is written before its intent is carried out: the effects of a decision follow from the next snapshot, in
  which it is recorded. So the next leader decides the same after a crash, and edits in between are seen.
- In a rollback the weights wait for nothing: they are written in parallel with the status, whatever else is in flight.
  A status that cannot be written is kept in memory (`unwritten_status`), and later decisions start from it.
- A decision is published after it is recorded, never before, and in order; each sink has a cursor.
- Writes of one plan are sequential, except in a rollback. Queries, reads and publications run in parallel with them.

A host may refuse, delay, repeat, reorder and lose effects and results: each effect has a number, a late result is
ignored, and an effect without a result is given up. Losing a PlanRun loses nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import groupby
from typing import Final, cast

from rolloutplan.api.changes import change
from rolloutplan.api.status import RUNNING, Decision, Phase, Status
from rolloutplan.api.status_patch import is_look_alone, status_patch
from rolloutplan.engine.analysis.availability import lists_pods
from rolloutplan.engine.analysis.measurements import apply_answers, count, due_queries, find_predicate, mark_asked
from rolloutplan.engine.decide import decide, decide_way_back
from rolloutplan.engine.memory.future import TOLERATED, Future
from rolloutplan.engine.memory.in_flight import InFlight
from rolloutplan.engine.memory.looks import Looks
from rolloutplan.engine.memory.new_side import NewSide
from rolloutplan.engine.memory.own_writes import OwnWrites
from rolloutplan.engine.memory.publishing import Publishing
from rolloutplan.engine.memory.query_warnings import QueryWarnings
from rolloutplan.engine.memory.refusals import LONGEST_PAUSE_REFUSED, LONGEST_PAUSE_URGENT, Refusals
from rolloutplan.engine.memory.undo_commands import UndoCommand, UndoCommands
from rolloutplan.engine.model.actions import (
    CheckGate,
    FindUsers,
    PatchPlanMetadata,
    PatchRoute,
    QueryOnce,
    ReconcileResult,
    RunJob,
    RunPreflight,
    Scale,
    StopJobs,
)
from rolloutplan.engine.model.effects import (
    GATE,
    LINT,
    LOOK,
    MARKS,
    PODS,
    PREFLIGHT,
    READ_PLAN,
    STATUS,
    STOP,
    USERS,
    WRITES,
    Answers,
    Effect,
    Effects,
    Evaluate,
    Failure,
    Key,
    LintQueries,
    ListPods,
    NoEffect,
    Publish,
    ReadPlan,
    ReadRoute,
    Record,
    Result,
    Work,
    WriteLook,
    key_of,
    version_of,
)
from rolloutplan.engine.model.queries import CountQuestion
from rolloutplan.engine.model.snapshot import (
    NO_MEASUREMENTS,
    Facts,
    GateAnswers,
    JobsStopped,
    JobView,
    Measurements,
    Pods,
    PreflightResult,
    QueryResult,
    Scaled,
    ServiceUsers,
    Snapshot,
    WorkloadView,
)
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.policy.policies import doubt_factor
from rolloutplan.engine.run.conditions import fault_words, with_fault
from rolloutplan.stats.verdict import Answer

READ_AGAIN: Final = timedelta(seconds=4)
"""How long a gateway may not answer before the route itself is read: the watch may be down."""
READ_PLAN_WITHIN: Final = timedelta(seconds=30)
"""How long a new run with a rollback to do tries to read its plan; then it rolls back on what is known. A read takes
milliseconds, and an API server that cannot serve it does not accept a status write either."""
SHORTEST_SLEEP: Final = timedelta(seconds=1)
"""The shortest wait where a plan is due again at once without anything to do, so that no loop spins."""

_MOVING: Final = TRAFFIC_SHIFTED_PHASES | {Phase.ROLLING_BACK}
_CONTENT_REFUSED: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses that refuse the content, and would again: such a decision does not block later ones."""


class PlanRun:
    """One plan under one leader. A plan object with another uid, or another term of leadership, has another PlanRun."""

    def __init__(self, facts: Facts, now: datetime, *, undo_command: UndoCommand) -> None:
        self.uid = facts.plan.uid
        self._facts = facts
        self.measurements: Measurements = NO_MEASUREMENTS
        self.unwritten_status: Status | None = None
        """The status of a rollback that was carried out and is not known to be written."""
        self.results: dict[Key, Result] = {}
        """The newest result of each query and task, by its key."""
        self._undo = UndoCommands(undo_command)
        self._created_at = now
        self._has_read_plan = False
        """Whether this run has the plan from the API server itself. Until then the facts of a new leader may be older
        than the last write of the former one."""
        self._in_flight = InFlight()
        self.refusals = Refusals()
        self._publishing = Publishing()
        self._writes = OwnWrites()
        self._looks = Looks(now)
        self._warnings = QueryWarnings(facts.status, now)
        self._future = Future()
        self._logged_seq = facts.status.seq
        self._new = NewSide(facts.new.version if facts.new else "", now, facts.claim_at)
        self._routes_read_at: datetime | None = None
        self._latest = now
        self._source: tuple[str, ...] | None = None
        """The source that answered last: kind, name, uid, digest."""

    # ---- from facts to effects -----------------------------------------------------------------------------------

    def advance(self, facts: Facts, now: datetime) -> Effects:
        """The effects to carry out now, and when to reconcile again."""
        if now < self._latest - TOLERATED:
            self._turn_back(now)
        self._latest = now
        self._follow_source(facts)
        facts = self._future.removed(facts, now)
        self._publishing.follow(facts.sinks, facts.status, now)
        self._facts = facts
        for effect, failure in self._in_flight.given_up(now):
            self.on_result(effect, failure, now)
        self.refusals.settle(facts, now)
        if self.unwritten_status is not None and facts.status.seq >= self.unwritten_status.seq:
            self.unwritten_status = None
        snapshot = self.snapshot(facts, now)
        step = decide(snapshot)
        if self.refusals.forget_obsolete(snapshot, step, is_unwritten=self.unwritten_status is not None):
            snapshot = self.snapshot(facts, now)
            step = decide(snapshot)
        step = self._until_recorded(snapshot, step, facts)
        if not facts.unread:
            self._looks.looked(now)
        todo: list[Effect] = []
        if step.urgent:
            todo += self._rollback_effects(snapshot, step, facts)
        else:
            todo += self._evaluation_effects(snapshot)
            todo += self._progress_effects(snapshot, step, facts)
        todo += self._parallel_effects(snapshot, facts)
        todo += self._look_effects(snapshot)
        todo += self._cursor_effects(snapshot, facts)
        look_at = self._looks.next_at(snapshot.status, now) if snapshot.status.phase in RUNNING else None
        return Effects(tuple(todo), self._wake_at(snapshot, step), self._new_decisions(facts), look_at)

    def _until_recorded(self, snapshot: Snapshot, step: ReconcileResult, facts: Facts) -> ReconcileResult:
        """Do not let go of a deleted plan before its record has every decision: nobody would know what is missing."""
        until = self._publishing.record_awaited_until(facts.status.decisions, self._created_at)
        if until is None or snapshot.plan.deleting is None or snapshot.now >= until:
            return step
        lets_go = any(isinstance(each, PatchPlanMetadata) and not each.finalizer for each in step.actions)
        return replace(step, actions=(), wake_at=until) if lets_go else step

    def _turn_back(self, now: datetime) -> None:
        """The clock was put back: what is remembered with a later instant would stop all until then."""
        self.measurements = NO_MEASUREMENTS
        for key in (PREFLIGHT, GATE, USERS):
            self.results.pop(key, None)
        self._created_at = min(self._created_at, now)
        self._routes_read_at = self._routes_read_at and min(self._routes_read_at, now)
        for memory in (self._in_flight, self.refusals, self._writes, self._looks, self._warnings, self._new):
            memory.turn_back(now)

    def _follow_source(self, facts: Facts) -> None:
        """Forget what another source has answered: its answers, and its counters, say nothing of this one's."""
        source = facts.source.object if facts.source else None
        identity = (source.kind, source.name, source.uid, source.digest) if source else None
        if identity is None or identity == self._source:
            return
        if self._source is not None:
            self.measurements = NO_MEASUREMENTS
            self.results.pop(GATE, None)
            self._in_flight.forget_evaluations()
        self._source = identity

    @property
    def looked_at(self) -> datetime | None:
        """When `advance` last decided about the run with all that it needs, and asked all queries that were due."""
        return self._looks.at

    @property
    def fails(self) -> bool:
        """Whether an effect of the plan raised, and has not succeeded since."""
        return self.refusals.has_fault()

    @property
    def right_to_record(self) -> str:
        """The right for want of which the status cannot be written, in words; empty where none is missing."""
        refusal = self.refusals.get(STATUS)
        return refusal.words if refusal is not None and refusal.lacks_right else ""

    def report_fault(self, facts: Facts, error: Exception, now: datetime) -> Effects:
        """The effects after `advance` raised: what leads back, and a status and an Event that tell of it.

        Whatever raised may raise here too, so each part is tried on its own. Queries and reads go on: a guard that
        trips meanwhile rolls back.
        """
        self._facts = facts
        snapshot = self._snapshot_for_fault(facts, now)
        words = fault_words(snapshot.status, f"{type(error).__name__}: {error}")
        step = decide_way_back(snapshot)
        decided = with_fault(snapshot, words, step.status) if step.status is not None else None
        step = replace(step, status=decided)
        todo: list[Effect] = []
        if step.urgent:
            _gather(todo, self._rollback_effects(snapshot, step, facts, decide_way_back))
        else:
            _gather(todo, self._evaluation_effects(snapshot))
            if decided is None and not step.actions and not facts.plan.deleting:
                step = replace(step, status=with_fault(snapshot, words))
            _gather(todo, self._progress_effects(snapshot, step, facts))
        _gather(todo, self._read_effects(snapshot))
        _gather(todo, self._pod_effects(snapshot))
        _gather(todo, self._started(self._publishing.fault_notices(snapshot, words), snapshot))
        _gather(todo, self._publish_effects(snapshot, facts))
        back = (self.unwritten_status or facts.status).phase is Phase.ROLLING_BACK
        pause = LONGEST_PAUSE_URGENT if back or step.urgent else LONGEST_PAUSE_REFUSED
        return Effects(tuple(todo), min([now + pause, *_known(step.wake_at)]), self._new_decisions(facts))

    def _snapshot_for_fault(self, facts: Facts, now: datetime) -> Snapshot:
        """The snapshot; where it cannot be made, one of the facts alone."""
        with suppress(Exception):
            facts = self._future.removed(facts, now)
        try:
            return self.snapshot(facts, now)
        except Exception:  # noqa: BLE001 - it is told already that something raises
            return Snapshot(
                plan=facts.plan,
                status=self.unwritten_status or facts.status,
                now=now,
                routes=facts.routes,
                old=facts.old,
                new=facts.new,
                endpoints=facts.endpoints,
                source=facts.source,
                measurements=self.measurements,
                route_conflicts=facts.route_conflicts,
                epoch=facts.epoch,
                claim_at=facts.claim_at,
                grants=facts.grants,
                unread=facts.unread,
                unread_routes=facts.unread_routes,
                unseen=facts.unseen,
            )

    def snapshot(self, facts: Facts, now: datetime, status: Status | None = None) -> Snapshot:
        """Everything on which a decision may depend; with `status` if that is known to be newer than the facts."""
        status = status or self.unwritten_status or facts.status
        task = status.task
        self._writes.see(facts, status, now)
        return Snapshot(
            plan=facts.plan,
            status=status,
            now=now,
            routes=facts.routes,
            taken_up_at=self._created_at,
            undo_after=partial(self._undo.after, facts, status),
            undo_now=self._undo.now,
            old=facts.old,
            new=self._new_side(facts, now),
            endpoints=facts.endpoints,
            routes_to_old=facts.routes_to_old,
            undo=facts.undo,
            source=facts.source,
            source_problem=facts.source_problem,
            preflight=cast("PreflightResult | None", self.results.get(PREFLIGHT)),
            measurements=self.measurements,
            awaited=self._in_flight.asked(),
            route_conflicts=facts.route_conflicts,
            policies=facts.policies,
            labels=facts.labels,
            queues=facts.queues,
            gate_answers=cast("GateAnswers | None", self.results.get(GATE)),
            users=cast("ServiceUsers | None", self.results.get(USERS)),
            job=cast("JobView | None", self.results.get(Key("job", task.job)) if task else None),
            jobs_stopped=cast("JobsStopped | None", self.results.get(STOP)),
            scaling=any(key.kind == "scale" for key in self._in_flight),
            query_result=cast("QueryResult | None", self.results.get(Key("observation", task.name)) if task else None),
            scaled=self._scaled(facts, status),
            warnings=self._warnings.text,
            refusals=self.refusals.reported(),
            epoch=facts.epoch,
            claim_at=facts.claim_at,
            grants=facts.grants,
            unread=facts.unread,
            unread_routes=facts.unread_routes,
            unseen=facts.unseen,
            route_notes=facts.route_notes,
            routers=facts.routers,
            own_kinds=facts.own_kinds,
            metadata_writes=self._writes.metadata,
            answered_at=self._writes.answered_at,
            foreign_undo=self._writes.foreign_undo,
            in_force=self._writes.in_force(),
            repairs=self._writes.repairs,
        )

    def _new_side(self, facts: Facts, now: datetime) -> WorkloadView | None:
        spec, new = facts.plan.written, facts.new
        if spec is None or new is None:
            return None
        weights = facts.status.weights
        served = facts.endpoints.get(weights.service or weights.new or spec.services.new)
        return self._new.view(new, spec.availability, now, unserved=served is not None and served.is_empty)

    def _scaled(self, facts: Facts, status: Status) -> Scaled | None:
        spec = facts.plan.written
        if spec is None:
            return None
        stops = status.task is not None and status.task.kind == "Stop"
        side = spec.old if stops or status.effective_phase is Phase.CONTRACTING else spec.new
        return cast("Scaled | None", self.results.get(Key("scale", side.deployment)))

    def _new_decisions(self, facts: Facts) -> tuple[Decision, ...]:
        known = self.unwritten_status or facts.status
        new = tuple(decision for decision in known.decisions if decision.seq > self._logged_seq)
        self._logged_seq = max(known.seq, self._logged_seq)
        return new

    # ---- rollback and progress -----------------------------------------------------------------------------------

    def _rollback_effects(
        self,
        snapshot: Snapshot,
        step: ReconcileResult,
        facts: Facts,
        decide_again: Callable[[Snapshot], ReconcileResult] = decide,
    ) -> Iterator[Effect]:
        """Write the weights first, whatever is in flight; write the status in parallel.

        A status write in flight may succeed: then the rollback starts from that status, not from the one before. If the
        plan's version has changed, the write has succeeded or no longer can. A new run first reads its plan, which
        another leader may have taken further.
        """
        if not self._has_read_plan and snapshot.now < self._created_at + READ_PLAN_WITHIN:
            if self._may_start(READ_PLAN, snapshot.now, urgent=True):
                yield self._start(READ_PLAN, ReadPlan(), snapshot, urgent=True)
            return
        recording = self._in_flight.get(STATUS)
        if recording is not None and version_of(recording) != facts.plan.version:
            self._in_flight.forget(STATUS)
            recording = None
        if self.unwritten_status is None and recording is not None:
            pending_status = cast("Record", recording.work).status
            snapshot = self.snapshot(facts, snapshot.now, pending_status)
            step = decide_again(snapshot)
            if not step.urgent:
                return
        if step.status is not None:
            self.unwritten_status = step.status
            snapshot = replace(snapshot, status=step.status)
        for action in step.actions:
            key, urgent = key_of(action), not isinstance(action, StopJobs | Scale)
            if self._may_start(key, snapshot.now, urgent=urgent):
                yield self._start(key, action, snapshot, urgent=urgent)
        yield from self._record_effects(self.unwritten_status, snapshot, facts)

    def _progress_effects(self, snapshot: Snapshot, step: ReconcileResult, facts: Facts) -> Iterator[Effect]:
        """Record a decision, or carry out a recorded one; one write at a time."""
        if any(key.kind in WRITES for key in self._in_flight):
            return
        if step.status is not None or self.unwritten_status is not None:
            recorded = [*self._record_effects(step.status or self.unwritten_status, snapshot, facts)]
            yield from recorded
            if recorded or (self.refusals.is_open(STATUS) and not snapshot.plan.deleting):
                return
        for action in step.actions:
            key = key_of(action)
            if self._may_start(key, snapshot.now):
                yield self._start(key, action, snapshot)

    def _record_effects(self, status: Status | None, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """Write a status, with the cursors of the sinks, unless the API server has it already."""
        if status is None or not self._may_start(STATUS, snapshot.now):
            return
        look = (self._looks.at or status.last_look) if status.phase in RUNNING else None
        sent = self._publishing.cursors(status)
        status = change(status, published_through=sent, last_look=look)
        patch = status_patch(facts.raw_status, status)
        if not is_look_alone(patch):
            yield self._start(STATUS, Record(status, patch), snapshot)

    # ---- queries, reads and publications -------------------------------------------------------------------------

    def _evaluation_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Query each predicate on its own, so that the first decisive answer acts and waits for no slower one."""
        questions = due_queries(snapshot.plan, snapshot.status, snapshot.source, snapshot.measurements, snapshot.now)
        due = [
            question
            for question in questions
            if Key("evaluation", question.name) not in self._in_flight and self._knows_pods(question.name, snapshot)
        ]
        if not due:
            return
        assert snapshot.plan.spec is not None  # without it nothing is due
        self.measurements = mark_asked(snapshot.plan.spec, snapshot.status, self.measurements, due, snapshot.now)
        for name, group in groupby(due, key=lambda question: question.name):
            yield self._start(Key("evaluation", name), Evaluate(name, tuple(group)), snapshot)  # type: ignore[arg-type]

    def _knows_pods(self, name: str, snapshot: Snapshot) -> bool:
        """Whether it is known which pods are new, or need not be: latency is not asked of those that need a warmup."""
        spec, at = snapshot.plan.spec, snapshot.status.stage
        until = self._new.pods_awaited_until()
        if until is None or snapshot.now >= until:
            return True
        predicate = find_predicate(spec, snapshot.status, name) if spec and at and at.warmup_until else None
        return predicate is None or not predicate.judges_latency

    def _parallel_effects(self, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        yield from self._read_effects(snapshot)
        yield from self._pod_effects(snapshot)
        yield from self._lint_effects(snapshot)
        yield from self._publish_effects(snapshot, facts)

    def _read_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Read objects in doubt; and routes periodically while a change of weights waits for its gateway."""
        routes = self.refusals.routes_to_read()
        intent = snapshot.status.intent
        if intent is not None and snapshot.status.phase in _MOVING and snapshot.now >= self._next_route_read(intent.at):
            self._routes_read_at = snapshot.now
            routes |= {route.id for route in intent.routes}
        urgent = snapshot.status.phase is Phase.ROLLING_BACK
        for route in sorted(routes, key=str):
            key = Key("read", str(route))
            if self._may_start(key, snapshot.now, urgent=urgent):
                yield self._start(key, ReadRoute(route), snapshot, urgent=urgent)
        if self.refusals.must_read_plan() and self._may_start(READ_PLAN, snapshot.now):
            yield self._start(READ_PLAN, ReadPlan(), snapshot)

    def _next_route_read(self, since: datetime) -> datetime:
        return max(self._routes_read_at or since, since) + READ_AGAIN

    def _pod_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """List the pods of the new side during a run, when that is due."""
        new, status = snapshot.new, snapshot.status
        if new is None or not lists_pods(status) or not self._may_start(PODS, snapshot.now):
            return
        if self._new.is_list_due(new, status, snapshot.now):
            self._new.asked(new)
            yield self._start(PODS, ListPods(new.selector, new.containers), snapshot)

    def _lint_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Lint the queries, once for each version of what the plan is judged by."""
        if self._warnings.is_due(snapshot) and self._may_start(LINT, snapshot.now):
            self._warnings.asked(snapshot)
            yield self._start(LINT, LintQueries(), snapshot)

    def _look_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Say that the run was looked at, where no other write of its plan says so for a minute."""
        status, now = snapshot.status, snapshot.now
        is_due = self._looks.at == now and now >= self._looks.due_at(status, now)
        if is_due and self._may_write_look(status) and self._may_start(LOOK, now):
            self._looks.writing(now)
            sent = self._publishing.only_known_here(self._facts.sinks, self._facts.status, now)
            yield self._start(LOOK, WriteLook(now, sent), snapshot)

    def _cursor_effects(self, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """Write how far the notifiers are after a run: nothing else is written then for long.

        Not every receiver knows what it got.
        """
        busy = any(key.kind in WRITES or key.kind == "notification" for key in self._in_flight)
        over = facts.status.phase not in RUNNING and self.unwritten_status is None and not facts.plan.deleting
        newest = max((each.seq for each in facts.status.decisions), default=0)
        if over and not busy:
            sent = self._publishing.only_known_here(facts.sinks, facts.status, snapshot.now)
            if any(through >= newest for through in sent.values()):
                yield from self._record_effects(facts.status, snapshot, facts)

    def _may_write_look(self, status: Status) -> bool:
        """Whether a run is under way, and no other write of its plan is: that one would find the plan changed."""
        open_keys = any(key in self._in_flight or self.refusals.is_in_doubt(key) for key in (STATUS, MARKS))
        return status.phase in RUNNING and self.unwritten_status is None and not open_keys

    def _publish_effects(self, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """The next decision for each sink, of those recorded in the API server."""
        due = self._publishing.due(facts.sinks, facts.status.decisions)
        yield from self._started((each for each in due if self._may_start(each[0], snapshot.now)), snapshot)
        yield from self._started(self._publishing.clock_notices(snapshot, self._future.words()), snapshot)
        unwritten = self.refusals.get(STATUS)
        yield from self._started(self._publishing.unwritten_notices(snapshot, unwritten), snapshot)

    def _started(self, works: Iterable[tuple[Key, Work]], snapshot: Snapshot) -> Iterator[Effect]:
        return (self._start(key, work, snapshot) for key, work in works)

    # ---- effects in flight ---------------------------------------------------------------------------------------

    def _start(self, key: Key, work: Work, snapshot: Snapshot, *, urgent: bool = False) -> Effect:
        return self._in_flight.start(key, work, snapshot, urgent=urgent)

    def _may_start(self, key: Key, now: datetime, *, urgent: bool = False) -> bool:
        """Whether no effect of this key is in flight, in doubt or just refused. A rollback does not wait for others."""
        in_flight = self._in_flight.get(key)
        waits = in_flight is not None and (not urgent or in_flight.urgent)
        return not waits and not self.refusals.blocks(key, now, urgent=urgent)

    def _wake_at(self, snapshot: Snapshot, step: ReconcileResult) -> datetime | None:
        """The next instant at which there may be something to do, if no result comes before."""
        stage = snapshot.status.stage
        instants = [*self._in_flight.wake_at(), *self.refusals.wake_at(snapshot.now)]
        if step.wake_at is not None:
            instants.append(step.wake_at if step.wake_at > snapshot.now else snapshot.now + SHORTEST_SLEEP)
        if snapshot.status.intent is not None and snapshot.status.phase in _MOVING:
            instants.append(self._next_route_read(snapshot.status.intent.at))
        if snapshot.new is not None and snapshot.status.phase in _MOVING:
            instants += _known(self._new.list_at(snapshot.new, snapshot.status))
        if stage is not None and stage.warmup_until is not None:
            instants += _known(self._new.pods_awaited_until())
        instants += _known(self._warnings.lint_at(snapshot))
        return min((at for at in instants if at > snapshot.now), default=None)

    def still_wants(self, effect: Effect) -> bool:
        """Whether the task of a Job or a scaling is still the current one, by the newest known status; or a look owed.

        The host asks before it sends the request: a run may have ended since.
        """
        status = self.unwritten_status or self._facts.status
        if isinstance(effect.work, WriteLook):
            return self._may_write_look(status)
        task = status.task
        if task is None or status.run != effect.snapshot.status.run or self._facts.plan.deleting:
            return False
        match effect.work:
            case RunJob(name=name):
                return task.job == name and task.kind != "Stop"
            case Scale(replicas=replicas):
                return replicas == (task.replicas_before if task.kind == "Stop" else task.replicas)
            case _:
                return True

    # ---- results -------------------------------------------------------------------------------------------------

    def on_result(self, effect: Effect, result: Result, now: datetime) -> None:
        """Apply the result of an effect. A late or repeated result is ignored."""
        if not self._in_flight.ended(effect):
            return
        if isinstance(effect.work, WriteLook):
            if isinstance(result, Failure) and result.status == HTTPStatus.CONFLICT:
                self._looks.not_written(now)
        elif isinstance(result, Failure):
            self._on_failure(effect, result, now)
        elif isinstance(result, NoEffect):
            self.refusals.had_no_effect(effect, result.seen, now)
        else:
            self.refusals.succeeded(effect.key)
            self._writes.succeeded(effect)
            self._on_success(effect, result)

    def _on_success(self, effect: Effect, result: Result) -> None:
        match effect.work:
            case Evaluate():
                self._apply_answers(effect, cast("Answers", result))
            case ListPods():
                self._new.listed(cast("Pods", result), effect.snapshot.new, effect.snapshot.now)
            case LintQueries():
                self._warnings.found(cast("str", result))
            case Publish():
                self._publishing.published(effect.work)
            case Record():
                self._has_read_plan = True
            case ReadPlan():
                self._has_read_plan = True
                self.refusals.read(STATUS, MARKS)
            case ReadRoute():
                self.refusals.read(Key("route", str(effect.work.route)))
            case RunPreflight():
                self.results[effect.key] = result
                self._warnings.unanswered(cast("PreflightResult", result).warnings)
            case CheckGate() | FindUsers() | RunJob() | StopJobs() | QueryOnce() | Scale():
                self.results[effect.key] = result
            case _:
                pass

    def _apply_answers(self, effect: Effect, answers: Answers) -> None:
        """Apply the answers for one predicate to the measurements, by the present plan and status."""
        work, facts, asked_at = cast("Evaluate", effect.work), self._facts, effect.snapshot.now
        spec, source, status = facts.plan.spec, facts.source, self.unwritten_status or facts.status
        if spec is None or source is None or not answers:
            return
        if isinstance(work.questions[0], CountQuestion):
            doubt = doubt_factor(facts.policies, status.stage)
            self.measurements = count(spec, status, source, self.measurements, work.name, answers, asked_at, doubt)
        else:
            values = {part: answer for part, answer in answers.items() if isinstance(answer, Answer)}
            self.measurements = apply_answers(spec, status, self.measurements, work.name, values, asked_at)

    # ---- failures ------------------------------------------------------------------------------------------------

    def _on_failure(self, effect: Effect, failure: Failure, now: datetime) -> None:
        work = effect.work
        match work:
            case Record() | PatchPlanMetadata() | PatchRoute() if self.refusals.doubted(effect, failure):
                return
            case ReadPlan():
                self.refusals.read(STATUS, MARKS)
            case ReadRoute():
                self.refusals.read(Key("route", str(work.route)))
                return
            case Publish() if not work.recorded:
                return
            case Publish() if failure.status in _CONTENT_REFUSED or (self._facts.plan.deleting and failure.definite):
                self._publishing.published(work)
            case ListPods():
                self._new.not_listed(now)
            case RunJob() if failure.definite:
                known = cast("JobView | None", self.results.get(effect.key)) or JobView(work.name, now)
                self.results[effect.key] = replace(known, at=now, waits_for="", retry_reason=failure.words)
            case Scale() if failure.definite:
                self.results[effect.key] = Scaled(work.deployment, now, retry_reason=failure.words)
            case _:
                pass
        self.refusals.refused(effect, failure, now)


def _gather(todo: list[Effect], effects: Iterator[Effect]) -> None:
    """Add effects, as far as they can be made: those after an exception are missing."""
    with suppress(Exception):
        todo.extend(effects)


def _known(at: datetime | None) -> tuple[datetime, ...]:
    return () if at is None else (at,)
