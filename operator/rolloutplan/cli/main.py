"""The entry point, as `rolloutplan` and as `kubectl rolloutplan`: runs the command that was called."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

import typer

from rolloutplan.cli.app import COMMANDS
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.usage import command_line, wrong_call, wrong_code

CLOSED_PIPE: Final = 141
"""The exit code where the reader of the output has closed it: that of other programs, which SIGPIPE ends."""
_COMPLETION: Final = "_ROLLOUTPLAN_COMPLETE"
"""The variable by which the script of a shell asks for completions."""
_ONE_LINE: Final = "1000"
"""Columns: typer breaks a description at the width of the terminal, and each line of it would be a completion."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed, 2 wrong usage, 3 refused, 141 a closed pipe."""
    _make_writable()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else [*arguments])
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads has seen enough, as in `| head`
        return CLOSED_PIPE
    except OSError as error:
        with suppress(OSError):  # stderr may be what cannot be written
            fail(": ".join(str(part) for part in (error.filename, error.strerror) if part), 1)
        return 1
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def _make_writable() -> None:
    """Open what the caller has closed, and escape the characters that an encoding lacks."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - open to the exit
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go(stream: TextIO) -> None:
    """Drop what cannot be written, so that nothing fails at the exit of Python, which has an exit code of its own."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complete() -> int:
    """Complete what was typed for kubectl, which calls this as kubectl_complete-rolloutplan.

    Its lines are those of fish: a name, a tab and words. The 4 says that names of files are no completions.
    """
    os.environ |= {
        _COMPLETION: "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": shlex.join(["rolloutplan", *sys.argv[1:]]).removesuffix("''"),
    }
    said = StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        main([])
    print(*filter(None, said.getvalue().splitlines()), ":4", sep="\n")
    return 0


def _run(arguments: list[str]) -> int:
    name = "kubectl rolloutplan" if Path(sys.argv[0]).stem == "kubectl-rolloutplan" else "rolloutplan"
    example = "simulate plan.yaml --traffic 12/s"
    commands = command_line(COMMANDS, example, completion=name == "rolloutplan")  # kubectl completes by itself
    if _COMPLETION in os.environ:
        os.environ["COLUMNS"] = _ONE_LINE
        commands.main(prog_name="rolloutplan")
    try:
        with commands.make_context(name, arguments) as context:
            return int(commands.invoke(context))
    except CliError as error:
        return fail(str(error), error.code)
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None
    except typer.TyperException as error:
        sys.stderr.write(wrong_call(error, name))
        raise SystemExit(wrong_code(error)) from None
