"""Watching: kopf follows the cluster in a thread of its own, and hands every object to the engine's loop.

kopf is used for its streams alone. It exits on much that a cluster does on an ordinary day (a CRD that goes away, an
odd error in a stream, credentials that ran out), and its own way out may hang: it waits without end for tasks that
swallowed their cancellation. So a supervisor runs each life of kopf in a loop of its own, leaves that loop behind as
soon as one of its tasks ends, and begins the next; the engine goes on meanwhile.

Lists are taken from kopf's own requests, whole, as they arrive: kopf tells neither where a list ends nor what vanished
while a stream was down, and it spends a task and 2 KB on every object that it is given. So it is given none of them: it
only follows the streams from the lists' versions on.

All that works round kopf stands in this one file, so that it can be replaced as a whole.

The rights it needs: list and watch on each kind, and the discovery that every account has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from http import HTTPStatus
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

import aiohttp
import kopf
import structlog
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from rolloutplan.cluster.client import USER_AGENT, ApiError, Raw, authorization, read_config
from rolloutplan.cluster.paths import Kind, path
from rolloutplan.loop.versions import Listing, is_older, name_of, version_of

Offer = Callable[[str, str | None, Raw], None]
"""Takes a kind's plural, the event (ADDED, MODIFIED, DELETED, or None for a member of a list) and the object."""
Listed = Callable[[Listing], None]

CREDENTIALS_FOR: Final = timedelta(minutes=10)
"""After this a stream is opened with credentials read anew; tokens of service accounts rotate."""
RECHECK: Final = 15.0
"""Seconds between looks for a kind that was not served or not allowed."""
ASK_WITHIN: Final = 5.0
"""Seconds for one look at a place; what hangs is asked again."""
ASK_AT_ONCE: Final = 10
STREAM_ENDS_AFTER: Final = 20
"""Seconds after which the API server ends a stream, and kopf goes on from the newest version that it was told. For
eight kinds that is less than one request in two seconds, answered from the API server's memory."""
STREAM_HANGS_AFTER: Final = 25.0
"""Seconds after which a stream hangs that the API server has not ended: it alone is opened anew, without a list. So
long a change may stay unseen behind a connection that is dead and looks alive: a freeze, weights that were moved."""
SILENT_AFTER: Final = 40.0
"""Seconds without any request for a place after which kopf itself hangs, and its life ends."""
_RESTARTS: Final = (0.2, 1.0, 2.0, 3.0)
_SOUND_AFTER: Final = 60.0

log = structlog.get_logger(__name__)


def _first_attempt(record: logging.LogRecord) -> bool:
    """Let only the first attempt of a request through, as a warning; kopf has an error line for every one of them."""
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    return not (record.msg.startswith("Request attempt #") and not record.msg.startswith("Request attempt #1 "))


logging.getLogger("kopf._cogs.clients.watching").addFilter(_first_attempt)
logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line for every event
for _part in ("orchestration", "running"):  # else two tracebacks for each exit, which the supervisor tells in a line
    logging.getLogger(f"kopf._core.reactor.{_part}").setLevel(logging.CRITICAL)


class WatchTarget(NamedTuple):
    """What one list and one stream cover."""

    kind: Kind
    namespace: str | None

    def __str__(self) -> str:
        return f"{self.kind.plural} in {self.namespace}" if self.namespace else self.kind.plural

    @property
    def path(self) -> str:
        return path(self.kind, self.namespace or "")


class Availability(Enum):
    """How the API server answers for a place."""

    SERVED = "served"
    ABSENT = "not served: its CRD is not installed"
    FORBIDDEN = "forbidden: list and watch are not granted"


