"""The rights on each kind of route: the chart's file is their rendering."""

from pathlib import Path

import pytest
import yaml

from rolloutplan.cli.main import main
from rolloutplan.generate.rights import rights
from rolloutplan.traffic import ROUTE_KINDS

FILE = Path(__file__).parents[2] / "deploy/helm/rolloutplan/routers.yaml"


def test_the_file_of_the_chart_is_the_rendering() -> None:
    assert FILE.read_text() == rights(), "write it again: make generate"


def test_it_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rights", str(tmp_path / "routers.yaml")]) == 0
    assert main(["rights"]) == 0
    assert (tmp_path / "routers.yaml").read_text() == capsys.readouterr().out == rights()


def test_every_kind_may_be_watched_read_and_patched_and_nothing_beyond_its_objects() -> None:
    found = yaml.safe_load(rights())
    assert set(found) == set(ROUTE_KINDS)
    for name, (first, *more) in found.items():
        group, _, plural, _ = ROUTE_KINDS[name].resource
        assert first == {"apiGroups": [group], "resources": [plural], "verbs": ["get", "list", "watch", "patch"]}
        assert bool(more) is (name == "Replicas"), "its weights are the sizes of Deployments"
