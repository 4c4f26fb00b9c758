"""The indexes say what a scan over all plans would say, and cost little where there are many."""

import time
from datetime import timedelta
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.route import RouteId
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.engine.model.policy_view import At, QueueEntry
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.policy.policies import queue_position
from rolloutplan.loop.index import Queues, RoutesByService, Uses, receivers
from rolloutplan.traffic import ROUTE_KINDS
from tests.queues import queues
from tests.world import START

GROUPS = {"policy a": 2, "policy b": 1, "lock group x": 1}
ATS: tuple[At, ...] = ("waiting", "starting", "running")


def entry(key: str, at: At, age: int, groups: frozenset[str]) -> QueueEntry:
    """Older with a greater age; of the same age the lesser key is the older."""
    return QueueEntry(key, groups, at, START - timedelta(minutes=age), uid=key)


ATTRIBUTES = st.sampled_from(ATS), st.integers(0, 3), st.frozensets(st.sampled_from(sorted(GROUPS)), max_size=3)
ENTRIES = st.builds(entry, st.sampled_from([f"{home}/{name}" for home in "xyz" for name in "abc"]), *ATTRIBUTES)
STRANGERS = st.builds(entry, st.sampled_from(["x/stranger", "other/stranger"]), *ATTRIBUTES)
CHANGES = st.lists(st.tuples(ENTRIES, st.booleans()), max_size=40)


def others(known: dict[str, QueueEntry], key: str) -> list[QueueEntry]:
    return [each for each in known.values() if each.key != key]


def has_a_place(known: dict[str, QueueEntry]) -> set[str]:
    """Those that wait and for which every group of theirs has a place, by a scan."""
    waiting = [each for each in known.values() if each.at == "waiting"]
    return {
        me.key
        for me in waiting
        if not queue_position(me.at, {group: GROUPS[group] for group in me.groups}, queues(me, others(known, me.key)))
    }


@given(CHANGES, STRANGERS)
def test_the_index_of_queues_says_what_a_scan_says_and_names_who_may_start(
    changes: list[tuple[QueueEntry, bool]], stranger: QueueEntry
) -> None:
    index, known = Queues(GROUPS), dict[str, QueueEntry]()
    for change, stays in changes:
        before = has_a_place(known)
        if stays:
            known[change.key] = change
        else:
            known.pop(change.key, None)
        woken = index.put(change.key, change if stays else None)
        assert has_a_place(known) - before <= woken | {change.key}
        assert all(known[key].at == "waiting" for key in woken)
        for me in (*known.values(), stranger):
            assert index.of(me) == queues(me, others(known, me.key))


def test_a_place_that_comes_free_wakes_one_and_not_the_whole_line() -> None:
    index = Queues({"policy a": 1})
    for number in range(100):
        index.put(f"{number:03}", entry(f"{number:03}", "waiting", 0, frozenset({"policy a"})))
    holder = entry("holder", "running", 0, frozenset({"policy a"}))
    assert index.put("holder", holder) == set()
    assert index.put("holder", holder) == set()
    assert index.put("holder", None) == {"000"}


def test_two_thousand_that_wait_in_one_line_learn_their_places_in_a_blink() -> None:
    """All of them ask every ten seconds: a scan for each took 23 s."""
    index, group = Queues({"policy a": 3}), frozenset({"policy a"})
    waiting = [entry(f"team-{number % 20}/{number:04}", "waiting", number % 7, group) for number in range(2000)]
    for each in waiting:
        index.put(each.key, each)
    began = time.process_time()
    for each in waiting:
        index.of(each)
    assert time.process_time() - began < 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.frozensets(st.sampled_from("xyz"))), max_size=20))
def test_who_uses_what_is_what_each_said_last(changes: list[tuple[str, frozenset[str]]]) -> None:
    index, known = Uses(), dict[str, frozenset[tuple[str, str, str]]]()
    for key, names in changes:
        known[key] = frozenset(("things", "ns", name) for name in names)
        index.put(key, known[key])
        assert index.of(key) == known[key]
        for some in product("xyz", repeat=2):
            idents = [("things", "ns", name) for name in some]
            assert index.users(*idents) == {key for key, used in known.items() if used & set(idents)}


NAMESPACES = st.sampled_from(("a", "b"))
BACKENDS = st.sampled_from(("v1", "v2", "Service/a/v1", "Service/b/v1", "ServiceImport/a/v1", "Other/a"))
WEIGHTED = st.lists(st.tuples(BACKENDS, st.integers(0, 2)), max_size=3)


def route_view(namespace: str, name: str, backends: list[tuple[str, int]]) -> RouteView:
    rule = RuleWeights(index=0, backends=tuple(Backend(service=each, weight=weight) for each, weight in backends))
    return RouteView(RouteId("HTTPRoute", name), 1, (rule,), "1", accepted=True, namespace=namespace)


def uses(route: RouteView, namespace: str, service: str) -> bool:
    names = {f"Service/{namespace}/{service}"} | ({service} if route.namespace == namespace else set())
    return any(each.weight > 0 and each.service in names for rule in route.rules for each in rule.backends)


@given(st.lists(st.tuples(NAMESPACES, st.sampled_from("xy"), st.none() | WEIGHTED), max_size=20))
def test_the_index_of_receivers_says_which_routes_give_a_service_traffic_in_any_namespace(
    changes: list[tuple[str, str, list[tuple[str, int]] | None]],
) -> None:
    index, known = RoutesByService(), dict[tuple[str, str], RouteView]()
    for namespace, name, backends in changes:
        before = known.pop((namespace, name), None)
        after = None if backends is None else route_view(namespace, name, backends)
        if after is not None:
            known[namespace, name] = after
        index.put(namespace, RouteId("HTTPRoute", name), before, after)
    for service in product(("a", "b"), ("v1", "v2")):
        found = [(namespace, route.name) for namespace, route in index.of(service)]
        assert found == sorted(key for key, route in known.items() if uses(route, *service))


def test_a_route_is_found_by_a_service_that_gets_all_without_a_weight() -> None:
    host = {"destination": {"host": "v1.a.svc.cluster.local"}}
    raw = {"metadata": {"name": "x", "namespace": "b"}, "spec": {"http": [{"route": [host]}]}}
    assert receivers("b", ROUTE_KINDS["VirtualService"].view(raw)) == {("a", "v1")}
