"""What a Rollout says about its router, as routes of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from rolloutplan.api import safe_get
from rolloutplan.tools.convert.draft import CannotConvertError, Draft, Objects, Raw, is_name

_PATH: Final = "spec.strategy.canary.trafficRouting"
Route: TypeAlias = dict[str, Any]


def add_routes(draft: Draft, canary: Raw, services: Mapping[str, str], objects: Objects) -> None:
    """Add traffic.routes. Raises CannotConvertError where the router is none that a plan can move."""
    routing = safe_get.mapping(canary, "trafficRouting")
    if not routing:
        _replicas(draft, canary, objects)
        return
    routes: list[Route] = []
    for name in routing:
        if name in _ROUTERS:
            routes += [each for each in _ROUTERS[name](draft, routing, objects) if is_name(each["name"])]
        elif name == "plugins":
            routes += _plugins(draft, safe_get.mapping(routing, name))
        else:
            draft.left_out(
                f"{_PATH}.{name}", _LEFT.get(name, "this router is not known to the converter"), "spec.traffic"
            )
    if not routes:
        words = "names no route that a plan can move: docs/routers.md has the kinds, a RouteKind describes others"
        raise CannotConvertError(f"{_PATH} ({', '.join(map(str, routing))}) {words}")
    if not (services["old"] and services["new"]):
        words = "names no stableService or no canaryService: a plan needs a Service for each side"
        draft.to_do("spec.strategy.canary", words, "spec.traffic")
    draft.spec["traffic"] = {"routes": routes}


_LEFT: Final = {
    "appMesh": "App Mesh has no kind of route here: a RouteKind may describe it (docs/your-router.md)",
    "managedRoutes": "routes for headers and mirrors are added by stages with match and mirror",
    "maxTrafficWeight": "weights are percentages of what both sides hold, whatever their sum",
}


def _replicas(draft: Draft, canary: Raw, objects: Objects) -> None:
    """Without a router: the numbers of pods divide the traffic of one Service."""
    labels = safe_get.mapping(canary)
    name = safe_get.text(labels, "stableService") or draft.base
    draft.spec["traffic"] = {"routes": [{"kind": "Replicas", "name": name}]}
    found = " of this name is in the files" if objects.find("Service", name, draft.namespace) else " has to select both"
    words = f"without trafficRouting the numbers of pods divide the traffic: a Service {name}{found}"
    draft.to_do("spec.strategy.canary", f"{words}; its selector must not name a version", "spec.traffic.routes[0]")


def _istio(draft: Draft, routing: Raw, objects: Objects) -> Iterator[Route]:
    istio = safe_get.mapping(routing, "istio")
    for raw in (istio.get("virtualService"), *safe_get.items(istio, "virtualServices")):
        if name := safe_get.text(raw, "name"):
            rules = [each for each in safe_get.items(raw, "routes") if isinstance(each, str)]
            route: Route = {"kind": "VirtualService", "name": name, **({"rules": rules} if rules else {})}
            yield {**route, **_subsets(draft, istio, objects)}
            for other in ("tlsRoutes", "tcpRoutes"):
                if other in raw:
                    words = "only the http routes of a VirtualService are moved"
                    draft.left_out(f"{_PATH}.istio.virtualService.{other}", words, "spec.traffic.routes[0]")


def _subsets(draft: Draft, istio: Raw, objects: Objects) -> Route:
    rule = safe_get.mapping(istio, "destinationRule")
    old, new = safe_get.text(rule, "stableSubsetName"), safe_get.text(rule, "canarySubsetName")
    if not (old and new):
        return {}
    host = safe_get.text(objects.find("DestinationRule", safe_get.text(rule, "name"), draft.namespace), "spec", "host")
    at = f"{_PATH}.istio.destinationRule"
    draft.to_do(
        at, "the Rollout gives the subsets their labels: write version: v1 and v2 into them", "spec.traffic.routes[0]"
    )
    if not host:
        draft.to_do(at, f"{draft.base}/... is a guess: write the host of the DestinationRule", "spec.traffic.routes[0]")
    return {"old": f"{host or draft.base}/{old}", "new": f"{host or draft.base}/{new}"}


def _nginx(draft: Draft, routing: Raw, _: Objects) -> Iterator[Route]:
    nginx = safe_get.mapping(routing, "nginx")
    prefix = safe_get.text(nginx, "additionalIngressAnnotations", "canary-by-header")
    for name in (nginx.get("stableIngress"), *safe_get.items(nginx, "stableIngresses")):
        if isinstance(name, str) and name:
            canary = f"{draft.base}-{name}-canary"[:253]
            words = f"the Rollout makes the Ingress {canary}: keep one of this name in Git, with canary-weight 0"
            draft.to_do(f"{_PATH}.nginx", words, "spec.traffic.routes[0]")
            yield {"kind": "NginxCanary", "name": canary}
    if prefix:
        words = "write the annotation into the canary Ingress, or a stage with match"
        draft.left_out(f"{_PATH}.nginx.additionalIngressAnnotations", words, "spec.traffic.routes[0]")


def _alb(draft: Draft, routing: Raw, _: Objects) -> Iterator[Route]:
    alb = safe_get.mapping(routing, "alb")
    for name in (alb.get("ingress"), *safe_get.items(alb, "ingresses")):
        if isinstance(name, str):
            words = "the Rollout writes the annotation with the actions: keep it in Git, with both Services"
            draft.to_do(f"{_PATH}.alb", words, "spec.traffic.routes[0]")
            yield {"kind": "AlbIngress", "name": name}
    if "stickinessConfig" in alb:
        words = "write it into the annotation; traffic.sticky keeps users on a side where the kind can"
        draft.left_out(f"{_PATH}.alb.stickinessConfig", words, "spec.traffic.routes[0]")


def _smi(draft: Draft, routing: Raw, _: Objects) -> Iterator[Route]:
    name = safe_get.text(routing, "smi", "trafficSplitName") or draft.base
    words = "the Rollout makes this TrafficSplit: keep it in Git, with both Services as backends"
    draft.to_do(f"{_PATH}.smi", words, "spec.traffic.routes[0]")
    yield {"kind": "TrafficSplit", "name": name}


def _ambassador(draft: Draft, routing: Raw, _: Objects) -> Iterator[Route]:
    for name in safe_get.items(routing, "ambassador", "mappings"):
        if isinstance(name, str):
            words = f"the Rollout makes the Mapping {name}-canary: keep it in Git, with weight 0"
            draft.to_do(f"{_PATH}.ambassador", words, "spec.traffic.routes[0]")
            yield {"kind": "Mapping", "name": f"{name}-canary"}


def _traefik(_: Draft, routing: Raw, __: Objects) -> Iterator[Route]:
    if name := safe_get.text(routing, "traefik", "weightedTraefikServiceName"):
        yield {"kind": "TraefikService", "name": name}


def _apisix(_: Draft, routing: Raw, __: Objects) -> Iterator[Route]:
    route = safe_get.mapping(routing, "apisix", "route")
    rules = [each for each in safe_get.items(route, "rules") if isinstance(each, str)]
    if name := safe_get.text(route, "name"):
        yield {"kind": "ApisixRoute", "name": name, **({"rules": rules} if rules else {})}


_ROUTERS: Final[Mapping[str, Callable[[Draft, Raw, Objects], Iterator[Route]]]] = {
    "istio": _istio,
    "nginx": _nginx,
    "alb": _alb,
    "smi": _smi,
    "ambassador": _ambassador,
    "traefik": _traefik,
    "apisix": _apisix,
}
_PLUGINS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "argoproj-labs/gatewayAPI": (
        ("httpRoute", "HTTPRoute"),
        ("httpRoutes", "HTTPRoute"),
        ("grpcRoute", "GRPCRoute"),
        ("grpcRoutes", "GRPCRoute"),
        ("tcpRoute", "TCPRoute"),
        ("tcpRoutes", "TCPRoute"),
        ("tlsRoute", "TLSRoute"),
        ("tlsRoutes", "TLSRoute"),
    ),
    "argoproj-labs/contour": (("httpProxies", "HTTPProxy"),),
    "argoproj-labs/openshift": (("routes", "OpenShiftRoute"),),
    "argoproj-labs/consul": (("serviceName", "ServiceSplitter"),),
    "solo-io/glooedge": (("virtualService", "GlooVirtualService"),),
}
"""The fields of plug-ins that name routes: a name, an object with a name, or a list of either."""


def _plugins(draft: Draft, plugins: Raw) -> Iterator[Route]:
    for name, raw in plugins.items():
        fields = _PLUGINS.get(str(name), ())
        if not fields:
            words = "this plug-in is not known to the converter: name its route by hand (docs/routers.md)"
            draft.left_out(f"{_PATH}.plugins.{name}", words, "spec.traffic")
        for field, kind in fields:
            value = safe_get.value(raw, field)
            for each in value if isinstance(value, list) else [value]:
                if found := each if isinstance(each, str) else safe_get.text(each, "name"):
                    yield {"kind": kind, "name": found, **_consul(raw, kind, found)}


def _consul(raw: object, kind: str, service: str) -> Route:
    old, new = safe_get.text(raw, "stableSubsetName"), safe_get.text(raw, "canarySubsetName")
    return {"old": f"{service}/{old}", "new": f"{service}/{new}"} if kind == "ServiceSplitter" and old and new else {}
