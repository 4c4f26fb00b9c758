"""What the administrator of an installation lends to plans beyond the weights of routes.

The options of the operator say it (loop/options.py); `engine/policy/grants.py` holds plans to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Grants:
    """Whether plans may run Jobs, scale Deployments and have routes made, and up to which figures. By default: none."""

    jobs: bool = False
    scaling: bool = False
    owned_routes: bool = False
    max_parallelism: int = 4
    """Pods of a Job at a time. A migration has one; a check that shares its work out, a few."""
    max_completions: int = 16
    """Pods of a Job that must succeed."""
    max_backoff_limit: int = 6
    """How often a Job is tried again; 6 is what Kubernetes takes where a Job says nothing."""
    max_replicas: int = 100
    """Replicas that a plan may give a Deployment with a number of its own."""
    job_metadata: tuple[str, ...] = ()
    """The labels and annotations that a Job and its pods may have; `example.com/*` stands for all with this prefix."""
    own_account: str = ""
    """The operator's own ServiceAccount as `namespace/name`, under which no Job runs; empty outside a cluster."""

    def allows_key(self, key: str) -> bool:
        """Whether a Job or its pods may have a label or an annotation of this name."""
        return any(key.startswith(each[:-1]) if each.endswith("*") else key == each for each in self.job_metadata)


NO_LIMIT: Final = 2**31 - 1
EVERYTHING: Final = Grants(
    jobs=True,
    scaling=True,
    owned_routes=True,
    max_parallelism=NO_LIMIT,
    max_completions=NO_LIMIT,
    max_backoff_limit=NO_LIMIT,
    max_replicas=NO_LIMIT,
    job_metadata=("*",),
)
"""For hosts that carry nothing out in a cluster: a replay holds a plan to no installation."""
