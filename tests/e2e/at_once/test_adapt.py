"""A plan that is edited during the run, as a person or a pipeline would edit it."""

import json
from typing import Any

import pytest

from tests.shop import Shop

STAGES: list[dict[str, Any]] = [{"weight": "25%", "soak": "4s"}, {"name": "all", "weight": "100%", "soak": "1m"}]


def edit(shop: Shop, **spec: Any) -> None:
    words = ("-n", shop.namespace, "patch", "rp", "checkout", "--type=merge", "-p", json.dumps({"spec": spec}))
    shop.bed.kubectl(*words)


def test_a_later_stage_is_edited_and_a_started_one_is_locked(shop: Shop) -> None:
    shop.open()
    shop.bed.load(shop.host, rate=20)
    shop.start(stages=STAGES)
    status = shop.until("Judging/w25")
    assert status["lockedStages"] == ["w25"]
    with pytest.raises(RuntimeError, match=r"spec\.stages: .*cannot be edited during the run: edit later ones"):
        edit(shop, stages=[{**STAGES[0], "soak": "1s"}, STAGES[1]])

    edit(shop, stages=[STAGES[0], {"weight": "50%", "soak": "2s"}, {**STAGES[1], "soak": "2s"}])
    ended = shop.until("Succeeded", timeout=60)
    assert ended["run"] == 1, "it is the same run"
    (told,) = (d for d in ended["decisions"] if d["kind"] == "Adapt")
    assert "by kubectl-patch: stage all: 100% soak 1m -> 100% soak 2s" in told["note"]
    assert "stage w50: left out -> 50% soak 2s" in told["note"]
    moved = [d["weightTo"] for d in ended["decisions"] if d["reason"] == "StageStarted"]
    assert moved == ["25%", "50%", "100%"]
    assert [event["reason"] for event in shop.events()].count("Adapted") == 1
    edit(shop, stages=[{"weight": "100%"}])
    assert shop.stored()["spec"]["stages"][0]["weight"] == "100%", "what is over is not locked"


@pytest.mark.any_cluster
def test_another_new_side_in_mid_run_goes_back_first(shop: Shop) -> None:
    shop.open()
    shop.start(stages=STAGES)
    shop.until("Judging/w25")
    edit(shop, new={"deployment": "checkout-v3"}, stages=[{"weight": "100%"}])
    status = shop.until("Invalid")
    assert status["reason"] == "DeploymentNotFound"
    (back,) = (d for d in status["decisions"] if d["reason"] == "RollbackStarted")
    assert 'new: {"deployment": "checkout-v2"} -> {"deployment": "checkout-v3"}' in back["note"]
    assert shop.traffic() == {"checkout-v1": 100, "checkout-v2": 0}
