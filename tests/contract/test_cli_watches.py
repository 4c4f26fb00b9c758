"""What a person looks at, on a real API server: the list, one plan as it changes, and the decisions as they come."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rolloutplan.cli.main import main
from tests.bed import objects
from tests.bed.api import MERGE_PATCH
from tests.bed.bed import Bed
from tests.refusals import PLAN

CRDS = Path(__file__).parents[2] / "deploy" / "crds"
NAMESPACE = "looked-at"
PLANS = f"/apis/rolloutplan.dev/v1alpha1/namespaces/{NAMESPACE}/rolloutplans"


@pytest.fixture(scope="module", autouse=True)
def _plans(bed: Bed) -> None:
    bed.kubectl("apply", "-f", str(CRDS))
    bed.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
    bed.apply(objects.namespace(NAMESPACE))
    for name in ("blog-v9", "checkout-v2"):
        meta = {"namespace": NAMESPACE, "name": name}
        bed.apply({"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "metadata": meta, "spec": PLAN})


@pytest.fixture(autouse=True)
def _as_admin(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig()))


def becomes(bed: Bed, name: str, phase: str, *reasons: str, **status: Any) -> None:
    """Give a plan this status, with decisions of these reasons."""
    decisions = [
        {"seq": seq, "at": f"2026-03-01T09:00:{seq:02}Z", "kind": "Advance", "reason": reason, "note": f"{name}: said"}
        for seq, reason in enumerate(reasons, 1)
    ]
    found = {"phase": phase, "seq": len(reasons), "run": 1, "decisions": decisions, "observedGeneration": 1, **status}
    bed.api("PATCH", f"{PLANS}/{name}/status", {"status": found}, MERGE_PATCH)


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process, whose output is read line by line."""
    command = [sys.executable, "-m", "rolloutplan", *arguments, "-n", NAMESPACE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        yield process
        process.terminate()


def test_the_list_has_the_plan_that_needs_a_person_on_top(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    becomes(bed, "blog-v9", "Judging", waitingFor="the end of the soak")
    becomes(bed, "checkout-v2", "Held", reason="AwaitingApproval", waitingFor="`approve` by a person")
    assert main(["list", "-n", NAMESPACE]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["checkout-v2", "Held"],
        ["blog-v9", "Judging"],
    ]


def test_a_plan_is_followed_to_its_end(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    becomes(bed, "checkout-v2", "Judging", "Started", weights={"desired": "5%"})
    assert main(["status", "checkout-v2", "-n", NAMESPACE]) == 0
    assert "○ ramp-w50 50%" in capsys.readouterr().out
    with running("status", "checkout-v2", "-w") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Judging")
        becomes(bed, "checkout-v2", "Succeeded", "Started", "Finished")
        assert "Finished: checkout-v2: said" in process.stdout.read()
        assert process.wait(timeout=30) == 0


def test_decisions_of_all_plans_are_told_as_they_come(bed: Bed) -> None:
    becomes(bed, "checkout-v2", "Judging", "Started")
    becomes(bed, "blog-v9", "Judging", "Started")
    with running("tail", "-o", "json") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        becomes(bed, "checkout-v2", "Judging", "Started", "StageStarted")
        lines.append(process.stdout.readline())
        becomes(bed, "blog-v9", "Judging", "Started", "Held")
        lines.append(process.stdout.readline())
    told = [(each["plan"], each["reason"]) for each in map(json.loads, lines)]
    assert sorted(told[:2]) == [("blog-v9", "Started"), ("checkout-v2", "Started")]
    assert told[2:] == [("checkout-v2", "StageStarted"), ("blog-v9", "Held")]
