"""A run that there was, replayed: the same decisions follow from what its source says, in the same words."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.api.status import Decision, read_status
from tests.e2e.at_once.test_counting import WORSE
from tests.shop import ROOT, Shop
from tests.unit.test_tools_replay import again


def replay(shop: Shop, *arguments: str | Path, cluster: bool = True) -> str:
    """What `rolloutplan replay` prints."""
    config = str(shop.bed.kubeconfig("admin")) if cluster else os.devnull
    env = {**os.environ, "KUBECONFIG": config, "PYTHONPATH": str(ROOT / "operator")}
    command = [sys.executable, "-m", "rolloutplan", "replay", *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def judged(decisions: Iterable[Decision]) -> list[dict[str, Any]]:
    """The decisions from the first stage on, without their numbers and instants, and without what was counted.

    The loop comes to a look that is due some time after, and on a busy machine a scrape later.
    """
    before = ("Started", "Unguarded", "NewSideReady")
    told = [decision for decision in decisions if decision.reason not in before]
    fields: Any = {"reason", "stage", "state", "weight_from", "weight_to", "believed", "why"}
    return [
        {
            **decision.model_dump(include=fields),
            "note": uncounted(decision.note),
            "observed": uncounted(decision.observed),
            "evidence": [
                (each.predicate, each.role, each.query, each.bound, each.verdict) for each in decision.evidence
            ],
        }
        for decision in told
    ]


def uncounted(words: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", words)


@pytest.mark.parametrize(
    ("errors", "end"), [(0.3, "RolledBack"), (0.1, "Succeeded")], ids=["three times the errors", "nothing wrong"]
)
def test_the_decisions_of_a_run_follow_from_its_looks(shop: Shop, tmp_path: Path, errors: float, end: str) -> None:
    shop.open()
    shop.bed.behave("checkout-v1", shop.namespace, errors=0.1)
    shop.bed.behave("checkout-v2", shop.namespace, errors=errors)
    shop.bed.load(shop.host, rate=100)
    shop.start(guards=[WORSE], stages=[{"weights": ["25%", "100%"], "soak": "12s"}])
    lived = read_status(shop.until(end, timeout=60)).decisions
    looks, copy = tmp_path / "looks.jsonl", tmp_path / "copy.jsonl"

    printed = replay(shop, "checkout", "-n", shop.namespace, "--trust-source", "--record", looks)
    replayed, _ = again(looks.read_text().splitlines())
    assert judged(replayed.decisions) == judged(lived)
    assert f"the replay ends in phase {end}" in printed

    assert replay(shop, "--looks", looks, "--record", copy, cluster=False) == printed
    assert copy.read_bytes() == looks.read_bytes()
    assert replay(shop, "checkout", "-n", shop.namespace, "--trust-source") == printed, (
        "asked again, the source says the same"
    )
