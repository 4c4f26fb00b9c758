"""Leader election on a coordination.k8s.io/v1 Lease.

It reads and writes the Lease in the API server; the epoch and `may_write` go to the loop and the client.

No two processes may write at the same instant, whatever their wall clocks show and whichever process is stopped:

- A leader may write for RENEW_DEADLINE after it *sent* the last renewal that it knows to have succeeded.
- Another takes the Lease only LEASE_DURATION after it *saw* that renewal, which is later, on its own monotonic clock.
- Every write names the resourceVersion on which it was decided, so a late or outdated write is refused.
- A process stops writing before it sends a release.

The rest is covered by the epoch, which fences every write: a process stopped between its call of `may_write` and its
write, a second process of the same name, and a person who empties the Lease of a leader, or deletes it while another
replica starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import structlog

from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, Raw

LEASE_DURATION: Final = 15.0
"""Seconds without a change after which a Lease has expired."""
RENEW_DEADLINE: Final = 10.0
RENEW_EVERY: Final = 2.0
RETRY_AFTER: Final = 0.5
READ_EVERY: Final = 1.0
RELEASE_WITHIN: Final = 1.0
_RELEASE_AGAIN: Final = 0.1
_LAST_EPOCH: Final = 2**30
"""leaseTransitions has 31 bits; a number as high as this cannot come from counting."""

log = structlog.stdlib.get_logger("rolloutplan")


class Lease(NamedTuple):
    """The fields of a Lease in the API server that matter here; without a `version` there is none.

    `epoch` is its leaseTransitions, `acquired` the text of its acquireTime.
    """

    version: str = ""
    holder: str = ""
    epoch: int = 0
    acquired: str = ""


NO_LEASE: Final = Lease()


class Claim(NamedTuple):
    """A term that we wrote or tried to write. If no answer came, acquireTime shows later whether it was written."""

    epoch: int
    acquired: str


@dataclass(frozen=True)
class ElectorState:
    """What a process knows about the Lease and itself. Instants are of its own monotonic clock."""

    me: str
    has_read: bool = False
    lease: Lease = NO_LEASE
    since: float = 0.0
    """When `lease` was first seen in this state."""
    highest: int = 0
    """The highest epoch seen. The next term's is higher, even where the Lease was deleted or restored."""
    inherited_epoch: int | None = None
    """The epoch of the term that had our name when we started: the former process of this pod, which is gone."""
    claim: Claim | None = None
    epoch: int = 0
    leading: bool = False
    renewed: float = 0.0
    """When the last write that made us leader or renewed the Lease was sent."""


def observe(state: ElectorState, lease: Lease, now: float) -> ElectorState:
    """The state after reading the Lease. A leader that sees another term than its own no longer leads."""
    if not state.has_read:
        state = replace(
            state, has_read=True, inherited_epoch=lease.epoch if lease.holder == state.me else None, since=now
        )
    if lease != state.lease:
        state = replace(state, lease=lease, since=now, highest=max(state.highest, lease.epoch))
    if state.leading and not held_by_us(state, now):
        state = replace(state, leading=False, claim=None)
    return state


def next_claim(state: ElectorState, now: float, stamp: str) -> Claim | None:
    """The term to write: our own again, a new one (acquired at `stamp`), or None while another's lasts."""
    if held_by_us(state, now):
        return state.claim
    if not is_available(state, now):
        return None
    epoch = state.highest + 1
    if state.claim is not None and state.claim.epoch == epoch:
        return state.claim
    return Claim(epoch, stamp)


def renewed(state: ElectorState, lease: Lease, sent: float) -> ElectorState:
    """The state after a successful write of our claim: the Lease is `lease` now."""
    assert state.claim is not None
    epoch = state.claim.epoch
    return replace(state, lease=lease, since=sent, highest=epoch, epoch=epoch, leading=True, renewed=sent)


def held_by_us(state: ElectorState, now: float) -> bool:
    """Whether the Lease holds our term; while we may write, no other process can have taken a deleted one."""
    lease, claim = state.lease, state.claim
    if claim is None:
        return False
    if lease == NO_LEASE:
        return may_write(state, now)
    same = (lease.holder, lease.epoch) == (state.me, claim.epoch)
    return same and (state.leading or lease.acquired == claim.acquired)


def is_available(state: ElectorState, now: float) -> bool:
    """Whether the Lease can be taken. If it was deleted, its leader may not have noticed yet."""
    lease = state.lease
    if now - state.since >= LEASE_DURATION:
        return True
    if lease == NO_LEASE:
        return state.highest == 0
    return not lease.holder or (lease.holder, lease.epoch) == (state.me, state.inherited_epoch)


def may_write(state: ElectorState, now: float) -> bool:
    return state.leading and now - state.renewed < RENEW_DEADLINE


