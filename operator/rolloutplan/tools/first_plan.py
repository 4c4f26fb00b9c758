"""A first plan: which pairs of Deployments share a route, and the text of a plan for one of them. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from rolloutplan.api.status import Backend
from rolloutplan.api.template import PredicateTemplateSpec
from rolloutplan.engine.model.snapshot import RouteView, ServiceView, WorkloadView

WHAT: Final = ("success-rate", "more-errors", "latency")
"""What is asked of each side, by the templates of these names with the ending of whoever counts."""
INLINE: Final = "inline"
"""No templates: queries in the plan itself, which a person has to adapt."""
_ENDINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("TraefikService", "IngressRoute"), "-traefik"),
    **dict.fromkeys(("HTTPProxy", "GlooVirtualService", "RouteTable", "UpstreamGroup"), "-envoy"),
    **dict.fromkeys(("VirtualServer", "VirtualServerRoute"), "-nginx-inc"),
    **dict.fromkeys(("TrafficSplit", "LinkerdHTTPRoute"), "-linkerd"),
    "VirtualService": "-istio",
    "NginxCanary": "-nginx",
    "OpenShiftRoute": "-openshift",
    "ApisixRoute": "-apisix",
    "KnativeService": "-knative",
    "ServiceSplitter": "-consul",
    "MeshHTTPRoute": "-kuma",
}
"""The endings of the templates for what a router counts itself. Other kinds are of routers that differ, or that count
too little to prove their weights."""
_PODS: Final = 'namespace="$namespace",pod=~"$deployment-[a-z0-9]+-[a-z0-9]{5}"'
_INLINE: Final = f"""\
    # No templates fit, so these queries are a guess: write your metrics and labels (docs/prometheus.md).
    - name: errors                       # the new side alone
      events:
        bad: http_requests_total{{{_PODS},code=~"5.."}}
        total: http_requests_total{{{_PODS}}}
      is: "> 1%"
    - name: more-errors                  # the new side against the old one
      events:
        bad: http_requests_total{{{_PODS},code=~"5.."}}
        total: http_requests_total{{{_PODS}}}
      vsOld: "> 1.5x"
    - name: slow
      query: |
        histogram_quantile(0.99, sum by (le) (rate(
          http_request_duration_seconds_bucket{{{_PODS}}}[$window])))
      is: "> 0.8"                        # seconds
      window: 2m
"""
_PLAN: Final = """\
# The first plan of {new}, as `rolloutplan init` found it. Set the bounds by what {old} does today, then
# check it: rolloutplan lint --strict, and rolloutplan simulate --traffic with your requests per second.
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {{name: {new}, namespace: {namespace}}}
spec:
  old: {{{old_side}}}
  new: {{{new_side}}}
  traffic:
    routes: [{{kind: {kind}, name: {route}}}]
  guards:                                # one that trips restores the old weights at once
{guards}\
  stages:
    - weights: [5%, 25%, 50%, 100%]      # the share of {new}
      soak: 5m                           # the shortest time at each weight
      deadline: 35m                      # the longest time at a weight without a decision
  bake: 30m                              # watched at the last weight before the plan has succeeded
"""


class Side(NamedTuple):
    """A Deployment and the Service that selects its pods."""

    deployment: str
    service: str

    @property
    def text(self) -> str:
        service = f", service: {self.service}" if self.service != self.deployment else ""
        return f"deployment: {self.deployment}{service}"


class Candidate(NamedTuple):
    """Two Deployments that share a route; `serving`: the new one has traffic already."""

    kind: str
    route: str
    old: Side
    new: Side
    serving: bool = False


def candidates(
    routes: Iterable[RouteView], services: Mapping[str, ServiceView], deployments: Mapping[str, WorkloadView]
) -> list[Candidate]:
    """The pairs in one rule of a route: the side with the traffic is the old one. Of equal weights, both orders."""
    found: dict[Candidate, None] = {}
    for route in routes:
        for rule in route.rules:
            sides = [(_side(each, services, deployments), each.weight) for each in rule.backends]
            pairs = product([(side, weight) for side, weight in sides if side is not None], repeat=2)
            for (old, has), (new, gets) in pairs:
                if old.deployment != new.deployment and has >= gets and has > 0 and not _is_third(gets, sides):
                    found[Candidate(route.id.kind, route.id.name, old, new, serving=gets > 0)] = None
    return list(found)


def _is_third(weight: int, sides: Sequence[tuple[Side | None, int]]) -> bool:
    """Whether a side with traffic is none that could be new, because another one of the rule has none."""
    return weight > 0 and any(other == 0 for _, other in sides)


def _side(
    backend: Backend, services: Mapping[str, ServiceView], deployments: Mapping[str, WorkloadView]
) -> Side | None:
    """The side of a backend: the only Deployment that its Service selects, or the one of its name."""
    service = services.get(backend.service)
    if service is None or not service.selector:
        return None
    names = [name for name, each in deployments.items() if service.selector <= each.labels]
    name = names[0] if len(names) == 1 else backend.service if backend.service in names else ""
    return Side(name, backend.service) if name else None


def whose(kind: str, templates: Collection[str]) -> list[str]:
    """Who may count, as endings of templates, the likeliest first: the router itself, the service, anybody else."""
    first = f"{WHAT[0]}"
    known = sorted(name.removeprefix(first) for name in templates if name == first or name.startswith(f"{first}-"))
    likely = [each for each in (_ENDINGS.get(kind, ""), "") if each in known]
    return [*dict.fromkeys((*likely, INLINE, *known))]


def guards(ending: str, templates: Mapping[str, PredicateTemplateSpec]) -> str:
    """The guards with these templates, each with its description; without any, queries in the plan."""
    return "".join(_guards(ending, templates)) if ending != INLINE else _INLINE


def _guards(ending: str, templates: Mapping[str, PredicateTemplateSpec]) -> Iterator[str]:
    for what in WHAT:
        name = f"{what}{ending}"
        if name in templates:
            # requests that are counted on both sides prove the weights where no gateway reports them
            name = what if what == "more-errors" and templates[name].events is None and what in templates else name
            words = " ".join(templates[name].description.split())
            yield f"    - {{template: {name}}}{f'  # {words}' if words else ''}\n"


def plan_text(candidate: Candidate, namespace: str, ending: str, templates: Mapping[str, PredicateTemplateSpec]) -> str:
    """The plan in YAML; `templates` are those of the cluster."""
    text = _PLAN.format(
        new=candidate.new.deployment,
        old=candidate.old.deployment,
        namespace=namespace,
        old_side=candidate.old.text,
        new_side=candidate.new.text,
        kind=candidate.kind,
        route=candidate.route,
        guards=guards(ending, templates),
    )
    words = f"{candidate.new.service} has traffic already: give it weight 0 in {candidate.route} before this plan"
    return f"# {words}.\n{text}" if candidate.serving else text
