"""What no plan names costs a key; what a namespace may take of the memory is limited, and runs keep their place."""

import asyncio
import copy
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.command import ANNOTATION, MAX_COMMAND, CommandError, read_command
from rolloutplan.api.limits import KIB, UNREAD
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route import RouteId
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase, read_status
from rolloutplan.cluster.client import ApiError
from rolloutplan.engine.model.plan_view import Readable, Unreadable
from rolloutplan.loop import budget, feed
from rolloutplan.loop.budget import MAX_BYTES, MAX_PLANS, MAX_TOTAL, Budget, Entry, Limits, _Namespace
from rolloutplan.loop.facts import PlanFacts
from rolloutplan.loop.feed import Feed
from rolloutplan.loop.routes import place_of
from rolloutplan.loop.store import DEPLOYMENTS, PLANS, Store
from rolloutplan.loop.stored_plan import keeps
from rolloutplan.loop.versions import Id
from rolloutplan.telemetry.metrics import Metrics
from rolloutplan.traffic import ROUTE_KINDS
from tests.refusals import PLAN, changed
from tests.world import START

if TYPE_CHECKING:
    from rolloutplan.cluster.client import ResourceClient
    from rolloutplan.metrics.pool import Sources

Raw = dict[str, Any]
ROUTES = place_of(ROUTE_KINDS["HTTPRoute"]).resource


class Server:
    """A cluster in memory, and a store that reads again from it what it needs, when `answer` is called."""

    def __init__(self) -> None:
        self.store, self.whole, self.asked, self.version = Store(), Store(), list[Id](), 0
        self.objects: dict[Id, Raw] = {}
        self.store.needs.fetch = self.asked.append

    def put(self, kind: str, name: str, namespace: str = "shop", **fields: Any) -> frozenset[str]:
        self.version += 1
        ident = (kind, namespace, name)
        meta = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "generation": self.version}
        meta |= fields.pop("meta", {}) | {"resourceVersion": str(self.version)}
        self.objects[ident] = {"metadata": meta, **fields}
        self.whole.apply(kind, "MODIFIED", copy.deepcopy(self.objects[ident]))
        return self.store.apply(kind, "MODIFIED", copy.deepcopy(self.objects[ident]))

    def delete(self, kind: str, name: str, namespace: str = "shop") -> frozenset[str]:
        self.objects.pop((kind, namespace, name), None)
        self.whole.remove((kind, namespace, name))
        return self.store.remove((kind, namespace, name))

    def answer(self) -> frozenset[str]:
        """Answer all reads; returns the plans to look at."""
        affected = frozenset[str]()
        while self.asked:
            ident = self.asked.pop()
            found = self.objects.get(ident)
            affected |= self.store.apply(ident[0], None, copy.deepcopy(found)) if found else self.store.remove(ident)
        return affected


def route(*services: str) -> Raw:
    return {"rules": [{"backendRefs": [{"name": name, "weight": 1} for name in services]}]}


def plan(new: str = "v2", at: str = "checkout") -> Raw:
    return changed(PLAN, {"old.deployment": "v1", "new.deployment": new, "traffic.routes[0].name": at})


def test_routes_and_deployments_that_no_plan_names_cost_a_key() -> None:
    server = Server()
    server.put(ROUTES, "checkout", spec=route("v1", "v2"))
    server.put(DEPLOYMENTS, "v1", spec={"replicas": 2})
    assert not server.store.objects.views
    assert not server.store.workloads
    assert server.store.versions.version((ROUTES, "shop", "checkout"))


def test_what_a_new_plan_names_is_read_again_and_the_plan_waits_for_it() -> None:
    server = Server()
    server.put(ROUTES, "checkout", spec=route("v1", "v2"))
    server.put(DEPLOYMENTS, "v1", spec={"replicas": 2})
    server.put(PLANS, "a", spec=plan())
    assert sorted(server.asked) == [(DEPLOYMENTS, "shop", "v1"), (ROUTES, "shop", "checkout")]
    assert server.store.needs.awaits("shop/a")
    assert server.answer() == {"shop/a"}
    assert not server.store.needs.awaits("shop/a")
    assert server.store.objects.views == server.whole.objects.views
    assert server.store.workloads == server.whole.workloads


