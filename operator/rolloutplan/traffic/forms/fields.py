"""Weights in the fields of an object: lists of items, each with a name and a weight."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import At, Each, Path, Place, first, fixed, parse, places, pointer, steps
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kind_rules import KEY
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.forms.base import Form, Raw, expected, is_left_out, put, removed, restored
from rolloutplan.traffic.items import Home, ItemReader, Rule, written
from rolloutplan.traffic.rereading import is_same


class _Lists(NamedTuple):
    """Where rules are, and the lists of items below each."""

    rule: Path
    items: tuple[Path, ...]

    @property
    def base(self) -> Path:
        """The way from a rule to its one list, or to what all of its lists and items are below."""
        return tuple(steps[0] for steps in zip(*(path[:-1] for path in self.items), strict=False) if len({*steps}) == 1)

    def is_at(self, at: Sequence[str]) -> bool:
        """Whether the list at these steps of a pointer is one of these."""
        path = (*self.rule, *self.base)
        return len(path) == len(at) and all(isinstance(p, Each) or str(p) == a for p, a in zip(path, at, strict=True))


class FieldForm(Form):
    """Weights in the fields of an object."""

    def __init__(self, spec: RouteKindSpec) -> None:
        self._items = ItemReader(spec)
        self._lists = [
            _Lists(parse(rule), tuple(parse(part) for part in items.split(" + "))) for rule, items in spec.rules.items()
        ]
        self._label = parse(spec.label) if spec.label not in ("", KEY) else ()
        self.keyed = spec.label == KEY
        self._single = [parse(path) for path in spec.single]
        self.weights = spec.weights
        self._weight, self._units = parse(spec.weight), spec.weights.units
        self._missing = spec.weights.missing * self._units
        self.plain = self._items.plain
        self.place = ", ".join(".".join(filter(None, entry)) for entry in spec.rules.items())

    def rules(self, raw: Raw, siblings: Sequence[Raw] = ()) -> list[Rule]:  # noqa: ARG002 - only a share needs them
        home = Home.of(raw, self._items.via)
        return [self._rule(index, *found, home) for index, found in enumerate(self._found(raw))]

    def some(self, raw: Raw, indexes: Collection[int]) -> dict[int, Rule]:
        home, found = Home.of(raw, self._items.via), enumerate(self._found(raw))
        return {index: self._rule(index, *each, home) for index, each in found if index in indexes}

    def rule_places(self, raw: Raw) -> list[At]:
        return [place.at for _, place in self._found(raw)]

    def unchanged(self, before: Raw, raw: Raw) -> frozenset[int]:
        if self._items.via is not None:  # what items name is elsewhere in the object
            return frozenset()
        pairs = enumerate(zip(self._found(before), self._found(raw), strict=False))
        return frozenset(
            index
            for index, ((list_before, was), (list_now, now)) in pairs
            if list_before == list_now and was.at == now.at and is_same(was.value, now.value)
        )

    def _found(self, raw: Raw) -> list[tuple[_Lists, Place]]:
        return [(lists, place) for lists in self._lists for place in places(raw, lists.rule)]

    def gives(self, raw: Raw, siblings: Sequence[Raw] = ()) -> frozenset[str]:
        home, alone = Home.of(raw, self._items.via), [place for path in self._single for place in places(raw, path)]
        single = (self._items.read(place, home).service for place in alone if self._items.holds(place.value))
        return super().gives(raw, siblings).union(single)

    def _rule(self, index: int, lists: _Lists, place: Place, home: Home) -> Rule:
        found = [each for path in lists.items for each in places(place.value, path, place.at)]
        items = tuple(self._items.read(each, home) for each in found if self._items.holds(each.value))
        named = first(place.value, (self._label,), place.at) if self._label else None
        key = str(place.at[-1]) if self.keyed and place.at else ""
        return Rule(
            index=index,
            label=key or safe_get.text({"": named.value if named else None}, ""),
            at=(*place.at, *fixed(lists.base)),
            items=items,
            raw=place.value,
            place=place.at,
            label_at=named.at if named else (),
            faults=tuple(item.fault for item in items if item.fault),
        )

    def fields(self, raw: Raw) -> list[tuple[str, ...]]:  # noqa: ARG002 - they are the same in every object
        whole = ((*lists.rule, *items) for lists in self._lists for items in lists.items)
        return [tuple(step for step in path[:2] if isinstance(step, str)) for path in whole]

    def tests(self, rule: Rule) -> list[Operation]:
        title = [expected(pointer(rule.label_at), rule.label)] if rule.label_at and rule.label else []
        return [*title, *(expected(pointer(item.at), item.raw) for item in rule.items)]

    def write(self, rule: Rule, wanted: Mapping[int, Backend]) -> list[Operation]:
        return [change for place, backend in wanted.items() if (change := self._change(rule, place, backend))]

    def _change(self, rule: Rule, place: int, backend: Backend) -> Operation | None:
        item = rule.items[place]
        if is_left_out(backend, self._missing):
            return None if item.weight is None and not item.fault else removed(pointer(item.weight_at))
        if backend.weight == (self._missing if item.weight is None else item.weight) and not item.fault:
            return None
        return put(item.weight_at, backend.weight, self._units, is_there=item.weight is not None or bool(item.fault))

    def undo(self, rules: Sequence[RuleWeights]) -> list[Operation]:
        names = [test for rule in rules for test in self._names(rule)]
        return [*names, *(each for rule in rules for each in self._weights(rule))]

    def _names(self, rule: RuleWeights) -> Iterator[Operation]:
        """Tests that this is still the same rule with the same items at the same places."""
        at = list_of(rule)
        if rule.name and self._label:
            yield expected(f"{self._rule_at(at)}{pointer(fixed(self._label))}", rule.name)
        for place, backend in enumerate(rule.backends):
            for field, value in self._named(backend).items():
                yield expected(f"{item_of(rule, place)}{field}", value)

    def _rule_at(self, at: str) -> str:
        """The pointer of the rule whose list of items is at this one."""
        below = next((len(lists.base) for lists in self._lists if lists.is_at(steps(at))), 0)
        return at.rsplit("/", below)[0] if below else at

    def _weights(self, rule: RuleWeights) -> Iterator[Operation]:
        for place, backend in enumerate(rule.backends):
            at, weight = item_of(rule, place), written(backend.weight, self._units)
            gone = is_left_out(backend, self._missing)
            if isinstance(self._weight[0], int):  # an item that is itself a list: its weight may not be there now
                yield {
                    "op": "replace",
                    "path": at,
                    "value": [*self._named(backend).values(), *([] if gone else [weight])],
                }
            else:
                yield from restored(f"{at}{pointer(fixed(self._weight))}", weight, is_left_out=gone)

    def _named(self, backend: Backend) -> dict[str, str]:
        """The fields that name a backend, by their pointers from its item."""
        plain = {self.plain: backend.service.rpartition("/")[2]} if self.plain else {}
        return backend.names or plain


def list_of(rule: RuleWeights) -> str:
    """The pointer of the items of a rule."""
    return rule.at or f"/spec/rules/{rule.index}/backendRefs"


def item_of(rule: RuleWeights, place: int) -> str:
    """The pointer of an item of a rule."""
    return f"{list_of(rule)}{rule.backends[place].at or f'/{place}'}"
