"""The files that a command line names: folders, standard input, each file once, and its text.

Texts go to files.py. Nothing here knows YAML.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rolloutplan.cli.yaml_read import UnreadableError

STANDARD_INPUT: Final = "-"
ENDINGS: Final = (".yaml", ".yml", ".json")
"""The files that are read in a folder, as kubectl does."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of one file: it is read in some seconds. An object has at most 1.5 MiB in a cluster."""
_MIB: Final = 1024 * 1024
_CHART: Final = "Chart.yaml"
_HELM: Final = re.compile(
    r"{{[^{}]*(\.(Values|Release|Chart|Files|Capabilities)\b|\b(include|template|define|toYaml)\b)"
)
_TEMPLATE: Final = re.compile(r"{{|{%")


class Input(NamedTuple):
    """A file, as it is shown, and how it was found."""

    name: str
    listed: bool
    """Whether it was named, and not found in a folder: then all that is in it is meant."""


class Problem(NamedTuple):
    """What is named and cannot be read; `left_out`: it is part of a folder, whose other files are read."""

    name: str
    error: UnreadableError
    left_out: bool = False


def expand(names: Sequence[str]) -> Iterator[Input | Problem]:
    """Yield the files in their order, each once; a folder stands for its files, but not for hidden ones."""
    seen: set[str] = set()
    for name in names:
        found = [Input(name, listed=True)] if name == STANDARD_INPUT else list(_expanded(name))
        for each in found:
            key = each.name if each.name == STANDARD_INPUT or "\0" in each.name else os.path.realpath(each.name)
            if isinstance(each, Problem) or key not in seen:
                seen.add(key)
                yield each


def _expanded(name: str) -> Iterator[Input | Problem]:
    try:
        if "\0" in name or not os.path.isdir(name):  # noqa: PTH112 - false, too, for a name that can be none
            yield Input(name, listed=True)
            return
        found = list(_in_folder(Path(name), name))
    except OSError as error:
        yield Problem(name, UnreadableError(f"cannot be read: {error.strerror}"))
        return
    if not any(isinstance(each, Input) for each in found):
        words = f"this folder has no manifests: name one with {', '.join(ENDINGS)} files in it"
        found = found or [Problem(name, UnreadableError(words))]
    yield from found


def _in_folder(folder: Path, named: str) -> Iterator[Input | Problem]:
    """Yield the manifests below a folder, by name. Charts are left out: their templates are not YAML."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(entry.name == _CHART for entry in entries):
        words = f"this folder is a Helm chart: render it first: helm template {folder} | rolloutplan lint -"
        yield Problem(str(folder), UnreadableError(words), left_out=folder != Path(named))
        return
    for entry in entries:
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _in_folder(entry, named)
        elif entry.suffix.lower() in ENDINGS:
            yield Input(str(entry), listed=False)


def text_of(name: str) -> str:
    """Return the text of a file; "-" is standard input. Raises UnreadableError."""
    data = _bytes_of(name)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[1:4:2] or b"\0" in data[:4:2]:
        raise UnreadableError("is UTF-16 or UTF-32, not UTF-8: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(data, error.start)
        words = f"is not UTF-8: byte 0x{data[error.start]:02x} is no character (Latin-1?): save it as UTF-8"
        raise UnreadableError(words, line, column) from None
    if "\0" in text:
        at = text.index("\0")
        words = "has a NUL byte, so it is no text: write it again"
        raise UnreadableError(words, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
    return text


def _place(data: bytes, at: int) -> tuple[int, int]:
    begins = data.rfind(b"\n", 0, at) + 1
    return data.count(b"\n", 0, at) + 1, len(data[begins:at].decode(errors="replace")) + 1


def _bytes_of(name: str) -> bytes:
    if not name:
        raise UnreadableError("a file without a name: is a variable empty that should have it?")
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(_refused(name, error)) from None
    if len(data) > MAX_BYTES:
        words = f"is larger than {MAX_BYTES // _MIB} MiB: name files with the plans and what belongs to them"
        raise UnreadableError(words)
    return data


def _refused(name: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError) and os.path.islink(name):  # noqa: PTH114 - the name as it was given
        return f"is a link to {os.readlink(name)}, which does not exist"  # noqa: PTH115 - see above
    words = getattr(error, "strerror", None) or error
    glob = isinstance(error, FileNotFoundError) and re.search(r"[*?\[]", name)
    return f"cannot be read: {words}{': the pattern matches no file' if glob else ''}"


def template_words(text: str, *, invalid: bool) -> str:
    """Return that a text is a template and no manifest; "" where it is none. `invalid`: it cannot be read as YAML."""
    if _HELM.search(text):
        return "this looks like a Helm template: render it first: helm template CHART | rolloutplan lint -"
    if invalid and _TEMPLATE.search(text):
        return "invalid YAML. This looks like a template ({{ }}): render it first, and lint the result"
    return ""
