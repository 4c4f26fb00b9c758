"""What stages without weights do to a route of one kind: which of them it can, and what they add to its rules.

It stands between `DescribedKind`, which knows the rules and the targets, and overlay.py, which knows the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.added import Addition, read_addition
from rolloutplan.api.object_path import At, Each, alternatives, first, parse, places, pointer
from rolloutplan.api.route_kind import ControllerRules, RouteKindSpec
from rolloutplan.api.status import RuleWeights
from rolloutplan.traffic.additions import Piece, Target, build, is_built
from rolloutplan.traffic.forms.base import Form
from rolloutplan.traffic.items import Rule
from rolloutplan.traffic.overlay import Bare, bare

_SIDES: Final = 2
"""A rule with fewer items holds no two sides."""


class StageBuilder:
    """Adds to the rules of one kind what its description has templates for."""

    def __init__(self, spec: RouteKindSpec, form: Form) -> None:
        self._spec, self._form = spec, form
        self._paths = {
            word: parse(template.of) if template and template.of else None
            for word, template in (("mirror", spec.mirror), ("header", spec.ab), ("cookie", spec.ab))
        }

    def bare(self, raw: Mapping[str, Any]) -> Bare:
        """A route without what runs have added to it."""
        return bare(raw, self._rule_places, lambda piece: is_built(self._spec, piece))

    def _rule_places(self, raw: Mapping[str, Any]) -> list[At]:
        return [rule.place for rule in self._form.rules(raw) if rule.place is not None]

    def can(self, rules: Sequence[Rule], overrides: Iterable[ControllerRules] = ()) -> frozenset[str]:
        """What is possible in addition to weights, in every rule that may hold two sides."""
        spec, ab = self._spec, self._spec.ab
        weighted = [rule for rule in rules if len(rule.items) >= _SIDES]
        mirrors = spec.mirror is not None and all(each.mirror for each in overrides)
        able = {
            "header": ab is not None and ab.header is not None,
            "cookie": ab is not None and ab.cookie is not None,
            "mirror": mirrors and self._has_room(weighted, spec.mirror.set if spec.mirror else ""),
            "sticky": spec.affinity is not None and self._has_room(weighted, spec.affinity.set),
        }
        able = {word: can and self._fits(word, weighted) for word, can in able.items()}
        finest = [f"mirror/{spec.mirror.finest}"] if spec.mirror and able["mirror"] else []
        return frozenset((*(word for word, can in able.items() if can), *finest))

    def _has_room(self, rules: Sequence[Rule], field: str) -> bool:
        """Whether the field that is to be set is not there already."""
        return not field or all(first(rule.raw, (parse(field),)) is None for rule in rules)

    def _fits(self, word: str, rules: Sequence[Rule]) -> bool:
        """Whether this can be added to each of these rules."""
        path = self._paths.get(word)
        copied = word in ("header", "cookie")
        if any(rule.place is None or (copied and not _is_listed(rule.place)) for rule in rules):
            return False
        return path is None or all(
            len(path) == len(rule.place or ())
            and all(isinstance(step, Each) or step == at for step, at in zip(path, rule.place or (), strict=True))
            for rule in rules
        )

    def wanted(self, seen: Bare, rule: Rule, now: RuleWeights, texts: Sequence[str]) -> dict[At, list[Piece]]:
        """The pieces that a rule is to have, where they can be added at all; `now` names its items as the plan does.

        Raises LookupError.
        """
        if rule.place is None:
            if texts:
                raise LookupError(f"nothing can be added to {pointer(rule.at)}: {texts[0]}")
            return {}
        there = {each.piece.text: each.piece for each in seen.found if each.rule == rule.place}
        pieces, number = [], 0
        for text in texts:
            addition = read_addition(text)
            if addition is None:
                raise LookupError(f"{text} is nothing that this version can add to a route")
            number += addition.word in ("header", "cookie")
            pieces.append(there.get(text) or self._piece(seen, rule, now, addition, number))
        return {rule.place: pieces}

    def _piece(self, seen: Bare, rule: Rule, now: RuleWeights, addition: Addition, number: int) -> Piece:
        at, item = rule.place or (), None
        if addition.to:
            place = next((i for i, backend in enumerate(now.backends) if backend.service == addition.to), None)
            if place is None:
                raise LookupError(f"{pointer(rule.at)} no longer holds {addition.to}")
            item = rule.items[place].raw
        namespace = safe_get.text(seen.raw, "metadata", "namespace")
        target = Target(at, rule.raw, rule.at[len(at) :], item, namespace, self._port(seen.raw, item))
        return build(self._spec, target, addition, number)

    def _port(self, raw: Mapping[str, Any], item: Any) -> Any:
        """The port of the new side, in its item or in what the item's name stands for."""
        spec = self._spec
        if spec.mirror is None or not spec.mirror.port:
            return None
        paths = alternatives(spec.mirror.port)
        stands_for = []
        if spec.via is not None:
            name = first(item, [path for each in spec.name for path in alternatives(each)])
            entries = [place.value for place in places(raw, parse(spec.via.list))]
            stands_for = [each for each in entries if name and safe_get.value(each, spec.via.key) == name.value]
        found = next((place for each in (item, *stands_for) if (place := first(each, paths))), None)
        return None if found is None else found.value


def _is_listed(at: At) -> bool:
    return bool(at) and isinstance(at[-1], int)
