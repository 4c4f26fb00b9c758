"""What can go wrong in a rehearsal, as a person writes it, and when it does."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rolloutplan.tools.fault import read_fault
from rolloutplan.tools.rehearsal.faults import Happening, Incident, read_answer, read_incident

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "what", "fields"),
    [
        ("errors=5%", "errors", {"size": read_fault("5%")}),
        ("errors=3x on both", "errors", {"size": read_fault("3x"), "sides": ("new", "old")}),
        ("latency=2x on old", "latency", {"size": read_fault("2x"), "sides": ("old",)}),
        (
            "errors=5% at 25% after 2m for 10m",
            "errors",
            {"size": read_fault("5%"), "at": 250, "after": 2 * MINUTE, "lasts": 10 * MINUTE},
        ),
        ("errors=all for 10m at 0.5%", "errors", {"size": read_fault("all"), "at": 5, "lasts": 10 * MINUTE}),
        ("prometheus down", "prometheus down", {}),
        ("prometheus down 3m", "prometheus down", {"lasts": 3 * MINUTE}),
        ("prometheus slow for 3m", "prometheus slow", {"lasts": 3 * MINUTE}),
        ("pods crash", "pods crash", {"number": 1}),
        ("pods crash 2 at 5%", "pods crash", {"number": 2, "at": 50}),
        ("pods unready 50%", "pods unready", {"number": 0.5}),
        ("gateway refuses at 25%", "gateway refuses", {"at": 250}),
        ("traffic drops to 10%", "traffic drops", {"number": 0.1}),
        ("answer hit-rate=0.4 at 25%", "answer", {"name": "hit-rate", "number": 0.4, "at": 250}),
        ("command abort at 0% after 1m", "command", {"name": "abort", "at": 0, "after": MINUTE}),
    ],
)
def test_a_fault_says_what_where_and_when(text: str, what: Any, fields: dict[str, Any]) -> None:
    assert read_incident(text) == Incident(text, what, **fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty: write errors=5%"),
        ("error=5%", '"error" is no fault: did you mean errors=5%?'),
        ("meteor", '"meteor" is no fault: write errors=5%, latency=2x'),
        ("errors", "it is written errors=5%, errors=3x or errors=all"),
        ("errors=5", '"5" is not the size of a fault: write 10%'),
        ("errors=5% at", "nothing follows at: write at 25%"),
        ("errors=5% at 25% at 50%", "at is there twice: write it once"),
        ("errors=5% at 25% aftr 2m", '"aftr" is unexpected: write after'),
        ("errors=5% after soon", '"soon" is not a duration'),
        ("errors=5% at 200%", '"200%" is not a percentage'),
        ("errors=5% on us", '"us" is not a side: write on new, on old or on both'),
        ("prometheus down on new", "prometheus down is of no side: leave out on new"),
        ("prometheus up", "it is written prometheus down 3m, or prometheus slow"),
        ("prometheus down soon", '"soon" is not a duration'),
        ("pods crash 0", "it is written pods crash, pods crash 2, or pods unready 50%"),
        ("command abrt", '"abrt" is not a command: did you mean abort?'),
        ("command dance", '"dance" is not a command; write pause'),
        ("answer hit-rate", '"hit-rate" is no answer: write the name of a predicate and a number'),
        ("answer hit-rate=nan", '"hit-rate=nan" is no answer'),
    ],
)
def test_what_is_no_fault_is_refused_with_the_fix(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        read_incident(text)
    assert f'"{text}": ' in str(refused.value), "it names the whole fault: there may be several"


def test_an_answer_is_a_name_and_a_number() -> None:
    assert read_answer("hit-rate=0.95") == ("hit-rate", 0.95)


def begun(text: str, *, share: int, verified: bool = True) -> datetime | None:
    happening = Happening(read_incident(text))
    happening.follow(share, NOW, begun=verified)
    return happening.begins


@pytest.mark.parametrize(
    ("text", "share", "verified", "begins"),
    [
        ("errors=5%", 50, True, NOW),
        ("errors=5%", 0, False, None),
        ("errors=5% at 25%", 50, True, None),
        ("errors=5% at 25%", 250, True, NOW),
        ("errors=5% at 25%", 500, True, NOW),
        ("errors=5% at 25% after 2m", 250, True, NOW + 2 * MINUTE),
        ("prometheus down at 0%", 0, False, NOW),
    ],
    ids=["first weight", "before it", "a weight below", "its weight", "a weight above", "later", "from the start"],
)
def test_a_fault_begins_with_its_weight(text: str, share: int, verified: bool, begins: datetime | None) -> None:
    assert begun(text, share=share, verified=verified) == begins


def test_a_fault_that_has_begun_goes_on_at_lower_weights_until_its_time_is_over() -> None:
    happening = Happening(read_incident("errors=5% at 25% for 2m"))
    happening.follow(250, NOW, begun=True)
    happening.follow(0, NOW + MINUTE, begun=True)
    assert happening.is_on(NOW + MINUTE)
    assert not happening.is_on(NOW + 2 * MINUTE)
    assert not happening.is_on(NOW - MINUTE)
