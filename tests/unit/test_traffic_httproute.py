"""HTTPRoutes: what is read, and that a patch does exactly what was meant or nothing at all."""

import copy
import json
import shlex
import subprocess
import time
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.snapshot import REVERT, SEQ
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.metadata import LAST_APPLIED

Raw = dict[str, Any]

KIND = ROUTE_KINDS["HTTPRoute"]
view = KIND.view


def ref(name: str, weight: int | None = None, **more: Any) -> Raw:
    return {"name": name, "port": 80, **({} if weight is None else {"weight": weight}), **more}


def route(*rules: Any, generation: int = 3, annotations: Raw | None = None, **more: Any) -> Raw:
    """A route with one rule for each list of backends (or each dict)."""
    meta: Raw = {"name": "web", "namespace": "shop", "generation": generation, "resourceVersion": "7"}
    if annotations is not None:
        meta["annotations"] = annotations
    written = [rule if isinstance(rule, dict) else {"backendRefs": rule} for rule in rules]
    return {"metadata": {**meta, **more.pop("metadata", {})}, "spec": {"rules": written}, **more}


def rule(index: int, *backends: tuple[str, int], name: str = "") -> RuleWeights:
    return RuleWeights(index=index, name=name, backends=tuple(Backend(service=s, weight=w) for s, w in backends))


def target(*rules: RuleWeights) -> RouteWeights:
    return RouteWeights(name="web", rules=rules)


def patched(raw: Raw, patch: list[Raw]) -> Raw:
    applied: Raw = jsonpatch.JsonPatch(patch).apply(copy.deepcopy(raw))
    return applied


# ---- reading -----------------------------------------------------------------------------------------


def test_reads_every_rule_and_backend_in_order() -> None:
    raw = route(
        {"name": "main", "backendRefs": [ref("old", 90), ref("new", 10), ref("canary")]},
        {"matches": [{"path": {"value": "/x"}}]},
        [
            ref("old", 1, namespace="shop", kind="Service", group=""),
            ref("old", 2, namespace="other"),
            ref("old", 3, kind="TraefikService", group="traefik.io"),
        ],
    )
    first = rule(0, ("old", 90), ("new", 10), ("canary", 1), name="main")
    *written, last = first.backends
    assert view(raw).rules == (
        first.with_backends((*written, last.model_copy(update={"missing": True}))),
        rule(1),
        rule(2, ("old", 1), ("Service/other/old", 2), ("TraefikService/shop/old", 3)),
    )


def test_reads_our_marks() -> None:
    bare = view(route())
    assert (bare.annotated, bare.seq, bare.undo_annotation, bare.deleting) == (False, "", "", False)
    marked = view(route(annotations={SEQ: "12", REVERT: "kubectl ..."}, metadata={"deletionTimestamp": "now"}))
    assert (marked.annotated, marked.seq, marked.undo_annotation, marked.deleting) == (True, "12", "kubectl ...", True)
    assert view(route(annotations={})).annotated


def condition(kind: str, status: str, seen: int = 3, reason: str = "", message: str = "") -> Raw:
    return {"type": kind, "status": status, "observedGeneration": seen, "reason": reason, "message": message}


YES = [condition("Accepted", "True"), condition("ResolvedRefs", "True")]
NO = [condition("Accepted", "False", reason="NotAllowedByListeners", message="no listener"), YES[1]]
UNRESOLVED = [YES[0], condition("ResolvedRefs", "False", reason="BackendNotFound", message="Service new")]
STALE = [condition("Accepted", "True", seen=2), condition("ResolvedRefs", "False", seen=2)]


