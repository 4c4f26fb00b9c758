"""Raw objects, read leniently: what is missing or odd is as if it were not there."""

from datetime import UTC, datetime

import pytest

from rolloutplan.api import safe_get

ODD: list[object] = [None, True, 3, 3.5, "x", [], ["x"], {}, {"b": None}, {"b": {"c": {}}}]


@pytest.mark.parametrize("raw", [*ODD, *({"a": each} for each in ODD)], ids=repr)
def test_what_is_not_there_is_nothing(raw: object) -> None:
    assert safe_get.value(raw, "a", "b", "c", "d") is None
    assert safe_get.mapping(raw, "a", "b", "c") == {}
    assert (safe_get.text(raw, "a", "b", "c"), safe_get.number(raw, "a", "b", "c", default=1)) == ("", 1)
    assert list(safe_get.items(raw, "a", "b", "c")) == []
    assert safe_get.instant(raw, "a", "b", "c") is None


def test_what_is_there_is_given() -> None:
    raw = {"a": {"text": "x", "number": 3, "list": [1, None], "map": {"b": 1}, "truth": True}}
    assert safe_get.text(raw, "a", "text") == "x"
    assert safe_get.number(raw, "a", "number") == 3
    assert safe_get.number(raw, "a", "truth") == 0
    assert safe_get.items(raw, "a", "list") == [1, None]
    assert safe_get.mapping(raw, "a", "map") == {"b": 1}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-01T09:00:00Z", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01T10:00:00+01:00", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01T09:00:00", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59Z", None),
        ("soon", None),
    ],
)
def test_an_instant_has_a_zone_and_is_of_this_age(text: str, at: datetime | None) -> None:
    assert safe_get.instant({"at": text}, "at") == at
