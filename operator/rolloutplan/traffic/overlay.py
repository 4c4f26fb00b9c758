"""What a run adds to a route in addition to weights, and takes away again: mirrors, rules for testers, sticky cookies.

The annotation `rolloutplan.dev/added` of the route lists what is added, each piece with its plan, its place and its
value. So the operator finds it again after a crash and among the edits of others, and a person with kubectl sees what
it is. A route is read without it: the rules are numbered as their author wrote them, and nothing of ours counts as a
rule.

A patch takes all pieces away, changes weights, and puts the pieces back that are to stay, at once: those of other plans
where they are, those of its own plan only before or in the rules that are to have them. A piece that somebody has
changed is no longer found, and is left to them.
"""

from __future__ import annotations

import copy
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

from rolloutplan.api import safe_get
from rolloutplan.api.added import MOST_ADDED
from rolloutplan.api.object_path import At, pointer
from rolloutplan.api.shown import shown
from rolloutplan.engine.model.fence import read_fences
from rolloutplan.engine.model.snapshot import SEQ
from rolloutplan.traffic.added_text import Entry, read, write
from rolloutplan.traffic.added_text import place as place_of
from rolloutplan.traffic.additions import Piece
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.forms.base import added, expected, removed

ADDED: Final = "rolloutplan.dev/added"
"""The annotation of a route with the pieces."""
ANNOTATION: Final = pointer(("metadata", "annotations", ADDED))
_LOOKS: Final = 4096
"""Rules that are looked at for all pieces of a route together: 16 pieces are found anywhere among 256 rules."""
_NAMED: Final = 8
"""Lost pieces that are looked for in an edited form: it is for a message, which has no room for more."""

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
    owner: str = ""
    """The part of its plan's uid that fencing tokens have; empty where that is not known."""


