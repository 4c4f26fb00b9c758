"""The examples for other routers: each plan fits its route, and every template that it names is there."""

from pathlib import Path

import pytest
import yaml

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.cli.main import main

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "routers"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_lint_finds_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(file), str(ROOT / "deploy" / "predicates")]) == 0
    assert "; nothing found" in capsys.readouterr().out


def test_every_family_has_one() -> None:
    """A family is an API group; the kinds of a group are alike."""
    plans = [
        each for file in EXAMPLES for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "RolloutPlan"
    ]
    named = {route["kind"] for plan in plans for route in plan["spec"]["traffic"]["routes"]}
    missing = {spec.group for spec in BUILT_IN.values()} - {BUILT_IN[kind].group for kind in named & BUILT_IN.keys()}
    assert missing <= {"policy.linkerd.io", "gloo.solo.io"}, "a copy of the Gateway API, and of Gloo's other group"
