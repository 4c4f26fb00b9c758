"""A real API server takes what puts an annotation with weights back that nobody can read, or that is gone."""

from typing import Any

import pytest

from rolloutplan.api.object_path import steps
from tests.bed.api import Manifest
from tests.contract.created import KINDS, TOKEN, Route
from tests.routers import definitions

pytestmark = pytest.mark.extras(*definitions.PROJECTS)


def texts(raw: Manifest, keys: list[str]) -> list[str]:
    """What these annotations of an object say."""
    return [raw["metadata"]["annotations"][key] for key in keys]


@pytest.mark.parametrize("route", [kind for kind, spec in KINDS.items() if spec.annotations], indirect=True)
@pytest.mark.parametrize("text", ['{"web": 9', "[]", None], ids=["cut off", "another form", "gone"])
@pytest.mark.parametrize("others", [True, False], ids=["others stay", "all others go"])
def test_an_annotation_that_nobody_can_read_gets_its_text_back(route: Route, text: Any, *, others: bool) -> None:
    before = route.read()
    snapshot = route.before(route.view(before))
    keys = [steps(rule.at)[-1] for rule in snapshot.rules]
    shifted = route.shift(50)
    gone = {} if others else dict.fromkeys(shifted["metadata"]["annotations"])
    route.edit({"annotations": {**gone, **dict.fromkeys(keys, text)}})
    patch = route.sample.kind.patch(route.view(), snapshot, token=TOKEN, undo="")
    assert texts(route.write(patch), keys) == texts(before, keys)
