"""Plans: reading them, and writing no more than what differs."""

import asyncio
import copy
from datetime import UTC, datetime
from typing import Any, cast

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.command import ANNOTATION
from rolloutplan.api.status import StageStatus, Weights, read_status
from rolloutplan.api.status_patch import merge_patch, status_patch
from rolloutplan.cluster import plans
from rolloutplan.cluster.client import Api
from rolloutplan.engine.model.plan_view import NeedsTemplates, Unreadable
from rolloutplan.engine.model.snapshot import FINALIZER, REVERT

Raw = dict[str, Any]

SPEC: Raw = {
    "old": {"deployment": "v1"},
    "new": {"deployment": "v2"},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "web"}]},
    "guards": [{"name": "errors", "query": "up", "is": "> 0"}],
    "stages": [{"weight": "50%"}, {"weight": "100%"}],
}


def plan(spec: Any = SPEC, **meta: Any) -> Raw:
    base = {
        "namespace": "shop",
        "name": "checkout",
        "uid": "0a1b2c3d-1",
        "generation": 4,
        "resourceVersion": "41",
        "creationTimestamp": "2026-11-22T01:02:03Z",
    }
    return {"metadata": {**base, **meta}, **({} if spec is None else {"spec": spec})}


def test_reads_a_plan() -> None:
    marks = {"finalizers": ["a/b", FINALIZER], "annotations": {REVERT: "kubectl ..."}}
    seen = plans.view(plan(deletionTimestamp="2026-11-22T02:00:00Z", **marks))
    assert (seen.key, seen.uid, seen.generation, seen.problem) == ("shop/checkout", "0a1b2c3d-1", 4, "")
    assert seen.spec is not None
    assert seen.created == datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
    assert seen.deleting == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert (seen.finalizer, seen.undo_annotation) == (True, "kubectl ...")


def commanded(command: str, *answered: str) -> Raw:
    annotations = {ANNOTATION: command} if command else {}
    return {**plan(annotations=annotations), "status": {"tokens": [*answered]}}


def test_a_command_that_another_took_the_place_of_is_known_until_it_is_answered() -> None:
    """Also where the other one is taken away: who remembered it for ever would answer it again in the end."""
    seen = plans.view(commanded("pause one"))
    seen = plans.view(commanded("resume two"), seen)
    assert seen.replaced == (("pause one", ""),)
    seen = plans.view(commanded(""), seen)
    assert seen.replaced == (("pause one", ""),)
    seen = plans.view(commanded("", "one", "two"), seen)
    assert seen.replaced == ()


def test_reads_a_bare_plan() -> None:
    seen = plans.view(plan(finalizers=None, annotations=None))
    assert (seen.deleting, seen.finalizer, seen.undo_annotation) == (None, False, "")


def test_a_plan_that_was_edited_into_what_cannot_be_read_stays_what_it_was() -> None:
    good = plans.view(plan())
    edited = plans.view(plan({**SPEC, "typo": 1}, generation=5), good)
    assert edited.spec is good.spec
    assert not edited.readable
    assert "spec.typo" in edited.problem
    again = plans.view(plan({**SPEC, "typo": 2}, generation=6), edited)
    assert again.spec is good.spec, "however often"
    mended = plans.view(plan({**SPEC, "interval": "20s"}, generation=7), again)
    assert mended.readable
    assert mended.spec is not good.spec
    other = plans.view(plan({**SPEC, "typo": 1}, uid="another"), good)
    assert other.spec is None, "one of the same name is another plan"


def test_a_plan_with_references_has_no_spec_before_its_templates_are_looked_up() -> None:
    refers = {**SPEC, "guards": [{"name": "errors", "template": "success-rate"}]}
    seen = plans.view(plan(refers))
    assert isinstance(seen.content, NeedsTemplates)
    assert (seen.spec, seen.written, seen.readable, seen.problem) == (None, seen.content.written, False, "")
    edited = plans.view(plan({**refers, "typo": 1}, generation=5), seen)
    assert edited.content == Unreadable(edited.problem), "nothing was ever judged by it"
    assert edited.written is None


