"""Replicas: the kind for clusters without a router. The weights are the numbers of pods behind one Service.

The object is the Service that both sides share: it carries our annotations, and nothing else of it changes. The weights
are the sizes of both Deployments, which `with_pods` adds to its view. They are written one after the other through the
`scale` subresource, a larger size before a smaller one, so that a failure in between leaves more pods and never fewer.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from rolloutplan.api.route import REPLICAS
from rolloutplan.api.route_kind import WeightRules
from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.engine.model.actions import Scale
from rolloutplan.engine.model.snapshot import SEQ, Acceptance, EndpointsView, RouteView, WorkloadView, is_owner
from rolloutplan.traffic import metadata
from rolloutplan.traffic.base import Operation, Resource, RouteKind
from rolloutplan.traffic.forms.base import expected
from rolloutplan.traffic.patching import annotation, whole_patch
from rolloutplan.traffic.undo import UnreadableError

_UNKNOWN: Final = "the Deployments of its sides are not known yet"


class Replicas(RouteKind):
    """The ratio of the ready pods of two Deployments behind one Service."""

    kind = REPLICAS
    resource = Resource("", "v1", "services")

    def view(
        self,
        raw: Mapping[str, Any],
        siblings: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002 - it has no rules
        before: RouteView | None = None,  # noqa: ARG002
    ) -> RouteView:
        """Read a Service. It has no rules until `with_pods` adds the sizes of both sides."""
        acceptance = Acceptance(accepted=None, why=_UNKNOWN)
        view = metadata.view(
            self.kind, raw, rules=(), read_rules=lambda _: (), acceptance=acceptance, fields=[("spec", "selector")]
        )
        return replace(view, moved_by="", appliers=(), ready_pods={})

    def patch(self, view: RouteView, target: RouteWeights, *, token: str, undo: str) -> list[Operation]:
        """The patch of the annotations. Where these are right it only tests the last writer, before sizes are written.

        A leader that was stopped and wakes up late is refused here, before it writes any size.
        """
        marks = whole_patch(view, [], token=token, undo=undo)
        fence = [expected(annotation(SEQ), view.seq)] if self.scalings(view, target) else []
        return marks or fence

    def scalings(self, view: RouteView, target: RouteWeights) -> list[Scale]:
        """The sizes that change, the larger ones first."""
        now = {each.service: each.weight for rule in view.rules for each in rule.backends}
        wanted = {each.service: each.weight for rule in target.rules for each in rule.backends}
        changed = [Scale(name, size) for name, size in wanted.items() if now.get(name) != size]
        return sorted(changed, key=lambda each: each.replicas < now.get(each.deployment, 0))

    def undo_command(
        self,
        namespace: str,
        snapshot: RouteWeights,
        view: RouteView | None = None,  # noqa: ARG002 - nothing can be added to a Service
        target: RouteWeights | None = None,  # noqa: ARG002
        owner: str = "",  # noqa: ARG002
    ) -> str:
        """The `kubectl scale` of both Deployments, the old side first: it is the one that grows.

        Names are quoted, since a status may be edited.
        """
        sizes = [backend for rule in snapshot.rules for backend in rule.backends]
        scale = ("kubectl", "scale")
        return " && ".join(
            shlex.join((*scale, f"deployment/{each.service}", "-n", namespace, f"--replicas={each.weight}"))
            for each in sizes
        )

    def read_undo(self, namespace: str, name: str, operations: Sequence[Any]) -> RouteWeights:  # noqa: ARG002
        """Refuse: no patch restores numbers of pods. The commands of a lost run name no Service."""
        raise UnreadableError(f"{REPLICAS} {name} is not restored by a patch")


def with_pods(
    view: RouteView,
    sides: Names,
    workloads: tuple[WorkloadView | None, WorkloadView | None],
    served: EndpointsView | None,
) -> RouteView:
    """The view of the Service with both sides' numbers of pods as its one rule, and whether these are all ready.

    A pod counts once it is ready, its Deployment has seen its size, and, where the endpoints of the Service are known,
    it is one of them.
    """
    found = dict(zip(sides, workloads, strict=True))
    sizes = {name: each.wanted if each else 0 for name, each in found.items()}
    ready = {name: min(each.ready, _served(name, each, served)) if each else 0 for name, each in found.items()}
    why = next((words for name, each in found.items() if (words := _missing(name, each, ready[name]))), "")
    total = max(sum(sizes.values()), 1)
    backends = tuple(Backend(service=name, weight=size) for name, size in sizes.items())
    moved = ", ".join(sorted({each.sized_by for each in found.values() if each and each.sized_by}))
    return replace(
        view,
        rules=(RuleWeights(index=0, backends=backends),),
        weights=WeightRules(missing=0, max=total, sum=total),
        ready_pods=ready,
        accepted=None if why else True,
        accepted_why=why,
        generation=1,
        accepted_generation=0 if why else 1,
        moved_by=moved,
    )


def _served(name: str, side: WorkloadView, served: EndpointsView | None) -> int:
    """How many ready pods of a side the Service sends to."""
    if served is None or served.unknown:
        return side.ready
    return sum(count for owner, count in served.owners if is_owner(owner, name))


def _missing(name: str, side: WorkloadView | None, ready: int) -> str:
    """Why the pods of a side are not exactly those that it should have; empty where they are."""
    if side is None:
        return f"Deployment {name} does not exist"
    if ready == side.wanted and side.settled:
        return ""
    return f"{ready} of {side.wanted} pods of {name} are ready{side.why}"
