"""Watches: kopf follows the cluster in its own thread and delivers every object to the main event loop.

Objects come from the API server and go to loop/feed.py, which stores them in loop/store.py.

kopf is used for its streams only. It exits on ordinary events in a cluster (a CRD is removed, an unexpected error in a
stream, expired credentials), and its exit may hang: it waits forever for tasks that swallowed their cancellation. So a
supervisor runs each instance of kopf in its own event loop. As soon as one task of the instance ends, the supervisor
abandons that loop and starts the next instance. The main loop continues meanwhile.

Complete lists are intercepted from kopf's own requests as they arrive. kopf reports neither where a list ends nor what
was deleted while a stream was down, and it spends a task and 2 KB on every object that it gets. So it gets no objects
from lists and only follows the streams, starting at the lists' versions.

All workarounds for kopf are in this file, so that kopf can be replaced as a whole.

Required rights: list and watch on each kind, and the discovery that every account has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import kopf
import structlog
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from rolloutplan.cluster.client import USER_AGENT, ApiError, Raw, authorization, read_config
from rolloutplan.cluster.decoding import Stream, decode_list
from rolloutplan.cluster.paths import CLUSTER_NOTIFIERS, NAMESPACES, NOTIFIERS, ROUTE_KINDS, Kind, path
from rolloutplan.loop.versions import Listing, is_older, name_of, version_of
from rolloutplan.loop.waiting import pauses

ApplyObject = Callable[[str, str | None, Raw], None]
"""Takes a resource, the event (ADDED, MODIFIED, DELETED, or None for a member of a list) and the object."""
ListComplete = Callable[[Listing], None]
Allowed = Callable[[Kind, str | None, bool], None]
"""Takes a kind, a namespace (None: everywhere), and whether the kind may be watched there."""

CREDENTIALS_FOR: Final = timedelta(minutes=10)
"""After this time a stream is opened with newly read credentials, because tokens of service accounts rotate."""
RECHECK: Final = 15.0
"""Seconds between probes for a kind that was not served or not allowed."""
PROBE_WITHIN: Final = 5.0
"""Timeout in seconds of one probe of a target; a probe that hangs is repeated."""
PROBES_AT_ONCE: Final = 10
STREAM_ENDS_AFTER: Final = 20
"""Seconds after which the API server ends a stream and kopf continues from the newest version that it received. For
eleven kinds that is about one request in two seconds, answered from the API server's memory."""
STREAM_HANGS_AFTER: Final = 25.0
"""Seconds after which a stream that the API server has not ended counts as hung. Only this stream is opened again,
without a list. Behind a dead connection that seems alive, a freeze or changed weights may stay unseen for this long."""
SILENT_AFTER: Final = 40.0
"""Seconds without any request for a target after which kopf itself counts as hung and its instance is ended."""
SLICE: Final = 0.005
"""Seconds for which objects are taken in the main loop before it serves all else."""
MOST_WAITING: Final = 50
"""Objects of a list that wait for the main loop before more of it are decoded."""
FIRST_WITHIN: Final = 5.0
"""Seconds for which the other lists wait for that of plans at the start; then what plans name is read once more."""
CHUNK: Final = 25
"""Objects in one answer to a list. Each may have 1.5 MiB, and the whole answer is in memory before it is decoded."""
_DISPENSABLE: Final = frozenset({NAMESPACES, ROUTE_KINDS, NOTIFIERS, CLUSTER_NOTIFIERS})
"""Kinds without which every operator works: forbidden, they count as not installed."""
_RESTART_DELAYS: Final = (0.2, 1.0, 2.0, 3.0)
_STABLE_AFTER: Final = 60.0

log = structlog.get_logger(__name__)


def _first_attempt(record: logging.LogRecord) -> bool:
    """Pass only the first attempt of a request, as a warning; kopf logs an error line for every attempt."""
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    return not (record.msg.startswith("Request attempt #") and not record.msg.startswith("Request attempt #1 "))


logging.getLogger("kopf._cogs.clients.watching").addFilter(_first_attempt)
logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # otherwise it logs a line for every event
for _part in ("orchestration", "running"):  # otherwise two tracebacks for each exit; the supervisor logs one line
    logging.getLogger(f"kopf._core.reactor.{_part}").setLevel(logging.CRITICAL)


