"""The status of an object that configures the operator: written only when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from rolloutplan.cluster import paths
from rolloutplan.loop.object_status import ready_condition, write_status

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
META = {"name": "production", "generation": 2}


class Server:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.written.append((path, body["status"]))
        return {"metadata": META, **body}


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (None, {"plans": 1}, {"plans": 1}),
        ({"plans": 1}, {"plans": 1}, None),
        ({"plans": 1}, {"plans": 2}, {"plans": 2}),
        ({"plans": 1, "focusSince": "x"}, {"plans": 1}, {"focusSince": None}),
        ("nonsense", {"plans": 1}, {"plans": 1}),
    ],
    ids=["the first", "the same", "another figure", "a field that is gone", "over one that cannot be read"],
)
def test_what_is_written(before: Any, after: dict[str, Any], written: dict[str, Any] | None) -> None:
    server = Server()
    found = asyncio.run(write_status(server, paths.POLICIES, {"metadata": META, "status": before}, after))
    path = "/apis/rolloutplan.dev/v1alpha1/rolloutpolicies/production/status"
    assert server.written == ([] if written is None else [(path, written)])
    assert (found is None) == (written is None)


def _ready(*, ready: bool, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    raw = {"metadata": META, "status": {"conditions": [before] if before else []}}
    return ready_condition(raw, NOW, ready=ready, reason="Read", message="it applies")


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    before = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert _ready(ready=True, before=before)["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert _ready(ready=False, before=before)["lastTransitionTime"] == "2026-03-01T09:00:00Z"
    assert _ready(ready=True)["observedGeneration"] == 2
