"""What goes wrong in a rehearsal, and when: `errors=5% at 25% after 2m for 10m`.

A fault is what goes wrong, and after it in any order: `on` which side, `at` which weight it begins, how long `after`
that, and `for` how long. How large errors and slowness are is said as for `simulate` (tools/fault.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from rolloutplan.api.command import Verb
from rolloutplan.api.quantities import parse_duration, parse_percentage
from rolloutplan.engine.model.queries import Side
from rolloutplan.tools.fault import Fault, read_fault

What: TypeAlias = Literal[
    "errors", "latency", "prometheus down", "prometheus slow", "pods crash", "pods unready", "gateway refuses",
    "traffic drops", "answer", "command",
]  # fmt: skip
ON: Final[Mapping[str, tuple[Side, ...]]] = {"old": ("old",), "new": ("new",), "both": ("new", "old")}
FORMS: Final[Mapping[str, str]] = {
    "errors": "errors=5%",
    "latency": "latency=2x",
    "prometheus": "prometheus down",
    "pods": "pods crash",
    "gateway": "gateway refuses",
    "traffic": "traffic drops to 10%",
    "answer": "answer NAME=0.5",
    "command": "command abort",
}
"""What can go wrong, by its first word."""
_CLAUSES: Final[Mapping[str, str]] = {
    "on": "on new, on old or on both",
    "at": "at 25%: from the first weight of so much on",
    "after": "after 2m: so long after that",
    "for": "for 10m: how long it lasts",
}
_SIDED: Final = ("errors", "latency", "pods crash", "pods unready", "answer")
_NO_TIME: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that goes wrong."""

    text: str
    what: What
    sides: tuple[Side, ...] = ("new",)
    at: int | None = None
    """The weight at which it begins, in permille: as soon as the new side was given so much once. None: the first
    weight of the run, whatever it is."""
    after: timedelta = _NO_TIME
    lasts: timedelta | None = None
    """None: to the end."""
    size: Fault | None = None
    """Of errors and slowness."""
    number: float = 0.0
    """Of pods that crash; the share of pods that are unready, or of traffic that is left; the value of an answer."""
    name: str = ""
    """The predicate that is answered, or the verb of a command."""

    @property
    def harms(self) -> bool:
        """Whether users feel it: the time from it until the weights are back is of interest."""
        return self.what in ("errors", "latency", "pods crash", "pods unready")


@dataclass(slots=True)
class Happening:
    """A fault in the course of a run: when it begins and ends, as far as that is known."""

    incident: Incident
    begins: datetime | None = None
    done: bool = False
    """Whether a command was written."""

    @property
    def ends(self) -> datetime | None:
        lasts = self.incident.lasts
        return None if self.begins is None or lasts is None else self.begins + lasts

    def is_on(self, now: datetime) -> bool:
        return self.begins is not None and self.begins <= now and (self.ends is None or now < self.ends)

    def follow(self, share: int, now: datetime, *, begun: bool) -> None:
        """Take in the weight in force; `begun`: whether the first weight of the run is in force."""
        incident = self.incident
        if self.begins is None and (begun if incident.at is None else share >= incident.at):
            self.begins = now + incident.after


class Happenings:
    """The faults of a rehearsal."""

    def __init__(self, incidents: Iterable[Incident]) -> None:
        self.all = tuple(Happening(each) for each in incidents)

    def on(self, now: datetime, *what: What) -> Iterator[Happening]:
        """Those of some kinds, or all, that are on at an instant."""
        return (each for each in self.all if each.is_on(now) and (not what or each.incident.what in what))

    def are_on(self, now: datetime, *what: What) -> bool:
        return any(True for _ in self.on(now, *what))

    def instants(self) -> tuple[datetime, ...]:
        """When the faults begin and end, as far as that is known."""
        return tuple(at for each in self.all for at in (each.begins, each.ends) if at is not None)


