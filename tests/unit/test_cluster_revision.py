"""Which version a pod template is: what only starts pods again and what nobody wrote makes no other one."""

import copy
from typing import Any

import pytest

from rolloutplan.cluster import workloads
from rolloutplan.engine.model.revision import is_same_version

Raw = dict[str, Any]

CONTAINER: Raw = {"name": "app", "image": "shop:1", "env": [{"name": "MODE", "value": "fast"}], "resources": {}}
ITEM = 'k:{"name":"app"}'
OWNED: Raw = {
    "f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {".": {}, "f:team": {}}},
    "f:spec": {
        "f:containers": {
            ITEM: {
                ".": {},
                "f:name": {},
                "f:image": {},
                "f:env": {".": {}, 'k:{"name":"MODE"}': {".": {}, "f:name": {}, "f:value": {}}},
                "f:resources": {},
            }
        },
        "f:nodeSelector": {},
    },
}


def entry(manager: str, fields: Raw, operation: str = "Update", **more: str) -> Raw:
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:template": fields}}, **more}


def deployment(*entries: Raw) -> Raw:
    template = {
        "metadata": {"labels": {"app": "shop"}, "annotations": {"team": "shop"}},
        "spec": {"containers": [copy.deepcopy(CONTAINER)], "nodeSelector": {"disk": "ssd"}},
    }
    return {"metadata": {"name": "v2", "managedFields": [*entries]}, "spec": {"template": template}}


APPLIED = entry("kubectl-client-side-apply", OWNED)


def changed(raw: Raw, **changes: Any) -> Raw:
    """The Deployment with some of its template set, by a path with __ for dots; `0` is the first item of a list."""
    after = copy.deepcopy(raw)
    for path, value in changes.items():
        *where, last = path.split("__")
        place: Any = after["spec"]["template"]
        for name in where:
            place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
        place[last] = value
    return after


def same(one: Raw, other: Raw) -> bool:
    return is_same_version(workloads.view(one).revision, workloads.view(other).revision)


FIRST = deployment(APPLIED)
ENV = [*CONTAINER["env"], {"name": "STAKATER_SHOP_CONFIGMAP", "value": "8f3a"}]


@pytest.mark.parametrize(
    "mark",
    [
        "kubectl.kubernetes.io/restartedAt",
        "checksum/config",
        "shop.example/checksum-secret",
        "reloader.stakater.com/last-reloaded-from",
        "secret.reloader.stakater.com/reload",
        "wave.pusher.com/config-hash",
        "rollme",
        "deployedAt",
    ],
)
def test_marks_of_a_restart_make_no_other_version(mark: str) -> None:
    restarted = changed(FIRST, metadata__annotations={"team": "shop", mark: "1"})
    again = changed(FIRST, metadata__annotations={"team": "shop", mark: "2"})
    assert same(FIRST, restarted)
    assert same(restarted, again)
    assert same(deployment(), changed(deployment(), metadata__annotations={"team": "shop", mark: "1"}))


def test_the_variable_by_which_reloader_restarts_pods_makes_no_other_version() -> None:
    assert same(FIRST, changed(FIRST, spec__containers__0__env=ENV))
    bare = changed(deployment(), spec__containers=[{"name": "app", "image": "shop:1"}])
    assert same(bare, changed(bare, spec__containers__0__env=ENV[1:]))


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__containers__0__image": "shop:2"},
        {"spec__containers__0__env": [{"name": "MODE", "value": "slow"}]},
        {"spec__containers__0__resources": {"limits": {"cpu": "1"}}},
        {"spec__nodeSelector": {"disk": "hdd"}},
        {"metadata__annotations": {"team": "payments"}},
        {"metadata__labels": {}},
        {"spec__containers": []},
    ],
)
@pytest.mark.parametrize("raw", [FIRST, deployment()])
def test_what_somebody_wrote_makes_another_version(changes: Raw, raw: Raw) -> None:
    assert not same(raw, changed(raw, **changes))


DEFAULTS: Raw = {
    "spec__hostUsers": True,
    "spec__containers__0__restartPolicyRules": [],
    "spec__securityContext": {"supplementalGroupsPolicy": "Merge"},
}


@pytest.mark.parametrize("changes", [{key: value} for key, value in DEFAULTS.items()] + [DEFAULTS])
def test_a_default_that_the_api_server_begins_to_write_makes_no_other_version(changes: Raw) -> None:
    assert same(FIRST, changed(FIRST, **changes))
    assert not same(deployment(), changed(deployment(), **changes)), "nobody knows who wrote it"


def test_what_admission_adds_to_a_server_side_apply_makes_no_other_version() -> None:
    before = deployment(entry("flux", OWNED, "Apply"))
    added = entry("flux", {"f:spec": {"f:hostUsers": {}}})
    after = changed(deployment(entry("flux", OWNED, "Apply"), added), spec__hostUsers=False)
    assert same(before, after)


def test_what_another_manager_adds_makes_another_version() -> None:
    edited = entry("kubectl-edit", {"f:spec": {"f:hostUsers": {}}})
    assert not same(FIRST, changed(deployment(APPLIED, edited), spec__hostUsers=False))


def test_other_owners_of_the_same_template_make_no_other_version() -> None:
    less: Raw = {"f:spec": {"f:containers": {ITEM: {".": {}, "f:image": {}}}}}
    assert same(FIRST, deployment(entry("flux", less, "Apply")))
    assert same(FIRST, deployment(APPLIED, entry("manager", {}, subresource="status")))


def test_what_former_operators_recorded_is_still_known() -> None:
    seen = workloads.view(FIRST).revision
    whole, unmarked, written = seen.split(".")
    assert {len(part) for part in (whole, unmarked, written)} == {16}
    assert is_same_version(whole, seen)
    assert is_same_version(seen, whole)
    assert not is_same_version("", seen)
    assert is_same_version("", "")


@pytest.mark.parametrize(
    "fields",
    [None, [], "x", {"f:spec": "x"}, {"f:spec": {"f:containers": {"k:nonsense": {}, "k:[1]": {}, ITEM: "x"}}}],
)
def test_managed_fields_of_no_known_form_are_no_exception(fields: Any) -> None:
    raw = deployment({"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": fields}}}, None, "x")  # type: ignore[arg-type]
    assert same(raw, copy.deepcopy(raw))
    assert not same(raw, changed(raw, spec__containers__0__image="shop:2"))
