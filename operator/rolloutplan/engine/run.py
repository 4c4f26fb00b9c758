"""PlanRun: the object that decides about one plan. It does no I/O and has no clock; every host drives it the same way.

    facts, now -> advance -> effects -> (the host carries them out) -> on_result -> advance -> ...

It owns all of a run that is not persisted: what was measured, what was answered, what was refused, what is under way;
and the order of a pass:

- A status is written before what it intends is done: the effects of a decision follow from the next snapshot, in which
  it is recorded. So whoever comes after a crash decides the same, and what a person wrote in between is seen.
- On the way back the weights wait for nothing: they go beside the record, over whatever else is under way. A status
  that cannot be written then is owed, and everything goes on from it.
- A decision is published when it is recorded, never before, and in order; each sink has a cursor.
- Writes of one plan go one after the other, apart from a rollback. Questions, reads and publications go beside them.

A host may refuse, delay, repeat, reorder and lose effects and results: each effect has a number, what comes back late
counts as nothing, and what never comes back is given up. Losing a PlanRun loses nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import groupby
from typing import Final, cast

from rolloutplan.engine.ask import count, needs, note_asked, weigh
from rolloutplan.engine.counting import CountQuestion
from rolloutplan.engine.decide import decide
from rolloutplan.engine.effects import (
    GATE,
    LINT,
    MARKS,
    PODS,
    PREFLIGHT,
    READ_PLAN,
    STATUS,
    Answers,
    Effect,
    Effects,
    Evaluate,
    Failure,
    Key,
    LintQueries,
    ListPods,
    Pods,
    Publish,
    ReadPlan,
    ReadRoute,
    Record,
    Result,
    Work,
    key_of,
    name_of,
    target_of,
    version_of,
)
from rolloutplan.engine.look import (
    EMPTY_LEDGER,
    Facts,
    Heard,
    JobView,
    Ledger,
    Look,
    Observed,
    Probe,
    Refusal,
    Scaled,
    WorkloadView,
)
from rolloutplan.engine.policy import doubt_factor
from rolloutplan.engine.report import suspected
from rolloutplan.engine.routes import UnusableError, select_rules
from rolloutplan.engine.step import AskGate, Inspect, MarkPlan, Observe, PatchRoute, RunJob, Scale, Step
from rolloutplan.engine.table import MOVED
from rolloutplan.judge.verdict import Answer
from rolloutplan.plan.changes import change
from rolloutplan.plan.reasons import EventReason
from rolloutplan.plan.status import RUNNING, Decision, Kind, Phase, RouteWeights, Status, status_patch

LOST_AFTER: Final = timedelta(minutes=1)
"""An effect that has not come back by then never will: no request of ours may take nearly as long."""
LOST_AFTER_URGENT: Final = timedelta(seconds=10)
"""The same on the way back, for its records too: while one may be done, nobody knows whether weights must go back
again. A write that is done twice is done once."""
READ_AGAIN: Final = timedelta(seconds=4)
"""How long a gateway may say nothing before the route itself is asked: its watch may be down."""
COUNT_RESTARTS_AFTER: Final = timedelta(seconds=2)
"""After a start, weights that must go back come before the pods are counted."""
COUNT_RESTARTS_AGAIN: Final = timedelta(minutes=1)
"""After the pods could not be listed."""
LINT_AFTER: Final = timedelta(seconds=10)
"""After a start, judging comes before warning."""
RECENT: Final = timedelta(hours=1)
"""An older decision that was not published by then stays unpublished: an Event lives no longer."""
SHORTEST_PAUSE: Final = timedelta(milliseconds=50)
LONGEST_PAUSE: Final = timedelta(seconds=2)
"""Between attempts at what may succeed the next time. On the way back `LONGEST_PAUSE_URGENT`."""
LONGEST_PAUSE_URGENT: Final = timedelta(seconds=1)
LONGEST_PAUSE_REFUSED: Final = timedelta(seconds=10)
"""Between attempts at what was refused with a definite no: a person must mend it, who then need not wait long."""
LONGEST_PAUSE_PUBLISHING: Final = timedelta(seconds=15)
CHANGED_IN_A_ROW: Final = 8
"""So many times an object may have changed under our hands before the next attempt waits too."""
KNOWN_WITHIN: Final = timedelta(seconds=30)
"""How long a new run that is to go back tries to read its plan; then it goes back upon what is known. A read takes
milliseconds, and an API server that does not let it be read takes no record of it either."""
LEAST_SLEEP: Final = timedelta(seconds=1)
"""What asks to be looked at again at once, without anything to do, is looked at after this: no loop spins."""

UndoCommand = Callable[[str, RouteWeights], str]
"""Makes the command that puts the weights of a route back: takes the namespace and the weights."""

_MOVING: Final = MOVED | {Phase.REVERTING}
_WRITES: Final = frozenset({"status", "marks", "route", "job", "scale"})
_WRONG: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""What is refused for what it says, and would be again: it keeps back no later decision."""
_FACTS: Final = _WRITES | {"publication", "preflight"}
"""The kinds of effects whose refusal a decision looks at. Of all others the answer is missing, and that is known."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A write was refused as if its object had changed. `version` is the one that was written over."""

    version: str
    effect: Effect
    failure: Failure
    read: bool = False
    """Whether the object was read since."""


