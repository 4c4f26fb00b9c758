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


@pytest.mark.parametrize("columns", ["0", "00", ""])
def test_a_size_of_nothing_is_not_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    screen().print(Text("x" * 190))
    assert capsys.readouterr().out == f"{'x' * 190}\n"
    assert screen().height > 0


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


SAYS = "m._run = lambda _: print('配') or 0"
FAILS = "m._run = lambda _: m.fail('配', 3)"


@pytest.mark.parametrize(
    ("does", "redirected", "code"),
    [
        (SAYS, ">&-", 0),
        (SAYS, "2>&-", 0),
        (FAILS, "2>&-", 3),
        (SAYS, ">/dev/full", 1),
        (FAILS, "2>/dev/full", 1),
        (FAILS, "2> >(exec true)", 141),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_that_cannot_be_written_ends_without_a_traceback(
    does: str, redirected: str, code: int, encoding: str
) -> None:
    program = f"import sys, time; from rolloutplan.cli import main as m; {does}; time.sleep(0.2); sys.exit(m.main([]))"
    ran = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirected}', sys.executable, program],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (ran.returncode, b"Traceback" in ran.stderr, b"Exception" in ran.stderr) == (code, False, False)


def test_what_an_encoding_lacks_is_escaped() -> None:
    program = f"import sys; from rolloutplan.cli import main as m; {SAYS}; sys.exit(m.main([]))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, env=environment)
    assert (ran.returncode, ran.stdout) == (0, b"\\u914d\n")
