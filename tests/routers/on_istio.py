"""VirtualServices, on istiod with the Envoy of a client."""

from collections.abc import Mapping
from typing import Any

from tests.bed import objects
from tests.bed.api import Manifest
from tests.bed.istio import Istio
from tests.bed.netns import POD_PORT
from tests.routers.plane import NAME, Plane


class VirtualService(Plane):
    """Whose destinations are Services."""

    kind = "VirtualService"
    gateway = Istio

    def meet(self, gateway: Istio, namespace: str) -> None:
        gateway.meet(
            f"outbound|{POD_PORT}||checkout-{version}.{namespace}.svc.cluster.local" for version in ("v1", "v2")
        )

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        return [self.virtual_service(namespace, host, [({"host": name}, weight) for name, weight in weights.items()])]

    def virtual_service(self, namespace: str, host: str, weights: list[tuple[dict[str, Any], int]]) -> Manifest:
        route = [
            {"destination": {**destination, "port": {"number": POD_PORT}}, "weight": weight}
            for destination, weight in weights
        ]
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"hosts": [host], "http": [{"route": route}]},
        }


class VirtualServiceOfSubsets(VirtualService):
    """Whose destinations are subsets of one Service, as a DestinationRule makes them."""

    service = "checkout"

    def meet(self, gateway: Istio, namespace: str) -> None:
        gateway.meet(
            f"outbound|{POD_PORT}|{subset}|{self.service}.{namespace}.svc.cluster.local" for subset in ("v1", "v2")
        )

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        subsets = {name: name.rpartition("-")[2] for name in weights}
        rule = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "host": self.service,
                "subsets": [{"name": subset, "labels": {"app": name}} for name, subset in subsets.items()],
            },
        }
        destinations = [({"host": self.service, "subset": subsets[name]}, weight) for name, weight in weights.items()]
        return [
            objects.service(self.service, namespace, selector={"product": "checkout"}),
            rule,
            self.virtual_service(namespace, host, destinations),
        ]

    def refs(self, old: str = "checkout-v1", new: str = "checkout-v2") -> list[dict[str, Any]]:
        names = {side: f"{self.service}/{name.rpartition('-')[2]}" for side, name in (("old", old), ("new", new))}
        return [{**super().refs()[0], **names}]


PLANES = (VirtualService(), VirtualServiceOfSubsets())
