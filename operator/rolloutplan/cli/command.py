"""Send a command to one plan or to many, and say what each answered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeAlias

import typer

from rolloutplan.api.command import Command, CommandError, Verb
from rolloutplan.api.text_format import DNS_LABEL
from rolloutplan.cli.options import Namespace, plan_argument, reads, seconds, selector_option
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.screen import Format, Output, show_objects
from rolloutplan.cli.sending import Answer, Outcome, Sending, Target
from rolloutplan.cli.session import Session, session
from rolloutplan.cluster.paths import PLANS

ACTED, FAILED, USAGE, REFUSED = 0, 1, 2, 3
_CODES: Final = {Outcome.REFUSED: REFUSED, Outcome.UNANSWERED: FAILED, Outcome.FAILED: FAILED}

Plans: TypeAlias = Annotated[list[str] | None, plan_argument("the plans' names; or --all", "PLAN")]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="all plans of the namespace, in place of names")]
Selector: TypeAlias = Annotated[
    str | None,
    selector_option("with --all: those with these labels"),
]
Everywhere: TypeAlias = Annotated[bool, typer.Option("-A", "--all-namespaces", help="with --all: of all namespaces")]
Reason: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="WORDS",
        help="the reason, which the decision and its Event show; to go on past an undecided step needs one",
    ),
]
Token: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T", help="a command is carried out once per token (default: a new one)")
]
Wait: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        parser=reads(seconds),
        help="how long to wait for the operator's answer (default: 5; 0: do not wait)",
    ),
]


def send_command(
    ctx: typer.Context,
    plan: Plans = None,
    namespace: Namespace = None,
    every: All = False,
    selector: Selector = None,
    everywhere: Everywhere = False,
    reason: Reason = "",
    token: Token = None,
    wait: Wait = 5.0,
    output: Output = "text",
) -> int:
    """It is written as an annotation, and the operator's answer is printed. Of several plans, each answers for itself.

    Exit 0 if all carried it out, 1 if one could not be told or did not answer in time, 3 if one refused it.
    """
    chosen = _Chosen(plan or (), namespace, every, selector, everywhere)
    return _send(chosen, _command(Verb(ctx.info_name or ""), token, reason), wait, output)


def approve(
    plan: Plans = None,
    namespace: Namespace = None,
    every: All = False,
    selector: Selector = None,
    everywhere: Everywhere = False,
    reason: Reason = "",
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            parser=reads(DNS_LABEL.read),
            help="the stage (or: contract) to approve, also before its turn (default: the one that waits)",
        ),
    ] = None,
    seal: Annotated[
        str, typer.Option(metavar="HASH", help="approve exactly what was seen: the hash that the plan's message shows")
    ] = "",
    token: Token = None,
    wait: Wait = 5.0,
    output: Output = "text",
) -> int:
    """It is written as an annotation, and the operator's answer is printed. Of several plans, each answers for itself.

    Exit 0 if all carried it out, 1 if one could not be told or did not answer in time, 3 if one refused it.
    """
    chosen = _Chosen(plan or (), namespace, every, selector, everywhere)
    return _send(chosen, _command(Verb.APPROVE, token, reason, stage or "", seal), wait, output)


def _command(verb: Verb, token: str | None, *words: str) -> Command:
    try:
        return Command(verb, secrets.token_hex(4) if token is None else token, *words)
    except CommandError as error:
        raise CliError(str(error), USAGE) from None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The plans that are meant."""

    names: Sequence[str]
    namespace: str | None
    every: bool
    selector: str | None
    everywhere: bool

    def check(self) -> None:
        """Refuse what could mean other plans than the sender thinks. Raises typer.BadParameter."""
        if not self.names and not self.every:
            raise typer.BadParameter("PLAN is missing: name a plan, or write --all for all of the namespace")
        if self.names and self.every:
            raise typer.BadParameter("give names or --all, not both")
        if not self.every and (self.selector is not None or self.everywhere):
            raise typer.BadParameter(f"{'-A' if self.selector is None else '-l'} is only for --all")
        if self.namespace and self.everywhere:
            raise typer.BadParameter("give -n or -A, not both")

    async def targets(self, cluster: Session) -> list[Target]:
        """Find them. Raises CliError where there are none."""
        if self.names:
            return [Target(cluster.namespace, name) for name in dict.fromkeys(self.names)]
        found = [Target(plan.namespace, plan.name) for plan in await cluster.plans(self.selector)]
        if not found:
            where = f"namespace {cluster.namespace}" if cluster.namespace else "the cluster"
            raise CliError(f"no plan of {where} is selected: see kubectl get rolloutplans -A --show-labels")
        return found


@dataclass(slots=True)
class _Told:
    """Prints each answer as it comes; for programs, all of them at the end."""

    output: Format
    several: bool
    brief: bool
    """Whether only answers are printed, and not what was written: of several plans whose answers are waited for."""
    answers: dict[Target, Answer] = field(default_factory=dict)

    def tell(self, answer: Answer) -> None:
        self.answers[answer.target] = answer
        if self.output == "text":
            self._print(answer)

    def _print(self, answer: Answer) -> None:
        where = f"{answer.target.namespace}/{answer.target.name}"
        words = f"{where}: {answer.words}" if self.several else answer.words
        if answer.outcome in _CODES:
            fail(words, FAILED)
        elif answer.outcome is not Outcome.SENT:
            print(words, flush=True)
        elif not self.brief:
            print(f"{where} {answer.words}", flush=True)

    def end(self) -> int:
        """Print what is for programs; return the exit code."""
        answers = self.answers.values()
        if self.output == "name":
            show_objects([_plan(each.target) for each in answers if each.outcome not in _CODES], self.output)
        elif self.output != "text":
            show_objects([_as_object(each) for each in answers], self.output, several=self.several)
        codes = {_CODES.get(each.outcome, ACTED) for each in answers}
        return FAILED if FAILED in codes else max(codes)


def _plan(target: Target) -> dict[str, Any]:
    return {"apiVersion": PLANS.api_version, "kind": "RolloutPlan", "metadata": {"name": target.name}}


def _as_object(answer: Answer) -> dict[str, Any]:
    return {
        "namespace": answer.target.namespace,
        "name": answer.target.name,
        "outcome": str(answer.outcome),
        "reason": answer.reason,
        "message": answer.words,
    }


def _send(chosen: _Chosen, command: Command, wait: float, output: Format) -> int:
    chosen.check()
    return asyncio.run(_send_all(chosen, command, wait, output))


async def _send_all(chosen: _Chosen, command: Command, wait: float, output: Format) -> int:
    async with session(chosen.namespace, everywhere=chosen.everywhere) as cluster:
        targets = await chosen.targets(cluster)
        several = chosen.every or len(targets) > 1
        told = _Told(output, several, brief=several and wait > 0)
        await Sending(cluster, command, told.tell).to(targets, wait)
    return told.end()
