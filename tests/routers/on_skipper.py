"""Kinds of route on Skipper."""

import json
from collections.abc import Mapping

from tests.bed.api import Manifest
from tests.bed.netns import POD_PORT
from tests.bed.skipper import Skipper
from tests.routers.plane import NAME, Plane


class SkipperIngress(Plane):
    kind = "SkipperIngress"
    gateway = Skipper

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        backends = [{"service": {"name": name, "port": {"number": POD_PORT}}} for name in weights]
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend} for backend in backends]
        annotations = {"zalando.org/backend-weights": json.dumps(dict(weights))}
        return [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {"name": NAME, "namespace": namespace, "annotations": annotations},
                "spec": {"rules": [{"host": host, "http": {"paths": paths}}]},
            }
        ]


class RouteGroup(Plane):
    kind = "RouteGroup"
    gateway = Skipper
    needs_services = True

    @property
    def can(self) -> frozenset[str]:
        """No mirror: it asks a name server for where the copies go, and the bed has none."""
        return frozenset(word for word in super().can if not word.startswith("mirror"))

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        services = [{"name": name, "type": "service", "serviceName": name, "servicePort": POD_PORT} for name in weights]
        shares = [{"backendName": name, "weight": weight} for name, weight in weights.items()]
        return [
            {
                "apiVersion": "zalando.org/v1",
                "kind": "RouteGroup",
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {
                    "hosts": [host],
                    "backends": services,
                    "routes": [{"pathSubtree": "/", "backends": shares}],
                },
            }
        ]


PLANES = (SkipperIngress(), RouteGroup())
