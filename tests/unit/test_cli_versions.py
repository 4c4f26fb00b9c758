"""A cluster whose CRDs are of another version than the program: what differs, and what to do."""

import copy
from typing import Any

import pytest

from rolloutplan.cli.versions import difference, own_schema

OWN = own_schema()


def changed(*, without: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> Any:
    schema = copy.deepcopy(dict(OWN))
    fields = schema["properties"]["spec"]["properties"]
    for name in without:
        del fields[name]
    return {**schema, "properties": {"spec": {"properties": {**fields, **{name: {"type": "string"} for name in more}}}}}


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (OWN, ""),
        (
            changed(without=("hypothesis",)),
            "the CRDs of the cluster are older than this program (they lack spec.hypothesis): update them with",
        ),
        (
            changed(more=("colour", "mood", "shape", "weather")),
            "this program is older than the CRDs of the cluster (it does not know spec.colour, spec.mood,",
        ),
    ],
    ids=["the same", "older", "newer"],
)
def test_the_fields_tell_which_is_older(served: Any, words: str) -> None:
    assert difference(served, OWN).startswith(words)
    assert bool(difference(served, OWN)) == bool(words)
