"""What gives a Service traffic: the objects of every kind of route in its namespace, listed before a removal.

Lists come from the API server, and loop/executor.py returns what was found to the run. A kind of which no version is
served is left out. What cannot be listed or read is said: nobody knows whether it uses the Service.

Required rights: list on each resource that is served, and the discovery that every account has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.limits import is_unread
from rolloutplan.api.printable import printable
from rolloutplan.cluster import discovery, paths
from rolloutplan.cluster.client import ApiError, Raw, ResourceClient
from rolloutplan.engine.model.rights import MissingRight
from rolloutplan.engine.model.snapshot import ServiceUsers
from rolloutplan.loop.route_watch import CHUNK
from rolloutplan.loop.routers import OWN_RIGHTS
from rolloutplan.loop.routes import RouteKinds
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.users import Reader, readers, user

LISTED_WITHIN: Final = 45.0
"""Seconds for all lists together. A cluster with a dozen of these kinds answers in less than one. The run gives a look
up after a minute (LOST_AFTER of engine/plan_run.py): what is not known must be said before."""
_MOST_NAMED: Final = 5
"""The most resources or objects that a message names: a status has no place for thirty."""
_MOST_ERRORS: Final = 2
"""The most errors in a message; the next ones show when these are mended."""
_LONGEST_ERROR: Final = 200
_RIGHT: Final = "give it that right, which the chart has for what the cluster serves when it is installed or upgraded"
_OWN_RIGHT: Final = f"give it that right {OWN_RIGHTS}"

log = structlog.get_logger(__name__)


async def find_users(
    api: ResourceClient, kinds: RouteKinds, namespace: str, service: str, clock: Callable[[], datetime]
) -> ServiceUsers:
    """List all kinds of route in a namespace. Raises ApiError where the API server does not answer at all."""
    look, late = _Look(api, kinds, namespace, service), []
    try:
        async with asyncio.timeout(LISTED_WITHIN):
            await look.at_all()
    except TimeoutError:
        late = [f"the lists of all kinds of route took more than {LISTED_WITHIN:g} s, and are asked again"]
    unknown = "; ".join([*look.unknown(), *late])
    return ServiceUsers(clock(), service, tuple(look.found), MissingRight(unknown) if look.may_not else unknown)


class _Look:
    """One look at a namespace, and what it has found so far."""

    def __init__(self, api: ResourceClient, kinds: RouteKinds, namespace: str, service: str) -> None:
        self._api, self._kinds, self._namespace, self._service = api, kinds, namespace, service
        self.found: list[str] = []
        self._refused: dict[str, list[str]] = {}
        self._failed: dict[str, list[str]] = {}
        self._unread: list[str] = []

    async def at_all(self) -> None:
        served = await self._served()
        for resource in self._kinds.resources():
            place, by = self._kinds.at(resource), readers(self._kinds.on(resource))
            versions = [
                version for version in place.versions if served is None or version in served.get(place.group, ())
            ]
            try:
                if by and versions:
                    await self._at(place, versions, by)
            except ApiError as error:
                self._note(resource, error)

    async def _served(self) -> Mapping[str, Sequence[str]] | None:
        """The versions of each group; None where they cannot be read: then each list says whether it is served."""
        try:
            return await discovery.offered(self._api)
        except ApiError as error:
            if not error.status:
                raise
            log.warning("the groups that are served cannot be read", error=str(error))
            return None

    def _note(self, resource: str, error: ApiError) -> None:
        """Note why a resource could not be listed: a broken one does not hide what the others give."""
        if error.status == HTTPStatus.FORBIDDEN:
            fix = _RIGHT if any(kind.kind in ROUTE_KINDS for kind in self._kinds.on(resource)) else _OWN_RIGHT
            self._refused.setdefault(fix, []).append(resource)
        else:
            self._failed.setdefault(printable(str(error)[:_LONGEST_ERROR]), []).append(resource)

    @property
    def may_not(self) -> bool:
        """Whether the operator lacks a right for it."""
        return bool(self._refused)

    def unknown(self) -> list[str]:
        """Why it is not known what gives the Service traffic; empty where all was read."""
        words = [f"the operator may not list {_named(those)}: {fix}" for fix, those in self._refused.items()]
        words += [f"{_named(those)} cannot be listed: {error}" for error, those in self._failed.items()][:_MOST_ERRORS]
        if self._unread:
            words.append(f"{_named(self._unread)} cannot be read: make it smaller, or remove it")
        return words

    async def _at(self, place: paths.Kind, versions: Sequence[str], by: Sequence[Reader]) -> None:
        """Look at all objects of a resource, in the first of these versions in which it is served."""
        for version in versions:
            try:
                await self._at_pages(self._pages(place._replace(version=version)), by)
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
            else:
                return

    async def _at_pages(self, pages: AsyncIterator[list[Raw]], by: Sequence[Reader]) -> None:
        """Look at objects page by page; at all together where one is read with the others."""
        if not any(reader.needs_siblings for reader in by):
            async for page in pages:
                for raw in page:
                    self._read(raw, (), by)
            return
        objects = [raw async for page in pages for raw in page]
        for raw in objects:
            self._read(raw, objects, by)
            await asyncio.sleep(0)

    async def _pages(self, place: paths.Kind) -> AsyncIterator[list[Raw]]:
        query = {"limit": str(CHUNK)}
        while True:
            page = await self._api.list(paths.path(place, self._namespace), timeout=None, **query)
            items = page.get("items") or []
            if not isinstance(items, list):
                raise ApiError(0, "NoList", "the answer has no list of objects")
            yield items
            if not (token := safe_get.text(page, "metadata", "continue")):
                return
            query["continue"] = token

    def _read(self, raw: Raw, siblings: Sequence[Raw], by: Sequence[Reader]) -> None:
        name = f"{by[0].kind} {safe_get.text(raw, 'metadata', 'name')}"
        try:
            used_by = user(by, raw, siblings, self._service)
        except Exception:
            log.exception("an object could not be read", object=name)
            self._unread.append(name)
            return
        if is_unread(raw, "spec"):
            self._unread.append(name)
        elif used_by:
            self.found.append(used_by)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
