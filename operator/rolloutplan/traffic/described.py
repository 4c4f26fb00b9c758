"""A kind of route that is described by data: the one interpreter of all descriptions.

A description says where the weights are and what they mean. What follows from it: how a route is read, how its weights
are written and taken back, when they count as accepted, and the command that restores them without the operator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rolloutplan.api.object_path import At, Path, parse, places, pointer
from rolloutplan.api.route_kind import ControllerRules, RouteKindSpec, WeightRules
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.engine.model.fence import read_fences, rule_label
from rolloutplan.engine.model.finding import is_blank, locate_each
from rolloutplan.engine.model.snapshot import Added, RouteView
from rolloutplan.traffic import metadata
from rolloutplan.traffic.acceptance import AcceptanceReader
from rolloutplan.traffic.additions import Piece
from rolloutplan.traffic.base import Operation, Resource, RouteKind
from rolloutplan.traffic.forms import form_of
from rolloutplan.traffic.forms.base import added, expected, removed
from rolloutplan.traffic.items import Rule
from rolloutplan.traffic.overlay import ANNOTATION, Bare, change, with_changes
from rolloutplan.traffic.patching import kubectl_patch, located, whole_patch
from rolloutplan.traffic.rereading import completed
from rolloutplan.traffic.stages import StageBuilder
from rolloutplan.traffic.undo import LONGEST, UnreadableError, ends_with, first_that_fits, rebuilt, without_additions

Raw = Mapping[str, Any]


class DescribedKind(RouteKind):
    """A kind of route, as its description says."""

    def __init__(self, kind: str, spec: RouteKindSpec) -> None:
        self.kind, self.spec = kind, spec
        self.resource = Resource(spec.group, spec.versions[0], spec.resource, spec.versions[1:])
        self.needs_siblings = spec.share is not None
        self._form, self._acceptance = form_of(spec), AcceptanceReader(spec)
        self.plain = self._form.plain
        self._stages = StageBuilder(spec, self._form)
        self._matches = parse(spec.ab.each) if spec.ab else ()
        self._selective, self._sticky = [parse(path) for path in spec.selective], parse(spec.sticky)
        self._missing = spec.weights.missing * spec.weights.units
        self._matched = _matched(spec)

    def view(self, raw: Raw, siblings: Sequence[Raw] = (), before: RouteView | None = None) -> RouteView:
        seen = self._stages.bare(raw)
        if before is None or _has_additions(seen, before) or not (same := self._form.unchanged(before.raw, raw)):
            return self._view(raw, seen, self._form.rules(seen.raw, siblings), siblings)
        others = {*range(len(self._form.rule_places(raw)))} - same
        return completed(self._view(raw, seen, [*self._form.some(raw, others).values()], siblings), before, same)

    def _view(self, raw: Raw, seen: Bare, rules: Sequence[Rule], siblings: Sequence[Raw]) -> RouteView:
        """The view with these rules of an object."""
        places = {rule.place: rule.index for rule in rules if rule.place is not None}
        added = {index: seen.texts(place) for place, index in places.items()}
        view = metadata.view(
            self.kind,
            seen.raw,
            rules=tuple(rule.with_added(added.get(rule.index, ())) for rule in self._weights(rules)),
            read_rules=lambda object_: self._weights(self._form.rules(object_, siblings)),
            acceptance=self._acceptance.read(raw),
            fields=self._form.fields(raw),
        )
        controllers = self._acceptance.controllers(raw)
        return replace(
            view,
            raw=raw,
            pieces=tuple(Added(each.owner, each.piece.text, places.get(each.rule)) for each in seen.found),
            left=tuple(Added(each.owner, each.text, places.get(each.rule)) for each in seen.left),
            selective=frozenset(rule.index for rule in rules if self._is_selective(rule)),
            sticky=frozenset(rule.index for rule in rules if self._sticky and _filled(rule.raw, self._sticky)),
            weights=self._form.limits(raw, self._rules_of_weights(controllers)),
            settle=self.spec.accepted.settle,
            empty_breaks=self.spec.empty_breaks,
            controllers=controllers,
            can=self._stages.can(self._overrides(controllers)),
            unable=self._stages.unable(rules),
            no_port=self._stages.no_port(seen.raw, rules),
            most_rules=self.spec.ab.most if self.spec.ab else None,
            place=self._form.place,
            keyed=self._form.keyed,
            whole=self._form.whole,
            one_number=self._form.one_number,
            unread={rule.index: sides for rule in rules if (sides := rule.unread)},
            digests={rule.index: digest for rule in rules if (digest := rule.digest())},
            faults={rule.index: rule.faults[0] for rule in rules if rule.faults},
        )

    def gives(self, raw: Raw, siblings: Sequence[Raw] = ()) -> frozenset[str]:
        names = self._form.gives(raw, siblings)
        if len(self.spec.name) < 2:
            return names
        return names | {name.partition("/")[0] for name in names}  # a subset is of a Service, too

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        labels = [rule_label(rule) for rule in target.rules]
        owner = next((fence.owner for fence in reversed(read_fences(token)) if fence.meets(labels)), "")
        changes = self._changes(view, target, owner)
        return whole_patch(
            view,
            changes.operations,
            token=token,
            undo=undo,
            added=changes.annotation if changes.differs else None,
            differs=changes.differs,
        )

    def _changes(self, view: RouteView, target: RouteWeights, owner: str) -> _Changes:
        """What is to be done to the rules of a target. One without rules is for our annotations alone."""
        if not target.rules:
            return _Changes()
        seen = self._stages.bare(view.raw)
        places = [None if is_blank(view, rule) else located(view, rule) for rule in target.rules]
        rules = self._form.some(seen.raw, {now.index for now, _ in filter(None, places)})
        tests: list[Operation] = []
        weights: list[Operation] = []
        pieces: dict[At, list[Piece]] = {}
        for rule, place in zip(target.rules, places, strict=True):
            if place is None:
                weights += self._form.put_back(view.raw, rule)
                continue
            now, wanted = place
            tests += self._form.tests(rules[now.index])
            weights += self._form.write(replace(rules[now.index], text_before=rule.text), wanted)
            pieces |= self._stages.wanted(seen, rules[now.index], now, rule.added)
        try:
            overlay = change(seen, pieces, owner)
        except LookupError as error:
            raise LookupError(f"{view.id}: {error}") from None
        operations = (*overlay.before, *tests, *weights, *overlay.after)
        return _Changes(operations, overlay.annotation, bool(weights) or overlay.differs)

    def undo_command(
        self,
        namespace: str,
        snapshot: RouteWeights,
        view: RouteView | None = None,
        target: RouteWeights | None = None,
        owner: str = "",
    ) -> str:
        if view is None:
            return kubectl_patch(namespace, self.resource, snapshot.name, self._form.undo(snapshot.rules))
        raw = view.raw if target is None else self._changes(view, target, owner).made(view.raw)
        found = locate_each(view, snapshot.rules)
        rules = [
            rule if now is None else rule.model_copy(update={"index": now.index, "at": now.at})
            for now, rule in zip(found, snapshot.rules, strict=True)
        ]
        ours = {now.index for now in found if now is not None}
        raws = [raw, *filter(None, [self._after_others(raw, ours, owner)])]
        patches = [self._undo(each, rules, ours, owner) for each in raws]
        commands = [kubectl_patch(namespace, self.resource, snapshot.name, patch) for patch in patches]
        whole = first_that_fits(commands)
        return whole if len(whole) <= LONGEST else commands[0]

    def _undo(self, raw: Raw, rules: Sequence[RuleWeights], ours: Collection[int], owner: str) -> list[Operation]:
        """The operations that undo a run, which has the rules of these indexes. What others added stays there."""
        seen = self._stages.bare(raw)
        there = self._form.some(seen.raw, ours).values()
        weights = [*(test for rule in there for test in self._marks(rule)), *self._form.undo(rules)]
        if not seen.annotation:
            return weights
        others = change(seen, {rule.place: () for rule in there if rule.place is not None}, owner)
        taken = [expected(ANNOTATION, seen.annotation), *others.before, removed(ANNOTATION)]
        left = [added(ANNOTATION, others.annotation)] if others.annotation else []
        return [*taken, *weights, *others.after, *left]

    def _after_others(self, raw: Raw, ours: Collection[int], owner: str) -> Raw | None:
        """An object after the undo commands of all others that have added to it; None where nobody else has."""
        seen = self._stages.bare(raw)
        places = {rule.place for rule in self._form.some(seen.raw, ours).values()}
        others = {each.rule for each in seen.found if each.rule not in places and (not owner or each.owner != owner)}
        if not others:
            return None
        left = change(seen, dict.fromkeys(others, ()))
        return with_changes(raw, [*left.before, *left.after], left.annotation)

    def _marks(self, rule: Rule) -> Iterator[Operation]:
        """Tests that a rule without a name is the same one: of its texts, and of the first of its matches."""
        if rule.label or not rule.place or not isinstance(rule.place[-1], int) or not isinstance(rule.raw, Mapping):
            return
        for key, value in rule.raw.items():
            if isinstance(value, str):
                yield expected(pointer((*rule.place, key)), value)
            elif key == self._matched and isinstance(value, list) and value:
                yield expected(pointer((*rule.place, key, 0)), value[0])
            elif key == self._matched and isinstance(value, Mapping):
                yield expected(pointer((*rule.place, key)), value)

    def read_undo(self, namespace: str, name: str, operations: Sequence[Any]) -> RouteWeights:
        """The object is built as far as the operations name it, and read like any other: what it says must be all."""
        operations = without_additions(operations)
        raw = rebuilt(namespace, name, operations)
        read = self._weights(self._form.rules(raw))
        rules = tuple(rule for rule in read if rule.backends)
        largest = self._form.limits(raw, self.spec.weights).max * self.spec.weights.units
        if any(backend.weight > largest for rule in rules for backend in rule.backends):
            raise UnreadableError("it has a weight that no route takes")
        if not rules or not ends_with(operations, self._form.undo(rules)):
            raise UnreadableError("it does not name the backends of each rule, or does something else")
        return RouteWeights(kind=self.kind, name=name, rules=rules)

    def _weights(self, rules: Sequence[Rule]) -> tuple[RuleWeights, ...]:
        return tuple(rule.weights(self._missing, plain=self._form.plain) for rule in rules)

    def _rules_of_weights(self, controllers: Sequence[str]) -> WeightRules:
        """What weights may be, by the controllers that answer."""
        rules = self.spec.weights
        for override in (other.weights for other in self._overrides(controllers) if other.weights is not None):
            written = {field: getattr(override, field) for field in override.model_fields_set}
            rules = rules.model_copy(update=written)
        return rules

    def _overrides(self, controllers: Sequence[str]) -> list[ControllerRules]:
        return [self.spec.controllers[name] for name in controllers if name in self.spec.controllers]

    def _is_selective(self, rule: Rule) -> bool:
        """Whether every match of a rule is for some requests only. Without matches, a rule takes every request."""
        matches = [place.value for place in places(rule.raw, self._matches)] if self._selective else []
        return bool(matches) and all(any(_filled(match, path) for path in self._selective) for match in matches)


class _Changes(NamedTuple):
    """The operations on the rules of a route, and the annotation with what is added to these."""

    operations: tuple[Operation, ...] = ()
    """Where nothing differs, they only test what the target relies on: that each item is as it was read."""
    annotation: str = ""
    differs: bool = False

    def made(self, raw: Raw) -> Raw:
        """The route with these changes."""
        return with_changes(raw, self.operations, self.annotation) if self.differs else raw


def _has_additions(seen: Bare, before: RouteView) -> bool:
    """Whether anything was added to a route, now or in the version before."""
    return bool(seen.annotation or before.pieces or before.left)


def _matched(spec: RouteKindSpec) -> str:
    """The field of a rule with its matches; empty where the description names none."""
    path = parse(spec.ab.each or spec.ab.append or spec.ab.set or spec.ab.text) if spec.ab else ()
    return str(path[0]) if path else ""


def _filled(raw: object, path: Path) -> bool:
    return any(place.value for place in places(raw, path))
