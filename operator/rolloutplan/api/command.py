"""Commands of a person: the annotation `rolloutplan.dev/command: "<verb> <token> [--reason ...]"` of a plan.

`approve` may also name a stage, and the seal of what it approves: `approve <token> [<stage>] [--seal <hash>]`. A
command is carried out once, because GitOps tools write
the same annotation again and again: `AnsweredCommand` is what the status keeps of it. The same token with another verb,
stage or reason is another command.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from rolloutplan.api.text_format import TextFormat

ANNOTATION: Final = "rolloutplan.dev/command"
SENDER: Final = "rolloutplan.dev/command-by"
"""The annotation with the user name of the sender. An admission policy of the chart lets nobody write another's."""
_SEALED: Final = "--seal"
REASON_KEPT: Final = 512
"""Characters of the reason that are kept."""

MAX_COMMAND: Final = 1024
"""Characters of a command: a token, a stage, a seal and a reason that is kept, with 300 for white space."""

_ONCE: Final = 'a command is carried out once per token; write a new token, such as "2026-03-01a"'
_TOKEN: Final = TextFormat(
    called="token",
    pattern="^[A-Za-z0-9._:-]+$",
    longest=64,
    fix='is not a token: write 1 to 64 letters, digits, ".", "_", ":" or "-"',
    forbidden=(("^--reason$", f"is in the place of the token: {_ONCE}"),),
)
_ANSWERED: Final = re.compile(r"(?P<text>.*?)(?: run=(?P<run>[0-9]{1,9}))?(?: told=(?P<told>[0-9]{1,9}))?", re.DOTALL)
_SEAL: Final = re.compile("[0-9a-f]{32}")
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
    ADOPT = "adopt"


_MEANT: Final[Mapping[str, Sequence[Verb]]] = {
    **dict.fromkeys(("rollback", "undo", "back"), (Verb.ABORT, Verb.REVERT)),
    **dict.fromkeys(("cancel", "kill"), (Verb.ABORT,)),
    **dict.fromkeys(("stop", "hold", "wait"), (Verb.PAUSE, Verb.ABORT)),
    **dict.fromkeys(("continue", "unpause", "unhold"), (Verb.RESUME,)),
    **dict.fromkeys(("start", "restart", "rerun", "again"), (Verb.RETRY,)),
    **dict.fromkeys(("ok", "yes", "confirm", "accept"), (Verb.APPROVE,)),
    **dict.fromkeys(("finish", "complete", "full"), (Verb.PROMOTE,)),
    **dict.fromkeys(("next", "advance", "forward"), (Verb.SKIP,)),
}
"""Words that other tools have for our commands."""


class CommandError(ValueError):
    """A command that cannot be parsed; the message has the fault and the fix."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `reason` is cut to one line of at most REASON_KEPT characters; only `approve` may name a stage.

    Raises CommandError for an invalid token.
    """

    verb: Verb
    token: str
    reason: str = ""
    stage: str = ""
    seal: str = ""
    """The hash of what `approve` is for; empty where it names none."""

    def __post_init__(self) -> None:
        try:
            _TOKEN.read(self.token)
        except ValueError as error:
            raise CommandError(f"token: {error}") from None
        if self.seal and not _SEAL.fullmatch(self.seal):
            raise CommandError(f'seal: "{_short(self.seal)}" is not a seal: copy it from the message of the plan')
        object.__setattr__(self, "reason", _one_line(self.reason)[:REASON_KEPT].rstrip())

    @property
    def identity(self) -> str:
        """The text that makes it the same command as another: its words, and a digest of the reason."""
        digest = f" #{hashlib.sha256(self.reason.encode()).hexdigest()[:8]}" if self.reason else ""
        return f"{_words(self)}{digest}"


