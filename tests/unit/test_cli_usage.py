"""What the command line says when it is called wrongly, and what its help shows."""

import os
import re
import subprocess
import sys

import pytest

from rolloutplan.api.command import Verb
from rolloutplan.cli.app import COMMANDS
from rolloutplan.cli.main import main

NAMES = [entry.name for entry in COMMANDS]
HIDDEN = ["operator", "crds", "reference", "states", "rights", "routers", "gitops", "dashboard"]
"""They are not for those who release software."""


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert "Verb." not in said.err
    assert "nvalid value" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["watch", "checkout-v2"], '"watch" is not a command: status -w shows a plan as it changes'),
        (["describe", "checkout-v2"], '"describe" is not a command: history shows the decisions about a plan'),
        (["rollback", "checkout-v2"], '"rollback" is not a command: abort restores the old weights'),
        (["simulte", "x.yaml"], '"simulte" is not a command: did you mean simulate?'),
        (["Lint", "x.yaml"], '"Lint" is not a command: did you mean lint?'),
        (["frobnicate"], '"frobnicate" is not a command\ncommands: list, status, why'),
        (
            ["lint", "--trafic", "3/s", "x.yaml"],
            'rolloutplan lint: "--trafic" is not an option: did you mean --traffic?',
        ),
        (["simulate", "x.yaml", "--falt=2x"], '"--falt" is not an option: did you mean --fault?'),
        (["lint", "x.yaml", "--frobnicate"], '"--frobnicate" is not an option\n'),
        (["lint", "x.yaml", "-o", "jsn"], '-o/--output: "jsn" is not one of text, json, github (did you mean json?)'),
        (["judge", "x.csv", "--is", "> 1%", "--role", "guard"], '--role: "guard" is not one of fail, pass'),
        (["lint"], "rolloutplan lint: FILE is missing\nusage: rolloutplan lint "),
        (["pause"], "rolloutplan pause: PLAN is missing: name a plan, or write --all"),
        (["pause", "checkout", "--reason"], "rolloutplan pause: --reason: a value is missing"),
        (["lint", "x.yaml", "--strict=no"], "rolloutplan lint: --strict: it takes no value"),
        (["undo"], "rolloutplan undo: PLAN is missing\nusage: rolloutplan undo "),
        (["record", "a", "--run", "x"], "rolloutplan record: --run: write a whole number, such as 3"),
        (["record", "a", "--run=-1"], "rolloutplan record: --run: write 0 or more"),
        (["undo", "a", "b"], 'rolloutplan undo: "b" is not expected here'),
        (["lint", "x.yaml", "--bad", "x"], 'lint: --bad: "x" is not a percentage'),
        (["operator", "--log-level", "loud"], '--log-level: "loud" is not one of debug, info, warning, error'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_is_answered_in_plain_words(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *arguments)
    assert words in said
    assert said.splitlines()[-1].endswith("--help explains it")


@pytest.mark.parametrize(
    "arguments", [["\x1b[2J"], ["lint", "--\x1b[2J"], ["undo", "a", "\x1b[2J"], ["pause", "\x1b[2J"]]
)
def test_what_was_typed_is_shown_and_not_obeyed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "command", [["pause", "--all"], ["approve", "--all"], ["list"], ["tail"], ["record"]], ids=" ".join
)
@pytest.mark.parametrize("selector", ["", " "])
def test_an_empty_selector_does_not_select_everything(
    command: list[str], selector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "-l/--selector: the selector is empty" in refused(capsys, *command, "-l", selector)


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys)
    assert said.startswith("usage: ")
    assert [name for name in NAMES if not re.search(f"^  {name} ", said, re.MULTILINE)] == HIDDEN


def test_every_verb_has_a_command() -> None:
    assert [verb for verb in Verb if verb not in NAMES] == []


@pytest.mark.parametrize("command", NAMES)
def test_the_help_of_every_command_has_an_example_that_can_be_parsed(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"\nexample: rolloutplan {command} " in said
    assert said.startswith(f"usage: rolloutplan {command} ")


# ---- start and completion --------------------------------------------------------------------------------------------


def test_the_help_imports_no_more_than_it_needs() -> None:
    """A third of a second, on any machine, is what these would take alone."""
    program = (
        "import sys; from rolloutplan.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print([name for name in sys.modules if name.split('.')[0] in"
        " ('aiohttp', 'kubernetes', 'kopf', 'pydantic', 'rich', 'yaml')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def completed(typed: str, **environment: str) -> list[str]:
    """What fish is told for what was typed."""
    asked = {
        "_ROLLOUTPLAN_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": typed,
    }
    command = [sys.executable, "-m", "rolloutplan"]
    environment = {**os.environ, **asked, **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("rolloutplan ab", ["abort"]),
        ("rolloutplan cr", []),
        ("rolloutplan lint -o ", ["text", "json", "github"]),
        ("rolloutplan abort --re", ["--reason"]),
        ("rolloutplan abort ch", []),
    ],
)
def test_what_is_completed_without_a_cluster(typed: str, words: list[str]) -> None:
    assert completed(typed, KUBECONFIG="/dev/null") == words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_calls_the_program(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "rolloutplan", "--show-completion", shell]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"_ROLLOUTPLAN_COMPLETE=complete_{shell}" in done.stdout