class Watch:
    """Watches `kinds`, everywhere or in `namespaces`. `offer` and `listed` are called in the loop that called `start`.

    `listed` is called when a list is complete, after `offer` was called for each of its objects: what is not in it is
    gone. It is called once for each namespace in `namespaces` (once with None, where there are none, and for kinds
    without a namespace), and again whenever a stream had to begin anew. A kind that is not installed is listed as
    empty. A cluster-wide kind that is forbidden to an operator of some namespaces is taken as not installed.
    """

    def __init__(self, kinds: Sequence[Kind], *, offer: Offer, listed: Listed, namespaces: Sequence[str] = ()) -> None:
        self._offer = offer
        self._listed = listed
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self._places = [
            WatchTarget(kind, namespace)
            for kind in kinds
            for namespace in (self._namespaces if kind.namespaced and self._namespaces else (None,))
        ]
        self._by_path = {place.path: place for place in self._places}
        self._standing: dict[WatchTarget, Availability] = {}
        self._chunks: dict[WatchTarget, list[tuple[str, str]]] = {}
        self._floor: dict[WatchTarget, str] = {}
        self._newest: dict[WatchTarget, str] = {}
        self._synced: set[WatchTarget] = set()
        self._asked: dict[WatchTarget, float] = {}
        self._logged_in = 0.0
        self._sessions: list[aiohttp.ClientSession] = []
        self._engine: asyncio.AbstractEventLoop | None = None
        self._life: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start watching. To be called once, from the engine's loop."""
        self._engine = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stop watching; returns within 2 s, whatever kopf does."""
        self._stopping.set()
        if self._life is not None:
            loop, task = self._life
            with contextlib.suppress(RuntimeError):  # the loop is closed: that life is over
                loop.call_soon_threadsafe(task.cancel)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, 2.0)

    def synced(self, kind: Kind | None = None) -> bool:
        """Whether the engine has been offered everything there is (of one kind) at least once."""
        return all(place in self._synced for place in self._places if kind in (None, place.kind))

    def missing(self) -> list[str]:
        """What has not been seen yet, with the reason where one is known."""
        return [
            f"{place} ({standing.value})" if (standing := self._standing.get(place)) else str(place)
            for place in self._places
            if place not in self._synced
        ]

    # ---- the thread: a loop for each life of kopf ------------------------------------------------

    def _run(self) -> None:
        delays = _restarts()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._live()
            except Exception as error:  # noqa: BLE001 - whatever it was, watching goes on
                log.warning("watching was interrupted", error=f"{type(error).__name__}: {error}")
            if time.monotonic() - began > _SOUND_AFTER:
                delays = _restarts()
            self._stopping.wait(next(delays))

    def _live(self) -> None:
        """One life of kopf, and a quick end to all that it leaves behind."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: log.debug("left behind", what=context.get("message")))
        try:
            self._life = loop, loop.create_task(self._watch())
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(self._life[1])
        finally:
            loop.run_until_complete(self._abandon())
            loop.close()

    async def _abandon(self) -> None:
        """Close what is open and cancel what runs. What goes on all the same is left to the closed loop."""
        for session in self._sessions:
            await session.close()
        self._sessions.clear()
        for _ in range(3):  # the first cancellation may be swallowed
            if left := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=0.3)

    async def _watch(self) -> None:
        """Watch until kopf ends, until it hangs, or until a kind can be watched that could not be."""
        if self._stopping.is_set():
            return
        await self._discover()
        kinds = {place.kind for place, standing in self._standing.items() if standing is Availability.SERVED}
        tasks: set[asyncio.Future[Any]] = {asyncio.create_task(self._availability_changed(kinds))}
        if kinds:
            tasks.add(asyncio.create_task(self._watchdog(kinds)))
            where: Mapping[str, Any] = {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
            tasks.update(await kopf.spawn_tasks(registry=self._registry(kinds), settings=_settings(), **where))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _discover(self) -> None:
        """Ask for one object of each place: tells whether it is there and whether we may, before kopf stumbles."""
        config = await read_config()
        turns = asyncio.Semaphore(ASK_AT_ONCE)
        async with await _session(config) as session:
            answers = await asyncio.gather(
                *(self._probe_until_answered(session, config.host, p, turns) for p in self._places)
            )
        standing = dict(zip(self._places, answers, strict=True))
        for place, now in standing.items():
            if now is not Availability.SERVED and now is not self._standing.get(place):
                log.warning("cannot be watched", place=str(place), why=now.value)
            if now is Availability.ABSENT or (now is Availability.FORBIDDEN and self._optional(place)):
                self._complete(Listing(place.kind.plural, place.namespace, frozenset()), place)
        self._standing = standing

    async def _probe_until_answered(
        self, session: aiohttp.ClientSession, host: str, place: WatchTarget, turns: asyncio.Semaphore
    ) -> Availability:
        """Ask for a place until it is answered: no failure of one has all others asked again."""
        for delay in _Backoffs():
            try:
                async with turns:
                    return await self._ask(session, host, place)
            except (aiohttp.ClientError, TimeoutError) as error:
                if getattr(error, "status", None) == HTTPStatus.UNAUTHORIZED:  # the next life reads credentials anew
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("there is no end to the attempts")

    async def _ask(self, session: aiohttp.ClientSession, host: str, place: WatchTarget) -> Availability:
        within = aiohttp.ClientTimeout(total=ASK_WITHIN)
        async with session.get(host + place.path, params={"limit": "1"}, timeout=within) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return Availability.ABSENT
            if response.status == HTTPStatus.FORBIDDEN:
                return Availability.FORBIDDEN
            response.raise_for_status()
            return Availability.SERVED

    async def _availability_changed(self, watched: Collection[Kind]) -> None:
        """Return when a kind that is not watched has changed its standing; never, where there is none.

        A kind that is forbidden in some of our namespaces only is watched: kopf asks there again and again.
        """
        missing = {
            place: standing
            for place, standing in self._standing.items()
            if place.kind not in watched and not (standing is Availability.FORBIDDEN and self._optional(place))
        }
        while missing:
            await asyncio.sleep(RECHECK)
            with contextlib.suppress(aiohttp.ClientError, ApiError, TimeoutError):  # no reason to stop kopf
                config = await read_config()
                async with await _session(config) as session:
                    for place, before in missing.items():
                        if await self._ask(session, config.host, place) is not before:
                            return
        await asyncio.Event().wait()

    async def _watchdog(self, kinds: Collection[Kind]) -> None:
        """Raise TimeoutError when kopf has asked neither for a list nor for a stream of a place for too long."""
        clock = asyncio.get_running_loop().time
        self._asked = {place: clock() for place in self._places if place.kind in kinds}
        while True:
            await asyncio.sleep(SILENT_AFTER / 10)
            for place, asked in self._asked.items():
                if clock() - asked > SILENT_AFTER:
                    raise TimeoutError(f"kopf has not asked for {place} for {SILENT_AFTER:g} s")

    async def _note(self, _: object, __: object, request: aiohttp.TraceRequestStartParams) -> None:
        if place := self._by_path.get(request.url.path):
            self._asked[place] = asyncio.get_running_loop().time()

    def _optional(self, place: WatchTarget) -> bool:
        return bool(self._namespaces) and not place.kind.namespaced

    # ---- kopf ------------------------------------------------------------------------------------

    def _registry(self, kinds: Collection[Kind]) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in kinds:
            kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(
                self._event_handler(kind)
            )
        return registry

    async def _login(self, **_: object) -> kopf.AiohttpSession:
        """Give kopf a session with fresh credentials; not more than once a second, or a refused token would spin."""
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._logged_in + 1 - now))
        self._logged_in = asyncio.get_running_loop().time()
        config = await read_config()
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._note)
        session = await _session(config, response_class=self._response_class(), trace_configs=[trace])
        self._sessions = [*(former for former in self._sessions if not former.closed), session]
        return kopf.AiohttpSession(
            server=config.host, aiohttp_session=session, expiration=datetime.now(UTC) + CREDENTIALS_FOR
        )

    def _response_class(self) -> type[aiohttp.ClientResponse]:
        hear = self._intercept_list

        class Response(aiohttp.ClientResponse):
            async def json(self, **how: Any) -> Any:
                said = await super().json(**how)
                return hear(self, said) if self.ok else said

        return Response

    def _intercept_list(self, response: aiohttp.ClientResponse, said: Any) -> Any:
        """Take a list out of kopf's hands; everything else is left as it is."""
        place = self._by_path.get(response.url.path)
        if place is None or "items" not in said:
            return said
        meta, items = said.get("metadata") or {}, said["items"] or []
        common = {"apiVersion": said.get("apiVersion"), "kind": str(said.get("kind", "")).removesuffix("List")}
        if "continue" not in response.url.query:
            self._chunks[place] = []
        self._chunks[place] += [name_of(item) for item in items]
        self._in_engine(self._deliver_list, place.kind, [{**common, **item} for item in items])
        if not meta.get("continue"):
            version, names = version_of(said), frozenset(self._chunks.pop(place))
            anew = is_older(version, self._newest.get(place, ""))
            self._floor[place] = self._newest[place] = version
            self._complete(Listing(place.kind.plural, place.namespace, names, version, anew), place)
        return {**said, "items": []}

    def _event_handler(self, kind: Kind) -> Callable[..., Any]:
        async def seen(event: kopf.RawEvent, **_: object) -> None:
            # Nothing may be returned: kopf would write it into the object's status.
            raw: Raw = dict(event["object"])
            place = WatchTarget(
                kind, raw["metadata"].get("namespace") if self._namespaces and kind.namespaced else None
            )
            version, floor = version_of(raw), self._floor.get(place)
            if floor is not None and (version == floor or is_older(version, floor)):
                return  # of a stream before the list, which is newer
            if is_older(self._newest.get(place, ""), version):
                self._newest[place] = version
            self._in_engine(self._deliver, kind, event["type"], raw)

        return seen

    # ---- across to the engine's loop ---------------------------------------------------------------

    def _in_engine(self, call: Callable[..., None], *args: object) -> None:
        assert self._engine is not None
        with contextlib.suppress(RuntimeError):  # the engine's loop is closed: nobody listens any more
            self._engine.call_soon_threadsafe(call, *args)

    def _deliver_list(self, kind: Kind, items: Sequence[Raw]) -> None:
        for raw in items:
            self._deliver(kind, None, raw)

    def _deliver(self, kind: Kind, event: str | None, raw: Raw) -> None:
        try:
            self._offer(kind.plural, event, raw)
        except Exception:
            log.exception("an object could not be taken in", kind=kind.plural, object=name_of(raw))

    def _complete(self, listing: Listing, place: WatchTarget) -> None:
        self._in_engine(self._list_complete, listing, place)

    def _list_complete(self, listing: Listing, place: WatchTarget) -> None:
        self._synced.add(place)
        self._listed(listing)


