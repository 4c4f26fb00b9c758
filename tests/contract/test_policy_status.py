"""The status of a policy on a real API server: written over the subresource, and an Event on the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from rolloutplan import clock
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api
from rolloutplan.loop import policy_status
from rolloutplan.loop.policy_status import PolicyStatuses
from rolloutplan.loop.record_pruning import Entry
from rolloutplan.loop.releases import Releases
from rolloutplan.loop.store import POLICIES, Store
from tests.bed import Bed

FOCUS = {"base": "Throughput", "stability": {"failureRate": "> 20%", "over": 5}}
LOOKS = 4
"""So many looks begin: at the first of them all is written and told, and at the others nothing is left to do."""


@pytest.fixture
def policy(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig()))
    monkeypatch.setattr(policy_status, "EVERY", 0.05)
    raw = {
        "apiVersion": "rolloutplan.dev/v1alpha1",
        "kind": "RolloutPolicy",
        "metadata": {"name": f"status-{uuid4().hex[:6]}"},
        "spec": {"focus": FOCUS, "maxConcurrent": 4},
    }
    bed.apply(raw)
    yield raw
    bed.delete(raw)


async def _look(name: str, outcomes: list[str]) -> Store:
    """What a leader writes that finds these releases, the oldest first."""
    api = await Api.connect()
    try:
        store = Store()
        store.apply(POLICIES, None, await api.get(paths.path(paths.POLICIES, name=name)))
        releases = Releases({})
        made = [
            Entry("shop", f"p-u-{run}", "p", clock.now() + timedelta(minutes=run), outcome, "1")
            for run, outcome in enumerate(outcomes)
        ]
        releases.listed("", "", made)
        looks, enough = count(1), asyncio.Event()

        def leading() -> bool:
            if next(looks) == LOOKS:
                enough.set()
            return True

        statuses = PolicyStatuses(api, store.policies, releases, leading=leading, apply=store.apply, instance="bed")
        task = asyncio.create_task(statuses.run())
        await asyncio.wait_for(enough.wait(), 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return store
    finally:
        await api.close()


def test_a_focus_shifts_there_and_back(bed: Bed, policy: dict[str, Any]) -> None:
    name = policy["metadata"]["name"]
    found = asyncio.run(_look(name, ["RolledBack", "Succeeded", "RolledBack"]))
    assert found.policies.views[name].focus == "Stability"
    shown = bed.kubectl("get", "rpol", name, "-o", "wide")
    for words in (
        "FOCUS",
        "Stability",
        "True",
        "2 of the last 5 releases failed (40%): Throughput again at 10% or less",
    ):
        assert words in shown
    stored = bed.get(bed.api.path(policy))
    assert (stored["status"]["shifted"], stored["spec"]["focus"]) == (True, FOCUS)

    asyncio.run(_look(name, ["RolledBack", *["Succeeded"] * 5]))
    stored = bed.get(bed.api.path(policy))
    assert (stored["status"]["focus"], "shifted" in stored["status"]) == ("Throughput", False)
    said = bed.kubectl("get", "events.events.k8s.io", "-n", "default", "-o", "json")
    assert said.count(f'"name": "{name}"') == 2, "one Event for each shift"
    version = stored["metadata"]["resourceVersion"]
    asyncio.run(_look(name, ["RolledBack", *["Succeeded"] * 5]))
    assert bed.get(bed.api.path(policy))["metadata"]["resourceVersion"] == version, "nothing has changed"


def test_the_word_alone_stays_a_word(bed: Bed, policy: dict[str, Any]) -> None:
    bed.apply({**policy, "spec": {"focus": "Stability"}})
    assert bed.get(bed.api.path(policy))["spec"]["focus"] == "Stability"
