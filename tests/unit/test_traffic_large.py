"""Routes of many rules: what is done for a plan costs what its own rules cost, and not those of all others."""

from typing import Any

import pytest

from rolloutplan.api.object_path import Place
from rolloutplan.api.status import RouteWeights
from rolloutplan.engine.model.snapshot import SEQ
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.items import Home, Item, ItemReader

MANY, MOVED = 400, 250
KIND = ROUTE_KINDS["VirtualService"]


def large() -> dict[str, Any]:
    rules = [
        {
            "match": [{"uri": {"prefix": f"/{number}"}}],
            "route": [
                {"destination": {"host": f"old-{number}"}, "weight": 100},
                {"destination": {"host": f"new-{number}"}, "weight": 0},
            ],
        }
        for number in range(MANY)
    ]
    meta = {"namespace": "shop", "name": "main", "resourceVersion": "5", "annotations": {SEQ: "main/1.1.1"}}
    return {"metadata": meta, "spec": {"http": rules}}


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rules whose items are read, one entry for each item."""
    found, read = list[int](), ItemReader.read

    def counted(self: ItemReader, place: Place, home: Home) -> Item:
        found.append(int(place.at[2]))
        return read(self, place, home)

    monkeypatch.setattr(ItemReader, "read", counted)
    return found


def test_a_patch_and_an_undo_command_read_only_the_rules_of_their_plan(items: list[int]) -> None:
    view = KIND.view(large())
    assert len(items) == 2 * MANY, "each item once"
    items.clear()
    rule = view.rules[MOVED]
    half = rule.with_backends(tuple(each.model_copy(update={"weight": 50}) for each in rule.backends))
    before, after = (RouteWeights(kind=KIND.kind, name="main", rules=(each,)) for each in (rule, half))
    patch = KIND.patch(view, after, token="main/1.1.2", undo="")
    assert {each["path"] for each in patch if each["op"] == "add" and "weight" in each["path"]} == {
        f"/spec/http/{MOVED}/route/{item}/weight" for item in (0, 1)
    }
    assert f"/spec/http/{MOVED}/route/1/weight" in KIND.undo_command("shop", before, view, after)
    assert set(items) == {MOVED}


def test_a_route_that_is_read_again_is_read_where_it_has_changed(items: list[int]) -> None:
    before, raw = KIND.view(large()), large()
    items.clear()
    raw["spec"]["http"][MOVED]["route"][0]["weight"] = 95
    view = KIND.view(raw, (), before)
    assert set(items) == {MOVED}
    assert view == KIND.view(raw)


def test_a_weight_that_becomes_true_is_no_longer_1() -> None:
    was, now = large(), large()
    was["spec"]["http"][MOVED]["route"][0]["weight"] = 1
    now["spec"]["http"][MOVED]["route"][0]["weight"] = True
    assert MOVED in KIND.view(now, (), KIND.view(was)).faults


def test_rules_behind_one_that_was_taken_away_are_read_at_their_new_places() -> None:
    raw = large()
    del raw["spec"]["http"][MOVED]
    assert KIND.view(raw, (), KIND.view(large())) == KIND.view(raw)
