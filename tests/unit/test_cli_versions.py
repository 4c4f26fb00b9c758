"""A cluster whose CRDs are of another version than the program: what differs, and what to do."""

import copy
from typing import Any

import pytest

from rolloutplan.cli.versions import difference, lacking, own_schema

OWN = own_schema()


def changed(*, part: str = "spec", without: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> Any:
    schema = copy.deepcopy(dict(OWN))
    fields = schema["properties"][part]["properties"]
    for name in without:
        del fields[name]
    fields |= {name: {"type": "string"} for name in more}
    return schema


@pytest.mark.parametrize(
    ("served", "lack", "words"),
    [
        (OWN, False, ""),
        ({}, False, ""),
        (
            changed(without=("hypothesis",)),
            True,
            "the CRDs of the cluster are older than this program (they lack spec.hypothesis): update them with",
        ),
        (
            changed(part="status", without=("intent",), more=("mood",)),
            True,
            "the CRDs of the cluster are older than this program (they lack status.intent, ",
        ),
        (
            changed(more=("colour", "mood", "shape", "weather")),
            False,
            "this program is older than the CRDs of the cluster (it does not know spec.colour, spec.mood,",
        ),
    ],
    ids=["the same", "not told", "older", "an older status", "newer"],
)
def test_the_fields_tell_which_is_older(served: Any, lack: bool, words: str) -> None:
    assert bool(lacking(served, OWN)) == lack
    assert difference(served, OWN).startswith(words)
    assert bool(difference(served, OWN)) == bool(words)
