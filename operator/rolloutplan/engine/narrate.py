"""The trail: what was believed, seen and decided, and why; in words for people and in fields for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rolloutplan.engine.ask import InForce, current_stage, in_force, track_of, verdict_of
from rolloutplan.engine.counting import asked_of
from rolloutplan.engine.look import Look
from rolloutplan.engine.queries import AlertQuery, CountQuery
from rolloutplan.engine.table import TABLE, Cause
from rolloutplan.engine.words import render, words_for
from rolloutplan.judge.sequential import pack
from rolloutplan.judge.verdict import Outcome, Verdict
from rolloutplan.plan.changes import change
from rolloutplan.plan.predicate import Predicate
from rolloutplan.plan.quantities import Comparison, format_confidence, format_duration
from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.stage import Stage
from rolloutplan.plan.status import DECISIONS_KEPT, EVIDENCE_KEPT, Decision, Evidence, Phase, PredicateStatus, Status

QUERY_KEPT = 400
"""Characters of a query that a decision keeps; the whole of it stands in `status.predicates`."""


@dataclass(frozen=True, slots=True)
class Said:
    """Whose word a decision follows, and the token under which it was said."""

    by: str
    token: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was believed and what was observed, where no predicate of a stage says it."""

    believed: str
    observed: str


def decided(
    look: Look,
    status: Status,
    cause: Cause,
    note: str,
    *,
    why: str = "",
    evidence: Iterable[InForce] = (),
    shares: tuple[str, str] = ("", ""),
    said: Said | None = None,
    seen: Seen | None = None,
) -> Status:
    """The status with one more decision on its trail."""
    row = TABLE[cause]
    if row.kind is None or row.tells is None:
        return status
    shown = tuple(_evidence(look, item) for item in evidence)[:EVIDENCE_KEPT]
    seen = seen or Seen(_believed(look.plan.spec, status), "; ".join(sentence(item) for item in shown))
    decision = Decision(
        seq=max([status.seq, *(decision.seq for decision in status.decisions)]) + 1,
        at=look.now,
        kind=row.kind,
        reason=row.tells,
        note=note[:1024],
        run=status.run,
        stage=status.stage.name if status.stage else "",
        weight_from=shares[0],
        weight_to=shares[1],
        believed=seen.believed[:1024],
        observed=seen.observed[:1024],
        why=why or row.because,
        by=said.by if said else "rolloutplan",
        token=said.token if said else "",
        evidence=shown,
    )
    trail = (*status.decisions, decision)[-DECISIONS_KEPT:]
    return change(status, seq=decision.seq, decisions=trail)


def _believed(spec: PlanSpec | None, status: Status) -> str:
    """What the stage would show, if it were good; at the ends of a run the plan's own hypothesis."""
    stage = current_stage(spec, status) if spec else None
    if spec is None or stage is None or status.phase is Phase.SUCCEEDED:
        return spec.hypothesis if spec else ""
    good = [f"{p.name} {bound_of(p)}" for p in stage.pass_ if not p.dry_run]
    bad = [f"not ({p.name} {bound_of(p)})" for p in (*spec.guards, *stage.fail, *stage.warn) if not p.dry_run]
    return ", ".join(good + bad)[:1024]


def bound_of(predicate: Predicate) -> str:
    """The bound as a person reads it: `<= +5% vs old for 30s`."""
    words = predicate.comparison.text
    if predicate.comparison.kind != "value":
        words += " vs old"
    if predicate.events is not None:
        return f"{words} at {format_confidence(predicate.confidence)}"
    return f"{words} for {format_duration(predicate.for_)}" if predicate.for_ else words


def value_text(comparison: Comparison, verdict: Verdict) -> str:
    """The value in the form in which its bound is written."""
    if verdict.value is None:
        return verdict.detail if verdict.holds is not None else ""
    value = verdict.value
    if comparison.kind == "relative":
        return f"{value:+.4g}" if abs(value) > 100 else f"{100 * value:+.4g}%"
    if comparison.kind == "ratio":
        return f"{value:.4g}x"
    if comparison.kind == "value" and comparison.text.endswith("%"):
        return f"{100 * value:.4g}%"
    return f"{value:+.4g}" if comparison.kind == "absolute" else f"{value:.6g}"


def doubt(verdict: Verdict) -> str:
    """Why a predicate is Undecided, with the source's words."""
    if verdict.outcome is not Outcome.UNDECIDED:
        return verdict.detail
    return ": ".join(part for part in (verdict.why or "", verdict.detail) if part)