class Left(NamedTuple):
    """What has the place and the purpose of a piece, but is not as it was written: somebody has edited it."""

    owner: str
    text: str
    rule: At
    """In the route without all pieces."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A route without what was added to it."""

    raw: Raw
    found: tuple[Found, ...] = ()
    removal: tuple[Operation, ...] = ()
    """The operations that take the pieces from the route as it was read: each with tests that it is ours."""
    annotation: str = ""
    """The annotation as it was read."""
    left: tuple[Left, ...] = ()

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
    entries = [each for each in read(text) if is_ours(each.piece)]
    lists = {place[:-1] for place in places(raw)} if entries else set()
    owners = {fence.owner for fence in read_fences(safe_get.text(raw, "metadata", "annotations", SEQ))}
    sole = next(iter(owners)) if len(owners) == 1 else ""
    entries = [each._replace(owner=each.owner or sole) for each in entries if _is_in(lists, each.piece)]
    if not entries:
        return Bare(raw, annotation=text)
    rest, reach = cast("dict[str, Any]", copy.deepcopy(raw)), max(1, _LOOKS // len(entries))
    numbered = dict(enumerate(entries))
    removal: list[Operation] = []
    found = _take_copies(rest, {i: each for i, each in numbered.items() if each.piece.how == "before"}, reach, removal)
    rules = {place: number for number, place in enumerate(places(rest))}
    for number, each in numbered.items():
        if each.piece.how != "before" and (taken := _take(rest, each, rules, reach, removal)):
            found[number] = taken
    del rest["metadata"]["annotations"][ADDED]
    lost = [each for number, each in numbered.items() if number not in found]
    left = tuple(filter(None, (_left(rest, each, rules, reach, is_ours) for each in lost[:_NAMED])))
    return Bare(rest, tuple(found.values()), tuple(removal), text, left)


def _is_in(lists: Collection[At], piece: Piece) -> bool:
    """Whether a piece can be where the annotation says: a copy is in a list of rules."""
    return piece.how != "before" or (piece.at[:-1] in lists and isinstance(piece.at[-1], int))


def _take_copies(
    rest: dict[str, Any], entries: Mapping[int, Entry], reach: int, removal: list[Operation]
) -> dict[int, Found]:
    """Take the rules for testers out of their lists, and say to which rules they belong.

    That is the next rule behind one that is no copy. The last copy goes first, so that no index changes too early.
    """
    found: dict[int, Found] = {}
    for at in dict.fromkeys(each.piece.at[:-1] for each in entries.values()):
        rules = _at(rest, at)
        if isinstance(rules, list):
            here = {number: each for number, each in entries.items() if each.piece.at[:-1] == at}
            taken = _copies(rules, here, reach)
            users = [index for index in range(len(rules)) if index not in taken]
            for index, number in sorted(taken.items(), reverse=True):
                piece, behind = entries[number].piece, bisect(users, index)
                base = rules[users[behind]] if behind < len(users) else {}
                removal += [*_tests((*at, index), piece.value, base), removed(pointer((*at, index)))]
                rule = (*at, behind)
                found[number] = Found(replace(piece, at=rule), rule, rules[index], owner=entries[number].owner)
            rules[:] = [rules[index] for index in users]
    return dict(reversed(found.items()))


def _copies(rules: Sequence[Any], entries: Mapping[int, Entry], reach: int) -> dict[int, int]:
    """The copies among rules, by their indexes: each the rule most like it, and of such the nearest to its place.

    A rule with a field that was not written is its author's own. Those within are what the API server fills in.
    """
    taken: dict[int, int] = {}
    for before, number in enumerate(sorted(entries, key=lambda each: entries[each].piece.at[-1])):
        value, place = entries[number].piece.value, cast("int", entries[number].piece.at[-1]) + before
        like = [
            (sum(1 for _ in _leaves((), rules[i])), abs(i - place), i)
            for i in _near(place, len(rules), reach)
            if i not in taken and _is_copy(rules[i], value)
        ]
        if like:
            taken[min(like)[-1]] = number
    return taken


def _is_copy(rule: Any, value: Any) -> bool:
    same = isinstance(rule, Mapping) and isinstance(value, Mapping) and rule.keys() == value.keys()
    return same and covers(rule, value)


def _near(place: int, length: int, reach: int) -> range:
    """The indexes of a list that are looked at for a piece: so many, around its place."""
    start = max(0, min(place - reach // 2, length - reach))
    return range(start, min(length, start + reach))


def _take(
    rest: dict[str, Any], entry: Entry, rules: Mapping[At, int], reach: int, removal: list[Operation]
) -> Found | None:
    """Take a piece out of its rule, or out of the nearest other rule that has it."""
    piece, made = entry.piece, entry.made
    own = _rule_of(piece, rules)
    if own is None:
        return None
    below = piece.at[len(own) :]
    for rule in _nearest(own, rules, reach):
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
        return Found(replace(piece, at=at), rule, value, top, entry.owner)
    return None


def _rule_of(piece: Piece, rules: Mapping[At, int]) -> At | None:
    """The rule in which a piece was put."""
    return next((piece.at[:end] for end in range(len(piece.at), -1, -1) if piece.at[:end] in rules), None)


def _nearest(own: At, rules: Mapping[At, int], reach: int) -> list[At]:
    """The rules that are looked at for a piece of this one, the nearest first."""
    places, middle = [*rules], rules[own]
    near = sorted(_near(middle, len(places), reach), key=lambda i: abs(i - middle))
    return [places[i] for i in near if len(places[i]) == len(own)]


def _left(
    rest: dict[str, Any], entry: Entry, rules: Mapping[At, int], reach: int, is_ours: Callable[[Piece], bool]
) -> Left | None:
    """What is there of a piece that is no longer as it was written; None where nothing is."""
    piece = entry.piece
    if piece.how == "before":
        held = _at(rest, piece.at[:-1])
        places = [(*piece.at[:-1], i) for i in _near(cast("int", piece.at[-1]), len(held), reach)]
        found = [(place, _at(rest, place)) for place in places]
    else:
        own = _rule_of(piece, rules)
        near = _nearest(own, rules, reach) if own is not None else []
        below = piece.at[len(own or ()) :]
        found = [(rule, value) for rule in near for value in _items(_at(rest, (*rule, *below)), piece)]
    rule = next((rule for rule, value in found if is_ours(replace(piece, value=value))), None)
    return None if rule is None else Left(entry.owner, piece.text, rule)


def _items(holder: Any, piece: Piece) -> list[Any]:
    """What may be a piece at its place: the last items of a list, or the field."""
    return [holder] if piece.how == "as" else [*holder[-MOST_ADDED:]] if isinstance(holder, list) else []


def _index(holder: Any, piece: Piece) -> int | None:
    """Where a piece is in its list; 0 for a field that it is. None where it is not there."""
    items = _items(holder, piece)
    first = len(holder) - len(items) if piece.how == "in" and items else 0
    return next((first + i for i in reversed(range(len(items))) if covers(items[i], piece.value)), None)


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


def change(seen: Bare, wanted: Mapping[At, Sequence[Piece]], owner: str = "") -> Change:
    """The operations after which each rule has the pieces that are wanted there, as pieces of this owner.

    Its pieces in other rules go, those of others stay. Indexes in the operations are those of the route without pieces,
    so operations on weights stand between the two parts. Raises LookupError where it would be more than can be read
    back.
    """
    put, same = [], set()
    for each in seen.found:
        is_wanted = each.rule in wanted and each.piece.text in _texts(wanted[each.rule])
        if is_wanted and (each.rule, each.piece.text) not in same:
            same.add((each.rule, each.piece.text))
            put.append(_Put(each.piece, each.value, owner or each.owner))
        elif each.rule not in wanted and (not owner or each.owner != owner):
            put.append(_Put(each.piece, each.value, each.owner))
    differs = len(put) < len(seen.found)
    new = [piece for rule, pieces in wanted.items() for piece in pieces if (rule, piece.text) not in same]
    put += [_Put(piece, piece.value, owner) for piece in new]
    within = [each for each in put if each.piece.how != "before"]
    rest = cast("dict[str, Any]", copy.deepcopy(seen.raw) if within else {})
    built = dict.fromkeys(rule for rule, pieces in wanted.items() if any(piece in pieces for piece in new))
    tests = [expected(pointer(rule), _at(seen.raw, rule)) for rule in built if rule]
    after: list[Operation] = []
    entries = [*_put_in(rest, within, after)]
    entries += _put_before([each for each in put if each.piece.how == "before"], after)
    differs = differs or bool(new) or (bool(seen.annotation) and not entries)
    return Change((*seen.removal, *tests), tuple(after), write(entries), differs)


def with_changes(raw: Raw, operations: Iterable[Operation], annotation: str | None) -> Raw:
    """A route as it is after these operations, which fit, with this annotation; None leaves that as it is."""
    made = cast("dict[str, Any]", copy.deepcopy(raw))
    for operation in operations:
        at = place_of(operation["path"])
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


class _Put(NamedTuple):
    """A piece that is put on a route, with the value that it has there."""

    piece: Piece
    value: Any
    owner: str


def _put_in(rest: dict[str, Any], put: Sequence[_Put], after: list[Operation]) -> Iterator[Entry]:
    """Append to lists, and set fields; what is missing on the way is made, and noted."""
    for piece, value, owner in put:
        made = _missing(rest, piece.at)
        if piece.how == "in" and not made:
            top, whole = (*piece.at, len(_at(rest, piece.at))), value
        else:
            top, whole = made or piece.at, [value] if piece.how == "in" else value
            for step in reversed(piece.at[len(top) :]):
                whole = {step: whole}
        after.append(added(pointer(top), whole))
        _insert(rest, top, copy.deepcopy(whole))
        yield Entry(piece, () if piece.how == "as" and made == piece.at else made, owner)


def _put_before(put: Sequence[_Put], after: list[Operation]) -> Iterator[Entry]:
    """Insert rules for testers before their rules: the last one of all first, so that no index changes too early."""
    for place in sorted({each.piece.at for each in put}, reverse=True):
        here = [each.value for each in put if each.piece.at == place]
        after += [added(pointer(place), value) for value in reversed(here)]
    yield from (Entry(each.piece, (), each.owner) for each in put)


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
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise LookupError(f"{pointer(at[:-1])} is {shown(holder)}: write a mapping")  # noqa: TRY004 - an object of another form
