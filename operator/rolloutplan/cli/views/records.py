"""`rolloutplan record`: what went out, and how it ended: a list of runs, or the record of one. Plans may be gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.record import (
    PLAN_LABEL,
    DoraFigures,
    RecordedSide,
    RecordedStage,
    RolloutRecord,
    RunOutcome,
    plan_label,
    read_record,
)
from rolloutplan.cli.options import Namespace, plan_argument
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.screen import Format, Output, screen, show_objects
from rolloutplan.cli.session import Session, TableRow, session
from rolloutplan.cli.views import decisions
from rolloutplan.cli.views.columns import Row, columns
from rolloutplan.cli.views.plans import Everywhere, Selector, check
from rolloutplan.cli.views.words import duration
from rolloutplan.cluster.client import Raw
from rolloutplan.cluster.paths import RECORDS

TITLES: Final = ("PLAN", "RUN", "OUTCOME", "REASON", "OWNER", "STARTED", "ENDED")
LEFT_OUT: Final = ("OWNER", "ENDED", "REASON")
_SPEC: Final = {"plan": "Plan", "run": "Run", "owner": "Owner", "startedAt": "Started"}
_STATUS: Final = {"outcome": "Outcome", "reason": "Reason", "endedAt": "Ended"}
"""What the columns of `kubectl get rr` show, by its field."""
OUTCOMES: Final = {RunOutcome.SUCCEEDED: "green", RunOutcome.ROLLED_BACK: "bold red", RunOutcome.RUNNING: "cyan"}


def record(
    plan: Annotated[str | None, plan_argument("the plan's name; without it, a list of all records")] = None,
    run: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="the number of the run (default: the newest)")
    ] = None,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    selector: Selector = None,
    output: Output = "text",
) -> int:
    """A record outlives its plan. Exit 0, 1 if there is none, or it cannot be read."""
    check(namespace, everywhere=everywhere)
    if plan is None:
        if run is not None:
            raise typer.BadParameter("--run is for the records of one plan: name it")
        return _list(namespace, selector, output, everywhere=everywhere)
    if everywhere or selector is not None:
        raise typer.BadParameter(f"{'-A' if everywhere else '-l'} is for the list, without a plan")
    raw = asyncio.run(_one(namespace, plan, run))
    if output != "text":
        show_objects([raw], output, several=False)
    else:
        console = screen()
        console.print(rendered(read_record(raw), console.width))
    return 0


# ---- the list --------------------------------------------------------------------------------------------------------


def _list(namespace: str | None, selector: str | None, output: Format, *, everywhere: bool) -> int:
    async def read() -> list[Raw]:
        async with session(namespace, everywhere=everywhere) as cluster:
            if output in ("text", "name"):
                return await _in_short(cluster, selector)
            return [raw async for page in cluster.pages(RECORDS, selector) for raw in page]

    found = sorted(asyncio.run(read()), key=_place, reverse=True)
    if output != "text":
        show_objects(found, output)
    elif found:
        console = screen()
        width = console.width if console.is_watched else None
        console.print(listed(found, width, everywhere=everywhere), soft_wrap=True)
    else:
        fail("there is no such record: one is written for each run, from its start", 0)
    return 0


async def _in_short(cluster: Session, selector: str | None = None) -> list[Raw]:
    """Records with what their table shows: whole ones take up to 448 KiB each. Raises ApiError."""
    return [_of_row(row) for row in await cluster.rows(RECORDS, selector)]


def _of_row(row: TableRow) -> Raw:
    """A record, as far as the columns of its definition have it."""
    return {
        "apiVersion": RECORDS.api_version,
        "kind": "RolloutRecord",
        "metadata": dict(row.metadata),
        "spec": {field: row.cells.get(title) for field, title in _SPEC.items()},
        "status": {field: row.cells.get(title) for field, title in _STATUS.items()},
    }


def listed(records: Sequence[Raw], width: int | None, *, everywhere: bool = False) -> Text:
    """Records as a table, in their order."""
    return columns(TITLES, [_row(raw, everywhere=everywhere) for raw in records], width, LEFT_OUT)


def _row(raw: Raw, *, everywhere: bool) -> Row:
    name = line(safe_get.text(raw, "spec", "plan"))
    if everywhere:
        name = f"{line(safe_get.text(raw, 'metadata', 'namespace'))}/{name}"
    outcome = line(safe_get.text(raw, "status", "outcome"))
    return {
        "PLAN": Text(name, "bold"),
        "RUN": Text(str(safe_get.number(raw, "spec", "run"))),
        "OUTCOME": Text(outcome, OUTCOMES.get(outcome, "")),  # type: ignore[call-overload]  # an outcome is its text
        "REASON": Text(line(safe_get.text(raw, "status", "reason"))),
        "OWNER": Text(line(safe_get.text(raw, "spec", "owner"))),
        "STARTED": Text(_at(safe_get.instant(raw, "spec", "startedAt"))),
        "ENDED": Text(_at(safe_get.instant(raw, "status", "endedAt"))),
    }


def _place(raw: Raw) -> tuple[datetime, int]:
    """The later ones are greater."""
    started = safe_get.instant(raw, "spec", "startedAt") or datetime.min.replace(tzinfo=UTC)
    return started, safe_get.number(raw, "spec", "run")


def _at(instant: datetime | None) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if instant else ""


# ---- one record ------------------------------------------------------------------------------------------------------


async def records_of(cluster: Session, plan: str) -> list[Raw]:
    """The records of a plan, the oldest first; a plan of this name that is gone has its own. Raises ApiError."""
    pages = cluster.pages(RECORDS, f"{PLAN_LABEL}={plan_label(plan)}")
    found = [raw async for page in pages for raw in page]
    return sorted((raw for raw in found if safe_get.text(raw, "spec", "plan") == plan), key=_place)


async def _one(namespace: str | None, plan: str, run: int | None) -> Raw:
    async with session(namespace) as cluster:
        selected = await _in_short(cluster, f"{PLAN_LABEL}={plan_label(plan)}")
        found = sorted((raw for raw in selected if safe_get.text(raw, "spec", "plan") == plan), key=_place)
        chosen = [raw for raw in found if run is None or safe_get.number(raw, "spec", "run") == run]
        if chosen:
            return await cluster.get(RECORDS, safe_get.text(chosen[-1], "metadata", "name"))
        raise CliError(_missing(cluster.namespace, plan, found, await _in_short(cluster) if not found else []))


def _missing(namespace: str, plan: str, found: Sequence[Raw], others: Sequence[Raw]) -> str:
    if found:
        runs = ", ".join(str(safe_get.number(raw, "spec", "run")) for raw in found)
        return f"there is no record of that run of {plan} in namespace {namespace}: there are those of run {runs}"
    near = get_close_matches(plan, {safe_get.text(raw, "spec", "plan") for raw in others}, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "rolloutplan record -A lists all"
    return f"there is no record of a plan {plan} in namespace {namespace}: {hint}"


def rendered(record: RolloutRecord, width: int) -> RenderableType:
    """One record: what was to go out, how it went, stage by stage, and every decision."""
    spec, status = record.spec, record.status
    head = Text.assemble((f"{line(spec.plan)}, run {spec.run}", "bold"), "  ")
    head.append(str(status.outcome), OUTCOMES.get(status.outcome, "yellow"))
    if status.reason and status.reason != status.outcome:
        head.append(f" {line(status.reason)}")
    return Group(
        head, *_facts(record), *(_stage(each) for each in status.stages), decisions.rendered(status.decisions, width)
    )


def _facts(record: RolloutRecord) -> Iterator[Text]:
    spec, status = record.spec, record.status
    took = f", after {duration(status.ended_at - spec.started_at)}" if status.ended_at and spec.started_at else ""
    gone = {"left out": status.folded, "missing": status.missing, "shortened": status.shortened}
    facts = {
        "message": status.message,
        "hypothesis": spec.hypothesis,
        "owner": spec.owner,
        "old": _side(spec.old),
        "new": _side(spec.new),
        "weight": status.weight,
        "started": _at(spec.started_at),
        "ended": f"{_at(status.ended_at)}{took}",
        "people": ", ".join(status.people),
        "delivery": _dora(status.change) if status.change else "",
        "runbook": spec.runbook,
        "decisions": ", ".join(f"{count} {words}" for words, count in gone.items() if count),
    }
    for title, text in facts.items():
        if text:
            yield Text.assemble((f"{title}: ", "dim"), line(text))


def _side(side: RecordedSide) -> str:
    return " ".join(filter(None, (side.deployment, side.variant, *side.images)))


def _dora(dora: DoraFigures) -> str:
    failed = "failed" if dora.failed else "did not fail"
    seconds = (("restored after", dora.restore_seconds), ("lead time", dora.lead_seconds))
    figures = [f"{words} {value:.0f} s" for words, value in seconds if value is not None]
    exposed = [f"{dora.exposed_requests:.0f} requests exposed"] if dora.exposed_requests is not None else []
    return ", ".join((failed, *figures, *exposed))


def _stage(stage: RecordedStage) -> Text:
    good = {"Proved": ("✔", "green"), "RolledBack": ("✘", "bold red")}
    mark, style = good.get(stage.result, ("○", ""))
    made = Text.assemble((f"{mark} {line(stage.name)}", style), f" {line(stage.weight)}  {line(stage.result)}")
    if stage.entered_at and stage.ended_at:
        made.append(f"  {duration(stage.ended_at - stage.entered_at)}", "dim")
    if stage.run_began:
        made.append(f"\n  of another run with this number, which began {_at(stage.run_began)}", "dim")
    for each in stage.evidence:
        value = f" {line(each.value)}" if each.value else ""
        made.append(
            f"\n  {line(each.role)} {line(each.predicate)}{value} ({line(each.bound)}) {line(each.verdict)}", "dim"
        )
    return made
