"""Commands of a person: the annotation `rolloutplan.dev/command: "<verb> <token> [--reason ...]"` of a plan.

A command is carried out once for each token, because GitOps tools write the same annotation again and again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from rolloutplan.api.text_format import TextFormat

ANNOTATION: Final = "rolloutplan.dev/command"
REASON_KEPT: Final = 512
"""Characters of the reason that are kept."""

_ONCE: Final = 'a command is carried out once per token; write a new token, such as "2026-03-01a"'
_TOKEN: Final = TextFormat(
    called="token",
    pattern="^[A-Za-z0-9._:-]+$",
    longest=64,
    fix='is not a token: write 1 to 64 letters, digits, ".", "_", ":" or "-"',
    forbidden=(("^--reason$", f"is in the place of the token: {_ONCE}"),),
)
_REASON: Final = re.compile(r"(?:^|\s)--reason(?:=|\s+|$)")
_QUOTED: Final = re.compile(r"""(["'])(.*)\1""")


class Verb(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    ABORT = "abort"
    RETRY = "retry"
    PROMOTE = "promote"
    SKIP = "skip"
    REVERT = "revert"


class CommandError(ValueError):
    """A command that cannot be parsed; the message has the fault and the fix."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `reason` is cut to one line of at most REASON_KEPT characters.

    Raises CommandError for an invalid token.
    """

    verb: Verb
    token: str
    reason: str = ""

    def __post_init__(self) -> None:
        try:
            _TOKEN.read(self.token)
        except ValueError as error:
            raise CommandError(f"token: {error}") from None
        object.__setattr__(self, "reason", _one_line(self.reason)[:REASON_KEPT].rstrip())


def read_command(text: str) -> Command:
    """Parse `<verb> <token> [--reason ...]`, with any white space around and between. Raises CommandError."""
    head, *reason = _REASON.split(text, maxsplit=1)
    verb, token, more = [*head.split(maxsplit=2), "", "", ""][:3]
    known = _verb(verb)
    if not token:
        raise CommandError(f'no token: write "{known} <token>": {_ONCE}')
    if more:
        raise CommandError(f'"{_short(more)}" is unexpected: only --reason and the reason may follow the token')
    return Command(known, token, _unquoted(reason[0]) if reason else "")


def write_command(command: Command) -> str:
    """The annotation's text, which `read_command` parses to the same command."""
    words = f"{command.verb} {command.token}"
    return f'{words} --reason "{command.reason}"' if command.reason else words


def _verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        pass
    verbs = ", ".join(Verb)
    if not text:
        raise CommandError(f'the command is empty: write "<command> <token>"; the commands are {verbs}')
    near = get_close_matches(text.lower(), list(Verb), n=1)
    guess = f": did you mean {near[0]}?" if near else "."
    raise CommandError(f'"{_short(text)}" is not a command{guess} The commands are {verbs}')


def _unquoted(text: str) -> str:
    quoted = _QUOTED.fullmatch(line := _one_line(text))
    return quoted[2] if quoted else line


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
