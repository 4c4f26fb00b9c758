"""Every built-in kind of route, on objects as users write them: read, moved, and put back to the byte."""

from __future__ import annotations

import copy
import json
import shlex
from statistics import median
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.snapshot import REVERT, SEQ, RouteView
from rolloutplan.engine.model.weights import holds_both
from rolloutplan.loop.index import receivers
from rolloutplan.traffic.base import Operation
from rolloutplan.traffic.items import bare, short
from rolloutplan.traffic.mentions import words, words_of
from rolloutplan.traffic.undo import UnreadableError
from tests.routers.samples import SAMPLES, Raw, Sample

EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
SHARES = (0, 5, 50, 250, 333, 500, 1000)
"""In permille."""


def patched(raw: Raw, patch: list[Operation]) -> Raw:
    applied: Raw = jsonpatch.JsonPatch(json.loads(json.dumps(patch))).apply(copy.deepcopy(raw))
    return applied


def moved_rules(sample: Sample, view: RouteView) -> list[RuleWeights]:
    """The rules that hold both sides."""
    return [rule for rule in view.rules if holds_both(rule, sample.old, sample.new)]


def target(view: RouteView, *rules: RuleWeights) -> RouteWeights:
    return RouteWeights(kind=view.id.kind, name=view.id.name, rules=rules)


def shifted(sample: Sample, view: RouteView, permille: int) -> RouteWeights:
    """The rules with this share on the new side, in the finest weights that the kind takes."""
    rules = view.weights
    total = (rules.sum or min(1000, rules.max)) * rules.units
    new = (total * permille + 500) // 1000
    weights = {sample.old: total - new, sample.new: new}

    def backend(backend: Backend) -> Backend:
        return backend.model_copy(update={"weight": weights.get(backend.service, backend.weight)})

    return target(view, *(rule.with_backends(tuple(map(backend, rule.backends))) for rule in moved_rules(sample, view)))


def weights_of(route: RouteWeights) -> list[list[tuple[str, int]]]:
    return [[(backend.service, backend.weight) for backend in rule.backends] for rule in route.rules]


def without_ours(raw: Raw) -> Raw:
    """An object without what we write in addition to weights."""
    raw = copy.deepcopy(raw)
    annotations = raw["metadata"].pop("annotations", None) or {}
    raw["metadata"]["annotations"] = {key: value for key, value in annotations.items() if key not in (SEQ, REVERT)}
    return raw


def test_every_kind_has_a_sample() -> None:
    assert SAMPLES.keys() == BUILT_IN.keys()
    assert len(BUILT_IN) >= 30


@EVERY
def test_a_sample_is_in_order(sample: Sample) -> None:
    view = sample.view(sample.object)
    assert not view.faults
    assert moved_rules(sample, view)
    if sample.accepted is not None:
        assert view.accepted is sample.accepted
    assert view.accepted is True or view.accepted_why


@EVERY
@pytest.mark.parametrize("permille", SHARES)
def test_a_share_is_written_read_and_taken_back_to_the_byte(sample: Sample, permille: int) -> None:
    raw = sample.object
    before = sample.view(raw)
    snapshot = target(before, *moved_rules(sample, before))
    wanted = shifted(sample, before, permille)

    after_raw = patched(raw, sample.kind.patch(before, wanted, token="main/1.1.1", undo="kubectl"))
    after = sample.view(after_raw)
    assert weights_of(target(after, *moved_rules(sample, after))) == weights_of(wanted)
    others = {rule.index for rule in wanted.rules}
    assert [rule for rule in after.rules if rule.index not in others] == [
        rule for rule in before.rules if rule.index not in others
    ]
    assert sample.kind.patch(after, wanted, token="main/1.1.1", undo="kubectl") == []

    back = patched(after_raw, sample.kind.patch(after, snapshot, token="main/1.1.2", undo=""))
    assert without_ours(back) == without_ours(raw)


