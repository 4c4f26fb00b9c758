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

from rolloutplan.api.record import PLAN_LABEL
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


def test_what_is_known_for_a_decision_is_laid_out(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"reason": "AwaitingApproval", "waitingFor": "`approve` by a person", "weights": {"desired": "25%"}}
    becomes(bed, "checkout-v2", "Held", "Started", **held)
    assert main(["triage", "-n", NAMESPACE, "checkout-v2"]) == 0
    said = capsys.readouterr().out
    for way in ("Persist", "Adapt", "Kill"):
        assert way in said
    for command in ("rolloutplan approve", "rolloutplan abort", "kubectl edit rp"):
        assert f"  {command} -n {NAMESPACE} checkout-v2" in said
    assert main(["triage", "-n", NAMESPACE, "checkout-v2", "-o", "json"]) == 0
    assert [each["way"] for each in json.loads(capsys.readouterr().out)["ways"]] == ["Persist", "Adapt", "Kill"]


def test_records_are_listed_and_one_is_shown(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    for run in (1, 2):
        spec = {"plan": "checkout-v2", "planUid": "0a1b2c3d", "run": run, "startedAt": f"2026-03-0{run}T09:00:00.000Z"}
        meta = {"namespace": NAMESPACE, "name": f"checkout-v2-0a1b2c3d-{run}", "labels": {PLAN_LABEL: "checkout-v2"}}
        status = {"outcome": "Succeeded", "reason": "Finished", "message": "it went well"}
        made = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutRecord", "metadata": meta, "spec": spec}
        bed.apply({**made, "status": status})
    assert main(["record", "-n", NAMESPACE]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["PLAN", "RUN", "OUTCOME", "REASON", "STARTED"],
        ["checkout-v2", "2", "Succeeded", "Finished", "2026-03-02", "09:00:00Z"],
        ["checkout-v2", "1", "Succeeded", "Finished", "2026-03-01", "09:00:00Z"],
    ]
    assert main(["record", "-A"]) == 0
    runs = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.startswith(f"{NAMESPACE}/")]
    assert runs == [[f"{NAMESPACE}/checkout-v2", "2"], [f"{NAMESPACE}/checkout-v2", "1"]]
    assert main(["record", "-n", NAMESPACE, "-o", "name"]) == 0
    assert capsys.readouterr().out.startswith("rolloutrecord.rolloutplan.dev/checkout-v2-0a1b2c3d-2\n")
    assert main(["record", "-n", NAMESPACE, "checkout-v2", "--run", "1"]) == 0
    assert "it went well" in capsys.readouterr().out
    assert main(["record", "-n", NAMESPACE, "chekout-v2"]) == 1
    assert "did you mean checkout-v2?" in capsys.readouterr().err
