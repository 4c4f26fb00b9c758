"""HTTPRoutes of the Gateway API: reading the weights, and the one JSON Patch that moves them.

`spec.rules` and `backendRefs` are atomic lists, so no field manager can own one weight. A patch therefore tests all
that it relies on (names, the weights last seen, the fence that the last writer left) and touches nothing beyond
weights and our own annotations: a route that has changed meanwhile refuses the whole of it.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rolloutplan.engine.look import REVERT, SEQ, RouteView
from rolloutplan.engine.routes import locate
from rolloutplan.plan.status import Backend, RouteWeights, RuleWeights

_ANNOTATIONS: Final = "/metadata/annotations"

Operation = dict[str, Any]


def view(raw: Mapping[str, Any]) -> RouteView:
    """Read an HTTPRoute.

    A backend that is not a core Service of the route's namespace goes by `kind/namespace/name`, so that it is never
    taken for a Service of a plan. A weight that is not written is 1, as the API server itself has it.
    """
    meta, spec = raw["metadata"], raw.get("spec") or {}
    annotations = meta.get("annotations")
    accepted, why = _accepted(raw)
    return RouteView(
        name=meta["name"],
        generation=meta.get("generation", 0),
        version=str(meta.get("resourceVersion", "")),
        rules=tuple(_rule(index, rule, meta["namespace"]) for index, rule in enumerate(spec.get("rules") or ())),
        accepted=accepted,
        accepted_why=why,
        seq=(annotations or {}).get(SEQ, ""),
        moved_by=_moved_by(meta.get("managedFields") or ()),
        deleting="deletionTimestamp" in meta,
        annotated=annotations is not None,
        breadcrumb=(annotations or {}).get(REVERT, ""),
    )


def weights_patch(view: RouteView, target: RouteWeights, *, seq: str, revert: str | None) -> list[Operation]:
    """The JSON Patch that brings the weights of `target` into the route seen as `view`; empty where nothing differs.

    Sets the fence `seq`, and the breadcrumb `revert`, which None takes away. Raises LookupError where a rule or a
    backend of the target is no longer there.
    """
    patch = [operation for rule in target.rules for operation in _rule_patch(*_found(view, rule))]
    marks = _marks(view, seq, revert)
    if not patch and not marks:
        return []
    # A patch cannot test that a fence is absent: where there is none, nothing at all may have changed.
    fence = _test(_annotation(SEQ), view.seq) if view.seq else _test("/metadata/resourceVersion", view.version)
    return [fence, *patch, *marks]


def revert_command(namespace: str, snapshot: RouteWeights) -> str:
    """The command that puts the weights of a snapshot back with kubectl alone, as a line for a POSIX shell."""
    patch = [
        *(test for rule in snapshot.rules for test in _names(rule)),
        *(
            {"op": "replace", "path": _weight(rule, place), "value": backend.weight}
            for rule in snapshot.rules
            for place, backend in enumerate(rule.backends)
        ),
    ]
    words = ["kubectl", "-n", namespace, "patch", "httproute", snapshot.name, "--type=json", "-p"]
    return f"{shlex.join(words)} {shlex.quote(json.dumps(patch, separators=(',', ':')))}"


def _rule(index: int, raw: Mapping[str, Any], namespace: str) -> RuleWeights:
    backends = tuple(
        Backend(service=_service(ref, namespace), weight=ref.get("weight", 1)) for ref in raw.get("backendRefs") or ()
    )
    return RuleWeights(index=index, name=raw.get("name", ""), backends=backends)


def _service(ref: Mapping[str, Any], namespace: str) -> str:
    kind, home = ref.get("kind", "Service"), ref.get("namespace", namespace)
    ours = not ref.get("group") and kind == "Service" and home == namespace
    return str(ref["name"]) if ours else f"{kind}/{home}/{ref['name']}"


def _accepted(raw: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Whether every parent took this generation, and the words of the one that did not."""
    generation = raw["metadata"].get("generation", 0)
    parents = (raw.get("status") or {}).get("parents") or ()
    answers: list[bool | None] = []
    for parent in parents:
        now = {c["type"]: c for c in parent.get("conditions") or () if c.get("observedGeneration") == generation}
        for kind in ("Accepted", "ResolvedRefs"):
            if now.get(kind, {}).get("status") == "False":
                return False, f"{now[kind].get('reason') or kind}: {now[kind].get('message', '')}".rstrip(": ")
        answers.append(True if now.get("Accepted", {}).get("status") == "True" else None)
    if answers and all(answers):
        return True, ""
    return None, "" if parents else "no gateway has said anything about this route"


