"""What a page has its reader type: the calls of programs in text for a shell, taken apart and not run."""

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path

from typer import TyperException

from rolloutplan.cli.app import COMMANDS
from tests.pages import Block

_HERE = re.compile(r"<<-?'?(\w+)'?.*?^\1$", re.DOTALL | re.MULTILINE)
_TOKEN = re.compile(
    r"""\#[^\n]* | (?P<end>[;&|()<>\n]+) | (?P<word>(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s;&|()<>'"\\])+)""",
    re.DOTALL | re.VERBOSE,
)
_KEYWORDS = {"do", "done", "then", "else", "fi", "if", "while", "until", "!"}
_SETTING = re.compile(r"[A-Z_]+=.*")
_VARIABLE = re.compile(r"\$\{?\w+\}?")
ENTRIES = {entry.name: entry for entry in COMMANDS}
_FLAG = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-zA-Z](?!\w))")


def shell(block: Block) -> str:
    """What a shell gets of a block; of one that shows a screen, what follows the prompts."""
    if block.language != "console":
        return block.text
    return "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ "))


def calls(text: str) -> Iterator[list[str]]:
    """Each call of a program as its words: without settings and redirections, and `name` for a variable."""
    words: list[str] = []
    redirected = False
    for token in _TOKEN.finditer(_HERE.sub("", text).replace("\\\n", " ") + "\n"):
        if end := token["end"]:
            redirected = end[-1] in "<>"
            if redirected and words and words[-1].isdigit():
                words.pop()
            if not redirected and words:
                yield words
                words = []
        elif token["word"]:
            word = _VARIABLE.sub("name", "".join(shlex.split(token["word"])))
            if not redirected and (words or (word not in _KEYWORDS and not _SETTING.fullmatch(word))):
                words.append(word)
            redirected = False


def refused(words: Sequence[str]) -> str:
    """Why `rolloutplan` does not take a call, or nothing if it does."""
    _, name, *arguments = words
    if name not in ENTRIES:
        return f"there is no command {name}"
    try:
        ENTRIES[name].load().make_context(name, arguments).close()
    except TyperException as error:
        return error.format_message()
    return ""


def unknown(words: Sequence[str], program: Path | None = None) -> set[str]:
    """The flags of a call that are not in the help of its command: of `rolloutplan`, or of another program."""
    given = {found[0] for word in words if (found := _FLAG.match(word))}
    if not program:
        return given - {"--help"} - {flag for each in ENTRIES[words[1]].load().params for flag in each.opts}
    rest = [*words[1:]]
    while rest[0].startswith("-"):
        rest = rest[2:]  # such as the namespace, before the name of the command
    return given - _flags(program, *takewhile(str.isalpha, rest[:2]))


@cache
def _flags(program: Path, *command: str) -> set[str]:
    """All flags that a program lists for a command; kubectl has those of all commands in a place of their own."""
    texts = [[*command, "--help"], *([["options"]] if program.name == "kubectl" else [])]
    said = (subprocess.run([program, *text], capture_output=True, text=True, check=True).stdout for text in texts)
    return {flag for text in said for flag in _FLAG.findall(text)}
