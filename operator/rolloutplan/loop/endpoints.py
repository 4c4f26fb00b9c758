"""The ready endpoints of the Services that plans name, merged over the slices of each Service.

loop/endpoint_watch.py brings the slices; loop/facts.py gives the views to the runs. A Service that was never listed is
not known, which is not the same as a Service without endpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rolloutplan.cluster.endpoints import Slice, read_slice
from rolloutplan.engine.model.snapshot import EndpointsView

Service = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class Endpoints:
    """The slices of all followed Services. Every method returns the Services whose view has changed."""

    _slices: dict[Service, dict[str, Mapping[str, str]]] = field(default_factory=dict)
    """The ready endpoints of each slice, for each Service that is known."""
    _views: dict[Service, EndpointsView] = field(default_factory=dict)

    def view(self, service: Service) -> EndpointsView | None:
        """Return the ready endpoints of a Service; None where nothing is known of it yet."""
        return self._views.get(service)

    def listed(
        self, namespace: str | None, services: Iterable[Service], items: Iterable[Mapping[str, Any]]
    ) -> frozenset[Service]:
        """Handle a complete list of the slices of these Services, in a namespace or everywhere.

        All others there are forgotten: they are not followed any more.
        """
        known: dict[Service, dict[str, Mapping[str, str]]] = {service: {} for service in services}
        for found in map(read_slice, items):
            if found.service in known:
                known[found.service][found.name] = found.ready
        for service in [each for each in self._views if namespace in (None, each[0]) and each not in known]:
            self._views.pop(service)
            self._slices.pop(service, None)
        self._slices.update(known)
        return frozenset(service for service in known if self._merged(service))

    def changed(self, event: str, raw: Mapping[str, Any]) -> frozenset[Service]:
        """Handle a watch event. Slices of Services that were not listed are ignored."""
        found: Slice = read_slice(raw)
        slices = self._slices.get(found.service)
        if slices is None:
            return frozenset()
        if event == "DELETED":
            slices.pop(found.name, None)
        else:
            slices[found.name] = found.ready
        return frozenset({found.service}) if self._merged(found.service) else frozenset()

    def failed(self, services: Iterable[Service], why: str, *, outdated: bool) -> frozenset[Service]:
        """Handle a failure to follow these Services. What is known of them stays, unless it is outdated by now."""
        return frozenset(
            service
            for service in services
            if (outdated or service not in self._slices) and self._forgotten(service, why)
        )

    def _forgotten(self, service: Service, why: str) -> bool:
        self._slices.pop(service, None)
        return self._put(service, EndpointsView(unknown=why))

    def _merged(self, service: Service) -> bool:
        """Merge the slices of a Service: a pod has an entry for each address type and for each set of ports."""
        pods: dict[str, str] = {}
        for ready in self._slices[service].values():
            pods.update(ready)
        return self._put(service, EndpointsView(tuple(sorted(Counter(pods.values()).items()))))

    def _put(self, service: Service, view: EndpointsView) -> bool:
        before = self._views.get(service)
        self._views[service] = view
        return view != before