def _moved_by(entries: Sequence[Mapping[str, Any]]) -> str:
    """Who wrote the rules last, and only where nobody is known for them, who wrote anything; status never counts.

    Times are whole seconds: the owner of the rules is told from whoever wrote something else in the same second.
    """
    writers = [entry for entry in entries if entry.get("subresource") != "status"]
    movers = [entry for entry in writers if "f:rules" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})]
    last = max(reversed(movers or writers), key=lambda entry: str(entry.get("time", "")), default=None)
    if last is None:
        return ""
    return f"{last.get('manager', 'unknown')} ({last.get('operation', 'Update')}) at {last.get('time', 'unknown')}"


def _found(view: RouteView, rule: RuleWeights) -> tuple[RuleWeights, dict[int, int]]:
    """The rule as it stands now, and the wanted weight for each place in it. Raises LookupError."""
    now, where = locate(view, rule), f"HTTPRoute {view.name}: rule {rule.name or rule.index}"
    if now is None:
        raise LookupError(f"{where} is no longer there")
    places: dict[str, list[int]] = defaultdict(list)
    for place, backend in enumerate(now.backends):
        places[backend.service].append(place)
    wanted = {}
    for backend in rule.backends:
        if not places[backend.service]:
            raise LookupError(
                f"HTTPRoute {view.name}: rule {rule.name or rule.index} no longer holds {backend.service}"
            )
        wanted[places[backend.service].pop(0)] = backend.weight
    return now, wanted


def _rule_patch(now: RuleWeights, wanted: Mapping[int, int]) -> Iterator[Operation]:
    changed = {place: weight for place, weight in wanted.items() if now.backends[place].weight != weight}
    if not changed:
        return
    yield from _names(now)
    for place, backend in enumerate(now.backends):
        yield _test(_weight(now, place), backend.weight)
    for place, weight in changed.items():
        yield {"op": "replace", "path": _weight(now, place), "value": weight}


def _marks(view: RouteView, seq: str, revert: str | None) -> list[Operation]:
    """The operations that bring our annotations up to date."""
    wanted = {SEQ: (view.seq, seq), REVERT: (view.breadcrumb, revert or "")}
    marks: list[Operation] = [
        {"op": "add", "path": _annotation(key), "value": new} if new else {"op": "remove", "path": _annotation(key)}
        for key, (old, new) in wanted.items()
        if old != new
    ]
    if marks and not view.annotated:
        marks.insert(0, {"op": "add", "path": _ANNOTATIONS, "value": {}})
    return marks


def _names(rule: RuleWeights) -> Iterator[Operation]:
    """Tests that this is still the same rule with the same backends in the same places."""
    if rule.name:
        yield _test(f"/spec/rules/{rule.index}/name", rule.name)
    for place, backend in enumerate(rule.backends):
        name = backend.service.rpartition("/")[2]
        yield _test(f"/spec/rules/{rule.index}/backendRefs/{place}/name", name)


def _test(path: str, value: object) -> Operation:
    return {"op": "test", "path": path, "value": value}


def _weight(rule: RuleWeights, place: int) -> str:
    return f"/spec/rules/{rule.index}/backendRefs/{place}/weight"


def _annotation(key: str) -> str:
    return f"{_ANNOTATIONS}/{key.replace('~', '~0').replace('/', '~1')}"