@pytest.mark.parametrize(
    ("parents", "accepted", "why"),
    [
        ([], None, "no gateway has answered for this route yet"),
        ([YES], True, ""),
        ([YES, YES], True, ""),
        ([[YES[0]]], True, ""),
        ([NO], False, "NotAllowedByListeners: no listener"),
        ([YES, NO], False, "NotAllowedByListeners: no listener"),
        ([STALE, NO], False, "NotAllowedByListeners: no listener"),
        ([UNRESOLVED], False, "BackendNotFound: Service new"),
        ([[condition("Accepted", "False")]], False, "Accepted"),
        ([STALE], None, ""),
        ([YES, STALE], None, ""),
        ([[]], None, ""),
        ([[condition("Accepted", "Unknown")]], None, ""),
    ],
)
def test_accepted_as_every_parent_says_at_this_generation(
    parents: list[list[Raw]], accepted: bool | None, why: str
) -> None:
    seen = view(route(status={"parents": [{"conditions": conditions} for conditions in parents]}))
    assert (seen.accepted, seen.accepted_why) == (accepted, why)


def parent(name: str = "edge", **more: Any) -> Raw:
    return {"name": name, **more}


def says(ref: Raw, *conditions: Raw, by: str = "example.net/gateway") -> Raw:
    """What a controller says in the status for a parent."""
    return {"parentRef": ref, "controllerName": by, "conditions": list(conditions)}