def test_who_wrote_its_spec_last() -> None:
    def owner(manager: str, at: str, *fields: str) -> Raw:
        return {"manager": manager, "time": f"2026-11-22T0{at}:00:00Z", "fieldsV1": {field: {} for field in fields}}

    writers = [owner("argocd", "1", "f:spec"), owner("kubectl-edit", "2", "f:spec"), owner("rolloutplan", "3")]
    assert plans.view(plan(managedFields=writers)).edited_by == "kubectl-edit"
    assert plans.view(plan()).edited_by == ""


def approval(**more: str) -> Raw:
    field: Raw = {"f:metadata": {"f:annotations": {"f:rolloutplan.dev/command": {}}}}
    owner = {"manager": "security-team", "time": "2026-11-22T01:00:00Z", "fieldsV1": field}
    return plan(annotations={"rolloutplan.dev/command": "approve a1", **more}, managedFields=[owner])


@pytest.mark.parametrize(
    ("raw", "authenticated", "by"),
    [
        (approval(), False, "security-team (self-declared)"),
        (approval(**{"rolloutplan.dev/command-by": "ann"}), False, "security-team (self-declared)"),
        (approval(**{"rolloutplan.dev/command-by": "ann"}), True, "ann"),
        (approval(**{"rolloutplan.dev/command-by": "a" * 999}), True, "a" * 253),
        (approval(), True, "security-team (self-declared)"),
        (plan(annotations={"rolloutplan.dev/command-by": "ann"}), True, ""),
        (plan(annotations={"rolloutplan.dev/command": "pause p1"}), False, ""),
    ],
)
def test_who_wrote_a_command_is_certain_only_where_an_admission_policy_checks_it(
    raw: Raw, authenticated: bool, by: str
) -> None:
    assert plans.view(raw, authenticated=authenticated).command_by == by


@pytest.mark.parametrize(
    ("spec", "words"),
    [(None, "spec: required"), ("text", "spec: required"), ({}, "spec.old"), ({**SPEC, "typo": 1}, "spec.typo")],
)
def test_a_spec_that_cannot_be_read_says_why(spec: Any, words: str) -> None:
    seen = plans.view(plan(spec))
    assert seen.spec is None
    assert words in seen.problem


# ---- merge patches -----------------------------------------------------------------------------------

leaves = st.one_of(st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2))
keys = st.sampled_from("abc")
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=10
)
objects = st.dictionaries(keys, values, max_size=3)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(objects, objects)
def test_a_merge_patch_leads_from_one_to_the_other(before: Raw, after: Raw) -> None:
    assert merged(before, merge_patch(before, after)) == after
    assert merge_patch(after, after) == {}


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"a": {"c": 3}}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, {"a": [1, 2, 3]}),
        ({"a": None}, {}, {}),
        ({}, {"a": {}}, {"a": {}}),
    ],
)
def test_a_merge_patch_holds_the_difference(before: Raw, after: Raw, patch: Raw) -> None:
    assert merge_patch(before, after) == patch


