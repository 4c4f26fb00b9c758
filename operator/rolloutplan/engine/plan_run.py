"""PlanRun: decides about one plan. It does no I/O and has no clock; every host drives it in the same way.

    facts, now -> advance -> effects -> (the host carries them out) -> on_result -> advance -> ...

It gets facts and results from its host (the loop, the tests, or replay) and returns effects to it. It holds the state
of a run that is not persisted: measurements, results, refusals and effects in flight. It also defines the order of a
pass:

- A status is written before its intent is carried out: the effects of a decision follow from the next snapshot, in
  which it is recorded. So the next leader decides the same after a crash, and edits in between are seen.
- In a rollback the weights wait for nothing: they are written in parallel with the status, whatever else is in flight.
  A status that cannot be written is kept in memory (`unwritten_status`), and later decisions start from it.
- A decision is published after it is recorded, never before, and in order; each sink has a cursor.
- Writes of one plan are sequential, except in a rollback. Queries, reads and publications run in parallel with them.

A host may refuse, delay, repeat, reorder and lose effects and results: each effect has a number, a late result is
ignored, and an effect without a result is given up. Losing a PlanRun loses nothing but time. It is one long class
because its methods share one state and the order in which they read and change it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final, cast

from rolloutplan.api.changes import change
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.status import RUNNING, Decision, Kind, Phase, RouteWeights, Status
from rolloutplan.api.status_patch import is_look_alone, status_patch
from rolloutplan.engine.analysis.availability import is_suspended
from rolloutplan.engine.analysis.measurements import apply_answers, count, due_queries, find_predicate, mark_asked
from rolloutplan.engine.decide import decide, decide_way_back
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
    name_of,
    target_of,
    version_of,
)
from rolloutplan.engine.model.queries import CountQuestion
from rolloutplan.engine.model.routes import UnusableError, holds, owner_of, select_rules
from rolloutplan.engine.model.sinks import RECORDS, cursors
from rolloutplan.engine.model.snapshot import (
    FAULT,
    NO_EFFECT,
    NO_MEASUREMENTS,
    Facts,
    ForeignUndo,
    GateAnswers,
    InForce,
    JobsStopped,
    JobView,
    Measurements,
    Pods,
    PreflightResult,
    QueryResult,
    Refusal,
    RouteView,
    Scaled,
    ServiceUsers,
    Snapshot,
    WorkloadView,
)
from rolloutplan.engine.model.transitions import TRAFFIC_SHIFTED_PHASES
from rolloutplan.engine.policy.policies import doubt_factor
from rolloutplan.engine.rules.commands.answer import MOST_ANSWERED
from rolloutplan.engine.rules.undo import plan_subject
from rolloutplan.engine.run.conditions import fault_words, query_warnings, with_fault
from rolloutplan.engine.run.end_state import MOST_REPAIRS
from rolloutplan.engine.run.future import TOLERATED, ahead, without_future
from rolloutplan.engine.run.new_side import NewSide
from rolloutplan.engine.run.undo import is_foreign
from rolloutplan.stats.verdict import Answer

LOST_AFTER: Final = timedelta(minutes=1)
"""After this an effect without a result is given up: no request of ours may take nearly as long."""
LOST_AFTER_URGENT: Final = timedelta(seconds=10)
"""The same in a rollback, for its status writes too: while one may still succeed, it is unknown whether weights must be
written again. Writing twice has the effect of writing once."""
READ_AGAIN: Final = timedelta(seconds=4)
"""How long a gateway may not answer before the route itself is read: the watch may be down."""
LOOK_EVERY: Final = timedelta(minutes=1)
"""How often a run is looked at at least, and says so: who is on call must see within minutes that nobody looks. More
than one write a minute for each run would be too much for that."""
LOOK_AGAIN: Final = timedelta(seconds=5)
"""When that is written again where the plan had changed meanwhile, or another write of it was in flight."""
LINT_AFTER: Final = timedelta(seconds=10)
"""After a start, evaluations come before linting."""
SHORTEST_PAUSE: Final = timedelta(milliseconds=50)
LONGEST_WARNINGS: Final = 2048
"""Characters of the message about queries that are probably wrong."""
LONGEST_PAUSE: Final = timedelta(seconds=2)
"""Between attempts that may succeed the next time. In a rollback `LONGEST_PAUSE_URGENT`."""
LONGEST_PAUSE_URGENT: Final = timedelta(seconds=1)
LONGEST_PAUSE_REFUSED: Final = timedelta(seconds=10)
"""Between attempts after a definite refusal: a person must fix the cause, and then need not wait long."""
LONGEST_PAUSE_WITHOUT_EFFECT: Final = timedelta(minutes=1)
"""Between writes that are accepted and change nothing: soon enough for whoever has mended the cause of it."""
NO_EFFECT_WORDS: Final = "accepted, and the weights did not change: look for a webhook that sets them back"
FAULT_OVER_AFTER: Final = timedelta(minutes=1)
"""How long an exception in a query or a read is reported after it could have been tried again."""
LONGEST_PAUSE_PUBLISHING: Final = timedelta(seconds=15)
RECORDED_WITHIN: Final = timedelta(seconds=10)
"""How long a deletion waits for the record of its run, from the newest decision, or from when this leader took it up:
no deletion hangs because a record cannot be written."""
FAULT_TOLD_EVERY: Final = timedelta(minutes=10)
"""A fault of the operator is published at most so often: the exception may come at every look."""
MAX_CONFLICTS_IN_A_ROW: Final = 8
"""So many times in a row a write may find its object changed before the next attempt waits too."""
READ_PLAN_WITHIN: Final = timedelta(seconds=30)
"""How long a new run with a rollback to do tries to read its plan; then it rolls back on what is known. A read takes
milliseconds, and an API server that cannot serve it does not accept a status write either."""
SHORTEST_SLEEP: Final = timedelta(seconds=1)
"""The shortest wait where a plan is due again at once without anything to do, so that no loop spins."""

UndoCommand = Callable[[str, RouteWeights, RouteView | None, RouteWeights | None, str], str]
"""Makes the command that restores the weights of a route, from the namespace and the weights. It takes away too what
runs have added to the route as it is seen, or as it will be with a target."""

_MOVING: Final = TRAFFIC_SHIFTED_PHASES | {Phase.ROLLING_BACK}
_WRITES: Final = frozenset({"status", "marks", "route", "job", "scale"})
_CONTENT_REFUSED: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Statuses that refuse the content, and would again: such a decision does not block later ones."""
_REPORTED_KINDS: Final = _WRITES | {"publication", "preflight", "stop"}
"""The kinds of effects whose refusal is a fact for decisions. For all others the missing answer is the fact."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A write was refused as if its object had changed. `version` is the version on which it was based."""

    version: str
    effect: Effect
    failure: Failure
    read: bool = False
    """Whether the object has been read since."""


