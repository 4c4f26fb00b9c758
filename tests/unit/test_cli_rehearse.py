"""`rolloutplan rehearse`: how plans in files go when something is wrong, as text and data, and the exit codes."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from rolloutplan.cli.main import main
from tests.unit.test_cli_lint import EXAMPLES, PLAN, SOURCE, TEMPLATE, written

SHORT = PLAN.replace("soak: 5m", "soak: 1m") + "  bake: 1m\n"
SCRIPT = (EXAMPLES / "rehearse.sh").read_text()


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pipe, where no line is cut, whatever the terminal is in which the tests run."""
    monkeypatch.setenv("COLUMNS", "200")


def shown(capsys: pytest.CaptureFixture[str], files: list[str], *options: str) -> tuple[int, str, str]:
    try:
        code = main(["rehearse", *options, *files])
    except SystemExit as ended:
        code = int(str(ended.code))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_decisions_are_told_with_what_follows_and_what_was_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = shown(capsys, written(tmp_path, SHORT, SOURCE), "--fault", "answer errors=5 at 5% after 30s")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    told = re.compile(
        r"1m +1 +RollbackStarted +w5 +5% -> 0% +rolloutplan +guard errors tripped: 5 > 1; weights go back .*"
    )
    assert [line for line in lines if told.fullmatch(line)]
    assert "shop/checkout-v2  RolledBack GuardTripped" in lines, "the end is as `status` shows it"
    assert any(line.startswith("│   └── ✘ guard errors  5 (> 1)  Tripped") for line in lines)
    assert "RolloutPlan shop/checkout-v2: RolledBack after 1m" in lines
    assert "fault: answer errors=5 at 5% after 30s" in lines
    assert "approvals: a person approves after 1m" in lines
    assert "Deployment checkout-v2 has no replicas in the files: 4 ready pods" in lines
    assert lines[-1] == "errors: the rate of bad simulated requests"


def test_what_files_say_of_pods_is_not_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = "\n---\n".join(
        json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 7}})
        for name in ("checkout-v1", "checkout-v2")
    )
    _, out, _ = shown(capsys, written(tmp_path, SHORT, SOURCE, sides))
    assert "7 of 7 pods of checkout-v2 are available" in out
    assert "has no replicas in the files" not in out


def test_a_policy_that_selects_by_the_namespace_needs_its_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = {"selector": {"namespaceLabels": {"tier": "prod"}}, "freeze": {"now": "incident 4711"}}
    frozen = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "frozen"}}
    files = [SHORT, SOURCE, json.dumps({**frozen, "spec": policy})]
    _, out, _ = shown(capsys, written(tmp_path, *files))
    assert "policy frozen is left out: it selects by labels of the namespace, which is not in the files" in out
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"tier": "prod"}}}
    _, out, _ = shown(capsys, written(tmp_path, *files, json.dumps(shop)))
    assert "RolloutPlan shop/checkout-v2: Pending after" in out
    assert "policy frozen is left out" not in out


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_decisions_as_in_the_status(
    form: str, read: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(read)
    code, out, _ = shown(capsys, written(tmp_path, SHORT), "-o", form, "--fault", "latency=2x on both at 5%")
    (told,) = read(out)
    assert (code, told["end"], told["expected"]) == (0, "Succeeded", None), "its guard does not measure that"
    assert told["decisions"][-1]["reason"] == "Succeeded"
    assert "100%" in [each.get("weightTo") for each in told["decisions"]]
    assert told["requests"] > told["exposedRequests"] > 0
    assert told["harmedRequests"] > 0.9 * told["requests"]
    assert told["restoredAfter"] is None
    assert "metrics.source: default is not in these files: scraped every 15s" in told["assumed"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--expect", "Succeeded"], 0, ""),
        (["--expect", "RolledBack"], 1, ""),
        (["--expect", "rolled-back"], 2, '--expect: "rolled-back" is no end of a run: write RolledBack'),
        (["--fault", "eror=5%"], 2, '--fault: "eror=5%": "eror" is no fault: did you mean errors=5%?'),
        (["--answer", "error=1"], 2, "the plan has no predicate error: did you mean errors?"),
        (["--answer", "errors"], 2, '--answer: "errors" is no answer: write the name of a predicate and a number'),
        (["--traffic", "lots"], 2, '--traffic: "lots" is not a rate'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_code_says_whether_it_ended_as_expected(
    options: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = shown(capsys, written(tmp_path, SHORT, SOURCE), *options)
    assert (found, words in err) == (code, True), err
    assert bool(err) == bool(words)
    assert ("expected RolledBack, but the run is Succeeded" in out) == (code == 1)


def test_what_cannot_be_rehearsed_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = shown(capsys, [str(tmp_path / "nothere.yaml")])
    assert (code, "cannot be read: No such file or directory" in err) == (2, True)
    assert shown(capsys, written(tmp_path, SOURCE))[0::2] == (
        1,
        "rolloutplan: the files have no RolloutPlan: name a file with one\n",
    )
    code, out, err = shown(capsys, written(tmp_path, SHORT.replace("- weights: [5%, 100%]", "- weight: 500%")))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    guards, stages = SHORT.index("    - name: errors"), SHORT.index("  stages:")
    lacking = f"{SHORT[:guards]}    - template: error\n{SHORT[stages:]}"
    code, _, err = shown(capsys, written(tmp_path, lacking, TEMPLATE))
    assert (code, "template error is not in these files (did you mean errors?)" in err) == (1, True)


@pytest.mark.parametrize("line", [line for line in SCRIPT.splitlines() if line.startswith("rolloutplan ")])
def test_the_script_of_the_examples_holds(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES)
    _, command, file, *options = shlex.split(line)
    assert command == "rehearse"
    assert shown(capsys, [file], *options)[0] == 0