EDGE, MESH = parent(), parent("web", group="", kind="Service", port=80)
HTTP, HTTPS = parent(sectionName="http"), parent(sectionName="https")
FULL = parent(group="gateway.networking.k8s.io", kind="Gateway", namespace="shop")
MISSED = "Gateway shop/edge has not accepted generation 3"
NOT_ALLOWED = "NotAllowedByListeners: no listener"
UNDATED = [{"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "False"}]
PARTIAL = condition("PartiallyInvalid", "True", reason="UnsupportedValue", message="Dropped Rule(s) 0")
UNKNOWN = condition("Accepted", "Unknown", reason="Pending", message="waits for its listeners")


# fmt: off
PARENTS = [
    pytest.param([EDGE], [says(EDGE, *YES)], True, "", id="the one parent accepts"),
    pytest.param([EDGE], [], None, MISSED, id="nobody has answered"),
    pytest.param([EDGE, parent("inner")], [says(EDGE, *YES)], None,
                 "Gateway shop/inner has not accepted generation 3", id="one of two has answered"),
    pytest.param([EDGE, parent("inner", namespace="net", sectionName="a", port=8080)], [], None,
                 f"{MISSED}; Gateway net/inner section a port 8080 has not accepted generation 3",
                 id="each that has not answered is named"),
    pytest.param([EDGE, parent("inner")], [says(EDGE, *YES), says(parent("inner"), *YES)], True, "",
                 id="both accept"),
    pytest.param([EDGE, parent("inner")], [says(EDGE, *YES), says(parent("inner"), *NO)], False, NOT_ALLOWED,
                 id="one of two refuses"),
    pytest.param([parent("inner"), EDGE], [says(EDGE, *NO)], False, NOT_ALLOWED,
                 id="a refusal is heard before all have answered"),
    # What is left of others.
    pytest.param([EDGE], [says(EDGE, *YES), says(parent("gone"), *STALE)], True, "",
                 id="an old answer for a parent that is no longer in the spec"),
    pytest.param([EDGE], [says(parent("gone"), *NO), says(EDGE, *YES)], True, "",
                 id="a refusal for a parent that is no longer in the spec"),
    pytest.param([EDGE], [says(parent("gone"), *YES)], None, MISSED,
                 id="an answer for another parent is none for this one"),
    pytest.param([EDGE], [says(EDGE, *STALE)], None, f"{MISSED} (it answered for generation 2)",
                 id="an answer for the generation before"),
    pytest.param([EDGE], [says(EDGE, *STALE, by="old"), says(EDGE, *YES)], True, "",
                 id="two controllers, one of them long gone"),
    pytest.param([EDGE], [says(EDGE, *YES), says(EDGE, *YES, by="other")], True, "", id="two controllers accept"),
    pytest.param([EDGE], [says(EDGE, *YES), says(EDGE, *NO, by="other")], False, NOT_ALLOWED,
                 id="two controllers, one of them refuses"),
    pytest.param([EDGE], [says(EDGE, UNKNOWN), says(EDGE, *STALE, by="old")], None,
                 f"{MISSED} (Pending: waits for its listeners, it answered for generation 2)",
                 id="two controllers, and neither knows"),
    # Who is meant.
    pytest.param([EDGE], [says(FULL, *YES)], True, "", id="the answer spells the defaults out"),
    pytest.param([FULL], [says(EDGE, *YES)], True, "", id="the spec spells the defaults out"),
    pytest.param([parent(group=None, kind=None, namespace=None, sectionName=None, port=None)], [says(EDGE, *YES)],
                 True, "", id="null is the default"),
    pytest.param([EDGE], [says(parent(namespace="net"), *YES)], None, MISSED,
                 id="a gateway of that name in another namespace"),
    pytest.param([EDGE], [says(parent(kind="Service", group=""), *YES)], None, MISSED, id="a Service of that name"),
    pytest.param([EDGE], [says(parent(group="example.net"), *YES)], None, MISSED, id="another group's Gateway"),
    pytest.param([MESH], [says(MESH, *YES)], True, "", id="a mesh"),
    pytest.param([MESH], [says({**MESH, "group": "core"}, *YES)], True, "", id="a mesh that spells the core group"),
    pytest.param([MESH], [], None, "Service shop/web port 80 has not accepted generation 3", id="no mesh"),
    pytest.param([HTTP, HTTPS], [says(HTTP, *YES), says(HTTPS, *YES)], True, "", id="two sections"),
    pytest.param([HTTP, HTTPS], [says(HTTP, *YES)], None,
                 "Gateway shop/edge section https has not accepted generation 3", id="one of two sections"),
    pytest.param([HTTP, HTTPS], [says(HTTP, *YES), says(HTTPS, *NO)], False, NOT_ALLOWED, id="a section refuses"),
    pytest.param([HTTP, HTTPS], [says(EDGE, *YES)], True, "", id="a controller answers for the gateway alone"),
    pytest.param([parent(port=80)], [says(EDGE, *NO)], False, NOT_ALLOWED, id="and refuses for the gateway alone"),
    pytest.param([EDGE], [says(HTTP, *YES), says(HTTPS, *YES)], True, "", id="a controller answers for each section"),
    pytest.param([EDGE, HTTPS], [says(HTTPS, *YES)], None, MISSED,
                 id="an answer for a section that the spec names is for that alone"),
    # What conditions say.
    pytest.param([EDGE], [says(EDGE, YES[0])], True, "", id="nothing is said of the backends"),
    pytest.param([EDGE], [says(EDGE, *UNRESOLVED)], False, "BackendNotFound: Service new", id="a backend is not found"),
    pytest.param([EDGE], [says(EDGE, YES[0]), says(EDGE, UNRESOLVED[1], by="other")], False,
                 "BackendNotFound: Service new", id="a backend is not found by one of two"),
    pytest.param([EDGE], [says(EDGE, YES[1])], None, MISSED, id="backends alone are no answer"),
    pytest.param([EDGE], [says(EDGE, YES[0], condition("ResolvedRefs", "False", seen=2))], True, "",
                 id="a backend that was not found in the generation before"),
    pytest.param([EDGE], [says(EDGE, UNKNOWN)], None, f"{MISSED} (Pending: waits for its listeners)", id="unknown"),
    pytest.param([EDGE], [says(EDGE, *UNDATED)], False, "ResolvedRefs", id="a refusal that names no generation"),
    pytest.param([EDGE], [says(EDGE, UNDATED[0])], True, "", id="no generation is named"),
    pytest.param([EDGE], [says(EDGE, condition("Accepted", "True", seen=0))], True, "", id="generation 0 is none"),
    pytest.param([EDGE], [says(EDGE, condition("Accepted", "True", seen=123))], True, "",
                 id="a constant that the route has not come to is none"),
    pytest.param([EDGE], [says(EDGE, UNDATED[0], by="old"), says(EDGE, *STALE)], None,
                 f"{MISSED} (it answered for generation 2)", id="who names generations speaks for who names none"),
    pytest.param([EDGE], [says(EDGE, *YES, PARTIAL)], False, "UnsupportedValue: Dropped Rule(s) 0",
                 id="a part of it was dropped"),
    pytest.param([EDGE], [says(EDGE, *YES, {**PARTIAL, "message": "Fall Back to generation 2"})], False,
                 "UnsupportedValue: Fall Back to generation 2", id="an earlier generation is served instead"),
    pytest.param([EDGE], [says(EDGE, *YES, {**PARTIAL, "status": "False"})], True, "", id="nothing was dropped"),
    pytest.param([EDGE], [says(EDGE, *YES, {**PARTIAL, "observedGeneration": 2})], True, "",
                 id="a part of the generation before was dropped"),
    # What is odd.
    pytest.param("edge", [says(EDGE, *YES)], True, "", id="parents that are no list are none"),
    pytest.param(["edge", EDGE], [says(EDGE, *YES)], True, "", id="a parent that is no object is none"),
    pytest.param([EDGE, EDGE], [says(EDGE, *YES)], True, "", id="a parent that is named twice"),
    pytest.param([EDGE], "yes", None, MISSED, id="answers that are no list are none"),
    pytest.param([EDGE], ["yes", None, {}, {"parentRef": [], "conditions": {}}], None, MISSED, id="odd answers"),
    pytest.param([EDGE], [says(EDGE, *YES, {"type": ["Accepted"]})], True, "", id="an odd condition"),
    pytest.param([{"name": ["edge"], "port": "80", "group": 1}], [], None,
                 "Gateway shop/ has not accepted generation 3", id="an odd parent has no answer"),
]
# fmt: on


@pytest.mark.parametrize(("refs", "status", "accepted", "why"), PARENTS)
def test_accepted_as_every_parent_that_the_spec_names(refs: Any, status: Any, accepted: bool | None, why: str) -> None:
    raw = route(status={"parents": status})
    raw["spec"]["parentRefs"] = refs
    seen = view(raw)
    assert (seen.accepted, seen.accepted_why) == (accepted, why)


def wrote(manager: str, time: str, operation: str = "Update", what: str = "rules", **more: Any) -> Raw:
    fields: Raw = {"f:spec": {f"f:{what}": {}}}
    return {"manager": manager, "operation": operation, "time": time, "fieldsV1": fields, **more}


@pytest.mark.parametrize(
    ("entries", "by"),
    [
        ([], ""),
        ([wrote("argocd", "2026-01-01T00:00:01Z", "Apply")], "argocd (Apply) at 2026-01-01T00:00:01Z"),
        (
            [wrote("kubectl", "2026-01-01T00:00:02Z"), wrote("rolloutplan", "2026-01-01T00:00:01Z")],
            "kubectl (Update) at 2026-01-01T00:00:02Z",
        ),
        (
            [
                wrote("kubectl", "2026-01-01T00:00:01Z"),
                wrote("traefik", "2026-01-01T00:00:09Z", what="parentRefs", subresource="status"),
                wrote("annotator", "2026-01-01T00:00:08Z", what="parentRefs"),
            ],
            "kubectl (Update) at 2026-01-01T00:00:01Z",
        ),
        ([wrote("annotator", "2026-01-01T00:00:08Z", what="parentRefs")], "annotator (Update) at 2026-01-01T00:00:08Z"),
        (
            [
                wrote("argocd", "2026-01-01T00:00:01Z", "Apply", what="hostnames"),
                wrote("rolloutplan", "2026-01-01T00:00:01Z"),
            ],
            "rolloutplan (Update) at 2026-01-01T00:00:01Z",
        ),
        ([{"operation": "Update"}], "unknown (Update) at unknown"),
    ],
)
def test_who_moved_it(entries: list[Raw], by: str) -> None:
    assert view(route(metadata={"managedFields": entries})).moved_by == by


APPLIED = {LAST_APPLIED: json.dumps({"spec": {"rules": [{"backendRefs": [ref("old", 1), ref("new", 0)]}]}})}
KEEPS_IT: Raw = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}}
AT = "2026-01-01T00:00:01Z"


