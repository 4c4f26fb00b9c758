"""The dashboard for Grafana: the file is the rendering, and Grafana can place and name what is in it."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from rolloutplan.cli.main import main
from rolloutplan.generate.dashboard import dashboard

FILE = Path(__file__).parents[2] / "deploy/grafana/rolloutplan.json"
BOARD = json.loads(dashboard())


def test_the_file_is_the_rendering() -> None:
    assert FILE.read_text() == dashboard(), "write it again: make generate"


def test_it_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", str(tmp_path / "new" / "board.json")]) == 0
    assert main(["dashboard"]) == 0
    assert (tmp_path / "new" / "board.json").read_text() == capsys.readouterr().out == dashboard()


def test_no_panel_covers_another_and_each_has_a_number_of_its_own() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    for one, other in combinations(places, 2):
        aside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert aside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)


def test_every_query_asks_the_chosen_prometheus_for_the_chosen_namespaces_and_owners() -> None:
    variables = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert variables == {"datasource", "namespace", "owner"}
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert ("owner" in target["expr"]) == ('namespace=~"$namespace",owner=~"$owner"' in target["expr"])
