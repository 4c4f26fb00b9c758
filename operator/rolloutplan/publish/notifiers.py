"""Notifier and ClusterNotifier objects: reads them, and says which plans and decisions are for them.

The objects come from the store's watches; `notifications.py` delivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.limits import TooLargeError, size_of, spec_of
from rolloutplan.api.notifier import LONGEST_NAME, AnyNotifierSpec, read_notifier
from rolloutplan.api.spec import SpecError
from rolloutplan.cluster import paths
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.sinks import SinkView
from rolloutplan.metrics.access import Place, SourceHosts

OWN: Final = "notifier/"
CLUSTER: Final = "clusternotifier/"
"""With what the names of their sinks begin, which are the keys of their cursors in the statuses of plans."""
_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
_MOST_STATUS: Final = 8 << 10
"""Bytes of a status that is kept; a longer one was written by somebody else, and is written anew."""


@dataclass(frozen=True, slots=True)
class NotifierObject:
    """A notifier as written; `spec` is None where nothing is sent for it, and `problem` says why, with the fix."""

    kind: paths.Kind
    namespace: str
    """Empty for that of the whole cluster."""
    name: str
    spec: AnyNotifierSpec | None
    reason: str = ""
    problem: str = ""
    uid: str = ""
    created: datetime = _LONG_AGO
    raw: Mapping[str, Any] = field(default_factory=dict)
    """What is needed to write its status: metadata, and the status that it has."""

    @property
    def title(self) -> str:
        """As metrics name it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def sink(self) -> str:
        """The name of its sink."""
        return f"{OWN if self.namespace else CLUSTER}{self.name}"

    def view(self) -> SinkView | None:
        """The sink as the run of a plan knows it."""
        if self.spec is None:
            return None
        return SinkView(self.sink, keeps=self.spec.give_up_after, since=self.created, own_status=True)

    def selects(self, plan: PlanView) -> bool:
        """Whether it gets the decisions of a plan."""
        owner = plan.written.owner if plan.written else None
        return self.spec is not None and self.spec.selector.selects(plan.namespace, plan.labels, owner)


def read_notifier_object(kind: paths.Kind, raw: Mapping[str, Any], *, hosts: SourceHosts) -> NotifierObject:
    """Read an object of one of the two kinds. Never raises. A namespaced one may point to `hosts` only."""
    meta = safe_get.mapping(raw, "metadata")
    status = safe_get.mapping(raw, "status")
    namespace, name = safe_get.text(meta, "namespace"), safe_get.text(meta, "name")
    kept = {
        "metadata": {"namespace": namespace, "name": name, "generation": safe_get.number(meta, "generation")},
        "status": status if size_of(status) <= _MOST_STATUS else {},
    }
    spec, reason, problem = _read(kind, raw, name, hosts)
    created = safe_get.instant(meta, "creationTimestamp") or _LONG_AGO
    return NotifierObject(
        kind, namespace, name, spec, reason, problem, uid=safe_get.text(meta, "uid"), created=created, raw=kept
    )


def _read(
    kind: paths.Kind, raw: Mapping[str, Any], name: str, hosts: SourceHosts
) -> tuple[AnyNotifierSpec | None, str, str]:
    """The spec, and where there is none the reason and the words for that."""
    if len(name) > LONGEST_NAME:
        return None, "Invalid", f"metadata.name: longer than {LONGEST_NAME} characters: create it with a shorter name"
    try:
        spec = read_notifier(spec_of(raw), not kind.namespaced)
    except TooLargeError as error:
        return None, "TooLarge", str(error)
    except SpecError as error:
        return None, "Invalid", str(error)
    except Exception as error:  # noqa: BLE001 - one object that cannot be read never stops another
        return None, "Invalid", f"spec: cannot be read ({type(error).__name__}): correct it"
    if kind.namespaced and spec.webhook.url is not None and not hosts.allow(place := Place.of_url(spec.webhook.url)):
        words = f"spec.webhook.url: {place} is not among the hosts that Notifiers of a namespace may point to"
        fix = (
            "have it added to the operator's --notifier-hosts (notifiers.hosts of the chart), or use a ClusterNotifier"
        )
        return None, "HostNotAllowed", f"{words}: {fix}"
    return spec, "", ""
