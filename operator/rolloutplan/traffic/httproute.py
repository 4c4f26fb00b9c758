"""HTTPRoutes of the Gateway API: reads the weights, and builds the JSON Patch that changes them.

Objects come from the loop, target weights from the engine. `spec.rules` and `backendRefs` are atomic lists, so no field
manager can own one weight. A patch therefore tests all that it relies on (names, the weights last seen, the token of
the last writer) and changes only weights and our own annotations. It fails as a whole if the route has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.snapshot import Acceptance, RouteView
from rolloutplan.traffic import metadata
from rolloutplan.traffic.base import Operation, Resource, RouteKind
from rolloutplan.traffic.patching import expected, kubectl_patch, located, whole_patch
from rolloutplan.traffic.undo import read_rules

MOST_NAMED: Final = 3
"""The most parents that a message names: a route may have hundreds."""
_NOBODY: Final = "no gateway has answered for this route yet"


class HTTPRoute(RouteKind):
    """HTTPRoutes of the Gateway API, with gateways and with meshes."""

    kind = "HTTPRoute"
    resource = Resource("gateway.networking.k8s.io", "v1", "httproutes")

    def view(self, raw: Mapping[str, Any]) -> RouteView:
        """Read an HTTPRoute.

        A backend that is not a core Service of the route's namespace is named `kind/namespace/name`, so that it is
        never taken for a Service of a plan. A missing weight is 1, the default of the API.
        """
        namespace = raw["metadata"]["namespace"]
        raw_rules = list(enumerate(safe_get.items(raw, "spec", "rules")))
        return metadata.view(
            self.kind,
            raw,
            read_rules=lambda spec: tuple(
                _rule(at, rule, namespace) for at, rule in enumerate(safe_get.items(spec, "rules"))
            ),
            acceptance=_acceptance(raw),
            field="rules",
            sticky=frozenset(at for at, rule in raw_rules if safe_get.mapping(rule, "sessionPersistence")),
            selective=frozenset(at for at, rule in raw_rules if _is_selective(rule)),
        )

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        """The JSON Patch from the route seen as `view` to the weights of `target`, its token and its undo command."""
        weights = [operation for rule in target.rules for operation in _rule_patch(*located(view, rule))]
        return whole_patch(view, weights, token=token, undo=undo)

    def undo_command(self, namespace: str, snapshot: RouteWeights) -> str:
        """The `kubectl patch` that tests the names in each rule and replaces every weight in it."""
        names = [test for rule in snapshot.rules for test in _names(rule)]
        weights = [
            {"op": "replace", "path": _weight(rule, place), "value": backend.weight}
            for rule in snapshot.rules
            for place, backend in enumerate(rule.backends)
        ]
        return kubectl_patch(namespace, snapshot.id, [*names, *weights])

    def read_undo(self, name: str, operations: Sequence[Any]) -> RouteWeights:
        return RouteWeights(kind="HTTPRoute", name=name, rules=read_rules(operations))


def _rule(index: int, raw: object, namespace: str) -> RuleWeights:
    backends = tuple(
        Backend(service=_service(ref, namespace), weight=safe_get.number(ref, "weight", default=1))
        for ref in safe_get.items(raw, "backendRefs")
    )
    return RuleWeights(index=index, name=safe_get.text(raw, "name"), backends=backends)


def _is_selective(raw: object) -> bool:
    """Whether every match of a rule has headers or query parameters. Without matches, a rule takes every request."""
    matches = safe_get.items(raw, "matches")
    return bool(matches) and all(safe_get.items(m, "headers") or safe_get.items(m, "queryParams") for m in matches)


def _service(ref: object, namespace: str) -> str:
    name, group = safe_get.text(ref, "name"), safe_get.value(ref, "group")
    kind, home = safe_get.text(ref, "kind") or "Service", safe_get.text(ref, "namespace") or namespace
    ours = not group and kind == "Service" and home == namespace
    return name if ours else f"{kind}/{home}/{name}"


class _Parent(NamedTuple):
    """A gateway to which a route attaches, or a Service of a mesh, as in `spec` and `status`."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str
    port: int

    def __str__(self) -> str:
        section = f" section {self.section}" if self.section else ""
        return f"{self.kind} {self.namespace}/{self.name}{section}{f' port {self.port}' if self.port else ''}"


class _Answer(NamedTuple):
    """The status of one controller for one parent."""

    parent: _Parent
    accepted: bool | None
    """At the present generation, or without one where it is `undated`."""
    why: str
    undated: bool = False
    """Whether the controller writes no generation, or one that the route has never had."""
    seen: int = 0
    """The generation that it accepted last, without a word since; 0 for none."""

    @property
    def before(self) -> bool:
        """Whether it accepted an earlier generation, and has said nothing since."""
        return self.accepted is None and self.seen > 0


def _parent(ref: object, namespace: str) -> _Parent:
    """A parentRef with the defaults of the API. Linkerd writes `core` for the empty group."""
    group = safe_get.value(ref, "group")
    return _Parent(
        group=("" if group == "core" else group) if isinstance(group, str) else HTTPRoute.resource.group,
        kind=safe_get.text(ref, "kind") or "Gateway",
        namespace=safe_get.text(ref, "namespace") or namespace,
        name=safe_get.text(ref, "name"),
        section=safe_get.text(ref, "sectionName"),
        port=safe_get.number(ref, "port"),
    )


