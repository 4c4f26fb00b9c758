"""The leader makes the routes that it owns for plans, keeps them as in Git, and gives the traffic back."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jsonpatch
import pytest

from rolloutplan.api.route import RouteId
from rolloutplan.cluster.client import ApiError
from rolloutplan.loop import owned_routes
from rolloutplan.loop.owned_routes import RESOURCE, OwnedRoutes
from rolloutplan.loop.store import PLANS, Store
from rolloutplan.traffic.owned import LABEL
from tests.unit.test_loop_store import KEY, made, plan
from tests.unit.test_traffic_owned import ROOT, rule

Raw = dict[str, Any]
NAMESPACE, _, PLAN = KEY.partition("/")
OWN = "checkout-rolloutplan"
OWNED = {"traffic.ownership": "Owned"}


class Cluster:
    """HTTPRoutes behind an API server that can refuse; everything that changes is told to `seen`."""

    def __init__(self) -> None:
        self.routes: dict[str, Raw] = {}
        self.refusals: dict[str, list[ApiError]] = {}
        self.writes: list[str] = []
        self.reads = 0
        self.seen: Callable[[str], None] = lambda _: None
        self._version = 100

    def put(self, name: str, raw: Mapping[str, Any]) -> Raw:
        self._version += 1
        meta = {**raw["metadata"], "resourceVersion": str(self._version)}
        self.routes[name] = copy.deepcopy({**raw, "metadata": meta})
        self.seen(name)
        return self.routes[name]

    def _asked(self, verb: str, path: str) -> str:
        if refused := self.refusals.get(verb):
            raise refused.pop(0)
        return path.rpartition("/")[2]

    async def get(self, path: str) -> Raw:
        self.reads += 1
        name = self._asked("get", path)
        if name not in self.routes:
            raise ApiError(404, "NotFound", f"{name} not found")
        return self.routes[name]

    async def list_metadata(self, path: str, **query: str | int) -> Raw:
        self._asked("list", path)
        assert query == {"labelSelector": f"{LABEL}=true"}
        return {"items": [raw for raw in self.routes.values() if LABEL in raw["metadata"].get("labels", {})]}

    async def list(self, path: str, *, timeout: float | None = None, **query: str | int) -> Raw:
        self._asked("list", path)
        found, at = [*self.routes.values()], int(query.get("continue", 0))
        following = {"metadata": {"continue": str(at + 1)}} if at + 1 < len(found) else {}
        return {"items": found[at : at + 1], **following}

    async def create(self, path: str, body: Mapping[str, Any]) -> Raw:
        self._asked("create", path)
        self.writes.append("create")
        return self.put(body["metadata"]["name"], body)

    async def patch(self, path: str, body: Sequence[Mapping[str, Any]], *, kind: Any) -> Raw:
        name = self._asked("patch", path)
        self.writes.append("patch")
        return self.put(name, jsonpatch.apply_patch(self.routes[name], [*body]))

    async def delete(self, path: str, *, version: str) -> Raw:
        name = self._asked("delete", path)
        assert self.routes[name]["metadata"]["resourceVersion"] == version
        self.writes.append("delete")
        self.seen(name)
        return self.routes.pop(name)


class Host:
    """A store with one plan, the cluster, and who keeps its routes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cluster: Cluster | None = None) -> None:
        monkeypatch.setattr(owned_routes, "AGAIN", 0.01)
        monkeypatch.setattr(owned_routes, "AFTER_A_CONFLICT", 0.001)
        self.store, self.cluster, self.woken = Store(), cluster or Cluster(), list[str]()
        self.leads = True
        self._plans = 1
        self.restart()

    def restart(self, *, lent: bool = True) -> None:
        """Another operator, in an installation that lends routes or not."""
        self.routes = OwnedRoutes(
            self.cluster,
            self.store,
            lent=lent,
            leading=lambda: self.leads,
            wake=self.woken.append,
            apply=lambda *_: None,
        )
        self.cluster.seen = self.saw

    def git(self, weights: Mapping[str, int], **more: Any) -> None:
        spec = {"parentRefs": [{"name": "gw"}], "rules": [rule(weights, **more)]}
        raw = made(RESOURCE, "checkout", 1, spec)
        self.cluster.put("checkout", {"apiVersion": "gateway.networking.k8s.io/v1", **raw})

    def testers(self, **more: Any) -> None:
        """A route with the path of the one in Git, and a header in addition."""
        match = {**ROOT, "headers": [{"name": "x-test", "value": "1"}], **more}
        raw = made(RESOURCE, "testers", 1, {"rules": [rule({"testers": 1}, match)]})
        raw["spec"]["parentRefs"] = self.cluster.routes["checkout"]["spec"]["parentRefs"]
        self.cluster.put("testers", raw)

    def plan(self, phase: str = "Pending", *, name: str = PLAN, moves: str = "", changes: Any = OWNED) -> None:
        """A plan in a phase whose run moves a route."""
        self._plans += 1
        snapshot = [{"kind": "HTTPRoute", "name": moves, "rules": []}] if moves else []
        status = {"phase": phase, "weights": {"snapshot": snapshot}}
        self.store.apply(PLANS, "MODIFIED", plan(name, self._plans, status, changes))
        self.routes.seen((PLANS, NAMESPACE, name))

    def saw(self, name: str) -> None:
        self.routes.seen((RESOURCE, NAMESPACE, name), self.cluster.routes.get(name))

    @property
    def note(self) -> str:
        return self.store.owned_notes.get((NAMESPACE, RouteId("HTTPRoute", OWN)), "")

    async def until(self, done: Callable[[], bool], what: str) -> None:
        for _ in range(500):
            if done():
                return
            await asyncio.sleep(0.005)
        raise TimeoutError(f"{what}: writes {self.cluster.writes}, note {self.note!r}")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Cluster]:
        task = asyncio.create_task(self.routes.run())
        try:
            yield self.cluster
        finally:
            task.cancel()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_a_route_is_made_follows_git_and_is_handed_back(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan()
        async with host.running() as cluster:
            await host.until(lambda: cluster.writes == ["create"], "made")
            host.plan("Judging")
            host.git({"v1": 1, "v2": 0}, timeouts={"request": "1s"})
            await host.until(lambda: cluster.writes == ["create", "patch"], "follows")
            host.plan("RolledBack")
            await host.until(lambda: cluster.writes == ["create", "patch", "delete"], "handed back")
            assert [*cluster.routes] == ["checkout"]

    asyncio.run(course())


def test_a_route_whose_plan_is_gone_stays_until_git_says_the_same(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan("Judging")
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
            own = cluster.routes[OWN]
            own["spec"]["rules"][0]["backendRefs"][0]["weight"] = 0
            own["spec"]["rules"][0]["backendRefs"][1]["weight"] = 1
        host.store.remove((PLANS, NAMESPACE, PLAN))
        host.restart()
        cluster.seen = lambda _: None  # no plan names such a route, so nobody watches them
        async with host.running():
            await asyncio.sleep(0.05)
            assert OWN in cluster.routes, "it has the traffic"
            host.git({"v1": 0, "v2": 1})
            await host.until(lambda: OWN not in cluster.routes, "handed back")

    asyncio.run(course())


def test_a_route_that_lost_its_label_while_no_operator_ran_is_known_when_it_is_seen(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan("Judging")
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
        host.store.remove((PLANS, NAMESPACE, PLAN))
        del cluster.routes[OWN]["metadata"]["labels"]
        host.restart()
        async with host.running():
            host.saw(OWN)
            await host.until(lambda: OWN not in cluster.routes, "handed back")

    asyncio.run(course())


def test_no_route_is_made_that_takes_the_requests_of_another_one_and_one_that_comes_later_is_told(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.testers()
        host.plan()
        async with host.running() as cluster:
            await host.until(lambda: f"HTTPRoute {NAMESPACE}/testers has the same host and path" in host.note, "told")
            assert not cluster.writes
            host.testers(method="GET")
            await host.until(lambda: cluster.writes == ["create"] and not host.note, "made")
            host.testers()
            await host.until(lambda: f"HTTPRoute {NAMESPACE}/testers" in host.note, "told although it is made")
            del cluster.routes["testers"]
            host.saw("testers")
            await host.until(lambda: not host.note, "nothing is lost any more")
            host.testers()
            await host.until(lambda: f"HTTPRoute {NAMESPACE}/testers" in host.note, "told again")
            del cluster.routes["testers"]
            host.routes.seen((RESOURCE, "", ""))
            await host.until(lambda: not host.note, "a complete list shows as much as a deletion that was seen")
            assert cluster.writes == ["create"]

    asyncio.run(course())


def test_what_hinders_it_is_told_to_the_plans_and_tried_again(host: Host) -> None:
    async def course() -> None:
        host.plan()
        async with host.running() as cluster:
            await host.until(lambda: "it does not exist" in host.note, "told")
            assert host.woken == [KEY]
            cluster.refusals["create"] = [ApiError(403, "Forbidden", "may not create httproutes")]
            host.git({"v1": 1, "v2": 0})
            await host.until(lambda: "may not create" in host.note, "told")
            await host.until(lambda: OWN in cluster.routes and not host.note, "made at last")

    asyncio.run(course())


@pytest.mark.parametrize("verb", ["get", "list", "create", "patch", "delete"])
@pytest.mark.parametrize("status", [0, 409, 422, 500])
def test_no_answer_of_the_api_server_ends_it(host: Host, verb: str, status: int) -> None:
    async def course() -> None:
        host.cluster.refusals[verb] = [ApiError(status, "Refused", "not now")] * 2
        host.git({"v1": 1, "v2": 0})
        host.plan("Judging")
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
            host.git({"v1": 1, "v2": 0}, timeouts={"request": "1s"})
            await host.until(lambda: "patch" in cluster.writes, "follows")
            host.plan("RolledBack")
            await host.until(lambda: OWN not in cluster.routes and not host.note, "handed back")

    asyncio.run(course())


def test_a_follower_writes_nothing(host: Host) -> None:
    async def course() -> None:
        host.leads = False
        host.git({"v1": 1, "v2": 0})
        host.plan()
        async with host.running() as cluster:
            await asyncio.sleep(0.03)
            assert not cluster.writes
            host.leads = True
            host.routes.led()
            await host.until(lambda: cluster.writes == ["create"], "made")

    asyncio.run(course())


UNREADABLE: Raw = {"traffic.routes": []}


@pytest.mark.parametrize("changes", [{}, OWNED, UNREADABLE], ids=["another plan", "edited to Owned", "not readable"])
def test_no_route_takes_the_traffic_from_a_run_that_moves_the_weights_in_git(host: Host, changes: Any) -> None:
    async def course() -> None:
        host.git({"v1": 75, "v2": 25})
        host.plan("Judging", name="moves", moves="checkout", changes=changes)
        host.plan("Pending")
        async with host.running() as cluster:
            await host.until(lambda: f"plan {NAMESPACE}/moves moves its weights" in host.note, "told")
            assert not cluster.writes
            host.plan("RolledBack", name="moves", moves="checkout", changes={})
            await host.until(lambda: cluster.writes == ["create"] and not host.note, "made after the run")

    asyncio.run(course())


@pytest.mark.parametrize("changes", [{}, UNREADABLE], ids=["edited to Weights", "not readable"])
def test_the_route_of_a_run_stays_whatever_becomes_of_its_plan(host: Host, changes: Any) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan("Expanding")
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
            host.plan("Judging", moves=OWN, changes=changes)
            host.git({"v2": 1})
            await host.until(lambda: "no Service v1 any more" in host.note, "the run is known to go on")
            assert cluster.writes == ["create"]
            host.git({"v1": 1, "v2": 0})
            host.plan("RolledBack", moves=OWN, changes=changes)
            await host.until(lambda: cluster.writes == ["create", "delete"], "handed back")

    asyncio.run(course())


def test_a_plan_for_the_route_in_git_is_told_that_another_one_has_its_traffic(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan("Judging")
        host.plan(name="weights", changes={})
        git = (NAMESPACE, RouteId("HTTPRoute", "checkout"))
        async with host.running() as cluster:
            await host.until(lambda: f"{NAMESPACE}/weights" in host.woken, "woken")
            assert "HTTPRoute checkout-rolloutplan takes its traffic" in host.store.owned_notes[git]
            host.plan("RolledBack")
            await host.until(lambda: OWN not in cluster.routes and git not in host.store.owned_notes, "handed back")

    asyncio.run(course())


def test_where_routes_are_lent_no_more_those_that_are_there_follow_git_and_plans_are_told_who_hands_back(
    host: Host,
) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.plan("Judging")
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
        host.restart(lent=False)
        host.plan(name="weights", changes={})
        async with host.running():
            await host.until(lambda: "set ownedRoutes.enabled in the chart again" in host.note, "told in the run")
            assert "kubectl" not in host.note, "the run needs it"
            git = host.store.owned_notes[NAMESPACE, RouteId("HTTPRoute", "checkout")]
            assert "nobody hands that back" in git, "a plan that moves Git's weights"
            host.git({"v1": 1, "v2": 0}, timeouts={"request": "1s"})
            await host.until(lambda: "patch" in cluster.writes, "follows")
            host.woken.clear()
            host.plan("RolledBack")
            by_hand = f"or run `kubectl -n {NAMESPACE} delete httproute {OWN}`"
            await host.until(lambda: by_hand in host.note, "told after it")
            assert KEY in host.woken
            cluster.routes[OWN]["spec"]["rules"][0]["backendRefs"][1]["weight"] = 9
            await host.until(lambda: f"give it the weights of {OWN}" in host.note, "what comes first")
            assert cluster.writes == ["create", "patch"]
            cluster.routes.pop(OWN)
            await host.until(lambda: not host.store.owned_notes, "done by hand")

    asyncio.run(course())


def test_where_routes_were_never_lent_nothing_is_said_or_written(host: Host) -> None:
    async def course() -> None:
        host.cluster.refusals["list"] = [ApiError(403, "Forbidden", "may not list httproutes")] * 100
        host.restart(lent=False)
        host.git({"v1": 1, "v2": 0})
        async with host.running() as cluster:
            await asyncio.sleep(0.02)
            assert len(cluster.refusals["list"]) == 100, "it may have no right to read HTTPRoutes, and needs none"
        host.plan()
        host.routes.led()
        async with host.running() as cluster:
            await asyncio.sleep(0.05)
            assert not (cluster.writes or host.store.owned_notes), "the plan itself is Invalid: SwitchedOff"
            assert len(cluster.refusals["list"]) == 99, "asked once"

    asyncio.run(course())


def test_what_the_api_server_always_refuses_is_told_and_not_asked_all_the_time(host: Host) -> None:
    async def course() -> None:
        host.git({"v1": 1, "v2": 0})
        host.cluster.refusals["create"] = [ApiError(422, "Invalid", "denied by a policy")] * 1000
        host.plan()
        async with host.running() as cluster:
            await host.until(lambda: "denied by a policy" in host.note, "told")
            before = cluster.reads
            await asyncio.sleep(0.05)
            assert cluster.reads - before < 20, "every 10 ms here"

    asyncio.run(course())


def test_routes_that_wait_are_not_read_again_for_what_happens_to_others(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def course() -> None:
        monkeypatch.setattr(owned_routes, "AGAIN", 60.0)
        host.plan(name="waits", changes=OWNED | {"traffic.routes": [{"kind": "HTTPRoute", "name": "nowhere"}]})
        host.git({"v1": 1, "v2": 0})
        host.plan()
        async with host.running() as cluster:
            await host.until(lambda: OWN in cluster.routes, "made")
            await asyncio.sleep(0.02)
            before = cluster.reads
            host.git({"v1": 1, "v2": 0})
            await asyncio.sleep(0.02)
            assert cluster.reads - before == 2, "the route in Git and the operator's"

    asyncio.run(course())
