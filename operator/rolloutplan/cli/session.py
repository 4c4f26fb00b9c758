"""The cluster, as commands see it: objects are read and watched, and each fault is told in one line with its fix.

A command writes `async with session(namespace) as cluster:`. What fails there raises CliError, which main.py prints.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from shlex import quote
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.printable import line
from rolloutplan.api.status import Status, read_status
from rolloutplan.cli.output import CliError
from rolloutplan.cluster.client import Api, ApiError, Raw, read_namespace
from rolloutplan.cluster.paths import (
    CLUSTER_SOURCES,
    CLUSTER_TEMPLATES,
    CRDS,
    NAMESPACES,
    PLANS,
    POLICIES,
    ROUTE_KINDS,
    Kind,
    path,
)

FIELD_MANAGER: Final = "rolloutplan-cli"
WITHIN: Final = 300.0
"""Seconds of one watch, after which all is read again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between tries while the API server cannot be reached."""
POLL_EVERY: Final = 0.5
"""Seconds between reads where objects may be read and not watched."""
_USAGE: Final = 2
ROWS: Final = 500
"""Rows of one page: with their metadata they take some 1 MB."""
PAGE: Final = 50
"""Objects of one page: of the largest records they take some 20 MB."""
_FORBIDDEN: Final = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_OF_THE_CLUSTER: Final = frozenset(
    kind.resource for kind in (CRDS, NAMESPACES, POLICIES, ROUTE_KINDS, CLUSTER_SOURCES, CLUSTER_TEMPLATES)
)
"""The kinds without a namespace that commands read."""
_ACCOUNT: Final = re.compile("system:serviceaccount:([^:]+):([^:]+)")


@dataclass(frozen=True)
class Plan:
    """A plan as it was read; `raw` is the whole object."""

    raw: Raw

    @property
    def name(self) -> str:
        return safe_get.text(self.raw, "metadata", "name")

    @property
    def namespace(self) -> str:
        return safe_get.text(self.raw, "metadata", "namespace")

    @cached_property
    def status(self) -> Status:
        """Its status; what cannot be read in it is named in `damaged`."""
        return read_status(safe_get.value(self.raw, "status"))


class TableRow(NamedTuple):
    """An object as `kubectl get` shows it: the cells by the names of their columns."""

    metadata: Mapping[str, Any]
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """An object as it is now; `gone` where it is that no more."""

    raw: Raw
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, and the namespace that is asked; "" is all of them."""

    api: Api
    namespace: str

    async def get(self, kind: Kind, name: str) -> Raw:
        """Read one object of the namespace. Raises CliError, with the nearest names where it does not exist."""
        return await self._of_name(kind, name, self.api.get(path(kind, self.namespace, name)))

    async def patch(self, kind: Kind, name: str, body: Mapping[str, Any]) -> Raw:
        """Write a merge patch; return the object after it. Raises CliError as `get`."""
        request = self.api.patch(path(kind, self.namespace, name), body, field_manager=FIELD_MANAGER)
        return await self._of_name(kind, name, request)

    async def objects(self, kind: Kind, selector: str | None = None) -> list[Raw]:
        """Read all objects, or those that a label selector selects. Raises ApiError."""
        found, _ = await self._read(kind, "", selector)
        return found

    async def pages(self, kind: Kind, selector: str | None = None) -> AsyncGenerator[list[Raw]]:
        """Read all objects, or those that a label selector selects, a page at a time: large ones. Raises ApiError."""
        query: dict[str, Any] = {"limit": PAGE} | ({} if selector is None else {"labelSelector": selector})
        while True:
            with _selecting(selector):
                raw = await self.api.list(path(kind, self.namespace), **query)
            yield [each for each in safe_get.items(raw, "items") if isinstance(each, dict)]
            if not (more := safe_get.text(raw, "metadata", "continue")):
                return
            query["continue"] = more

    async def rows(self, kind: Kind, selector: str | None = None) -> list[TableRow]:
        """Read of all objects, or those that a selector selects, what `kubectl get` shows of them. Raises ApiError."""
        query: dict[str, Any] = {"limit": ROWS} | ({} if selector is None else {"labelSelector": selector})
        found: list[TableRow] = []
        while True:
            with _selecting(selector):
                raw = await self.api.list_table(path(kind, self.namespace), **query)
            columns = [safe_get.text(each, "name") for each in safe_get.items(raw, "columnDefinitions")]
            for row in safe_get.items(raw, "rows"):
                cells = dict(zip(columns, safe_get.items(row, "cells"), strict=False))
                found.append(TableRow(safe_get.mapping(row, "object", "metadata"), cells))
            if not (more := safe_get.text(raw, "metadata", "continue")):
                return found
            query["continue"] = more

    async def names(self, kind: Kind) -> list[str]:
        """Read the names of all objects, and not the objects: of large ones they take seconds. Raises ApiError."""
        raw = await self.api.list_metadata(path(kind, self.namespace))
        return sorted(safe_get.text(each, "metadata", "name") for each in safe_get.items(raw, "items"))

    async def plan(self, name: str) -> Plan:
        """Read one plan. Raises CliError, with the nearest names where it does not exist."""
        return Plan(await self.get(PLANS, name))

    async def find(self, name: str) -> Plan | None:
        """Read one plan; None where it does not exist, without a look for the nearest names. Raises ApiError."""
        try:
            return Plan(await self.api.get(path(PLANS, self.namespace, name)))
        except ApiError as error:
            if not _is_missing(error, name):
                raise
            return None

    async def plans(self, selector: str | None = None) -> list[Plan]:
        """Read all plans, or those that a label selector selects, by namespace and name. Raises ApiError."""
        found = map(Plan, await self.objects(PLANS, selector))
        return sorted(found, key=lambda plan: (plan.namespace, plan.name))

    async def watch(
        self,
        kind: Kind,
        name: str = "",
        selector: str | None = None,
        *,
        since: Raw | None = None,
        lost: Callable[[ApiError], None] = lambda _: None,
        found: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[Change]:
        """Yield each object as it is, then each change, until the caller has seen enough. A cut connection is mended.

        `since` is the object of this name as it was read or written just now: only what follows is told. `lost` is
        called at each failure after the first read, `found` when all was read again. Raises ApiError where the first
        read fails, and later where trying again would not help.
        """
        known: dict[tuple[str, str, str], Raw] = {}
        read, version = ([since], _version(since)) if since is not None else await self._read(kind, name, selector)
        pause = FIRST_PAUSE
        while True:
            for change in _differences(known, read, new=since is None):
                yield change
            since = None
            try:
                async with aclosing(self._events(kind, name, selector, version)) as events:
                    async for event in events:
                        pause = FIRST_PAUSE
                        yield _take_in(known, event)
            except ApiError as error:
                raise_hopeless(error, lost)
                pause = POLL_EVERY if error.status == 403 else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            read, version, pause = await self._read_again(kind, name, selector, pause, lost)
            found()

    async def _read(self, kind: Kind, name: str, selector: str | None) -> tuple[list[Raw], str]:
        """Read one object or a list; return it with the version at which a watch goes on."""
        if name:
            raw = await self.api.get(path(kind, self.namespace, name))
            return [raw], _version(raw)
        query: dict[str, Any] = {} if selector is None else {"labelSelector": selector}
        with _selecting(selector):
            raw = await self.api.list(path(kind, self.namespace), **query)
        return [each for each in safe_get.items(raw, "items") if isinstance(each, dict)], _version(raw)

    async def _read_again(
        self, kind: Kind, name: str, selector: str | None, pause: float, lost: Callable[[ApiError], None]
    ) -> tuple[list[Raw], str, float]:
        """Read until the API server answers, with longer and longer pauses; one object that is gone is none."""
        while True:
            try:
                return *await self._read(kind, name, selector), pause
            except ApiError as error:
                if name and _is_missing(error, name):
                    return [], "", max(pause, POLL_EVERY)
                raise_hopeless(error, lost, but=())
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _events(self, kind: Kind, name: str, selector: str | None, version: str) -> AsyncGenerator[Raw]:
        query = {"resourceVersion": version, "fieldSelector": f"metadata.name={name}" if name else ""}
        asked: dict[str, Any] = {key: text for key, text in query.items() if text}
        if selector is not None:
            asked["labelSelector"] = selector
        return self.api.stream(path(kind, self.namespace), within=WITHIN, **asked)

    async def _of_name(self, kind: Kind, name: str, request: Awaitable[Raw]) -> Raw:
        try:
            return await request
        except ApiError as error:
            if not _is_missing(error, name):
                raise
            raise CliError(await self._not_found(kind, name)) from error

    async def _not_found(self, kind: Kind, name: str) -> str:
        called = "RolloutPlan" if kind == PLANS else kind.plural
        words = f"there is no {called} {name} in namespace {self.namespace}"
        try:
            names = await self.names(kind)
        except ApiError:
            names = []
        if near := get_close_matches(name, names, n=3):
            return f"{words}: did you mean {' or '.join(near)}?"
        return f"{words}: see kubectl get {kind.plural} -A"


@asynccontextmanager
async def session(namespace: str | None = None, *, everywhere: bool = False) -> AsyncIterator[Session]:
    """Connect: to a namespace, without one to that of the kubeconfig's context, or to all. Raises CliError."""
    try:
        where = "" if everywhere else namespace or read_namespace()
        api = await Api.connect(whole=True)
        try:
            yield Session(api, where)
        finally:
            await api.close()
    except ApiError as error:
        raise CliError(explain(error)) from error


@contextmanager
def _selecting(selector: str | None) -> Iterator[None]:
    """Name the selector that the API server cannot read, which it does not. Raises CliError."""
    try:
        yield
    except ApiError as error:
        if selector is None or error.status != 400:
            raise
        words = f'-l: "{selector}" is no selector of labels: {error.message}'
        raise CliError(f"{words}: write one such as team=checkout", _USAGE) from error


def explain(error: ApiError) -> str:
    """What the API server's answer means, with the fix, in one line."""
    match error.status:
        case 0 if error.reason != "NoConfig":
            return f"the API server cannot be reached: {error.message or error.reason}"
        case 404 if error.reason == "NotFound" and error.message.endswith("not found"):
            return f"{error.message}: see kubectl get rolloutplans -A"
        case 404:
            return "the CRDs are not installed in this cluster: install them with rolloutplan crds | kubectl apply -f -"
        case 401:
            return "the API server rejects your credentials: log in again"
        case 403:
            return _forbidden(error.message)
        case _:
            return error.message or str(error)


def _forbidden(message: str) -> str:
    """Which right is missing, and the line that grants it."""
    if not (found := _FORBIDDEN.search(message)):
        return f"not allowed: {message}"
    user, verb, resource, namespace = found["user"], found["verb"], found["resource"], found["namespace"]
    full = f"{resource}.{found['group']}" if found["group"] else resource
    verbs = ",".join(dict.fromkeys(("get", "list", "watch", verb)))
    name = quote(f"rolloutplan-{verb}-{resource}")
    kind, where = ("role", f" -n {quote(namespace)}") if namespace else ("clusterrole", "")
    everywhere = "in the cluster" if full in _OF_THE_CLUSTER else "in all namespaces (-n names one)"
    at = f"in namespace {namespace}" if namespace else everywhere
    create = f"kubectl create {kind} {name}{where} --verb={verbs} --resource={quote(full)}"
    bind = f"kubectl create {kind}binding {name}{where} --{kind}={name} {_subject(user)}"
    return f"{user} may not {verb} {full} {at}: whoever may grant it runs {create} && {bind}"


def _subject(user: str) -> str:
    """Who is given the right, as kubectl takes it."""
    if account := _ACCOUNT.fullmatch(user):
        return f"--serviceaccount={quote(account[1])}:{quote(account[2])}"
    if line(user) != user:
        return "--user=NAME (NAME is the user's name, which cannot be shown here as it is)"
    return f"--user={quote(user)}"


def _is_missing(error: ApiError, name: str) -> bool:
    """Whether it is the object that does not exist, and not its kind."""
    return error.status == 404 and f'"{name}"' in error.message


def raise_hopeless(error: ApiError, lost: Callable[[ApiError], None], but: tuple[int, ...] = (403, 410)) -> None:
    """Raise what trying again does not help, except the statuses in `but`; tell of the rest."""
    if error.status in but:
        return
    if 400 <= error.status < 500 and error.status not in (408, 429):
        raise error
    lost(error)


def _version(raw: Mapping[str, Any]) -> str:
    return safe_get.text(raw, "metadata", "resourceVersion")


def _key(raw: Raw) -> tuple[str, str, str]:
    """What tells an object from others, also from one that had its name before."""
    namespace, name, uid = (safe_get.text(raw, "metadata", field) for field in ("namespace", "name", "uid"))
    return namespace, name, uid


def _differences(known: dict[tuple[str, str, str], Raw], found: list[Raw], *, new: bool) -> list[Change]:
    """Take in what was read: what is new or has changed, and what is gone. Nothing is told where it is no news."""
    present = {_key(raw): raw for raw in found}
    gone = [Change(raw, gone=True) for key, raw in known.items() if key not in present]
    changed = [Change(raw) for key, raw in present.items() if _version(raw) != _version(known.get(key, {}))]
    known.clear()
    known |= present
    return [*gone, *changed] if new else []


def _take_in(known: dict[tuple[str, str, str], Raw], event: Raw) -> Change:
    """The change that an event of a watch tells. Raises ApiError where it has no object: all is read again then."""
    raw = event.get("object")
    if not isinstance(raw, dict):
        raise ApiError(0, "NoObject", "an event of the watch has no object")
    if event.get("type") == "DELETED":
        known.pop(_key(raw), None)
        return Change(raw, gone=True)
    known[_key(raw)] = raw
    return Change(raw)
