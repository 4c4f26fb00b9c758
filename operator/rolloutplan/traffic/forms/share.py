"""One number for the new side on an object of its own: the old side, of another object, has the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fractions import Fraction
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import At, Each, Path, Place, first, fixed, parse, places, pointer
from rolloutplan.api.route_kind import RouteKindSpec, ShareWeight, WeightRules
from rolloutplan.api.shown import shown
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.engine.model.sides import UNKNOWN
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.forms.base import Form, Raw, added, expected, is_left_out, removed, restored
from rolloutplan.traffic.items import Home, Item, Rule, bare, read_weight

_ANNOTATIONS = ("metadata", "annotations")
_WHOLE = 100
"""What the number is a part of, unless the object says another: the kinds of this form count in percent."""
_MOST_DIGITS = 16
"""Of a number in an annotation: those of the largest weight that is read; Python refuses to read thousands."""
_NEW = 1
"""The place of the new side in the rule: after the old one."""


class ShareForm(Form):
    """One number on an object of the new side, as text in an annotation or as a field."""

    one_number = True

    def __init__(self, spec: RouteKindSpec, share: ShareWeight) -> None:
        self._share, self._prefix = share, f"{spec.prefix}/" if spec.prefix else ""
        self._of, self._same = parse(share.of), [parse(path) for path in share.same]
        self._at = self._annotation(share.annotation) if share.annotation else fixed(parse(share.field))
        self._total_at = self._annotation(share.total) if share.total else ()
        self._needs = {self._annotation(name): value for name, value in share.needs.items()}
        self.weights = spec.weights
        self._missing = spec.weights.missing
        self.plain = ""
        self.place = pointer(self._at)

    def _annotation(self, name: str) -> At:
        return (*_ANNOTATIONS, f"{self._prefix}{name}")

    def total(self, raw: Raw) -> int:
        """What the number is a part of; one below 100 counts as 100."""
        text = _at(raw, self._total_at) if self._total_at else None
        return max(_WHOLE, int(text)) if isinstance(text, str) and text.isdecimal() and len(text) < 7 else _WHOLE

    def limits(self, raw: Raw, rules: WeightRules) -> WeightRules:
        return rules.model_copy(update={"sum": self.total(raw), "max": self.total(raw)})

    def rules(self, raw: Raw, siblings: Sequence[Raw] = ()) -> list[Rule]:
        """One rule with both sides, also where the object no longer does what its number says: that can be put back."""
        home, found, value = Home.of(raw), places(raw, self._of), _at(raw, self._at)
        unmet = [f"{pointer(at)} is not {shown(n)}: write it" for at, n in self._needs.items() if _at(raw, at) != n]
        if not found or (unmet and value is None):
            return [Rule(0, "", self._at, raw=raw, faults=tuple(unmet))]
        old = set[str]() if unmet else self._old(raw, found, siblings)
        new = {self._service(place, home) for place in found}
        weight, fault = self._number(raw)
        if value is None and not self._needs:
            fault = "is not there, so that both sides get the same: write 0"
        unread = fault and f"{pointer(self._at)} {fault}"
        rest = max(0, self.total(raw) - (self._missing if weight is None else weight))
        items = (
            Item(self._at, None, min(old) if len(old) == 1 else UNKNOWN, {}, rest, self._at),
            Item(self._at, value, min(new), self._names(raw, found), weight, self._at, fault=unread),
        )
        faults = unmet or [*filter(None, [unread]), *self._not_one(old, new)]
        return [Rule(0, "", self._at, items, raw, faults=tuple(faults))]

    def _not_one(self, old: AbstractSet[str], new: AbstractSet[str]) -> Iterator[str]:
        """What is wrong where the objects do not name one Service for each side."""
        if len(new) > 1:
            yield f"{self._share.of} names {', '.join(sorted(new))}: leave one"
        if len(old) > 1:
            yield f"others have the same {self._in_common} and name {', '.join(sorted(old))}: leave one"
        if not old:
            yield f"no other object has the same {self._in_common}: create the old side's"

    @property
    def _in_common(self) -> str:
        return " and ".join(self._share.same) or "namespace"

    def _names(self, raw: Raw, found: Sequence[Place]) -> dict[str, str]:
        """The fields that say what the number means: the new side's name and the total, by pointers from the object."""
        at = [*(place.at for place in found), *([self._total_at] if self._total_at else [])]
        return {pointer(each): value for each in at if isinstance(value := _at(raw, each), str)}

    def _old(self, raw: Raw, found: Sequence[Place], siblings: Sequence[Raw]) -> set[str]:
        """The Services of the other objects that are not shares themselves, where these have the same in common."""
        ours = {self._common(raw, place.at) for place in found}
        return {
            self._service(place, Home.of(each))
            for each in siblings
            if not self._is_share(each)
            for place in places(each, self._of)
            if self._common(each, place.at) in ours
        }

    def _is_share(self, raw: Raw) -> bool:
        if self._needs:
            return all(_at(raw, at) == value for at, value in self._needs.items())
        return _at(raw, self._at) is not None

    def _common(self, raw: Raw, at: At) -> tuple[str, ...]:
        """What must be the same in the object of the other side, for the Service at this place."""
        found = (first(raw, (_bound(path, at),)) for path in self._same)
        return tuple(str(place.value) if place else "" for place in found)

    def _service(self, place: Place, home: Home) -> str:
        name = safe_get.text({"": place.value}, "")
        return bare(name, home.namespace) if self._share.host else name

    def gives(self, raw: Raw, siblings: Sequence[Raw] = ()) -> frozenset[str]:
        """Of an object that is no share itself, what shares with the same in common leave to it."""
        home = Home.of(raw)
        found = [place for place in places(raw, self._of) if self._gets(raw, place.at, siblings)]
        return frozenset(self._service(place, home) for place in found)

    def _gets(self, raw: Raw, at: At, siblings: Sequence[Raw]) -> bool:
        """Whether what is named at this place of an object gets anything."""
        if self._is_share(raw):
            weight, fault = self._number(raw)
            return bool(fault) or (self._missing if weight is None else weight) > 0
        common = self._common(raw, at)
        shares = [each for each in siblings if self._is_share(each) and self._shares(each, common)]
        return sum(Fraction(self._number(each)[0] or 0, self.total(each)) for each in shares) < 1

    def _shares(self, raw: Raw, common: tuple[str, ...]) -> bool:
        return any(self._common(raw, place.at) == common for place in places(raw, self._of))

    def _number(self, raw: Raw) -> tuple[int | None, str]:
        """The number, and what is wrong with it; None for one that is missing or wrong."""
        value = _at(raw, self._at)
        is_number = isinstance(value, str) and value.isdecimal() and len(value) <= _MOST_DIGITS
        return read_weight(int(value) if is_number and self._share.annotation else value, 1)

    def fields(self, raw: Raw) -> list[tuple[str, ...]]:  # noqa: ARG002 - they are the same in every object
        return [tuple(map(str, self._at[:3]))]

    def tests(self, rule: Rule) -> list[Operation]:
        item, above = rule.items[_NEW], self._at[:-1]
        needs = {pointer(at): value for at, value in self._needs.items() if _at(rule.raw, at) == value}
        around = _at(rule.raw, above)
        number = {pointer(self._at): item.raw} if item.raw is not None else {}
        seen = number or ({pointer(above): around} if around is not None else {})
        return [expected(at, value) for at, value in {**needs, **item.names, **seen}.items()]

    def write(self, rule: Rule, wanted: Mapping[int, Backend]) -> list[Operation]:
        new, item = wanted[_NEW], rule.items[_NEW]
        if new.weight == (self._missing if item.weight is None else item.weight) and not item.fault:
            return []
        path = pointer(self._at)
        return [removed(path) if is_left_out(new, self._missing) else added(path, self._written(new))]

    def _written(self, new: Backend) -> str | int:
        return str(new.weight) if self._share.annotation else new.weight

    def undo(self, rules: Sequence[RuleWeights]) -> list[Operation]:
        """A test of the new side's name; then the total, and the number. Others may have changed all but the name."""
        (new,) = (rule.backends[_NEW] for rule in rules)
        total = pointer(self._total_at) if self._total_at else ""
        names = [expected(at, value) for at, value in new.names.items() if at != total]
        return [*names, *self._total(total, new), *self._restored(new)]

    def _total(self, at: str, new: Backend) -> Iterable[Operation]:
        """What gives the total the text that it had. Where it had none, it matters for a number above 0 only."""
        if at in new.names:
            return [added(at, new.names[at])]
        return restored(at, str(_WHOLE), is_left_out=True) if at and new.weight else []

    def _restored(self, new: Backend) -> Iterable[Operation]:
        gone = is_left_out(new, self._missing)
        return restored(pointer(self._at), self._written(new), is_left_out=gone)


def _at(raw: object, at: At) -> Any:
    """The value at a place of an object; None for one that is not there."""
    place = first(raw, (at,))
    return None if place is None else place.value


def _bound(path: Path, at: At) -> Path:
    """A path with the indexes of a place, so that it leads to what belongs to the same entry."""
    indexes = iter([step for step in at if isinstance(step, int)])
    return tuple(next(indexes, step) if isinstance(step, Each) else step for step in path)
