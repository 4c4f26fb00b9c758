"""The form of the command line: commands that are imported when they are called, help, and answers to wrong calls.

typer parses; the rows with the commands come from app.py, and main.py runs what this builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from inspect import getdoc
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from rolloutplan import __version__
from rolloutplan.api.printable import printable

_LEAST: Final = re.compile(r"Input should be greater than or equal to (?P<least>\d+)")
_CHOICE: Final = ("Value error, '", "' is not one of ")
"""Where the message about a choice has the given text, and before the names: these contain none of it."""
_INVALID: Final = re.compile(r"Invalid value(?: for (?P<where>'.+?'))?: (?P<words>.+)", re.DOTALL)
_MISSING: Final = re.compile(r"Missing (?:argument|option) (?P<where>'.+?')\..*", re.DOTALL)
_UNKNOWN: Final = re.compile(r"No such option: (?P<given>\S+).*", re.DOTALL)
_VALUE: Final = re.compile(r"Option '(?P<where>.+?)' (?P<words>requires an argument|does not take a value)\.")
_EXTRA: Final = re.compile(r"Got unexpected extra argument\(s\) \((?P<given>.*)\)", re.DOTALL)
_NEAR: Final = 0.7
"""How alike an option must be that is suggested: all of them begin with the same two characters."""
_WIDEST: Final = 110
"""Columns of help in a wider terminal: longer lines are hard to read."""
INSTEAD: Final[Mapping[str, str]] = {
    "events": "tail tells the decisions about all plans",
    **dict.fromkeys(("watch", "show"), "status -w shows a plan as it changes"),
    **dict.fromkeys(("get", "ls", "plans"), "list shows the plans"),
    **dict.fromkeys(("describe", "log", "logs", "decisions"), "history shows the decisions about a plan"),
    **dict.fromkeys(("rollback", "back", "stop", "cancel"), "abort restores the old weights and ends the run"),
    **dict.fromkeys(("migrate", "import"), "convert turns Rollouts of Argo and Canaries of Flagger into plans"),
    **dict.fromkeys(("check", "validate", "verify"), "lint checks files"),
    **dict.fromkeys(("test", "try"), "rehearse runs the plans in files through, with faults"),
    "plan": "simulate shows what a plan would take",
    **dict.fromkeys(("dry-run", "preview"), "diff shows what applying files would change"),
    **dict.fromkeys(("continue", "unpause"), "resume goes on after a pause"),
    **dict.fromkeys(("apply", "create", "start", "run"), "`kubectl apply -f plan.yaml` starts a plan"),
}
"""What people look for under a name that no command has."""


@dataclass(frozen=True, slots=True)
class Section:
    """Commands that stand together in the help."""

    title: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One command. `target` is the module of `rolloutplan.cli` and its function: both have its name by default."""

    name: str
    section: Section
    words: str
    example: str
    """What follows the name in an example."""
    target: str = ""
    wrong: int = 2
    """The exit code of a wrong call."""

    def load(self) -> Command:
        """Import the function and read its parameters. Its docstring follows the words in the help."""
        module, _, name = (self.target or f"{self.name}:{self.name}").partition(":")
        function = getattr(import_module(f"rolloutplan.cli.{module}"), name)
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        words = f"{self.words[:1].upper()}{self.words[1:]}."
        app.command(self.name, cls=Command, help=f"{words}\n\n{getdoc(function) or ''}", epilog=self.example)(function)
        loaded = get_command(app)
        assert isinstance(loaded, Command)
        loaded.wrong = self.wrong
        return loaded


class _Plain:
    """The parts of the help that are written in another form than typer's. `ctx` and `formatter` are those of typer."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix="usage: ")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(_called(each) for each in _arguments(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, params in (("arguments", _arguments(ctx)), ("options", _options(ctx))):
            rows = [(_called(each), each.help or "") for each in params if not each.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        example = getattr(self, "epilog", "")
        formatter.write(f"\nexample: {ctx.command_path} {example}\n")


class Command(_Plain, TyperCommand):
    """One command, loaded."""

    wrong: int = 2

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with -o=json as kubectl has it, which typer would read as the value "=json"."""
        short = {name for each in self.params for name in each.opts if not name.startswith("--")}
        given = [f"{each[:2]}{each[3:]}" if each[:2] in short and each[2:3] == "=" else each for each in args]
        with _named(ctx):
            return super().parse_args(ctx, given)

    def invoke(self, ctx: Any) -> Any:
        with _named(ctx):
            return super().invoke(ctx)


@contextmanager
def _named(ctx: Any) -> Iterator[None]:
    """Note in an error of which command it is, where typer has not."""
    try:
        yield
    except typer.TyperException as error:
        error.__dict__["ctx"] = error.__dict__.get("ctx") or ctx
        raise