class _Backoffs:
    """kopf's waits between attempts of a request (seconds): short at first, never over 3, and no end to them."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.1, 0.2, 0.5, 1.0, 2.0), repeat(3.0))


class _NoProgress(kopf.ProgressStorage):
    """Keeps nothing: our handlers have no progress, and kopf shall write nothing into any object."""

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None: ...

    def purge(self, **_: object) -> None: ...

    def touch(self, **_: object) -> None: ...

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing, and spares the deep copy of every object that kopf would compare with it."""

    def build(self, **_: object) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: object) -> None:
        return None

    def store(self, **_: object) -> None: ...


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # else it lists and watches every CRD and namespace, in full
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffs()
    # kopf takes this finalizer off whatever object bears it, and the default one may be another operator's.
    settings.persistence.finalizer = "rolloutplan.dev/never-set"
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = STREAM_ENDS_AFTER
    settings.watching.client_timeout = STREAM_HANGS_AFTER
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 10
    settings.networking.error_backoffs = _Backoffs()
    settings.queueing.idle_timeout = 1
    settings.queueing.exit_timeout = 0.2
    settings.execution.default_backoff = 2
    settings.process.ultimate_exiting_timeout = None  # else it kills the whole process 10 minutes after an exit
    return settings


async def _session(config: Configuration, **more: Any) -> aiohttp.ClientSession:
    """A session with the credentials of `config`."""
    headers = {"User-Agent": USER_AGENT}
    if token := await authorization(config):
        headers["Authorization"] = token
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(config).ssl_context),
        headers=headers,
        proxy=config.proxy,
        timeout=aiohttp.ClientTimeout(total=30, sock_connect=5),
        trust_env=False,
        **more,
    )


def _restarts() -> Iterator[float]:
    return chain(_RESTARTS, repeat(_RESTARTS[-1]))
