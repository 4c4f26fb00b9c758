"""The field reference: the page is the rendering, every field of every kind is in it, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from rolloutplan.api.parsing import RENAMED
from rolloutplan.cli.main import main
from rolloutplan.generate.reference import reference
from tests.unit.test_generate_crd import SPECS, STATUS

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
TEXT = reference()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in TEXT.splitlines() if line.startswith("| `")]


def row(model: str, field: str) -> str:
    section = TEXT.split(f"\n### {model}\n")[1].partition("\n### ")[0]
    return next(line for line in section.splitlines() if line.startswith(f"| `{field}` |"))


def test_the_page_is_the_rendering() -> None:
    assert PAGE.read_text() == TEXT, "write it again: make generate"


def test_it_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", str(tmp_path / "docs" / "page.md")]) == 0
    assert main(["reference"]) == 0
    assert (tmp_path / "docs" / "page.md").read_text() == capsys.readouterr().out == TEXT


@pytest.mark.parametrize("nodes", [SPECS, STATUS], ids=["specs", "status"])
def test_every_field_of_the_crds_is_in_it(nodes: list[tuple[str, dict[str, object]]]) -> None:
    others = tuple(f"{path}." for path, node in nodes if "x-kubernetes-preserve-unknown-fields" in node)
    fields = {
        path.rpartition(".")[2].rstrip("[]{}") for path, _ in nodes if "." in path and not path.startswith(others)
    }
    assert fields - RENAMED.keys() <= {cells[0].strip(" `") for cells in ROWS}


def test_every_row_says_what_its_field_is() -> None:
    for cells in ROWS:
        assert all(cell.strip() for cell in (cells[0], cells[1], cells[-1])), cells
        assert cells[-1].strip().endswith("."), cells


def test_a_kind_with_the_fields_of_another_leads_there() -> None:
    section = TEXT.split("\n## ClusterPredicateTemplate\n")[1].partition("\n## ")[0]
    assert "Its fields are those of [PredicateTemplate spec](#predicatetemplate-spec).\n" in section


def test_every_link_leads_to_a_heading_and_no_heading_is_there_twice() -> None:
    headings = [line.lstrip("# ") for line in TEXT.splitlines() if line.startswith("#")]
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= set(anchors)


@pytest.mark.parametrize(
    ("model", "field", "cells"),
    [
        ("RolloutPlan spec", "interval", "[duration](#duration) | `10s` |  | How often"),
        ("RolloutPlan spec", "old", "[Side](#side) | **required** |  | The side that has"),
        ("RolloutPlan spec", "stages", "list of [Stage](#stage) | **required** | 1 to 50 items | The stages"),
        ("RolloutPlan spec", "onFail", "`Rollback` or `Hold` | `Rollback` |  | What follows"),
        ("Availability", "maxRestarts", "number | `3` | 0 to 1,000,000 | Restarts allowed"),
        ("RolloutPlan status", "phase", "`Pending` or `Probing` or `Expanding`"),
        (
            "MetricSource spec",
            "params",
            "map of text |  | at most 16 entries, each at most 1,024 characters | Parameters",
        ),
    ],
)
def test_type_default_and_limits_of_a_field(model: str, field: str, cells: str) -> None:
    assert row(model, field).startswith(f"| `{field}` | {cells}")


@pytest.mark.parametrize(
    "words",
    [
        '- `new.variant`: "…" is the old side too: name the variant that the new side gets',
        "- `interval`: … is below the minimum of 1s: write 1s or more",
        "- `deadline`: … is shorter than the soak of …: write at least the soak",
        "- set exactly one of weight, weights, mirror and match",
        '- "…" runs $namespace into what follows: write ${namespace}',
        'Write a number with its unit (d, h, m, s, ms), such as "10s", "1h30m" or "1d12h"; at most 24 characters.',
    ],
)  # fmt: skip
def test_what_is_refused_is_told_in_its_own_words(words: str) -> None:
    assert f"\n{words}\n" in TEXT
