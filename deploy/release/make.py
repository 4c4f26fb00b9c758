"""`make release REGISTRY=example.org/team`: everything of a release but the image, from the last commit into dist/.

The same commit gives the same bytes. It needs git, the package index, and helm, which is fetched as for the bed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deploy.release import describe
from deploy.release.describe import Commit
from rolloutplan import __version__ as version
from tests.bed import UnusableError, tools

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
RELEASE_LOCK = "requirements-release.lock"
LOCKS = ("requirements.lock", "deploy/image/build.lock", RELEASE_LOCK, "tests/bed/binaries/helm.txt")
CHART = "deploy/helm/rolloutplan"
SUMS = "SHA256SUMS"
UV = Path(sysconfig.get_path("scripts")) / "uv"
_VALIDATES = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) and "the SBOM is not of its schema")
"""


def release(registry: str, into: Path) -> None:
    """Build all files of the last commit into an empty folder."""
    commit = Commit(_git("rev-parse", "HEAD"), int(_git("log", "-1", "--format=%ct")))
    name = f"rolloutplan-{version}"
    with tempfile.TemporaryDirectory() as scratch:
        sources = Path(scratch, "sources")
        sources.mkdir()
        subprocess.run(f"git archive HEAD | tar -x -C {sources}", cwd=ROOT, shell=True, check=True)  # noqa: S602
        _packages(sources, into, commit)
        _chart(sources, into, registry, commit)
        sbom = _sbom(sources, into, Path(scratch), commit)
        (into / f"{name}.cdx.json").write_text(_json(sbom))
        (into / f"{name}.licences.txt").write_text(describe.licence_list(sbom))
        materials = {lock: sha256(sources / lock) for lock in LOCKS}
    made = describe.statement(commit, registry, _tools(), materials, _sums(into))
    (into / f"{name}.provenance.json").write_text(_json(made))
    (into / SUMS).write_text("".join(f"{each}  {file}\n" for file, each in _sums(into).items()))


def _packages(sources: Path, into: Path, commit: Commit) -> None:
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-d", into]
    _run(command, cwd=sources, env={**os.environ, "SOURCE_DATE_EPOCH": str(commit.time)})


def _chart(sources: Path, into: Path, registry: str, commit: Commit) -> None:
    """Package the chart, with the address of the image in its values. Helm takes over the times of files."""
    values = sources / CHART / "values.yaml"
    values.write_text(describe.with_image(values.read_text(), f"{registry}/rolloutplan", version))
    os.utime(values, (commit.time, commit.time))
    _run([helm(), "package", sources / CHART, "--destination", into])


def _sbom(sources: Path, into: Path, scratch: Path, commit: Commit) -> dict[str, object]:
    """Describe an environment of the locked packages and our wheel, and check that against the schema."""
    lock = describe.locked((sources / "requirements.lock").read_text())
    environment = installed(scratch / "environment", sources / "requirements.lock")
    programs = installed(scratch / "programs", sources / RELEASE_LOCK) / "bin"
    ours: list[str | Path] = ["--no-deps", "--no-index", "--find-links", into, "rolloutplan"]
    _run([UV, "pip", "install", "--quiet", "--python", environment, *ours])
    form = ["--mc-type", "application", "--spec-version", "1.6", "--output-format", "JSON", "--output-reproducible"]
    of: list[str | Path] = ["--pyproject", sources / "pyproject.toml", environment / "bin/python"]
    found = _run([programs / "cyclonedx-py", "environment", *form, *of])
    (wheel,) = into.glob("*.whl")
    sbom = describe.bill(json.loads(found), lock, version, sha256(wheel), commit)
    _run([programs / "python", "-c", _VALIDATES], given=json.dumps(sbom))
    if fault := describe.bill_fault(sbom, lock):
        sys.exit(f"make release: {fault}")
    return sbom


def installed(environment: Path, lock: Path) -> Path:
    """Make an environment of exactly the packages of a lock."""
    _run([UV, "venv", "--quiet", "--python", sys.executable, environment])
    _run([UV, "pip", "sync", "--quiet", "--python", environment, "--require-hashes", "--only-binary", ":all:", lock])
    return environment


def helm() -> Path:
    """The helm of the bed, which is fetched by its hash the first time."""
    return tools.ensure_parts(["helm"], print)["helm"]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    return {file.name: sha256(file) for file in sorted(folder.iterdir())}


def _tools() -> dict[str, str]:
    """The programs on which the bytes depend."""
    packer = _run([helm(), "version", "--template", "{{.Version}}"])
    return {"python": platform.python_version(), "hatchling": importlib.metadata.version("hatchling"), "helm": packer}


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


def _git(*arguments: str) -> str:
    return _run(["git", *arguments], cwd=ROOT).strip()


def _run(command: Sequence[str | Path], given: str = "", **options: Any) -> str:
    """Run a program and return what it prints; where it fails, end with its complaint."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, **options)  # noqa: S603
    if done.returncode:
        sys.exit(f"make release: {Path(command[0]).name} failed: {' '.join((done.stderr or done.stdout).split())}")
    return str(done.stdout)


def _faults(registry: str) -> Iterable[str]:
    yield describe.registry_fault(registry)
    if not (ROOT / ".git").exists():
        yield "this is no git checkout, and a release is made of a commit: clone the repository"
    yield describe.tree_fault(_git("status", "--porcelain"))


def main() -> int:
    (registry,) = sys.argv[1:]
    if fault := next(filter(None, _faults(registry)), ""):
        sys.exit(f"make release: {fault}")
    with tempfile.TemporaryDirectory() as unfinished:
        try:
            release(registry, Path(unfinished))
        except UnusableError as error:
            sys.exit(f"make release: {error}")
        DIST.mkdir(exist_ok=True)
        for file in sorted(Path(unfinished).iterdir()):
            shutil.copy(file, DIST)
            sys.stdout.write(f"dist/{file.name}\n")
    sys.stdout.write(f"The chart runs {registry}/rolloutplan:{version}: build this image and push it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