class _Later(TyperCommand):
    """A command that is loaded when it is called, or completed."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, short_help=entry.words, help=entry.words, hidden=entry.section.hidden)
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.entry.load().make_context(info_name, args, parent=parent, **extra)


class Commands(_Plain, TyperGroup):
    """All of them."""

    commands: Mapping[str, _Later]  # type: ignore[assignment]  # typer's may be any

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's form
        return ["COMMAND"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = [each.entry for each in self.commands.values() if not each.hidden]
        for section in dict.fromkeys(entry.section for entry in shown):
            with formatter.section(section.title):
                formatter.write_dl([(entry.name, entry.words) for entry in shown if entry.section == section])
        super().format_options(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the first argument; else say what was probably meant."""
        given = args[0]
        if given in self.commands or given.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        shown = [name for name, each in self.commands.items() if not each.hidden]
        near = get_close_matches(given, list(self.commands), n=1)
        hint = INSTEAD.get(given.lower()) or (f"did you mean {near[0]}?" if near else "")
        return ctx.fail(f'"{given}" is not a command{f": {hint}" if hint else ""}\ncommands: {", ".join(shown)}')


def command_line(entries: Iterable[Entry], example: str, *, completion: bool = True) -> Commands:
    """Build the whole command line; with `completion`, also the options that install it in a shell."""
    app = typer.Typer(
        add_completion=completion,
        cls=Commands,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
        epilog=example,
    )
    app.callback()(rolloutplan)
    built = get_command(app)
    assert isinstance(built, Commands)
    for entry in entries:
        built.add_command(_Later(entry))
    return built


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rolloutplan {__version__}")
        raise typer.Exit


def rolloutplan(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Progressive delivery, one proved step at a time. `COMMAND --help` explains a command."""


# ---- a wrong call ----------------------------------------------------------------------------------------------------


def wrong_code(error: typer.TyperException) -> int:
    """The exit code of a wrong call: that of its command."""
    ctx = getattr(error, "ctx", None)
    command = ctx.command if ctx is not None else None
    return command.wrong if isinstance(command, Command) else 2


def wrong_call(error: typer.TyperException, name: str) -> str:
    """What a wrong call is told: a line or two, and where the rest is said; without any command, the help."""
    ctx = getattr(error, "ctx", None)
    words = error.format_message()
    if words.startswith("usage: "):
        return f"{words}\n"
    program = ctx.command_path if ctx is not None else name
    return printable(f"{program}: {_plain(words, ctx)}\n{program} --help explains it\n")


def _plain(words: str, ctx: Any) -> str:
    if found := _INVALID.fullmatch(words):
        where = found["where"].replace("'", "").replace(" ", "") if found["where"] else ""
        return f"{where}{': ' if where else ''}{_of_value(found['words'])}"
    if found := _UNKNOWN.fullmatch(words):
        options = [name for each in _options(ctx) for name in each.opts]
        near = get_close_matches(found["given"], options, n=1, cutoff=_NEAR)
        return f'"{found["given"]}" is not an option{f": did you mean {near[0]}?" if near else ""}'
    if found := _EXTRA.fullmatch(words):
        return f'"{found["given"].split(" ")[0]}" is not expected here'
    if found := _VALUE.fullmatch(words):
        return f"{found['where']}: {'a value is missing' if found['words'][0] == 'r' else 'it takes no value'}"
    if found := _MISSING.fullmatch(words):
        where = found["where"].replace("'", "").replace(" ", "")
        return f"{where} is missing\n{ctx.get_usage()}"
    return words


def _of_value(words: str) -> str:
    """What is wrong with a value; of a choice, with the nearest name."""
    if words.startswith("Input should be a valid integer"):
        return "write a whole number, such as 3"
    if found := _LEAST.match(words):
        return f"write {found['least']} or more"
    start, middle = _CHOICE
    given, is_choice, names_text = words.removeprefix(start).rpartition(middle)
    if not is_choice or not words.startswith(start):
        return words
    names = names_text.rstrip(".").replace("'", "").split(", ")
    near = get_close_matches(given, names, n=1)
    return f'"{given}" is not one of {", ".join(names)}{f" (did you mean {near[0]}?)" if near else ""}'


def _arguments(ctx: Any) -> list[Any]:
    return [each for each in ctx.command.get_params(ctx) if each.param_type_name == "argument"]


def _options(ctx: Any) -> list[Any]:
    return [each for each in ctx.command.get_params(ctx) if each.param_type_name == "option"]


def _called(param: Any) -> str:
    """A parameter in the help: FILE..., [PLAN], -n/--namespace NAMESPACE."""
    value = param.metavar or param.name.upper()
    if param.param_type_name == "argument":
        several = "..." if param.nargs != 1 else ""
        return f"{value}{several}" if param.required else f"[{value}{several}]"
    if not param.is_flag and param.metavar is None and (choices := param.type_descriptor.choices):
        value = "|".join(map(str, choices))
    names = ", ".join(sorted(param.opts, key=len))
    return names if param.is_flag or param.count else f"{names} {value}"
