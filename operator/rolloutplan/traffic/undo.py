"""Reads undo commands back: the weights that they restore.

The texts come from annotations of plans and routes, as `kubectl_patch` and the kinds of routes wrote them. Nothing is
guessed: a text with anything else in it, or in another spelling than the operator's own, gives no weights.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import steps
from rolloutplan.traffic.added_text import read
from rolloutplan.traffic.forms.base import removed
from rolloutplan.traffic.overlay import ANNOTATION

LONGEST: Final = 128 * 1024
"""Characters. A command for one rule with two backends has about 400, one for the largest HTTPRoute with a rule for
testers before each rule 37,000. All annotations of an object may have 256 KiB together."""
_KEPT: Final = 32 * 1024
"""Characters. Longer texts are read again at each look, which takes a millisecond or two, so that a thousand of them do
not fill the memory."""
_MOST_WORDS: Final = 1024
"""Of a line. A command has about ten; whoever writes others would keep the operator busy."""
_WORD: Final = re.compile(r"""(?:^| )([\w@%+=:,./-]+|&&|\|\||[{};]|'[^']*'(?:"'"'[^']*')*)(?= |$)""", re.ASCII)
"""A word as `shlex.quote` writes it. `shlex.split` takes a second for a long one."""
_SCALES: Final = (["kubectl", "scale"], ["kubectl", "rollout"])
"""How the commands begin that scale the old side up before its weights go back."""


class UnreadableError(ValueError):
    """The text is no undo command."""


class Patch(NamedTuple):
    """A `kubectl patch` of a route: its resource as kubectl takes it, its name, and the operations.

    Earlier versions wrote the kind in small letters as the resource.
    """

    resource: str
    name: str
    operations: Sequence[Any]


def read_patches(namespace: str, text: str) -> tuple[tuple[Patch, ...], ...]:
    """The patches of an undo command for routes of a namespace; of several for one route, the first that fits counts.

    Raises UnreadableError.
    """
    found = (_read if len(text) <= _KEPT else _read.__wrapped__)(namespace, text)
    if isinstance(found, str):
        raise UnreadableError(found)
    return found


@lru_cache(maxsize=1024)
def _read(namespace: str, text: str) -> tuple[tuple[Patch, ...], ...] | str:
    """The patches, or why there are none. A text is read at every look at its plan."""
    try:
        commands = [*_commands(_words(text) if len(text) <= LONGEST else [])]
        if " && ".join(first_that_fits(map(shlex.join, each)) for each in commands) != text:
            raise UnreadableError("a shell may read it in another way than the operator does")
        patches = [each for each in commands if each[0][:2] not in _SCALES]
        return tuple(tuple(_patch(namespace, command) for command in each) for each in patches)
    except (ValueError, RecursionError) as error:
        return str(error)


def _words(text: str) -> list[str]:
    """The words of a line for a shell; an end that is no word of ours is left out."""
    words: list[str] = []
    end = 0
    while len(words) < _MOST_WORDS and (found := _WORD.match(text, end)):
        word, end = found[1], found.end()
        words.append(word[1:-1].replace("'\"'\"'", "'") if word.startswith("'") else word)
    return words


def _commands(words: list[str]) -> Iterator[list[list[str]]]:
    """The commands of a line; of several in braces, the first that succeeds is all that is run."""
    for command in _split(words, "&&"):
        braced = command[:1] == ["{"] and command[-2:] == [";", "}"]
        yield [*_split(command[1:-2], "||")] if braced else [command]


def _split(words: list[str], by: str) -> Iterator[list[str]]:
    begin = 0
    for at, word in enumerate(words):
        if word == by:
            yield words[begin:at]
            begin = at + 1
    yield words[begin:]


def first_that_fits(commands: Iterable[str]) -> str:
    """A command for a POSIX shell that runs these until one succeeds, and fails where none does."""
    first, *others = commands
    return f"{{ {' || '.join((first, *others))} ; }}" if others else first


def _patch(namespace: str, command: list[str]) -> Patch:
    match command:
        case ["kubectl", "-n", home, "patch", kind, name, "--type=json", "-p", patch] if home == namespace:
            operations = json.loads(patch)
            if isinstance(operations, list):
                return Patch(kind, name, operations)
    raise UnreadableError(f"no patch of a route: {shlex.join(command)[:80]}")


_LONGEST_LIST: Final = 10_000
"""Entries. More than any route has; a larger index is no index of one."""


def rebuilt(namespace: str, name: str, operations: Sequence[Any]) -> dict[str, Any]:
    """The object as far as these operations name it: what they test, and what they write. Raises UnreadableError."""
    built: dict[str, Any] = {"metadata": {"namespace": namespace, "name": name}}
    for operation in operations:
        *above, last = steps(safe_get.text(operation, "path")) or ("",)
        holder: Any = built
        for step, below in pairwise([*above, last]):
            holder = _entered(holder, step, [] if below.isdecimal() else {})
        if safe_get.text(operation, "op") != "remove":
            _entered(holder, last, safe_get.value(operation, "value"), overwrite=True)
        elif isinstance(holder, dict):
            holder.pop(last, None)
        elif last.isdecimal() and int(last) == len(holder) - 1:
            holder.pop()
    return built


def _entered(holder: Any, step: str, value: Any, *, overwrite: bool = False) -> Any:
    """The value at a step of a mapping or a list, which is made longer where it is too short."""
    if isinstance(holder, dict):
        if overwrite or step not in holder:
            holder[step] = value
        return holder[step]
    if not isinstance(holder, list) or not step.isdecimal() or int(step) >= _LONGEST_LIST:
        raise UnreadableError("it changes what no route has")
    index = int(step)
    holder += [None] * (index + 1 - len(holder))
    if overwrite or holder[index] is None:
        holder[index] = value
    return holder[index]


def without_additions(operations: Sequence[Any]) -> Sequence[Any]:
    """The operations on weights, without what is around them. Raises UnreadableError.

    Those before them take away what was added, and those behind them put back what other runs added.
    """
    ends = [i for i, each in enumerate(operations) if each == removed(ANNOTATION)]
    if not ends:
        return operations
    if any(safe_get.text(each, "op") not in ("test", "remove") for each in operations[: ends[0]]):
        raise UnreadableError("it does more than to take away what was added")
    return _without_others(operations[ends[0] + 1 :])


def _without_others(operations: Sequence[Any]) -> Sequence[Any]:
    """These operations, without those that put back what other runs added: one each, and then the annotation."""
    last = operations[-1] if operations else None
    if safe_get.text(last, "path") != ANNOTATION:
        return operations
    kept = len(operations) - 1 - len(read(safe_get.text(last, "value")))
    if kept < 0 or any(safe_get.text(each, "op") != "add" for each in operations[kept:]):
        raise UnreadableError("it does more than to put back what other runs added")
    return operations[:kept]


def ends_with(operations: Sequence[Any], last: Sequence[Any]) -> bool:
    """Whether these are the last operations, and all before them only test.

    Earlier versions wrote `replace` where this one writes `add`.
    """
    tests, rest = operations[: -len(last)], operations[-len(last) :]
    return _as_now(rest) == _as_now(last) and all(safe_get.text(each, "op") == "test" for each in tests)


def _as_now(operations: Sequence[Any]) -> list[object]:
    return [{**each, "op": "add"} if safe_get.text(each, "op") == "replace" else each for each in operations]
