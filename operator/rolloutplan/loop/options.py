"""How an operator is to run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `namespaces` are those that are served: all of them where it is empty.

    `identity` is this replica's name in the Lease; no two that run at the same time may share one.
    """

    namespaces: tuple[str, ...]
    health_port: int
    identity: str
    lease_namespace: str
    lease_name: str
