"""The page of routers: it is the rendering of the descriptions, and every kind is in it once."""

import re
from pathlib import Path

import pytest

from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.cli.main import main
from rolloutplan.generate.routers import page, routers

PAGE = Path(__file__).parents[2] / "docs" / "routers.md"
TEXT = routers()
SPEC = {
    "group": "edge.example.com",
    "versions": ["v1"],
    "resource": "edges",
    "name": ["service"],
    "weight": "share",
    "accepted": {"settle": "2s"},
}
RULES = {"rules": {"spec.routes[]": "to[]"}}
PLACES = {"rules", "annotations", "share"}
"""Where the weights of a kind can be: it has to say one."""


def of(**fields: object) -> str:
    """The page of one kind, Edge, with these fields."""
    place = {} if PLACES & fields.keys() else RULES
    return page({"Edge": RouteKindSpec.model_validate({**SPEC, **place, **fields})})


def cells(text: str) -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith("| [Edge]"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_the_page_is_the_rendering() -> None:
    assert PAGE.read_text() == TEXT, "write it again: make generate"


def test_it_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routers", str(tmp_path / "page.md")]) == 0
    assert main(["routers"]) == 0
    assert (tmp_path / "page.md").read_text() == capsys.readouterr().out == TEXT


def test_every_kind_has_a_row_and_a_section() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\)", TEXT, re.MULTILINE)
    assert sorted(kind for kind, _ in rows) == sorted(BUILT_IN)
    assert all(anchor == kind.lower() and f"\n### {kind}\n" in TEXT for kind, anchor in rows)
    assert all(len(line.split(" | ")) == 7 for line in TEXT.splitlines() if line.startswith("| ["))


@pytest.mark.parametrize(
    ("fields", "column", "cell"),
    [
        (RULES, 0, "[Edge](#edge): `edges.edge.example.com`"),
        (RULES, 1, "`spec.routes[]` → `to[]`: `share`, by `service`"),
        ({"rules": {"": "spec.to[]"}}, 1, "`spec.to[]`: `share`, by `service`"),
        (
            {**RULES, "via": {"list": "spec.pools[]", "key": "name", "value": "svc"}},
            1,
            "`spec.routes[]` → `to[]`: `share`, by `service`, which stands for the `svc` in `spec.pools[]`",
        ),
        (
            {"prefix": "x", "annotations": {"map": "weights"}},
            1,
            "annotation `x/weights`: a weight for each Service, in JSON",
        ),
        (
            {"prefix": "x", "annotations": {"rules": "actions.", "list": "to[]"}},
            1,
            "annotations `x/actions.*`, in JSON → `to[]`: `share`, by `service`",
        ),
        (
            {"prefix": "x", "share": {"annotation": "canary-weight", "of": "spec.service"}},
            1,
            "annotation `x/canary-weight` of the object of the new side (`spec.service`); the old side has the rest",
        ),
        (
            {"share": {"field": "spec.weight", "of": "spec.service"}},
            1,
            "`spec.weight` of the object of the new side (`spec.service`); the old side has the rest",
        ),
        ({"weights": {"max": 1000000}}, 2, "0.1%"),
        ({"weights": {"sum": 100}}, 2, "1%"),
        ({"weights": {"sum": 100, "units": 100}}, 2, "0.1%"),
        ({"weights": {"max": 255}}, 2, "0.4%"),
        ({"weights": {"perEndpoint": True}}, 2, "by the number of pods"),
        ({"accepted": {"settle": "2s"}}, 3, "nothing reports it: 2s later"),
        (
            {"accepted": {"conditions": "status.conditions[]", "good": {"Valid": "True"}, "generation": "gen"}},
            3,
            "condition `Valid` is True, of this generation",
        ),
        (
            {"accepted": {"value": "status.state", "goodWords": ["Valid", "Warning"], "settle": "1s"}},
            3,
            "`status.state` is Valid or Warning; 1s later, for it names no generation",
        ),
        ({"ab": {"append": "matches", "header": {"a": "$value"}}}, 4, "header"),
        ({"ab": {"append": "matches", "header": {}, "cookie": {}}}, 4, "header or cookie"),
        ({}, 4, "no"),
        ({"mirror": {"append": "filters", "value": {}}}, 5, "yes"),
        ({"sticky": "sticky.cookie"}, 6, "`sticky.cookie`"),
    ],
)
def test_a_cell_is_made_of_the_description(fields: dict[str, object], column: int, cell: str) -> None:
    assert cells(of(**fields))[column] == cell


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({}, "A weight that is not written counts as 0, and is removed again by the way back."),
        ({"weights": {"max": 999}}, "A weight is at most 999."),
        ({"weights": {"sum": 100}}, "The weights of a rule must add up to 100."),
        ({"weights": {"alone": True}}, "The only backend of a rule gets all, whatever its weight."),
        ({"weights": {"allZero": "Refused"}}, "If all weights are 0, the object is refused."),
        ({"emptyBreaks": "Old"}, "**If the old side has no ready pods, the whole route fails**, also at weight 0"),
        (
            {"controllers": {"x/y": {"weights": {"max": 9}, "mirror": False}}},
            "Where `x/y` answers: a weight is at most 9",
        ),
        ({"traps": ["Mind the gap."]}, "Mind the gap."),
    ],
)
def test_what_to_know_is_made_of_the_description(fields: dict[str, object], fact: str) -> None:
    assert f"\n- {fact}" in of(**fields)
