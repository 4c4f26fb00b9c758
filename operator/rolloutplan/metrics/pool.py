"""All metric sources in use: one connection for each object, replaced when its spec changes.

The specs come from `objects.py`; the loop gets the connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.access import NOWHERE, Access
from rolloutplan.metrics.base import Connection, ObserveRequest, UnusableSource
from rolloutplan.metrics.ceilings import USUAL, Ceilings
from rolloutplan.metrics.prometheus.capacity import Capacity
from rolloutplan.metrics.prometheus.provider import PrometheusConnection


class Key(NamedTuple):
    """Which object a source comes from; `namespace` is empty for the cluster kind."""

    kind: str
    namespace: str
    name: str

    @property
    def title(self) -> str:
        """As shown to users: `namespace/name`, or the name alone for the cluster kind."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def connect(
    spec: MetricSourceSpec,
    observe: ObserveRequest | None = None,
    capacity: Capacity | None = None,
    access: Access | None = None,
) -> Connection:
    """A connection for a spec. Another kind of source needs another field of the spec and another line here.

    `capacity` is what it shares with others; its own if left out. `access` is left out where somebody gave the address
    by hand.
    """
    return PrometheusConnection(spec, observe, capacity, access)


class Sources:
    """The sources in use. Not thread-safe: only the loop may use it.

    `observe` is called for each HTTP request, in the thread that made it: the source's title, the HTTP status (0 where
    there was no answer), seconds. `count_limit` is called for each question or answer that met a limit, with its name.
    `access` says where sources may point.
    """

    def __init__(
        self,
        observe: Callable[[str, int, float], None] | None = None,
        count_limit: Callable[[str], None] = lambda _: None,
        ceilings: Ceilings = USUAL,
        access: Access = NOWHERE,
    ) -> None:
        self._open: dict[Key, tuple[MetricSourceSpec, Connection]] = {}
        self._capacity, self._ceilings = Capacity(count_limit), ceilings
        self.observe = observe
        self._access = access

    def get(self, key: Key, spec: MetricSourceSpec) -> Connection:
        """The connection for this spec. If the spec has changed, the former one is closed, without waiting for it."""
        known = self._open.get(key)
        if known is not None:
            if known[0] == spec:
                return known[1]
            known[1].close()
        lowered = self._ceilings.lower(spec) if key.namespace else spec
        observe = partial(self.observe, key.title) if self.observe else None
        source: Connection
        try:
            source = connect(lowered, observe, self._capacity, self._access)
        except Exception as error:  # noqa: BLE001 - it must not end the look of a plan, or of all its plans
            source = UnusableSource(f"the metric source cannot be used ({type(error).__name__}): correct its spec")
        self._open[key] = (spec, source)
        return source

    def keep(self, used: Collection[Key]) -> None:
        """Close every source that is not among `used`."""
        for key in self._open.keys() - set(used):
            self._open.pop(key)[1].close()

    def close(self) -> None:
        self.keep(())