def _acceptance(raw: Mapping[str, Any]) -> Acceptance:
    """Whether every parent accepted this generation; else the parents without an answer, or the message of a refusal.

    The parents are those in the spec: status entries of parents that it no longer names are ignored. Where the spec
    names none, they are the parents in the status.
    """
    generation, namespace = safe_get.number(raw, "metadata", "generation"), raw["metadata"]["namespace"]
    answers = [_answer(entry, generation, namespace) for entry in safe_get.items(raw, "status", "parents")]
    refs = [ref for ref in safe_get.items(raw, "spec", "parentRefs") if isinstance(ref, Mapping)]
    parents = dict.fromkeys(_parent(ref, namespace) for ref in refs)
    found = _by_parent(parents, answers) if parents else [(answer.parent, [answer]) for answer in answers]
    refused = next((answer for _, each in found for answer in each if answer.accepted is False), None)
    if refused is not None:
        return Acceptance(accepted=False, why=refused.why)
    if not found:
        return Acceptance(accepted=None, why=_NOBODY)
    undated = [str(parent) for parent, each in found if any(answer.undated and answer.accepted for answer in each)]
    if all(any(answer.accepted for answer in each) for _, each in found):
        return Acceptance(accepted=True, undated=_listed(undated, ", "), generation=generation)
    seen = min(max(answer.seen for answer in each) if each else 0 for _, each in found)
    before = all(any(answer.accepted or answer.before for answer in each) for _, each in found)
    return Acceptance(
        accepted=None, why=_missing_answer(found if parents else (), generation), before=before, generation=seen
    )


def _by_parent(parents: Collection[_Parent], answers: Iterable[_Answer]) -> list[tuple[_Parent, list[_Answer]]]:
    """The answers for each parent, of one controller or of several.

    Some controllers answer for the gateway where the spec names a section or a port of it; others answer for each
    section where it names none. An answer for the same object counts, unless it is for another of the parents. One
    without a generation counts only where no controller of the parent writes generations.
    """
    of_object: dict[tuple[object, ...], list[_Answer]] = {}
    named: dict[_Parent, list[_Answer]] = {parent: [] for parent in parents}
    for answer in answers:
        if answer.parent in named:
            named[answer.parent].append(answer)
        else:
            of_object.setdefault(answer.parent[:4], []).append(answer)
    found = ((parent, named[parent] + of_object.get(parent[:4], [])) for parent in parents)
    return [(parent, [answer for answer in each if not answer.undated] or each) for parent, each in found]


_REFUSALS: Final = (("Accepted", "False"), ("ResolvedRefs", "False"), ("PartiallyInvalid", "True"))
"""Conditions that speak against a route. One that is partially invalid is served without some of its rules, or as it
was at an earlier generation."""


def _answer(entry: object, generation: int, namespace: str) -> _Answer:
    parent = _parent(safe_get.mapping(entry, "parentRef"), namespace)
    conditions = safe_get.items(entry, "conditions")
    said = [_generation(condition) for condition in conditions if safe_get.text(condition, "type") == "Accepted"]
    seen = max(said, default=0)
    undated = bool(said) and not 0 < seen <= generation
    now = {safe_get.text(c, "type"): c for c in conditions if undated or _generation(c) == generation}
    for kind, bad in _REFUSALS:
        if safe_get.text(now, kind, "status") == bad:
            return _Answer(parent, accepted=False, why=_reason(now[kind]), undated=undated)
    if safe_get.text(now, "Accepted", "status") == "True":
        return _Answer(parent, accepted=True, why="", undated=undated, seen=generation)
    if "Accepted" in now:
        return _Answer(parent, accepted=None, why=_reason(now["Accepted"]), undated=undated)
    last = {safe_get.text(c, "type"): safe_get.text(c, "status") for c in conditions if _generation(c) == seen}
    good = last.get("Accepted") == "True" and not any(last.get(kind) == bad for kind, bad in _REFUSALS)
    why = f"it answered for generation {seen}" if seen else ""
    return _Answer(parent, accepted=None, why=why, seen=seen if good else 0)


def _generation(condition: object) -> int:
    return safe_get.number(condition, "observedGeneration")


def _reason(condition: object) -> str:
    kind, reason, message = (safe_get.text(condition, field) for field in ("type", "reason", "message"))
    return f"{reason or kind}: {message}".rstrip(": ")


def _missing_answer(found: Iterable[tuple[_Parent, Sequence[_Answer]]], generation: int) -> str:
    """The parents in the spec that have not accepted this generation, with their messages."""
    words = []
    for parent, answers in found:
        if not any(answer.accepted for answer in answers):
            why = _listed([answer.why for answer in answers if answer.why], ", ")
            words.append(f"{parent} has not accepted generation {generation}{f' ({why})' if why else ''}")
    return _listed(words, "; ")


def _listed(words: Sequence[str], separator: str) -> str:
    more = f"{separator}and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return separator.join(words[:MOST_NAMED]) + more


def _rule_patch(now: RuleWeights, wanted: Mapping[int, int]) -> Iterator[Operation]:
    changed = {place: weight for place, weight in wanted.items() if now.backends[place].weight != weight}
    if not changed:
        return
    yield from _names(now)
    for place, backend in enumerate(now.backends):
        yield expected(_weight(now, place), backend.weight)
    for place, weight in changed.items():
        yield {"op": "replace", "path": _weight(now, place), "value": weight}


def _names(rule: RuleWeights) -> Iterator[Operation]:
    """Tests that this is still the same rule with the same backends at the same indexes."""
    if rule.name:
        yield expected(f"/spec/rules/{rule.index}/name", rule.name)
    for place, backend in enumerate(rule.backends):
        name = backend.service.rpartition("/")[2]
        yield expected(f"/spec/rules/{rule.index}/backendRefs/{place}/name", name)


def _weight(rule: RuleWeights, place: int) -> str:
    return f"/spec/rules/{rule.index}/backendRefs/{place}/weight"