@EVERY
def test_a_patch_writes_only_what_differs(sample: Sample) -> None:
    view = sample.view(sample.object)
    snapshot = target(view, *moved_rules(sample, view))
    patch = sample.kind.patch(view, snapshot, token="main/1.1.1", undo="")
    assert {operation["path"] for operation in patch if operation["op"] != "test"} <= {
        "/metadata/annotations", "/metadata/annotations/rolloutplan.dev~1seq"
    }  # fmt: skip


@EVERY
@pytest.mark.parametrize("seen", [0, 50], ids=lambda permille: f"seen at {permille}")
def test_a_way_back_that_has_not_seen_the_newest_step_is_refused_or_restores_the_weights(
    sample: Sample, seen: int
) -> None:
    """A rollback does not wait for the answer to a step, which leaves the token as it was."""
    before = sample.view(sample.object)
    snapshot = target(before, *moved_rules(sample, before))
    known_raw = patched(sample.object, sample.kind.patch(before, snapshot, token="main/1.1.1", undo="kubectl"))
    if seen:
        step = shifted(sample, sample.view(known_raw), seen)
        known_raw = patched(known_raw, sample.kind.patch(sample.view(known_raw), step, token="main/1.1.1", undo=""))
    known = sample.view(known_raw)
    step = shifted(sample, known, 500)
    newest = patched(known_raw, sample.kind.patch(known, step, token="main/1.1.1", undo="kubectl"))
    way_back = sample.kind.patch(known, snapshot, token="main/1.1.2", undo="")
    try:
        newest = patched(newest, way_back)
    except jsonpatch.JsonPatchException:
        return
    after = sample.view(newest)
    assert weights_of(target(after, *moved_rules(sample, after))) == weights_of(snapshot)


@EVERY
def test_an_item_that_changed_refuses_the_whole_patch(sample: Sample) -> None:
    raw = sample.object
    view = sample.view(raw)
    patch = sample.kind.patch(view, shifted(sample, view, 50), token="main/1.1.1", undo="")
    tested = [operation for operation in patch if operation["op"] == "test"]
    assert len(tested) > 1
    for operation in tested:
        other = jsonpatch.apply_patch(raw, [{"op": "replace", "path": operation["path"], "value": "another"}])
        with pytest.raises(jsonpatch.JsonPatchException):
            patched(other, patch)


