"""Kinds of route on Contour with Envoy."""

from collections.abc import Mapping

from tests.bed import objects
from tests.bed.api import Manifest
from tests.bed.contour import NAME as CONTOUR
from tests.bed.contour import Contour
from tests.bed.netns import POD_PORT
from tests.routers.plane import NAME, Plane


class HTTPProxy(Plane):
    kind = "HTTPProxy"
    gateway = Contour

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        services = [{"name": name, "port": POD_PORT, "weight": weight} for name, weight in weights.items()]
        route = {"conditions": [{"prefix": "/"}], "services": services}
        return [
            {
                "apiVersion": "projectcontour.io/v1",
                "kind": "HTTPProxy",
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {"virtualhost": {"fqdn": host}, "routes": [route]},
            }
        ]


class HTTPRoute(Plane):
    kind = "HTTPRoute"
    gateway = Contour

    def objects(self, namespace: str, host: str, weights: Mapping[str, int]) -> list[Manifest]:
        route = objects.httproute(NAME, weights, namespace, host)
        route["spec"]["parentRefs"] = [{"name": CONTOUR, "namespace": "bed"}]
        return [route]


PLANES = (HTTPProxy(), HTTPRoute())
