"""The rehearsal of a plan: `PlanRun` decides as in the operator, on a simulated cluster with traffic and faults.

Weights are in force as soon as they are written, Jobs and scalings succeed at once, and a person approves what needs
it. What goes wrong is said by faults (faults.py), what the queries answer by answers.py. Time is virtual: it leaps from
one instant at which there is something to do to the next. The same input and seed always give the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from rolloutplan.api.added import read_addition
from rolloutplan.api.command import Command, Verb, write_command
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.status import Decision, Phase, RouteWeights, Status
from rolloutplan.engine.model.actions import CheckGate, PatchRoute, QueryOnce, RunPreflight
from rolloutplan.engine.model.effects import Effect, Evaluate, ListPods, Result
from rolloutplan.engine.model.plan_view import PlanView, Readable
from rolloutplan.engine.model.policy_view import Labels
from rolloutplan.engine.model.queries import CountQuestion, Question, Side
from rolloutplan.engine.model.snapshot import (
    Facts,
    GateAnswers,
    Pods,
    PreflightResult,
    QueryResult,
    WorkloadView,
)
from rolloutplan.engine.model.weights import share
from rolloutplan.engine.plan_run import PlanRun
from rolloutplan.engine.policy.policies import in_force, kept
from rolloutplan.tools.rehearsal.draws import Draws
from rolloutplan.tools.rehearsal.faults import Happenings, Incident
from rolloutplan.tools.rehearsal.metrics import DOWN, Metrics
from rolloutplan.tools.rehearsal.model import PODS, TESTERS, Moment, RehearsalInput, Rehearsed
from rolloutplan.tools.rehearsal.traffic import Counters, Flow, Traffic
from rolloutplan.tools.simulated import Cluster, resized, routes_on_old

_PATIENCE: Final = timedelta(hours=1)
"""How long nothing may happen to a run that waits before the rehearsal ends: nobody comes to help it."""
MOST_INSTANTS: Final = 50_000
"""At which something is done: a week of a plan that evaluates every ten seconds, and minutes of computing."""
_MOST_TURNS: Final = 100
"""At one instant: many times what any decision takes to be recorded and carried out."""
_RESTARTS_EVERY: Final = timedelta(seconds=20)
"""How often a container that crashes starts again."""
_SLOWEST: Final = timedelta(seconds=50)
"""The longest that an answer takes: after a minute PlanRun gives up."""
_ENDS: Final = (Phase.SUCCEEDED, Phase.ROLLED_BACK)
_WAITS: Final = (Phase.HELD, Phase.PENDING, Phase.INVALID)


def rehearse(given: RehearsalInput) -> Rehearsed:
    """Run a plan through to its end. Raises RehearsalError where an answer or a fault names no predicate."""
    return _Host(given).run_through()


Harm: TypeAlias = Callable[[Counters], int]


class _Host:
    """The host of one `PlanRun`, and what goes on around it."""

    def __init__(self, given: RehearsalInput) -> None:
        self.given, self.spec, self.now = given, given.spec, given.start
        content = Readable(given.spec, tuple(given.templates))
        plan = PlanView(
            given.namespace, given.name, "rehearsal", 1, given.start, content, labels=given.labels, version="1"
        )
        pods = {ref.deployment: given.pods.get(ref.deployment, PODS) for ref in (given.spec.old, given.spec.new)}
        self.cluster = Cluster(plan, given.spec, Status(), given.source, routes_on_old(given.spec), pods)
        self.faults = Happenings(given.faults)
        self.traffic = Traffic(Draws(given.seed), given.source.scrape, given.start)
        self.metrics = Metrics(given, self.faults, self.traffic)
        self.run = PlanRun(self._facts(), self.now, undo_command=lambda *_: "")
        self.moments: list[Moment] = []
        self.late: list[tuple[datetime, Effect, Result]] = []
        """Answers of a slow source, and when they come."""
        self.share = 0
        """The new side's share that is in force."""
        self.commands = 0
        self.asked = ("", given.start)
        """The words of a run that waits for an approval, and since when."""
        self.approved = ""
        """The words that were answered last."""
        self.harmed = 0
        self.fault_at: datetime | None = None
        self.restored_at: datetime | None = None

    # ---- time --------------------------------------------------------------------------------------------------------

    def run_through(self) -> Rehearsed:
        gave_up, instants, latest = "", 0, self.now + self._longest()
        while not gave_up:
            wake_at = self._live()
            phase = self.cluster.status.phase
            if phase in _ENDS:
                break
            later = min((at for at in self._instants(wake_at) if at > self.now), default=None)
            instants += 1
            if later is None or (phase in _WAITS and later > self._quiet_until()):
                gave_up = "nothing more happens"
            elif later > latest:
                gave_up = f"it has no end within {format_duration(latest - self.given.start)}"
            elif instants > MOST_INSTANTS:
                gave_up = f"it was looked at {MOST_INSTANTS:,} times: write a longer interval"
            else:
                self._pass(later)
        return self._rehearsed(gave_up)

    def _longest(self) -> timedelta:
        """Longer than any run of the plan takes: policies may double its soaks, and faults hold it."""
        spec = self.spec
        stages = sum((2 * stage.deadline + spec.traffic.accepted_within for stage in spec.steps()), timedelta(0))
        faults = sum((each.after + (each.lasts or timedelta(0)) for each in self.given.faults), timedelta(0))
        tasks = sum((each.deadline for each in (*spec.expand.jobs, *spec.contract.jobs)), stages)
        tasks = sum((each.deadline for each in spec.assumptions), tasks)
        bake = 2 * spec.bake_for + spec.traffic.drain + spec.availability.ready_within
        return tasks + bake + faults + self._patience() + 24 * _PATIENCE

    def _patience(self) -> timedelta:
        rules = (self.spec.on_incident.after, self.spec.on_metrics_unavailable.after)
        return max(_PATIENCE, *(2 * after for after in rules if after is not None))

    def _quiet_until(self) -> datetime:
        """Until when something may still happen to a run that waits."""
        decided = [each.decision.at for each in self.moments[-1:]]
        return max([self.given.start, *decided, *self.faults.instants()]) + self._patience()

    def _instants(self, wake_at: datetime | None) -> Iterator[datetime]:
        yield from (at for at in (wake_at, self._approval_at()) if at is not None)
        yield from (at for at, *_ in self.late)
        yield from self.faults.instants()
        if self.faults.are_on(self.now, "pods crash"):
            yield self.now + _RESTARTS_EVERY

    def _pass(self, later: datetime) -> None:
        """Let time pass, and requests come, as it is now."""
        before = dict(self.traffic.counters)
        self.traffic.flow(self._flows(), later, scraped=not self.faults.are_on(self.now, "prometheus down"))
        for side, count in self._harmful().items():
            self.harmed += count(self.traffic.counters[side] - before[side])
        self.now = later

    # ---- one instant -------------------------------------------------------------------------------------------------

    def _live(self) -> datetime | None:
        """Everything that happens at this instant; returns when to look again."""
        for _ in range(_MOST_TURNS):
            began = self.faults.instants()
            self._change_cluster()
            wake_at = self._settle()
            self._follow()
            if began == self.faults.instants() and not self._is_command_due():
                return wake_at
        return self.now + timedelta(seconds=1)

    def _change_cluster(self) -> None:
        """Make the cluster as the faults of now and the people want it, and hand over what was late."""
        self._change_pods()
        self._accept()
        if (verb := self._command()) is not None:
            self.commands += 1
            text = write_command(Command(verb, f"rehearsal-{self.commands}", "rehearsed"))
            self.cluster.plan = replace(self.cluster.plan, command=text, command_by="rehearsal")
        come = [each for each in self.late if each[0] <= self.now]
        self.late = [each for each in self.late if each[0] > self.now]
        for _, effect, result in come:
            self.run.on_result(effect, result, self.now)

    def _accept(self) -> None:
        """Have the gateway say of each route whether it takes its weights."""
        refused = [each.incident.at or 1 for each in self.faults.on(self.now, "gateway refuses")]
        for id_, view in self.cluster.routes.items():
            given = self._share([RouteWeights(kind=id_.kind, name=id_.name, rules=view.rules)])
            accepted = not any(given >= at for at in refused)
            if accepted != view.accepted:
                why = "" if accepted else "the gateway refuses these weights"
                changed = replace(view, accepted=accepted, accepted_why=why)
                self.cluster.routes = {**self.cluster.routes, id_: changed}

    def _settle(self) -> datetime | None:
        """Decide and act until nothing follows at this instant."""
        for _ in range(_MOST_TURNS):
            effects = self.run.advance(self._facts(), self.now)
            for effect in effects.todo:
                self._carry_out(effect)
            self._note(effects.decided)
            if not effects.todo:
                return effects.wake_at
        return self.now + timedelta(seconds=1)

    def _note(self, decided: Sequence[Decision]) -> None:
        self._note_share()
        self.moments += [Moment(decision, self.share) for decision in decided]

    def _note_share(self) -> None:
        """Take in the weights that the gateway has accepted."""
        views = self.cluster.routes.values()
        if all(view.accepted for view in views):
            self.share = self._share([RouteWeights(kind=v.id.kind, name=v.id.name, rules=v.rules) for v in views])
        back = self.cluster.status.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
        self.restored_at = (self.restored_at or self.now) if back and not self.share else None

    def _share(self, routes: Sequence[RouteWeights]) -> int:
        return share(routes, *self.spec.names)

    def _follow(self) -> None:
        """See which faults begin with the weights of now."""
        stage = self.cluster.status.stage
        begun = stage is not None and stage.verified_at is not None
        asked = self.cluster.status.intent
        for each in self.faults.all:
            refuses = each.incident.what == "gateway refuses"
            wanted = self._share(asked.routes) if refuses and asked is not None else self.share
            each.follow(wanted, self.now, begun=begun or (refuses and asked is not None))
        harms = [each.begins for each in self.faults.on(self.now) if each.incident.harms]
        self.fault_at = min(filter(None, (self.fault_at, *harms)), default=None)

    # ---- people ------------------------------------------------------------------------------------------------------

    def _is_command_due(self) -> bool:
        written = (each.done for each in self.faults.on(self.now, "command"))
        return not all(written) or self._is_approval_due()

    def _command(self) -> Verb | None:
        """The command that somebody writes now."""
        for each in self.faults.on(self.now, "command"):
            if not each.done:
                each.done = True
                return Verb(each.incident.name)
        if self._is_approval_due():
            self.approved = self.cluster.status.message
            return Verb.APPROVE
        return None

    def _is_approval_due(self) -> bool:
        at = self._approval_at()
        return at is not None and at <= self.now

    def _approval_at(self) -> datetime | None:
        """When a person approves what waits for it now."""
        status, after = self.cluster.status, self.given.approved_after
        if status.reason != HoldReason.AWAITING_APPROVAL or after is None or status.message == self.approved:
            return None
        if self.asked[0] != status.message:
            self.asked = status.message, self.now
        return self.asked[1] + after

    # ---- pods and requests -------------------------------------------------------------------------------------------

    def _side(self, side: Side) -> WorkloadView:
        return self.cluster.sides[(self.spec.old if side == "old" else self.spec.new).deployment]

    def _pods_of(self, question: Question | CountQuestion) -> int:
        """How many pods count the requests of a side."""
        return max(self._side("old" if question.part.startswith("old") else "new").wanted, 1)

    def _lost(self, fault: Incident, side: WorkloadView) -> int:
        """How many pods of a Deployment a fault takes; both sides may be the same one."""
        if side not in [self._side(each) for each in fault.sides]:
            return 0
        lost = fault.number if fault.what == "pods crash" else round(fault.number * side.wanted)
        return min(int(lost), side.wanted)

    def _change_pods(self) -> None:
        failing = [each.incident for each in self.faults.on(self.now, "pods crash", "pods unready")]
        for name, side in self.cluster.sides.items():
            ready = side.wanted - max((self._lost(each, side) for each in failing), default=0)
            if ready != side.ready:
                self.cluster.sides[name] = resized(side, side.wanted, ready)

    def _pods(self) -> Pods:
        """What a list of the new side's pods shows. They became ready just before the run."""
        side = self._side("new")
        names = [f"pod-{i}" for i in range(side.wanted)]
        restarts, failed, worst = dict.fromkeys(names, 0), "", ""
        for each in self.faults.on(self.now, "pods crash", "pods unready"):
            if not (lost := self._lost(each.incident, side)):
                continue
            if each.incident.what == "pods unready":
                failed = failed or "a pod was ready and is not"
                continue
            failed, worst = "container app exited with 1", "CrashLoopBackOff: back-off restarting failed container"
            count = (self.now - (each.begins or self.now)) // _RESTARTS_EVERY + 1
            restarts |= dict.fromkeys(names[:lost], count)
        ready_at = dict.fromkeys(names, self.given.start)
        return Pods(restarts, worst=worst, failed=failed, lost=side.wanted - side.ready, ready_at=ready_at)

    def _flows(self) -> dict[Side, Flow]:
        """How requests come now, and what becomes of them."""
        left = min((each.incident.number for each in self.faults.on(self.now, "traffic drops")), default=1.0)
        rate, new, copied = self.given.traffic * left, self.share / 1000, 0.0
        added = {text for view in self.cluster.routes.values() for rule in view.rules for text in rule.added}
        for each in filter(None, map(read_addition, sorted(added))):
            if each.word == "mirror":
                copied = each.permille / 1000
            elif each.word in ("header", "cookie"):
                new = max(new, TESTERS)
        return {"new": self._flow("new", rate * (new + copied)), "old": self._flow("old", rate * (1 - new))}

    def _flow(self, side: Side, rate: float) -> Flow:
        bad = slow = self.given.bad
        slowed = False
        for each in self.faults.on(self.now):
            size = each.incident.size
            if size is None or side not in each.incident.sides:
                continue
            if each.incident.what == "errors":
                bad = max(bad, size.bad_share(self.given.bad))
            else:
                slow, slowed = max(slow, size.bad_share(self.given.bad)), slowed or size.times is not None
        return Flow(rate, bad if self._side(side).ready else 1.0, slow, slowed)

    def _harmful(self) -> Mapping[Side, Harm]:
        """Which requests of which side the faults of now harm."""
        found: dict[Side, Harm] = {}
        for each in self.faults.on(self.now):
            for side in each.incident.sides if each.incident.harms else ():
                found[side] = _slow if each.incident.what == "latency" and found.get(side) is not _bad else _bad
        return found

    # ---- what PlanRun asks for ---------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        given, facts = self.given, self.cluster.facts
        labels = Labels(given.labels, given.namespace_labels)
        policies = in_force(given.policies, given.namespace, labels, facts.status)
        return replace(facts, policies=policies, labels=kept(labels, given.policies))

    def _carry_out(self, effect: Effect) -> None:
        result = self._result(effect)
        if isinstance(effect.work, PatchRoute):
            self._follow()
            self._accept()
        if isinstance(effect.work, Evaluate) and self.faults.are_on(self.now, "prometheus slow"):
            self.late.append((self.now + min(self.given.source.timeout, _SLOWEST), effect, result))
        else:
            self.run.on_result(effect, result, self.now)

    def _result(self, effect: Effect) -> Result:
        match effect.work:
            case Evaluate(questions=questions):
                return {each.part: self.metrics.answer(each, self.now, self._pods_of(each)) for each in questions}
            case CheckGate(questions=gate):
                return GateAnswers(self.now, {each: self.metrics.once(each, self.now) for each in gate})
            case QueryOnce() as work:
                return QueryResult(work.name, self.now, self.metrics.once(work, self.now))
            case RunPreflight():
                found, down = self.cluster.carry_out(effect, self.now), self.faults.are_on(self.now, "prometheus down")
                assert isinstance(found, PreflightResult)
                return replace(found, down=DOWN.detail if down else "", pods=self._pods())
            case ListPods():
                return self._pods()
        return self.cluster.carry_out(effect, self.now)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _rehearsed(self, gave_up: str) -> Rehearsed:
        counters = self.traffic.counters
        return Rehearsed(
            self.given.start,
            self.now,
            self.cluster.status,
            tuple(self.moments),
            {name: reading.words(name) for name, reading in self.metrics.readings.items()},
            requests=counters["new"].total + counters["old"].total,
            exposed=counters["new"].total,
            harmed=self.harmed,
            fault_at=self.fault_at,
            restored_at=self.restored_at,
            gave_up=gave_up,
        )


def _bad(counted: Counters) -> int:
    return counted.bad


def _slow(counted: Counters) -> int:
    return max(counted.slow, counted.slowed)
