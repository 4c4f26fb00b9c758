"""The version before this one, from the history of the repository: its operator and its CRDs, for tests of upgrades."""

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.shop import ROOT

UNTAGGED: Final = "5ae80857fa557e222f269be6c0ef6ca510e60ce1"
"""The previous version while no release has a tag: the last commit with other fields in `status.stage`."""


class NotThereError(Exception):
    """The previous version cannot be unpacked; the text says why, and what to do."""


def version() -> str:
    """The commit or tag of the previous version: PREVIOUS of the environment, the last tag, or UNTAGGED."""
    return os.environ.get("PREVIOUS") or _git("describe", "--tags", "--abbrev=0", "HEAD~1") or UNTAGGED


def unpack(folder: Path) -> Path:
    """Write the operator and the deployment of the previous version into a folder, and return the folder.

    Raises NotThereError where the history does not have it.
    """
    commit = version()
    if not _git("rev-parse", "--verify", f"{commit}^{{commit}}"):
        raise NotThereError(f"{commit} is not in this clone: git fetch --unshallow --tags, or name another in PREVIOUS")
    archive = subprocess.run(
        ["git", "archive", commit, "operator", "deploy"], cwd=ROOT, capture_output=True, check=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


def _git(*words: str) -> str:
    """What git says; empty where it fails, as where there is no repository."""
    found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""
