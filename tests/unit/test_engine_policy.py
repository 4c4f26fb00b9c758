"""What policies say about a plan: whom they are for, whose turn it is, and what is frozen until when."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.changes import change
from rolloutplan.api.policy import read_policy
from rolloutplan.api.status import Phase, StageStatus, Status
from rolloutplan.engine.model.policy_view import At, Labels, PolicyView, QueueEntry
from rolloutplan.engine.policy.policies import (
    LABELS_KEPT,
    Freeze,
    concurrency_groups,
    doubt_factor,
    in_force,
    kept,
    longest_freeze,
    next_change,
    queue_position,
    release_after,
    unreadable_policy,
    wants_stability,
)
from tests.queues import queues

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
MINUTE = timedelta(minutes=1)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def policy(name: str = "production", **spec: Any) -> PolicyView:
    return PolicyView(name, read_policy(spec))


def freeze(*windows: Mapping[str, Any], name: str = "production", **more: Any) -> PolicyView:
    return policy(name, freeze={"windows": [{"reason": "quiet", **window} for window in windows], **more})


BROKEN = PolicyView("broken", None, "spec.focus: 'Speed' is not one of the choices")

# ---- whom a policy is for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "namespace", "labels", "selected"),
    [
        ({}, "shop", {}, True),
        ({"namespaces": ["*"]}, "shop", {}, True),
        ({"namespaces": ["shop"]}, "shop", {}, True),
        ({"namespaces": ["shop"]}, "shop-2", {}, False),
        ({"namespaces": ["pay-*"]}, "pay-eu", {}, True),
        ({"namespaces": ["pay-*"]}, "pay-", {}, True),
        ({"namespaces": ["pay-*"]}, "pay", {}, False),
        ({"namespaces": ["shop", "pay-*"]}, "pay-eu", {}, True),
        ({"matchLabels": {"tier": "prod"}}, "shop", {"tier": "prod", "team": "a"}, True),
        ({"matchLabels": {"tier": "prod"}}, "shop", {"tier": "test"}, False),
        ({"matchLabels": {"tier": "prod"}}, "shop", {}, False),
        ({"matchLabels": {"tier": "prod", "team": "a"}}, "shop", {"tier": "prod"}, False),
        ({"namespaces": ["shop"], "matchLabels": {"tier": "prod"}}, "bank", {"tier": "prod"}, False),
    ],
)
def test_whom_a_policy_selects(
    selector: dict[str, Any], namespace: str, labels: dict[str, str], selected: bool
) -> None:
    chosen = policy(selector=selector)
    assert in_force([chosen], namespace, Labels(labels), Status()) == ((chosen,) if selected else ())


PROD, TEST = {"tier": "prod"}, {"tier": "test"}
BEGAN = Status(phase=Phase.JUDGING, labels=PROD, namespace_labels=PROD)
LABELLED: list[tuple[str, dict[str, Any], Labels, Status, bool]] = [
    ("the namespace has it", {"namespaceLabels": PROD}, Labels({}, PROD), Status(), True),
    ("the namespace has another", {"namespaceLabels": PROD}, Labels(PROD, TEST), Status(), False),
    ("of both it has one", {"namespaceLabels": PROD, "matchLabels": PROD}, Labels({}, PROD), Status(), False),
    ("another namespace has it", {"namespaces": ["bank"], "namespaceLabels": PROD}, Labels({}, PROD), Status(), False),
    ("the plan lost it in mid-run", {"matchLabels": PROD}, Labels({}, {}), BEGAN, True),
    ("the plan has another since", {"matchLabels": PROD}, Labels(TEST, {}), BEGAN, True),
    ("the plan came into it in mid-run", {"matchLabels": TEST}, Labels(TEST, {}), BEGAN, True),
    ("the namespace lost it in mid-run", {"namespaceLabels": PROD}, Labels({}, {}), BEGAN, True),
    ("of neither time", {"matchLabels": {"tier": "dev"}}, Labels({}, {}), BEGAN, False),
    ("half of it then and half now", {"matchLabels": PROD | {"a": "b"}}, Labels({"a": "b"}, {}), BEGAN, False),
    ("that run has ended", {"matchLabels": PROD}, Labels({}, {}), change(BEGAN, phase=Phase.SUCCEEDED), False),
    ("another namespace in mid-run", {"namespaces": ["bank"], "matchLabels": PROD}, Labels({}, {}), BEGAN, False),
]


@pytest.mark.parametrize(
    ("selector", "labels", "status", "selected"), [row[1:] for row in LABELLED], ids=[row[0] for row in LABELLED]
)
def test_a_run_is_bound_by_the_labels_with_which_it_began(
    selector: dict[str, Any], labels: Labels, status: Status, selected: bool
) -> None:
    chosen = policy(selector=selector)
    assert in_force([chosen], "shop", labels, status) == ((chosen,) if selected else ())


def test_a_policy_by_labels_of_a_namespace_that_nobody_may_read_blocks_and_says_why() -> None:
    by_labels = policy(selector={"namespaceLabels": PROD})
    found = in_force([by_labels], "shop", Labels(PROD, None), Status())
    assert unreadable_policy(found) == (
        "whether policy production applies is not known, so the run waits: it selects by labels of the namespace, and "
        "the operator may not read those of shop: let it list and watch namespaces (the chart does), or select by "
        "namespaces"
    )
    assert in_force([by_labels], "shop", Labels({}, None), BEGAN) == (by_labels,)
    assert in_force([policy(selector={"namespaces": ["bank"], "namespaceLabels": PROD})], "shop", Labels({}, None),
                    Status()) == ()  # fmt: skip


def test_a_run_keeps_a_bounded_number_of_labels_and_those_of_policies_first() -> None:
    many = {f"a{number:03}": "x" for number in range(500)} | PROD
    found = kept(Labels(many, many), [policy(selector={"matchLabels": PROD})])
    assert found.namespace is not None
    assert len(found.plan) == len(found.namespace) == LABELS_KEPT
    assert found.plan.items() >= PROD.items()
    assert kept(Labels(PROD, None), []) == Labels(PROD, None)


# ---- focus ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("focus", "written", "places"),
    [
        ("Balanced", 3, 3),
        ("Stability", 1, 1),
        ("Stability", 3, 2),
        ("Stability", 4, 2),
        ("Throughput", 1, 2),
        ("Throughput", 3, 6),
    ],
)
def test_focus_scales_the_places(focus: str, written: int, places: int) -> None:
    assert concurrency_groups([policy(maxConcurrent=written, focus=focus)], "shop") == {"policy production": places}


FOCUSES = [
    ((), 1),
    (("Balanced",), 1),
    (("Throughput",), 1),
    (("Stability",), 2),
    (("Throughput", "Stability"), 2),
    (("Stability", "Stability"), 2),
]


@pytest.mark.parametrize(("focuses", "factor"), FOCUSES)
def test_counts_never_leave_more_doubt_than_written(focuses: tuple[str, ...], factor: int) -> None:
    assert doubt_factor([BROKEN, *(policy(focus=focus) for focus in focuses)], None) == Fraction(1, factor)


@pytest.mark.parametrize(("focuses", "factor"), FOCUSES)
def test_one_policy_whose_focus_is_stability_is_enough(focuses: tuple[str, ...], factor: int) -> None:
    assert wants_stability([BROKEN, *(policy(focus=focus) for focus in focuses)]) == (factor > 1)


@pytest.mark.parametrize("stability", [True, None])
@pytest.mark.parametrize("now", ["Stability", "Balanced"])
def test_a_soak_that_has_begun_keeps_its_doubt(stability: bool | None, now: str) -> None:
    stage = StageStatus(name="canary", index=0, soak_until=NOW, stability=stability)
    assert doubt_factor([policy(focus=now)], stage) == Fraction(1, 2 if stability else 1)


# ---- whose turn it is ----------------------------------------------------------------------------


def test_every_policy_is_a_line_of_its_own_and_a_lock_group_is_one_for_all() -> None:
    policies = [
        policy("a", maxConcurrent=3, focus="Throughput"),
        policy("b", maxConcurrent=3, lockGroup="payments"),
        policy("c", lockGroup="payments"),
        policy("d"),
        BROKEN,
    ]
    assert concurrency_groups(policies, "shop") == {"policy a": 6, "policy b": 3, "lock group payments": 1}


def peer(name: str, at: At, age: int = 0, *lines: str) -> QueueEntry:
    """A plan in these lines, or in the first alone; the greater the age, the earlier it was created."""
    return QueueEntry(f"shop/{name}", frozenset(lines or ("policy a",)), at, NOW - age * MINUTE, uid=name)


def wait_for_place(me: QueueEntry, places: dict[str, int], others: list[QueueEntry]) -> str:
    """What a plan waits for that sees these others."""
    return queue_position(me.at, places, queues(me, others))


TURNS: list[tuple[str, int, QueueEntry, list[QueueEntry], str]] = [
    ("nobody else", 1, peer("m", "waiting"), [], ""),
    ("a place is left", 2, peer("m", "waiting"), [peer("a", "running")], ""),
    (
        "the only place is taken",
        1,
        peer("m", "waiting"),
        [peer("a", "running")],
        "1st in the queue for a place in policy a (1 of 1 is taken: shop/a)",
    ),
    (
        "one that is starting takes a place",
        2,
        peer("m", "waiting"),
        [peer("b", "starting"), peer("a", "running")],
        "1st in the queue for a place in policy a (2 of 2 are taken: shop/a, shop/b)",
    ),
    (
        "an elder goes first",
        1,
        peer("m", "waiting"),
        [peer("a", "waiting", 5)],
        "2nd in the queue for a place in policy a (0 of 1 are taken)",
    ),
    ("a younger one waits behind", 1, peer("m", "waiting", 5), [peer("a", "waiting")], ""),
    (
        "of the same age the lesser uid is the elder",
        1,
        peer("m", "waiting"),
        [peer("a", "waiting")],
        "2nd in the queue for a place in policy a (0 of 1 are taken)",
    ),
    ("of the same age the greater uid is the younger", 1, peer("m", "waiting"), [peer("z", "waiting")], ""),
    (
        "the age of those that run does not count",
        1,
        peer("m", "waiting", 5),
        [peer("a", "running")],
        "1st in the queue for a place in policy a (1 of 1 is taken: shop/a)",
    ),
    ("an elder leaves a place", 2, peer("m", "waiting"), [peer("a", "waiting", 5)], ""),
    (
        "only elders that wait stand before it",
        3,
        peer("m", "waiting"),
        [peer("r", "running"), peer("a", "waiting", 2), peer("b", "waiting", 1), peer("z", "waiting")],
        "3rd in the queue for a place in policy a (1 of 3 is taken: shop/r)",
    ),
    (
        "more run than may since the policy was tightened",
        1,
        peer("m", "waiting"),
        [peer("a", "running"), peer("b", "running")],
        "1st in the queue for a place in policy a (2 of 1 are taken: shop/a, shop/b)",
    ),
    ("starting: a place is left", 2, peer("m", "starting"), [peer("a", "running")], ""),
    ("starting: elders that wait come behind", 1, peer("m", "starting"), [peer("a", "waiting", 5)], ""),
    (
        "starting: an elder started beside it",
        1,
        peer("m", "starting"),
        [peer("a", "starting", 5)],
        "1st in the queue for a place in policy a (1 of 1 is taken: shop/a)",
    ),
    ("starting: a younger one started beside it", 1, peer("m", "starting", 5), [peer("a", "starting")], ""),
    (
        "starting: another runs meanwhile",
        1,
        peer("m", "starting", 5),
        [peer("a", "running")],
        "1st in the queue for a place in policy a (1 of 1 is taken: shop/a)",
    ),
    ("running: it has its place", 1, peer("m", "running"), [peer("a", "running", 5)], ""),
    ("another line", 1, peer("m", "waiting"), [peer("a", "running", 0, "policy b")], ""),
]


@pytest.mark.parametrize(("places", "me", "peers", "words"), [row[1:] for row in TURNS], ids=[row[0] for row in TURNS])
def test_whose_turn_it_is(places: int, me: QueueEntry, peers: list[QueueEntry], words: str) -> None:
    assert wait_for_place(me, {"policy a": places}, peers) == words


def of(namespace: str, name: str, at: At, age: int = 0) -> QueueEntry:
    return replace(peer(name, at, age), key=f"{namespace}/{name}")


def test_places_go_around_the_namespaces() -> None:
    """A namespace with many old plans takes one turn after the other, as every other one does."""
    many = [of("bank", f"b{i}", "waiting", 100 - i) for i in range(5)]
    few = [of("shop", "s0", "waiting", 2), of("shop", "s1", "waiting", 1), of("pay", "p0", "waiting")]
    waiting, order = [*many, *few], list[str]()
    places = {each.key: queues(each, [other for other in waiting if other is not each]) for each in waiting}
    order = sorted(places, key=lambda key: places[key]["policy a"].ahead)
    assert order == ["bank/b0", "shop/s0", "pay/p0", "bank/b1", "shop/s1", "bank/b2", "bank/b3", "bank/b4"]


def test_a_namespace_that_has_places_waits_for_those_that_have_none() -> None:
    waiting = [of("bank", "b0", "waiting", 100), of("shop", "s0", "waiting")]
    running = [of("bank", f"r{i}", "running", 200) for i in range(2)]
    ahead = [
        queues(each, [*running, *(other for other in waiting if other is not each)])["policy a"].ahead
        for each in waiting
    ]
    assert ahead == [1, 0]


def test_a_namespace_has_places_of_its_own() -> None:
    policies = [policy("a", maxConcurrent=9, maxConcurrentPerNamespace=2, focus="Stability")]
    assert concurrency_groups(policies, "shop") == {"policy a": 5, "policy a in namespace shop": 1}
    assert concurrency_groups(policies, "bank") == {"policy a": 5, "policy a in namespace bank": 1}


def test_a_held_run_keeps_its_place_for_the_shortest_time_that_a_policy_says() -> None:
    assert release_after([policy(maxConcurrent=1), policy("b", releaseAfter="1h")], "shop") is None
    policies = [
        policy("a", maxConcurrent=1, releaseAfter="2h"),
        policy("b", lockGroup="x", releaseAfter="1h"),
        BROKEN,
    ]
    assert release_after(policies, "shop") == (timedelta(hours=1), "lock group x")


def test_every_line_must_have_a_place() -> None:
    lines = ("policy a", "lock group payments")
    me, other = peer("m", "waiting", 0, *lines), peer("o", "running", 0, "lock group payments")
    words = wait_for_place(me, {"policy a": 3, "lock group payments": 1}, [other])
    assert words == "1st in the queue for a place in lock group payments (1 of 1 is taken: shop/o)"


def test_at_most_five_are_named_and_always_the_same() -> None:
    holders = [peer(f"p{i}", "running") for i in range(8)]
    words = "(8 of 8 are taken: shop/p0, shop/p1, shop/p2, shop/p3, shop/p4, and 3 more)"
    for peers in (holders, holders[::-1]):
        assert wait_for_place(peer("m", "waiting"), {"policy a": 8}, peers).endswith(words)


@pytest.mark.parametrize(
    ("before", "place"),
    [
        (0, "1st"),
        (1, "2nd"),
        (2, "3rd"),
        (3, "4th"),
        (10, "11th"),
        (11, "12th"),
        (12, "13th"),
        (20, "21st"),
        (110, "111th"),
    ],
)
def test_the_place_in_line(before: int, place: str) -> None:
    elders = [peer(f"e{i}", "waiting", 1 + i) for i in range(before)]
    words = wait_for_place(peer("m", "waiting"), {"policy a": 1}, [peer("r", "running"), *elders])
    assert words.startswith(f"{place} in the queue for")


@given(st.lists(st.tuples(st.sampled_from(["waiting", "starting", "running"]), st.integers(0, 5))), st.integers(1, 4))
def test_when_all_look_at_once_as_many_go_as_there_are_places(plans: list[tuple[At, int]], places: int) -> None:
    peers = [peer(f"p{i:03}", at, age) for i, (at, age) in enumerate(plans)]
    running = sum(each.at == "running" for each in peers)
    going = [
        each
        for each in peers
        if each.at != "running" and not wait_for_place(each, {"policy a": places}, [p for p in peers if p is not each])
    ]
    assert len(going) == min(len(peers) - running, max(0, places - running))


# ---- what is frozen ------------------------------------------------------------------------------


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def wall(text: str, zone: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def weekly(begin: str, end: str, zone: str = "UTC") -> dict[str, Any]:
    return {"weekly": {"from": begin, "to": end}, "timeZone": zone}


def daily(begin: str, end: str, zone: str = "UTC") -> dict[str, Any]:
    return {"daily": {"from": begin, "to": end}, "timeZone": zone}


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"

SPANS: list[tuple[str, dict[str, Any], datetime, datetime]] = [
    ("a night", daily("22:00", "06:00"), utc("2026-11-20T22:00"), utc("2026-11-21T06:00")),
    ("a lunch", daily("12:00", "13:00"), utc("2026-11-20T12:00"), utc("2026-11-20T13:00")),
    ("up to midnight", daily("20:00", "00:00"), utc("2026-11-20T20:00"), utc("2026-11-21T00:00")),
    ("over the year's end", daily("22:00", "06:00"), utc("2026-12-31T22:00"), utc("2027-01-01T06:00")),
    ("a night elsewhere", daily("22:00", "06:00", NEW_YORK), utc("2026-11-21T03:00"), utc("2026-11-21T11:00")),
    ("all but an hour", daily("13:00", "12:00"), utc("2026-11-20T13:00"), utc("2026-11-21T12:00")),
    ("a weekend", weekly("Fri 16:00", "Mon 08:00", BERLIN), utc("2026-11-20T15:00"), utc("2026-11-23T07:00")),
    ("a Friday", weekly("Fri 00:00", "Sat 00:00"), utc("2026-11-20T00:00"), utc("2026-11-21T00:00")),
    ("over the week's end", weekly("Sun 23:00", "Mon 01:00"), utc("2026-11-22T23:00"), utc("2026-11-23T01:00")),
    ("all but a day", weekly("Wed 00:00", "Tue 00:00"), utc("2026-11-18T00:00"), utc("2026-11-24T00:00")),
    (
        "once",
        {"from": "2026-12-20T00:00:00Z", "to": "2027-01-02T00:00:00+01:00"},
        utc("2026-12-20T00:00"),
        utc("2027-01-01T23:00"),
    ),
    # summer time begins on 2026-03-29 at 01:00 UTC and ends on 2026-10-25 at 01:00 UTC in Berlin
    ("a shorter weekend", weekly("Fri 16:00", "Mon 08:00", BERLIN), utc("2026-03-27T15:00"), utc("2026-03-30T06:00")),
    ("a longer weekend", weekly("Fri 16:00", "Mon 08:00", BERLIN), utc("2026-10-23T14:00"), utc("2026-10-26T07:00")),
    ("a night of 7 hours", daily("22:00", "06:00", BERLIN), utc("2026-03-28T21:00"), utc("2026-03-29T04:00")),
    ("a night of 9 hours", daily("22:00", "06:00", BERLIN), utc("2026-10-24T20:00"), utc("2026-10-25T05:00")),
    ("begins in a skipped hour", daily("02:30", "04:00", BERLIN), utc("2026-03-29T01:00"), utc("2026-03-29T02:00")),
    ("ends in a skipped hour", daily("01:00", "02:30", BERLIN), utc("2026-03-29T00:00"), utc("2026-03-29T01:00")),
    ("begins in a double hour", daily("02:30", "04:00", BERLIN), utc("2026-10-25T00:30"), utc("2026-10-25T03:00")),
    ("ends in a double hour", daily("01:00", "02:30", BERLIN), utc("2026-10-24T23:00"), utc("2026-10-25T01:30")),
    ("lies in a double hour", daily("02:15", "02:45", BERLIN), utc("2026-10-25T00:15"), utc("2026-10-25T01:45")),
    # half an hour on 2026-10-04 at 15:30 UTC the day before, and back on 2026-04-05 at 15:00 UTC the day before
    ("a skipped half hour", daily("02:15", "03:00", LORD_HOWE), utc("2026-10-03T15:30"), utc("2026-10-03T16:00")),
    ("a double half hour", daily("01:45", "02:30", LORD_HOWE), utc("2026-04-04T14:45"), utc("2026-04-04T16:00")),
]  # fmt: skip


@pytest.mark.parametrize(("window", "begin", "end"), [row[1:] for row in SPANS], ids=[row[0] for row in SPANS])
def test_when_a_window_is_on(window: dict[str, Any], begin: datetime, end: datetime) -> None:
    policies = [freeze(window)]
    on = Freeze(f"policy production: quiet, until {end:%Y-%m-%dT%H:%M:%SZ}", end)
    assert longest_freeze(policies, begin - MINUTE) is None
    assert next_change(policies, begin - MINUTE) == begin
    assert (
        longest_freeze(policies, begin)
        == longest_freeze(policies, begin + (end - begin) / 2)
        == longest_freeze(policies, end - MINUTE)
        == on
    )
    assert next_change(policies, begin) == next_change(policies, end - MINUTE) == end
    assert longest_freeze(policies, end) is None


def test_a_window_in_a_skipped_hour_is_left_out_that_day() -> None:
    policies = [freeze(daily("02:10", "02:50", BERLIN))]
    assert next_change(policies, wall("2026-03-28T03:00", BERLIN)) == wall("2026-03-30T02:10", BERLIN)


def test_the_words_say_what_is_frozen_and_until_when() -> None:
    weekend = {"reason": "weekend", **weekly("Fri 16:00", "Mon 08:00", BERLIN)}
    assert longest_freeze([freeze(weekend)], utc("2026-11-21T12:00")) == Freeze(
        "policy production: weekend, until 2026-11-23T07:00:00Z", utc("2026-11-23T07:00")
    )
    assert longest_freeze([freeze(weekend, now="incident 4711")], utc("2026-11-21T12:00")) == Freeze(
        "policy production: incident 4711", None
    )


def test_of_several_freezes_the_one_that_lasts_longest_is_named() -> None:
    short, long = daily("11:00", "13:00"), daily("10:00", "14:00")
    for policies in ([freeze(short, long)], [freeze(long), freeze(short)], [BROKEN, freeze(short), freeze(long)]):
        found = longest_freeze(policies, NOW)
        assert found
        assert found.until == utc("2026-11-20T14:00")
    for_ever = longest_freeze([freeze(long), freeze(name="b", now="incident"), freeze(short)], NOW)
    assert for_ever == Freeze("policy b: incident", None)


def test_without_windows_nothing_changes_by_itself() -> None:
    gone = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    assert next_change([], NOW) is None
    assert next_change([BROKEN, policy(), freeze(gone, now="incident")], NOW) is None
    assert longest_freeze([BROKEN, policy(), freeze(gone)], NOW) is None


ZONES = [BERLIN, NEW_YORK, LORD_HOWE, "UTC", "Asia/Kolkata", "America/St_Johns", "Africa/Casablanca", "Pacific/Chatham"]
CLOCKS = st.times().map(lambda time: time.strftime("%H:%M"))
BEGIN_AND_END = st.tuples(CLOCKS, CLOCKS).filter(lambda pair: pair[0] != pair[1])
WEEK_TIMES = st.builds("{} {}".format, st.sampled_from(DAYS), CLOCKS)
INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC by timezones


@given(BEGIN_AND_END, st.sampled_from(ZONES), INSTANTS)
def test_a_daily_window_is_what_the_clock_on_the_wall_says(times: tuple[str, str], zone: str, now: datetime) -> None:
    """But for the day on which the clock is put back, when it may last longer, and never shorter."""
    begin, end = times
    shown = now.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    on = begin <= shown < end if begin < end else not end <= shown < begin
    if (longest_freeze([freeze(daily(begin, end, zone))], now) is not None) != on:
        before, after = ((now + hours * timedelta(hours=3)).astimezone(ZoneInfo(zone)).utcoffset() for hours in (-1, 1))
        assert not on
        assert before and after and after < before


@given(WEEK_TIMES, WEEK_TIMES, st.sampled_from(ZONES), BEGIN_AND_END, INSTANTS, st.floats(0, 0.999))
def test_nothing_changes_before_the_next_change(
    begin: str, end: str, zone: str, times: tuple[str, str], now: datetime, part: float
) -> None:
    windows = [daily(*times, zone), *([weekly(begin, end, zone)] if begin != end else [])]
    policies = [freeze(*windows)]
    change = next_change(policies, now)
    assert change
    assert now < change <= now + timedelta(days=3)
    assert longest_freeze(policies, now) == longest_freeze(policies, now + part * (change - now))


# ---- what cannot be read -------------------------------------------------------------------------


def test_a_policy_that_cannot_be_read_says_so_with_the_fix() -> None:
    assert unreadable_policy([policy(), policy("b")]) == ""
    assert unreadable_policy([policy(), BROKEN, PolicyView("other", None, "?")]) == (
        "policy broken is invalid, so the run waits: correct or delete it: "
        "spec.focus: 'Speed' is not one of the choices"
    )
