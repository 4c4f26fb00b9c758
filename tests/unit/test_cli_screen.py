"""How results are shown: for people on a terminal, for programs, and to whoever closes the pipe."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from rich.text import Text

from rolloutplan.cli.screen import name_of, screen, show_objects

PLAN = {"apiVersion": "rolloutplan.dev/v1alpha1", "kind": "RolloutPlan", "metadata": {"name": "a"}, "note": "\x1b[2J"}


def test_objects_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    for output, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        for several, wanted in ((True, [PLAN]), (False, PLAN)):
            show_objects([PLAN], output, several=several)  # type: ignore[arg-type]
            said = capsys.readouterr().out
            assert read(said) == wanted
            assert "\x1b" not in said
    show_objects([PLAN, PLAN], "name")
    assert capsys.readouterr().out == "rolloutplan.rolloutplan.dev/a\n" * 2


def test_a_name_is_as_kubectl_takes_it() -> None:
    assert name_of({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}) == "pod/b"
    assert name_of({}) == "/"


def test_what_is_no_terminal_gets_no_colours_and_no_cut_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    screen().print(Text("x" * 190, style="bold red"))
    assert capsys.readouterr().out == f"{'x' * 190}\n"


def test_markup_of_others_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen().print("[red]:bomb: 1.5x[/red]")
    assert capsys.readouterr().out == "[red]:bomb: 1.5x[/red]\n"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_unless_they_are_not_wanted(no_color: str, coloured: bool) -> None:
    program = "from rich.text import Text; from rolloutplan.cli.screen import screen; screen().print(Text('x', 'red'))"
    leader, follower = os.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", program], stdout=follower, env=environment, check=True)
    os.close(follower)
    said = os.read(leader, 1000)
    os.close(leader)
    assert (b"\x1b[" in said) == coloured


def test_a_closed_pipe_ends_the_command_as_it_ends_other_programs() -> None:
    program = (
        "import sys; from rolloutplan.cli import main as m; from rolloutplan.cli.screen import screen;"
        "m._run = lambda _: screen().print('x' * 100_000); sys.exit(m.main([]))"
    )
    ran = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert ran.stdout is not None
    assert ran.stderr is not None
    ran.stdout.close()
    assert (ran.wait(), ran.stderr.read()) == (141, b"")
    ran.stderr.close()
