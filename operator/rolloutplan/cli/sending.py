"""Send a command to plans, and wait until the operator has answered each: an annotation, then a decision in the status.

cli/command.py names the plans and prints the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.command import ANNOTATION, SENDER, Command, answer_to, write_command
from rolloutplan.api.printable import line
from rolloutplan.api.reasons import EventReason
from rolloutplan.cli.output import CliError
from rolloutplan.cli.session import Session, explain
from rolloutplan.cluster.client import Api, ApiError, Raw
from rolloutplan.cluster.paths import PLANS, self_review

SELF_REVIEW: Final = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
NAME_WITHIN: Final = 2.0
"""Seconds to ask for the sender's name: an abort is not kept waiting for it."""
AT_ONCE: Final = 16
"""Requests at a time: half of what the client sends, so that the watch always has a connection."""


class Outcome(StrEnum):
    SENT = "Sent"
    """It is on the plan. Without waiting, that is all that is known."""
    DONE = "Done"
    REFUSED = "Refused"
    """By the operator."""
    UNANSWERED = "Unanswered"
    FAILED = "Failed"
    """It could not be written, or its answer could not be read."""


class Target(NamedTuple):
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command to one plan; `reason` is that of the decision."""

    target: Target
    outcome: Outcome
    words: str
    reason: str = ""


@dataclass(slots=True)
class Sending:
    """One command to several plans. `tell` is called for each plan when it is sent, and again with its answer."""

    cluster: Session
    command: Command
    tell: Callable[[Answer], None]
    waiting: dict[Target, Raw] = field(default_factory=dict)
    """The plans that have not answered, as they were when the command was written."""
    lost: ApiError | None = None
    """Why the API server is not heard of, until it is heard of again."""

    async def to(self, targets: Sequence[Target], wait: float) -> None:
        """Write the command to all, and wait so many seconds for the answers (0: do not wait). A plan fails alone."""
        annotations = {ANNOTATION: write_command(self.command), SENDER: await _user_name(self.cluster.api)}
        limit = asyncio.Semaphore(AT_ONCE)

        async def write(target: Target) -> None:
            async with limit:
                await self._write(target, {"metadata": {"annotations": annotations}})

        await asyncio.gather(*map(write, targets))
        if wait and self.waiting:
            await self._wait(wait, alone=len(targets) == 1)

    async def _write(self, target: Target, body: dict[str, Any]) -> None:
        try:
            raw = await replace(self.cluster, namespace=target.namespace).patch(PLANS, target.name, body)
        except CliError as error:
            return self.tell(Answer(target, Outcome.FAILED, str(error)))
        except ApiError as error:
            return self.tell(Answer(target, Outcome.FAILED, explain(error)))
        self.tell(Answer(target, Outcome.SENT, f"{ANNOTATION}: {write_command(self.command)}"))
        if known := answered_before(raw, self.command):
            before = f"token {self.command.token} was answered before and is not carried out again: "
            return self.tell(_answer(target, known, before))
        self.waiting[target] = raw
        return None

    async def _wait(self, seconds: float, *, alone: bool) -> None:
        outcome = Outcome.UNANSWERED
        words = f"no answer within {seconds:g} s; the command is on the plan, and the operator carries it out when it"
        words += " reads it"
        try:
            async with asyncio.timeout(seconds):
                await self._follow(alone=alone)
        except TimeoutError:
            words = explain(self.lost) if self.lost else await self._why(words)
        except ApiError as error:
            outcome, words = Outcome.FAILED, explain(error)
        for target in self.waiting:
            self.tell(Answer(target, outcome, words))

    async def _why(self, words: str) -> str:
        """Say, where it is so, that the cluster is of another version than this program."""
        from rolloutplan.cli.versions import crd_difference  # noqa: PLC0415 - an abort is not kept waiting for it

        other = await crd_difference(self.cluster.api)
        return f"{words}; {other}" if other else words

    async def _follow(self, *, alone: bool) -> None:
        """Watch until all have answered: one plan alone, which needs no right to list others, or all in one watch."""
        one = next(iter(self.waiting.items())) if alone else None
        where = replace(self.cluster, namespace=one[0].namespace) if one else self.cluster
        name, since = (one[0].name, one[1]) if one else ("", None)
        watch = where.watch(PLANS, name, since=since, lost=self._lose)
        async with aclosing(watch) as changes:
            async for change in changes:
                self._hear(change.raw, gone=change.gone)
                if not self.waiting:
                    return

    def _lose(self, error: ApiError) -> None:
        self.lost = error

    def _hear(self, raw: Raw, *, gone: bool) -> None:
        target = Target(safe_get.text(raw, "metadata", "namespace"), safe_get.text(raw, "metadata", "name"))
        before, self.lost = self.waiting.get(target), None
        if before is None:
            return
        if decision := decision_on(raw, self.command.token, after=newest(before)):
            answer = _answer(target, decision)
        elif gone:
            answer = Answer(target, Outcome.FAILED, "the plan was deleted before it had answered")
        else:
            return
        del self.waiting[target]
        self.tell(answer)


async def _user_name(api: Api) -> str | None:
    """Return the name by which the API server knows the sender; None, which removes that of a former one, if unknown.

    The command is sent without it: an abort must not fail because a name cannot be asked for.
    """
    try:
        found = await api.create(self_review(), SELF_REVIEW, timeout=NAME_WITHIN)
    except ApiError:
        return None
    return safe_get.text(found, "status", "userInfo", "username") or None


# ---- decisions -------------------------------------------------------------------------------------------------------


def answered_before(raw: Raw, command: Command) -> Raw | None:
    """Return the newest decision on a command that was answered before; the token may be that of other commands too."""
    tokens = safe_get.items(raw, "status", "tokens")
    return decision_on(raw, command.token) if answer_to(map(str, tokens), command) else None


def decision_on(raw: Raw, token: str, after: int = -1) -> Raw | None:
    """Return the newest decision on a token, of those with a number above `after`."""
    found = (each for each in reversed(_decisions(raw)) if each.get("token") == token and _seq(each) > after)
    return next(found, None)


def newest(raw: Raw) -> int:
    """The number of the newest decision; -1 without any."""
    return max(map(_seq, _decisions(raw)), default=-1)


def _decisions(raw: Raw) -> list[Raw]:
    """The decisions, the newest last. The operator may be newer than this program."""
    return [each for each in safe_get.items(raw, "status", "decisions") if isinstance(each, dict)]


def _seq(decision: Raw) -> int:
    return safe_get.number(decision, "seq")


def _answer(target: Target, decision: Raw, before: str = "") -> Answer:
    reason = safe_get.text(decision, "reason")
    words = f"{before}{line(safe_get.text(decision, 'note') or reason)}"
    outcome = Outcome.REFUSED if reason == EventReason.COMMAND_REJECTED else Outcome.DONE
    return Answer(target, outcome, words, reason)