class WatchTarget(NamedTuple):
    """What one list and one stream cover: a kind, in one namespace or everywhere."""

    kind: Kind
    namespace: str | None

    def __str__(self) -> str:
        return f"{self.kind.plural} in {self.namespace}" if self.namespace else self.kind.plural

    @property
    def path(self) -> str:
        return path(self.kind, self.namespace or "")


class Availability(Enum):
    """Whether the API server serves a target and allows it."""

    SERVED = "served"
    ABSENT = "not served: its CRD is not installed"
    FORBIDDEN = "forbidden: list and watch are not granted"


class Watch:
    """Watches `kinds`, everywhere or in `namespaces`. `apply` and `listed` are called in the loop that called `start`.

    `listed` is called when a list is complete, after `apply` was called for each of its objects: an object that is not
    in it is gone. It is called once for each namespace in `namespaces` (once with None where there are none, and for
    kinds without a namespace), and again whenever a stream had to start over. A kind that is not installed is listed as
    empty. A cluster-wide kind that is forbidden to an operator of some namespaces is treated as not installed;
    Namespaces, RouteKinds and notifiers are, for every operator. `allowed` is called when any other kind is forbidden,
    and when it is allowed again.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        *,
        apply: ApplyObject,
        listed: ListComplete,
        allowed: Allowed = lambda *_: None,
        namespaces: Sequence[str] = (),
    ) -> None:
        self._apply = apply
        self._listed = listed
        self._allowed = allowed
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._targets = [
            WatchTarget(kind, namespace)
            for kind in kinds
            for namespace in (self._namespaces if kind.namespaced and self._namespaces else (None,))
        ]
        self._by_path = {target.path: target for target in self._targets}
        self._availability: dict[WatchTarget, Availability] = {}
        self._chunks: dict[WatchTarget, list[tuple[str, str]]] = {}
        self._floor: dict[WatchTarget, str] = {}
        self._newest: dict[WatchTarget, str] = {}
        self._synced: set[WatchTarget] = set()
        self._requested_at: dict[WatchTarget, float] = {}
        self._inbox: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._taking = False
        self._first_ends = 0.0
        self._logged_in = 0.0
        self._sessions: list[aiohttp.ClientSession] = []
        self._main_loop: asyncio.AbstractEventLoop | None = None
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start watching. Call it once, from the main event loop."""
        self._main_loop = asyncio.get_running_loop()
        self._thread.start()

    def restart(self) -> None:
        """List everything again: the cluster was restored, and the streams go on from versions that are void."""
        if self._running is not None:
            loop, task = self._running
            with contextlib.suppress(RuntimeError):  # the loop is closed: that instance has ended
                loop.call_soon_threadsafe(task.cancel)

    async def stop(self) -> None:
        """Stop watching; return within 2 s, whatever kopf does."""
        self._stopping.set()
        self.restart()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, 2.0)

    def synced(self, kind: Kind | None = None) -> bool:
        """Whether a complete list of every target (of one kind) was delivered at least once."""
        return all(target in self._synced for target in self._targets if kind in (None, target.kind))

    def missing(self) -> list[str]:
        """Return the targets without a complete list yet, or that may not be read any more; with the reason."""
        return [
            f"{target} ({availability.value})" if (availability := self._availability.get(target)) else str(target)
            for target in self._targets
            if target not in self._synced or self._is_forbidden(target)
        ]

    # ---- the thread: an event loop for each instance of kopf -------------------------------------

    def _run(self) -> None:
        delays = pauses(_RESTART_DELAYS)
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_kopf()
            except Exception as error:  # noqa: BLE001 - watching continues after any error
                log.warning("watching was interrupted", error=f"{type(error).__name__}: {error}")
            if time.monotonic() - began > _STABLE_AFTER:
                delays = pauses(_RESTART_DELAYS)
            self._stopping.wait(next(delays))

    def _run_kopf(self) -> None:
        """Run one instance of kopf, then quickly end all that it leaves running."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: log.debug("a task of kopf was left", what=context.get("message")))
        try:
            self._running = loop, loop.create_task(self._watch())
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(self._running[1])
        finally:
            loop.run_until_complete(self._abandon())
            loop.close()

    async def _abandon(self) -> None:
        """Close the sessions and cancel the tasks. A task that runs on is abandoned with the closed loop."""
        for session in self._sessions:
            await session.close()
        self._sessions.clear()
        for _ in range(3):  # the first cancellation may be swallowed
            if left := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=0.3)

    async def _watch(self) -> None:
        """Watch until kopf ends or hangs, or until the availability of an unwatched kind changes."""
        if self._stopping.is_set():
            return
        await self._discover()
        self._first_ends = time.monotonic() + FIRST_WITHIN
        kinds = {
            target.kind for target, availability in self._availability.items() if availability is Availability.SERVED
        }
        tasks: set[asyncio.Future[Any]] = {asyncio.create_task(self._availability_changed(kinds))}
        if kinds:
            tasks.add(asyncio.create_task(self._watchdog(kinds)))
            where: Mapping[str, Any] = {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
            tasks.update(await kopf.spawn_tasks(registry=self._registry(kinds), settings=_settings(), **where))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _discover(self) -> None:
        """Request one object of each target, to find out before kopf fails whether it is served and allowed."""
        config = await read_config()
        turns = asyncio.Semaphore(PROBES_AT_ONCE)
        async with await _session(config) as session:
            answers = await asyncio.gather(
                *(self._probe_until_answered(session, config.host, p, turns) for p in self._targets)
            )
        availability = dict(zip(self._targets, answers, strict=True))
        for target, now in availability.items():
            if now is not Availability.SERVED and now is not self._availability.get(target):
                log.warning("a kind cannot be watched", place=str(target), why=now.value)
            if now is Availability.ABSENT or (now is Availability.FORBIDDEN and self._is_optional(target)):
                self._deliver_complete(Listing(target.kind.resource, target.namespace, frozenset()), target)
        for target, now in availability.items():
            self._note(target, now)

    async def _probe_until_answered(
        self, session: aiohttp.ClientSession, host: str, target: WatchTarget, turns: asyncio.Semaphore
    ) -> Availability:
        """Probe a target until it is answered, so that a failure of one does not repeat the probes of the others."""
        for delay in _Backoffs():
            try:
                async with turns:
                    return await self._probe(session, host, target)
            except (aiohttp.ClientError, TimeoutError) as error:
                if getattr(error, "status", None) == HTTPStatus.UNAUTHORIZED:  # the next instance reads them again
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("there is no end to the attempts")

    async def _probe(self, session: aiohttp.ClientSession, host: str, target: WatchTarget) -> Availability:
        within = aiohttp.ClientTimeout(total=PROBE_WITHIN)
        async with session.get(host + target.path, params={"limit": "1"}, timeout=within) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return Availability.ABSENT
            if response.status == HTTPStatus.FORBIDDEN:
                return Availability.FORBIDDEN
            response.raise_for_status()
            return Availability.SERVED

    async def _availability_changed(self, watched: Collection[Kind]) -> None:
        """Return when the availability of an unwatched kind has changed; never where every kind is watched.

        A kind that is forbidden in only some of the operator's namespaces is watched: kopf retries there.
        """
        missing = {
            target: availability
            for target, availability in self._availability.items()
            if target.kind not in watched and not (availability is Availability.FORBIDDEN and self._is_optional(target))
        }
        while missing:
            await asyncio.sleep(RECHECK)
            with contextlib.suppress(aiohttp.ClientError, ApiError, TimeoutError):  # no reason to stop kopf
                config = await read_config()
                async with await _session(config) as session:
                    for target, before in missing.items():
                        if await self._probe(session, config.host, target) is not before:
                            return
        await asyncio.Event().wait()

    async def _watchdog(self, kinds: Collection[Kind]) -> None:
        """Raise TimeoutError when kopf has requested neither a list nor a stream of a target for too long."""
        clock = asyncio.get_running_loop().time
        self._requested_at = {target: clock() for target in self._targets if target.kind in kinds}
        while True:
            await asyncio.sleep(SILENT_AFTER / 10)
            for target, requested_at in self._requested_at.items():
                if clock() - requested_at > SILENT_AFTER:
                    raise TimeoutError(f"kopf has sent no request for {target} for {SILENT_AFTER:g} s")

    async def _note_request(self, _: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        if target := self._by_path.get(request.url.path):
            self._requested_at[target] = asyncio.get_running_loop().time()

    async def _note_answer(self, _: object, __: object, answer: aiohttp.TraceRequestEndParams) -> None:
        """Note whether a target may be watched: kopf tries a refused request again for ever, and says nothing of it."""
        target, status = self._by_path.get(answer.url.path), answer.response.status
        if target is None or status not in (HTTPStatus.OK, HTTPStatus.FORBIDDEN):
            return
        found = Availability.SERVED if status == HTTPStatus.OK else Availability.FORBIDDEN
        if found is Availability.FORBIDDEN and found is not self._availability.get(target):
            log.warning("a kind cannot be watched", place=str(target), why=found.value)
        self._note(target, found)

    def _note(self, target: WatchTarget, found: Availability) -> None:
        was_forbidden = self._is_forbidden(target)
        self._availability[target] = found
        if (forbidden := self._is_forbidden(target)) is not was_forbidden:
            self._call_in_main_loop(self._allowed, target.kind, target.namespace, not forbidden)

    def _is_forbidden(self, target: WatchTarget) -> bool:
        return self._availability.get(target) is Availability.FORBIDDEN and not self._is_optional(target)

    def _is_optional(self, target: WatchTarget) -> bool:
        """Whether the operator works without this kind. Without Namespaces, policies by their labels block."""
        return target.kind in _DISPENSABLE or (bool(self._namespaces) and not target.kind.namespaced)

    # ---- kopf ------------------------------------------------------------------------------------

    def _registry(self, kinds: Collection[Kind]) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in kinds:
            kopf.on.event(kind.group, kind.version, kind.plural, id=kind.resource, registry=registry)(
                self._event_handler(kind)
            )
        return registry

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        """Return a session with fresh credentials, at most once a second: a refused token would cause a busy loop."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._logged_in + 1 - now))
        self._logged_in = asyncio.get_running_loop().time()
        config = await read_config()
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._note_request)
        trace.on_request_end.append(self._note_answer)
        session = await _session(config, response_class=self._response_class(), trace_configs=[trace])
        self._sessions = [*(former for former in self._sessions if not former.closed), session]
        return kopf.AiohttpSession(
            server=config.host, aiohttp_session=session, expiration=datetime.now(UTC) + CREDENTIALS_FOR
        )

    def _response_class(self) -> type[aiohttp.ClientResponse]:
        watch = self

        class Response(aiohttp.ClientResponse):
            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                await super().start(connection)
                if "watch" in self.url.query and watch._by_path.get(self.url.path):
                    self.content = Stream(self.content)  # type: ignore[assignment]  # kopf needs no more of it
                return self

            async def json(self, **how: Any) -> Any:
                target = watch._by_path.get(self.url.path)
                if target is None or not self.ok:
                    return await super().json(**how)
                return await watch._intercept_list(self, target, await self.text())

        return Response

    async def _intercept_list(self, response: aiohttp.ClientResponse, target: WatchTarget, text: str) -> Any:
        """Take the items out of a list before kopf sees them, one by one and no faster than the main loop takes them.

        All of them at once would stop the other streams, and fill the memory where they are large.
        """
        body, items = decode_list(text)
        meta = body.get("metadata") or {}
        common = {"apiVersion": body.get("apiVersion"), "kind": str(body.get("kind", "")).removesuffix("List")}
        if "continue" not in response.url.query:
            self._chunks[target] = []
        await self._let_first_kind_pass(target)
        for item in items:
            self._chunks[target].append(name_of(item))
            self._call_in_main_loop(self._deliver, target.kind, None, {**common, **item})
            while len(self._inbox) > MOST_WAITING:  # noqa: ASYNC110 - the main loop, of another thread, empties it
                await asyncio.sleep(SLICE)
        if not meta.get("continue"):
            version, names = version_of(body), frozenset(self._chunks.pop(target))
            is_new_history = is_older(version, self._newest.get(target, ""))
            self._floor[target] = self._newest[target] = version
            self._deliver_complete(
                Listing(target.kind.resource, target.namespace, names, version, is_new_history), target
            )
        return {**body, "items": []}

    async def _let_first_kind_pass(self, target: WatchTarget) -> None:
        """Let the list of the first kind (plans) be complete before the others: they say what is needed of those."""
        first = self._targets[0].kind
        while target.kind != first and not self.synced(first) and time.monotonic() < self._first_ends:  # noqa: ASYNC110
            await asyncio.sleep(SLICE)

    def _event_handler(self, kind: Kind) -> Callable[..., Any]:
        async def on_event(event: kopf.RawEvent, **_: object) -> None:
            # Return nothing: kopf would write a result into the object's status.
            raw: Raw = dict(event["object"])
            target = WatchTarget(
                kind, raw["metadata"].get("namespace") if self._namespaces and kind.namespaced else None
            )
            version, floor = version_of(raw), self._floor.get(target)
            if floor is not None and (version == floor or is_older(version, floor)):
                return  # from a stream before the list, which is newer
            if is_older(self._newest.get(target, ""), version):
                self._newest[target] = version
            self._call_in_main_loop(self._deliver, kind, event["type"], raw)

        return on_event

    # ---- calls in the main event loop --------------------------------------------------------------

    def _call_in_main_loop(self, call: Callable[..., None], *args: object) -> None:
        assert self._main_loop is not None
        with contextlib.suppress(RuntimeError):  # the main loop is closed: the operator has stopped
            self._main_loop.call_soon_threadsafe(self._receive, call, *args)

    def _receive(self, call: Callable[..., None], *args: object) -> None:
        """Queue a call: in the main loop, all else is served between two slices of them."""
        self._inbox.append((call, args))
        if not self._taking:
            self._taking = True
            asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        """Carry out what was received, for one slice of time."""
        ends = time.monotonic() + SLICE
        while self._inbox:
            call, args = self._inbox.popleft()
            call(*args)
            if time.monotonic() >= ends:
                break
        if self._inbox:
            asyncio.get_running_loop().call_soon(self._take)
        else:
            self._taking = False

    def _deliver(self, kind: Kind, event: str | None, raw: Raw) -> None:
        try:
            self._apply(kind.resource, event, raw)
        except Exception:
            log.exception("an object could not be processed", kind=kind.plural, object=name_of(raw))

    def _deliver_complete(self, listing: Listing, target: WatchTarget) -> None:
        self._call_in_main_loop(self._list_complete, listing, target)

    def _list_complete(self, listing: Listing, target: WatchTarget) -> None:
        self._synced.add(target)
        self._listed(listing)