@EVERY
def test_the_undo_command_restores_what_was_there_and_is_read_back(sample: Sample) -> None:
    raw = sample.object
    view = sample.view(raw)
    snapshot = target(view, *moved_rules(sample, view))
    words = shlex.split(sample.kind.undo_command("shop", snapshot))
    assert words[:5] == ["kubectl", "-n", "shop", "patch", words[4]]
    undo = json.loads(words[-1])
    moved = patched(raw, sample.kind.patch(view, shifted(sample, view, 500), token="main/1.1.1", undo=""))
    assert without_ours(patched(moved, undo)) == without_ours(raw)
    assert without_ours(patched(raw, undo)) == without_ours(raw)
    read = sample.kind.read_undo("shop", view.id.name, undo)
    assert [[backend.weight for backend in rule.backends] for rule in read.rules] == [
        [backend.weight for backend in rule.backends] for rule in snapshot.rules
    ]
    assert [(rule.at, rule.text) for rule in read.rules] == [(rule.at, rule.text) for rule in snapshot.rules]


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def spots(raw: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in an object."""
    steps = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    return [at, *(spot for step, value in steps for spot in spots(value, (*at, step)))]


def broken(sample: Sample, data: st.DataObject) -> Raw:
    """The object of a sample with junk in one to three places."""
    raw = sample.object
    able = [
        spot for spot in spots(raw) if len(spot) > 1 and spot not in (("metadata", "name"), ("metadata", "namespace"))
    ]
    for spot in data.draw(st.lists(st.sampled_from(able), min_size=1, max_size=3)):
        holder: Any = raw
        for step in spot[:-1]:
            holder = holder[step] if isinstance(holder, dict | list) and _has(holder, step) else None
        if isinstance(holder, dict) or (isinstance(holder, list) and _has(holder, spot[-1])):
            holder[spot[-1]] = data.draw(junk)
    return raw


@given(st.sampled_from(list(SAMPLES.values())), st.data())
def test_an_object_that_is_wrong_anywhere_never_raises(sample: Sample, data: st.DataObject) -> None:
    raw, good = broken(sample, data), sample.view(sample.object)
    assert all(isinstance(name, str) for name in sample.kind.gives(raw, sample.beside))
    view = sample.view(raw)
    try:
        patch = sample.kind.patch(view, shifted(sample, good, 50), token="main/1.1.1", undo="")
    except LookupError:
        return
    assert all(operation["op"] in ("test", "add", "replace", "remove") for operation in patch)


@given(st.sampled_from([each for each in SAMPLES.values() if not each.kind.needs_siblings]), st.data())
def test_an_object_has_all_words_of_each_service_that_it_gives_traffic(sample: Sample, data: st.DataObject) -> None:
    for raw in (sample.object, broken(sample, data)):
        for service in receivers(raw["metadata"]["namespace"], sample.view(raw)):
            assert words_of(*service) <= words(raw)


@given(st.sampled_from(list(SAMPLES.values())), st.data())
def test_a_route_that_is_read_again_is_as_if_it_were_read_for_the_first_time(
    sample: Sample, data: st.DataObject
) -> None:
    versions = sample.object, broken(sample, data)
    for was, now in (versions, versions[::-1]):
        assert sample.kind.view(now, sample.beside, sample.view(was)) == sample.view(now)


def _has(holder: Any, step: Any) -> bool:
    return step in holder if isinstance(holder, dict) else isinstance(step, int) and step < len(holder)


steps = st.sampled_from(["spec", "rules", "routes", "0", "1", "99999", "weight", "", "-", "metadata"])
operation = st.fixed_dictionaries(
    {"op": st.sampled_from(["test", "add", "replace", "remove", "copy"]), "value": junk},
    optional={"path": st.lists(steps).map(lambda steps: "".join(f"/{step}" for step in steps))},
)
operations = st.lists(operation | junk, max_size=4)


@given(st.sampled_from(list(SAMPLES.values())), operations)
def test_operations_of_others_are_no_undo_command(sample: Sample, operations: list[Any]) -> None:
    with pytest.raises(UnreadableError):
        sample.kind.read_undo("shop", "web", operations)


def test_a_description_is_short(request: pytest.FixtureRequest) -> None:
    folder = request.config.rootpath / "operator/rolloutplan/api/route_kinds"
    lengths = [len(path.read_text().splitlines()) for path in folder.glob("*.yaml")]
    assert len(lengths) == len(BUILT_IN)
    assert median(lengths) <= 14


@EVERY
def test_a_rule_that_an_undo_command_names_is_found_again(sample: Sample) -> None:
    """The place of a rule among the rules of several lists is not in the command."""
    view = sample.view(sample.object)
    for rule in moved_rules(sample, view):
        command = sample.kind.undo_command("shop", target(view, rule))
        (read,) = sample.kind.read_undo("shop", view.id.name, json.loads(shlex.split(command)[-1])).rules
        found = locate(view, read.model_copy(update={"name": "", "backends": ()}))
        assert found is not None
        assert found.at == rule.at


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("web", "web"),
        ("web.shop", "web"),
        ("web.shop.svc", "web"),
        ("web.shop.svc.cluster.local", "web"),
        ("web.other.svc.cluster.local", "Service/other/web"),
        ("web.other", "web.other"),
        ("web.shop.example.com", "web.shop.example.com"),
        ("example.com", "example.com"),
        ("*.shop.svc", "*"),
        ("", ""),
    ],
)
def test_what_a_host_means_in_the_namespace_shop(host: str, service: str) -> None:
    assert short(host, "shop") == service


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("web", "web"),
        ("https://web.shop:8080", "web"),
        ("web:80/", "web"),
        ("grpc://web.other.svc", "Service/other/web"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_what_an_address_means_in_the_namespace_shop(address: str, service: str) -> None:
    assert bare(address, "shop") == service