@pytest.mark.parametrize(
    ("entries", "annotations", "found"),
    [
        ([wrote("argocd-controller", AT, "Apply")], {}, []),
        ([wrote("argocd-controller", AT, "Apply", what="parentRefs")], {},
         [("argocd-controller (Apply) at 2026-01-01T00:00:01Z", None, True)]),
        ([wrote("kubectl", AT, "Apply", what="parentRefs")], {},
         [("kubectl (Apply) at 2026-01-01T00:00:01Z", None, False)]),
        ([wrote("helm", AT, what="parentRefs")], {}, []),
        ([wrote("kustomize-controller", AT, "Apply", what="parentRefs", subresource="status")], {}, []),
        ([{"manager": "kyverno", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {}}}}], {}, []),
        ([wrote("kustomize-controller", AT, "Apply", what="parentRefs")],
         {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"},
         [("kustomize-controller (Apply) at 2026-01-01T00:00:01Z", None, False)]),
        ([{"manager": "argocd-controller", "time": AT, "fieldsV1": KEEPS_IT}], APPLIED,
         [("argocd-controller (Update) at 2026-01-01T00:00:01Z", (rule(0, ("old", 1), ("new", 0)),), True)]),
        ([], APPLIED, [("kubectl-client-side-apply (Update) at unknown", (rule(0, ("old", 1), ("new", 0)),), False)]),
        ([], {LAST_APPLIED: "[]"}, [("kubectl-client-side-apply (Update) at unknown", (), False)]),
        ([], {LAST_APPLIED: "no JSON"}, []),
        ([], {LAST_APPLIED: "[" * 100_000}, []),
        (["no entry", {"operation": "Apply", "fieldsV1": "none"}], {}, []),
    ],
)  # fmt: skip
def test_who_applied_other_rules(entries: list[Any], annotations: Raw, found: list[Any]) -> None:
    seen = view(route(metadata={"managedFields": entries}, annotations=annotations)).appliers
    assert [(each.name, each.rules, each.syncs) for each in seen] == found


