"""The status of RolloutPolicies, and the focus that shifts by itself.

The leader looks at all policies every few seconds, and writes what has changed. The shift of a focus is part of the
status: it is in force when the API server has it, for this leader and the next, and is told in an Event after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog

from rolloutplan import clock
from rolloutplan.api import safe_get
from rolloutplan.api.policy_status import Places, PolicyStatus, read_policy_status
from rolloutplan.api.status import Condition
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import ApiError, ResourceClient
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.policy.focus import failures, is_unstable, why
from rolloutplan.loop.object_status import ready_condition, write_status
from rolloutplan.loop.policies import Policies, Selected
from rolloutplan.loop.releases import Releases
from rolloutplan.publish.events import KEPT, create_once
from rolloutplan.publish.policy_events import HOME, focus_event

EVERY: Final = 10.0
"""Seconds between two looks: in a storm of plans a policy costs one write in this time."""
REFUSED: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})
"""The answers to an Event after which it is not sent again."""
GROUPS_SHOWN: Final = 20
"""Groups of plans in a status: a policy may have one for each namespace."""

log = structlog.get_logger(__name__)


class PolicyStatuses:
    """Writes the statuses of `policies` while `leading`. `apply` takes an object that was written.

    `report` gets the places of all groups after each look, and none where this replica does not lead.
    """

    def __init__(
        self,
        api: ResourceClient,
        policies: Policies,
        releases: Releases,
        *,
        leading: Callable[[], bool],
        apply: Callable[[str, str | None, dict[str, Any]], object],
        instance: str,
        report: Callable[[Iterable[Places]], None] = lambda _: None,
    ) -> None:
        self._api, self._policies, self._releases = api, policies, releases
        self._leading, self._apply, self._instance = leading, apply, instance
        self._report = report
        self._told: set[tuple[str, datetime]] = set()
        self._trouble: dict[str, str] = {}

    async def run(self) -> None:
        """Look at every policy again and again until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            if not self._leading():
                self._report(())
                continue
            selected, places = self._policies.selected(), list[Places]()
            for name in list(self._policies.objects):
                try:
                    await self._look(name, selected.get(name, Selected()), places)
                    self._trouble.pop(name, None)
                except ApiError as error:
                    if self._trouble.get(name) != str(error):  # it is tried again at each look
                        log.warning("the status of a policy could not be written", policy=name, error=str(error))
                    self._trouble[name] = str(error)
                except Exception:
                    log.exception("a policy could not be looked at", policy=name)
            self._report(places)

    async def _look(self, name: str, selected: Selected, known: list[Places]) -> None:
        """Write the status of a policy, and add its places to those that are known."""
        raw, view = self._policies.objects.get(name), self._policies.views.get(name)
        if raw is None or view is None:
            return
        places = self._policies.places(view, selected.plans)
        known += places
        status = next_status(raw, view, selected, places, self._failed(view), clock.now())
        written = await write_status(self._api, paths.POLICIES, raw, status.to_raw())
        if written is not None:
            self._apply(paths.POLICIES.resource, "MODIFIED", written)
        await self._tell(raw, status)

    def _failed(self, view: PolicyView) -> int | None:
        """How many of the last releases failed; None where nobody needs it, or knows it yet."""
        shift = view.spec.focus.stability if view.spec else None
        if shift is None or not self._releases.complete:
            return None
        return failures(self._releases.of, view.selector, self._policies.namespaces, shift.over)

    async def _tell(self, raw: Mapping[str, Any], status: PolicyStatus) -> None:
        """Publish the Event of the last shift, also one of which the leader before could not tell."""
        since, uid = status.focus_since, safe_get.text(raw, "metadata", "uid")
        if since is None or not status.focus or (uid, since) in self._told or clock.now() - since > KEPT:
            return
        try:
            await create_once(self._api, HOME, focus_event(raw, status, since, instance=self._instance))
        except ApiError as error:
            if error.status in REFUSED:
                self._told.add((uid, since))
            raise
        self._told.add((uid, since))


def next_status(
    raw: Mapping[str, Any],
    view: PolicyView,
    selected: Selected,
    places: Iterable[Places],
    failed: int | None,
    now: datetime,
) -> PolicyStatus:
    """The status of a policy with what is known now. `failed`: of its last releases; None where it is not known."""
    before = read_policy_status(raw)
    generation = safe_get.number(raw, "metadata", "generation")
    reason, message = ("Read", "it applies to the plans that it selects")
    if view.spec is None:
        reason, message = "Invalid", f"no plan that it may select goes forward: {view.problem}"
    elif selected.unknown:
        reason, message = "LabelsUnknown", selected.unknown
    ready = ready_condition(raw, now, ready=reason == "Read", reason=reason, message=message)
    shown = sorted(places, key=lambda each: (-each.waiting, -each.taken, each.group))[:GROUPS_SHOWN]
    return PolicyStatus(
        observed_generation=generation,
        plans=sum(selected.plans.values()),
        places=tuple(shown),
        conditions=(Condition.model_validate(ready),),
        **_focus(before, view, failed, now),
    )


def _focus(before: PolicyStatus, view: PolicyView, failed: int | None, now: datetime) -> dict[str, Any]:
    """The focus, and since when: a shift stays while nobody knows how many releases failed, or what the bound is."""
    if view.spec is None:
        words = "the policy cannot be read"
        return {"focus": "", "focus_why": words, "focus_since": before.focus_since, "shifted": before.shifted}
    focus, shift = view.spec.focus, view.spec.focus.stability
    if shift is None:
        return {"focus": focus.base, "focus_why": "as written"}
    shifted = bool(before.shifted)
    if failed is None:
        words = "the records of the last releases have not been listed yet"
    else:
        shifted = is_unstable(shift, failed, shifted=shifted)
        words = why(shift, failed, focus.base, shifted=shifted)
    same = shifted == bool(before.shifted)
    return {
        "focus": "Stability" if shifted else focus.base,
        "focus_why": words,
        "focus_since": before.focus_since if same else now - timedelta(microseconds=now.microsecond),
        "shifted": shifted or None,
    }
