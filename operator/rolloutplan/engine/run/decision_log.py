"""The decisions of a run in its status: what was expected, observed and decided, and why, as text and as fields.

They come from snapshots and transitions. `PlanRun` publishes each of them as an Event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rolloutplan.api.changes import change
from rolloutplan.api.predicate import Predicate
from rolloutplan.api.printable import printable, shortened
from rolloutplan.api.quantities import format_confidence, format_duration
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage
from rolloutplan.api.status import (
    DECISIONS_KEPT,
    EVIDENCE_KEPT,
    OPERATOR,
    Decision,
    Evidence,
    Phase,
    PredicateStatus,
    Status,
)
from rolloutplan.engine.analysis.counting import hypothesis_of
from rolloutplan.engine.analysis.doubts import NO_OLD_SIDE, decided_at, lacks_old_side
from rolloutplan.engine.analysis.measurements import (
    ActivePredicate,
    active_predicates,
    current_stage,
    measurement_of,
    verdict_of,
)
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.engine.model.queries import AlertQuery, CountQuery
from rolloutplan.engine.model.sinks import RECORDS
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.run.choice import asked, is_choice, laid_out
from rolloutplan.engine.run.value_text import against, value_text
from rolloutplan.stats.sequential import pack
from rolloutplan.stats.verdict import Outcome, Verdict

QUERY_KEPT = 400
"""Characters of a query that a decision keeps; `status.predicates` has all of it."""


_RINGS = (
    frozenset({EventReason.COMMAND_REJECTED, EventReason.UNDO_RESTORED}),
    frozenset({EventReason.SOURCE_CHANGED}),
    frozenset({EventReason.ADAPTED, EventReason.UNGUARDED}),
)
"""The reasons that anybody who may annotate a plan, edit its metric source, or edit it can cause as often as they like.
None of these groups pushes out another."""
REPEATABLE = frozenset[EventReason]().union(*_RINGS)
"""The reasons of decisions that others can repeat at will."""
REPEATABLE_KEPT = 6
"""So many of each group stay: enough to see who does it, of the 30 decisions that are kept."""
UNRECORDED_KEPT = 30
"""So many more stay that no record has yet. Records that cannot be written for long must not make the plan too large:
with these it has less than 100 KiB of decisions as they usually are."""
TRIPPED, CLEAR = "Tripped", "Clear"
"""The verdicts of a guard, a `fail` or a `warn` predicate whose comparison is true, or false."""


def verdict_word(role: str, outcome: Outcome) -> str:
    """The verdict as shown in status, Events and the command line."""
    words = {Outcome.PROVED: TRIPPED, Outcome.REFUTED: CLEAR}
    return outcome.value if role == "pass" else words.get(outcome, outcome.value)


@dataclass(frozen=True, slots=True)
class CommandSource:
    """The writer and the token of the command that a decision follows, and `status.tokens` with its answer."""

    by: str
    token: str
    tokens: tuple[str, ...]
    offered: bool = False
    """Whether nobody has sent it: it is only asked if it would be carried out, and no decision is written for it."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was expected and what was observed, for a decision that no predicate of a stage explains."""

    expected: str
    observed: str