def test_a_plan_does_not_wait_for_what_does_not_exist_or_cannot_be_read() -> None:
    server = Server()
    server.put(PLANS, "a", spec=plan())
    assert not server.store.needs.awaits("shop/a")
    server.put(ROUTES, "other", spec=route("v1"))
    server.put(DEPLOYMENTS, "v3", spec={})
    server.put(PLANS, "a", spec=plan(new="v3"))
    assert server.store.needs.awaits("shop/a")
    assert server.store.needs.give_up((DEPLOYMENTS, "shop", "v3")) == {"shop/a"}
    assert not server.store.needs.awaits("shop/a")


def running(written: Raw) -> Raw:
    return {"phase": "Judging", "planHash": read_plan_spec(written).plan_hash(), "weights": {"old": "v1", "new": "v2"}}


def unread(server: Server) -> frozenset[str]:
    facts = PlanFacts(server.store).of("shop/a", epoch=1, claim_at=lambda _: START)
    assert facts is not None
    return facts.unread


def test_a_run_goes_no_further_but_hears_while_a_deployment_cannot_be_read_because_it_is_not_gone() -> None:
    server = Server()
    server.put(DEPLOYMENTS, "v2", spec={"replicas": 2})
    server.put(PLANS, "a", spec=plan(), status=running(plan()))
    ident = (DEPLOYMENTS, "shop", "v2")
    assert not server.store.needs.give_up(ident, unread=True)
    assert not server.store.needs.awaits("shop/a"), "its guards stay on, and it hears commands"
    assert unread(server) == {"deployments/v2"}
    assert server.store.needs.is_urgent(ident)
    server.answer()
    assert not unread(server)
    assert not server.store.needs.is_urgent(ident)


def test_a_run_waits_for_the_routes_that_it_would_roll_back() -> None:
    server = Server()
    server.put(ROUTES, "checkout", spec=route("v1", "v2"))
    moved = {"kind": "HTTPRoute", "name": "checkout", "rules": [{"index": 0, "backends": []}]}
    status = running(plan()) | {"weights": {"old": "v1", "new": "v2", "snapshot": [moved]}}
    server.put(PLANS, "a", spec=plan(), status=status, meta={"deletionTimestamp": "2026-03-01T09:00:00Z"})
    assert server.store.needs.awaits("shop/a"), "or its deletion would take them for gone"
    server.answer()
    assert not server.store.needs.awaits("shop/a")


@pytest.mark.parametrize("first", ["plan", "object", "read"])
@pytest.mark.parametrize(("kind", "name"), [(DEPLOYMENTS, "v2"), (ROUTES, "checkout")])
def test_a_run_waits_for_what_is_too_large_to_read_because_it_is_not_gone(kind: str, name: str, first: str) -> None:
    server = Server()
    large: Raw = {UNREAD: "spec: 1269 KiB are too large to read"}
    small: Raw = {"spec": route("v1", "v2")}
    if first == "plan":
        server.put(PLANS, "a", spec=plan(), status=running(plan()))
    server.put(kind, name, **(small if first == "read" else large))
    if first != "plan":
        server.put(PLANS, "a", spec=plan(), status=running(plan()))
    server.answer()
    if first == "read":
        known = dict(server.store.objects.views), dict(server.store.workloads)
        server.put(kind, name, **large)
        assert known == (server.store.objects.views, server.store.workloads)
        assert not unread(server)
        return
    server.store.needs.give_up((kind, "shop", name))
    assert unread(server) == {f"{kind.partition('.')[0]}/{name}"}
    server.put(kind, name, **small)
    assert not unread(server)


def test_a_run_goes_on_without_what_was_too_large_to_read_once_that_is_deleted() -> None:
    server = Server()
    server.put(PLANS, "a", spec=plan(), status=running(plan()))
    server.put(DEPLOYMENTS, "v2", **{UNREAD: "spec: 1269 KiB are too large to read"})
    assert unread(server) == {"deployments/v2"}
    server.delete(DEPLOYMENTS, "v2")
    assert not unread(server)


