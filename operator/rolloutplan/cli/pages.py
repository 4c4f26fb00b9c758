"""Write what is generated from the code: the definitions, the pages of the documentation, the rights in the chart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from rolloutplan.generate import crd
from rolloutplan.generate.dashboard import dashboard as dashboard_file
from rolloutplan.generate.gitops import files as gitops_files
from rolloutplan.generate.reference import reference as reference_page
from rolloutplan.generate.rights import rights as rights_file
from rolloutplan.generate.routers import routers as routers_page
from rolloutplan.generate.states import states as states_page

File: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="where to write it (default: standard output)")
]


def crds(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIRECTORY", help="where to write them (default: standard output)")
    ] = None,
) -> int:
    for name, definition in crd.crds().items():
        text = crd.render(definition)
        _write(f"---\n{text}" if directory is None else text, directory and directory / name)
    return 0


def reference(file: File = None) -> int:
    return _write(reference_page(), file)


def states(file: File = None) -> int:
    return _write(states_page(), file)


def rights(file: File = None) -> int:
    return _write(rights_file(), file)


def routers(file: File = None) -> int:
    return _write(routers_page(), file)


def gitops(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="the folder that has argocd with its scripts")],
) -> int:
    for name, text in gitops_files(directory / "argocd").items():
        _write(text, directory / name)
    return 0


def dashboard(file: File = None) -> int:
    return _write(dashboard_file(), file)


def _write(text: str, file: Path | None) -> int:
    if file is None:
        sys.stdout.write(text)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return 0
