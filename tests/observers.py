"""The six invariants of the engine, as an outside observer sees them.

An observer reads nothing but the history: which status stood in the API server when, and who moved which weight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import Any

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.stage import FULL, Stage
from rolloutplan.api.status import TOKENS_KEPT, Decision, Phase, RouteWeights, RuleWeights, Status, read_status
from rolloutplan.engine.analysis.doubts import answer_timeout
from rolloutplan.engine.analysis.measurements import due_queries
from rolloutplan.engine.analysis.variables import predicates_hash
from rolloutplan.engine.decide import decide
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.rules.waiting import NO_LIMIT
from rolloutplan.engine.run.decision_log import REPEATABLE
from rolloutplan.stats.verdict import Answer, Outcome
from tests.situations import P, s
from tests.world import (
    START,
    Move,
    Record,
    Refusal,
    Rules,
    Shown,
    World,
    after,
    named,
)


def pair(rule: Mapping[str, int]) -> tuple[int, int]:
    return rule["v1"], rule["v2"]


def share(rule: Mapping[str, int]) -> Fraction:
    old, new = pair(rule)
    return Fraction(new, old + new) if new else Fraction(0)


Pairs = Mapping[int, tuple[int, int]]
"""The weights of the old and the new side in each rule of a route, by its place."""


def pairs(rules: Iterable[RuleWeights]) -> Pairs:
    return {rule.index: pair({b.service: b.weight for b in rule.backends}) for rule in rules}


def shown_to(snapshot: Snapshot) -> Mapping[str, Rules]:
    """The weights of the routes in a look."""
    return {
        route.name: tuple({backend.service: backend.weight for backend in rule.backends} for rule in view.rules)
        for route, view in snapshot.routes.items()
    }


def saved(routes: tuple[RouteWeights, ...], name: str) -> Pairs:
    """What a status says of a route."""
    return pairs(rule for route in routes if route.name == name for rule in route.rules)


def stage_of(world: World, status: Status) -> Stage:
    """The stage at which a status stands; where that is half way to its weight, at the weight that it says."""
    assert status.stage is not None
    stage, half = world.specs[status.plan_hash].steps()[status.stage.index], status.stage.halfway
    assert half is None or 0 < half < stage.permille, f"half way to {stage.name} is {half}"
    return stage if half is None else replace(stage, permille=half, half=True)


def changed_rules(move: Move) -> list[tuple[int, dict[str, int], dict[str, int]]]:
    """The rules that a move changed: place, weights before and after."""
    rules = enumerate(zip(move.before, move.after, strict=True))
    return [(place, before, after) for place, (before, after) in rules if before != after]


def intent(move: Move) -> str:
    """For what we changed weights: Shift, Repair or Restore; "" where it was somebody else."""
    if move.snapshot is None:
        return ""
    status = move.snapshot.status
    return "Restore" if status.phase is P.ROLLING_BACK else status.intent.action if status.intent else "Nothing"


def ours(world: World, what: str) -> Iterator[tuple[Move, Status]]:
    """Our own changes of weights for such an intent, each with the status that was acted upon."""
    return ((move, move.snapshot.status) for move in world.moves if move.snapshot is not None and intent(move) == what)


def judged(world: World, stage: Stage, status: Status) -> list[tuple[str, str, str]]:
    """Name, role and query of all that judges a stage, as they have to be fixed before its weight moves."""
    guards = world.specs[status.plan_hash].guards
    rows = [("guard", guards), ("fail", stage.fail), ("pass", stage.pass_), ("warn", stage.warn)]

    def query(predicate: Predicate) -> str:
        if predicate.alert is not None:
            return f"firing alerts with {predicate.alert.matchers}"
        if predicate.query is None:
            assert predicate.events is not None
            return f"{predicate.events.bad} of {predicate.events.total}"
        filled = predicate.query.replace("$deployment", "v2")
        return filled.replace("$window", f"{predicate.window.total_seconds():.0f}s")

    return [(predicate.name, role, query(predicate)) for role, predicates in rows for predicate in predicates]


def no_weight_rises_before_its_predicates_are_sealed(world: World) -> None:
    """Invariant 1: what will judge a weight stood in the API server before the weight was written."""
    assert not list(ours(world, "Nothing")), "written without an intent"
    for move, status in ours(world, "Shift"):
        where = f"{move.route} {move.before} -> {move.after} at {move.at:%H:%M:%S}, run {status.run}"
        assert status.phase in (P.SHIFTING, P.HELD) and status.stage and status.intent, f"{where}: {status.phase}"
        stood = any(record.at <= move.at and record.status == status for record in world.records)
        assert stood, f"{where}: written before it was recorded"
        stage = stage_of(world, status)
        right = all(share(now) == Fraction(stage.permille, 1000) for _, _, now in changed_rules(move))
        assert right, f"{where}: not the weight of {stage.name}"
        known = saved(status.weights.written, move.route)
        over = [place for place, was, _ in changed_rules(move) if pair(was) != known[place]]
        assert not over or status.intent.corrects, f"{where}: over another's weight"
        assert status.stage.predicates_hash == predicates_hash(stage, world.specs[status.plan_hash].guards), (
            f"{where}: another seal"
        )
        fixed = [(p.name, p.role, p.query) for p in status.predicates]
        assert fixed == judged(world, stage, status), f"{where}: other predicates are fixed"


def weights_are_put_right_as_they_were_read_back(world: World) -> None:
    """A repair: what was moved towards the new side goes back to what the plan holds, and nothing else moves.

    After a success, and while nobody answers on the old side, what was moved towards the old side is put right too.
    """
    for move, status in ours(world, "Repair"):
        known = saved(status.weights.written, move.route)
        assert all(pair(now) == known[place] for place, _, now in changed_rules(move)), f"repaired to {move.after}"
        risen = [place for place, was, now in changed_rules(move) if share(now) > share(was)]
        seen = move.snapshot.old if move.snapshot else None
        old = move.snapshot.endpoints.get(status.weights.old) if move.snapshot else None
        nobody = seen is None or seen.ready == 0 or (old is not None and old.ready == 0)
        outage = status.phase is P.SUCCEEDED and nobody
        assert outage or not risen, f"pushed forward as a repair: {move.before} -> {move.after}"


def nothing_goes_forward_after_a_failure_nor_two_stages_at_once(world: World) -> None:
    """Invariant 2. A person may name the last stage as the next one, or have the same one asked for again.

    After a warning the next stage comes half way first, and then in whole.
    """
    failed: set[int] = set()
    comes: dict[int, tuple[tuple[int, bool], Any, int]] = {}
    for event in world.history:
        if isinstance(event, Record):
            status = event.status
            if status.failed:
                failed.add(status.run)
            if status.stage is not None and status.stage.verified_at is not None:
                comes[status.run] = (what_follows(world, status), status.stage.judged_since, status.stage.index)
            elif status.stage is not None and status.intent is None:
                comes[status.run] = ((status.stage.index, status.stage.halfway is not None), event.at, -1)
        if not isinstance(event, Move) or event.snapshot is None or intent(event) != "Shift":
            continue
        status = event.snapshot.status
        assert status.run not in failed, f"run {status.run} goes forward after {status.failed}"
        assert status.stage is not None
        wanted, since, before = comes.get(status.run, ((0, False), event.at, -1))
        found = status.stage.index, status.stage.halfway is not None
        assert found == wanted, f"to stage and half way {found}, and not to {wanted}"
        if before == -1:
            continue
        spec = world.specs[status.plan_hash]
        for predicate in (*spec.guards, *spec.steps()[before].fail):
            track = None if predicate.dry_run else event.snapshot.measurements.get(predicate.name)
            if track is None or track.verdict is None or track.asked_at is None or track.asked_at <= since:
                continue
            assert track.verdict.outcome is not Outcome.PROVED, f"{predicate.name} is proved, and the weights go on"


def what_follows(world: World, status: Status) -> tuple[int, bool]:
    """The place of the stage that comes next, and whether half way, by what a status says of the present one."""
    at, steps = status.stage, world.specs[status.plan_hash].steps()
    assert at is not None
    if at.next_stage:
        return [stage.name for stage in steps].index(at.next_stage), False
    if at.halfway is not None:
        return at.index, False
    following = steps[at.index + 1] if at.index + 1 < len(steps) else None
    between = following is not None and following.permille - steps[at.index].permille > 1 and not following.completes
    return at.index + 1, bool(at.warned) and between


def a_stage_is_warned_once_and_only_where_something_warns(world: World) -> None:
    """And what only warns leads nowhere by itself: no rollback names it."""
    told = Counter((d.run, d.stage) for _, d in decisions(world) if d.reason == "Warned")
    again = {(run, stage): count for (run, stage), count in told.items() if count > 1}
    assert not again, f"warned more than once: {again}"
    for record, decision in decisions(world):
        if decision.reason == "Warned":
            warns = {predicate.name for predicate in stage_of(world, record.status).warn}
            assert {seen.predicate for seen in decision.evidence} <= warns, decision.note
        if decision.reason in ("RollbackStarted", "Held"):
            assert "warn" not in {seen.role for seen in decision.evidence}, decision.note


def decisions(world: World) -> Iterator[tuple[Record, Decision]]:
    """Every decision with the record that brought it."""
    seq = 0
    for record in world.records:
        for decision in record.status.decisions:
            if decision.seq > seq:
                yield record, decision
        seq = record.status.seq


def no_stage_begins_at_a_closed_gate(world: World) -> None:
    """Neither paused, nor frozen, nor without the approval that it wants."""
    for record, decision in decisions(world):
        if decision.reason != "StageStarted":
            continue
        status, words = record.status, f"{decision.note} at {decision.at:%H:%M:%S}"
        assert status.paused is None, f"{words}, and it is paused"
        closed = [policy.name for policy in record.snapshot.policies if policy.spec is None or policy.spec.freeze.now]
        assert not closed, f"{words}, and {closed} are in the way"
        assert not stage_of(world, status).approval or status.approved == decision.stage, f"{words}, not approved"


def no_stage_begins_while_an_alert_fires_that_will_be_judged_there(world: World) -> None:
    """Unless it began within the ten seconds for which an answer is good."""
    for record, decision in decisions(world):
        if decision.reason == "StageStarted":
            stage, guards = stage_of(world, record.status), world.specs[record.status.plan_hash].guards
            binding = {each.name for each in (*guards, *stage.fail) if each.alert and not each.dry_run}
            known = {name for name, since in record.fires.items() if since <= decision.at - s(10)}
            assert not binding & known, f"{decision.note} at {decision.at:%H:%M:%S}, and {binding & known} fires"


def every_command_is_answered_once_in_the_name_of_whoever_said_it(world: World) -> None:
    """Once, as long as its token is remembered: a status keeps the newest TOKENS_KEPT of them.

    That one is not carried out again is told once in a run.
    """
    said = [decision for _, decision in decisions(world) if decision.token]
    told = Counter((each.run, each.token) for each in said if "this token was used" in each.note)
    assert set(told.values()) <= {1}, told
    tokens = [decision.token for decision in said if "this token was used" not in decision.note]
    twice = [token for place, token in enumerate(tokens) if token in tokens[max(0, place - TOKENS_KEPT) : place]]
    assert not twice, f"answered again: {twice}, of {tokens}"
    assert {decision.by for decision in said} <= {"kubectl"}


def no_soak_is_shortened(world: World) -> None:
    """Invariant 3: time counts while the stage is judged and its weight stands in the routes, and only then.

    Weights that others have moved cannot hold a run before the operator is shown them. Where somebody moves weights
    while no status can be written, the hold begins when it can. A stage that is asked for again, and one whose weights
    were put right, is soaked anew. A person may pass over what is left.
    """
    spent: dict[tuple[int, str, Phase], timedelta] = defaultdict(timedelta)  # by run, step and phase
    status, at = read_status({}), START
    weights = _Weights()
    for since, event in _as_decided(world):
        if status.stage is not None and status.phase in (P.JUDGING, P.BAKING):
            stage = stage_of(world, status)
            if weights.count_for(Fraction(stage.permille, 1000)):
                spent[status.run, stage.step, status.phase] += since - at
        at = since
        weights.see(event)
        if not isinstance(event, Record):
            continue
        now = event.status
        last = now.decisions[-1] if now.seq > status.seq else None
        if last is not None and now.stage is not None and last.reason in ("WeightShifted", "WeightDrift"):
            spent[now.run, stage_of(world, now).step, P.JUDGING] = timedelta()
        goes_on = (status.phase, now.phase) in GOES_ON or (last and last.reason == "Baked")
        if status.stage is not None and goes_on and not (last and last.token):
            stage, spec = stage_of(world, status), world.specs[status.plan_hash]
            took = spent[status.run, stage.step, status.phase]
            least = stage.soak if status.phase is P.JUDGING else spec.bake_for
            assert took >= least, f"{stage.step} is {status.phase} for {took}, not for {least}"
        status = now


class _Weights:
    """The weights of the routes as they are and as they are shown, and whether a status can be written."""

    def __init__(self) -> None:
        self._stand: dict[str, Rules | None] = {}
        self._shown: dict[str, Rules | None] = {}
        self._unwritten: Snapshot | None = None
        """What a status was decided upon that is not known to be written."""

    def see(self, event: Record | Refusal | Shown | Move) -> None:
        match event:
            case Shown():
                self._shown[event.route] = event.weights
            case Move():
                self._stand[event.route] = event.after
            case Refusal():
                self._unwritten = event.snapshot
            case Record() if event.snapshot is not self._unwritten:
                self._unwritten = None

    def count_for(self, wanted: Fraction) -> bool:
        """Whether the time counts at which this share of the new side is asked for."""
        shown, stand = self._shown, self._stand
        return self._unwritten is not None or all(
            _holds(stand.get(name), wanted) or _holds(shown[name], wanted) for name in shown
        )


def _holds(rules: Rules | None, wanted: Fraction) -> bool:
    """Whether each rule of a route has this share of the new side; a route that is gone has no rules."""
    return all(share(rule) == wanted for rule in rules or ())


def _as_decided(world: World) -> list[tuple[datetime, Record | Refusal | Shown | Move]]:
    """What happened, each status at the instant at which it was decided."""
    at = ((event.snapshot.now if isinstance(event, Record) else event.at, event) for event in world.history)
    return sorted(at, key=itemgetter(0))


GOES_ON = {
    *((P.JUDGING, P.SHIFTING), (P.JUDGING, P.BAKING), (P.JUDGING, P.SUCCEEDED), (P.JUDGING, P.CONTRACTING)),
    *((P.BAKING, P.SUCCEEDED), (P.BAKING, P.CONTRACTING)),
}


def every_change_of_weights_has_one_decision(world: World) -> None:
    """Invariant 4. A run goes back once, and once more each time that its pods were away.

    Answers to what others may repeat at will leave the trail first. A run whose status was lost goes on from the
    numbers on its routes, so some are missing there.
    """
    seqs = []
    for record in world.records:
        kept = [decision.seq for decision in record.status.decisions]
        between = {*range(kept[0] if kept else 0, record.status.seq)} - {*kept}
        repeated = {seq for seq, decision in world.trail.items() if decision.reason in REPEATABLE}
        missing = [] if world.before else sorted(between - repeated)
        assert kept == sorted({*kept}), f"numbers {kept}"
        assert not missing, f"numbers {kept}, without {missing}"
        seqs.append(record.status.seq)
    assert seqs == sorted(seqs), f"the numbers fall: {seqs}"
    if not world.gone and not world.before:
        assert sorted(world.trail) == list(range(1, max(seqs, default=0) + 1)), "a decision was never told"
    of_stage = ("StageStarted", "WeightShifted")

    def step(decision: Decision) -> str:
        return f"{decision.stage} {decision.weight_to}" if decision.reason in of_stage else ""

    told = Counter((d.reason, d.run, step(d)) for d in world.trail.values())
    turns = [d for _, d in sorted(world.trail.items()) if d.reason in ("RollbackStarted", "RolledBack", "Held")]
    withdrawn = Counter(b.run for a, b in pairwise(turns) if (a.reason, b.reason) == ("RollbackStarted", "Held"))
    for (reason, run, stage), count in told.items():
        if reason in ("RollbackStarted", "RolledBack"):
            most = 1 + (withdrawn[run] if reason == "RollbackStarted" else 0)
            assert count <= most, f"{count} times {reason} in run {run}"
        if reason in of_stage:
            asked, held = told["StageStarted", run, stage], told["Held", run, ""]
            assert count <= asked <= 1 + held, f"{count} times {reason} in run {run} {stage}"
    at = [(status.run, status.stage) for _, status in ours(world, "Shift")]
    risen = {(run, f"{stage.name} {stage.weight}") for run, stage in at if stage}
    shifted = {(run, stage) for reason, run, stage in told if reason == "WeightShifted"}
    _are_in_force(world)
    for run, stage in risen - shifted:
        lasts = world.status.run == run and world.phase in (P.SHIFTING, P.HELD, P.INVALID)
        assert lasts or world.gone or told["RollbackStarted", run, ""], f"done, and not told: run {run} {stage}"
    for move, status in ours(world, "Restore"):
        told_of = world.gone or told["RollbackStarted", status.run, ""]
        assert told_of, f"put back at {move.at:%H:%M:%S} without a decision: {move.before} -> {move.after}"
    for move, status in ours(world, "Repair"):
        told_of = world.gone or told["WeightDrift", status.run, ""] or told["WeightsSetBack", status.run, ""]
        assert told_of, f"put right at {move.at:%H:%M:%S} without a decision: {move.before} -> {move.after}"


def _are_in_force(world: World) -> None:
    """A weight of which it is told that it is in force was seen in every route.

    Where the status that said so was lost, the rollback's status brings the decision, and by then the routes hold the
    old weights: then they must have held the weight at the instant of the decision.
    """
    for record, decision in decisions(world):
        if decision.reason == "WeightShifted":
            wanted = Fraction(stage_of(world, record.status).permille, 1000)
            seen = shown_to(record.snapshot)
            stands = all(_holds(rules, wanted) for rules in seen.values())
            if not stands and decision is not record.status.decisions[-1]:
                held = [_held_at(world, route, decision.at) for route in seen]
                stands = all(rules is not None and _holds(rules, wanted) for rules in held)
            assert stands, f"told, and not done: {decision.note}"


def _held_at(world: World, route: str, at: datetime) -> Rules | None:
    """What a route held then: after its last change of weights, or before its first one; None where it had neither."""
    moves = [move for move in world.moves if move.route == route]
    changed = [move.after for move in moves if move.at <= at]
    return changed[-1] if changed else next((move.before for move in moves), None)


def rolled_back_means_the_snapshot_to_the_number(world: World) -> None:
    """Invariant 5: so it is in every route that was shown to the operator, unless others have moved it since."""
    before = read_status({})
    began: Mapping[str, Pairs] = {name: dict(enumerate(map(pair, rules))) for name, rules in world.before.items()}
    touched: set[str] = set()
    for event in world.history:
        if isinstance(event, Move):
            _keeps_the_shares(event)
            if event.snapshot is None:
                touched.add(event.route)
        if not isinstance(event, Record):
            continue
        status, shown = event.status, {route.name: pairs(view.rules) for route, view in event.snapshot.routes.items()}
        stands = {name: dict(enumerate(map(pair, rules))) for name, rules in event.routes.items()}
        unseen = {name for name in shown if shown[name] != stands.get(name)}
        if (before.phase, status.phase) == (P.EXPANDING, P.SHIFTING):
            began, touched = shown, unseen
        if (before.phase, status.phase) == (P.ROLLING_BACK, P.ROLLED_BACK):
            for name, rules in shown.items():
                wanted = saved(status.weights.snapshot, name)
                assert rules == wanted, f"RolledBack, and {name} has {rules}"
                assert name in touched or rules == began[name], f"{name} was {began[name]}, and is {rules}"
                moved = [move for move in world.moves if move.route == name and move.at <= event.at]
                assert name not in unseen or moved[-1].snapshot is None, (
                    f"RolledBack, and {name} has {stands.get(name)}"
                )
        before = status


def _keeps_the_shares(move: Move) -> None:
    """A change of ours leaves every other backend its share, and a way back leads to the snapshot."""
    if move.snapshot is None:
        return
    for _, was, now in changed_rules(move):
        if any(pair(was)) and "v0" in was:
            asked = Fraction(was["v0"] * sum(pair(now)), sum(pair(was)))
            assert abs(now["v0"] - asked) <= Fraction(1, 2), f"another backend's share: {was} -> {now}"
    if move.snapshot.status.phase is P.ROLLING_BACK:
        wanted = saved(move.snapshot.status.weights.snapshot, move.route)
        right = all(pair(now) == wanted[place] for place, _, now in changed_rules(move))
        assert right, f"a way back to somewhere else: {move.after}, not {wanted}"


def every_state_has_a_next_instant_or_says_what_it_waits_for(world: World) -> None:
    """Invariant 6, and before that next instant nothing would follow from another look."""
    status = world.status
    assert world.wake_at is None or world.wake_at > world.now, f"{status.phase} is looked at without a pause"
    if world.wake_at is None and not world.gone and status.phase not in (P.SUCCEEDED, P.ROLLED_BACK):
        assert status.phase in (P.PENDING, P.INVALID, P.HELD) and status.message, f"{status.phase} waits for nothing"
    if world.operator.refusals:
        return  # it was refused, and tries again
    now = world.now
    world.now = (world.next() or now + s(3600)) - s(0.001)
    snapshot = world.snapshot()
    later = decide(snapshot)
    says = after(snapshot, later)
    asked = due_queries(snapshot.plan, snapshot.status, snapshot.source, snapshot.measurements, snapshot.now)
    world.now = now
    followed = (says.seq - status.seq, later.actions, asked)
    assert followed == (0, (), ()), f"{status.phase} sleeps until {world.wake_at} and misses {says.message}: {followed}"


def no_job_runs_twice_and_no_weight_moves_before_all_of_them_are_complete(world: World) -> None:
    names = Counter(each.name for each in world.made)
    assert not [name for name, count in names.items() if count > 1], names
    for move, status in ours(world, "Shift"):
        spec = world.specs[status.plan_hash]
        for name in [*(each.name for each in spec.assumptions if each.job), *(each.name for each in spec.expand.jobs)]:
            made = world.jobs.get(named(name, run=status.run, world=world))
            over = made is not None and not made.fails and made.ends_at is not None and made.ends_at <= move.at
            assert over, f"{name} is not over, and a weight moves"


def nothing_is_taken_away_that_has_traffic_or_may_get_it_back(world: World) -> None:
    """As far as the operator was shown: what others have just moved it cannot know.

    An old side that was shown as gone has no size to write, and one that others made small keeps the size written.
    """
    written = [each for each in world.resized if each.name == "v1" and each.after <= each.before]
    smaller = [each for each in written if each.smaller]
    for each in smaller:
        status, where = each.snapshot.status, f"v1 is made smaller at {each.at:%H:%M:%S}"
        assert status.phase is P.CONTRACTING and status.paused is None, f"{where}: {status.phase}"
        held = [rule for rules in shown_to(each.snapshot).values() for rule in rules if rule["v1"]]
        assert not held, f"{where}, and it has {held}"
        since = max(_left_at(world, each.snapshot), default=each.at)
        assert each.at >= since + s(20), f"{where}, not drained since {since:%H:%M:%S}"
    for name in ("drop", "vacuum"):
        for made in world.made:
            run = made.name.removeprefix("plan-").partition("-")[0]
            before = [each for each in written if each.at <= made.at and str(each.snapshot.status.run) == run]
            small = before or made.snapshot.old is None
            assert name not in made.name or small, f"{made.name} is made before the old side is scaled down"
    for move, status in ours(world, "Restore"):
        gone = [each for each in smaller if each.at <= move.at and each.snapshot.status.run == status.run]
        assert not gone or (move.old and move.old.ready >= 4), f"back to a side that is gone, at {move.at:%H:%M:%S}"


def _left_at(world: World, snapshot: Snapshot) -> Iterator[datetime]:
    """When the operator was shown that a rule gives the old side no traffic any more, before it decided upon a look.

    What had none when the operator was shown it first was left then at the latest. What it was shown in the instant of
    the look, and after it, is not in the look.
    """
    known: dict[str, Rules] = {}
    seen: set[str] = set()
    look = shown_to(snapshot)
    for event in world.history:
        if isinstance(event, Shown) and event.at <= snapshot.now:
            if event.at == snapshot.now and {name: rules for name, rules in known.items() if rules} == look:
                return
            before, known[event.route] = known.get(event.route, ()), event.weights or ()
            first = event.route not in seen and any(not now["v1"] for now in known[event.route])
            seen.add(event.route)
            if first or any(was["v1"] and not now["v1"] for was, now in zip(before, known[event.route], strict=False)):
                yield event.at


def succeeded_means_that_every_predicate_was_decided(world: World) -> None:
    """No stage is proved, and no bake ends, beside an enforced predicate without any verdict.

    It may say that silence is good news, or have no old side to compare with. A person may pass over a stage.
    """
    status, bakes_since = read_status({}), START
    for record in world.records:
        now = record.status
        last = now.decisions[-1] if now.seq > status.seq else None
        if now.phase is P.BAKING and status.phase not in (P.BAKING, P.HELD):
            bakes_since = record.at
        ends = now.phase in (P.SUCCEEDED, P.CONTRACTING)
        if last is not None and (last.reason == "StageProved" or (status.phase is P.JUDGING and ends)):
            stage, at = stage_of(world, status), status.stage
            assert at is not None and at.judged_since is not None
            guards = world.specs[status.plan_hash].guards
            for predicate in (*guards, *stage.fail, *stage.pass_):
                _was_decided(world, predicate, stage, at.judged_since, record.at)
        if last is not None and status.phase is P.BAKING and (ends or last.reason == "Baked"):
            stage, at, spec = stage_of(world, status), status.stage, world.specs[status.plan_hash]
            assert at is not None and at.judged_since is not None and record.snapshot.source is not None
            early = bakes_since - answer_timeout(spec, record.snapshot.source)
            for predicate in spec.guards:
                _was_decided(world, predicate, stage, early if spec.bake_for else at.judged_since, record.at)
        status = now


def _was_decided(world: World, predicate: Predicate, stage: Stage, since: datetime, until: datetime) -> None:
    """By what the source answered between two instants, and by what there was to count."""
    if predicate.dry_run or predicate.silence_is_clear:
        return
    words = f"{predicate.name} was not decided at {stage.step} from {since:%H:%M:%S} to {until:%H:%M:%S}"
    compares = predicate.comparison.kind != "value" and not (stage.permille == FULL and stage.index)
    sides = ("new", "old") if compares else ("new",)
    if predicate.events is not None:
        assert all(world.requests(f"{predicate.name}/{side}", since, until) for side in sides), words
        return
    answers = [each.answers for each in world.heard if each.name == predicate.name and since < each.at <= until]
    assert any(
        all(isinstance(answer := each.get(side), Answer) and answer.value is not None for side in sides)
        for each in answers
    ), words


def every_wait_says_for_what_and_until_when(world: World) -> None:
    """And the operator looks again by then: it has an instant at which it does, or the wait has no limit."""
    for record in world.records:
        status = record.status
        if status.phase in (P.SUCCEEDED, P.ROLLED_BACK) and status.task is None:
            continue
        what, _, until = status.waiting_for.rpartition(", ")
        assert what, f"{status.phase} {status.reason} waits without a word: {status.message}"
        assert until == NO_LIMIT or until.startswith("until 20"), status.waiting_for
    status = world.status
    if " until 20" in status.waiting_for and not world.gone and world.phase is not P.INVALID:
        assert world.wake_at is not None, f"never looked at again: {status.waiting_for}"


def a_control_group_stays_until_its_bake_is_over(world: World) -> None:
    """Nothing gives the new side all of the traffic before, and nothing ends before it has all of it."""
    baked: set[int] = set()
    for event in world.history:
        if isinstance(event, Record):
            status = event.status
            baked |= {each.run for each in status.decisions if each.reason == "Baked"}
            spec = world.specs.get(status.plan_hash)
            if status.phase in (P.SUCCEEDED, P.CONTRACTING) and spec is not None and spec.holdback:
                assert status.weights.desired == "100%", f"{status.phase} at {status.weights.desired}"
        elif isinstance(event, Move) and event.snapshot is not None and intent(event) == "Shift":
            status = event.snapshot.status
            early = stage_of(world, status).completes and status.run not in baked
            assert not early, f"the control group of run {status.run} is given up before its bake is over"


INVARIANTS = (
    a_control_group_stays_until_its_bake_is_over,
    every_wait_says_for_what_and_until_when,
    succeeded_means_that_every_predicate_was_decided,
    nothing_is_taken_away_that_has_traffic_or_may_get_it_back,
    no_job_runs_twice_and_no_weight_moves_before_all_of_them_are_complete,
    no_weight_rises_before_its_predicates_are_sealed,
    weights_are_put_right_as_they_were_read_back,
    no_stage_begins_at_a_closed_gate,
    no_stage_begins_while_an_alert_fires_that_will_be_judged_there,
    every_command_is_answered_once_in_the_name_of_whoever_said_it,
    nothing_goes_forward_after_a_failure_nor_two_stages_at_once,
    a_stage_is_warned_once_and_only_where_something_warns,
    no_soak_is_shortened,
    every_change_of_weights_has_one_decision,
    rolled_back_means_the_snapshot_to_the_number,
)