class PlanRun:
    """One plan under one leader. A plan object with another uid, or another term of leadership, has another PlanRun."""

    _undo_built: tuple[tuple[object, ...], list[Mapping[str, Any] | None], str] | None = None
    """The command that `_undo_after` built last, after all that it was built from: most looks need the same."""

    def __init__(self, facts: Facts, now: datetime, *, undo_command: UndoCommand) -> None:
        self.uid = facts.plan.uid
        self._facts = facts
        self.measurements: Measurements = NO_MEASUREMENTS
        self.unwritten_status: Status | None = None
        """The status of a rollback that was carried out and is not known to be written."""
        self.refusals: dict[Key, Refusal] = {}
        self.results: dict[Key, Result] = {}
        """The newest result of each query and task, by its key."""
        self._undo_command = undo_command
        self._created_at = now
        self._has_read_plan = False
        """Whether this run has the plan from the API server itself. Until then the facts of a new leader may be older
        than the last write of the former one."""
        self._number = 0
        self._in_flight: dict[Key, tuple[Effect, datetime]] = {}
        self._doubts: dict[Key, _Doubt] = {}
        self._without_effect: dict[Key, RouteView] = {}
        """The routes as they were after a write without effect: another one is of use once they have changed."""
        self._conflicts: dict[Key, int] = {}
        """How often in a row the object of a write had changed."""
        self._published: dict[str, int] = {}
        """By sink the newest decision that it has, or that is not for it."""
        self._published_notice = ""
        """The reason of the refused status write that was published as a notice."""
        self._fault_told: datetime | None = None
        """When a fault of the operator was last published as a notice."""
        self._logged_seq = facts.status.seq
        self._new = NewSide(facts.new.version if facts.new else "", now)
        self._routes_read_at: datetime | None = None
        self._metadata_writes: tuple[datetime, ...] = ()
        self._answered_at: tuple[datetime, ...] = ()
        self._foreign_undo: dict[str, ForeignUndo] = {}
        """By their subject."""
        self._in_force: dict[RouteId, tuple[RouteWeights, InForce]] = {}
        """The generation in which the weights of the present intent were first seen in a route."""
        self._repairs: dict[RouteId, tuple[datetime, ...]] = {}
        self._lint_at = now + LINT_AFTER
        self._linted, self._warnings = "", query_warnings(facts.status)
        self._unanswered = ""
        """Which predicates had no answer before the run, of those that need one."""
        self._latest = now
        self.looked_at: datetime | None = None
        """When `advance` last decided about the run with all that it needs, and asked all queries that were due."""
        self._look_again_at = now
        """Before this, nothing is written only to say so."""
        self._source: tuple[str, ...] | None = None
        """The source that answered last: kind, name, uid, digest."""
        self._ahead: tuple[Status, Status] | None = None
        """A status with instants in the future, and the same without them."""
        self._clock_words = ""
        """What is to be told of such instants, once."""

    # ---- from facts to effects -----------------------------------------------------------------------------------

    def advance(self, facts: Facts, now: datetime) -> Effects:
        """The effects to carry out now, and when to reconcile again."""
        if now < self._latest - TOLERATED:
            self._turn_back(now)
        self._latest = now
        self._follow_source(facts)
        facts = self._without_future(facts, now)
        self._follow_sinks(facts, now)
        self._facts = facts
        self._give_up_lost(now)
        self._settle_doubts(facts, now)
        self._forget_without_effect(facts)
        if self.unwritten_status is not None and facts.status.seq >= self.unwritten_status.seq:
            self.unwritten_status = None
        snapshot = self.snapshot(facts, now)
        step = decide(snapshot)
        if self._forget_obsolete_refusals(snapshot, step):
            snapshot = self.snapshot(facts, now)
            step = decide(snapshot)
        step = self._until_recorded(snapshot, step, facts)
        self.looked_at = self.looked_at if facts.unread else now
        todo: list[Effect] = []
        if step.urgent:
            todo += self._rollback_effects(snapshot, step, facts)
        else:
            todo += self._evaluation_effects(snapshot)
            todo += self._progress_effects(snapshot, step, facts)
        todo += self._parallel_effects(snapshot, facts)
        todo += self._look_effects(snapshot)
        todo += self._cursor_effects(snapshot, facts)
        look_at = max(self._look_due_at(snapshot), now + LOOK_AGAIN) if snapshot.status.phase in RUNNING else None
        return Effects(tuple(todo), self._wake_at(snapshot, step), self._new_decisions(facts), look_at)

    def _until_recorded(self, snapshot: Snapshot, step: ReconcileResult, facts: Facts) -> ReconcileResult:
        """Do not let go of a deleted plan before its record has every decision: nobody would know what is missing."""
        through = self._published.get(RECORDS)
        owed = through is not None and any(each.seq > through for each in facts.status.decisions)
        if not owed or not any(isinstance(each, PatchPlanMetadata) and not each.finalizer for each in step.actions):
            return step
        if snapshot.plan.deleting is None:
            return step
        # Not from the deletion: the clock of the API server may be ahead.
        until = max(self._created_at, *(each.at for each in facts.status.decisions)) + RECORDED_WITHIN
        return step if snapshot.now >= until else replace(step, actions=(), wake_at=until)

    def _turn_back(self, now: datetime) -> None:
        """The clock was put back: what is remembered with a later instant would stop all until then."""
        self.measurements = NO_MEASUREMENTS
        for key in (PREFLIGHT, GATE, USERS):
            self.results.pop(key, None)
        self._in_flight = {
            key: (effect, min(until, now + LOST_AFTER))
            for key, (effect, until) in self._in_flight.items()
            if not isinstance(effect.work, Evaluate)
        }
        self.refusals = {
            key: replace(each, since=min(each.since, now), retry_at=min(each.retry_at, now + LONGEST_PAUSE))
            for key, each in self.refusals.items()
        }
        self._created_at = min(self._created_at, now)
        self._lint_at = min(self._lint_at, now + LINT_AFTER)
        self._look_again_at = min(self._look_again_at, now)
        self._new.turn_back(now)
        self._routes_read_at = self._routes_read_at and min(self._routes_read_at, now)
        self._metadata_writes = tuple(min(each, now) for each in self._metadata_writes)
        self._foreign_undo = {}
        self._answered_at = ()
        self._repairs = {route: tuple(min(each, now) for each in times) for route, times in self._repairs.items()}

    def _follow_source(self, facts: Facts) -> None:
        """Forget what another source has answered: its answers, and its counters, say nothing of this one's."""
        source = facts.source.object if facts.source else None
        identity = (source.kind, source.name, source.uid, source.digest) if source else None
        if identity is None or identity == self._source:
            return
        if self._source is not None:
            self.measurements = NO_MEASUREMENTS
            self.results.pop(GATE, None)
            self._in_flight = {
                key: kept for key, kept in self._in_flight.items() if not isinstance(kept[0].work, Evaluate)
            }
        self._source = identity

    def _without_future(self, facts: Facts, now: datetime) -> Facts:
        """The facts with a status without instants in the future. The next status that is written keeps that."""
        if self._ahead is None or self._ahead[0] != facts.status:
            excess = ahead(facts.status, now)
            self._ahead = (facts.status, without_future(facts.status, now)) if excess else None
            if excess:
                self._clock_words = (
                    f"the status has instants up to {excess.total_seconds():.0f} s ahead of this operator's clock: "
                    f"they count as now, so the stage's soak starts again; check the clocks of the nodes"
                )
        return replace(facts, status=self._ahead[1]) if self._ahead is not None else facts

    @property
    def fails(self) -> bool:
        """Whether an effect of the plan raised, and has not succeeded since."""
        return any(refusal.internal for refusal in self.refusals.values())

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
        _gather(todo, self._fault_notices(snapshot, words))
        _gather(todo, self._publish_effects(snapshot, facts))
        back = (self.unwritten_status or facts.status).phase is Phase.ROLLING_BACK
        pause = LONGEST_PAUSE_URGENT if back or step.urgent else LONGEST_PAUSE_REFUSED
        return Effects(tuple(todo), min([now + pause, *_known(step.wake_at)]), self._new_decisions(facts))

    def _snapshot_for_fault(self, facts: Facts, now: datetime) -> Snapshot:
        """The snapshot; where it cannot be made, one of the facts alone."""
        with suppress(Exception):
            facts = self._without_future(facts, now)
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
            )

    def _fault_notices(self, snapshot: Snapshot, words: str) -> Iterator[Effect]:
        """Publish once what failed, and again only after a while: the same exception may come at every look."""
        told = self._fault_told
        if told is not None and snapshot.now < told + FAULT_TOLD_EVERY:
            return
        self._fault_told = snapshot.now
        yield from self._notices(_fault_notice(snapshot, words), snapshot)

    def _notices(self, notice: Decision, snapshot: Snapshot) -> Iterator[Effect]:
        """Publish to each sink what no status records."""
        for sink in self._published:
            yield self._start(Key("notice", sink), Publish(sink, notice, recorded=False), snapshot)

    def snapshot(self, facts: Facts, now: datetime, status: Status | None = None) -> Snapshot:
        """Everything on which a decision may depend; with `status` if that is known to be newer than the facts."""
        status = status or self.unwritten_status or facts.status
        task = status.task
        self._note_in_force(facts, status, now)
        snapshot = Snapshot(
            plan=facts.plan,
            status=status,
            now=now,
            routes=facts.routes,
            taken_up_at=self._created_at,
            undo_after=partial(self._undo_after, facts, status),
            old=facts.old,
            new=self._new_side(facts, now),
            endpoints=facts.endpoints,
            routes_to_old=facts.routes_to_old,
            undo=facts.undo,
            source=facts.source,
            source_problem=facts.source_problem,
            preflight=cast("PreflightResult | None", self.results.get(PREFLIGHT)),
            measurements=self.measurements,
            awaited={
                key.name: effect.snapshot.now
                for key, (effect, _) in self._in_flight.items()
                if isinstance(effect.work, Evaluate)
            },
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
            warnings="; ".join(filter(None, (self._unanswered, self._warnings)))[:LONGEST_WARNINGS],
            refusals=tuple(
                refusal for key, refusal in self.refusals.items() if key.kind in _REPORTED_KINDS or refusal.internal
            ),
            epoch=facts.epoch,
            claim_at=facts.claim_at,
            grants=facts.grants,
            unread=facts.unread,
            unread_routes=facts.unread_routes,
            routers=facts.routers,
            own_kinds=facts.own_kinds,
            metadata_writes=self._metadata_writes,
            answered_at=self._answered_at,
            foreign_undo=self._foreign_undo,
            in_force={route: seen for route, (_, seen) in self._in_force.items()},
            repairs=self._repairs,
        )
        return (
            replace(snapshot, undo_command=self._current_undo_command(snapshot))
            if facts.undo or (snapshot.plan.spec and status.phase is Phase.EXPANDING)
            else snapshot
        )

    def _note_in_force(self, facts: Facts, status: Status, now: datetime) -> None:
        """Note when and in which generation of a route the requested weights are seen first. Others may raise that."""
        known, self._in_force = self._in_force, {}
        back = status.intent is not None and status.intent.action == "Restore"
        for route in status.intent.routes if status.intent else ():
            view = facts.routes.get(route.id)
            if view is not None and holds(view, route, status.weights, facts.plan.uid[:8], back=back):
                before = known.get(route.id)
                same = before is not None and before[0] == route
                self._in_force[route.id] = before if before and same else (route, InForce(view.generation, now))

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

    def _current_undo_command(self, snapshot: Snapshot) -> str:
        """The command that would restore the present weights of the routes, or those of a lost run."""
        try:
            routes = snapshot.undo or select_rules(snapshot)
            views = snapshot.routes
            namespace, owner = snapshot.plan.namespace, owner_of(snapshot)
            commands = (self._undo_command(namespace, route, views.get(route.id), None, owner) for route in routes)
            return " && ".join(commands)
        except UnusableError:
            return ""

    def _undo_after(self, facts: Facts, status: Status, targets: Sequence[RouteWeights]) -> str:
        """The command that restores the weights from before the run once the routes are as these targets.

        Empty where a route is not known: then it is the one in the status.
        """
        views = {route.id: facts.routes.get(route.id) for route in status.weights.snapshot}
        raws = [None if view is None else view.raw for view in views.values()]
        made_of = (views, status.weights, tuple(targets), facts.own_kinds)
        known = self._undo_built
        if known is None or known[0] != made_of or any(now is not was for now, was in zip(raws, known[1], strict=True)):
            known = self._undo_built = made_of, raws, self._build_undo(facts, status, targets)
        return known[2]

    def _build_undo(self, facts: Facts, status: Status, targets: Sequence[RouteWeights]) -> str:
        views = facts.routes
        if any(route.id not in views for route in status.weights.snapshot):
            return ""
        by_route = {route.id: route for route in targets}
        try:
            return " && ".join(
                self._undo_command(
                    facts.plan.namespace, route, views.get(route.id), by_route.get(route.id), facts.plan.uid[:8]
                )
                for route in status.weights.snapshot
            )
        except LookupError:
            return ""

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
        if recording is not None and version_of(recording[0]) != facts.plan.version:
            del self._in_flight[STATUS]
            recording = None
        if self.unwritten_status is None and recording is not None:
            pending_status = cast("Record", recording[0].work).status
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
        if any(key.kind in _WRITES for key in self._in_flight):
            return
        if step.status is not None or self.unwritten_status is not None:
            recorded = [*self._record_effects(step.status or self.unwritten_status, snapshot, facts)]
            yield from recorded
            refused = STATUS in self.refusals or STATUS in self._doubts
            if recorded or (refused and not snapshot.plan.deleting):
                return
        for action in step.actions:
            key = key_of(action)
            if self._may_start(key, snapshot.now):
                yield self._start(key, action, snapshot)

    def _record_effects(self, status: Status | None, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """Write a status, with the cursors of the sinks, unless the API server has it already."""
        if status is None or not self._may_start(STATUS, snapshot.now):
            return
        look = (self.looked_at or status.last_look) if status.phase in RUNNING else None
        sent = cursors(status.published_through, self._published)
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
        routes = {
            target_of(doubt.effect) for key, doubt in self._doubts.items() if key.kind == "route" and not doubt.read
        }
        intent = snapshot.status.intent
        if intent is not None and snapshot.status.phase in _MOVING and snapshot.now >= self._next_route_read(intent.at):
            self._routes_read_at = snapshot.now
            routes |= {route.id for route in intent.routes}
        urgent = snapshot.status.phase is Phase.ROLLING_BACK
        for route in sorted(routes, key=str):
            key = Key("read", str(route))
            if self._may_start(key, snapshot.now, urgent=urgent):
                yield self._start(key, ReadRoute(route), snapshot, urgent=urgent)
        any_doubt = any(key in self._doubts and not self._doubts[key].read for key in (STATUS, MARKS))
        if any_doubt and self._may_start(READ_PLAN, snapshot.now):
            yield self._start(READ_PLAN, ReadPlan(), snapshot)

    def _next_route_read(self, since: datetime) -> datetime:
        return max(self._routes_read_at or since, since) + READ_AGAIN

    def _pod_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """List the pods of the new side during a run, when that is due. Nothing waits for the list."""
        new, status = snapshot.new, snapshot.status
        asked = status.phase in TRAFFIC_SHIFTED_PHASES or is_suspended(status)
        if new is None or not asked or not self._may_start(PODS, snapshot.now):
            return
        if self._new.is_list_due(new, status, snapshot.now):
            self._new.asked(new)
            yield self._start(PODS, ListPods(new.selector, new.containers), snapshot)

    def _lint_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Lint the queries, once for each version of what the plan is judged by."""
        spec = snapshot.plan.spec
        if (
            spec is not None
            and self._needs_lint(snapshot)
            and snapshot.now >= self._lint_at
            and self._may_start(LINT, snapshot.now)
        ):
            self._linted = spec.judged_hash()
            yield self._start(LINT, LintQueries(), snapshot)

    def _look_effects(self, snapshot: Snapshot) -> Iterator[Effect]:
        """Say that the run was looked at, where no other write of its plan says so for a minute."""
        status, now = snapshot.status, snapshot.now
        is_due = self.looked_at == now and now >= self._look_due_at(snapshot)
        if is_due and self._may_write_look(status) and self._may_start(LOOK, now):
            self._look_again_at = now + LOOK_EVERY
            yield self._start(LOOK, WriteLook(now, self._sent(self._facts, now)), snapshot)

    def _sent(self, facts: Facts, now: datetime) -> dict[str, int]:
        """The cursors of the notifiers to which a new leader would send again what they have."""
        present = {sink: self._published.get(sink.name, 0) for sink in facts.sinks if sink.own_status}
        return {s.name: through for s, through in present.items() if s.published_before(facts.status, now) < through}

    def _cursor_effects(self, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """Write how far the notifiers are after a run: nothing else is written then for long.

        Not every receiver knows what it got.
        """
        busy = any(key.kind in _WRITES or key.kind == "notification" for key in self._in_flight)
        over = facts.status.phase not in RUNNING and self.unwritten_status is None and not facts.plan.deleting
        newest = max((each.seq for each in facts.status.decisions), default=0)
        if over and not busy and any(through >= newest for through in self._sent(facts, snapshot.now).values()):
            yield from self._record_effects(facts.status, snapshot, facts)

    def _may_write_look(self, status: Status) -> bool:
        """Whether a run is under way, and no other write of its plan is: that one would find the plan changed."""
        in_flight = {STATUS, MARKS} & {*self._in_flight, *self._doubts}
        return status.phase in RUNNING and self.unwritten_status is None and not in_flight

    def _look_due_at(self, snapshot: Snapshot) -> datetime:
        """When the next look is to be written: a minute after the last one. One from the future says nothing."""
        last = snapshot.status.last_look
        is_known = last is not None and last <= snapshot.now + TOLERATED
        return max(last + LOOK_EVERY, self._look_again_at) if last is not None and is_known else self._look_again_at

    def _needs_lint(self, snapshot: Snapshot) -> bool:
        """Whether the plan may still be judged by its queries, and they have not been linted."""
        spec, ended = snapshot.plan.spec, snapshot.status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        return spec is not None and snapshot.source is not None and not ended and spec.judged_hash() != self._linted

    def _follow_sinks(self, facts: Facts, now: datetime) -> None:
        """Sinks come and go during a run; one that is gone keeps its cursor in the status."""
        self._published = {
            sink.name: self._published[sink.name]
            if sink.name in self._published
            else sink.published_before(facts.status, now)
            for sink in facts.sinks
        }

    def _publish_effects(self, snapshot: Snapshot, facts: Facts) -> Iterator[Effect]:
        """The next decision for each sink, of those recorded in the API server."""
        for sink in facts.sinks:
            key, through = (
                Key("notification" if sink.own_status else "publication", sink.name),
                self._published.get(sink.name),
            )
            decision = next(
                (each for each in facts.status.decisions if through is not None and each.seq > through), None
            )
            if decision is not None and self._may_start(key, snapshot.now):
                yield self._start(key, Publish(sink.name, decision), snapshot)
        if self._clock_words:
            notice = Decision(
                seq=snapshot.status.seq,
                at=snapshot.now,
                kind=Kind.PERSIST,
                reason=EventReason.CLOCK_BEHIND,
                note=self._clock_words,
            )
            self._clock_words = ""
            yield from self._notices(notice, snapshot)
        unwritten = self.refusals.get(STATUS)
        if unwritten is None:
            self._published_notice = ""
        elif unwritten.is_due(snapshot.now) and self._published_notice != unwritten.reason:
            self._published_notice = unwritten.reason
            yield from self._notices(_notice(snapshot, unwritten), snapshot)

    # ---- effects in flight ---------------------------------------------------------------------------------------

    def _start(self, key: Key, work: Work, snapshot: Snapshot, *, urgent: bool = False) -> Effect:
        self._number += 1
        effect = Effect(self._number, key, work, snapshot, urgent)
        back = urgent or snapshot.status.phase is Phase.ROLLING_BACK
        self._in_flight[key] = effect, snapshot.now + (LOST_AFTER_URGENT if back else LOST_AFTER)
        return effect

    def _may_start(self, key: Key, now: datetime, *, urgent: bool = False) -> bool:
        """Whether no effect of this key is in flight, in doubt or just refused. A rollback does not wait for others."""
        in_flight, doubt, refusal = self._in_flight.get(key), self._doubts.get(key), self.refusals.get(key)
        if in_flight is not None and (not urgent or in_flight[0].urgent):
            return False
        if doubt is not None and (not urgent or doubt.effect.urgent):
            return False
        return refusal is None or now >= refusal.retry_at or (urgent and not refusal.urgent)

    def _give_up_lost(self, now: datetime) -> None:
        for effect, until in [*self._in_flight.values()]:
            if now >= until:
                words = f"no result within {(until - effect.snapshot.now).total_seconds():.0f} s"
                self.on_result(effect, Failure(0, "Lost", words), now)

    def _wake_at(self, snapshot: Snapshot, step: ReconcileResult) -> datetime | None:
        """The next instant at which there may be something to do, if no result comes before."""
        stage = snapshot.status.stage
        instants = [until for _, until in self._in_flight.values()]
        instants += [refusal.retry_at for refusal in self.refusals.values() if refusal.retry_at > snapshot.now]
        if step.wake_at is not None:
            instants.append(step.wake_at if step.wake_at > snapshot.now else snapshot.now + SHORTEST_SLEEP)
        if snapshot.status.intent is not None and snapshot.status.phase in _MOVING:
            instants.append(self._next_route_read(snapshot.status.intent.at))
        if snapshot.new is not None and snapshot.status.phase in _MOVING:
            instants += _known(self._new.list_at(snapshot.new, snapshot.status))
        if stage is not None and stage.warmup_until is not None:
            instants += _known(self._new.pods_awaited_until())
        if self._needs_lint(snapshot):
            instants.append(self._lint_at)
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
        in_flight = self._in_flight.get(effect.key)
        if in_flight is None or in_flight[0].number != effect.number:
            return
        del self._in_flight[effect.key]
        if isinstance(effect.work, WriteLook):
            if isinstance(result, Failure) and result.status == HTTPStatus.CONFLICT:
                self._look_again_at = now + LOOK_AGAIN
        elif isinstance(result, Failure):
            self._on_failure(effect, result, now)
        elif isinstance(result, NoEffect):
            self._without_effect[effect.key] = result.seen
            self._remember_refusal(effect, Failure(HTTPStatus.OK, NO_EFFECT, NO_EFFECT_WORDS), now)
        else:
            self.refusals.pop(effect.key, None)
            self._conflicts.pop(effect.key, None)
            self._on_success(effect, result)
            if isinstance(result, PreflightResult):
                self._take_warnings(result.warnings)
            self._note_foreign_undo(effect)
            self._note_answer(effect)
            succeeded = effect.snapshot.status.phase is Phase.SUCCEEDED
            if succeeded and isinstance(effect.work, PatchRoute) and effect.work.target.rules:
                before = self._repairs.get(effect.work.target.id, ())[1 - MOST_REPAIRS :]
                self._repairs = {**self._repairs, effect.work.target.id: (*before, effect.snapshot.now)}

    def _on_success(self, effect: Effect, result: Result) -> None:
        match effect.work:
            case Evaluate():
                self._apply_answers(effect, cast("Answers", result))
            case ListPods():
                self._new.listed(cast("Pods", result), effect.snapshot.new, effect.snapshot.now)
            case LintQueries():
                self._warnings = cast("str", result).removeprefix(self._unanswered).removeprefix("; ")
            case PatchPlanMetadata(finalizer=finalizer):
                self._metadata_writes = (*self._metadata_writes[-1:], effect.snapshot.now) if finalizer else ()
            case Publish(recorded=True):
                self._published[effect.work.sink] = effect.work.decision.seq
            case Record():
                self._has_read_plan = True
            case ReadPlan():
                self._has_read_plan = True
                self._mark_read(STATUS, MARKS)
            case ReadRoute():
                self._mark_read(Key("route", str(effect.work.route)))
            case RunPreflight() | CheckGate() | FindUsers() | RunJob() | StopJobs() | QueryOnce() | Scale():
                self.results[effect.key] = result
            case _:
                pass

    def _note_answer(self, effect: Effect) -> None:
        """Note that a status was written which answers a command."""
        if isinstance(effect.work, Record) and effect.work.status.tokens != effect.snapshot.status.tokens:
            self._answered_at = (*self._answered_at, effect.snapshot.now)[-MOST_ANSWERED:]

    def _note_foreign_undo(self, effect: Effect) -> None:
        """Note that a write has replaced an undo command of somebody else."""
        snapshot, work = effect.snapshot, effect.work
        match work:
            case PatchPlanMetadata(undo_annotation=undo):
                subject, text, by = plan_subject(snapshot), snapshot.plan.undo_annotation, snapshot.plan.undo_by
            case PatchRoute(target=target, undo_command=undo):
                view = snapshot.routes[target.id]
                subject, text, by = str(target.id), view.undo_annotation, view.undo_by
            case _:
                return
        if text == undo or not is_foreign(text, by):
            return
        known = self._foreign_undo.get(subject)
        before, count = (known.at, known.count + 1) if known else (None, 1)
        found = ForeignUndo(subject, by, snapshot.now, before, count)
        self._foreign_undo = {**self._foreign_undo, subject: found}

    def _take_warnings(self, warnings: str) -> None:
        """Note what the source said; a status of before may say the same."""
        if warnings != self._unanswered:
            self._warnings = self._warnings.removeprefix(warnings).removeprefix("; ")
            self._unanswered = warnings

    def _mark_read(self, *keys: Key) -> None:
        for key in keys:
            if key in self._doubts:
                self._doubts[key] = replace(self._doubts[key], read=True)

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

    # ---- refusals ------------------------------------------------------------------------------------------------

    def _on_failure(self, effect: Effect, failure: Failure, now: datetime) -> None:
        work = effect.work
        match work:
            case Record() | PatchPlanMetadata() | PatchRoute() if failure.may_be_stale and self._may_retry_conflict(
                effect.key
            ):
                self._doubts[effect.key] = _Doubt(version_of(effect), effect, failure)
                return
            case ReadPlan():
                self._mark_read(STATUS, MARKS)
            case ReadRoute():
                self._mark_read(Key("route", str(work.route)))
                return
            case Publish() if not work.recorded:
                return
            case Publish() if failure.status in _CONTENT_REFUSED or (self._facts.plan.deleting and failure.definite):
                self._published[work.sink] = work.decision.seq
            case ListPods():
                self._new.not_listed(now)
            case RunJob() if failure.definite:
                known = cast("JobView | None", self.results.get(effect.key)) or JobView(work.name, now)
                self.results[effect.key] = replace(known, at=now, waits_for="", retry_reason=failure.words)
            case Scale() if failure.definite:
                self.results[effect.key] = Scaled(work.deployment, now, retry_reason=failure.words)
            case _:
                pass
        self._remember_refusal(effect, failure, now)

    def _may_retry_conflict(self, key: Key) -> bool:
        self._conflicts[key] = self._conflicts.get(key, 0) + 1
        return self._conflicts[key] <= MAX_CONFLICTS_IN_A_ROW

    def _settle_doubts(self, facts: Facts, now: datetime) -> None:
        """If the object of a write has changed, the write is decided again; if not, it was refused."""
        for key, doubt in [*self._doubts.items()]:
            route = facts.routes.get(target_of(doubt.effect)) if key.kind == "route" else None
            version = (route.version if route else "") if key.kind == "route" else facts.plan.version
            if version != doubt.version or doubt.read:
                del self._doubts[key]
            if version == doubt.version and doubt.read:
                self._remember_refusal(doubt.effect, doubt.failure, now)

    def _forget_without_effect(self, facts: Facts) -> None:
        """A route that has changed since is written again at once."""
        for key, seen in [*self._without_effect.items()]:
            if facts.routes.get(seen.id) != seen:
                del self._without_effect[key]
                if key in self.refusals and self.refusals[key].reason == NO_EFFECT:
                    del self.refusals[key]

    def _forget_obsolete_refusals(self, snapshot: Snapshot, step: ReconcileResult) -> bool:
        """Forget refusals of what is no longer to be done, before they are reported; return whether there were any.

        While the plan is being deleted they are kept: they say how long that has tried to restore the weights.
        """
        if snapshot.plan.deleting or (step.status is not None and not step.only_reports_refusals):
            return False
        wanted = {key_of(action) for action in step.actions}
        has_task = snapshot.status.task is not None and snapshot.status.phase in RUNNING
        over = [
            key
            for key in self.refusals
            if (key.kind in ("route", "marks", "preflight", "stop") and key not in wanted)
            or (key.kind in ("job", "scale") and not has_task and key not in wanted)
            or (key == STATUS and self.unwritten_status is None and step.status is None)
            or (key.kind not in _REPORTED_KINDS and snapshot.now >= self.refusals[key].retry_at + FAULT_OVER_AFTER)
        ]
        for key in over:
            del self.refusals[key]
        return bool(over)

    def _remember_refusal(self, effect: Effect, failure: Failure, now: datetime) -> None:
        """Remember a refusal and when to retry: in a rollback at once, then soon, whatever the answer was."""
        known = self.refusals.get(effect.key)
        known = known if known is not None and known.urgent == effect.urgent else None
        failures = known.failures + 1 if known else 1
        pause = min(SHORTEST_PAUSE * 2 ** min(failures, 12), _longest_pause(effect, failure))
        if effect.urgent and failure.reason != NO_EFFECT:
            pause = timedelta(0) if failures == 1 else pause
        elif failure.retry_after is not None:
            pause = max(pause, timedelta(seconds=failure.retry_after))
        self.refusals[effect.key] = Refusal(
            kind=effect.key.kind,
            what=name_of(effect),
            reason=failure.reason,
            words=failure.message if failure.reason == FAULT else str(failure),
            definite=failure.definite,
            urgent=effect.urgent,
            since=known.since if known else now,
            retry_at=now + pause,
            failures=failures,
            uncertain=failure.uncertain or (known is not None and known.uncertain),
        )


def _gather(todo: list[Effect], effects: Iterator[Effect]) -> None:
    """Add effects, as far as they can be made: those after an exception are missing."""
    with suppress(Exception):
        todo.extend(effects)


def _fault_notice(snapshot: Snapshot, words: str) -> Decision:
    """The notice that the operator failed on a plan."""
    status, reason = snapshot.status, EventReason.OPERATOR_FAULT
    return Decision(seq=status.seq, at=snapshot.now, kind=Kind.HOLD, reason=reason, note=words[:1024], run=status.run)


def _known(at: datetime | None) -> tuple[datetime, ...]:
    return () if at is None else (at,)


def _longest_pause(effect: Effect, failure: Failure) -> timedelta:
    if isinstance(effect.work, Publish):
        return LONGEST_PAUSE_PUBLISHING
    if failure.reason == NO_EFFECT:
        return LONGEST_PAUSE_WITHOUT_EFFECT
    if effect.urgent:
        return LONGEST_PAUSE_URGENT
    return LONGEST_PAUSE_REFUSED if failure.definite or failure.reason == FAULT else LONGEST_PAUSE


def _notice(snapshot: Snapshot, refusal: Refusal) -> Decision:
    """The notice that the status cannot be written; no status can hold it."""
    note = f"{refusal.what} cannot be written: {refusal.words}; rollbacks still work, but the run does not go forward"
    reason = EventReason.STATUS_NOT_WRITTEN
    return Decision(seq=snapshot.status.seq, at=snapshot.now, kind=Kind.HOLD, reason=reason, note=note[:1024])