def test_a_status_that_is_too_large_to_read_is_not_taken_for_an_empty_one() -> None:
    server = Server()
    large = {UNREAD: "spec: 1269 KiB are too large to read; status: 5000 KiB are too large to read"}
    server.put(PLANS, "new", **large)
    assert "shop/new" not in server.store.plans
    server.put(PLANS, "a", spec=plan(), status=running(plan()))
    known = server.store.plans["shop/a"]
    server.put(PLANS, "a", **large)
    assert server.store.plans["shop/a"] == known
    assert known.view.version != str(server.version)
    server.put(PLANS, "a", status=running(plan()), **{UNREAD: "spec: 1269 KiB are too large to read"})
    assert server.store.plans["shop/a"].status.phase == Phase.JUDGING
    assert not server.store.plans["shop/a"].view.readable


def test_a_run_whose_plan_was_edited_goes_back_without_waiting_for_what_it_names_now() -> None:
    server = Server()
    server.put(DEPLOYMENTS, "v3", spec={"replicas": 2})
    server.put(PLANS, "a", spec=plan(new="v3"), status=running(plan()))
    assert server.asked
    assert not server.store.needs.awaits("shop/a")


def test_nothing_is_read_again_at_a_start_whatever_is_listed_first() -> None:
    server = Server()
    server.store.needs.loading = True
    server.put(ROUTES, "checkout", spec=route("v1", "v2"))
    server.put(ROUTES, "other", spec=route("v9"))
    server.put(DEPLOYMENTS, "v1", spec={"replicas": 2})
    server.put(DEPLOYMENTS, "v9", spec={"replicas": 2})
    server.put(PLANS, "a", spec=plan())
    server.store.needs.loaded()
    assert not server.asked
    assert [route.name for _, route in server.store.objects.views] == ["checkout"]
    assert [name for _, name in server.store.workloads] == ["v1"]


def test_a_route_of_another_namespace_that_gives_the_old_service_traffic_is_read_again() -> None:
    server = Server()
    server.put(ROUTES, "beside", "other", spec={"rules": [{"backendRefs": [{"name": "v1", "namespace": "shop"}]}]})
    assert not server.store.objects.views
    status = {"phase": "Baking", "weights": {"old": "v1", "new": "v2"}}
    server.put(PLANS, "a", spec=plan(), status=status)
    server.answer()
    found = PlanFacts(server.store).routes_to_old(server.store.plans["shop/a"])
    assert found == PlanFacts(server.whole).routes_to_old(server.whole.plans["shop/a"])
    assert [view.id for view in found] == [RouteId("HTTPRoute", "beside")]


NAMES = st.sampled_from(("v1", "v2", "v3"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(ROUTES), st.sampled_from(("checkout", "beside")), st.lists(NAMES, max_size=2)),
        st.tuples(st.just(DEPLOYMENTS), NAMES, st.just(None)),
        st.tuples(
            st.just(PLANS), st.sampled_from("ab"), st.tuples(st.sampled_from(("v2", "v3")), st.sampled_from("xy"))
        ),
        st.tuples(st.just("delete"), st.sampled_from((ROUTES, DEPLOYMENTS, PLANS)), NAMES),
        st.tuples(st.just("answer"), st.none(), st.none()),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=200)
def test_once_all_is_read_a_plan_sees_what_it_would_see_if_everything_were_kept(steps: list[Any]) -> None:
    server = Server()
    for kind, name, how in steps:
        if kind == ROUTES:
            server.put(ROUTES, name, spec=route(*how))
        elif kind == DEPLOYMENTS:
            server.put(DEPLOYMENTS, name, spec={"replicas": server.version})
        elif kind == PLANS:
            server.put(PLANS, name, spec=plan(how[0], "checkout" if how[1] == "x" else "beside"))
        elif kind == "delete":
            at = {"v1": "checkout", "v2": "beside"}.get(how, "a") if name != DEPLOYMENTS else how
            server.delete(name, at if name != PLANS else "a")
        else:
            server.answer()
    server.answer()
    for key, found in server.whole.plans.items():
        ours = server.store.plans[key]
        assert not server.store.needs.awaits(key)
        assert PlanFacts(server.store).routes_of(ours) == PlanFacts(server.whole).routes_of(found)
        assert {name: server.store.workloads.get(("shop", name)) for name in ("v1", how_new(found))} == {
            name: server.whole.workloads.get(("shop", name)) for name in ("v1", how_new(found))
        }
    named = {ident for key in server.store.plans for ident in server.store.needs.uses.of(key)}
    assert all((DEPLOYMENTS, *ident) in named for ident in server.store.workloads)


