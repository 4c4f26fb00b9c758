"""The options of an operator process. They come from the command line and go to loop/main.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rolloutplan.engine.model.grants import Grants
from rolloutplan.loop.record_pruning import Retention
from rolloutplan.metrics.access import CREDENTIALS, NO_HOSTS, SourceHosts
from rolloutplan.metrics.ceilings import USUAL, Ceilings


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's options. It serves `namespaces`, and all of them where that is empty.

    `metrics_port` is 0 where the metrics are not served.

    `identity` is this replica's name in the Lease. Two replicas that run at the same time must not share one.
    """

    namespaces: tuple[str, ...]
    health_port: int
    metrics_port: int
    identity: str
    lease_namespace: str
    lease_name: str
    authenticated_commands: bool = False
    """Whether an admission policy lets nobody write a command in another user's name (`rolloutplan.dev/command-by`)."""
    grants: Grants = field(default_factory=Grants)
    """What plans may do beyond moving weights."""
    unserved: frozenset[str] = frozenset()
    """Namespaces whose plans are not served though all are, because `namespaces` is empty."""
    source_ceilings: Ceilings = USUAL
    """The most that MetricSources may have."""
    source_hosts: SourceHosts = NO_HOSTS
    """Where namespaced metric sources may point."""
    notifier_hosts: SourceHosts = NO_HOSTS
    """Where namespaced notifiers may point."""
    records: Retention = field(default_factory=Retention)
    """Which records of runs are kept."""
    credentials: Path = CREDENTIALS
    """The directory of the credential files that metric sources and notifiers name."""
    traces: str = ""
    """The OTLP/HTTP endpoint to which runs are sent as traces; empty: nowhere."""
    cluster_lease: str = ""
    """The namespace of the Lease of the installation that serves all namespaces; empty: others are not looked for."""
