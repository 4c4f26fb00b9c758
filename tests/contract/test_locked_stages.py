"""The API server refuses an edit of a stage that has started, and takes all others."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.bed.api import MERGE_PATCH, ApiError
from tests.bed.bed import Bed
from tests.refusals import PLAN, changed

PLANS = "/apis/rolloutplan.dev/v1alpha1/namespaces/default/rolloutplans"
STAGES: list[dict[str, Any]] = [
    {"weight": "5%"},
    {"name": "ramp", "weights": ["10%", "25%"]},
    {"name": "all", "weight": "100%"},
]


@pytest.fixture
def path(bed: Bed) -> Iterator[str]:
    """A plan whose first two entries have started."""
    spec = changed(PLAN, {"stages": STAGES})
    bed.api("POST", PLANS, {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan",
                            "metadata": {"name": "locked"}, "spec": spec})  # fmt: skip
    path = f"{PLANS}/locked"
    lock(bed, path, ["w5", "ramp"])
    yield path
    bed.api("DELETE", path)


def lock(bed: Bed, path: str, names: list[str] | None) -> None:
    bed.api("PATCH", f"{path}/status", {"status": {"lockedStages": names}}, MERGE_PATCH)


def edit(bed: Bed, path: str, spec: dict[str, Any]) -> None:
    bed.api("PATCH", path, {"spec": spec}, MERGE_PATCH)


@pytest.mark.parametrize(
    "stages",
    [
        [{**STAGES[0], "soak": "1m"}, *STAGES[1:]],
        [STAGES[0], {**STAGES[1], "weights": ["10%", "30%"]}, STAGES[2]],
        [STAGES[0], STAGES[2]],
        [{"weight": "100%"}],
        [STAGES[0], {"weight": "7%"}, *STAGES[1:]],
    ],
    ids=["the first", "weights of the one it is in", "it is gone", "all are gone", "one before it"],
)
def test_a_stage_that_has_started_is_locked(bed: Bed, path: str, stages: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as refused:
        edit(bed, path, {"stages": stages})
    assert "spec.stages: " in refused.value.message
    assert "stages that have started (status.lockedStages) cannot be edited during the run" in refused.value.message


@pytest.mark.parametrize(
    "spec",
    [
        {"stages": [*STAGES[:2], {**STAGES[2], "soak": "1m"}]},
        {"stages": [*STAGES[:2], {"weight": "50%"}, STAGES[2]]},
        {"bake": "9m"},
        {"guards": [{"name": "other", "query": "up", "is": "< 1"}]},
        {"new": {"deployment": "v3"}, "stages": [{"weight": "100%"}]},
    ],
    ids=["a later one", "another between", "the bake", "the guards", "a new version, with stages of its own"],
)
def test_what_has_not_started_is_not_locked(bed: Bed, path: str, spec: dict[str, Any]) -> None:
    edit(bed, path, spec)


def test_when_the_run_is_over_nothing_is_locked(bed: Bed, path: str) -> None:
    lock(bed, path, None)
    edit(bed, path, {"stages": [{"weight": "100%"}]})
