"""`rolloutplan list`: all plans of a namespace or of the cluster, those that need a person first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.quantities import parse_duration
from rolloutplan.cli.options import Namespace, reads, selector_option
from rolloutplan.cli.output import fail
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import session
from rolloutplan.cli.views import dora as releases
from rolloutplan.cli.views.columns import Row, columns
from rolloutplan.cli.views.words import Need, age, need_of, phase_text
from rolloutplan.cluster.client import Raw
from rolloutplan.cluster.paths import PLANS

TITLES: Final = ("PLAN", "PHASE", "STAGE", "WEIGHT", "VERDICT", "OWNER", "AGE", "WAITS FOR")
LEFT_OUT: Final = ("OWNER", "AGE", "VERDICT", "STAGE")
"""What a narrow screen does without."""
LONGEST: Final = 300
"""Characters of what is waited for: more is in `rolloutplan status`."""
_ORDER: Final = {need: place for place, need in enumerate(Need)}

Everywhere: TypeAlias = Annotated[bool, typer.Option("-A", "--all-namespaces", help="of all namespaces")]
Selector: TypeAlias = Annotated[str | None, selector_option("those with these labels")]


def list_plans(
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    selector: Selector = None,
    dora: Annotated[
        bool, typer.Option("--dora", help="how releases went, for each owner, from the records; -l selects records")
    ] = False,
    owner: Annotated[str | None, typer.Option(metavar="OWNER", help="with --dora: of this owner alone")] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(metavar="TIME", parser=reads(parse_duration), help="with --dora: ended within it (default: 30d)"),
    ] = None,
    output: Output = "text",
) -> int:
    """First come those for which a person has to decide, then what has to be repaired, then the rest.

    Exit 0, 1 if they cannot be read.
    """
    check(namespace, everywhere=everywhere)
    if dora:
        return releases.show(namespace, selector, output, everywhere=everywhere, owner=owner, since=since)
    if owner is not None or since is not None:
        raise typer.BadParameter(f"{'--owner' if owner is not None else '--since'} is for --dora")
    where, found = asyncio.run(_read(namespace, selector, everywhere=everywhere))
    found.sort(key=_place)
    if output != "text":
        show_objects(found, output)
    elif found:
        console = screen()
        width = console.width if console.is_watched else None
        console.print(rendered(found, datetime.now(UTC), width, everywhere=everywhere), soft_wrap=True)
    else:
        place = f"in namespace {where}; -A shows those of all namespaces" if where else "in the cluster"
        fail(f"there is no such plan {place}", 0)
    return 0


def check(namespace: str | None, *, everywhere: bool) -> None:
    """Refuse what could mean other plans than the caller thinks. Raises typer.BadParameter."""
    if namespace and everywhere:
        raise typer.BadParameter("give -n or -A, not both")


async def _read(namespace: str | None, selector: str | None, *, everywhere: bool) -> tuple[str, list[Raw]]:
    async with session(namespace, everywhere=everywhere) as cluster:
        return cluster.namespace, await cluster.objects(PLANS, selector)


def _place(raw: Raw) -> tuple[int, str, str]:
    return _ORDER[need_of(raw)], safe_get.text(raw, "metadata", "namespace"), safe_get.text(raw, "metadata", "name")


def rendered(plans: Sequence[Raw], now: datetime, width: int | None, *, everywhere: bool = False) -> Text:
    """The plans as a table, in their order."""
    return columns(TITLES, [_row(raw, now, everywhere=everywhere) for raw in plans], width, LEFT_OUT)


def _row(raw: Raw, now: datetime, *, everywhere: bool) -> Row:
    name = line(safe_get.text(raw, "metadata", "name"))
    if everywhere:
        name = f"{line(safe_get.text(raw, 'metadata', 'namespace'))}/{name}"
    status = safe_get.mapping(raw, "status")
    texts = {
        "STAGE": safe_get.text(status, "stage", "display"),
        "WEIGHT": safe_get.text(status, "weights", "desired"),
        "VERDICT": safe_get.text(status, "verdict"),
        "OWNER": safe_get.text(raw, "spec", "owner"),
        "AGE": age(safe_get.instant(raw, "metadata", "creationTimestamp"), now),
        "WAITS FOR": _waits(status)[:LONGEST],
    }
    return {"PLAN": Text(name, "bold"), "PHASE": phase_text(raw)} | {
        title: Text(line(text)) for title, text in texts.items()
    }


def _waits(status: Mapping[str, Any]) -> str:
    """What a plan waits for; where it does not wait, what its status says."""
    return safe_get.text(status, "waitingFor") or safe_get.text(status, "message")
