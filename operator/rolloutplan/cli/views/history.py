"""`rolloutplan history`: the decisions about a plan, of all runs that have a record, the oldest first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.status import Decision, read_status
from rolloutplan.cli.options import Namespace, PlanName
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.screen import Output, screen, show_objects
from rolloutplan.cli.session import Session, explain, session
from rolloutplan.cli.views.decisions import rendered
from rolloutplan.cli.views.records import records_of
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.cluster.paths import PLANS


def history(plan: PlanName, namespace: Namespace = None, output: Output = "text") -> int:
    """They come from the records of its runs, and from its status; a plan that is gone has its records.

    The newest comes last; `-o json` and `yaml` have the evidence too. Exit 0, 1 if it cannot be read.
    """
    decisions, problem = asyncio.run(_read(namespace, plan))
    if problem:
        fail(f"only what the status of the plan has: its records cannot be read: {problem}", 0)
    if output == "name":
        show_objects([{"apiVersion": PLANS.api_version, "kind": "RolloutPlan", "metadata": {"name": plan}}], output)
    elif output != "text":
        show_objects(decisions, output)
    elif decisions:
        console = screen()
        shown = [*readable(decisions)]
        console.print(rendered(shown, console.width))
        if left_out := len(decisions) - len(shown):
            fail(f"{left_out} of {len(decisions)} decisions cannot be read (another version?): see -o yaml", 0)
    else:
        fail(f"{plan}: nothing was decided yet", 0)
    return 0


async def _read(namespace: str | None, name: str) -> tuple[list[Raw], str]:
    """The decisions in their order, and why there are no records; "" where they were read. Raises CliError."""
    async with session(namespace) as cluster:
        records, problem = await _records(cluster, name)
        try:
            plan = (await cluster.plan(name)).raw
        except CliError:
            if not records:
                raise
            plan = {}
        return merged(records, plan), problem


async def _records(cluster: Session, name: str) -> tuple[list[Raw], str]:
    try:
        return await records_of(cluster, name), ""
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return [], explain(error)


def merged(records: Sequence[Raw], plan: Raw) -> list[Raw]:
    """Each decision once, by its time; the status of the plan has it in full, where it still has it."""
    found: dict[tuple[str, int], Raw] = {}
    sources = [*((safe_get.text(raw, "spec", "planUid"), raw) for raw in records)]
    for uid, raw in (*sources, (safe_get.text(plan, "metadata", "uid"), plan)):
        found |= {(uid, safe_get.number(each, "seq")): each for each in _decisions(raw)}
    return sorted(found.values(), key=lambda each: (safe_get.text(each, "at"), safe_get.number(each, "seq")))


def _decisions(raw: Raw) -> Iterator[Raw]:
    return (each for each in safe_get.items(raw, "status", "decisions") if isinstance(each, dict))


def readable(decisions: Iterable[Mapping[str, Any]]) -> Iterator[Decision]:
    """Those that can be read, as decisions."""
    for each in decisions:
        yield from read_status({"decisions": [each]}).decisions