@pytest.mark.parametrize(
    ("parents", "said", "before", "undated"),
    [
        ([EDGE], [says(EDGE, *YES)], False, ""),
        ([EDGE], [says(EDGE, condition("Accepted", "True", seen=2))], True, ""),
        ([EDGE], [says(EDGE, *STALE)], False, ""),
        ([EDGE, parent("inner")], [says(EDGE, condition("Accepted", "True", seen=2))], False, ""),
        (
            [EDGE, parent("inner")],
            [says(EDGE, YES[0]), says(parent("inner"), condition("Accepted", "True", 1))],
            True,
            "",
        ),
        ([EDGE, parent("inner")], [says(EDGE, UNDATED[0]), says(parent("inner"), *YES)], False, "Gateway shop/edge"),
    ],
)
def test_what_was_said_of_an_earlier_generation_or_of_none(
    parents: list[Raw], said: list[Raw], before: bool, undated: str
) -> None:
    raw = route(status={"parents": said})
    raw["spec"]["parentRefs"] = parents
    assert (view(raw).accepted_before, view(raw).undated) == (before, undated)


def test_hundreds_of_parents_are_read_at_once_and_told_in_short() -> None:
    sections = [parent(sectionName=f"s{number}") for number in range(800)]
    raw = route(status={"parents": [says(each, *YES) for each in sections[:400]]})
    raw["spec"]["parentRefs"] = sections
    began = time.process_time()
    seen = view(raw)
    assert time.process_time() - began < 1
    assert (seen.accepted, seen.accepted_why.endswith("; and 397 more")) == (None, True)
    assert len(seen.accepted_why) < 400


