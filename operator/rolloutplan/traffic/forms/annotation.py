"""Weights in annotations, as JSON: one annotation a rule with a list of items, or one with a mapping of names.

The text is tested and written as a whole. The text of a snapshot is written back as it was, byte for byte.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import Each, Place, first, parse, places, pointer, steps
from rolloutplan.api.route_kind import AnnotationWeights, RouteKindSpec
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.traffic.annotation_json import read_json
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.forms.base import Form, Raw, added, expected, is_left_out
from rolloutplan.traffic.items import Home, Item, ItemReader, Rule, read_weight, written

_ANNOTATIONS = ("metadata", "annotations")


class AnnotationForm(Form):
    """Weights in annotations of an object."""

    keyed = True
    whole = True

    def __init__(self, spec: RouteKindSpec, where: AnnotationWeights) -> None:
        self._items = ItemReader(spec)
        self._list = parse(where.list) if where.list else (Each.VALUE,)
        self._only = {parse(path): value for path, value in where.only.items()}
        self._prefix, self._map = (f"{spec.prefix}/{name}" if name else "" for name in (where.rules, where.map))
        self._any_case = where.any_case
        self.weights = spec.weights
        self._units = spec.weights.units
        self._missing = spec.weights.missing * self._units
        self.plain = ""
        self.place = self._map or f"{self._prefix}NAME, {where.list}"

    def rules(self, raw: Raw, siblings: Sequence[Raw] = ()) -> list[Rule]:  # noqa: ARG002 - only a share needs them
        home, texts = Home.of(raw), safe_get.mapping(raw, *_ANNOTATIONS)
        read = ((key, read_json(texts[key])) for key in self._keys(raw))
        rules = [(key, content) for key, content in read if content is None or self._is_rule(content)]
        return [self._rule(index, key, str(texts[key]), content, home) for index, (key, content) in enumerate(rules)]

    def _keys(self, raw: Raw) -> list[str]:
        keys = [key for key in safe_get.mapping(raw, *_ANNOTATIONS) if isinstance(key, str)]
        return sorted(key for key in keys if key == self._map or (self._prefix and key.startswith(self._prefix)))

    def _is_rule(self, content: object) -> bool:
        found = {path: first(content, (path,), any_case=self._any_case) for path in self._only}
        return all(place is not None and place.value == self._only[path] for path, place in found.items())

    def _rule(self, index: int, key: str, text: str, content: object, home: Home) -> Rule:
        at = (*_ANNOTATIONS, key)
        label = key.removeprefix(self._prefix) if self._prefix else ""
        if content is None:
            return Rule(index, label, at, text=text, faults=(f"{pointer(at)} is not JSON: correct its text",))
        items = tuple(self._item(each, home) for each in places(content, self._list, any_case=self._any_case))
        faults = tuple(f"{pointer(at)}: {item.fault}" for item in items if item.fault)
        return Rule(index, label, at, items, content, text, faults=faults)

    def _item(self, place: Place, home: Home) -> Item:
        if not self._map:
            return replace(self._items.read(place, home), names={})
        weight, fault = read_weight(place.value, self._units)
        return Item(place.at, place.value, str(place.at[-1]), {}, weight, place.at, fault and f"{place.at[-1]} {fault}")

    def fields(self, raw: Raw) -> list[tuple[str, ...]]:
        return [(*_ANNOTATIONS, key) for key in self._keys(raw)]

    def tests(self, rule: Rule) -> list[Operation]:
        return [expected(pointer(rule.at), rule.text)]

    def write(self, rule: Rule, wanted: Mapping[int, Backend]) -> list[Operation]:
        weights = [self._missing if item.weight is None else item.weight for item in rule.items]
        desired = [wanted[place].weight if place in wanted else weight for place, weight in enumerate(weights)]
        if desired == weights and not rule.faults:
            return []
        return [added(pointer(rule.at), self._text(rule, wanted, desired))]

    def _text(self, rule: Rule, wanted: Mapping[int, Backend], desired: list[int]) -> str:
        """The text with these weights: as it was before the run, where it had them then."""
        if rule.text_before and self._weights_in(rule, rule.text_before) == desired:
            return rule.text_before
        content = copy.deepcopy(rule.raw)
        for place, backend in wanted.items():
            *above, key = rule.items[place].weight_at
            holder: Any = content
            for step in above:
                holder = holder[step]
            if is_left_out(backend, self._missing):
                holder.pop(key, None)
            else:
                holder[key] = written(backend.weight, self._units)
        return json.dumps(content, separators=(",", ":"))

    def _weights_in(self, rule: Rule, text: str) -> list[int]:
        key, home = str(rule.at[-1]), Home("", "")
        found = self._rule(rule.index, key, text, read_json(text), home)
        return [self._missing if item.weight is None else item.weight for item in found.items]

    def put_back(self, raw: Raw, rule: RuleWeights) -> list[Operation]:
        if not rule.text:
            return super().put_back(raw, rule)
        texts, key = safe_get.mapping(raw, *_ANNOTATIONS), steps(rule.at)[-1]
        # That an annotation is absent cannot be tested, but that there are no others than were read.
        seen = expected(rule.at, texts[key]) if key in texts else expected(pointer(_ANNOTATIONS), texts)
        return [seen, added(rule.at, rule.text)]

    def undo(self, rules: Sequence[RuleWeights]) -> list[Operation]:
        return [added(rule.at, rule.text) for rule in rules]
