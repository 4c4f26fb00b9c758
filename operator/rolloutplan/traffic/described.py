"""A kind of route that is described by data: the one interpreter of all descriptions.

A description says where the weights are and what they mean. What follows from it: how a route is read, how its weights
are written and taken back, when they count as accepted, and the command that restores them without the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rolloutplan.api.object_path import At, Path, parse, places
from rolloutplan.api.route_kind import ControllerRules, RouteKindSpec, WeightRules
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.engine.model.fence import read_fences, rule_label
from rolloutplan.engine.model.snapshot import Added, RouteView
from rolloutplan.traffic import metadata
from rolloutplan.traffic.acceptance import AcceptanceReader
from rolloutplan.traffic.additions import Piece
from rolloutplan.traffic.base import Operation, Resource, RouteKind
from rolloutplan.traffic.forms import form_of
from rolloutplan.traffic.forms.base import removed
from rolloutplan.traffic.items import Rule
from rolloutplan.traffic.overlay import ANNOTATION, change, with_changes
from rolloutplan.traffic.patching import kubectl_patch, located, whole_patch
from rolloutplan.traffic.stages import StageBuilder
from rolloutplan.traffic.undo import UnreadableError, rebuilt, same_operations, without_removal

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

    def view(self, raw: Raw, siblings: Sequence[Raw] = ()) -> RouteView:
        seen = self._stages.bare(raw)
        rules = self._form.rules(seen.raw, siblings)
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
            place=self._form.place,
            keyed=self._form.keyed,
            digests={rule.index: digest for rule in rules if (digest := rule.digest())},
            faults={rule.index: rule.faults[0] for rule in rules if rule.faults},
        )

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        changes, added = self._changes(view, target, token)
        return whole_patch(view, changes, token=token, undo=undo, added=added)

    def _changes(self, view: RouteView, target: RouteWeights, token: str = "") -> tuple[list[Operation], str | None]:
        """The operations on rules, and the annotation with what is added to them; None where it stays as it is.

        Without a token, as the run writes them whose token these rules have.
        """
        seen = self._stages.bare(view.raw)
        rules = {rule.index: rule for rule in self._form.rules(seen.raw)}
        weights: list[Operation] = []
        pieces: dict[At, list[Piece]] = {}
        for rule in target.rules:
            now, wanted = located(view, rule)
            weights += self._form.write(replace(rules[now.index], text_before=rule.text), wanted)
            pieces |= self._stages.wanted(seen, rules[now.index], now, rule.added)
        labels = [rule_label(rule) for rule in target.rules]
        fences = read_fences(token or view.seq) if labels else ()
        owner = next((fence.owner for fence in reversed(fences) if fence.meets(labels)), "")
        try:
            overlay = change(seen, pieces, owner)
        except LookupError as error:
            raise LookupError(f"{view.id}: {error}") from None
        if not weights and not overlay.differs:
            return [], None
        return [*overlay.before, *weights, *overlay.after], overlay.annotation

    def undo_command(
        self, namespace: str, snapshot: RouteWeights, view: RouteView | None = None, target: RouteWeights | None = None
    ) -> str:
        operations = [*self._removal(view, target), *self._form.undo(snapshot.rules)]
        return kubectl_patch(namespace, self.resource, snapshot.name, operations)

    def _removal(self, view: RouteView | None, target: RouteWeights | None) -> list[Operation]:
        """What takes away what runs have added to a route, as it is or as it will be."""
        if view is None:
            return []
        raw = view.raw if target is None else with_changes(view.raw, *self._changes(view, target))
        seen = self._stages.bare(raw)
        return [*seen.removal, removed(ANNOTATION)] if seen.annotation else []

    def read_undo(self, namespace: str, name: str, operations: Sequence[Any]) -> RouteWeights:
        """The object is built as far as the operations name it, and read like any other: what it says must be all."""
        operations = without_removal(operations)
        raw = rebuilt(namespace, name, operations)
        read = self._weights(self._form.rules(raw))
        rules = tuple(rule for rule in read if rule.backends)
        largest = self._form.limits(raw, self.spec.weights).max * self.spec.weights.units
        if any(backend.weight > largest for rule in rules for backend in rule.backends):
            raise UnreadableError("it has a weight that no route takes")
        if not rules or not same_operations(self._form.undo(rules), operations):
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


def _filled(raw: object, path: Path) -> bool:
    return any(place.value for place in places(raw, path))