class _Backoffs:
    """Seconds that kopf waits between attempts of a request: short at first, at most 3, without end."""

    def __iter__(self) -> Iterator[float]:
        return pauses((0.1, 0.2, 0.5, 1.0, 2.0, 3.0))


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: the handlers have no progress, and kopf must not write into any object."""

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None: ...

    def purge(self, **_: object) -> None: ...

    def touch(self, **_: object) -> None: ...

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing, which saves the deep copy of every object that kopf would make to compare."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None: ...


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # otherwise it lists and watches every CRD and namespace in full
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffs()
    # kopf removes this finalizer from every object that has it, and the default may belong to another operator.
    settings.persistence.finalizer = "rolloutplan.dev/never-set"
    settings.watching.chunk_size = CHUNK
    settings.watching.server_timeout = STREAM_ENDS_AFTER
    settings.watching.client_timeout = STREAM_HANGS_AFTER
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 10
    settings.networking.error_backoffs = _Backoffs()
    settings.queueing.idle_timeout = 1
    settings.queueing.exit_timeout = 0.2
    settings.execution.default_backoff = 2
    settings.process.ultimate_exiting_timeout = None  # otherwise it kills the whole process 10 minutes after an exit
    return settings


async def _session(config: Configuration, **more: Any) -> aiohttp.ClientSession:
    """Return a session with the credentials of `config`."""
    headers = [("User-Agent", USER_AGENT), *(config.client_session_kwargs or {}).get("headers", ())]
    if token := await authorization(config):
        headers.append(("Authorization", token))
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(config).ssl_context),
        headers=headers,
        proxy=config.proxy,
        timeout=aiohttp.ClientTimeout(total=30, sock_connect=5),
        trust_env=False,
        **more,
    )