class Recorder:
    """Takes the place of Api.patch."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, str]] = []

    async def patch(self, path: str, body: Any, *, kind: str = "merge") -> Raw:
        self.calls.append((path, body, kind))
        return {"after": True}


def test_a_status_is_written_as_a_difference_with_its_precondition() -> None:
    api = Recorder()
    before = {"phase": "Pending", "run": 1, "verdict": ["not", "a", "text"]}
    after = read_status(before).model_copy(update={"run": 2})

    patch = status_patch(before, after)
    seen = plans.view(plan())
    assert asyncio.run(plans.write_status(cast("Api", api), seen, patch)) == {"after": True}
    ((path, body, kind),) = api.calls
    assert path == "/apis/rolloutplan.dev/v1alpha1/namespaces/shop/rolloutplans/checkout/status"
    assert kind == "merge"
    assert body["metadata"] == {"resourceVersion": "41"}
    assert body["status"]["run"] == 2
    assert body["status"]["verdict"] is None, "what cannot be read is put right"
    assert "phase" not in body["status"]
    assert status_patch(after.to_raw(), after) == {}, "nothing differs"


# ---- marks -------------------------------------------------------------------------------------------

OTHERS = {"finalizers": ["a/b", "c/d"], "annotations": {"x/y": "z"}}
OURS = {"finalizers": ["a/b", FINALIZER, "c/d"], "annotations": {"x/y": "z", REVERT: "old"}}


@pytest.mark.parametrize("start", [{}, {"annotations": {}, "finalizers": []}, OTHERS, OURS])
@pytest.mark.parametrize("finalizer", [True, False])
@pytest.mark.parametrize("undo_annotation", ["", "kubectl patch ..."])
def test_marks(start: Raw, finalizer: bool, undo_annotation: str) -> None:
    raw = plan(**copy.deepcopy(start))
    patch = plans.metadata_patch(plans.view(raw), finalizer=finalizer, undo_annotation=undo_annotation)
    marked = jsonpatch.JsonPatch(patch).apply(copy.deepcopy(raw))

    meta, after = raw["metadata"], marked["metadata"]
    had, has = set(meta.get("finalizers", [])), set(after.get("finalizers", []))
    assert has - {FINALIZER} == had - {FINALIZER}
    assert (FINALIZER in has) is finalizer
    was, now = dict(meta.get("annotations", {})), dict(after.get("annotations", {}))
    was.pop(REVERT, "")
    assert now.pop(REVERT, "") == undo_annotation
    assert now == was
    assert plans.metadata_patch(plans.view(marked), finalizer=finalizer, undo_annotation=undo_annotation) == []
    if patch:
        assert patch[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "41"}


def test_nothing_to_mark_is_no_request() -> None:
    api = Recorder()
    seen = plans.view(plan())
    assert asyncio.run(plans.patch_metadata(cast("Api", api), seen, finalizer=False, undo_annotation="")) is None
    assert api.calls == []
    assert asyncio.run(plans.patch_metadata(cast("Api", api), seen, finalizer=True, undo_annotation="")) == {
        "after": True
    }
    assert api.calls[0][0] == "/apis/rolloutplan.dev/v1alpha1/namespaces/shop/rolloutplans/checkout"
    assert api.calls[0][2] == "json"


AT = "2026-03-01T09:00:00.000Z"
OF_A_NEWER_VERSION: Raw = {
    "phase": "Judging",
    "region": {"name": "eu", "empty": {}},
    "weights": {"desired": "5%", "old": "v1", "shadow": {"weight": "1%"}},
    "stage": {"name": "canary", "index": 0, "weight": "5%", "mirrored": True},
    "held": {"reason": "Paused", "since": AT, "backTo": "Judging", "by": ["x"]},
    "publishedThrough": {"events": 3, "webhook": 2},
}


@pytest.mark.parametrize(
    ("changes", "stands"),
    [
        pytest.param({}, OF_A_NEWER_VERSION, id="nothing"),
        pytest.param({"run": 2}, OF_A_NEWER_VERSION | {"run": 2}, id="a field"),
        pytest.param(
            {"weights": Weights(desired="20%")},
            OF_A_NEWER_VERSION | {"weights": {"desired": "20%", "shadow": {"weight": "1%"}}},
            id="fields of a part",
        ),
        pytest.param(
            {"weights": Weights()},
            OF_A_NEWER_VERSION | {"weights": {"shadow": {"weight": "1%"}}},
            id="all that it knows of a part",
        ),
        pytest.param(
            {"stage": StageStatus(name="ramp", index=1)},
            OF_A_NEWER_VERSION | {"stage": {"name": "ramp", "index": 1, "mirrored": True}},
            id="another part in the place of one",
        ),
        pytest.param(
            {"held": None},
            {key: value for key, value in OF_A_NEWER_VERSION.items() if key != "held"},
            id="a part that is over goes with all that is in it",
        ),
    ],
)
def test_what_a_newer_version_wrote_and_this_one_does_not_know_stays(changes: Raw, stands: Raw) -> None:
    """An operator that was rolled back must not take from the newer one what that needs when it comes again."""
    after = read_status(OF_A_NEWER_VERSION).model_copy(update={"seq": 7, **changes})
    always = read_status({}).to_raw()
    assert merged(OF_A_NEWER_VERSION, status_patch(OF_A_NEWER_VERSION, after)) == always | stands | {"seq": 7}


@given(st.dictionaries(st.sampled_from(["later", "alsoLater"]), values, max_size=2), st.integers(0, 9))
def test_unknown_fields_never_differ(unknown: Raw, run: int) -> None:
    raw = read_status({}).model_copy(update={"run": run}).to_raw() | unknown
    assert status_patch(raw, read_status(raw)) == {}
