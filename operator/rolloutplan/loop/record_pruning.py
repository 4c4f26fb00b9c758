"""Deletes the records of runs that are too many or too old, and closes those of plans that are gone.

The leader looks at the records of a plan after the end of a run, and at all of them at first and once an hour. It lists
their metadata alone, page by page, and has one request in flight: records are large, and nothing waits for this.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import structlog

from rolloutplan import clock
from rolloutplan.api import safe_get
from rolloutplan.api.record import OUTCOME_LABEL, PLAN_LABEL, RunOutcome, plan_label, read_record, record_prefix
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw
from rolloutplan.engine.run.record import closed
from rolloutplan.loop.stored_plan import Plan
from rolloutplan.loop.waiting import happens
from rolloutplan.publish.records import record_patch

EVERY: Final = 3600.0
"""Seconds between two looks at all records: an age is counted in days."""
AGAIN: Final = 60.0
"""Seconds until the next look at all records after one that failed."""
SETTLED_AFTER: Final = 10.0
"""Seconds from the end of a run, or of a plan, to the look at its records: the last decisions may be on their way."""
PAGE: Final = 500
"""Records in one answer: their metadata takes some 500 KiB."""
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


class Client(Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def get(self, path: str) -> Raw: ...
    async def list_metadata(self, path: str, **query: str | int) -> Raw: ...
    async def patch(self, path: str, body: Sequence[Mapping[str, Any]], *, kind: Any) -> Raw: ...
    async def delete(self, path: str, *, version: str) -> Raw: ...


@dataclass(frozen=True, slots=True)
class Retention:
    """Which records are kept of each plan: the newest ones, as far as they are not older than `age`."""

    kept: int = 20
    age: timedelta = timedelta(days=400)


class Entry(NamedTuple):
    """What the list shows of a record. `plan` is the value of its label."""

    namespace: str
    name: str
    plan: str
    created: datetime
    outcome: str
    version: str

    @property
    def running(self) -> bool:
        return self.outcome == RunOutcome.RUNNING

    @property
    def path(self) -> str:
        return paths.record(self.namespace, self.name)

    @property
    def age_order(self) -> tuple[datetime, int]:
        """The newer ones are greater; within a second by the number of the run, which ends the name."""
        run = self.name.rpartition("-")[2]
        return self.created, int(run) if run.isdecimal() else 0


def outdated(entries: Iterable[Entry], kept: int, age: timedelta, now: datetime) -> list[Entry]:
    """Those of one plan that are to be deleted, the oldest first. The record of a run under way stays."""
    ended = sorted((each for each in entries if not each.running), key=lambda each: each.age_order, reverse=True)
    return [each for place, each in enumerate(ended) if place >= kept or each.created < now - age][::-1]


class RecordPruning:
    """Prunes the records of the plans in `plans`, by namespace and name, while `leading`. Call `ended` after a run.

    `listed` gets the records that are left, of a namespace (empty: all) and of the plan with a label (empty: all).
    """

    def __init__(
        self,
        api: Client,
        plans: Mapping[str, Plan],
        retention: Retention,
        *,
        leading: Callable[[], bool],
        namespaces: Sequence[str] = (),
        listed: Callable[[str, str, Sequence[Entry]], None] = lambda *_: None,
    ) -> None:
        self._api, self._plans, self._retention, self._leading = api, plans, retention, leading
        self._namespaces = tuple(dict.fromkeys(namespaces)) or ("",)
        self._listed = listed
        self._due: dict[tuple[str, str], None] = {}
        self._all_due = True
        self._wake = asyncio.Event()

    def ended(self, namespace: str, plan: str) -> None:
        """Look at the records of a plan soon: a run has ended, or the plan is gone."""
        self._due[namespace, plan] = None
        self._wake.set()

    def led(self) -> None:
        """Look at all records soon: this replica leads now."""
        self._all_due = True
        self._wake.set()

    async def run(self) -> None:
        """Prune until cancelled."""
        next_round = 0.0
        loop = asyncio.get_running_loop()
        while True:
            if self._all_due or loop.time() >= next_round:
                self._all_due = False
                done = [await self._try(namespace) for namespace in self._namespaces]
                next_round = loop.time() + (EVERY if all(done) else AGAIN)
            if await happens(self._wake, next_round - loop.time()):
                await asyncio.sleep(SETTLED_AFTER)
            self._wake.clear()
            due, self._due = self._due, {}
            for namespace, plan in due:
                await self._try(namespace, plan_label(plan))

    async def _try(self, namespace: str, label: str = "") -> bool:
        """Prune the records of a namespace, of one plan or of all. Return whether all of them were listed."""
        query = {"labelSelector": f"{PLAN_LABEL}={label}"} if label else {}
        left: list[Entry] = []
        with _reported(namespace):
            if self._leading():
                async for place in self._by_namespace(namespace, query):
                    kept = place
                    with _reported(place[0].namespace):
                        kept = await self._prune(place)
                    left += kept
                self._listed(namespace, label, left)
            return True
        return False

    async def _by_namespace(self, namespace: str, query: Mapping[str, str]) -> AsyncIterator[list[Entry]]:
        """The records, those of one namespace at a time: lists are in the order of namespaces."""
        waiting: list[Entry] = []
        page, more = "", True
        while more:
            at = {"continue": page} if page else {}
            found = await self._api.list_metadata(paths.record(namespace), limit=PAGE, **query, **at)
            waiting += map(_entry, safe_get.items(found, "items"))
            page = safe_get.text(found, "metadata", "continue")
            more = bool(page)
            groups = [list(group) for _, group in groupby(waiting, key=lambda each: each.namespace)]
            waiting = groups.pop() if more and groups else []
            for group in groups:
                yield group

    async def _prune(self, entries: Sequence[Entry]) -> list[Entry]:
        """Prune the records of one namespace; return those that are left."""
        gone = set[Entry]()
        plans = self._plans_in(entries[0].namespace)
        for label, group in groupby(sorted(entries, key=lambda each: each.plan), key=lambda each: each.plan):
            of_plan, plan = list(group), plans.get(label)
            spec = plan.view.written if plan else None
            kept = spec.records_kept if spec and spec.records_kept else self._retention.kept
            for each in of_plan:
                if each.running and not (plan and each.name.startswith(record_prefix(plan.view.name, plan.view.uid))):
                    await self._close(each)
            for each in outdated(of_plan, kept, self._retention.age, clock.now()):
                await self._api.delete(each.path, version=each.version)
                gone.add(each)
        return [each for each in entries if each not in gone]

    def _plans_in(self, namespace: str) -> dict[str, Plan]:
        """The plans of a namespace by the label of their records."""
        found = (plan for plan in self._plans.values() if plan.view.namespace == namespace)
        return {plan_label(plan.view.name): plan for plan in found}

    async def _close(self, entry: Entry) -> None:
        """Close the record of a run whose plan is gone: no decision will say how it ended."""
        raw = await self._api.get(entry.path)
        before = read_record(raw)
        words = "the plan is gone in mid-run, and nobody recorded whether the weights went back: look at its routes"
        after = closed(before, RunOutcome.ABANDONED, clock.now(), words)
        if after is not before:
            await self._api.patch(entry.path, record_patch(raw, before, after), kind="json")


@contextlib.contextmanager
def _reported(namespace: str) -> Iterator[None]:
    """Log what fails: it stops no other namespace, and is tried again within the hour."""
    try:
        yield
    except ApiError as error:
        log.warning("records could not be pruned", namespace=namespace or "all", error=str(error))
    except Exception:
        log.exception("records could not be pruned", namespace=namespace or "all")


def _entry(raw: Mapping[str, Any]) -> Entry:
    meta = safe_get.mapping(raw, "metadata")
    labels = safe_get.mapping(meta, "labels")
    return Entry(
        safe_get.text(meta, "namespace"),
        safe_get.text(meta, "name"),
        safe_get.text(labels, PLAN_LABEL),
        safe_get.instant(meta, "creationTimestamp") or _LONG_AGO,
        safe_get.text(labels, OUTCOME_LABEL),
        safe_get.text(meta, "resourceVersion"),
    )
