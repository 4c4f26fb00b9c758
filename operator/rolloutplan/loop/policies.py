"""The policies, the labels of namespaces by which they select, and which policies apply to which plans.

Objects come from loop/store.py; loop/policy_status.py reads what each policy selects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.policy_status import Places
from rolloutplan.cluster import policies
from rolloutplan.engine.model.policy_view import Labels, PolicyView
from rolloutplan.engine.policy.policies import concurrency_groups, in_force, kept
from rolloutplan.loop.index import Queues
from rolloutplan.loop.stored_plan import Plan


@dataclass(slots=True)
class Selected:
    """What a policy selects: the number of plans of each namespace, and why it is not known of all whether it does."""

    plans: Counter[str] = field(default_factory=Counter)
    unknown: str = ""


@dataclass(slots=True)
class Policies:
    """The policies. `plans` and `queues` are those of the store."""

    plans: Mapping[str, Plan]
    queues: Queues
    views: dict[str, PolicyView] = field(default_factory=dict)
    objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same as they are in the API server."""
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """The labels of each namespace, as far as the operator may read them."""

    def put(self, name: str, raw: Mapping[str, Any]) -> bool:
        """Take a policy as it is now. Returns whether plans are to be matched again: not for a status."""
        self.objects[name] = raw
        view = policies.view(raw)
        if view == self.views.get(name):
            return False
        self.views[name] = view
        return True

    def remove(self, name: str) -> None:
        """Forget a policy that is gone."""
        self.views.pop(name, None)
        self.objects.pop(name, None)

    def put_namespace(self, name: str, raw: Mapping[str, Any]) -> bool:
        """Take the labels of a namespace as they are now. Returns whether its plans are to be matched again."""
        before, labels = self.namespaces.get(name), safe_get.mapping(raw, "metadata", "labels")
        self.namespaces[name] = {**labels}
        return before != labels

    def match(self, plan: Plan) -> None:
        """Find the policies that apply to a plan."""
        view, known = plan.view, self.views.values()
        labels = Labels(view.labels, self.namespaces.get(view.namespace))
        plan.policies = in_force(known, view.namespace, labels, plan.status)
        slots = concurrency_groups(plan.policies, view.namespace)
        self.queues.slots.update(slots)
        plan.groups = frozenset(slots)
        plan.labels = kept(labels, known)

    def selected(self) -> dict[str, Selected]:
        """Return what each policy selects; those that select nothing are not there."""
        found: dict[str, Selected] = {}
        for plan in self.plans.values():
            for policy in plan.policies:
                selected = found.setdefault(policy.name, Selected())
                selected.plans[plan.view.namespace] += 1
                selected.unknown = selected.unknown or policy.unknown
        return found

    def places(self, policy: PolicyView, namespaces: Iterable[str]) -> list[Places]:
        """Return who has the places of a policy that selects plans of these namespaces, and who waits for one."""
        groups = {group: of for each in namespaces for group, of in concurrency_groups([policy], each).items()}
        return [self.queues.places(group, of) for group, of in groups.items()]
