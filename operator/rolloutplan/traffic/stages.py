"""What stages without weights do to a route of one kind: which of them it can, and what they add to its rules.

It stands between `DescribedKind`, which knows the rules and the targets, and overlay.py, which knows the pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.abilities import described
from rolloutplan.api.added import WORDS, Addition, Word, read_addition
from rolloutplan.api.object_path import At, Each, Path, alternatives, first, parse, places, pointer
from rolloutplan.api.route_kind import ControllerRules, RouteKindSpec
from rolloutplan.api.status import RuleWeights
from rolloutplan.traffic.additions import Piece, Target, build, is_built, is_like
from rolloutplan.traffic.forms.base import Form
from rolloutplan.traffic.items import Rule
from rolloutplan.traffic.overlay import Bare, bare


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
        return bare(raw, self._form.rule_places, lambda piece: is_built(self._spec, piece))

    def can(self, overrides: Iterable[ControllerRules] = ()) -> frozenset[str]:
        """What a route of this kind can have in addition to weights, with the controllers that answer for it."""
        return described(self._spec, overrides)

    def unable(self, rules: Iterable[Rule]) -> dict[int, frozenset[str]]:
        """Of what the kind can, what some rules cannot have, by their indexes."""
        found = {rule.index: frozenset(word for word in WORDS if not self._has_place(word, rule)) for rule in rules}
        return {index: words for index, words in found.items() if words}

    def no_port(self, raw: Mapping[str, Any], rules: Iterable[Rule]) -> dict[int, dict[int, str]]:
        """What to write so that an item can be mirrored to, where a mirror is an address and it has no port for that.

        By the index of the rule and the place of the item in it.
        """
        mirror = self._spec.mirror
        if mirror is None or not mirror.port:
            return {}
        without = {
            rule.index: {place: item for place, item in enumerate(rule.items) if self._port(raw, item.raw) is None}
            for rule in rules
        }
        return {
            index: {place: f"{pointer(item.at)} has no {mirror.port}: write it" for place, item in items.items()}
            for index, items in without.items()
            if items
        }

    def _has_place(self, word: Word, rule: Rule) -> bool:
        """Whether this can be added to a rule, if to any."""
        spec, path = self._spec, self._paths.get(word)
        if rule.place is None or (path is not None and not _leads_to(path, rule.place)):
            return False
        if word in ("header", "cookie"):
            return bool(rule.place) and isinstance(rule.place[-1], int)
        template = spec.mirror if word == "mirror" else spec.affinity
        if template is None or (template.set and first(rule.raw, (parse(template.set),)) is not None):
            return False
        return template is not spec.mirror or self._may_be_mirrored(rule)

    def _may_be_mirrored(self, rule: Rule) -> bool:
        """Whether each item can be mirrored to, and no mirror of its author is there where a rule has one at most."""
        mirror = self._spec.mirror
        if mirror is None or (mirror.needs and not all(first(i.raw, (parse(mirror.needs),)) for i in rule.items)):
            return False
        there = first(rule.raw, (parse(mirror.append),)) if mirror.alone else None
        items = there.value if there and isinstance(there.value, list) else []
        return not any(is_like(item, mirror.value) for item in items)

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


def _leads_to(path: Path, at: At) -> bool:
    """Whether a path of rules leads to the rule at this place."""
    steps = zip(path, at, strict=False)
    return len(path) == len(at) and all(isinstance(step, Each) or step == there for step, there in steps)