def read_incident(text: str) -> Incident:
    """Parse a fault. Raises ValueError with the fix."""
    head, clauses = _split(text)
    try:
        found = _read_head(text, head)
        return replace(
            found,
            sides=_sides(found.what, clauses.get("on")),
            at=parse_percentage(clauses["at"]) if "at" in clauses else None,
            after=parse_duration(clauses["after"]) if "after" in clauses else _NO_TIME,
            lasts=parse_duration(clauses["for"]) if "for" in clauses else None,
        )
    except ValueError as error:
        raise ValueError(f'"{text}": {error}') from None


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    """The words before the first clause, and each clause with its word."""
    head: list[str] = []
    clauses: dict[str, str] = {}
    words = iter(text.split())
    for word in words:
        if word in _CLAUSES and head:
            if word in clauses:
                raise ValueError(f'"{text}": {word} is there twice: write it once')
            clauses[word] = next(words, "")
            if not clauses[word]:
                raise ValueError(f'"{text}": nothing follows {word}: write {_CLAUSES[word]}')
        elif clauses:
            near = get_close_matches(word, _CLAUSES, n=1)
            raise ValueError(f'"{text}": "{word}" is unexpected: write {near[0] if near else "on, at, after or for"}')
        else:
            head.append(word)
    if head[:1] == ["prometheus"] and len(head) == 3:  # `prometheus down 3m`
        clauses.setdefault("for", head.pop())
    return head, clauses


def _read_head(text: str, head: Sequence[str]) -> Incident:
    if not head:
        raise ValueError(f"it is empty: write {_either(FORMS.values())}")
    for what, pattern in _PATTERNS.items():
        if found := re.fullmatch(pattern, " ".join(head)):
            return replace(Incident(text, what), **_read_detail(what, *found.groups()))
    first = head[0].partition("=")[0]
    if first in FORMS:
        raise ValueError(f"it is written {_FULL.get(first, FORMS[first])}")
    near = get_close_matches(first, FORMS, n=1)
    fix = f"did you mean {FORMS[near[0]]}?" if near else f"write {_either(FORMS.values())}"
    raise ValueError(f'"{first}" is no fault: {fix}')


def _read_detail(what: What, detail: str | None = None) -> dict[str, Any]:
    """The fields for what a fault says beyond its kind."""
    match what:
        case "errors" | "latency":
            return {"size": read_fault(detail or "")}
        case "pods crash":
            return {"number": int(detail or 1)}
        case "pods unready" | "traffic drops":
            return {"number": parse_percentage(detail) / 1000}
        case "answer":
            name, number = read_answer(detail or "")
            return {"name": name, "number": number}
        case "command":
            return {"name": _verb(detail or "")}
    return {}


_PATTERNS: Final[Mapping[What, str]] = {
    "errors": "errors=(.*)",
    "latency": "latency=(.*)",
    "prometheus down": "prometheus down",
    "prometheus slow": "prometheus slow",
    "pods crash": "pods crash(?: ([1-9][0-9]{0,3}))?",
    "pods unready": r"pods unready (\S+)",
    "gateway refuses": "gateway refuses",
    "traffic drops": r"traffic drops to (\S+)",
    "answer": r"answer (\S+)",
    "command": r"command (\S+)",
}
_FULL: Final[Mapping[str, str]] = {
    "errors": "errors=5%, errors=3x or errors=all",
    "latency": "latency=2x, latency=10% or latency=all",
    "prometheus": "prometheus down 3m, or prometheus slow",
    "pods": "pods crash, pods crash 2, or pods unready 50%",
    "command": f"command and one of {', '.join(Verb)}",
}


class GivenAnswer(NamedTuple):
    """What the query of a predicate answers, as a person says it."""

    name: str
    value: float


def read_answer(text: str) -> GivenAnswer:
    """Parse NAME=VALUE: a predicate and what its query answers. Raises ValueError with the fix."""
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not equals or not name or not isfinite(number):
        raise ValueError(f'"{text}" is no answer: write the name of a predicate and a number, such as hit-rate=0.95')
    return GivenAnswer(name, number)


def _verb(text: str) -> str:
    if text in set(Verb):
        return text
    near = get_close_matches(text, list(Verb), n=1)
    raise ValueError(f'"{text}" is not a command{f": did you mean {near[0]}?" if near else ""}; write {_either(Verb)}')


def _sides(what: What, text: str | None) -> tuple[Side, ...]:
    if text is None:
        return ON["new"]
    if what not in _SIDED:
        raise ValueError(f"{what} is of no side: leave out on {text}")
    if text not in ON:
        raise ValueError(f'"{text}" is not a side: write {_CLAUSES["on"]}')
    return ON[text]


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}"
