"""`rolloutplan list --dora`: how releases go, for each team: changes, failures, lead time and time to restore."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import typer
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.record import DoraFigures, read_record
from rolloutplan.cli.output import fail
from rolloutplan.cli.screen import Format, screen, show_objects
from rolloutplan.cli.session import session
from rolloutplan.cli.views.columns import Row, columns
from rolloutplan.cli.views.words import duration
from rolloutplan.cluster.client import Raw
from rolloutplan.cluster.paths import RECORDS
from rolloutplan.stats.dora import Figures, together

USUAL_SINCE: Final = timedelta(days=30)
TITLES: Final = (
    "OWNER",
    "CHANGES",
    "FAILED",
    "RATE",
    "LEAD",
    "LEAD P90",
    "RESTORE",
    "RESTORE P90",
    "RESTORE MAX",
    "EXPOSED",
)
LEFT_OUT: Final = ("EXPOSED", "LEAD P90", "RESTORE P90", "FAILED", "RESTORE MAX", "LEAD")
NOBODY: Final = "(no owner)"
ALL: Final = "(all)"
_TENTHS: Final = 10.0
"""Below so many seconds a time has tenths: a rollback by itself takes about one."""


class Change(NamedTuple):
    """A run that counts as a change, and who answers for it."""

    owner: str
    figures: DoraFigures


def show(
    namespace: str | None,
    selector: str | None,
    output: Format,
    *,
    everywhere: bool,
    owner: str | None = None,
    since: timedelta | None = None,
) -> int:
    """Show the figures of the changes that ended within the time, of one owner or of each; return 0."""
    since = since or USUAL_SINCE
    if output == "name":
        raise typer.BadParameter("figures have no names: -o may be json or yaml")
    found = asyncio.run(_read(namespace, selector, datetime.now(UTC) - since, everywhere=everywhere))
    chosen = [each for each in found if owner is None or each.owner == owner]
    if output != "text":
        show_objects([{"since": format_duration(since), **raw_of(chosen)}], output, several=False)
    elif chosen:
        console = screen()
        console.print(rendered(chosen, console.width if console.is_watched else None), soft_wrap=True)
    else:
        of = f" of {owner}" if owner is not None else ""
        fail(f"no change{of} has ended within {format_duration(since)}: --since may be longer, -A is everywhere", 0)
    return 0


async def _read(namespace: str | None, selector: str | None, since: datetime, *, everywhere: bool) -> list[Change]:
    """The changes that ended since then. Of each page only the figures are kept."""
    found: list[Change] = []
    async with session(namespace, everywhere=everywhere) as cluster:
        async for page in cluster.pages(RECORDS, selector):
            found += filter(None, (change_of(raw, since) for raw in page))
    return found


def change_of(raw: Raw, since: datetime) -> Change | None:
    """The change in a record; None where it is none, or ended before then."""
    status = {**safe_get.mapping(raw, "status"), "decisions": [], "stages": []}
    record = read_record({"spec": safe_get.mapping(raw, "spec"), "status": status})
    figures, ended_at = record.status.change, record.status.ended_at
    if figures is None or ended_at is None or ended_at < since:
        return None
    return Change(record.spec.owner, figures)


def by_owner(changes: Sequence[Change]) -> list[tuple[str, Figures]]:
    """The figures of each owner, those with the most changes first."""
    owned: dict[str, list[DoraFigures]] = defaultdict(list)
    for each in changes:
        owned[each.owner].append(each.figures)
    ordered = sorted(owned.items(), key=lambda each: (-len(each[1]), each[0]))
    return [(owner, together(figures)) for owner, figures in ordered]


def total(changes: Sequence[Change]) -> Figures:
    """The figures of all owners together."""
    return together([each.figures for each in changes])


# ---- as a table --------------------------------------------------------------------------------------------------


def rendered(changes: Sequence[Change], width: int | None) -> Text:
    """The figures of each owner as a table; those of all together where there is more than one."""
    rows = [_row(line(owner) or NOBODY, figures) for owner, figures in by_owner(changes)]
    if len(rows) > 1:
        rows.append(_row(ALL, total(changes)))
    return columns(TITLES, rows, width, LEFT_OUT)


def _row(owner: str, figures: Figures) -> Row:
    lead, restore = figures.lead, figures.restore
    texts = {
        "CHANGES": str(figures.changes),
        "FAILED": str(figures.failures),
        "RATE": f"{100 * (figures.failure_rate or 0):.1f}%",
        "LEAD": _time(lead.median if lead else None),
        "LEAD P90": _time(lead.p90 if lead else None),
        "RESTORE": _time(restore.median if restore else None),
        "RESTORE P90": _time(restore.p90 if restore else None),
        "RESTORE MAX": _time(restore.largest if restore else None),
        "EXPOSED": "" if figures.exposed is None else f"{figures.exposed:.0f}",
    }
    return {"OWNER": Text(owner, "bold")} | {title: Text(text) for title, text in texts.items()}


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f}s" if seconds < _TENTHS else duration(timedelta(seconds=seconds))


# ---- for programs --------------------------------------------------------------------------------------------------


def raw_of(changes: Sequence[Change]) -> dict[str, Any]:
    """The figures in total and of each owner; times are in seconds, a rate is from 0 to 1, null is not known."""
    owners = [{"owner": owner, **_raw(figures)} for owner, figures in by_owner(changes)]
    return {"total": _raw(total(changes)), "owners": owners}


def _raw(figures: Figures) -> dict[str, Any]:
    return {
        "changes": figures.changes,
        "failures": figures.failures,
        "failureRate": figures.failure_rate,
        "leadSeconds": asdict(figures.lead) if figures.lead else None,
        "restoreSeconds": asdict(figures.restore) if figures.restore else None,
        "exposedRequests": figures.exposed,
    }
