"""istiod with an Envoy that follows it as a sidecar would: VirtualServices, for the requests of one client."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tests.bed import extras, netns
from tests.bed.bed import Bed
from tests.bed.contour import envoy
from tests.bed.processes import Process, answers

GRPC_PORT = 8400
HTTP_PORT = 8401
MONITORING_PORT = 8402
ENVOY_PORT = 8403
STATS_PORT = 8404

NAME = "istiod"
NODE = f"sidecar~{netns.ADDRESS}~client.bed~bed.svc.cluster.local"
"""By which istiod knows the client: a sidecar, its address, its pod and where its short names lead."""
ROUTES = "80"
"""The route configuration of a sidecar that has every VirtualService whose hosts are no Services of the cluster."""


class Istio:
    """istiod, which reads the cluster, and the Envoy of a client, which sends its requests where istiod says.

    That Envoy knows the Services of the namespaces given to `meet`, and no others: those that istiod would send it have
    filters that only Istio's own build of Envoy knows.
    """

    extras: ClassVar[Sequence[str]] = (NAME,)
    url = f"http://{netns.ADDRESS}:{ENVOY_PORT}"

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self.istiod = self._istiod()
        self.envoy: Process | None = None
        self._clusters: list[str] = []

    def _istiod(self) -> Process:
        mesh = self._bed.workdir / "mesh.json"
        mesh.write_text("{}")
        command = [
            str(extras.program(NAME)),
            "discovery",
            f"--grpcAddr=127.0.0.1:{GRPC_PORT}",
            f"--httpAddr=127.0.0.1:{HTTP_PORT}",
            f"--monitoringAddr=127.0.0.1:{MONITORING_PORT}",
            "--secureGRPCAddr=",
            "--httpsAddr=",
            f"--kubeconfig={self._bed.kubeconfig(NAME)}",
            f"--meshConfig={mesh}",
            "--registries=Kubernetes",
            "--clusterID=Kubernetes",
        ]
        alone = {"PILOT_CERT_PROVIDER": "none", "ENABLE_CA_SERVER": "false", "PILOT_ENABLE_GATEWAY_API": "false"}
        ready = f"http://127.0.0.1:{HTTP_PORT}/ready"
        env = {"POD_NAMESPACE": "bed", **alone}
        return Process(NAME, command, self._bed.workdir, lambda: answers(ready), env=env)

    def start(self) -> None:
        """Start istiod, and wait until it has read the cluster."""
        extras.serve(self._bed.api, NAME)
        self.istiod.start()

    def meet(self, clusters: Iterable[str]) -> None:
        """Start the client's Envoy with these clusters of istiod's too: `outbound|80||web.shop.svc.cluster.local`."""
        if self.envoy:
            self.envoy.kill()
        self._clusters += clusters
        path = self._bed.workdir / "envoy-of-istio.json"
        path.write_text(json.dumps(_bootstrap(self._clusters)))
        ready = f"http://127.0.0.1:{STATS_PORT}/ready"
        self.envoy = envoy(self._bed.workdir, "envoy-of-istio", path, ready, NODE)
        self.envoy.start()

    def kill(self) -> None:
        if self.envoy:
            self.envoy.kill()
        self.istiod.kill()

    def deafen(self) -> None:
        """Keep it from every change from now on: Envoy serves on as it is."""
        self.istiod.stop()

    def hear(self) -> None:
        """Let it hear again."""
        self.istiod.cont()


ADS: Mapping[str, Any] = {"ads": {}, "resource_api_version": "V3"}
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def _bootstrap(clusters: Iterable[str]) -> dict[str, Any]:
    """Of a sidecar beside a client on a node of the mesh: its listener and clusters are fixed, the rest is istiod's."""
    xds = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": HTTP2,
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address("127.0.0.1", GRPC_PORT)}}]}],
        },
    }
    known = [
        {"name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ADS}}
        for name in clusters
    ]
    return {
        "node": {"metadata": {"NAMESPACE": "bed", "CLUSTER_ID": "Kubernetes"}},
        "admin": {"address": _address("127.0.0.1", STATS_PORT)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            }
        },
        "static_resources": {"listeners": [_listener()], "clusters": [xds, *known]},
    }


def _listener() -> dict[str, Any]:
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    filters = "type.googleapis.com/envoy.extensions.filters.network"
    manager = {
        "@type": f"{filters}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "client",
        "rds": {"route_config_name": ROUTES, "config_source": ADS},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": "client", "address": _address("0.0.0.0", ENVOY_PORT), "filter_chains": [chain]}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
