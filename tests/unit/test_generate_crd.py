"""The CRDs: the files are the rendering, the schema is structural, and every field is explained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.parsing import RENAMED
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.generate.crd import crds, render
from tests.refusals import COUNTED, PLAN, TASKS

FOLDER = Path(__file__).parents[2] / "deploy" / "crds"
CRDS = crds()
PLANS = CRDS["rolloutplan.dev_rolloutplans.yaml"]


def version(crd: dict[str, Any]) -> dict[str, Any]:
    (only,) = crd["spec"]["versions"]
    return only  # type: ignore[no-any-return]


def properties(crd: dict[str, Any]) -> dict[str, Any]:
    return version(crd)["schema"]["openAPIV3Schema"]["properties"]  # type: ignore[no-any-return]


def nodes(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema, with its path."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", below)
    for key, step in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from nodes(path + step, schema[key])


SPECS = [node for crd in CRDS.values() for node in nodes(crd["spec"]["names"]["kind"], properties(crd)["spec"])]
STATUS = list(nodes("status", properties(PLANS)["status"]))


def test_the_files_are_the_rendering() -> None:
    files = {path.name: path.read_text() for path in FOLDER.glob("*.yaml")}
    assert files == {name: render(crd) for name, crd in CRDS.items()}, "write them again: rolloutplan crds"


@pytest.mark.parametrize("name", CRDS)
def test_the_rendering_says_all_and_says_it_plainly(name: str) -> None:
    text = render(CRDS[name])
    assert yaml.safe_load(text) == CRDS[name]
    assert "&id" not in text
    assert render(crds()[name]) == text


def test_the_kinds() -> None:
    names = {
        crd["metadata"]["name"]: (crd["spec"]["scope"], crd["spec"]["names"]["shortNames"]) for crd in CRDS.values()
    }
    assert names == {
        "rolloutplans.rolloutplan.dev": ("Namespaced", ["rp"]),
        "metricsources.rolloutplan.dev": ("Namespaced", ["ms"]),
        "clustermetricsources.rolloutplan.dev": ("Cluster", ["cms"]),
        "predicatetemplates.rolloutplan.dev": ("Namespaced", ["pt"]),
        "clusterpredicatetemplates.rolloutplan.dev": ("Cluster", ["cpt"]),
        "rolloutpolicies.rolloutplan.dev": ("Cluster", ["rpol"]),
        "routekinds.rolloutplan.dev": ("Cluster", ["rk"]),
        "notifiers.rolloutplan.dev": ("Namespaced", ["nt"]),
        "clusternotifiers.rolloutplan.dev": ("Cluster", ["cnt"]),
        "rolloutrecords.rolloutplan.dev": ("Namespaced", ["rr"]),
    }


def test_every_part_is_structural() -> None:
    assert [path for path, schema in SPECS + STATUS if not is_structural(schema)] == []


def is_structural(schema: dict[str, Any]) -> bool:
    """Whether it has one type, and none of the words that a structural schema may not have."""
    open_ = "x-kubernetes-preserve-unknown-fields" in schema
    switch = "enum" in schema and open_  # On, Off, true or false
    either = "pattern" in schema and "properties" in schema and open_  # a text or a mapping
    any_value = schema.keys() - {"description"} == {"x-kubernetes-preserve-unknown-fields"}  # a part of another object
    typed = ["type" in schema, "x-kubernetes-int-or-string" in schema, switch, either, any_value]
    junctors = set() if either else {"anyOf"}
    words = {"$ref", "$defs", *junctors, "allOf", "oneOf", "title", "const", "nullable"} & schema.keys()
    return typed.count(True) == 1 and not words


def test_every_part_of_a_spec_is_bounded() -> None:
    assert [path for path, schema in SPECS if not is_bounded(schema)] == []


def is_bounded(schema: dict[str, Any]) -> bool:
    bound = {"array": "maxItems", "string": "maxLength", "integer": "maximum"}.get(schema.get("type", ""))
    entries = "maxProperties" in schema or "additionalProperties" not in schema
    return entries and (bound is None or bound in schema or "enum" in schema)


def test_every_part_of_a_spec_is_explained_in_one_line() -> None:
    named = [(path, schema.get("description", "")) for path, schema in SPECS if "[]" not in path and "{}" not in path]
    assert [path for path, words in named if not words.endswith(".") or "\n" in words] == []


def test_a_status_has_types_alone_so_that_it_can_be_healed() -> None:
    for path, schema in STATUS:
        allowed = {"description", "type", "properties", "items", "additionalProperties", "maxItems", "default"}
        assert schema.keys() <= allowed, path
    assert properties(PLANS)["status"]["default"] == {"observedGeneration": -1}


def test_the_columns_and_fields_point_at_something() -> None:
    assert version(PLANS)["subresources"] == {"status": {}}
    columns = version(PLANS)["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Phase", "Stage", "Weight", "Verdict", "Reason", "Looked", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column.get("priority")] == [
        "Measured", "Deadline", "Run",
    ]  # fmt: skip
    status = dict(STATUS)
    for pointer in (*columns, *version(PLANS)["selectableFields"]):
        path = pointer["jsonPath"].lstrip(".")
        shown = pointer.get("type", "string")
        assert path == "metadata.creationTimestamp" or status[path]["type"] == {"date": "string"}.get(shown, shown)


@pytest.mark.parametrize("plan", [PLAN, COUNTED, TASKS], ids=["values", "counts", "tasks"])
def test_defaults_of_the_crd_are_those_of_the_model(plan: dict[str, Any]) -> None:
    """Writing out what the API server writes out changes nothing, so the model never sees a default of its own."""
    filled = with_defaults(plan, properties(PLANS)["spec"])
    assert filled["stages"][0]["soak"] == "5m"
    assert filled["availability"] == {
        "old": {"atLeast": "50%"},
        "readyWithin": "10m",
        "minReady": "50%",
        "grace": "10s",
        "maxRestarts": 3,
    }
    assert read_plan_spec(filled) == read_plan_spec(plan)
    assert read_plan_spec(filled).plan_hash() == read_plan_spec(plan).plan_hash()


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """Fill in what the API server fills in."""
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    defaults = {name: below["default"] for name, below in schema["properties"].items() if "default" in below}
    known = schema["properties"]
    return {name: with_defaults(item, known.get(name, {})) for name, item in {**defaults, **value}.items()}


def test_every_field_of_the_model_stands_in_the_schema() -> None:
    aliases = {field.alias for field in PlanSpec.model_fields.values()}
    assert properties(PLANS)["spec"]["properties"].keys() - RENAMED.keys() == aliases


def test_a_field_of_a_predicate_has_one_rule() -> None:
    """The API server pays for each rule of each of 1,600 predicates."""
    for path, schema in SPECS:
        if path.endswith((".pass[]", ".fail[]", ".guards[]")) or "pattern" in schema:
            fields = [rule.get("fieldPath", "") for rule in schema.get("x-kubernetes-validations", ())]
            assert len(fields) == len(set(fields)), path
