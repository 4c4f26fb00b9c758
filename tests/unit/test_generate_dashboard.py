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


def test_a_number_is_0_only_where_an_operator_says_so() -> None:
    """Where none is scraped, nobody knows; that nobody leads is known then."""
    numbers = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] == "stat"}
    asked = {title: target["expr"] for title, panel in numbers.items() for target in panel["targets"]}
    assert [title for title, query in asked.items() if "vector(0)" in query] == ["Leaders"]


def test_what_is_missing_is_never_shown_as_good() -> None:
    for panel in BOARD["panels"]:
        if panel["type"] == "stat":
            (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
            assert mapping["options"]["match"] == "null+nan"
            assert mapping["options"]["result"]["color"] != "green", panel["title"]


def test_no_query_answers_with_nan_where_nothing_was_observed() -> None:
    quantiles = [t["expr"] for panel in BOARD["panels"] for t in panel.get("targets", ()) if "quantile(" in t["expr"]]
    assert quantiles
    assert [query for query in quantiles if ">= 0" not in query] == []


def test_each_column_of_a_table_has_a_title_and_a_unit() -> None:
    for panel in BOARD["panels"]:
        if panel["type"] == "table" and len(panel["targets"]) > 1:
            titled = {
                each["matcher"]["options"]: {p["id"] for p in each["properties"]}
                for each in panel["fieldConfig"]["overrides"]
            }
            for target in panel["targets"]:
                assert {"displayName", "unit"} <= titled[f"Value #{target['refId']}"], panel["title"]
