"""The RolloutRecords of a world (tests/world.py), as an API server in memory keeps them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

import jsonpatch

from rolloutplan.api.record import read_record, record_name
from rolloutplan.api.status import Decision
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError


class Files:
    """Objects by their paths. `at` is called before a write (`file`) and after it (`filed`), and may raise."""

    def __init__(self, objects: dict[str, dict[str, Any]], at: Callable[[str], None]) -> None:
        self.objects, self._at = objects, at
        self.requests: list[tuple[str, str]] = []

    async def get(self, path: str, *, timeout: float | None = None, **query: str | int) -> dict[str, Any]:
        self.requests.append(("GET", path))
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        return self.objects[path]

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> dict[str, Any]:
        raise AssertionError(f"a sink listed {path}: it reads records by their names alone")

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        self.requests.append(("POST", path))
        self._at("file")
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            raise ApiError(409, "AlreadyExists", f"{path} already exists")
        raw = copy.deepcopy(dict(body))
        self.objects[path] = {**raw, "metadata": {**raw["metadata"], "resourceVersion": "1"}}
        self._at("filed")
        return self.objects[path]

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: Literal["merge", "json"] = "merge",
        timeout: float | None = None,
    ) -> dict[str, Any]:
        assert kind == "json"
        self.requests.append(("PATCH", path))
        self._at("file")
        if path not in self.objects:
            raise ApiError(404, "NotFound", f"{path} not found")
        before = self.objects[path]
        try:
            after = jsonpatch.apply_patch(before, [*body])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise ApiError(422, "Invalid", str(error)) from None
        if after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        version = str(int(before["metadata"]["resourceVersion"]) + 1)
        self.objects[path] = {**after, "metadata": {**after["metadata"], "resourceVersion": version}}
        self._at("filed")
        return self.objects[path]


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def decisions_of(objects: Mapping[str, Mapping[str, Any]], plan: str, uid: str, run: int) -> tuple[Decision, ...]:
    """The decisions in the record of a run; none without a record."""
    raw = objects.get(paths.record("ns", record_name(plan, uid, run)))
    return read_record(raw).status.decisions if raw else ()
