"""Publishes decisions to RolloutRecords: one object for each run, to which each decision is added as it comes.

Decisions come from the plan's status, engine/run/record.py says what follows from them, and the object is written over
the version that was read. What is in the record already is not written again, so no crash can bring a decision twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.record import (
    OUTCOME_LABEL,
    PLAN_LABEL,
    RecordStatus,
    RolloutRecord,
    RunOutcome,
    plan_label,
    read_record,
    record_name,
)
from rolloutplan.api.status import Decision
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw, ResourceClient, if_there
from rolloutplan.engine.model.sinks import RECORDS
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.record import BEGINS, closed, is_recorded, opens, updated

WRITE_WITHIN: Final = 5.0
"""Seconds: the largest record is read and written in far less."""
ATTEMPTS: Final = 3
"""So often an object that somebody else has changed meanwhile is read again; then the run pauses."""
KNOWN: Final = 50
"""So many records are remembered as they were written last, so that the next decision needs no read."""
KNOWN_SIZE: Final = 40
"""Decisions of a record that is remembered; a larger one is read again. Together they take some 10 MiB."""
_CHANGED: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})
"""422 is also the answer to a patch of a list that somebody has removed."""


class RecordSink:
    """Publishes decisions to RolloutRecords.

    `written` gets the namespace of a record that was written, and the record before (None: a new one) and after.
    """

    name = RECORDS
    keeps: timedelta | None = None
    own_status = False

    def __init__(
        self,
        api: ResourceClient,
        *,
        written: Callable[[str, RolloutRecord | None, RolloutRecord], None] = lambda *_: None,
    ) -> None:
        self._api, self._written = api, written
        self.ended: Callable[[str, str], None] = lambda *_: None
        """Called with the namespace and the name of a plan when the end of a run of it is in its record."""
        self._known: OrderedDict[str, Raw] = OrderedDict()
        """The records written last, by their paths."""

    async def publish(self, snapshot: Snapshot, decision: Decision, *, recorded: bool = True) -> None:
        """Add the decision to the record of its run, unless it is in it. Raises ApiError.

        A notice is no decision of any run, and what was decided before a first run belongs to none.
        """
        if not recorded or not is_recorded(decision):
            return
        for attempt in range(ATTEMPTS):
            try:
                await self._add(snapshot, decision, is_new=not attempt and decision.reason in BEGINS)
            except ApiError as error:
                if error.status not in _CHANGED or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    async def _add(self, snapshot: Snapshot, decision: Decision, *, is_new: bool) -> None:
        """Read the record and write it with the decision; one that `is_new` is not looked for first."""
        plan = snapshot.plan
        path = paths.record(plan.namespace, record_name(plan.name, plan.uid, decision.run))
        raw = self._known.pop(path, None) or (None if is_new else await self._read(path))
        before = read_record(raw) if raw is not None else None
        if before is not None and before.spec.plan_uid and not path.endswith(f"/{before.name}"):
            before = None  # somebody has put the record of another run in its place
        if before is None and not opens(snapshot, decision):
            return
        after = updated(before, snapshot, decision)
        if raw is None:
            await self._close_former(snapshot, decision)
            raw = await self._api.create(
                paths.record(plan.namespace), new_record(plan.namespace, after), timeout=WRITE_WITHIN
            )
        elif before is None:
            raw = await self._patch(path, anew_patch(raw, after))
        elif after is not before:
            raw = await self._patch(path, record_patch(raw, before, after))
        self._keep(path, raw, after)
        self._written(plan.namespace, before, after)
        if after.status.outcome is not RunOutcome.RUNNING:
            self.ended(plan.namespace, plan.name)

    async def _close_former(self, snapshot: Snapshot, decision: Decision) -> None:
        """Close the record of the run before, where that was superseded before any weight: no decision says so."""
        plan, former = snapshot.plan, decision.run - 1
        if former < 1:
            return
        path = paths.record(plan.namespace, record_name(plan.name, plan.uid, former))
        raw = self._known.pop(path, None) or await self._read(path)
        if raw is not None:
            before = read_record(raw)
            words = f"run {decision.run} began, because the plan or the pod template was changed"
            after = closed(before, RunOutcome.SUPERSEDED, decision.at, words)
            if after is not before:
                await self._patch(path, record_patch(raw, before, after))

    async def _read(self, path: str) -> Raw | None:
        """The record; None where there is none."""
        return await if_there(self._api.get(path, timeout=WRITE_WITHIN))

    async def _patch(self, path: str, patch: Sequence[Mapping[str, Any]]) -> Raw:
        return await self._api.patch(path, patch, kind="json", timeout=WRITE_WITHIN)

    def _keep(self, path: str, raw: Raw, record: RolloutRecord) -> None:
        if len(record.status.decisions) <= KNOWN_SIZE:
            self._known[path] = raw
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)


def new_record(namespace: str, record: RolloutRecord) -> Raw:
    """The object of a record that is to be created."""
    return {
        "apiVersion": paths.RECORDS.api_version,
        "kind": "RolloutRecord",
        "metadata": {"name": record.name, "namespace": namespace, "labels": labels_of(record)},
        **record.to_raw(),
    }


def labels_of(record: RolloutRecord) -> dict[str, str]:
    """By which records are found: the plan, and the outcome."""
    return {PLAN_LABEL: plan_label(record.spec.plan), OUTCOME_LABEL: str(record.status.outcome)}


def record_patch(raw: Mapping[str, Any], before: RolloutRecord, after: RolloutRecord) -> list[dict[str, Any]]:
    """The JSON Patch from one state of a record to the next, over the version that was read.

    New decisions are appended, so that a request stays small however long the record is. Fields that this version does
    not know stay. The API server refuses it with 409 where the record is no longer at that version.
    """
    return [
        _at_version(raw),
        *_label_changes(raw, after),
        *_status_changes(raw, before.status, after.status),
    ]


def anew_patch(raw: Mapping[str, Any], record: RolloutRecord) -> list[dict[str, Any]]:
    """The JSON Patch that writes a whole record over the version that was read."""
    parts = {"/metadata/labels": labels_of(record), **{f"/{name}": part for name, part in record.to_raw().items()}}
    return [_at_version(raw), *({"op": "add", "path": path, "value": part} for path, part in parts.items())]


def _at_version(raw: Mapping[str, Any]) -> dict[str, Any]:
    version = safe_get.text(raw, "metadata", "resourceVersion")
    return {"op": "add", "path": "/metadata/resourceVersion", "value": version}


def _label_changes(raw: Mapping[str, Any], after: RolloutRecord) -> Iterator[dict[str, Any]]:
    has, wanted = safe_get.mapping(raw, "metadata", "labels"), labels_of(after)
    if not has:
        yield {"op": "add", "path": "/metadata/labels", "value": wanted}
        return
    for name, value in wanted.items():
        if has.get(name) != value:
            yield {"op": "add", "path": f"/metadata/labels/{name.replace('/', '~1')}", "value": value}


def _status_changes(raw: Mapping[str, Any], before: RecordStatus, after: RecordStatus) -> Iterator[dict[str, Any]]:
    has = safe_get.mapping(raw, "status")
    if not has:
        yield {"op": "add", "path": "/status", "value": after.to_raw()}
        return
    wanted, known = after.model_copy(update={"decisions": ()}).to_raw(), len(before.decisions)
    if "decisions" in has and after.decisions[:known] == before.decisions:
        for each in after.decisions[known:]:
            yield {"op": "add", "path": "/status/decisions/-", "value": each.to_raw()}
        # Those that cannot be read stay there, and are counted at each reading.
        wanted["missing"] = after.missing - (len(safe_get.items(has, "decisions")) - known)
    else:
        wanted["decisions"] = [each.to_raw() for each in after.decisions]
    for name, value in wanted.items():
        if name not in has or has[name] != value:
            yield {"op": "add", "path": f"/status/{name}", "value": value}
    if "endedAt" in has and "endedAt" not in wanted:
        yield {"op": "remove", "path": "/status/endedAt"}
