"""Whether the gateways of a route accepted it as it is: conditions, or a word, in its status.

An answer counts for the generation that it names. Where a kind names none, the answer counts as it stands, and the
engine waits for `settle` before it believes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import Path, first, parse, places
from rolloutplan.api.printable import printable
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.engine.model.snapshot import Acceptance
from rolloutplan.traffic.items import Home, ItemReader
from rolloutplan.traffic.parents import Parent

MOST_NAMED: Final = 3
"""The most parents that a message names: a route may have hundreds."""
_NOBODY: Final = "no gateway has answered for this route yet"


class _Answer(NamedTuple):
    """The status of one controller for one parent."""

    parent: Parent
    accepted: bool | None
    """At the present generation, or without one where it is `undated`."""
    why: str = ""
    undated: bool = False
    """Whether the controller writes no generation, or one that the route has never had."""
    seen: int = 0
    """The generation that it accepted last, without a word since; 0 for none."""

    @property
    def before(self) -> bool:
        """Whether it accepted an earlier generation, and has said nothing since."""
        return self.accepted is None and self.seen > 0


class AcceptanceReader:
    """Reads what the gateways of one kind say."""

    def __init__(self, kind: RouteKindSpec) -> None:
        self._spec = spec = kind.accepted
        self._items, self._echo = ItemReader(kind), parse(spec.echo)
        self._lists = [parse(".".join(filter(None, entry))) for entry in kind.rules.items()] if spec.echo else []
        self._each, self._asked = parse(spec.each), parse(spec.asked)
        self._conditions, self._generation_at = parse(spec.conditions), parse(spec.generation_at)
        self._value, self._why = parse(spec.value), parse(spec.why)

    def read(self, raw: Mapping[str, Any]) -> Acceptance:
        """Whether every parent accepted this generation; else those without an answer, or the message of a refusal.

        The parents are those in the spec: status entries of parents that it no longer names are ignored. Where the
        spec names none, they are the parents in the status. A kind in which nobody answers is accepted once written.
        """
        acceptance = self._answered(raw) if self._conditions or self._value else Acceptance(accepted=True)
        if acceptance.accepted and self._echo and self._weights(raw, [self._echo]) != self._weights(raw, self._lists):
            return Acceptance(accepted=None, why="its status does not report these weights yet")
        return acceptance

    def _answered(self, raw: Mapping[str, Any]) -> Acceptance:
        """What the gateways answer together."""
        generation = safe_get.number(raw, "metadata", "generation")
        namespace = safe_get.text(raw, "metadata", "namespace")
        answers = [self._answer(place.value, raw, generation, namespace) for place in places(raw, self._each)]
        refs = [place.value for place in places(raw, self._asked)] if self._asked else []
        parents = dict.fromkeys(Parent.read(ref, namespace) for ref in refs if isinstance(ref, Mapping))
        found = _by_parent(parents, answers) if parents else [(answer.parent, [answer]) for answer in answers]
        return _verdict(found, generation, named=bool(parents))

    def controllers(self, raw: Mapping[str, Any]) -> tuple[str, ...]:
        """The controllers that have answered, each once."""
        names = (safe_get.text(place.value, self._spec.controller) for place in places(raw, self._each))
        return tuple(dict.fromkeys(filter(None, names))) if self._spec.controller else ()

    def _weights(self, raw: Mapping[str, Any], lists: Sequence[Path]) -> dict[str, int]:
        """The weight of each side in these lists; those without one are left out."""
        items = (self._items.read(place, Home.of(raw)) for path in lists for place in places(raw, path))
        return {item.service: item.weight for item in items if item.weight}

    def _answer(self, entry: object, raw: object, generation: int, namespace: str) -> _Answer:
        parent = Parent.read(safe_get.mapping(entry, self._spec.answered), namespace)
        answer = self._word if self._value else self._said
        return answer(parent, entry, raw, generation)

    def _named_at(self, raw: object) -> int:
        """The generation that the status of the object names."""
        place = first(raw, (self._generation_at,))
        return safe_get.number({"": place.value if place else None}, "")

    def _word(self, parent: Parent, entry: object, raw: object, generation: int) -> _Answer:
        """The answer of a controller that writes one word, for no generation or for that of the status."""
        found, why = first(entry, (self._value,)), first(entry, (self._why,)) if self._why else None
        word = str(found.value) if found else ""
        seen = self._named_at(raw) if self._generation_at else generation
        if seen != generation:
            said = f"it answered for generation {seen}" if seen else ""
            return _Answer(parent, accepted=None, why=said, seen=seen if word in self._spec.good_words else 0)
        if word in self._spec.bad_words:
            return _Answer(parent, accepted=False, why=printable(f"{word}: {why.value if why else ''}".rstrip(": ")))
        return _Answer(parent, accepted=True if word in self._spec.good_words else None, why=word)

    def _said(self, parent: Parent, entry: object, raw: object, generation: int) -> _Answer:
        """The answer of a controller that writes conditions."""
        conditions = [place.value for place in places(entry, self._conditions)]

        def about(condition: object) -> int:
            if self._spec.generation:
                return safe_get.number(condition, self._spec.generation)
            return self._named_at(raw) if self._generation_at else generation

        kind = next(iter(self._spec.good), "")
        said = [about(condition) for condition in conditions if safe_get.text(condition, "type") == kind]
        seen = max(said, default=0)
        undated = bool(self._spec.generation and said) and not 0 < seen <= generation
        now = {safe_get.text(c, "type"): c for c in conditions if undated or about(c) == generation}
        for refusal, bad in self._spec.bad.items():
            if safe_get.text(now, refusal, "status") == bad:
                return _Answer(parent, accepted=False, why=self._refusal(now[refusal]), undated=undated)
        if kind in now and safe_get.text(now, kind, "status") == self._spec.good[kind]:
            return _Answer(parent, accepted=True, undated=undated, seen=generation)
        if kind in now:
            return _Answer(parent, accepted=None, why=_reason(now[kind]), undated=undated)
        last = {safe_get.text(c, "type"): safe_get.text(c, "status") for c in conditions if about(c) == seen}
        good = last.get(kind) == self._spec.good.get(kind) and not self._spec.bad.items() & last.items()
        why = f"it answered for generation {seen}" if seen else ""
        return _Answer(parent, accepted=None, why=why, seen=seen if good else 0)

    def _refusal(self, condition: Mapping[str, Any]) -> str:
        """Why a condition refuses: by the place that the kind has for it, where that is written, else its message."""
        found = first(condition, (self._why,)) if self._why else None
        return _reason(condition if found is None else {**condition, "message": found.value})


def _verdict(found: Sequence[tuple[Parent, Sequence[_Answer]]], generation: int, *, named: bool) -> Acceptance:
    """What the answers mean together; `named` where the spec names the parents."""
    refused = next((answer for _, each in found for answer in each if answer.accepted is False), None)
    if refused is not None:
        return Acceptance(accepted=False, why=refused.why)
    if not found:
        return Acceptance(accepted=None, why=_NOBODY)
    if all(any(answer.accepted for answer in each) for _, each in found):
        undated = [str(parent) for parent, each in found if any(answer.undated and answer.accepted for answer in each)]
        return Acceptance(accepted=True, undated=_listed(undated, ", "), generation=generation)
    seen = min(max(answer.seen for answer in each) if each else 0 for _, each in found)
    before = all(any(answer.accepted or answer.before for answer in each) for _, each in found)
    why = _missing_answer(found if named else (), generation)
    return Acceptance(accepted=None, why=why, before=before, generation=seen)


def _by_parent(parents: Collection[Parent], answers: Iterable[_Answer]) -> list[tuple[Parent, list[_Answer]]]:
    """The answers for each parent, of one controller or of several.

    Some controllers answer for the gateway where the spec names a section or a port of it; others answer for each
    section where it names none. An answer for the same object counts, unless it is for another of the parents. One
    without a generation counts only where no controller of the parent writes generations.
    """
    of_object: dict[tuple[object, ...], list[_Answer]] = {}
    named: dict[Parent, list[_Answer]] = {parent: [] for parent in parents}
    for answer in answers:
        if answer.parent in named:
            named[answer.parent].append(answer)
        else:
            of_object.setdefault(answer.parent[:4], []).append(answer)
    found = ((parent, named[parent] + of_object.get(parent[:4], [])) for parent in parents)
    return [(parent, [answer for answer in each if not answer.undated] or each) for parent, each in found]


def _reason(condition: object) -> str:
    kind, reason, message = (safe_get.text(condition, field) for field in ("type", "reason", "message"))
    return f"{reason or kind}: {message}".rstrip(": ")


def _missing_answer(found: Iterable[tuple[Parent, Sequence[_Answer]]], generation: int) -> str:
    """The parents in the spec that have not accepted this generation, with their messages."""
    words = []
    for parent, answers in found:
        if not any(answer.accepted for answer in answers):
            why = _listed([answer.why for answer in answers if answer.why], ", ")
            words.append(f"{parent} has not accepted generation {generation}{f' ({why})' if why else ''}")
    return _listed(words, "; ")


def _listed(words: Sequence[str], separator: str) -> str:
    more = f"{separator}and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return separator.join(words[:MOST_NAMED]) + more
