"""No pattern takes more than linear time over what a person wrote, however hostile the text is."""

import re
import time

import pytest

from tests.patterns import Hostile, Use, hostile, uses

LONGEST = 4096
"""Characters of the longest text that a plan may hold in a field; twice that is what rendering may make of it."""
SUSPECT = 0.002
"""Seconds of the processor at LONGEST below which a text is not looked at again; a square would take tens of them."""
SHORT = 1024
"""Characters of a text that is tried before a longer one: where that is suspect and takes a square, this one takes at
least its share of SUSPECT."""
GROWTH = 3.0
"""Twice the text takes twice the time where that is linear, and four times where it is a square."""
TRIES = 5


def seconds(pattern: re.Pattern[str], function: str, text: str) -> float:
    """Of the processor, the least of some tries: what else goes on in the machine does not count."""
    call = getattr(pattern, function)
    arguments = ("", text) if function == "sub" else (text,)
    taken = []
    for _ in range(TRIES):
        began = time.thread_time()
        found = call(*arguments)
        if function == "finditer":
            list(found)
        taken.append(time.thread_time() - began)
        if taken[-1] < SUSPECT:
            break
    return min(taken)


def grown(use: Use, length: int = LONGEST) -> Hostile | None:
    """The text over which a pattern takes more than linear time; None where there is none."""
    pattern = re.compile(use.pattern, use.flags & ~re.UNICODE)

    def took(text: Hostile, times: int) -> float:
        return seconds(pattern, use.function, text.text(times * length))

    for text in hostile(use):
        if length > SHORT and seconds(pattern, use.function, text.text(SHORT)) < SUSPECT * (SHORT / length) ** 2:
            continue
        first = took(text, 1)
        if first >= SUSPECT:
            second = took(text, 2)
            if second > GROWTH * first and took(text, 4) > GROWTH * second:
                return text
    return None


def test_every_pattern_takes_linear_time_over_texts_that_are_hostile_to_it() -> None:
    found = uses()
    assert len(found) > 50
    bad = {f"{use.where} {use.function} {use.pattern}": text for use in sorted(found, key=str) if (text := grown(use))}
    assert not bad


@pytest.mark.parametrize(
    ("pattern", "function"),
    [
        (r"([^{]*?)\s*(?:{(.*)})?\s*", "fullmatch"),
        (r"[])][^}]*$", "search"),
        (r'"(?:\\.|[^"\\])*"', "findall"),
        (r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)_sum\b", "findall"),
        (r"^[^{}\n]*[=!][^{}\n]*$", "search"),
    ],
)
def test_patterns_that_take_the_square_are_found(pattern: str, function: str) -> None:
    """Each of them once stood over what a person writes."""
    assert grown(Use("here", pattern, 0, function), 128 if function == "fullmatch" else 1024)
