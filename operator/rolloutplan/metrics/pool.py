"""All metric sources in use: one connection for each object, replaced when its spec changes.

The specs come from `objects.py`; the loop gets the connections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.metrics.base import Connection, ObserveRequest
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


def connect(spec: MetricSourceSpec, observe: ObserveRequest | None = None) -> Connection:
    """A connection for a spec. Another kind of source needs another field of the spec and another line here."""
    return PrometheusConnection(spec, observe)


class Sources:
    """The sources in use. Not thread-safe: only the loop may use it.

    `observe` is called for each HTTP request, in the thread that made it: the source's title, the HTTP status (0 where
    there was no answer), seconds.
    """

    def __init__(self, observe: Callable[[str, int, float], None] | None = None) -> None:
        self._open: dict[Key, tuple[MetricSourceSpec, Connection]] = {}
        self.observe = observe

    def get(self, key: Key, spec: MetricSourceSpec) -> Connection:
        """The connection for this spec. If the spec has changed, the former one is closed, without waiting for it."""
        known = self._open.get(key)
        if known is not None:
            if known[0] == spec:
                return known[1]
            known[1].close()
        source = connect(spec, partial(self.observe, key.title) if self.observe else None)
        self._open[key] = (spec, source)
        return source

    def keep(self, used: Collection[Key]) -> None:
        """Close every source that is not among `used`."""
        for key in self._open.keys() - set(used):
            self._open.pop(key)[1].close()

    def close(self) -> None:
        self.keep(())
