"""What the command line says of itself: errors in plain words with the nearest name, an example of each command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NoReturn

_CHOICE: Final = re.compile(
    r"(?:argument (?P<where>[^:]+): )?invalid choice: (?P<given>.+?) \(choose from (?P<names>[^()]+)\)"
)
_UNKNOWN: Final = re.compile(r"unrecognized arguments: (?P<given>.+)", re.DOTALL)
_MISSING: Final = re.compile(r"the following arguments are required: (?P<names>.+)")
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_NEAR: Final = 0.7
"""How alike an option must be that is suggested: all of them begin with the same two characters."""
COMMAND: Final = "COMMAND"
"""How the command is called in the usage."""
INSTEAD: Final[Mapping[str, str]] = {
    **dict.fromkeys(("status", "get", "list", "watch"), "`kubectl get rp -n NAMESPACE -w` shows the plans"),
    **dict.fromkeys(("describe", "log", "logs", "history", "events"), "`kubectl describe rp PLAN` shows its decisions"),
    **dict.fromkeys(("rollback", "back", "stop", "cancel"), "abort restores the old weights and ends the run"),
    **dict.fromkeys(("check", "validate", "verify"), "lint checks files"),
    **dict.fromkeys(("plan", "dry-run", "preview"), "simulate shows what a plan would take"),
    **dict.fromkeys(("continue", "unpause"), "resume goes on after a pause"),
    **dict.fromkeys(("apply", "create", "start", "run"), "`kubectl apply -f plan.yaml` starts a plan"),
    "version": "write --version",
}
"""What people look for under a name that no command has."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors fit a screen, and name what was probably meant."""

    def __init__(self, *arguments: object, example: str = "", **options: object) -> None:
        if example:
            options["epilog"] = f"example: {example}"
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # those of ArgumentParser

    def parse_known_args(  # type: ignore[override]  # typeshed has it overloaded
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as usual; what is left over is an error of the command that was given it, which knows its options."""
        chosen, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return chosen, rest

    def error(self, message: str) -> NoReturn:
        """End with an error in a line or two, and where the rest is said; without any command, with the help."""
        if (missing := _MISSING.fullmatch(message)) and missing["names"] == COMMAND:
            self.exit(2, self.format_help())
        self.exit(2, f"{self.prog}: {self._plain(message)}\n{self.prog} --help explains it\n")

    def _plain(self, message: str) -> str:
        if found := _CHOICE.fullmatch(message):
            names = [name.strip("' ") for name in found["names"].split(", ")]
            return _no_choice(found["given"].strip("'"), names, found["where"] or "")
        if found := _UNKNOWN.fullmatch(message):
            return _left_over(found["given"].split(), _OPTION.findall(self.format_help()))
        if found := _MISSING.fullmatch(message):
            return f"{found['names']} is missing\n{self.format_usage().rstrip()}"
        return message.removeprefix("argument ")


def _no_choice(given: str, names: Sequence[str], where: str) -> str:
    near = get_close_matches(given, names, n=1)
    if where == COMMAND:
        hint = INSTEAD.get(given.lower()) or (f"did you mean {near[0]}?" if near else "")
        return f'"{given}" is not a command{f": {hint}" if hint else ""}\ncommands: {", ".join(names)}'
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f'{where}: "{given}" is not one of {", ".join(names)}{hint}'


def _left_over(given: Sequence[str], options: Sequence[str]) -> str:
    first = given[0]
    near = get_close_matches(first.partition("=")[0], options, n=1, cutoff=_NEAR) if first.startswith("-") else []
    hint = f": did you mean {near[0]}?" if near else ""
    kind = "an option" if first.startswith("-") else "expected here"
    return f'"{first}" is not {kind}{hint}'