def how_new(found: Any) -> str:
    return str(found.view.written.new.deployment)


class Listing:
    """An API server that gives lists of one, or fails at first."""

    def __init__(self, server: Server, failures: int = 0) -> None:
        self.server, self.failures, self.asked = server, failures, list[tuple[str, str]]()

    async def list(self, path: str, **query: Any) -> Raw:
        self.asked.append((path, query["fieldSelector"]))
        if self.failures:
            self.failures -= 1
            raise ApiError(0, "Timeout", "no answer")
        plural, name = path.rpartition("/")[2], query["fieldSelector"].removeprefix("metadata.name=")
        objects = self.server.objects.items()
        found = [raw for (kind, _, called), raw in objects if called == name and kind.startswith(f"{plural}.")]
        return {"items": copy.deepcopy(found)}


@pytest.mark.parametrize("failures", [0, 1])
def test_the_loop_reads_what_a_plan_names_with_no_right_but_to_list(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "FETCHED_AGAIN", 0.01)
    server = Server()
    api, woken = Listing(server, failures), set[str]()

    async def run() -> None:
        client = cast("ResourceClient", api)
        fed = Feed(server.store, cast("Sources", None), Metrics(), lambda _: client, wake=woken.add)
        server.store.needs.fetch = fed.fetch
        server.put(ROUTES, "checkout", spec=route("v1", "v2"))
        server.put(DEPLOYMENTS, "v1", spec={"replicas": 2})
        server.put(PLANS, "a", spec=plan())
        server.objects.pop((DEPLOYMENTS, "shop", "v1"))
        assert server.store.needs.awaits("shop/a")
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not server.store.needs.awaits("shop/a") and len(api.asked) >= 2 + failures:
                break
        await asyncio.sleep(0.05)
        await fed.close()

    asyncio.run(run())
    assert woken == {"shop/a"}
    assert not server.store.needs.awaits("shop/a")
    assert [route.name for _, route in server.store.objects.views] == ["checkout"]
    assert not server.store.versions.version((DEPLOYMENTS, "shop", "v1"))


# ---- the budget ------------------------------------------------------------------------------------


def entry(number: int, size: int, *, running: bool = False, namespace: str = "shop", edited: bool = False) -> Entry:
    """Older with a smaller number."""
    return Entry(namespace, running, START + timedelta(minutes=number), str(number), size, edited)


def filled(*entries: Entry) -> Budget:
    found = Budget()
    for each in entries:
        found.put(f"{each.namespace}/{each.uid}", each.namespace, each)
    return found


def over(found: Budget, *entries: Entry) -> list[str]:
    return [each.uid for each in entries if found.is_over(f"{each.namespace}/{each.uid}", each.namespace)]


