"""What a run adds to a route in addition to weights, and takes away again: mirrors, rules for testers, sticky cookies.

What is added stands in the annotation `rolloutplan.dev/added` of the route, each piece with its place and its value. So
the operator finds it again after a crash and among the edits of others, and a person with kubectl sees what it is. A
route is read without it: the rules are numbered as their author wrote them, and nothing of ours counts as a rule.

A patch takes all pieces away, changes weights, and puts the pieces back that are to stay, at once. A piece that
somebody has changed is no longer found, and is left to them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import At, pointer
from rolloutplan.traffic.additions import Piece
from rolloutplan.traffic.annotation_json import read_json
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.forms.base import added, expected, removed

ADDED: Final = "rolloutplan.dev/added"
"""The annotation of a route with the pieces."""
ANNOTATION: Final = pointer(("metadata", "annotations", ADDED))
_LONGEST: Final = 128 * 1024
"""Characters. All annotations of an object may have 256 KiB together; more than this is none of ours."""

Raw = Mapping[str, Any]
Places = Callable[[Raw], Sequence[At]]
"""Finds the rules of an object: where each one is, in the order of the object."""


class Found(NamedTuple):
    """A piece that is on a route."""

    piece: Piece
    """With the place where it is now, in the route without all pieces."""
    rule: At
    """The rule to which it belongs, in the route without all pieces."""
    value: Any
    """As it is on the route, with what the API server has filled in."""
    made: At = ()
    """The outermost field that was made for it and holds nothing else; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A route without what was added to it."""

    raw: Raw
    found: tuple[Found, ...] = ()
    removal: tuple[Operation, ...] = ()
    """The operations that take the pieces from the route as it was read: each with tests that it is ours."""
    annotation: str = ""
    """The annotation as it was read."""

    def texts(self, rule: At) -> tuple[str, ...]:
        """What a rule has, as the status has it."""
        return tuple(dict.fromkeys(each.piece.text for each in self.found if each.rule == rule))


def bare(raw: Raw, places: Places, is_ours: Callable[[Piece], bool]) -> Bare:
    """A route without what runs have added, as its annotation says. It never raises.

    A piece that is not where the annotation says is looked for in the other rules; one that is not found is ignored.
    So is one that is not `is_ours`: everybody who may patch the route can write the annotation, and nothing else of the
    route may be taken for a piece.
    """
    text = safe_get.text(raw, "metadata", "annotations", ADDED)
    lists = {place[:-1] for place in places(raw)} if text else set()
    pieces = [each for each in read(text) if is_ours(each[0]) and (each[0].how != "before" or each[0].at[:-1] in lists)]
    if not pieces:
        return Bare(raw, annotation=text)
    rest = cast("dict[str, Any]", copy.deepcopy(raw))
    removal: list[Operation] = []
    copies = _take_copies(rest, [piece for piece, _ in pieces if piece.how == "before"], removal)
    others = [_take(rest, piece, made, places(rest), removal) for piece, made in pieces if piece.how != "before"]
    del rest["metadata"]["annotations"][ADDED]
    return Bare(rest, (*copies, *filter(None, others)), tuple(removal), text)


def _take_copies(rest: dict[str, Any], pieces: Sequence[Piece], removal: list[Operation]) -> tuple[Found, ...]:
    """Take the rules for testers out of their lists, and say to which rules they belong.

    That is the next rule behind one that is no copy. The last copy goes first, so that no index changes too early.
    """
    found: list[Found] = []
    for at in dict.fromkeys(piece.at[:-1] for piece in pieces):
        rules = _at(rest, at)
        if isinstance(rules, list):
            taken = _copies(rules, [piece for piece in pieces if piece.at[:-1] == at])
            users = [index for index in range(len(rules)) if index not in taken]
            for index, piece in sorted(taken.items(), reverse=True):
                behind = next((place for place, user in enumerate(users) if user > index), None)
                base = {} if behind is None else rules[users[behind]]
                removal += [*_tests((*at, index), piece.value, base), removed(pointer((*at, index)))]
                rule = (*at, len(users) if behind is None else behind)
                found.append(Found(replace(piece, at=rule), rule, rules[index]))
            rules[:] = [rules[index] for index in users]
    return tuple(reversed(found))


def _copies(rules: Sequence[Any], pieces: Iterable[Piece]) -> dict[int, Piece]:
    """The copies among rules, by their indexes."""
    taken: dict[int, Piece] = {}
    for piece in pieces:
        index = next((i for i, rule in enumerate(rules) if i not in taken and covers(rule, piece.value)), None)
        if index is not None:
            taken[index] = piece
    return taken


def _take(rest: dict[str, Any], piece: Piece, made: At, rules: Sequence[At], removal: list[Operation]) -> Found | None:
    """Take a piece out of its rule, or out of the first other rule that has it."""
    own = max((rule for rule in rules if piece.at[: len(rule)] == rule), key=len, default=None)
    if own is None:
        return None
    below = piece.at[len(own) :]
    for rule in (own, *(other for other in rules if other != own and len(other) == len(own))):
        at = (*rule, *below)
        index = _index(_at(rest, at), piece)
        if index is None:
            continue
        place = at if piece.how == "as" else (*at, index)
        value = _at(rest, place)
        removal += [*_tests(place, piece.value, {}), removed(pointer(place))]
        _remove(rest, place)
        top = (*rule, *made[len(own) :]) if made else ()
        if top and top != place and _is_hollow(_at(rest, top)):
            removal.append(removed(pointer(top)))
            _remove(rest, top)
        else:
            top = ()
        return Found(replace(piece, at=at), rule, value, top)
    return None


def _index(holder: Any, piece: Piece) -> int | None:
    """Where a piece is in its list; 0 for a field that it is. None where it is not there."""
    if piece.how == "as":
        return 0 if covers(holder, piece.value) else None
    items = holder if isinstance(holder, list) else []
    return next((i for i in reversed(range(len(items))) if covers(items[i], piece.value)), None)


def covers(found: object, written: object) -> bool:
    """Whether a value is the one that was written, with no more than further fields that the API server fills in."""
    if isinstance(written, Mapping):
        return isinstance(found, Mapping) and all(key in found and covers(found[key], written[key]) for key in written)
    if isinstance(written, list):
        same = isinstance(found, list) and len(found) == len(written)
        return same and all(covers(a, b) for a, b in zip(cast("list[Any]", found), written, strict=True))
    return found == written and isinstance(found, bool) == isinstance(written, bool)


def _is_hollow(value: object) -> bool:
    """Whether nothing is left in a field that was made for a piece."""
    if isinstance(value, Mapping):
        return all(_is_hollow(each) for each in value.values())
    return value == []


def _tests(at: At, value: Any, base: Any) -> Iterator[Operation]:
    """Tests that this is what was written: of each text and number in which it differs from the rule behind it."""
    known = dict(_leaves((), base))
    for below, leaf in _leaves((), value):
        if below not in known or known[below] != leaf:
            yield expected(pointer((*at, *below)), leaf)


def _leaves(at: At, value: Any) -> Iterator[tuple[At, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves((*at, key), each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves((*at, index), each)
    else:
        yield at, value


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is added to a route."""

    before: tuple[Operation, ...]
    """What takes the pieces away, and tests the rules that new ones are built from."""
    after: tuple[Operation, ...]
    """What puts them there that are to be there."""
    annotation: str
    """The annotation with them; empty where there are none."""
    differs: bool
    """Whether others are to be there than are there."""


