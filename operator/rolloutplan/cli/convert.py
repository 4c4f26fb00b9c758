"""Turn Rollouts of Argo and Canaries of Flagger in files into Deployments, plans and templates.

What is written, and the notes, come from tools/convert/; nothing is asked of a cluster.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import typer

from rolloutplan.api.printable import line, printable
from rolloutplan.cli.files import UNREADABLE, ParsedObject, cannot_all_be_read, format_diagnostic, read_files
from rolloutplan.cli.options import Files
from rolloutplan.cli.output import fail
from rolloutplan.cli.yaml_read import find
from rolloutplan.tools.convert.convert import KINDS, convert_object
from rolloutplan.tools.convert.draft import CannotConvertError, Note, Objects

DONE, FAILED = 0, 1
_CANNOT: Final = "cannot"


def convert(
    files: Files,
    provider: Annotated[
        str,
        typer.Option(metavar="NAME", help="of Canaries that name none: Flagger's -mesh-provider, such as istio"),
    ] = "",
    output: Annotated[
        Literal["text", "json"], typer.Option("-o", "--output", help="how notes are written to stderr")
    ] = "text",
) -> int:
    """The objects go to standard output, and what could not be carried over, with the reason, to stderr.

    Name the files of the Deployments, Services and templates that belong to them too. Exit 0 if all are written, 1 if
    one cannot be converted, 2 if a file cannot be read.
    """
    found, unreadable = read_files(files)
    if cannot_all_be_read(unreadable):
        sys.stderr.write("".join(f"{printable(format_diagnostic(row))}\n" for row in unreadable))
        return UNREADABLE
    wanted = [each for each in found if each.kind in KINDS and KINDS[each.kind] == _group(each)]
    if not wanted:
        return fail("these files have no Rollout of Argo and no Canary of Flagger: name a file with one", FAILED)
    objects = Objects(each.raw for each in found)
    rows: list[dict[str, object]] = []
    code = DONE
    for each in wanted:
        try:
            text, notes = convert_object(each.raw, objects, provider)
        except CannotConvertError as error:
            rows.append(_row(each, Note("", "left out", f"cannot be converted: {error}")) | {"what": _CANNOT})
            code = FAILED
            continue
        print(text, end="")
        rows += [_row(each, note) for note in notes]
    _tell(rows, output)
    return code


def _group(found: ParsedObject) -> str:
    return str(found.raw.get("apiVersion", "")).partition("/")[0] if isinstance(found.raw, dict) else ""


def _row(found: ParsedObject, note: Note) -> dict[str, object]:
    """A note with the place of its field in the file; of one in a template, that of what refers to it."""
    place, _ = find(found.node, note.path.partition(":")[0])
    return {
        "file": found.file,
        "line": place.line,
        "column": place.column,
        "object": found.subject,
        "path": note.path,
        "what": note.what,
        "message": line(note.words),
    }


def _tell(rows: Sequence[dict[str, object]], output: str) -> None:
    if output == "json":
        sys.stderr.write(json.dumps(rows, indent=2) + "\n")
        return
    for row in rows:
        named = " ".join(f"{part}" for part in (row["object"], row["path"]) if part)
        what = "" if row["what"] == _CANNOT else f"{row['what']}: "
        text = f"{row['file']}:{row['line']}:{row['column']}: {what}{named}: {row['message']}"
        sys.stderr.write(f"{line(text)}\n")
