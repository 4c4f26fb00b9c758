"""`rolloutplan list --dora`: how releases went, for each owner, from records that are read page by page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import yaml

from rolloutplan.cli.main import main
from rolloutplan.cli.session import PAGE, Session
from rolloutplan.cli.views import dora
from rolloutplan.cluster.client import Api
from rolloutplan.cluster.paths import RECORDS
from tests.world import START

ENDED = "2026-03-01T09:18:00Z"


def record(owner: str = "", outcome: str = "Succeeded", ended: str = ENDED, **figures: Any) -> dict[str, Any]:
    status = {"outcome": outcome, "endedAt": ended, "dora": {"failed": False, **figures}}
    return {"spec": {"plan": "checkout-v2", "run": 1, "owner": owner}, "status": status}


RELEASES = [
    *[record("team-checkout", leadSeconds=seconds) for seconds in (1800, 3600, 86_400)],
    record("team-checkout", "RolledBack", failed=True, restoreSeconds=2.4, exposedRequests=120),
    record("team-cart", "RolledBack", failed=True, restoreSeconds=3700),
    record(),
]
CHANGES = [change for raw in RELEASES if (change := dora.change_of(raw, START))]


def table(width: int | None) -> list[str]:
    return dora.rendered(CHANGES, width).plain.splitlines()


def test_the_figures_of_each_owner_and_of_all() -> None:
    assert table(None) == [
        "OWNER          CHANGES  FAILED  RATE    LEAD  LEAD P90  RESTORE  RESTORE P90  RESTORE MAX  EXPOSED",
        "team-checkout  4        1       25.0%   60m   24h       2.4s     2.4s         2.4s         120",
        "(no owner)     1        0       0.0%",
        "team-cart      1        1       100.0%                  61m      61m          61m",
        "(all)          6        2       33.3%   60m   24h       2.4s     61m          61m          120",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_narrow_terminal_shows_fewer_columns(width: int) -> None:
    lines = table(width)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("OWNER")
    assert "RATE" in lines[0]
    assert not any("…" in line for line in lines), "no figure is cut"


@pytest.mark.parametrize(
    "raw",
    [
        record(ended="2026-02-01T09:00:00Z"),
        record(outcome="Running"),
        record(outcome="Abandoned"),
        {**record(), "status": {"outcome": "RolledBack", "endedAt": ENDED}},
        {**record(), "status": {"outcome": "RolledBack", "dora": {"failed": True}}},
        {"spec": [], "status": "broken"},
    ],
    ids=["ended before", "under way", "its end is not known", "no traffic", "no instant of its end", "broken"],
)
def test_what_is_no_change_of_that_time_is_left_out(raw: Mapping[str, Any]) -> None:
    assert dora.change_of(dict(raw), START) is None


class Paged:
    """An API server with more records than a page has."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records, self.asked = records, list[Mapping[str, Any]]()

    async def list(self, path: str, **query: Any) -> dict[str, Any]:
        assert path.endswith("/rolloutrecords")
        self.asked.append(query)
        first = int(query.get("continue", 0))
        more = first + query["limit"]
        metadata = {"continue": str(more)} if more < len(self.records) else {}
        return {"items": self.records[first:more], "metadata": metadata}


def test_records_are_read_page_by_page() -> None:
    api = Paged([record(str(number)) for number in range(2 * PAGE + 1)])

    async def read() -> list[str]:
        pages = Session(cast("Api", api), "shop").pages(RECORDS, "team=a")
        return [raw["spec"]["owner"] async for page in pages for raw in page]

    assert asyncio.run(read()) == [raw["spec"]["owner"] for raw in api.records]
    assert [query.get("continue") for query in api.asked] == [None, str(PAGE), str(2 * PAGE)]
    assert {query["labelSelector"] for query in api.asked} == {"team=a"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def connected(*_: object, **__: object) -> Any:
        yield Session(cast("Api", Paged(RELEASES)), "shop")

    monkeypatch.setattr(dora, "session", connected)


@pytest.mark.usefixtures("cluster")
def test_for_programs_all_that_is_known_has_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--dora", "--owner", "team-cart", "--since", "99999h", "-o", "json"]) == 0
    cart = {
        "changes": 1,
        "failures": 1,
        "failureRate": 1.0,
        "leadSeconds": None,
        "restoreSeconds": {"count": 1, "median": 3700.0, "p90": 3700.0, "largest": 3700.0},
        "exposedRequests": None,
    }
    said = capsys.readouterr().out
    assert json.loads(said) == {"since": "99999h", "total": cart, "owners": [{"owner": "team-cart", **cart}]}
    assert main(["list", "--dora", "--since", "99999h", "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["total"]["changes"] == 6


@pytest.mark.usefixtures("cluster")
def test_where_nothing_was_released_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--dora", "--owner", "team-x", "--since", "7d"]) == 0
    assert "no change of team-x has ended within 168h: --since may be longer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--owner", "team-cart"], "--owner is for --dora"),
        (["--since", "7d"], "--since is for --dora"),
        (["--dora", "--since", "last week"], "last week"),
        (["--dora", "-o", "name"], "figures have no names: -o may be json or yaml"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["list", *options])
    assert words in capsys.readouterr().err