def append_decision(
    snapshot: Snapshot,
    status: Status,
    cause: TransitionName,
    note: str,
    *,
    why: str = "",
    evidence: Iterable[ActivePredicate] = (),
    shares: tuple[str, str] = ("", ""),
    commanded_by: CommandSource | None = None,
    expectation: Expectation | None = None,
) -> Status:
    """The status with one more decision; unchanged where the transition records none."""
    row = TRANSITIONS[cause]
    if row.kind is None or row.event_reason is None:
        return status
    by = printable(commanded_by.by) if commanded_by else OPERATOR
    choice = row.choice if is_choice(snapshot.status, status, row, commanded=commanded_by is not None) else None
    evidence = (*evidence,) or (laid_out(snapshot) if choice else ())
    shown = tuple(_evidence(snapshot, item) for item in evidence)[:EVIDENCE_KEPT]
    expectation = expectation or Expectation(
        _expected(snapshot.plan.spec, status), "; ".join(describe_evidence(item) for item in shown)
    )
    decision = Decision(
        seq=max([status.seq, *(decision.seq for decision in status.decisions)]) + 1,
        at=snapshot.now,
        kind=choice or row.kind,
        reason=row.event_reason,
        state=status.reason,
        note=printable(shortened(note)),
        run=status.run,
        stage=status.stage.name if status.stage else "",
        weight_from=shares[0],
        weight_to=shares[1],
        believed=printable(expectation.expected[:1024]),
        observed=printable(expectation.observed[:1024]),
        why="; ".join(filter(None, (printable(why or row.rationale), choice and asked(choice, by)))),
        by=by,
        token=commanded_by.token if commanded_by else "",
        evidence=shown,
    )
    return change(status, seq=decision.seq, decisions=_kept(status, decision))


def _kept(status: Status, newest: Decision) -> tuple[Decision, ...]:
    """The decisions that stay: answers to what others may repeat at will do not push out the rest of the trail.

    Those that are in no record yet stay in addition.
    """
    trail, gone = (*status.decisions, newest), set[int]()
    for group in _RINGS:
        gone.update([decision.seq for decision in trail if decision.reason in group][:-REPEATABLE_KEPT])
    kept = {decision.seq for decision in [each for each in trail if each.seq not in gone][-DECISIONS_KEPT:]}
    through = status.published_through.get(RECORDS, newest.seq)
    owed = [decision.seq for decision in trail if decision.seq > through and decision.seq not in kept]
    kept.update(owed[-UNRECORDED_KEPT:])
    return tuple(decision for decision in trail if decision.seq in kept)


def _expected(spec: PlanSpec | None, status: Status) -> str:
    """What the predicates would show if the new side were good; at the start and end of a run the plan's hypothesis."""
    stage = current_stage(spec, status) if spec else None
    if spec is None or stage is None or status.phase is Phase.SUCCEEDED:
        return spec.hypothesis if spec else ""
    good = [f"{p.name} {bound_of(p)}" for p in stage.pass_ if not p.dry_run]
    bad = [f"not ({p.name} {bound_of(p)})" for p in (*spec.guards, *stage.fail, *stage.warn) if not p.dry_run]
    return ", ".join(good + bad)[:1024]


def bound_of(predicate: Predicate) -> str:
    """The bound in readable form: `<= +5% vs old for 30s`."""
    words = predicate.comparison.text
    if predicate.comparison.kind != "value":
        words += " vs old"
    if predicate.events is not None:
        return f"{words} at {format_confidence(predicate.confidence)}"
    return f"{words} for {format_duration(predicate.for_)}" if predicate.for_ else words


def undecided_reason(verdict: Verdict) -> str:
    """Why a predicate is Undecided, with the source's message; else the figures behind the value."""
    if verdict.outcome is not Outcome.UNDECIDED:
        return verdict.detail
    return ": ".join(part for part in (verdict.why or "", verdict.detail) if part)


def predicate_status(snapshot: Snapshot, item: ActivePredicate, fixed: PredicateStatus | None) -> PredicateStatus:
    """The entry of a predicate in `status.predicates`; its query is the one fixed before the weight moved."""
    verdict = verdict_of(snapshot, item)
    measurement = snapshot.measurements.get(item.name)
    count = measurement.count if measurement else None
    state, looked_at = (fixed.state, fixed.looked_at) if fixed else ("", None)
    if count is not None and count.at is not None:
        state, looked_at = pack(hypothesis_of(item.predicate, item.role), count.state), count.at
    return PredicateStatus(
        name=item.name,
        role=item.role,
        query=fixed.query if fixed else _query_text(item.predicate, {}),
        bound=bound_of(item.predicate),
        verdict=verdict_word(item.role, verdict.outcome),
        value=value_text(item.predicate.comparison, verdict),
        samples="" if verdict.samples is None else f"{verdict.samples:.6g}",
        at=measurement.asked_at if measurement else None,
        why=undecided_reason(verdict) + (f"; {NO_OLD_SIDE}" if lacks_old_side(snapshot, item) else ""),
        state=state,
        looked_at=looked_at,
        decided_at=decided_at(snapshot.status, item.name, measurement),
        dry_run=item.predicate.dry_run or None,
    )


