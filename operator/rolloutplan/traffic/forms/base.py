"""What the forms of weights have in common: the interface, and the operations that they are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from rolloutplan.api.object_path import At, pointer
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.engine.model.weights import receiving
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.items import Rule, written

Raw = Mapping[str, Any]


class Form(Protocol):
    """How an object holds weights."""

    place: str
    """Where its weighted items are, for messages."""
    keyed: bool = False
    """Whether rules are the entries of a mapping, and have their keys in their places."""
    whole: bool = False
    """Whether a snapshot has all of a rule, so that one of which nothing can be read is put back as a whole."""
    one_number: bool = False
    """Whether the object has one number, for the new side; the old side, of another object, has the rest."""
    weights: WeightRules
    """What weights may be, and what they mean."""
    plain: str
    """The pointer of the field that names an item, where nothing else does."""

    def rules(self, raw: Raw, siblings: Sequence[Raw] = ()) -> list[Rule]:
        """The rules of an object, numbered in its order. Never raises."""

    def some(self, raw: Raw, indexes: Collection[int]) -> dict[int, Rule]:
        """The rules of these indexes, in the order of the object: a plan moves few of thousands."""
        return {rule.index: rule for rule in self.rules(raw) if rule.index in indexes}

    def rule_places(self, raw: Raw) -> list[At]:  # noqa: ARG002 - in an annotation, rules have none
        """Where the rules of an object are, in its order."""
        return []

    def unchanged(self, before: Raw, raw: Raw) -> frozenset[int]:  # noqa: ARG002 - those in an annotation are few
        """The rules that are the same in two versions of an object, and at the same place, by their indexes."""
        return frozenset()

    def gives(self, raw: Raw, siblings: Sequence[Raw] = ()) -> frozenset[str]:
        """The names of the backends that an object gives traffic; all of a rule whose weights cannot be read."""
        return frozenset(name for rule in self.rules(raw, siblings) for name in given(rule, self.weights))

    def limits(self, raw: Raw, rules: WeightRules) -> WeightRules:  # noqa: ARG002 - a share says what it is a part of
        """What weights may be in this object."""
        return rules

    def fields(self, raw: Raw) -> list[tuple[str, ...]]:
        """The fields that hold the rules, as paths of keys: who changed these changed weights."""

    def tests(self, rule: Rule) -> list[Operation]:
        """The operations that fail the whole patch unless each item of a rule is exactly as it was read."""

    def write(self, rule: Rule, wanted: Mapping[int, Backend]) -> list[Operation]:
        """The operations that give the items at these places their weights; empty if nothing differs."""

    def put_back(self, raw: Raw, rule: RuleWeights) -> list[Operation]:  # noqa: ARG002 - only a whole one can be
        """The operations that put a rule of a snapshot back as a whole. Raises LookupError."""
        raise LookupError(f"{rule.at} is gone")

    def undo(self, rules: Sequence[RuleWeights]) -> list[Operation]:
        """The operations that restore rules of a snapshot: tests of the names first, then the weights."""


def given(rule: Rule, kind: WeightRules) -> list[str]:
    """The names of the items of a rule that get traffic; all where its weights cannot be read."""
    if rule.faults:
        return [item.service for item in rule.items]
    weights = rule.weights(kind.missing * kind.units, plain="")
    return [backend.service for backend in receiving(weights, kind)]


def expected(path: str, value: object) -> Operation:
    """The operation that fails the whole patch unless the field has this value."""
    return {"op": "test", "path": path, "value": value}


def added(path: str, value: object) -> Operation:
    """The operation that sets a field, whether it is there or not."""
    return {"op": "add", "path": path, "value": value}


def removed(path: str) -> Operation:
    return {"op": "remove", "path": path}


def is_left_out(backend: Backend, missing: int) -> bool:
    """Whether no weight is to be written for a backend: it had none, and is to have what that counts as."""
    return backend.missing is True and backend.weight == missing


def put(at: At, weight: int, units: int, *, is_there: bool) -> Operation:
    """The operation that writes a weight. In a list, `add` would insert one before it."""
    op = "replace" if is_there and isinstance(at[-1], int) else "add"
    return {"op": op, "path": pointer(at), "value": written(weight, units)}


def restored(path: str, value: object, *, is_left_out: bool) -> Iterator[Operation]:
    """The operations that give a field its old value, whatever it has now; one that was not there goes again."""
    yield {"op": "add", "path": path, "value": value}
    if is_left_out:
        yield removed(path)