HALF = MAX_BYTES // 2
CASES = {
    "all have a place": ([entry(1, HALF), entry(2, HALF)], []),
    "the newest has none": ([entry(1, HALF), entry(3, HALF), entry(2, 1)], ["3"]),
    "one that is small enough has": ([entry(1, HALF), entry(2, HALF + 1), entry(3, HALF)], ["2"]),
    "a run has, however new it is": ([entry(1, HALF), entry(2, HALF), entry(3, HALF, running=True)], ["2"]),
    "runs have, whatever they take": ([entry(i, HALF, running=True) for i in range(4)], []),
    "too many": ([entry(i, 1) for i in range(MAX_PLANS + 2)], [str(MAX_PLANS), str(MAX_PLANS + 1)]),
    "another namespace's plans do not count": ([entry(1, MAX_BYTES), entry(2, HALF, namespace="other")], []),
    "but all together have a limit": (
        [entry(i, MAX_BYTES, namespace=f"n{i}") for i in range(MAX_TOTAL // MAX_BYTES + 1)],
        [str(MAX_TOTAL // MAX_BYTES)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_who_has_a_place(name: str) -> None:
    entries, expected = CASES[name]
    found = filled(*entries)
    assert over(found, *entries) == expected
    assert found.totals()[1] == len(expected)


def test_who_wins_or_loses_a_place_is_named() -> None:
    found = filled(entry(1, HALF), entry(2, HALF), entry(3, HALF))
    assert found.put("shop/1", "shop", None) == {"shop/3"}
    assert found.put("shop/4", "shop", entry(4, HALF, running=True)) == {"shop/3"}
    assert found.put("shop/4", "shop", entry(4, HALF, running=True)) == frozenset()


def test_a_plan_over_the_budget_is_invalid_and_comes_back_when_another_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_BYTES", 3 * KIB)
    server = Server()
    for number, name in enumerate(("a", "b", "c", "d")):
        meta = {"creationTimestamp": f"2026-03-01T09:0{number}:00Z"}
        server.put(PLANS, name, spec=changed(plan(), {"hypothesis": "x" * 512}), meta=meta)
    states = {key: type(found.view.content) for key, found in server.store.plans.items()}
    assert Unreadable in states.values()
    last = server.store.plans["shop/d"].view.content
    assert isinstance(last, Unreadable)
    assert (last.reason, last.last_good) == (StatusReason.TOO_LARGE, None)
    assert "1 KiB more do not fit beside the plans of this namespace" in last.problem
    before = [key for key, kind in states.items() if kind is Unreadable]
    server.delete(PLANS, "a")
    server.answer()
    after = [key for key, each in server.store.plans.items() if isinstance(each.view.content, Unreadable)]
    assert len(after) < len(before)


def test_a_run_keeps_its_plan_whatever_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_BYTES", 2 * KIB)
    server = Server()
    meta = {"creationTimestamp": "2026-03-01T12:00:00Z"}
    server.put(PLANS, "run", spec=plan(), status={"phase": "Judging"}, meta=meta)
    for name in "abc":
        server.put(PLANS, name, spec=plan(), meta={"creationTimestamp": "2026-03-01T09:00:00Z"})
    run = server.store.plans["shop/run"]
    assert isinstance(run.view.content, Readable)
    assert run.status.phase is Phase.JUDGING


def test_an_edit_that_makes_a_running_plan_too_large_keeps_its_last_valid_version() -> None:
    server = Server()
    server.put(PLANS, "run", spec=plan(), status={"phase": "Judging"})
    job = {"template": {"spec": {"template": {"x": "y" * 500 * KIB}}}}
    edited = plan() | {"assumptions": [{"name": "a", "belief": "b", "impact": 1, "uncertainty": 1, "job": job}]}
    server.put(PLANS, "run", spec=edited, status={"phase": "Judging"})
    content = server.store.plans["shop/run"].view.content
    assert isinstance(content, Unreadable)
    assert content.reason is StatusReason.TOO_LARGE
    assert content.last_good is not None
    assert server.store.plans["shop/run"].view.written == content.last_good.spec


# ---- one namespace never takes the place of another ------------------------------------------------


def put(found: Budget, each: Entry) -> frozenset[str]:
    return found.put(f"{each.namespace}/{each.uid}", each.namespace, each)


LARGE = 384 * KIB
SMALL = Limits(4, 40, 100)


def test_runs_that_are_edited_to_the_largest_size_take_nothing_from_other_namespaces() -> None:
    others = [entry(i, 4 * KIB, namespace=f"n{i}") for i in range(50)]
    runs = [entry(100 + i, KIB, running=True, namespace="greedy") for i in range(22)]
    found = filled(*others, *runs)
    edited = [each._replace(size=LARGE) for each in runs]
    for each in edited:
        put(found, each)
    for each in others:
        put(found, each._replace(size=5 * KIB))
    assert not over(found, *others)
    assert over(found, *edited)
    assert found.totals()[0] <= MAX_BYTES + 50 * 5 * KIB


def test_a_run_holds_what_it_began_with_and_has_no_place_for_more() -> None:
    run = entry(1, 10, running=True)
    found = Budget(SMALL)
    for each in (run, entry(2, 10), entry(3, 10), run._replace(size=25)):
        put(found, each)
    assert over(found, run) == []
    put(found, run._replace(size=41))
    assert over(found, run, entry(2, 10), entry(3, 10)) == ["1", "3"]
    assert found.totals()[0] == 35
    put(found, run)
    assert over(found, run) == []


def test_an_edited_run_that_is_seen_first_at_a_start_takes_no_more_than_is_free() -> None:
    found = Budget(SMALL)
    for i in range(3):
        put(found, entry(i, 30, running=True, edited=True))
    assert found.totals()[0] == 30


def test_runs_that_are_seen_last_at_a_start_take_from_the_namespace_with_most() -> None:
    found = Budget(SMALL)
    before = [entry(1, 40, namespace="a"), entry(2, 10, namespace="b"), entry(3, 12, namespace="a")]
    runs = [entry(4, 35, running=True, namespace="c"), entry(5, 35, running=True, namespace="d")]
    changed = frozenset[str]().union(*(put(found, each) for each in (*before, *runs)))
    assert over(found, *runs) == []
    assert over(found, *before) == ["1"]
    assert "a/1" in changed
    assert found.totals()[0] <= SMALL.total


def test_a_newcomer_finds_room_and_gets_more_when_others_leave() -> None:
    found = Budget(SMALL)
    for name in "abc":
        for i in range(4):
            put(found, entry(i, 10, namespace=name))
    newcomer = entry(9, 11, namespace="new")
    assert put(found, newcomer) == frozenset()
    assert over(found, newcomer) == []
    second = entry(10, 9, namespace="new")
    put(found, second)
    assert over(found, second) == ["10"]
    won = found.put("a/0", "a", None) | found.put("a/1", "a", None) | found.put("a/2", "a", None)
    assert "new/10" in won
    assert over(found, second) == []


PUTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 6), st.integers(0, 45), st.sampled_from(("run", "wait", "gone"))),
    max_size=60,
)


@given(PUTS)
@settings(max_examples=300)
def test_no_put_takes_a_place_in_another_namespace_nor_from_a_run(puts: list[tuple[str, int, int, str]]) -> None:
    found, known = Budget(SMALL), dict[str, Entry]()
    for namespace, number, size, how in puts:
        key = f"{namespace}/{number}"
        placed = {each for each, it in known.items() if not found.is_over(each, it.namespace)}
        runs = how == "run" and (key in placed or (key in known and known[key].running))
        each = entry(number, size, running=runs, namespace=namespace)
        if runs and not known[key].running:
            each = each._replace(size=known[key].size)
        gone = how == "gone"
        changed = found.put(key, namespace, None if gone else each)
        known.pop(key) if gone and key in known else None
        known |= {} if gone else {key: each}
        now = {each for each, it in known.items() if not found.is_over(each, it.namespace)}
        assert all(
            lost.startswith(namespace) and not known[lost].running
            for lost in placed - now
            if lost in known and lost != key
        )
        assert (placed ^ now) - {key} == changed - {key} & known.keys()
        total = sum(known[each].size for each in now)
        assert total <= found.totals()[0] <= SMALL.total
        assert len([each for each in now if known[each].namespace == namespace]) <= SMALL.most + sum(
            it.running for it in known.values() if it.namespace == namespace
        )


def test_many_small_plans_cost_little_and_only_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, place_all = list[int](), _Namespace.place_all

    def counted(self: _Namespace, room: Any, most: int) -> set[str]:
        looked_at.append(len(self.order))
        return place_all(self, room, most)

    monkeypatch.setattr(_Namespace, "place_all", counted)
    entries = [entry(i, 1) for i in range(2000)]
    random.Random(7).shuffle(entries)
    found = Budget(Limits(100, 10_000, 40_000))
    for each in entries:
        put(found, each)
    assert sum(looked_at) < 50 * len(entries) < 0.1 * len(entries) ** 2
    assert found.totals() == (100, 1900)
    assert [each for each in range(2000) if not found.is_over(f"shop/{each}", "shop")][:1] == [0]
    assert sum(found.is_beyond(f"shop/{each}", "shop") for each in range(2000)) == 1800
    assert all(found.size(f"shop/{each}", "shop") for each in range(100))


def test_of_too_many_plans_only_the_keys_are_kept_and_they_are_read_when_others_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "MAX_PLANS", 2)
    server = Server()
    for number, name in enumerate("edcba"):
        server.put(PLANS, name, spec=plan(), meta={"creationTimestamp": f"2026-03-01T09:0{9 - number}:00Z"})
    assert sorted(server.store.plans) == ["shop/a", "shop/b", "shop/c", "shop/d"]
    for name in "abcd":
        server.delete(PLANS, name)
        server.answer()
    assert sorted(server.store.plans) == ["shop/e"]
    assert isinstance(server.store.plans["shop/e"].view.content, Readable)


BACKENDS = [{"service": "v1", "weight": 1}, {"service": "v2", "weight": 0}]
ENDED = {
    "phase": "Succeeded",
    "weights": {
        "old": "v1",
        "new": "v2",
        "snapshot": [{"kind": "HTTPRoute", "name": "checkout", "rules": [{"index": 0, "backends": BACKENDS}]}],
    },
}


def test_a_plan_that_can_be_reverted_keeps_the_names_of_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_BYTES", 2 * KIB)
    server = Server()
    assert keeps(read_status(ENDED))
    meta = {"creationTimestamp": "2026-03-01T12:00:00Z"}
    server.put(PLANS, "done", spec=plan(), status=ENDED | {"planHash": read_plan_spec(plan()).plan_hash()}, meta=meta)
    for name in "abc":
        server.put(PLANS, name, spec=plan(), meta={"creationTimestamp": "2026-03-01T09:00:00Z"})
    written = server.store.plans["shop/done"].view.written
    assert written is not None
    assert written.old.deployment == "v1"


def test_labels_count_and_are_not_kept_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_BYTES", 16 * KIB)
    server = Server()
    labels = {f"example.com/{i}": "x" * 60 for i in range(300)}
    server.put(PLANS, "a", spec=plan(), meta={"labels": labels})
    view = server.store.plans["shop/a"].view
    assert isinstance(view.content, Unreadable)
    assert view.content.reason is StatusReason.TOO_LARGE
    assert not view.labels
    server.put(PLANS, "a", spec=plan(), meta={"labels": {"team": "shop"}})
    assert server.store.plans["shop/a"].view.labels == {"team": "shop"}
    assert isinstance(server.store.plans["shop/a"].view.content, Readable)


def test_of_a_command_no_more_is_kept_than_can_be_carried_out() -> None:
    server = Server()
    server.put(PLANS, "a", spec=plan(), meta={"annotations": {ANNOTATION: "abort t1 --reason " + "x" * 100_000}})
    kept = server.store.plans["shop/a"].view.command
    assert len(kept) == MAX_COMMAND + 1
    with pytest.raises(CommandError, match="more than 1,024 characters: write a shorter reason"):
        read_command(kept)


@pytest.mark.parametrize("kind", ["predicatetemplates.rolloutplan.dev", "metricsources.rolloutplan.dev"])
def test_a_namespace_keeps_so_many_templates_and_sources_and_the_oldest_first(kind: str) -> None:
    server = Server()
    server.store.shared.budget.limits = Limits(2, 10 * KIB, 40 * KIB)
    full = "does not fit beside the other PredicateTemplates, MetricSources and Notifiers"
    specs: dict[str, Raw] = {
        "predicatetemplates.rolloutplan.dev": {"indicates": "Failure", "query": "up", "is": "> 1"},
        "metricsources.rolloutplan.dev": {"prometheus": {"url": "http://p"}},
    }
    for number, name in enumerate("cba"):
        server.put(kind, name, spec=specs[kind], meta={"creationTimestamp": f"2026-03-01T09:0{9 - number}:00Z"})
    server.put(kind, "other", "beside", spec=specs[kind])
    shared = server.store.shared
    kept: Any = shared.templates if kind == "predicatetemplates.rolloutplan.dev" else shared.sources
    assert {name for (_, _, name), each in kept.items() if full in each.problem} == {"c"}
    server.delete(kind, "a")
    server.answer()
    assert {name for (_, _, name), each in kept.items() if full not in each.problem} == {"b", "c", "other"}
