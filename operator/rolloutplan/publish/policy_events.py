"""The Event on a RolloutPolicy whose focus has shifted by itself.

It is named after the policy, and the instant and the focus in its status, so none is published twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.policy_status import PolicyStatus
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw
from rolloutplan.publish.events import event_name, event_on

HOME: Final = "default"
"""The namespace of Events on objects that have none: the API server takes them in no other one."""
REASON: Final = "FocusShifted"


def focus_event(policy: Mapping[str, Any], status: PolicyStatus, since: datetime, *, instance: str) -> Raw:
    """The Event that tells of a shift of the focus, as the status has it."""
    meta = safe_get.mapping(policy, "metadata")
    name, uid = safe_get.text(meta, "name"), safe_get.text(meta, "uid")
    return event_on(
        {"apiVersion": paths.POLICIES.api_version, "kind": "RolloutPolicy", "name": name, "uid": uid},
        since,
        name=event_name(name, uid, int(since.timestamp()), status.focus),
        namespace=HOME,
        severity="Warning" if status.shifted else "Normal",
        reason=REASON,
        action="Shift",
        note=f"the focus is {status.focus} from each plan's next stage on: {status.focus_why}",
        instance=instance,
    )
