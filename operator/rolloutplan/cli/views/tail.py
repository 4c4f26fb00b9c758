"""`rolloutplan tail`: the decisions of all plans as they come, one line each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import typer
from rich.text import Text

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.cli.options import Namespace
from rolloutplan.cli.output import fail
from rolloutplan.cli.screen import Screen, screen
from rolloutplan.cli.session import session
from rolloutplan.cli.views.plans import Everywhere, Selector, check
from rolloutplan.cli.views.words import KINDS
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.cluster.paths import PLANS

LAST: Final = 10
"""Decisions that are shown of the time before, as `tail` shows lines."""
_TIME: Final = slice(11, 19)
"""Where an instant has the time of the day."""


@dataclass(frozen=True, slots=True)
class Told:
    """A decision as the status of its plan has it; `missed` is how many before it are not kept any more."""

    namespace: str
    plan: str
    decision: Raw
    missed: int = 0


@dataclass(slots=True)
class Cursor:
    """Up to which decision each plan was told, by its uid: a plan with the name of a former one begins anew."""

    seqs: dict[str, int] = field(default_factory=dict)

    def news(self, raw: Raw) -> Iterator[Told]:
        """The decisions of a plan that were not told yet, in their order. Each is given once."""
        namespace, name, uid = (safe_get.text(raw, "metadata", each) for each in ("namespace", "name", "uid"))
        decisions = [each for each in safe_get.items(raw, "status", "decisions") if isinstance(each, dict)]
        for each in sorted(decisions, key=_seq):
            known, seq = self.seqs.get(uid), _seq(each)
            if known is not None and seq <= known:
                continue
            self.seqs[uid] = seq
            yield Told(namespace, name, each, 0 if known is None else seq - known - 1)
        self.seqs.setdefault(uid, 0)  # the first decision about a plan is number 1

    def forget(self, raw: Raw) -> None:
        """The plan is gone."""
        self.seqs.pop(safe_get.text(raw, "metadata", "uid"), None)


def tail(
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    selector: Selector = None,
    last: Annotated[int, typer.Option(min=0, metavar="N", help="how many of those before now (default: 10)")] = LAST,
    output: Annotated[
        Literal["text", "json"], typer.Option("-o", "--output", help="text (the default), or an object a line")
    ] = "text",
) -> int:
    """Each decision is told once, in the order of its plan, also where the connection breaks. Ctrl-C ends it.

    Exit 1 if the plans cannot be read.
    """
    check(namespace, everywhere=everywhere)
    asyncio.run(_follow(namespace, selector, last, _Printer(output, screen()), everywhere=everywhere))
    return 0


async def _follow(
    namespace: str | None, selector: str | None, last: int, printer: _Printer, *, everywhere: bool
) -> None:
    cursor = Cursor()
    async with session(namespace, everywhere=everywhere) as cluster:
        printer.tell(before(cursor, await cluster.objects(PLANS, selector), last))
        watch = cluster.watch(PLANS, selector=selector, lost=printer.lose, found=printer.find)
        async with aclosing(watch) as changes:
            async for change in changes:
                printer.tell(cursor.news(change.raw))
                if change.gone:
                    cursor.forget(change.raw)


def before(cursor: Cursor, plans: Iterable[Raw], last: int) -> Sequence[Told]:
    """The last decisions about all plans, by their time."""
    told = sorted((each for raw in plans for each in cursor.news(raw)), key=lambda each: _at(each.decision))
    return told[-last:] if last else ()


def rendered(told: Told) -> Text:
    """One decision in one line."""
    decision = told.decision
    kind = KINDS.get(safe_get.text(decision, "kind"), "")  # type: ignore[call-overload]  # a kind is its text
    weights = [line(safe_get.text(decision, each)) for each in ("weightFrom", "weightTo")]
    made = Text.assemble((_at(decision)[_TIME], "dim"), " ", (f"{line(told.namespace)}/{line(told.plan)}", "bold"))
    made.append(" ").append(line(safe_get.text(decision, "reason")), kind)
    if weights[0] != weights[1]:
        made.append(f" {weights[0] or '?'} -> {weights[1] or '?'}", "dim")
    made.append(f": {line(safe_get.text(decision, 'note'))}")
    if told.missed:
        made.append(f" ({told.missed} before it are not in the status any more)", "dim")
    return made


@dataclass(slots=True)
class _Printer:
    output: str
    console: Screen
    lost: bool = False

    def tell(self, news: Iterable[Told]) -> None:
        for each in news:
            if self.output == "json":
                whole = {"namespace": each.namespace, "plan": each.plan, **each.decision}
                print(json.dumps(whole), flush=True)
            else:
                self.console.print(rendered(each), soft_wrap=True)
        self.console.file.flush()

    def lose(self, error: ApiError) -> None:
        if not self.lost:
            fail(f"connection lost, retrying: {error.message or error.reason}", 0)
        self.lost = True

    def find(self) -> None:
        self.lost = False


def _seq(decision: Any) -> int:
    return safe_get.number(decision, "seq")


def _at(decision: Raw) -> str:
    return line(safe_get.text(decision, "at"))
