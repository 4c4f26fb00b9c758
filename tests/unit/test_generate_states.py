"""The page of states: it is the rendering of the table, and nothing of the table is missing in it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.cli.main import main
from rolloutplan.engine.decide import INNER_RULES, RULES
from rolloutplan.engine.model.transitions import TRANSITIONS, TransitionName
from rolloutplan.engine.rules.match import Rule
from rolloutplan.generate.states import states

PAGE = Path(__file__).parents[2] / "docs" / "states.md"
TEXT = states()
ARROWS = [line.strip() for line in TEXT.splitlines() if " --> " in line]


def test_the_page_is_the_rendering() -> None:
    assert PAGE.read_text() == TEXT, "write it again: make generate"


def test_it_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["states", str(tmp_path / "page.md")]) == 0
    assert main(["states"]) == 0
    assert (tmp_path / "page.md").read_text() == capsys.readouterr().out == TEXT


def test_every_way_is_drawn_once() -> None:
    ends = [arrow.partition(":")[0] for arrow in ARROWS]
    assert len(ends) == len(set(ends))
    ways = {
        f"{source} --> {row.to}"
        for row in TRANSITIONS.values()
        for source in row.sources
        if isinstance(row.to, Phase) and row.to is not source
    }
    back = {f"Held --> {phase}" for phase in TRANSITIONS[TransitionName.HELD].sources if phase is not Phase.HELD}
    assert set(ends) == ways | back | {"[*] --> Pending"}


def test_every_decision_is_in_it_with_its_reason() -> None:
    for row in TRANSITIONS.values():
        line = next(
            each for each in TEXT.splitlines() if f"| {row.event_reason or '-'} |" in each and row.rationale in each
        )
        assert all(f"`{rule}`" in line for rule in row.by)


def test_every_rule_is_in_it_in_its_place_with_what_it_says_of_itself() -> None:
    order = TEXT.partition("## The rules")[2]
    found = [line.strip().partition(". ")[2] for line in order.splitlines() if re.match(r" *[0-9]+\. ", line)]
    assert [line.partition(":")[0].strip("`") for line in found] == [rule.__name__ for rule in every(RULES)]
    assert all(line.partition(": ")[2].endswith(".") for line in found)


def every(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        yield from every(INNER_RULES.get(rule, ()))