class PlanRun:
    """One plan as one leader serves it. A plan object of another uid, or another tenure, has another PlanRun."""

    def __init__(self, facts: Facts, now: datetime, *, undo_command: UndoCommand, sinks: Sequence[str] = ()) -> None:
        self.uid = facts.plan.uid
        self._facts = facts
        self.ledger: Ledger = EMPTY_LEDGER
        self.owed: Status | None = None
        """The status of a rollback that was acted upon and is not known to be written."""
        self.refusals: dict[Key, Refusal] = {}
        self.results: dict[Key, Result] = {}
        """The newest result of each question and task, by what it is about."""
        self._undo_command = undo_command
        self._born = now
        self._knows_the_plan = False
        """Whether the API server itself has shown the plan to this run. What a new leader has heard of it until then
        may be older than what the one before has written."""
        self._number = 0
        self._under_way: dict[Key, tuple[Effect, datetime]] = {}
        self._doubts: dict[Key, _Doubt] = {}
        self._changes: dict[Key, int] = {}
        """How often in a row an object had changed when it was to be written."""
        self._published = {sink: _published_before(facts.status, sink, now) for sink in sinks}
        self._noticed = ""
        """The refusal of a status that was published as a notice."""
        self._logged = facts.status.seq
        self._short_since: datetime | None = None
        self._pods: Pods | None = None
        self._pods_version = facts.new.version if facts.new else ""
        """Of the new Deployment, as its pods were listed last, or as it was first seen."""
        self._count_restarts_at = now + COUNT_RESTARTS_AFTER
        self._routes_read_at: datetime | None = None
        self._lint_at = now + LINT_AFTER
        self._linted, self._warnings = "", suspected(facts.status)

    # ---- what follows from the facts -----------------------------------------------------------------------------

    def advance(self, facts: Facts, now: datetime) -> Effects:
        """What is to be done now, and when to look again."""
        self._facts = facts
        self._give_up_lost(now)
        self._settle_doubts(facts, now)
        if self.owed is not None and facts.status.seq >= self.owed.seq:
            self.owed = None
        look = self.snapshot(facts, now)
        step = decide(look)
        if self._forget_unwanted(look, step):
            look = self.snapshot(facts, now)
            step = decide(look)
        todo: list[Effect] = []
        if step.urgent:
            todo += self._go_back(look, step, facts)
        else:
            todo += self._evaluations(look)
            todo += self._go_on(look, step, facts)
        todo += self._beside(look, facts)
        return Effects(tuple(todo), self._wake_at(look, step), self._news(facts))

    def snapshot(self, facts: Facts, now: datetime, status: Status | None = None) -> Look:
        """Everything that a decision may look at; from `status` if that is known to be newer than the facts."""
        status = status or self.owed or facts.status
        task = status.task
        look = Look(
            plan=facts.plan,
            status=status,
            now=now,
            routes=facts.routes,
            old=facts.old,
            new=self._new_side(facts, now),
            source=facts.source,
            source_problem=facts.source_problem,
            probe=cast("Probe | None", self.results.get(PREFLIGHT)),
            ledger=self.ledger,
            rivals=facts.rivals,
            policies=facts.policies,
            queues=facts.queues,
            heard=cast("Heard | None", self.results.get(GATE)),
            job=cast("JobView | None", self.results.get(Key("job", task.job)) if task else None),
            observed=cast("Observed | None", self.results.get(Key("observation", task.name)) if task else None),
            scaled=self._scaled(facts, status),
            warnings=self._warnings,
            refusals=tuple(refusal for key, refusal in self.refusals.items() if key.kind in _FACTS),
            epoch=facts.epoch,
            adopt_at=facts.adopt_at,
        )
        return replace(look, revert=self._revert(look)) if look.plan.spec and status.phase is Phase.EXPANDING else look

    def _new_side(self, facts: Facts, now: datetime) -> WorkloadView | None:
        spec, new = facts.plan.written, facts.new
        if spec is None or new is None:
            return None
        short = new.ready * 1000 < spec.availability.min_ready * new.wanted
        self._short_since = (self._short_since or now) if short else None
        restarts, worst = (self._pods.restarts, self._pods.worst) if self._pods else (None, "")
        return replace(new, restarts=restarts, worst=worst, short_since=self._short_since)

    def _scaled(self, facts: Facts, status: Status) -> Scaled | None:
        spec = facts.plan.written
        if spec is None:
            return None
        side = spec.old if status.stands_in is Phase.CONTRACTING else spec.new
        return cast("Scaled | None", self.results.get(Key("scale", side.deployment)))

    def _revert(self, look: Look) -> str:
        """The command that would put the routes back to the weights that they have now."""
        try:
            return " && ".join(self._undo_command(look.plan.namespace, route) for route in select_rules(look))
        except UnusableError:
            return ""

    def _news(self, facts: Facts) -> tuple[Decision, ...]:
        known = self.owed or facts.status
        new = tuple(decision for decision in known.decisions if decision.seq > self._logged)
        self._logged = max(known.seq, self._logged)
        return new

    # ---- back, and on --------------------------------------------------------------------------------------------

    def _go_back(self, look: Look, step: Step, facts: Facts) -> Iterator[Effect]:
        """Weights first, whatever is under way; the record beside them.

        A record that is under way may be done: then the way back begins from what it says, not from before it. Where
        the plan is another by now it is known to be done, or can be done no more. A new run makes sure of its plan
        first, which another leader may have taken further.
        """
        if not self._knows_the_plan and look.now < self._born + KNOWN_WITHIN:
            if self._may_start(READ_PLAN, look.now, urgent=True):
                yield self._start(READ_PLAN, ReadPlan(), look, urgent=True)
            return
        recording = self._under_way.get(STATUS)
        if recording is not None and version_of(recording[0]) != facts.plan.version:
            del self._under_way[STATUS]
            recording = None
        if self.owed is None and recording is not None:
            ahead = cast("Record", recording[0].work).status
            look = self.snapshot(facts, look.now, ahead)
            step = decide(look)
            if not step.urgent:
                return
        if step.status is not None:
            self.owed = step.status
            look = replace(look, status=step.status)
        for action in step.actions:
            key = key_of(action)
            if self._may_start(key, look.now, urgent=True):
                yield self._start(key, action, look, urgent=True)
        yield from self._record(self.owed, look, facts)

    def _go_on(self, look: Look, step: Step, facts: Facts) -> Iterator[Effect]:
        """Record what was decided, or do what is recorded; one after the other."""
        if any(key.kind in _WRITES for key in self._under_way):
            return
        if step.status is not None or self.owed is not None:
            recorded = [*self._record(step.status or self.owed, look, facts)]
            yield from recorded
            if recorded or STATUS in self.refusals or STATUS in self._doubts:
                return
        for action in step.actions:
            key = key_of(action)
            if self._may_start(key, look.now):
                yield self._start(key, action, look)

    def _record(self, status: Status | None, look: Look, facts: Facts) -> Iterator[Effect]:
        """Write a status, with the cursors of the sinks, unless the API server has it already."""
        if status is None or not self._may_start(STATUS, look.now):
            return
        status = change(status, published_through={**status.published_through, **self._published})
        patch = status_patch(facts.raw_status, status)
        if patch:
            yield self._start(STATUS, Record(status, patch), look)

    # ---- what goes beside ----------------------------------------------------------------------------------------

    def _evaluations(self, look: Look) -> Iterator[Effect]:
        """Ask each predicate on its own, so that the first decisive one acts and waits for none that is slower."""
        questions = needs(look.plan, look.status, look.source, look.ledger, look.now)
        due = [question for question in questions if Key("evaluation", question.name) not in self._under_way]
        if not due:
            return
        self.ledger = note_asked(look.status, self.ledger, due, look.now)
        for name, group in groupby(due, key=lambda question: question.name):
            yield self._start(Key("evaluation", name), Evaluate(name, tuple(group)), look)  # type: ignore[arg-type]

    def _beside(self, look: Look, facts: Facts) -> Iterator[Effect]:
        yield from self._reads(look)
        yield from self._pods_due(look)
        yield from self._lint_due(look)
        yield from self._publications(look, facts)

    def _reads(self, look: Look) -> Iterator[Effect]:
        """Read what was doubted; and the routes now and then, where a change of weights waits for its gateway."""
        routes = {
            target_of(doubt.effect) for key, doubt in self._doubts.items() if key.kind == "route" and not doubt.read
        }
        intent = look.status.intent
        if intent is not None and look.status.phase in _MOVING and look.now >= self._reading_at(intent.at):
            self._routes_read_at = look.now
            routes |= {route.id for route in intent.routes}
        urgent = look.status.phase is Phase.REVERTING
        for route in sorted(routes, key=str):
            key = Key("read", str(route))
            if self._may_start(key, look.now, urgent=urgent):
                yield self._start(key, ReadRoute(route), look, urgent=urgent)
        doubted = any(key in self._doubts and not self._doubts[key].read for key in (STATUS, MARKS))
        if doubted and self._may_start(READ_PLAN, look.now):
            yield self._start(READ_PLAN, ReadPlan(), look)

    def _reading_at(self, since: datetime) -> datetime:
        return max(self._routes_read_at or since, since) + READ_AGAIN

    def _pods_due(self, look: Look) -> Iterator[Effect]:
        """The new side has changed in mid-run, or nobody has counted its restarts: see why. What is known decides."""
        new = look.new
        if new is None or look.status.phase not in MOVED or not self._may_start(PODS, look.now):
            return
        if new.version != self._pods_version or (self._pods is None and look.now >= self._count_restarts_at):
            self._pods_version = new.version
            yield self._start(PODS, ListPods(new.selector), look)

    def _lint_due(self, look: Look) -> Iterator[Effect]:
        """Look for queries that cannot mean what they say, once for each plan as it is judged."""
        spec = look.plan.spec
        if (
            spec is not None
            and self._is_to_be_linted(look)
            and look.now >= self._lint_at
            and self._may_start(LINT, look.now)
        ):
            self._linted = spec.judged_hash()
            yield self._start(LINT, LintQueries(), look)

    def _is_to_be_linted(self, look: Look) -> bool:
        """Whether something may still be judged by the plan as it is, and nobody has looked at its queries."""
        spec, ended = look.plan.spec, look.status.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK)
        return spec is not None and look.source is not None and not ended and spec.judged_hash() != self._linted

    def _publications(self, look: Look, facts: Facts) -> Iterator[Effect]:
        """The next decision for each sink, of those that the API server has."""
        for sink, through in self._published.items():
            key = Key("publication", sink)
            decision = next((each for each in facts.status.decisions if each.seq > through), None)
            if decision is not None and self._may_start(key, look.now):
                yield self._start(key, Publish(sink, decision), look)
        unwritten = self.refusals.get(STATUS)
        if unwritten is None:
            self._noticed = ""
        elif unwritten.told_at(look.now) and self._noticed != unwritten.reason:
            self._noticed = unwritten.reason
            notice = _notice(look, unwritten)
            for sink in self._published:
                yield self._start(Key("notice", sink), Publish(sink, notice, recorded=False), look)

    # ---- what is under way ---------------------------------------------------------------------------------------

    def _start(self, key: Key, work: Work, look: Look, *, urgent: bool = False) -> Effect:
        self._number += 1
        effect = Effect(self._number, key, work, look, urgent)
        back = urgent or look.status.phase is Phase.REVERTING
        self._under_way[key] = effect, look.now + (LOST_AFTER_URGENT if back else LOST_AFTER)
        return effect

    def _may_start(self, key: Key, now: datetime, *, urgent: bool = False) -> bool:
        """Whether nothing about this is under way, doubted or refused a moment ago. A rollback overtakes."""
        under_way, doubt, refusal = self._under_way.get(key), self._doubts.get(key), self.refusals.get(key)
        if under_way is not None and (not urgent or under_way[0].urgent):
            return False
        if doubt is not None and (not urgent or doubt.effect.urgent):
            return False
        return refusal is None or now >= refusal.retry_at or (urgent and not refusal.urgent)

    def _give_up_lost(self, now: datetime) -> None:
        for effect, until in [*self._under_way.values()]:
            if now >= until:
                words = f"nothing was heard of it for {(until - effect.look.now).total_seconds():.0f} s"
                self.on_result(effect, Failure(0, "Lost", words), now)

    def _wake_at(self, look: Look, step: Step) -> datetime | None:
        """The next instant at which something could follow, if nothing comes back until then."""
        instants = [until for _, until in self._under_way.values()]
        instants += [refusal.retry_at for refusal in self.refusals.values() if refusal.retry_at > look.now]
        if step.wake_at is not None:
            instants.append(step.wake_at if step.wake_at > look.now else look.now + LEAST_SLEEP)
        if look.status.intent is not None and look.status.phase in _MOVING:
            instants.append(self._reading_at(look.status.intent.at))
        if look.new is not None and look.status.phase in MOVED and self._pods is None:
            instants.append(self._count_restarts_at)
        if self._is_to_be_linted(look):
            instants.append(self._lint_at)
        return min((at for at in instants if at > look.now), default=None)

    # ---- what comes back -----------------------------------------------------------------------------------------

    def on_result(self, effect: Effect, result: Result, now: datetime) -> None:
        """Take in what came of an effect. What comes late or twice counts as nothing."""
        under_way = self._under_way.get(effect.key)
        if under_way is None or under_way[0].number != effect.number:
            return
        del self._under_way[effect.key]
        if isinstance(result, Failure):
            self._failed(effect, result, now)
        else:
            self.refusals.pop(effect.key, None)
            self._changes.pop(effect.key, None)
            self._done(effect, result)

    def _done(self, effect: Effect, result: Result) -> None:
        match effect.work:
            case Evaluate():
                self._answered(effect, cast("Answers", result))
            case ListPods():
                self._pods = cast("Pods", result)
            case LintQueries():
                self._warnings = cast("str", result)
            case Publish(recorded=True):
                self._published[effect.work.sink] = effect.work.decision.seq
            case Record():
                self._knows_the_plan = True
            case ReadPlan():
                self._knows_the_plan = True
                self._have_read(STATUS, MARKS)
            case ReadRoute():
                self._have_read(Key("route", str(effect.work.route)))
            case Inspect() | AskGate() | RunJob() | Observe() | Scale():
                self.results[effect.key] = result
            case _:
                pass

    def _have_read(self, *keys: Key) -> None:
        for key in keys:
            if key in self._doubts:
                self._doubts[key] = replace(self._doubts[key], read=True)

    def _answered(self, effect: Effect, answers: Answers) -> None:
        """Fold the answers for one predicate into what was measured, by the plan and the status as they are now."""
        work, facts, asked_at = cast("Evaluate", effect.work), self._facts, effect.look.now
        spec, source, status = facts.plan.spec, facts.source, self.owed or facts.status
        if spec is None or source is None or not answers:
            return
        if isinstance(work.questions[0], CountQuestion):
            doubt = doubt_factor(facts.policies)
            self.ledger = count(spec, status, source, self.ledger, work.name, answers, asked_at, doubt)
        else:
            values = {part: answer for part, answer in answers.items() if isinstance(answer, Answer)}
            self.ledger = weigh(spec, status, self.ledger, work.name, values, asked_at)

    # ---- what was refused ----------------------------------------------------------------------------------------

    def _failed(self, effect: Effect, failure: Failure, now: datetime) -> None:
        work = effect.work
        match work:
            case Record() | MarkPlan() | PatchRoute() if failure.may_be_stale and self._changes_seldom(effect.key):
                self._doubts[effect.key] = _Doubt(version_of(effect), effect, failure)
                return
            case ReadPlan():
                self._have_read(STATUS, MARKS)
            case ReadRoute():
                self._have_read(Key("route", str(work.route)))
                return
            case Publish() if not work.recorded:
                return
            case Publish() if failure.status in _WRONG:
                self._published[work.sink] = work.decision.seq
            case ListPods():
                self._count_restarts_at = now + COUNT_RESTARTS_AGAIN
            case RunJob() if failure.definite:
                known = cast("JobView | None", self.results.get(effect.key)) or JobView(work.name, now)
                self.results[effect.key] = replace(known, at=now, hindered=failure.words)
            case Scale() if failure.definite:
                self.results[effect.key] = Scaled(work.deployment, now, hindered=failure.words)
            case _:
                pass
        self._refuse(effect, failure, now)

    def _changes_seldom(self, key: Key) -> bool:
        self._changes[key] = self._changes.get(key, 0) + 1
        return self._changes[key] <= CHANGED_IN_A_ROW

    def _settle_doubts(self, facts: Facts, now: datetime) -> None:
        """A write whose object is another by now is decided anew; one whose object is the same was refused."""
        for key, doubt in [*self._doubts.items()]:
            route = facts.routes.get(target_of(doubt.effect)) if key.kind == "route" else None
            version = (route.version if route else "") if key.kind == "route" else facts.plan.version
            if version != doubt.version or doubt.read:
                del self._doubts[key]
            if version == doubt.version and doubt.read:
                self._refuse(doubt.effect, doubt.failure, now)

    def _forget_unwanted(self, look: Look, step: Step) -> bool:
        """Forget what was refused and is not to be done any more, before it is told; say whether there was anything."""
        if step.status is not None and not step.tells:
            return False
        wanted = {key_of(action) for action in step.actions}
        has_task = look.status.task is not None and look.status.phase in RUNNING
        over = [
            key
            for key in self.refusals
            if (key.kind in ("route", "marks", "preflight") and key not in wanted)
            or (key.kind in ("job", "scale") and not has_task)
            or (key == STATUS and self.owed is None)
        ]
        for key in over:
            del self.refusals[key]
        return bool(over)

    def _refuse(self, effect: Effect, failure: Failure, now: datetime) -> None:
        """Remember what was refused, and when to try again: on the way back at once, then soon, whatever was said."""
        known = self.refusals.get(effect.key)
        known = known if known is not None and known.urgent == effect.urgent else None
        failures = known.failures + 1 if known else 1
        pause = min(SHORTEST_PAUSE * 2 ** min(failures, 12), _longest_pause(effect, failure))
        if effect.urgent:
            pause = timedelta(0) if failures == 1 else pause
        elif failure.retry_after is not None:
            pause = max(pause, timedelta(seconds=failure.retry_after))
        self.refusals[effect.key] = Refusal(
            kind=effect.key.kind,
            what=name_of(effect),
            reason=failure.reason,
            words=str(failure),
            definite=failure.definite,
            urgent=effect.urgent,
            since=known.since if known else now,
            retry_at=now + pause,
            failures=failures,
            uncertain=failure.uncertain or (known is not None and known.uncertain),
        )


def _longest_pause(effect: Effect, failure: Failure) -> timedelta:
    if isinstance(effect.work, Publish):
        return LONGEST_PAUSE_PUBLISHING
    if effect.urgent:
        return LONGEST_PAUSE_URGENT
    return LONGEST_PAUSE_REFUSED if failure.definite else LONGEST_PAUSE


def _published_before(status: Status, sink: str, now: datetime) -> int:
    """The newest decision that need not be published again: who led before may have died before it was."""
    through = status.published_through.get(sink, 0)
    missing = (each.seq for each in status.decisions if each.seq > through and each.at > now - RECENT)
    return next(missing, status.seq + 1) - 1


def _notice(look: Look, refusal: Refusal) -> Decision:
    """What is published where no status can hold it: that the status itself cannot be written."""
    note = (
        f"{refusal.what} is not written: {refusal.words}; weights still go back if they must, and nothing goes forward"
    )
    reason = EventReason.STATUS_NOT_WRITTEN
    return Decision(seq=look.status.seq, at=look.now, kind=Kind.HOLD, reason=reason, note=note[:1024])
