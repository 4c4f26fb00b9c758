"""How results are shown: on a terminal with rich, and as JSON, YAML or names for programs.

Colours are for terminals only, and not where NO_COLOR is set; rich sees to both. A view is a function that makes
something to show of objects, a time and a width, and `screen().print(view)` shows it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NoReturn, TypeAlias

import typer
import yaml
from rich.console import Console, RenderableType

from rolloutplan.api import safe_get

WIDE: Final = 200
"""Columns where nobody looks: in a pipe or a file, no cell is cut."""
_SIZES: Final = frozenset({"COLUMNS", "LINES"})
"""Where a size of 0 is set, as by a pipeline without a terminal, it is not known: rich would show nothing."""

Format: TypeAlias = Literal["text", "json", "yaml", "name"]
Output: TypeAlias = Annotated[Format, typer.Option("-o", "--output", help="text (the default), or for programs")]


class Screen(Console):
    """A console of rich. A closed pipe ends the command as everywhere else: main.py catches BrokenPipeError."""

    @property
    def is_watched(self) -> bool:
        """Whether a person looks at it. FORCE_COLOR asks for colours, and makes no terminal of a pipe."""
        return self.file.isatty()

    def show(self, view: RenderableType) -> None:
        """Print a view. A command in it may be longer than a line: the terminal breaks it, and a copy has no breaks."""
        self.print(view, crop=False)

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def screen(*, stderr: bool = False, width: int | None = None) -> Screen:
    """Make the console: plain text is printed as it is, without markup, emoji and colours of its own."""
    file = sys.stderr if stderr else sys.stdout
    environment = {name: text for name, text in os.environ.items() if name not in _SIZES or text.strip("0")}
    if width is None and not file.isatty() and "COLUMNS" not in environment:
        width = WIDE
    return Screen(
        stderr=stderr,
        width=width,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        _environ=environment,
    )


def show_objects(objects: Sequence[Any], output: Format, *, several: bool = True) -> None:
    """Print objects for programs: as JSON or YAML, a list unless it is not `several`; or as names, as kubectl does."""
    whole = list(objects) if several or len(objects) != 1 else objects[0]
    if output == "json":
        print(json.dumps(whole, indent=2))
    elif output == "yaml":
        print(yaml.safe_dump(whole, sort_keys=False, allow_unicode=False), end="")
    else:
        for each in objects:
            print(name_of(each))


def name_of(raw: Any) -> str:
    """The name of an object as kubectl takes it: rolloutplan.rolloutplan.dev/checkout-v2."""
    group = safe_get.text(raw, "apiVersion").rpartition("/")[0]
    kind = safe_get.text(raw, "kind").lower()
    return f"{kind}{'.' * bool(group)}{group}/{safe_get.text(raw, 'metadata', 'name')}"
