"""What is built of this repository: a wheel and a source archive with what they need, and the plugin for krew."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from rolloutplan import __version__

ROOT = Path(__file__).parents[2]
KREW = ROOT / "deploy" / "krew"


def built(what: str, source: Path, into: Path) -> Path:
    """Build a wheel or an sdist of a folder, without the network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = into.iterdir()
    return made


def modules() -> set[str]:
    package = ROOT / "operator" / "rolloutplan"
    return {f"rolloutplan/{file.relative_to(package)}" for file in package.rglob("*.py")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_every_module_and_both_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        (scripts,) = (packed.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        (metadata,) = (packed.read(name).decode() for name in names if name.endswith("METADATA"))
    assert modules() | {"rolloutplan/py.typed"} <= names
    assert not [
        name for name in names if not name.startswith(("rolloutplan/", f"rolloutplan-{__version__}.dist-info/"))
    ]
    for command in ("rolloutplan", "kubectl-rolloutplan"):
        assert f"{command} = rolloutplan.cli.main:main" in scripts
    assert "kubectl_complete-rolloutplan = rolloutplan.cli.main:complete" in scripts
    assert f"Version: {__version__}" in metadata


def test_the_command_line_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment; the package is the wheel's."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    plan = ROOT / "examples" / "counts.yaml"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "rolloutplan", "lint", str(plan)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    where = "import rolloutplan; print(rolloutplan.__file__)"
    asked = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert asked.stdout.startswith(str(tmp_path))


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    source = built("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(source) as packed:
        packed.extractall(tmp_path, filter="data")
    (folder,) = (each for each in tmp_path.iterdir() if each.name.startswith("rolloutplan-"))
    assert {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"} <= {each.name for each in folder.iterdir()}
    again = built("wheel", folder, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


# ---- the plugin for krew -------------------------------------------------------------------------


def test_the_manifest_in_the_repository_is_valid_and_of_this_version() -> None:
    check_manifest(yaml.safe_load((KREW / "rolloutplan.yaml").read_text()))


def test_the_plugin_is_built_with_its_checksum_and_its_address(tmp_path: Path) -> None:
    script, url = KREW / "package.py", "https://example.com/plugin.tar.gz"
    program = (
        f"import runpy, pathlib; runpy.run_path({str(script)!r})['build'](pathlib.Path({str(tmp_path)!r}), {url!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    manifest = yaml.safe_load((tmp_path / "rolloutplan.yaml").read_text())
    check_manifest(manifest)
    archive = tmp_path / f"rolloutplan-{__version__}.tar.gz"
    (platform,) = manifest["spec"]["platforms"]
    assert (platform["uri"], platform["sha256"]) == (url, hashlib.sha256(archive.read_bytes()).hexdigest())
    with tarfile.open(archive) as packed:
        modes = {each.name: each.mode for each in packed}
    assert modes[platform["bin"]] == modes["kubectl_complete-rolloutplan"] == 0o755
    assert {"LICENSE", "requirements.lock", f"rolloutplan-{__version__}-py3-none-any.whl"} < modes.keys()


@pytest.mark.parametrize(("is_set_up", "said"), [(True, "wait\tcheckout-v2\n"), (False, "")])
def test_kubectl_completes_the_plugin_once_it_is_set_up(tmp_path: Path, is_set_up: bool, said: str) -> None:
    links, plugin = tmp_path / "bin", tmp_path / "store" / "v1"
    made = [plugin / "kubectl-rolloutplan", *([plugin / "venv/bin/kubectl_complete-rolloutplan"] if is_set_up else [])]
    for each in made:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text('#!/bin/sh\nprintf "%s\\t%s\\n" "$@"\n')
        each.chmod(0o755)
    links.mkdir()
    (links / "kubectl-rolloutplan").symlink_to(plugin / "kubectl-rolloutplan")
    (links / "kubectl_complete-rolloutplan").write_bytes((KREW / "kubectl_complete-rolloutplan").read_bytes())
    environment = {**os.environ, "PATH": f"{links}:{os.environ['PATH']}"}
    command = ["sh", str(links / "kubectl_complete-rolloutplan"), "wait", "checkout-v2"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == (said, "")


def check_manifest(manifest: dict[str, object]) -> None:
    """What krew checks of a manifest (`pkg/index/validate` there)."""
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert (manifest["kind"], manifest["metadata"]) == ("Plugin", {"name": "rolloutplan"})
    spec = manifest["spec"]
    assert isinstance(spec, dict)
    assert spec["version"] == f"v{__version__}"
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", spec["version"])
    assert spec["shortDescription"]
    assert "\n" not in spec["shortDescription"]
    assert spec.keys() <= {"version", "homepage", "shortDescription", "description", "caveats", "platforms"}
    for platform in spec["platforms"]:
        assert platform.keys() <= {"selector", "uri", "sha256", "files", "bin"}
        assert platform["uri"].startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", platform["sha256"])
        assert platform["bin"] == "kubectl-rolloutplan"
        for expression in platform["selector"]["matchExpressions"]:
            assert (expression["key"], expression["operator"]) == ("os", "In")
