"""The examples that Argo Rollouts and Flagger ship: each is converted, and each plan is linted and rehearsed.

They are fetched as Go modules, pinned by their sums, and not kept here.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rolloutplan.cli.main import main
from tests.shop import ROOT

Record = Callable[[str, object], None]


class Shipped(NamedTuple):
    """The examples of a project: its Go module with its sum, their folder, and the kind that is converted."""

    module: str
    sum: str
    folder: str
    kind: str


EXAMPLES = [
    Shipped(
        "github.com/argoproj/argo-rollouts@v1.8.3",
        "h1:blbtQva4IK9r6gFh+dWkCrLnFdPOWiv9ubQYu36qeaA=",
        "examples",
        "Rollout",
    ),
    Shipped(
        "github.com/fluxcd/flagger@v1.36.1",
        "h1:X2PumtNwZz9YSGaOtZLFm2zAKLgHhFkbNv8beg7ifyc=",
        "artifacts/examples",
        "Canary",
    ),
]
REASONS = ("names no route that a plan can move", "is no kind of route", "as the rolling update", "render it first")
"""Of examples without a plan: a mesh that has no kind of route, no steps, a template of Helm."""
PREDICATES = sorted((ROOT / "deploy/predicates").glob("*.yaml"))


@pytest.mark.parametrize("shipped", EXAMPLES, ids=lambda each: each.kind)
def test_the_examples_of_others_become_plans_that_run(
    shipped: Shipped, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Record
) -> None:
    converted: list[str] = []
    refused: dict[str, str] = {}
    unclean: dict[str, str] = {}
    failed: dict[str, str] = {}
    for file in _files(shipped, tmp_path):
        main(["convert", str(file), "--provider", "istio"])
        text, said = capsys.readouterr()
        if not text:
            refused[file.name] = said
            continue
        converted.append(file.name)
        plan = tmp_path / "plan.yaml"
        plan.write_text(text)
        for found, words in ((unclean, ["lint", plan]), (failed, ["rehearse", plan, *PREDICATES])):
            if main([*map(str, words)]):
                found[file.name] = "".join(capsys.readouterr())
            capsys.readouterr()
    record_property(f"{shipped.kind}: converted", len(converted))
    record_property(f"{shipped.kind}: refused, with the reason", len(refused))
    record_property(f"{shipped.kind}: plans with lint errors", len(unclean))
    record_property(f"{shipped.kind}: plans rehearsed", len(converted) - len(failed))
    assert not (unclean or failed)
    assert all(any(words in said for words in REASONS) for said in refused.values()), refused
    assert converted


def _files(shipped: Shipped, folder: Path) -> list[Path]:
    """The files of the examples that have an object of the kind."""
    command = ["go", "mod", "download", "-json", shipped.module]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    got = json.loads(said.stdout)
    assert got.get("Sum") == shipped.sum, got.get("Error") or said.stderr
    every = sorted(Path(got["Dir"], shipped.folder).rglob("*.yaml"))
    return [file for file in every if re.search(rf"^kind: {shipped.kind}$", file.read_text(), re.MULTILINE)]
