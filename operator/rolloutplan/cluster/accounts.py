"""ServiceAccounts: under which of them the Jobs of plans may run. The namespace names them with a label.

Without the label, whoever may write a plan could use every ServiceAccount of the namespace.
"""

from __future__ import annotations

from rolloutplan.api import safe_get
from rolloutplan.api.tasks import JOBS_LABEL
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ResourceClient, if_there


async def problem(api: ResourceClient, namespace: str, name: str, *, own_account: str) -> str:
    """Why no Job may run under a ServiceAccount, with the fix; empty where one may. Raises ApiError.

    `own_account` is that of the operator, as `namespace/name`: its Job could do all that the operator may.
    """
    if f"{namespace}/{name}" == own_account:
        return f"{name} is the ServiceAccount of the operator itself: name another"
    found = await if_there(api.get(paths.service_account(namespace, name)))
    if found is None:
        return f'ServiceAccount {namespace}/{name} does not exist: create it, with the label {JOBS_LABEL}: "true"'
    return unlabelled(namespace, name, found)


def unlabelled(namespace: str, name: str, found: object) -> str:
    """Why no Job may run under a ServiceAccount that exists, with the fix; empty where one may."""
    if safe_get.text(found, "metadata", "labels", JOBS_LABEL) == "true":
        return ""
    return (
        f'ServiceAccount {namespace}/{name} has no label {JOBS_LABEL}: "true", so no Job of a plan runs under it: name '
        "one that has, or have its owner label it"
    )