def change(seen: Bare, wanted: Mapping[At, Sequence[Piece]]) -> Change:
    """The operations after which each rule has the pieces that are wanted there; other rules keep theirs.

    Indexes in them are those of the route without pieces, so operations on weights stand between the two parts.
    """
    kept = [each for each in seen.found if each.rule not in wanted]
    same = [each for each in seen.found if each.rule in wanted and each.piece.text in _texts(wanted[each.rule])]
    new = [
        piece
        for rule, pieces in wanted.items()
        for piece in pieces
        if piece.text not in [each.piece.text for each in same if each.rule == rule]
    ]
    put = [*((each.piece, each.value) for each in (*kept, *same)), *((piece, piece.value) for piece in new)]
    rest = cast("dict[str, Any]", copy.deepcopy(seen.raw))
    built = dict.fromkeys(rule for rule, pieces in wanted.items() if any(piece in pieces for piece in new))
    tests = [expected(pointer(rule), _at(seen.raw, rule)) for rule in built if rule]
    after: list[Operation] = []
    entries = [*_put_in(rest, [each for each in put if each[0].how != "before"], after)]
    entries += _put_before([each for each in put if each[0].how == "before"], after)
    differs = bool(new) or len(kept) + len(same) < len(seen.found) or (bool(seen.annotation) and not entries)
    return Change((*seen.removal, *tests), tuple(after), write(entries), differs)


