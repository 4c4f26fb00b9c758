"""`rolloutplan triage`: what was believed of a change, what was seen, what it cost so far, and the three ways on.

It is for the moment in which a person decides about a run that its predicates do not decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic.alias_generators import to_camel
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.command import Verb
from rolloutplan.api.printable import line
from rolloutplan.api.reasons import HoldReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_digest import EDITABLE
from rolloutplan.api.status import RUNNING, STARTING, Phase, PredicateStatus, Status
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views.evidence import with_evidence
from rolloutplan.cli.views.status import predicate, written
from rolloutplan.cli.views.why import head, read_plan, said, to_copy, typed
from rolloutplan.cli.views.words import (
    command,
    duration,
    edit_command,
    is_handed_back,
    next_commands,
    of_owned_routes,
    undo_commands,
)
from rolloutplan.cluster.client import Raw
from rolloutplan.engine.model.plan_view import PlanView, Readable
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.rules.commands.answer import is_accepted
from rolloutplan.engine.run.choice import QUESTION
from rolloutplan.engine.run.jobs import is_scaling_old
from rolloutplan.stats.sequential import counted

_BEFORE_WEIGHTS: Final = frozenset({*STARTING, Phase.PENDING, Phase.INVALID})
_ENDING: Final = frozenset({Verb.ABORT, Verb.REVERT})


@dataclass(frozen=True, slots=True)
class Cost:
    """What the change cost so far: times in whole seconds, None where there is none."""

    weight: str
    at_stage: int | None
    with_traffic: int | None
    held: int | None
    requests: int | None
    """Those of the new side that were counted: by one predicate, which saw the most."""
    bad: int | None
    counted_by: str


@dataclass(frozen=True, slots=True)
class Way:
    """A way on: what follows, and the commands for it; without any there is nothing to type."""

    way: str
    words: str
    commands: tuple[str, ...] = ()


def triage(plan: PlanName, namespace: Namespace = None, output: Output = "text") -> int:
    """Persist, Adapt or Kill, each with its command; the reason that is given with it stays in the record.

    Exit 0, 1 if the plan cannot be read.
    """
    found, now = asyncio.run(read_plan(namespace, plan)), datetime.now(UTC)
    if output == "name":
        show_objects([found.raw], output)
    elif output != "text":
        show_objects([as_object(found, now)], output, several=False)
    else:
        console = screen()
        console.show(rendered(found, now, console.width))
    return 0


# ---- what is known ---------------------------------------------------------------------------------------------------


def cost_of(status: Status, now: datetime) -> Cost:
    """What the run cost until now, or until it was rolled back."""
    until = status.entered_at if status.phase is Phase.ROLLED_BACK and status.entered_at else now
    held, stage = status.held, status.stage
    counts = ((seen, each.name) for each in status.predicates if each.state and (seen := counted(each.state)))
    seen, name = max(counts, key=lambda each: each[0].new_total, default=(None, ""))
    return Cost(
        weight=status.weights.desired,
        at_stage=_seconds(stage.verified_at or stage.entered_at, until) if stage else None,
        with_traffic=_seconds(status.counted_since, until),
        held=_seconds(held.since, until) if held else None,
        requests=seen.new_total if seen else None,
        bad=seen.new_bad if seen else None,
        counted_by=name,
    )


def _seconds(since: datetime | None, until: datetime) -> int | None:
    return max(int((until - since).total_seconds()), 0) if since else None


def ways_of(plan: Plan) -> tuple[Way, Way, Way]:
    """The three ways on, with the commands that the operator would carry out now."""
    return _persist(plan), _adapt(plan), _kill(plan)


def _persist(plan: Plan) -> Way:
    status, raw = plan.status, plan.raw
    commands = tuple(each for each in next_commands(raw) if each.split()[1] not in _ENDING)
    if status.phase is Phase.SUCCEEDED:
        return Way("Persist", "nothing to do: it has succeeded")
    if status.phase is Phase.ROLLED_BACK:
        words = "start the same plan again" if commands else "nothing to type: the run of the changed version follows"
        return Way("Persist", words, commands)
    if status.phase is Phase.ROLLING_BACK:
        return Way("Persist", "not possible: the old weights are being restored")
    if status.failed:
        return Way("Persist", "not possible: the run has failed, and a failed run never goes forward")
    if status.phase is Phase.JUDGING and _may_skip(plan):
        words = "nothing to do: it goes on when it is proved; or end this stage as if it had passed"
        return Way("Persist", words, (command(Verb.SKIP, raw),))
    if commands:
        return Way("Persist", "go on all the same", commands)
    return Way("Persist", f"nothing to type: it goes on after {status.waiting_for or 'what it waits for'}")


def _may_skip(plan: Plan) -> bool:
    """Whether the operator would take `skip` now, as far as plan and status say: a policy may demand more soak."""
    spec, status, meta = written(plan), plan.status, safe_get.mapping(plan.raw, "metadata")
    if spec is None:
        return False
    generation = safe_get.number(meta, "generation")
    uid, now = safe_get.text(meta, "uid"), status.entered_at or datetime.now(UTC)
    view = PlanView(plan.namespace, plan.name, uid, generation, now, Readable(spec))
    return is_accepted(Snapshot(plan=view, status=status, now=now), Verb.SKIP)


def _adapt(plan: Plan) -> Way:
    status, edit = plan.status, (edit_command(plan.raw),)
    if status.phase in _BEFORE_WEIGHTS:
        return Way("Adapt", "edit anything: no weight was moved", edit)
    if status.phase not in RUNNING or status.phase is Phase.ROLLING_BACK:
        return Way("Adapt", "edit anything: it begins another run", edit)
    if status.failed:
        return Way("Adapt", "another version of the new side, or other checks, begin another run", edit)
    stages = _open_stages(written(plan), status)
    parts = ", ".join((*(f"stage {name}" for name in stages), *sorted(EDITABLE - {"holdback"})))
    return Way("Adapt", f"edit {parts}; an edit of the rest restores the old weights and begins another run", edit)


def _open_stages(spec: PlanSpec | None, status: Status) -> list[str]:
    """The entries of `stages` that have not started, by the names of their first steps where they have no others."""
    if spec is None:
        return []
    at = status.stage.index if status.stage else -1
    started = {step.entry for step in spec.steps() if step.index <= at}
    names = {step.entry: spec.stages[step.entry].name or step.name for step in reversed(spec.steps())}
    return [names[entry] for entry in sorted(names.keys() - started)]


def _kill(plan: Plan) -> Way:
    status, raw = plan.status, plan.raw
    match status.phase:
        case Phase.ROLLED_BACK:
            return Way("Kill", "done: the old side has its traffic")
        case Phase.ROLLING_BACK:
            return Way("Kill", "under way: the old weights are being restored")
        case Phase.SUCCEEDED | Phase.CONTRACTING | Phase.HELD if is_scaling_old(status):
            words = "the old side was scaled down: this prints what scales it up and restores the old weights"
            return Way("Kill", words, tuple(filter(None, (_by_hand(raw),))))
        case Phase.HELD if status.held_for == HoldReason.OLD_SIDE_DOWN:
            return Way("Kill", "not while nobody answers on the old side: make its pods ready first")
        case Phase.SUCCEEDED if is_handed_back(raw):
            return Way("Kill", of_owned_routes(status))
        case Phase.SUCCEEDED:
            return Way("Kill", "restore the old weights", (command(Verb.REVERT, raw),))
        case phase if phase in _BEFORE_WEIGHTS:
            return Way("Kill", "end it; no weight was moved", (command(Verb.ABORT, raw),))
    return Way("Kill", "restore the old weights now and end the run", (command(Verb.ABORT, raw),))


def _by_hand(raw: Raw) -> str:
    """What prints the way back without the operator; empty where nothing is to be undone."""
    return undo_commands(raw).get("by hand", "")


# ---- how it is shown -------------------------------------------------------------------------------------------------


def as_object(plan: Plan, now: datetime) -> dict[str, Any]:
    """The same for programs."""
    status, raw = plan.status, plan.raw
    cost = asdict(cost_of(status, now))
    fixed = [{"name": each.name, "role": each.role, "bound": each.bound} for each in status.predicates]
    return {
        "namespace": plan.namespace,
        "name": plan.name,
        "phase": str(status.phase),
        "reason": status.reason,
        "message": status.message,
        "believed": {"hypothesis": safe_get.text(raw, "spec", "hypothesis"), "predicates": fixed},
        "seen": safe_get.items(raw, "status", "predicates"),
        "cost": {to_camel(key): value for key, value in cost.items() if value not in (None, "")},
        "question": QUESTION.capitalize(),
        "ways": [asdict(way) for way in ways_of(plan)],
        "undo": _by_hand(raw),
        "runbook": safe_get.text(raw, "spec", "runbook"),
    }


def rendered(plan: Plan, now: datetime, width: int) -> RenderableType:
    """A paragraph for each question, then the three ways on."""
    parts = [*_believed(plan), *_seen(plan, now, width), *_cost(plan.status, now)]
    ways = (_way(way) for way in ways_of(plan))
    return Group(head(plan), *parts, Text(QUESTION.capitalize(), "bold"), *ways, *_without_operator(plan))


def _believed(plan: Plan) -> Iterator[RenderableType]:
    status, hypothesis = plan.status, safe_get.text(plan.raw, "spec", "hypothesis")
    bounds = [Text.assemble((f"{each.role} ", "dim"), line(f"{each.name} {each.bound}")) for each in status.predicates]
    yield said("believed", hypothesis or "the plan has no hypothesis", "italic" if hypothesis else "dim")
    fixed = status.stage.predicates_hash if status.stage else ""
    yield _below(*bounds, *([Text(line(f"fixed before the weight moved (hash {fixed})"), "dim")] if fixed else []))


def _seen(plan: Plan, now: datetime, width: int) -> Iterator[RenderableType]:
    status = plan.status
    series = with_evidence({}, status)
    yield said("seen", status.message or "nothing is decided yet")
    yield _below(*(_measured(each, list(series.get(each.name, {}).values()), now, width) for each in status.predicates))


def _measured(each: PredicateStatus, values: list[float], now: datetime, width: int) -> Text:
    at = f"  {duration(now - each.at)} ago" if each.at else ""
    return predicate(each, values, width).append(at, "dim")


def _cost(status: Status, now: datetime) -> Iterator[RenderableType]:
    cost = cost_of(status, now)
    times = ((cost.with_traffic, "with traffic"), (cost.at_stage, "at this stage"), (cost.held, "on hold"))
    words = [f"{duration(timedelta(seconds=passed))} {what}" for passed, what in times if passed is not None]
    share = f", now {cost.weight}" if cost.weight else ""
    yield said("cost so far", f"{', '.join(words) or 'no traffic'}{share}")
    if cost.requests is not None:
        yield _below(Text(line(f"{cost.requests} requests, {cost.bad} of them bad, as {cost.counted_by} counts")))


def _way(way: Way) -> RenderableType:
    return Group(said(way.way, way.words), *map(to_copy, way.commands))


def _without_operator(plan: Plan) -> Iterator[RenderableType]:
    if by_hand := _by_hand(plan.raw):
        yield typed("by hand", by_hand)
    if runbook := safe_get.text(plan.raw, "spec", "runbook"):
        yield said("runbook", runbook)


def _below(*lines: Text) -> RenderableType:
    return Padding(Group(*lines), (0, 0, 0, 2), expand=False)
