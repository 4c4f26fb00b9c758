"""A status is always small enough to be written, in bytes and not in characters."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rolloutplan.api.limits import MAX_PLAN, MAX_TEMPLATES_KEPT, size_of
from rolloutplan.api.status import DECISIONS_KEPT, EVIDENCE_KEPT, Status
from rolloutplan.api.status_size import MAX_STATUS, QUERY_CUT, bounded, cut

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
OBJECT = 1536 * 1024
"""What etcd takes."""
ANNOTATIONS = 256 * 1024
"""What the API server allows."""


def largest(character: str) -> Status:
    """A status with every text at its limit, made of one character."""
    words, query = character * 1024, character * 2048
    evidence = [
        {
            "predicate": "p" * 63,
            "role": "guard",
            "query": character * 400,
            "value": "1",
            "bound": "> 1",
            "why": character * 300,
        }
    ] * EVIDENCE_KEPT
    decisions = [
        {
            "seq": number,
            "at": AT,
            "kind": "Hold",
            "reason": "Held",
            "note": words,
            "believed": words,
            "observed": words,
            "why": words,
            "evidence": evidence,
        }
        for number in range(DECISIONS_KEPT)
    ]
    predicates = [{"name": f"p{i}", "role": "guard", "query": query, "why": character * 300} for i in range(64)]
    return Status.model_validate(
        {
            "phase": "Judging",
            "message": words,
            "failed": words,
            "revert": "r" * 100_000,
            "decisions": decisions,
            "predicates": predicates,
            "templates": [{"name": "t", "text": "x" * MAX_TEMPLATES_KEPT}],
        }
    )


@pytest.mark.parametrize("character", ["x", "é", "\U0001f4a5"])
def test_a_status_with_every_text_at_its_limit_can_be_written(character: str) -> None:
    raw = largest(character).to_raw()
    assert size_of(raw) <= MAX_STATUS
    assert raw["revert"] == "r" * 100_000
    assert raw["decisions"][-1]["seq"] == DECISIONS_KEPT - 1
    assert raw["decisions"][-1]["evidence"], "the newest decision keeps what it rests on"
    assert [each["name"] for each in raw["predicates"]] == [f"p{i}" for i in range(64)]
    Status.model_validate(raw)


def test_an_object_with_everything_at_its_limit_is_taken_by_etcd() -> None:
    assert MAX_PLAN + MAX_STATUS + ANNOTATIONS < 0.95 * OBJECT


def test_what_is_small_stays_as_it_is() -> None:
    raw: dict[str, Any] = {"phase": "Judging", "decisions": [{"seq": 1, "evidence": [{"predicate": "p"}]}]}
    assert bounded(raw) is raw


@pytest.mark.parametrize(
    ("text", "size", "left"), [("abc", 2, "ab"), ("é" * 3, 3, "é"), ("\U0001f4a5", 3, ""), ("", 1, "")]
)
def test_a_text_is_cut_between_characters(text: str, size: int, left: str) -> None:
    assert cut(text, size) == left
    assert len(cut(text * QUERY_CUT, QUERY_CUT).encode()) <= QUERY_CUT
