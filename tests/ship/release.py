"""A release: the same bytes twice, an SBOM of all that is locked, and packages that install and run."""

import json
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deploy.release import describe, make
from rolloutplan import __version__

REGISTRY = "example.org/team"
NAME = f"rolloutplan-{__version__}"
Say = Callable[[str, object], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("release"))


def built(folder: Path) -> Path:
    make.release(REGISTRY, folder)
    return folder


def run(command: list[str | Path], **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_one_commit_gives_the_same_bytes_twice(made: Path, tmp_path: Path, record_property: Say) -> None:
    again = built(tmp_path)
    for file in sorted(made.iterdir()):
        record_property(file.name, f"{file.stat().st_size / 1000:.0f} kB")
    differ = [file.name for file in made.iterdir() if file.read_bytes() != (again / file.name).read_bytes()]
    record_property("files that differ between two builds", len(differ))
    assert differ == []
    assert run(["sha256sum", "--check", "--quiet", make.SUMS], cwd=made).stderr == ""


def test_the_sbom_has_every_locked_package_with_hashes_and_licences(made: Path, record_property: Say) -> None:
    sbom = json.loads((made / f"{NAME}.cdx.json").read_text())
    lock = describe.locked((make.ROOT / "requirements.lock").read_text())
    elsewhere = [name for name, each in lock.items() if each.only]
    record_property("components of the SBOM", f"{len(sbom['components'])} of {len(lock)} locked")
    record_property("locked for other platforms only", ", ".join(elsewhere))
    counted = Counter(describe.licences(sbom).values())
    record_property("licences", ", ".join(f"{licence} {times}" for licence, times in counted.most_common()))
    assert len(sbom["components"]) + len(elsewhere) == len(lock)
    assert [each["name"] for each in sbom["components"] if not each["hashes"]] == []


def test_the_chart_needs_no_value(made: Path, record_property: Say) -> None:
    objects = yaml.safe_load_all(run([make.helm(), "template", "rolloutplan", made / f"{NAME}.tgz"]).stdout)
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    record_property("image of the chart", container["image"])
    assert container["image"] == f"{REGISTRY}/rolloutplan:{__version__}"


@pytest.mark.parametrize("file", [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"], ids=["wheel", "sdist"])
def test_a_package_installs_in_an_empty_environment_and_runs(made: Path, tmp_path: Path, file: str) -> None:
    environment = tmp_path / "environment"
    assert run([make.UV, "venv", "--quiet", environment]).stderr == ""
    assert run([make.UV, "pip", "install", "--quiet", "--python", environment, made / file]).stderr == ""
    runs(environment / "bin")


def test_pipx_installs_the_wheel_with_both_programs(made: Path, tmp_path: Path, record_property: Say) -> None:
    tools = make.installed(tmp_path / "tools", make.ROOT / make.RELEASE_LOCK)
    folders = {f"PIPX_{name}": str(tmp_path / name) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    wheel = made / f"{NAME}-py3-none-any.whl"
    done = run([tools / "bin/pipx", "install", wheel], env={**os.environ, **folders})
    assert done.returncode == 0, done.stderr
    runs(tmp_path / "BIN_DIR")
    record_property("pipx install", ", ".join(sorted(each.name for each in (tmp_path / "BIN_DIR").iterdir())))


def runs(programs: Path) -> None:
    """Fail unless the command line and the kubectl plugin run from this folder."""
    environment = {**os.environ, "PATH": f"{programs}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for command in (["rolloutplan", "--help"], ["rolloutplan", "crds"], ["kubectl", "rolloutplan", "--help"]):
        done = run([*command], env=environment)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert done.stdout


@pytest.mark.parametrize(
    ("registry", "words"), [("", "REGISTRY is missing: "), (REGISTRY, "a release is made of a commit, and notes ")]
)
def test_what_cannot_be_released_is_refused_in_one_line(tmp_path: Path, registry: str, words: str) -> None:
    clone = tmp_path / "clone"
    assert run(["git", "clone", "--quiet", "--shared", make.ROOT, clone]).returncode == 0
    (clone / "notes").touch()
    environment = {**os.environ, "PYTHONPATH": f"{clone}/operator:{clone}"}
    done = run([sys.executable, "-m", "deploy.release.make", registry], cwd=clone, env=environment)
    assert done.stderr.startswith(f"make release: {words}")
    assert len(done.stderr.splitlines()) == 1
    assert not (clone / "dist").exists()