def with_changes(raw: Raw, operations: Iterable[Operation], annotation: str | None) -> Raw:
    """A route as it is after these operations, which fit, with this annotation; None leaves that as it is."""
    made = cast("dict[str, Any]", copy.deepcopy(raw))
    for operation in operations:
        at = _place(operation["path"])
        match operation["op"]:
            case "add":
                _insert(made, at, copy.deepcopy(operation["value"]))
            case "remove":
                _remove(made, at)
            case "replace":
                _at(made, at[:-1])[at[-1]] = operation["value"]
    if annotation is not None:
        made["metadata"] = {**made["metadata"], "annotations": {**safe_get.mapping(made, "metadata", "annotations")}}
        made["metadata"]["annotations"][ADDED] = annotation
    return made


def _texts(pieces: Iterable[Piece]) -> Collection[str]:
    return {piece.text for piece in pieces}


def _put_in(
    rest: dict[str, Any], put: Sequence[tuple[Piece, Any]], after: list[Operation]
) -> Iterator[tuple[Piece, At]]:
    """Append to lists, and set fields; what is missing on the way is made, and noted."""
    for piece, value in put:
        made = _missing(rest, piece.at)
        if piece.how == "in" and not made:
            top, whole = (*piece.at, len(_at(rest, piece.at))), value
        else:
            top, whole = made or piece.at, [value] if piece.how == "in" else value
            for step in reversed(piece.at[len(top) :]):
                whole = {step: whole}
        after.append(added(pointer(top), whole))
        _insert(rest, top, copy.deepcopy(whole))
        yield piece, () if piece.how == "as" and made == piece.at else made


def _put_before(put: Sequence[tuple[Piece, Any]], after: list[Operation]) -> Iterator[tuple[Piece, At]]:
    """Insert rules for testers before their rules: the last one of all first, so that no index changes too early."""
    for place in sorted({piece.at for piece, _ in put}, reverse=True):
        here = [value for piece, value in put if piece.at == place]
        after += [added(pointer(place), value) for value in reversed(here)]
    yield from ((piece, ()) for piece, _ in put)


def _missing(raw: Raw, at: At) -> At:
    """The first place on the way to a field that is not there; empty where the field is there."""
    return next((at[: i + 1] for i in range(len(at)) if _at(raw, at[: i + 1]) is None), ())


def _at(raw: object, at: At) -> Any:
    """The value at a place; None where there is none."""
    for step in at:
        if isinstance(raw, Mapping) and isinstance(step, str):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw = raw[step]
        else:
            return None
    return raw


def _remove(raw: dict[str, Any], at: At) -> None:
    del _at(raw, at[:-1])[at[-1]]


def _insert(raw: dict[str, Any], at: At, value: Any) -> None:
    holder, last = _at(raw, at[:-1]), at[-1]
    if isinstance(holder, list) and isinstance(last, int):
        holder.insert(last, value)
    else:
        holder[last] = value


def write(entries: Iterable[tuple[Piece, At]]) -> str:
    """The annotation with these pieces, each with the outermost field that was made for it."""
    kept = [
        {
            "added": piece.text,
            piece.how: pointer(piece.at),
            **({"made": pointer(made)} if made else {}),
            "value": piece.value,
        }
        for piece, made in entries
    ]
    return json.dumps(kept, separators=(",", ":")) if kept else ""


def read(text: str) -> tuple[tuple[Piece, At], ...]:
    """The pieces in the annotation, each with the field that was made for it. What is none of ours is left out."""
    kept = read_json(text) if len(text) <= _LONGEST else None
    return tuple(filter(None, map(_piece, kept if isinstance(kept, list) else ())))


def _piece(raw: object) -> tuple[Piece, At] | None:
    how = next((each for each in ("before", "in", "as") if safe_get.text(raw, each)), "")
    text, value = safe_get.text(raw, "added"), safe_get.value(raw, "value")
    if not how or not text or value is None:
        return None
    made = _place(safe_get.text(raw, "made"))
    return Piece(text, cast("Any", how), _place(safe_get.text(raw, how)), value), made


def _place(text: str) -> At:
    """The place of a JSON pointer; a step of digits alone is an index."""
    steps = (step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])
    return tuple(int(step) if step.isdecimal() and len(step) < 6 else step for step in steps)
