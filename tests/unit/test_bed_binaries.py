"""The programs of a bed: whose they may be, how long they take to make, and that no end costs more than one part."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.bed import minutes, netns, tools
from tests.bed.tools import BUILDS, UnusableError


@pytest.fixture
def assets(tmp_path: Path) -> Callable[..., Path]:
    def folder(version: str = "v1.34.1", without: str = "") -> Path:
        for name in {*tools.ASSETS} - {without}:
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\necho Kubernetes {version}\n")
            program.chmod(0o755)
        return tmp_path

    return folder


def test_programs_of_a_folder_that_is_named_are_used(assets: Callable[..., Path]) -> None:
    folder = assets()
    assert tools.assets(str(folder)) == {name: folder / name for name in ("etcd", "kube-apiserver", "kubectl")}
    assert tools.assets("") == {}


@pytest.mark.parametrize("name", tools.ASSETS)
def test_a_program_that_is_missing_is_named(assets: Callable[..., Path], name: str) -> None:
    with pytest.raises(UnusableError, match=rf"has no program {name}: .* of Kubernetes 1\.33 or newer are needed"):
        tools.assets(str(assets(without=name)))


@pytest.mark.parametrize("version", ["v1.32.9", "of no version"])
def test_an_older_kubernetes_is_refused_with_its_version(assets: Callable[..., Path], version: str) -> None:
    with pytest.raises(UnusableError, match=rf'says "Kubernetes {version}": 1\.33 or newer is needed'):
        tools.assets(str(assets(version)))


def test_every_program_that_is_built_has_been_measured() -> None:
    assert {build.name for build in BUILDS} <= minutes.MEASURED.keys()


def test_more_cores_take_less_time() -> None:
    every = [build.name for build in BUILDS]
    assert (minutes.forecast(every, 2), minutes.forecast(every, 10)) == (25, 5)
    assert minutes.announced(["etcd", "prometheus"], 4).startswith(
        "to make, once: etcd, prometheus; about 8 min on 4 cores"
    )
    assert minutes.in_words(minutes.forecast(["crds"], 1)) == "less than a minute"


def test_after_an_end_at_any_moment_only_what_is_missing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns, "entered", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: name)
    made: list[str] = []
    writers: dict[str, tools.Recipe] = {name: partial(_write, made, name) for name in ("first", "second", "third")}
    wanted = {name: (tmp_path / name, recipe) for name, recipe in writers.items()}
    (tmp_path / "unfinished-0").mkdir()  # of a process that was killed
    with pytest.raises(KeyboardInterrupt):
        tools.make({**wanted, "second": (tmp_path / "second", _stopped)}, print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "lock"]
    said: list[str] = []
    tools.make(wanted, said.append)
    assert made == ["first", "second", "third"]
    assert said[0].startswith("to make, once: second, third; ")


def _write(made: list[str], name: str, path: Path, _: tools.Progress) -> None:
    path.write_text(name)
    made.append(name)


def _stopped(path: Path, _: tools.Progress) -> None:
    path.write_text("half of it")
    raise KeyboardInterrupt