def predicate_status(look: Look, item: InForce, sealed: PredicateStatus | None) -> PredicateStatus:
    """How a predicate stands, for `status.predicates`; the query is the one that was sealed."""
    verdict = verdict_of(look, item)
    track = look.ledger.get(item.name)
    count = track.count if track else None
    state, looked_at = (sealed.state, sealed.looked_at) if sealed else ("", None)
    if count is not None and count.at is not None:
        state, looked_at = pack(asked_of(item.predicate, item.role), count.state), count.at
    return PredicateStatus(
        name=item.name,
        role=item.role,
        query=sealed.query if sealed else _asked(item.predicate, {}),
        bound=bound_of(item.predicate),
        verdict=verdict.outcome.value,
        value=value_text(item.predicate.comparison, verdict),
        samples="" if verdict.samples is None else f"{verdict.samples:.6g}",
        at=track.asked_at if track else None,
        why=doubt(verdict),
        state=state,
        looked_at=looked_at,
        dry_run=item.predicate.dry_run or None,
    )


def _asked(predicate: Predicate, words: Mapping[str, str]) -> str:
    """What is asked or counted."""
    if predicate.alert is not None:
        return render(str(AlertQuery(predicate.alert.matchers)), words)
    return render(str(CountQuery(predicate.events)) if predicate.events else predicate.query or "", words)


def sealed_predicates(look: Look, spec: PlanSpec, stage: Stage) -> tuple[PredicateStatus, ...]:
    """The predicates of a stage as they are fixed before its weight moves, rendered over their whole window.

    What a guard has counted goes on counting.
    """
    before = {each.name: each for each in measured(look, look.status) if each.role == "guard"}

    def sealed(role: str, predicate: Predicate) -> PredicateStatus:
        counted = before.get(predicate.name)
        words = words_for(
            spec, namespace=look.plan.namespace, plan=look.plan.name, stage=stage.name, window=predicate.window
        )
        return PredicateStatus.model_validate(
            {
                "name": predicate.name,
                "role": role,
                "query": _asked(predicate, words),
                "bound": bound_of(predicate),
                "why": "NotYet",
                "state": counted.state if counted else "",
                "looked_at": counted.looked_at if counted else None,
                "dry_run": predicate.dry_run or None,
            }
        )

    roles = {"guard": spec.guards, "fail": stage.fail, "pass": stage.pass_, "warn": stage.warn}
    return tuple(sealed(role, predicate) for role, predicates in roles.items() for predicate in predicates)


def measured(look: Look, status: Status) -> tuple[PredicateStatus, ...]:
    """The predicates of the stage as they stand now, in the order in which they were sealed."""
    spec = look.plan.spec
    now = {item.name: item for item in in_force(spec, status, look.source)} if spec else {}
    return tuple(
        predicate_status(look, now[sealed.name], sealed) if sealed.name in now else sealed
        for sealed in status.predicates
    )


def sentence(evidence: Evidence) -> str:
    """One predicate in words: `new-errors: 21.3% > 1% is Proved`."""
    name = named(evidence.predicate, dry_run=bool(evidence.dry_run))
    if evidence.verdict == Outcome.UNDECIDED:
        return f"{name} is Undecided ({evidence.why})"
    count = f" over {evidence.samples} samples" if evidence.samples else ""
    if evidence.verdict == Outcome.PROVED:
        return f"{name}: {evidence.value} {evidence.bound}{count}"
    return f"{name}: {evidence.value} is not {evidence.bound}{count}"


def named(predicate: str, *, dry_run: bool) -> str:
    """A predicate's name, and that nothing follows from it where it is a dry run."""
    return f"{predicate} (dry run)" if dry_run else predicate


def _evidence(look: Look, item: InForce) -> Evidence:
    sealed = next((p for p in look.status.predicates if p.name == item.name), None)
    state, track = predicate_status(look, item, sealed), track_of(look, item)
    return Evidence(
        predicate=item.name,
        role=item.role,
        query=(track.query or state.query)[:QUERY_KEPT],
        at=track.asked_at,
        value=state.value,
        bound=state.bound,
        samples=state.samples,
        verdict=state.verdict,
        why=state.why,
        dry_run=state.dry_run,
    )


def span(start: datetime | None, end: datetime) -> str:
    """A stretch of time in words, to the second."""
    return f"{(end - start).total_seconds():.0f}s" if start else "0s"
