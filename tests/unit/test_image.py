"""The image: its steps take nothing but what the locks name, and what it runs is what the chart expects."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "Containerfile").read_text().splitlines()
STEPS = [tuple(line.split(" ", 1)) for line in LINES if line and not line.startswith("#")]
LOCKS = ("requirements.lock", "deploy/image/build.lock")


def arguments(instruction: str) -> list[str]:
    return [rest for word, rest in STEPS if word == instruction]


def test_every_package_that_is_installed_is_locked_with_its_hash() -> None:
    for command in arguments("RUN"):
        if "pip install" in command:
            words = shlex.split(command)
            assert "--no-index" in words or {"--require-hashes", "--only-binary", ":all:"} <= set(words), command


@pytest.mark.parametrize("lock", LOCKS)
def test_each_line_of_a_lock_has_hashes(lock: str) -> None:
    packages = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / lock).read_text())[1:]
    assert packages
    assert not [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package]


def test_what_is_copied_is_there() -> None:
    for words in map(shlex.split, arguments("COPY")):
        if not words[0].startswith("--from="):
            assert all((ROOT / file).exists() for file in words[:-1]), words


def test_the_image_has_nothing_but_the_laid_out_files_and_runs_as_the_user_of_the_chart() -> None:
    assert arguments("FROM")[-1] == "scratch"
    chart = ROOT / "deploy/helm/rolloutplan/templates"
    text = "".join((chart / name).read_text() for name in ("deployment.yaml", "_helpers.tpl"))
    user, group = (re.search(rf"{key}: (\d+)", text) for key in ("runAsUser", "runAsGroup"))
    assert user
    assert group
    assert arguments("USER") == [f"{user[1]}:{group[1]}"]
    command = [*yaml.safe_load(arguments("ENTRYPOINT")[0]), *yaml.safe_load(arguments("CMD")[0])]
    assert f"command: [{', '.join(command)}]" in text


def test_the_tools_that_build_it_have_the_versions_of_the_other_lock() -> None:
    pinned = re.compile(r"(?m)^([a-z0-9-]+==[^ ]+) ")
    assert {*pinned.findall((ROOT / LOCKS[1]).read_text())} <= {
        *pinned.findall((ROOT / "requirements-dev.lock").read_text())
    }
