"""Descriptions of kinds of route: a wrong one is refused with its field, and what to write."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from rolloutplan.api.object_path import Place, alternatives, first, parse, places, pointer, steps
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.route_kinds import BUILT_IN, built_in
from rolloutplan.traffic.own import read_route_kind
from tests.refusals import ROUTE_KINDS, Refusal

GOOD: dict[str, Any] = {
    "group": "example.net", "versions": ["v1"], "resource": "routes", "rules": {"spec.rules[]": "backends[]"},
    "name": ["service"], "weight": "weight", "accepted": {"settle": "2s"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"rules": {"spec.rules[": "backends[]"}}, "rules", '"spec.rules[" is not a path from "[" on'),
        ({"rules": {"spec.rules[]": "backends[] + .b"}}, "rules", '".b" is not a path'),
        ({"name": ["service|na me"]}, "name", 'is not a path from " me" on: write it as spec.routes[].services[]'),
        ({"weight": "weight..x"}, "weight", "is not a path"),
        ({"weight": "[2]"}, "weight", "must follow the names of an item that is a list: write [1]"),
        ({"weights": {"missing": 100, "max": 10}}, "weights.missing", "100 is above weights.max"),
        ({"weights": {"max": "many"}}, "weights.max", "is not a whole number"),
        ({"label": "{}"}, "label", "is the key of a rule in a mapping"),
        ({"accepted": {}}, "accepted.settle", "write settle, such as 2s"),
        ({"accepted": {"conditions": "status.conditions[]", "generation": "g"}}, "accepted.good", "is missing"),
        ({"accepted": {"each": "status.parents[]", "generationAt": "status.g"}}, "accepted.settle", "write settle"),
        ({"accepted": {"each": "status.parents[]", "generation": "g"}}, "accepted.generation", "write conditions"),
        ({"accepted": {"generation": "g", "settle": "1s"}}, "accepted.generation", "write conditions, or generationAt"),
        (
            {
                "accepted": {
                    "conditions": "c[]",
                    "good": {"A": "True"},
                    "value": "v",
                    "goodWords": ["x"],
                    "settle": "1s",
                }
            },
            "accepted.value",
            "write one of them",
        ),
        (
            {"accepted": {"value": "v", "goodWords": ["x", "y"], "badWords": ["y"], "settle": "1s"}},
            "accepted.badWords",
            "y is one of goodWords",
        ),
        ({"accepted": {"value": "status.state", "settle": "1s"}}, "accepted.goodWords", "is missing"),
        ({"accepted": {"conditions": "status..x", "settle": "1s"}}, "accepted.conditions", "is not a path"),
        ({"resource": "Routes"}, "resource", "is not an object's name"),
        ({"rules": {"": "metadata.finalizers[]"}}, "rules", '"metadata.finalizers[]" leads into metadata or status'),
        ({"rules": {"metadata": "labels{}"}}, "rules", '"metadata.labels{}" leads into metadata or status'),
        ({"rules": {"": "spec.a[] + status.b[]"}}, "rules", '"status.b[]" leads into metadata or status'),
        ({"rules": {"": "{}"}}, "rules", "write a path in the spec"),
        ({"rules": {"": ""}}, "rules", "write a path in the spec"),
        ({"name": ["service|metadata.name"]}, "name", "write a path in the spec"),
        ({"sticky": "metadata.labels"}, "sticky", "write a path in the spec"),
        ({"mirror": {"append": "metadata.finalizers", "value": "x"}}, "mirror.append", "write a path in the spec"),
        ({"affinity": {"set": '["metadata"].x', "value": "x"}}, "affinity.set", "write a path in the spec"),
        ({"ab": {"text": "status"}}, "ab.text", "write a path in the spec"),
        ({"ab": {"header": {}}}, "ab", "needs one place for the condition: write append, set or text"),
        ({"ab": {"append": "a", "text": "b"}}, "ab", "needs one place for the condition"),
        ({"mirror": {"value": {}}}, "mirror", "needs one place: write append or set"),
        ({"affinity": {"value": {}, "append": "a", "set": "b"}}, "affinity", "needs one place"),
        ({"single": ["metadata.labels{}"]}, "single", "write a path in the spec"),
        ({"single": ["spec.to[", "spec.of"]}, "single", '"spec.to[" is not a path from "[" on'),
        ({"rules": {}, "share": {"of": "spec.to"}, "single": ["spec.of"]}, "single", "write rules, too"),
        ({"weight": "service"}, "weight", '"service" leads to the name of a side, too'),
        ({"weight": "to", "name": ["to.host"]}, "weight", '"to" leads to the name of a side, too'),
        ({"weight": "to.host.share", "name": ["kind|to.host"]}, "weight", "write the path of the number"),
        ({"prefix": "rolloutplan.dev"}, "prefix", "write the one of the router"),
        ({"group": "apps", "resource": "deployments"}, "resource", "deployments.apps is read by the operator"),
        ({"group": "", "resource": "secrets"}, "resource", "secrets is read by the operator for another purpose, or"),
        ({"wight": "weight"}, "wight", "unknown field"),
    ],
)
def test_a_wrong_description_is_refused_with_its_field(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        built_in({"Own": yaml.safe_dump(GOOD | changes)})
    assert str(refused.value).startswith(f"Own: spec.{field}")
    assert words in str(refused.value)


def test_a_kind_begins_with_another_and_writes_over_it() -> None:
    own = {"like": "Own", "resource": "others", "weights": {"max": 9}, "label": None}
    texts = {"Own": GOOD | {"weights": {"missing": 1}, "label": "name"}, "Other": own}
    kinds = built_in({name: yaml.safe_dump(text) for name, text in texts.items()})
    assert kinds["Other"].rules == kinds["Own"].rules
    assert (kinds["Other"].resource, kinds["Other"].label) == ("others", "")
    assert (kinds["Other"].weights.missing, kinds["Other"].weights.max) == (1, 9)


def test_a_kind_that_is_like_itself_or_nothing_is_refused() -> None:
    for base in ("Own", "Gone"):
        with pytest.raises(SpecError, match=rf"^Own: spec\.like: .*{base}"):
            built_in({"Own": yaml.safe_dump({"like": base})})


@pytest.mark.parametrize("refusal", ROUTE_KINDS, ids=lambda refusal: refusal.name)
def test_what_the_api_server_refuses_is_refused_here_too(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as refused:
        read_route_kind(refusal.spec())
    assert all(word in str(refused.value) for word in refusal.words), refused.value


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_kinds_could_be_written_as_objects(name: str) -> None:
    written = BUILT_IN[name].model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert read_route_kind(written) == BUILT_IN[name]


def test_each_built_in_kind_reads_a_resource_of_a_group() -> None:
    assert all(spec.group and spec.versions for spec in BUILT_IN.values())


RAW = {"a": [{"b": 1}, {"b": None, "c.d": [5, 6]}], "m": {"x": {"b": 2}, "Y": "text"}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a[].b", [(("a", 0, "b"), 1), (("a", 1, "b"), None)]),
        ('a[]["c.d"][1]', [(("a", 1, "c.d", 1), 6)]),
        ("m{}.b", [(("m", "x", "b"), 2)]),
        ("a.b", []),
        ("m[]", []),
        ("m.Y.z", []),
        ("a[7]", []),
        ("", [((), RAW)]),
    ],
)
def test_what_a_path_leads_to(path: str, found: list[tuple[tuple[str | int, ...], Any]]) -> None:
    assert places(RAW, parse(path)) == [Place(at, value) for at, value in found]


def test_the_first_of_several_paths_that_is_there() -> None:
    assert first(RAW["a"], alternatives("[1].b|[0].b")) == Place((0, "b"), 1)
    assert first(RAW["m"], alternatives("y"), any_case=True) == Place(("Y",), "text")
    assert first(RAW["m"], alternatives("y")) is None


def test_a_pointer_is_read_as_it_was_written() -> None:
    at = ("metadata", "annotations", "a/b~c", 0)
    assert pointer(at) == "/metadata/annotations/a~1b~0c/0"
    assert steps(pointer(at)) == tuple(map(str, at))