@dataclass(frozen=True, slots=True)
class AnsweredCommand:
    """An entry of `status.tokens`: a command that was answered, and in which run."""

    identity: str
    """A token alone stands for every command with it: that was the form of earlier versions."""
    run: int | None = None
    told: int | None = None
    """The run in which a person was last told that it is not carried out again."""

    @property
    def text(self) -> str:
        """The entry as text; `read_answered` parses it."""
        run = "" if self.run is None else f" run={self.run}"
        return f"{self.identity}{run}{'' if self.told is None else f' told={self.told}'}"

    def is_of(self, command: Command) -> bool:
        return self.identity in (command.identity, command.token)


def read_answered(text: str) -> AnsweredCommand:
    """Parse an entry of `status.tokens`. Never raises."""
    found = _ANSWERED.fullmatch(text)
    assert found is not None  # it matches every text
    run, told = (int(part) if part else None for part in (found["run"], found["told"]))
    return AnsweredCommand(found["text"], run, told)


def answer_to(entries: Iterable[str], command: Command) -> AnsweredCommand | None:
    """The entry of a command; None where it has not been answered."""
    return next((each for entry in entries if (each := read_answered(entry)).is_of(command)), None)


def record_answer(entries: Iterable[str], answered: AnsweredCommand, shown: str, kept: int) -> tuple[str, ...]:
    """The entries with one more, at most `kept`, each command once.

    The command in the annotation (its text is `shown`) is the last one, so that one that comes back is noticed.
    """
    others = [each for each in map(read_answered, entries) if each.identity != answered.identity]
    try:
        present = read_command(shown)
    except CommandError:
        return tuple(each.text for each in (*others, answered)[-kept:])
    last = [each for each in (*others, answered) if each.is_of(present)]
    rest = [each for each in (*others, answered) if not each.is_of(present)]
    return tuple(each.text for each in (*rest, *last)[-kept:])


def read_command(text: str) -> Command:
    """Parse `<verb> <token> [--reason ...]`, with any white space around and between. Raises CommandError."""
    if len(text) > MAX_COMMAND:
        raise CommandError(f"the command has more than {MAX_COMMAND:,} characters: write a shorter reason")
    head, *reason = _REASON.split(text, maxsplit=1)
    verb, token, more = [*head.split(maxsplit=2), "", "", ""][:3]
    known = _verb(verb)
    if not token:
        raise CommandError(f'no token: write "{known} <token>": {_ONCE}')
    stage, seal = _target(more) if known is Verb.APPROVE else ("", "")
    if more and not stage and not seal:
        raise CommandError(f'"{_short(more)}" is unexpected: only --reason and the reason may follow the token')
    return Command(known, token, _unquoted(reason[0]) if reason else "", stage, seal)


def _target(text: str) -> tuple[str, str]:
    """The stage and the seal that follow the token of `approve`; empty where the text is neither."""
    words = text.replace(f"{_SEALED}=", f"{_SEALED} ").split()
    seal = ""
    if _SEALED in words:
        at = words.index(_SEALED)
        if at + 1 == len(words):
            raise CommandError(f"{_SEALED}: no seal: copy it from the message of the plan")
        seal = words[at + 1]
        del words[at : at + 2]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        return "", ""
    return (words[0] if words else ""), seal


def write_command(command: Command) -> str:
    """The annotation's text, which `read_command` parses to the same command."""
    words = _words(command)
    return f'{words} --reason "{command.reason}"' if command.reason else words


def _words(command: Command) -> str:
    sealed = f"{_SEALED} {command.seal}" if command.seal else ""
    return " ".join(word for word in (command.verb, command.token, command.stage, sealed) if word)


def _verb(text: str) -> Verb:
    try:
        return Verb(text)
    except ValueError:
        pass
    verbs = ", ".join(Verb)
    if not text:
        raise CommandError(f'the command is empty: write "<command> <token>"; the commands are {verbs}')
    near = _MEANT.get(text.lower()) or get_close_matches(text.lower(), list(Verb), n=1)
    guess = f": did you mean {' or '.join(near)}?" if near else "."
    raise CommandError(f'"{_short(text)}" is not a command{guess} The commands are {verbs}')


def _unquoted(text: str) -> str:
    quoted = _QUOTED.fullmatch(line := _one_line(text))
    return quoted[2] if quoted else line


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