def read(raw: Mapping[str, Any]) -> Lease:
    """Parse a Lease; an epoch out of range counts as 0. Raises ApiError for what is no Lease."""
    try:
        spec = raw.get("spec") or {}
        epoch = int(spec.get("leaseTransitions") or 0)
        return Lease(
            version=str(raw["metadata"]["resourceVersion"]),
            holder=str(spec.get("holderIdentity") or ""),
            epoch=epoch if 0 <= epoch < _LAST_EPOCH else 0,
            acquired=str(spec.get("acquireTime") or ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApiError(0, "NotALease", f"an answer that cannot be parsed: {error!r}") from error


def manifest(name: str, version: str, holder: str, claim: Claim, stamp: str) -> Raw:
    """The Lease to write: all of its fields, so that each renewal repairs changes by others."""
    return {
        "apiVersion": paths.LEASES.api_version,
        "kind": "Lease",
        "metadata": {"name": name, **({"resourceVersion": version} if version else {})},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(LEASE_DURATION),
            "leaseTransitions": claim.epoch,
            "acquireTime": claim.acquired,
            "renewTime": stamp,
        },
    }


def micro_time() -> str:
    """Now, as a MicroTime. It is for people; it is never compared."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _always() -> asyncio.Event:
    ready = asyncio.Event()
    ready.set()
    return ready


class Elector:
    """Takes the Lease `namespace`/`name` for `identity` when it can, and keeps it.

    `gained` is called with the epoch of each new term, `lost` with the holder ("" for none) when a term is seen to be
    over. The Lease is not taken before `ready` is set: a replica whose watches are incomplete leaves it to the others.
    `saw` is called with each resourceVersion of the Lease, in the order in which the API server gave them.
    `api` bounds each request; 3 s leave time for a second try within the deadline.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        gained: Callable[[int], None],
        lost: Callable[[str], None],
        ready: asyncio.Event | None = None,
        saw: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._gained, self._lost, self._saw, self._clock = gained, lost, saw, clock
        self._ready = ready or _always()
        self._state = ElectorState(identity)
        self._current = False
        """Whether our own write has just returned the Lease: it need not be read."""
        self._last_error = ""
        self.forbidden: ApiError | None = None
        """The last answer where it was that this account may not read or take the Lease: such a replica never leads."""

    @property
    def leading(self) -> bool:
        """Whether we took the Lease and have not seen the end of our term; also while it cannot be renewed."""
        return self._state.leading

    @property
    def epoch(self) -> int:
        """The epoch of our latest term, above that of every earlier term; 0 before the first."""
        return self._state.epoch

    @property
    def holder(self) -> str:
        """The holder of the Lease, as last seen; "" for none."""
        return self._state.lease.holder

    def may_write(self) -> bool:
        """Whether we lead and no other process can."""
        return may_write(self._state, self._clock())

    async def run(self) -> None:
        """Take the Lease and renew it, until cancelled."""
        while True:
            try:
                await self._run_once()
                self._last_error, self.forbidden = "", None
            except ApiError as error:
                self.forbidden = error if error.status == HTTPStatus.FORBIDDEN else None
                self._log_error(error)
            await self._wait()

    async def release(self) -> None:
        """Release the Lease if it is ours, within RELEASE_WITHIN. Cancel `run` first: it would take it again."""
        if self._state.claim is None:
            return
        # Before anything is sent: after that another may lead.
        self._state = replace(self._state, leading=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN):
                while True:
                    if await self._try_release():
                        return
                    await asyncio.sleep(_RELEASE_AGAIN)
        log.warning("the Lease could not be released", dead_in=LEASE_DURATION)

    async def _run_once(self) -> None:
        await self._refresh()
        claim = next_claim(self._state, self._clock(), micro_time())
        if claim is None or not self._ready.is_set():
            return
        self._state, sent = replace(self._state, claim=claim), self._clock()
        lease = await self._write(claim, self._state.me)
        self._set_state(renewed(self._state, lease, sent))
        self._current = True

    async def _try_release(self) -> bool:
        """Try to empty the Lease; returns whether it is no longer ours."""
        try:
            await self._refresh()
            if self._state.claim is not None and held_by_us(self._state, self._clock()):
                await self._write(self._state.claim, "")
        except ApiError:
            return False
        self._state = replace(self._state, claim=None)
        return True

    async def _refresh(self) -> None:
        current, self._current = self._current, False
        if not current:
            lease = await self._read()
            self._set_state(observe(self._state, lease, self._clock()))

    async def _read(self) -> Lease:
        try:
            return self._seen(await self._api.get(paths.lease(self._namespace, self._name)))
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            return NO_LEASE

    async def _write(self, claim: Claim, holder: str) -> Lease:
        version = self._state.lease.version
        body = manifest(self._name, version, holder, claim, micro_time())
        if version:
            return self._seen(await self._api.patch(paths.lease(self._namespace, self._name), body))
        return self._seen(await self._api.create(paths.lease(self._namespace), body))

    def _seen(self, raw: Raw) -> Lease:
        lease = read(raw)
        self._saw(lease.version)
        return lease

    def _set_state(self, state: ElectorState) -> None:
        """Store the new state, and log and report what changed."""
        was, self._state = self._state, state
        lease = state.lease
        if lease != was.lease and lease.epoch < state.highest:
            log.warning("the Lease was deleted or changed by hand", epoch=lease.epoch, highest=state.highest)
        if state.leading and not was.leading:
            log.info("leading", epoch=state.epoch)
            self._gained(state.epoch)
        elif was.leading and not state.leading:
            log.warning(
                "another replica leads" if lease.holder else "no replica leads", holder=lease.holder, lost=was.epoch
            )
            self._lost(lease.holder)
        elif not state.leading and lease.holder != was.lease.holder and not is_available(state, state.since):
            log.info("another replica leads", holder=lease.holder)

    def _log_error(self, error: ApiError) -> None:
        """Log an error once. A conflict only means that the Lease changed, which the next read shows."""
        kind = f"{error.status} {error.reason}"
        if error.status != HTTPStatus.CONFLICT and kind != self._last_error:
            self._last_error = kind
            words = "the Lease could not be renewed" if self.leading else "the Lease could not be read or taken"
            log.warning(words, error=str(error))

    async def _wait(self) -> None:
        """Wait for the next turn. A replica that becomes ready continues at once."""
        if self._ready.is_set():
            await asyncio.sleep(self._pause())
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause()):
                await self._ready.wait()

    def _pause(self) -> float:
        if not self.leading:
            return READ_EVERY
        return RENEW_EVERY if self._current else RETRY_AFTER