@pytest.mark.parametrize(
    ("meta", "at"),
    [
        ({}, None),
        ({"creationTimestamp": "2026-03-01T09:00:00Z"}, "2026-03-01T09:00:00+00:00"),
        ({"creationTimestamp": "yesterday"}, None),
        ({"creationTimestamp": "2026-03-01T09:00:00"}, None),
        ({"creationTimestamp": "2026-03-01T09:00:00Z", "managedFields": [
            {"time": "2026-03-01T10:00:00Z", "fieldsV1": {"f:spec": {"f:rules": {}}}},
            {"time": "2026-03-01T11:00:00Z", "fieldsV1": {"f:metadata": {}}},
            {"time": "2026-03-01T12:00:00Z", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]}, "2026-03-01T10:00:00+00:00"),
    ],
)  # fmt: skip
def test_when_its_spec_was_changed_last(meta: Raw, at: str | None) -> None:
    seen = view(route(metadata=meta)).changed_at
    assert (seen and seen.isoformat()) == at


def test_rules_with_sticky_sessions() -> None:
    sticky = {"sessionPersistence": {"type": "Cookie"}, "backendRefs": [ref("old", 1)]}
    assert view(route([ref("old", 1)], sticky, {"sessionPersistence": {}})).sticky == {1}


# ---- finding a rule again ----------------------------------------------------------------------------

PAIR = (("old", 1), ("new", 2))


@pytest.mark.parametrize(
    ("rules", "wanted", "index"),
    [
        ([rule(0, *PAIR)], rule(0, *PAIR), 0),
        ([rule(0, *PAIR, name="b"), rule(1, *PAIR, name="a")], rule(0, *PAIR, name="a"), 1),  # by name
        ([rule(0, ("x", 1), name="a"), rule(1, *PAIR)], rule(0, *PAIR, name="a"), None),  # its rule has lost the sides
        ([rule(0, ("x", 1), name="b"), rule(1, *PAIR)], rule(0, *PAIR, name="a"), 1),  # the name is gone
        ([rule(0, *PAIR), rule(1, *PAIR)], rule(1, *PAIR), 1),  # by place
        ([rule(0, ("x", 1)), rule(1, *PAIR)], rule(0, *PAIR), 1),  # the only one that fits
        ([rule(0, ("x", 1)), rule(1, *PAIR), rule(2, *PAIR)], rule(0, *PAIR), None),  # two fit, neither in its place
        ([rule(0, ("old", 1))], rule(0, *PAIR), None),
        ([rule(0, *PAIR, ("third", 3))], rule(0, *PAIR), 0),
        ([], rule(0, *PAIR), None),
    ],
)
def test_locate(rules: list[RuleWeights], wanted: RuleWeights, index: int | None) -> None:
    raw = route(*({"name": r.name, "backendRefs": [ref(b.service, b.weight) for b in r.backends]} for r in rules))
    found = locate(view(raw), wanted)
    assert (found.index if found else None) == index


def test_locate_needs_only_the_sides() -> None:
    raw = route([ref("old", 1), ref("new", 2)])
    snapshot = rule(0, *PAIR, ("third", 3))
    assert locate(view(raw), snapshot) is None
    assert locate(view(raw), snapshot, ("old", "new")) == view(raw).rules[0]


# ---- writing -----------------------------------------------------------------------------------------


def test_the_patch_tests_all_that_it_relies_on() -> None:
    raw = route({"name": "main", "backendRefs": [ref("old", 100), ref("x", 5), ref("new", 0)]}, annotations={SEQ: "1"})
    wanted = target(rule(0, ("old", 95), ("x", 5), ("new", 5), name="main"))
    assert KIND.patch(view(raw), wanted, token="2", undo="kubectl x") == [
        {"op": "test", "path": "/metadata/annotations/rolloutplan.dev~1seq", "value": "1"},
        {"op": "test", "path": "/spec/rules/0/name", "value": "main"},
        {"op": "test", "path": "/spec/rules/0/backendRefs/0", "value": ref("old", 100)},
        {"op": "test", "path": "/spec/rules/0/backendRefs/1", "value": ref("x", 5)},
        {"op": "test", "path": "/spec/rules/0/backendRefs/2", "value": ref("new", 0)},
        {"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 95},
        {"op": "add", "path": "/spec/rules/0/backendRefs/2/weight", "value": 5},
        {"op": "add", "path": "/metadata/annotations/rolloutplan.dev~1seq", "value": "2"},
        {"op": "add", "path": "/metadata/annotations/rolloutplan.dev~1revert", "value": "kubectl x"},
    ]


def test_a_first_mark_makes_the_map() -> None:
    raw = route([ref("old", 1), ref("new", 0)])
    patch = KIND.patch(view(raw), target(rule(0, ("old", 1), ("new", 0))), token="1", undo="")
    assert [operation for operation in patch if operation["op"] != "test"] == [
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/rolloutplan.dev~1seq", "value": "1"},
    ]


def test_a_route_without_a_fence_must_not_have_changed_at_all() -> None:
    raw = route([ref("old", 1), ref("new", 0)])
    raw["metadata"]["resourceVersion"] = "7"
    patch = KIND.patch(view(raw), target(rule(0, ("old", 0), ("new", 1))), token="1", undo="")
    raw["metadata"]["resourceVersion"] = "8"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(raw, patch)


def test_the_breadcrumb_is_taken_away_only_where_it_is() -> None:
    wanted = target(rule(0, ("old", 1), ("new", 0)))
    marked = route([ref("old", 1), ref("new", 0)], annotations={SEQ: "1", REVERT: "x", "a": "b"})
    after = patched(marked, KIND.patch(view(marked), wanted, token="2", undo=""))
    assert after["metadata"]["annotations"] == {SEQ: "2", "a": "b"}
    assert KIND.patch(view(after), wanted, token="2", undo="") == []


CHANGES = {
    "another weight": lambda raw: raw["spec"]["rules"][0]["backendRefs"][0].update(weight=7),
    "another backend": lambda raw: raw["spec"]["rules"][0]["backendRefs"][2].update(name="y"),
    "another order": lambda raw: raw["spec"]["rules"][0]["backendRefs"].reverse(),
    "another rule": lambda raw: raw["spec"]["rules"][0].update(name="other"),
    "a rule before it": lambda raw: raw["spec"]["rules"].insert(0, {"backendRefs": [ref("a", 1)]}),
    "another leader": lambda raw: raw["metadata"]["annotations"].update({SEQ: "9"}),
    "no fence any more": lambda raw: raw["metadata"]["annotations"].pop(SEQ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_route_that_changed_refuses_the_whole_patch(change: str) -> None:
    raw = route({"name": "main", "backendRefs": [ref("old", 100), ref("new", 0), ref("x", 5)]}, annotations={SEQ: "1"})
    wanted = target(rule(0, ("old", 50), ("new", 50), ("x", 5), name="main"))
    patch = KIND.patch(view(raw), wanted, token="2", undo="r")
    changed = copy.deepcopy(raw)
    CHANGES[change](changed)
    with pytest.raises(jsonpatch.JsonPatchException):
        patched(changed, patch)


@pytest.mark.parametrize(
    "rules", [[[ref("old", 1)]], [[ref("old", 1), ref("new", 1)]], [[ref("old", 1), ref("new", 1, namespace="else")]]]
)
def test_what_is_gone_is_named(rules: list[list[Raw]]) -> None:
    wanted = target(rule(0, ("old", 1), ("new", 2), ("new", 3), name="main"))
    with pytest.raises(LookupError, match=r"HTTPRoute web: rule main (is no longer there|no longer holds new)"):
        KIND.patch(view(route(*rules)), wanted, token="1", undo="")


weights = st.integers(0, 1_000_000)
services = st.sampled_from(["old", "new", "a", "b", "c"])


@st.composite
def routes(draw: st.DrawFn) -> Raw:
    """Routes with rules of distinct backends, some of them not Services of this namespace."""
    rules = []
    for index in range(draw(st.integers(1, 4))):
        names = draw(st.lists(services, min_size=1, max_size=5, unique=True))
        backends = [ref(name, draw(weights)) for name in names]
        if draw(st.booleans()):
            backends.insert(draw(st.integers(0, len(backends))), ref("old", draw(weights), namespace="elsewhere"))
        named = {"name": f"r{index}"} if draw(st.booleans()) else {}
        rules.append({**named, "backendRefs": backends, "matches": [{"path": {"value": f"/{index}"}}]})
    marks = draw(st.dictionaries(st.sampled_from([SEQ, REVERT, "a/b~c"]), st.text("xy", min_size=1), max_size=3))
    return route(*rules, annotations=draw(st.sampled_from([None, marks])))


@given(routes(), st.data(), st.sampled_from(["", "kubectl -n 'shop' ..."]))
def test_what_is_written_is_what_was_meant(raw: Raw, data: st.DataObject, undo: str) -> None:
    before = view(raw)
    some = [before.rules[index] for index in sorted(data.draw(st.sets(st.integers(0, len(before.rules) - 1))))]
    new = [
        r.model_copy(
            update={"backends": tuple(b.model_copy(update={"weight": data.draw(weights)}) for b in r.backends)}
        )
        for r in some
    ]
    wanted = target(*new)
    patch = KIND.patch(before, wanted, token="77", undo=undo)
    result = patched(raw, patch)
    after = view(result)

    assert {r.index: r for r in after.rules} == {r.index: r for r in (*before.rules, *new)}
    assert (after.seq, after.undo_annotation) == ("77", undo)
    assert KIND.patch(after, wanted, token="77", undo=undo) == []
    assert _without_ours(result) == _without_ours(raw)


def _without_ours(raw: Raw) -> Raw:
    """A route without what we may write."""
    raw = copy.deepcopy(raw)
    annotations = raw["metadata"].pop("annotations", None) or {}
    raw["metadata"]["annotations"] = {k: v for k, v in annotations.items() if k not in (SEQ, REVERT)}
    for written in raw["spec"]["rules"]:
        for backend in written["backendRefs"]:
            del backend["weight"]
    return raw


# ---- the command -------------------------------------------------------------------------------------


def command_patch(command: str) -> list[Raw]:
    """The patch as kubectl gets it from a POSIX shell."""
    said = subprocess.run(
        ["sh", "-c", command.replace("kubectl", "printf '%s\\n'", 1)], capture_output=True, check=True
    )
    words = said.stdout.decode().splitlines()
    assert words[:-1] == ["-n", "shop", "patch", "httproutes.gateway.networking.k8s.io", "web", "--type=json", "-p"]
    patch: list[Raw] = json.loads(words[-1])
    return patch


def test_the_revert_command_survives_a_shell_and_puts_the_snapshot_back() -> None:
    raw = route(
        {"name": "it's", "backendRefs": [ref("old", 90), ref("new", 10), ref("c", 4, namespace="e")]},
        [ref("z", 3)],
        [ref("old", 1), ref("new", 0)],
    )
    snapshot = target(view(raw).rules[0], view(raw).rules[2])
    command = KIND.undo_command("shop", snapshot)
    moved = copy.deepcopy(raw)
    for written in (moved["spec"]["rules"][0], moved["spec"]["rules"][2]):
        for backend in written["backendRefs"]:
            backend["weight"] = 55
    assert patched(moved, command_patch(command)) == raw
    moved["spec"]["rules"][0]["backendRefs"].reverse()
    with pytest.raises(jsonpatch.JsonPatchException):
        patched(moved, command_patch(command))


def test_the_revert_command_is_one_line_that_a_person_can_read() -> None:
    command = KIND.undo_command("shop", target(rule(0, ("old", 100), ("new", 0))))
    assert command == (
        "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p '["
        '{"op":"test","path":"/spec/rules/0/backendRefs/0/name","value":"old"},'
        '{"op":"test","path":"/spec/rules/0/backendRefs/1/name","value":"new"},'
        '{"op":"add","path":"/spec/rules/0/backendRefs/0/weight","value":100},'
        '{"op":"add","path":"/spec/rules/0/backendRefs/1/weight","value":0}'
        "]'"
    )
    assert shlex.split(command)[:2] == ["kubectl", "-n"]
