"""The parents of a route of the Gateway API: the gateways to which it attaches, or the Services of a mesh."""

from __future__ import annotations

from typing import NamedTuple

from rolloutplan.api import safe_get

_GROUP = "gateway.networking.k8s.io"


class Parent(NamedTuple):
    """A gateway to which a route attaches, or a Service of a mesh, as in `spec` and `status`."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str
    port: int

    def __str__(self) -> str:
        section = f" section {self.section}" if self.section else ""
        return f"{self.kind} {self.namespace}/{self.name}{section}{f' port {self.port}' if self.port else ''}"

    @classmethod
    def read(cls, ref: object, namespace: str) -> Parent:
        """A parentRef with the defaults of the API. Linkerd writes `core` for the empty group."""
        group = safe_get.value(ref, "group")
        return cls(
            group=("" if group == "core" else group) if isinstance(group, str) else _GROUP,
            kind=safe_get.text(ref, "kind") or "Gateway",
            namespace=safe_get.text(ref, "namespace") or namespace,
            name=safe_get.text(ref, "name"),
            section=safe_get.text(ref, "sectionName"),
            port=safe_get.number(ref, "port"),
        )