def _query_text(predicate: Predicate, variables: Mapping[str, str]) -> str:
    """The text of the query, or of the counters."""
    if predicate.alert is not None:
        return render(str(AlertQuery(predicate.alert.matchers)), variables)
    return render(str(CountQuery(predicate.events)) if predicate.events else predicate.query or "", variables)


def stage_predicates(snapshot: Snapshot, spec: PlanSpec, stage: Stage) -> tuple[PredicateStatus, ...]:
    """The predicates of a stage, fixed before its weight moves; queries have their whole window. Guards keep counts."""
    before = {each.name: each for each in predicate_statuses(snapshot, snapshot.status) if each.role == "guard"}

    def fixed(role: str, predicate: Predicate) -> PredicateStatus:
        counted = before.get(predicate.name)
        variables = variables_for(
            spec, namespace=snapshot.plan.namespace, plan=snapshot.plan.name, stage=stage.name, window=predicate.window
        )
        return PredicateStatus.model_validate(
            {
                "name": predicate.name,
                "role": role,
                "query": _query_text(predicate, variables),
                "bound": bound_of(predicate),
                "why": "NotYet",
                "state": counted.state if counted else "",
                "looked_at": counted.looked_at if counted else None,
                "decided_at": counted.decided_at if counted else None,
                "dry_run": predicate.dry_run or None,
            }
        )

    roles = {"guard": spec.guards, "fail": stage.fail, "pass": stage.pass_, "warn": stage.warn}
    return tuple(fixed(role, predicate) for role, predicates in roles.items() for predicate in predicates)


def predicate_statuses(snapshot: Snapshot, status: Status) -> tuple[PredicateStatus, ...]:
    """The predicates of the stage with their present verdicts, in the order in which they were fixed."""
    spec = snapshot.plan.spec
    now = {item.name: item for item in active_predicates(spec, status, snapshot.source)} if spec else {}
    return tuple(
        predicate_status(snapshot, now[fixed.name], fixed) if fixed.name in now else fixed
        for fixed in status.predicates
    )


def describe_evidence(evidence: Evidence) -> str:
    """One predicate as text: `new-errors: 21.3% > 1% over 1500 samples`."""
    name = name_words(evidence.predicate, dry_run=bool(evidence.dry_run))
    if evidence.verdict == Outcome.UNDECIDED:
        return f"{name} is Undecided ({evidence.why})"
    count = f" over {evidence.samples} samples" if evidence.samples else ""
    holds = evidence.verdict in (Outcome.PROVED, TRIPPED)
    return f"{name}: {against(evidence.value, evidence.bound, holds=holds)}{count}"


def name_words(predicate: str, *, dry_run: bool) -> str:
    """A predicate's name, marked if it is a dry run."""
    return f"{predicate} (dry run)" if dry_run else predicate


def _evidence(snapshot: Snapshot, item: ActivePredicate) -> Evidence:
    fixed = next((p for p in snapshot.status.predicates if p.name == item.name), None)
    state, measurement = predicate_status(snapshot, item, fixed), measurement_of(snapshot, item)
    return Evidence(
        predicate=item.name,
        role=item.role,
        query=(measurement.query or state.query)[:QUERY_KEPT],
        at=measurement.asked_at,
        value=state.value,
        bound=state.bound,
        samples=state.samples,
        verdict=state.verdict,
        why=state.why,
        dry_run=state.dry_run,
    )


def span(start: datetime | None, end: datetime) -> str:
    """The time between two instants in whole seconds, as `90s`."""
    return f"{(end - start).total_seconds():.0f}s" if start else "0s"
