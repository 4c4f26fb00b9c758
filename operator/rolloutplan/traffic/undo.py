"""Reads undo commands back: the weights that they restore.

The texts come from annotations of plans and routes, as `kubectl_patch` and the kinds of routes wrote them. Nothing is
guessed: a text with anything else in it, or in another spelling than the operator's own, gives no weights.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.status import Backend, RuleWeights

_LONGEST: Final = 32 * 1024
"""Characters. A command for one rule with two backends has about 400. A longer text takes a second to parse."""
_LARGEST_WEIGHT: Final = 1_000_000
_BESIDE: Final = (["kubectl", "scale"], ["kubectl", "rollout"])
"""How the commands begin that scale the old side up before its weights go back."""


class UnreadableError(ValueError):
    """The text is no undo command."""


class Patch(NamedTuple):
    """A `kubectl patch` of a route: its kind in small letters, its name, and the operations."""

    kind: str
    name: str
    operations: Sequence[Any]


def read_patches(namespace: str, text: str) -> tuple[Patch, ...]:
    """The patches of an undo command for routes of this namespace. Raises UnreadableError."""
    found = _read(namespace, text)
    if isinstance(found, str):
        raise UnreadableError(found)
    return found


@lru_cache(maxsize=1024)
def _read(namespace: str, text: str) -> tuple[Patch, ...] | str:
    """The patches, or why there are none. A text is read at every look at its plan."""
    try:
        commands = [*_commands(shlex.split(text) if len(text) <= _LONGEST else [])]
        if " && ".join(map(shlex.join, commands)) != text:
            raise UnreadableError("a shell may read it in another way than the operator does")
        return tuple(_patch(namespace, command) for command in commands if command[:2] not in _BESIDE)
    except (ValueError, RecursionError) as error:
        return str(error)


def _commands(words: list[str]) -> Iterator[list[str]]:
    while "&&" in words:
        at = words.index("&&")
        yield words[:at]
        words = words[at + 1 :]
    yield words


def _patch(namespace: str, command: list[str]) -> Patch:
    match command:
        case ["kubectl", "-n", home, "patch", kind, name, "--type=json", "-p", patch] if home == namespace:
            operations = json.loads(patch)
            if isinstance(operations, list):
                return Patch(kind, name, operations)
    raise UnreadableError(f"no patch of a route: {shlex.join(command)[:80]}")


_RULE_PATH: Final = re.compile(r"/spec/rules/([0-9]{1,4})/(?:name|backendRefs/([0-9]{1,4})/(name|weight))")


def read_rules(operations: Sequence[Any]) -> tuple[RuleWeights, ...]:
    """The rules with the weights that a patch of `/spec/rules` restores. Raises UnreadableError."""
    titles: dict[int, str] = {}
    names: defaultdict[int, dict[int, str]] = defaultdict(dict)
    weights: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for operation in operations:
        path = _RULE_PATH.fullmatch(safe_get.text(operation, "path"))
        match path and (path[3], operation.get("op"), operation.get("value")):
            case None, "test", str(title) if path:
                titles[int(path[1])] = title
            case "name", "test", str(name) if path:
                names[int(path[1])][int(path[2])] = name
            case "weight", "replace", int(weight) if path and _is_weight(weight):
                weights[int(path[1])][int(path[2])] = weight
            case _:
                raise UnreadableError(f"no test of a name and no weight: {str(operation)[:80]}")
    if not weights or set(titles) - set(weights) or set(names) != set(weights):
        raise UnreadableError("it does not name the backends of each rule")
    return tuple(_rule(index, titles.get(index, ""), names[index], weights[index]) for index in sorted(weights))


def _is_weight(value: int) -> bool:
    return not isinstance(value, bool) and 0 <= value <= _LARGEST_WEIGHT


def _rule(index: int, title: str, names: dict[int, str], weights: dict[int, int]) -> RuleWeights:
    if not sorted(names) == sorted(weights) == list(range(len(names))):
        raise UnreadableError(f"rule {index}: it does not name all backends")
    backends = (Backend(service=names[place], weight=weights[place]) for place in range(len(names)))
    return RuleWeights(index=index, name=title, backends=tuple(backends))
