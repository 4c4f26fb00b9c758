"""Makes the routes that the operator owns for plans (`traffic.ownership: Owned`), and keeps them as those in Git.

The leader looks at an owned route when a plan begins or ends to need it, and when it or the route in Git has changed.
traffic/owned.py says what to do then; loop/owned_plans.py what plans want of it, and tells them why not.
A route whose plan is gone is kept until the one in Git divides the traffic in the same way: it is looked at every now
and then.

Where the installation lends no routes any more, those that are there follow Git, and their plans are told that nobody
hands the traffic back.

Required rights where plans may have routes made: create and delete on HTTPRoutes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol

import structlog

from rolloutplan.api import safe_get
from rolloutplan.api.route import HTTP_ROUTE
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, Raw, if_there
from rolloutplan.loop import route_losers
from rolloutplan.loop.missing_rights import why
from rolloutplan.loop.owned_plans import Name, OwnedPlans, Route, Store
from rolloutplan.loop.route_losers import RouteLosers
from rolloutplan.loop.routes import RouteKinds, place_of
from rolloutplan.loop.versions import Id
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.owned import (
    LABEL,
    Follow,
    HandBack,
    Make,
    NotOwnableError,
    Step,
    is_ours,
    left_behind,
    next_step,
    source_name,
)

RESOURCE: Final = place_of(ROUTE_KINDS[HTTP_ROUTE]).resource
AGAIN: Final = 30.0
"""Seconds between two looks at a route that could not be made, or that no plan needs: nothing announces the cause."""
AFTER_A_CONFLICT: Final = 0.2
"""Seconds until the next look where somebody else has written to a route in the meantime."""
MOST_AT_ONCE: Final = 5
"""Such looks in a row, a second together. After that it is the API server that refuses, as a policy of the cluster."""
_TAKEN: Final = (
    "the operator's {} takes its traffic, so its weights move nothing: write ownership: Owned here too; or commit the "
    "weights of the end, after which that one is deleted"
)
_CHANGED: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY})
"""The answers to a write at a version that is not the newest."""

log = structlog.get_logger(__name__)


class Client(route_losers.Client, Protocol):
    """What is needed of the API server (cluster/client.py)."""

    async def get(self, path: str) -> Raw: ...
    async def list_metadata(self, path: str, **query: str | int) -> Raw: ...
    async def create(self, path: str, body: Mapping[str, Any]) -> Raw: ...
    async def patch(self, path: str, body: Sequence[Mapping[str, Any]], *, kind: Any) -> Raw: ...
    async def delete(self, path: str, *, version: str) -> Raw: ...


class Kinds(Store, Protocol):
    """What is needed of the store (loop/store.py)."""

    @property
    def kinds(self) -> RouteKinds: ...


class OwnedRoutes:
    """Keeps owned routes while `leading`. Call `led` at its begin, and `seen` with every object that has changed.

    `lent`: whether the installation lets routes be made and deleted.

    An object without a name stands for all of its kind.

    `wake` has a plan looked at again. `apply` stores what the API server answered.
    """

    def __init__(
        self,
        api: Client,
        store: Kinds,
        *,
        lent: bool,
        leading: Callable[[], bool],
        wake: Callable[[str], None],
        apply: Callable[[str, str | None, dict[str, Any]], None],
        namespaces: Sequence[str] = (),
    ) -> None:
        self._api, self._store, self._leading, self._apply = api, store, leading, apply
        self._plans, self._lent = OwnedPlans(store, wake), lent
        self._namespaces = tuple(dict.fromkeys(namespaces)) or ("",)
        self._losers = RouteLosers(api, self._path, self._namespaces)
        self._by_name: defaultdict[Name, set[Route]] = defaultdict(set)
        """The known routes by either name."""
        self._due: set[Route] = set()
        self._waiting: dict[Route, float] = {}
        """When to look again at a route without any cause, in seconds of the loop."""
        self._changed: Counter[Route] = Counter()
        """How often in a row somebody else had written to a route in the meantime."""
        self._all_due = True
        self._again = asyncio.Event()

    def led(self) -> None:
        """Look at all routes: this replica begins to lead."""
        self._all_due = True
        self._again.set()

    def seen(self, ident: Id, raw: Raw | None = None) -> None:
        """Look at what depends on an object that has changed to `raw`, or is gone."""
        resource, namespace, name = ident
        if raw is not None and resource == RESOURCE and is_ours(raw) and (source := source_name(raw)):
            self._look_at(Route(namespace, source))  # the list by label has none of those that lost it
        if not name:
            if resource == RESOURCE:
                self._losers.listed()
            self.led()
        elif resource == paths.PLANS.resource:
            self._plan_changed(f"{namespace}/{name}")
        elif resource == RESOURCE:
            for route in (*self._by_name.get((namespace, name), ()), *self._losers.seen((namespace, name), raw)):
                self._look_at(route)

    def _plan_changed(self, key: str) -> None:
        own, names = self._plans.changed(key)
        for route in own:
            self._look_at(route)
        for name in names:
            self._due |= self._by_name.get(name, set())
            self._again.set()

    def _look_at(self, route: Route) -> None:
        for name in (route.name, route.own.name):
            self._by_name[route.namespace, name].add(route)
        self._due.add(route)
        self._again.set()

    async def run(self) -> None:
        """Look at what is due until cancelled."""
        while True:
            if self._leading():
                await self._look()
            loop = asyncio.get_running_loop()
            until = min(self._waiting.values(), default=loop.time() + AGAIN if self._all_due else None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._again.wait()
            self._again.clear()
            for route in [route for route, at in self._waiting.items() if at <= loop.time()]:
                del self._waiting[route]
                self._due.add(route)

    async def _look(self) -> None:
        if self._all_due:
            self._all_due = not await self._find_all()
        while self._due:
            route = self._due.pop()
            self._waiting.pop(route, None)
            try:
                note = await self._look_at_one(route)
                self._changed.pop(route, None)
            except ApiError as error:
                self._changed[route] += 1
                if error.status in _CHANGED and self._changed[route] < MOST_AT_ONCE:
                    self._soon(route)
                    continue
                note = why(error)
            except Exception as error:
                log.exception("an owned route could not be looked at; trying again", route=route)
                note = f"the operator itself failed: {type(error).__name__}"
            self._tell(route, note)

    async def _find_all(self) -> bool:
        """Find the plans that want a route, and the routes of plans that are gone. Returns whether all are found."""
        for key in [*self._store.plans]:
            self._plan_changed(key)
        if not (self._lent or self._plans.use_routes()):
            return True
        try:
            for namespace in self._namespaces:
                found = await self._api.list_metadata(self._path(namespace), labelSelector=f"{LABEL}=true")
                for own in safe_get.items(found, "items"):
                    if name := source_name(own):
                        self._look_at(Route(safe_get.text(own, "metadata", "namespace"), name))
        except ApiError as error:
            none_there = error.status == HTTPStatus.NOT_FOUND
            if not none_there and (self._lent or error.status != HTTPStatus.FORBIDDEN):
                log.warning("the routes that the operator owns could not be listed; trying again", error=str(error))
                return False
        return True

    async def _look_at_one(self, route: Route) -> str:
        """Do what a route needs next. Returns why that cannot be done, or what is amiss; or empty. Raises ApiError."""
        source, own = await self._get(route.namespace, route.name), await self._get(route.namespace, route.own.name)
        wanted = self._plans.wanted(route)
        taken = own is not None and (is_ours(own) or wanted.moving)
        left = "" if self._lent else left_behind(source, own, wanted)
        try:
            step = next_step(source, own, wanted)
            if step is not None and (self._lent or isinstance(step, Follow)):
                if isinstance(step, Make) and source and (words := await self._losers.of(route, source, own)):
                    return words
                await self._do(route, step)
                taken = not isinstance(step, HandBack)
                if not taken and source and own:  # the watch may be behind: Git's route has the traffic from now on
                    self._apply(RESOURCE, "MODIFIED", source)
                    self._apply(RESOURCE, "DELETED", own)
        except NotOwnableError as error:
            return "; ".join(filter(None, (str(error), left)))
        finally:
            self._plans.tell(route.namespace, route.written, (left or _TAKEN.format(route.own)) if taken else "")
        if taken and not self._plans.move(route):
            self._wait_with(route)
        return left or (await self._losers.of(route, source, own) if taken and source else "")

    async def _do(self, route: Route, step: Step) -> None:
        """Write to an owned route. Raises ApiError."""
        name = f"{route.namespace}/{route.own.name}"
        match step:
            case Make(body=body):
                self._apply(RESOURCE, "ADDED", await self._api.create(self._path(route.namespace), body))
                log.info("route made", route=name)
            case Follow(operations=operations):
                path = self._path(route.namespace, route.own.name)
                self._apply(RESOURCE, "MODIFIED", await self._api.patch(path, operations, kind="json"))
                log.info("route follows the one in Git", route=name)
            case HandBack(version=version):
                await self._api.delete(self._path(route.namespace, route.own.name), version=version)
                log.info("route handed back: the one in Git divides the traffic in the same way", route=name)

    async def _get(self, namespace: str, name: str) -> Raw | None:
        return await if_there(self._api.get(self._path(namespace, name)))

    def _path(self, namespace: str, name: str = "") -> str:
        return paths.path(self._store.kinds.served(RESOURCE), namespace, name)

    def _soon(self, route: Route) -> None:
        """Look again in a moment: somebody else has written to the route in the meantime."""
        asyncio.get_running_loop().call_later(AFTER_A_CONFLICT, self._look_at, route)

    def _tell(self, route: Route, note: str) -> None:
        """Tell the plans of a route why it is not as it must be; empty: it is."""
        if note:
            self._wait_with(route)
        if self._plans.tell(route.namespace, route.own, note):
            log.warning("owned route", route=f"{route.namespace}/{route.own.name}", note=note or "as it must be")

    def _wait_with(self, route: Route) -> None:
        """Look at a route again, although nothing may announce that it is time."""
        self._waiting[route] = asyncio.get_running_loop().time() + AGAIN
