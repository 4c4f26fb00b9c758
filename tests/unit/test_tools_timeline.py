"""The timeline that a plan would take: exact times of a handful of plans, and that the engine keeps to them."""

from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.detection import NEVER, Assumed, DetectionTime
from rolloutplan.tools.fault import read_fault
from rolloutplan.tools.timeline import EndedBy, Segment, Timeline, timeline
from tests.refusals import GONE, JOB, changed
from tests.situations import m, s
from tests.world import PLAN, SOURCE, World

EVENTS = {"bad": 'bad{deployment="$deployment"}', "total": 'all{deployment="$deployment"}'}
RATIO = 'sum(rate(all{code="5",d="$deployment"}[$window])) / sum(rate(all{d="$deployment"}[$window]))'
"""A share of requests."""
COUNTED = {"name": "worse", "events": EVENTS, "vsOld": "> 1.5x"}
"""Looks are 15 s apart, as often as samples come."""


def of(
    changes: dict[str, Any] | None = None,
    traffic: Traffic | None = None,
    source: SourceView = SOURCE,
    fault: str = "all",
) -> Timeline:
    bad = traffic.bad if traffic is not None else 0.001
    return timeline(read_plan_spec(changed(PLAN, changes or {})), Assumed(source, read_fault(fault), bad, traffic))


def seconds(line: Timeline) -> dict[str, list[float]]:
    """Each stretch with its earliest and latest beginning, and its earliest and latest end."""
    return {each.name: [at.total_seconds() for at in (*each.begins, *each.ends)] for each in line.segments}


def test_a_plan_of_values() -> None:
    """Soaks of 3, 2 and 2 minutes, deadlines of 10, and 30 s at most for the gateway to take each weight."""
    assert of().ready == (s(0), m(5))
    assert seconds(of()) == {
        "canary": [0, 330, 180, 930],
        "half": [180, 960, 300, 1560],
        "all": [300, 1590, 420, 2190],
        "bake": [420, 2190, 720, 2490],
    }
    assert of().ends == (s(720), s(2490))


@pytest.mark.parametrize(
    ("promise", "changes", "stage", "took"),
    [
        ("a window that is longer than the soak is waited for", {"stages[0].pass[0].window": "4m"}, 0, (240, 600)),
        (
            "what must hold for a while is asked every interval until then",
            {"stages[0].pass[0].for": "25s"},
            0,
            (210, 600),
        ),
        ("without a soak the guards are heard first, over four scrapes", {"stages[1].soak": "0s"}, 1, (60, 600)),
        ("a short window is full soon", {"stages[1].soak": "0s", "guards[0].window": "20s"}, 1, (20, 600)),
        (
            "an answer that is asked for at the deadline is waited for",
            {"stages[0].soak": "3m", "stages[0].deadline": "3m"},
            0,
            (180, 185),
        ),
        ("counts alone need a second look", {"stages[0].soak": "0s", "stages[0].pass": [], "stages[0].fail": [],
                                             "guards": [COUNTED]}, 0, (15, 600)),
        ("a guard counts at each weight anew", {"stages[1].soak": "0s", "guards": [COUNTED]}, 1, (15, 600)),
        ("a proof of counts needs a second look", {"stages[0].soak": "0s", "stages[0].fail": [], "guards": [COUNTED],
         "stages[0].pass": [{**COUNTED, "name": "better", "vsOld": "< 2x"}]}, 0, (15, 600)),
    ],
)  # fmt: skip
def test_how_long_a_stage_takes(promise: str, changes: dict[str, Any], stage: int, took: tuple[int, int]) -> None:
    segment = of(changes).segments[stage]
    earliest, latest = (end - begin for begin, end in zip(segment.begins, segment.ends, strict=True))
    assert (earliest.total_seconds(), latest.total_seconds()) == took, promise
    assert not segment.late


def test_the_delay_of_the_source_is_waited_for() -> None:
    late = SourceView(scrape=s(15), delay=s(30), timeout=s(5))
    changes = {"stages[0].pass[0].window": "4m", "stages[1].soak": "0s"}
    canary, half, *_ = of(changes, source=late).segments
    assert canary.ends.earliest == m(4) + s(30)
    assert half.ends.earliest - half.begins.earliest == m(1) + s(30)
    assert canary.detections[0] == DetectionTime("errors", "guard", m(1) + s(36), m(2) + s(46), certain=False)


def test_the_last_weight_lasts_until_the_old_side_is_drained() -> None:
    *_, last, bake = of({"bake": "0s", "traffic.drain": "4m"}).segments
    assert bake.ends.earliest == last.begins.earliest + m(4)
    assert bake.ends.latest == last.ends.latest


def test_below_full_traffic_nothing_is_drained() -> None:
    changes = {"stages[2].weight": "80%", "stopAt": "80%", "bake": "0s", "traffic.drain": "4m"}
    *_, last, bake = of(changes).segments
    assert (bake.permille, bake.ends) == (800, last.ends)


def test_before_the_first_weight_every_assumption_and_every_addition_has_its_deadline() -> None:
    """1 m and 2 m with 5 s for the last answer, 10 m and 3 m for Jobs, 5 m for the replicas, 5 m to be ready."""
    probe = {"belief": "it is so", "impact": 1, "uncertainty": 1}
    value = {"query": "warm", "is": "> 0"}
    line = of(
        {
            "assumptions": [
                {**probe, "name": "a", "job": JOB, "deadline": "1m"},
                {**probe, "name": "b", "predicate": value, "deadline": "2m"},
            ],
            "expand": {"jobs": [{"name": "c", **JOB}, {"name": "d", **JOB, "deadline": "3m"}], "scale": {"new": 3}},
        }
    )
    assert line.ready == (s(0), m(26) + s(5))
    assert line.segments[0].begins == (s(0), m(26) + s(35))


def test_after_the_bake_every_part_of_the_contract_has_its_deadline() -> None:
    """5 m for the replicas, 10 m and 3 m for Jobs; nothing is judged meanwhile."""
    jobs = [{"name": "c", **JOB}, {"name": "d", **JOB, "deadline": "3m"}]
    line = of({"contract": {"approval": "Required", "scaleOld": 0, "jobs": jobs}})
    assert line.contract is not None
    assert line.contract == Segment("contract", 1000, of().ends, line.ends, approval=True)
    assert (line.ends, line.approvals) == ((s(720), s(2490) + m(18)), ("contract",))


def test_a_stage_that_waits_for_a_person_says_so() -> None:
    line = of({"stages[1].approval": "Required"})
    assert [segment.approval for segment in line.segments] == [False, True, False, False]


def test_a_stage_that_cannot_be_proved_in_its_time_says_by_what() -> None:
    canary, half, *_ = of({"stages[0].pass[0].window": "11m"}).segments
    assert canary.late == ("hits",)
    assert (canary.ends, half.late) == ((m(10), s(330) + m(10)), ())


SLOW = {"name": "slow", "query": "slow", "is": "> 300"}


def test_a_stage_after_one_that_may_warn_comes_half_way_first_at_the_latest() -> None:
    line = of({"stages[0].warn": [SLOW], "stages[1].approval": "Required"})
    assert seconds(line) == {
        "canary": [0, 330, 180, 930],
        "half half way": [180, 960, 180, 1560],
        "half": [180, 1590, 300, 2190],
        "all": [300, 2220, 420, 2820],
        "bake": [420, 2820, 720, 3120],
    }
    half = line.segments[1]
    assert (half.permille, half.conditional, half.approval, line.approvals) == (275, True, True, ("half",))
    assert [detection.predicate for detection in line.segments[0].detections] == ["errors", "wrong"], (
        "what warns takes nothing back"
    )
    assert line.segments[0].queries == 24, "and is asked like the others"


@pytest.mark.parametrize(
    "changes",
    [
        {"stages[2].warn": [SLOW]},
        {"stages[0].warn": [{**SLOW, "dryRun": True}]},
        {"stages[0].warn": [SLOW], "stages[1].weight": "5.1%"},
    ],
    ids=["the last", "a dry run", "no permille between"],
)
def test_where_nothing_can_be_halved_nothing_is_counted(changes: dict[str, Any]) -> None:
    assert [segment.name for segment in of(changes).segments] == ["canary", "half", "all", "bake"]


def test_a_run_that_is_warned_everywhere_ends_within_its_latest_time() -> None:
    changes = {f"stages[{i}].warn": [{**SLOW, "name": f"slow{i}"}] for i in range(3)}
    world = World()
    start = world.now
    world.says |= {f"slow{i}": 512.0 for i in range(3)}
    world.edit(changes)
    world.until(Phase.SUCCEEDED)
    assert [d.weight_to for d in world.trail.values() if d.reason == "WeightShifted"] == [
        "5%", "27.5%", "50%", "75%", "100%",
    ]  # fmt: skip
    assert of(changes).ends.earliest < world.now - start <= of(changes).ends.latest


def test_a_dry_run_takes_no_time_and_sees_no_fault_but_asks() -> None:
    changes = {
        "stages[0].pass": [],
        "stages[0].fail[0].dryRun": True,
        "guards[0].window": "20s",
        "stages[0].soak": "0s",
    }
    canary = of(changes).segments[0]
    assert ([detection.predicate for detection in canary.detections], canary.ends.earliest, canary.queries) == (
        ["errors"],
        s(20),
        12,
    )


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("promise", "predicate", "at_once", "later"),
    [
        ("four scrapes at once, then the whole window and an interval", {"window": "2m"}, 66, 136),
        ("a window of less than four scrapes", {"window": "20s"}, 26, 36),
        ("held for three looks", {"window": "2m", "for": "25s"}, 96, 166),
    ],
)
def test_how_long_a_fault_stands_that_a_value_shows(
    promise: str, predicate: dict[str, Any], at_once: int, later: int
) -> None:
    """5 s for the answer and 1 s for the weights are in it."""
    changes = {"guards[0]": {"name": "errors", "query": RATIO, "is": "> 1%", **predicate}}
    assert of(changes).segments[1].detections == (DetectionTime("errors", "guard", s(at_once), s(later)),), promise
    changes["guards[0]"]["query"] = "errors[$window]"
    (unclear,) = of(changes).segments[1].detections
    assert (unclear.at_once, unclear.later, unclear.certain) == (s(at_once), s(later), False), "nobody knows what it is"


def test_slow_answers_are_not_asked_for_again_before_they_come() -> None:
    slow = SourceView(scrape=s(15), delay=s(0), timeout=s(20))
    assert of({"guards[0].for": "30s"}, source=slow).segments[1].detections[0].later == m(2) + s(20 + 40 + 20 + 1)


def test_each_stage_is_watched_by_the_guards_and_its_own_and_the_bake_by_the_guards() -> None:
    names = [[(detection.predicate, detection.role) for detection in segment.detections] for segment in of().segments]
    assert names == [[("errors", "guard"), ("wrong", "fail")], *[[("errors", "guard")]] * 3]


def fastest(segment: Segment) -> str:
    found = segment.fastest("later")
    return "" if found is None or found.later is NEVER else found.predicate


def test_the_fastest_is_who_finds_a_fault_first() -> None:
    """Whoever certainly shows it comes before those of which nobody can say, and they before those that need a rate."""
    share = {"name": "share", "query": RATIO, "is": "> 1%", "window": "5m"}
    assert fastest(of().segments[0]) == "wrong"
    assert fastest(of({"stages[0].fail[0].window": "3m"}).segments[0]) == "errors"
    assert fastest(of({"stages[0].fail": [share]}).segments[0]) == "share"
    assert fastest(of({"stages[0].fail": [COUNTED]}).segments[0]) == "errors"
    assert fastest(of({"guards": [{**COUNTED, "vsOld": None, "is": "> 1%"}]}).segments[1]) == "worse"
    assert fastest(of({"guards": [COUNTED]}).segments[-1]) == "", "nobody is left to compare with"
    assert of({"guards": GONE, "stages[1].fail": [COUNTED], "stages[2].fail": [{**COUNTED, "name": "worst"}]})\
        .segments[-1].fastest("later") is None  # fmt: skip


def test_counts_are_forecast_where_the_traffic_is_known() -> None:
    """A look before the test's own, and 6 s behind it. What comes later takes longer, for the good looks before it."""
    changes = {"guards": [COUNTED], "stages[0].fail": []}
    unknown = of(changes).segments[0].detections[0]
    assert unknown == DetectionTime("worse", "guard", None, None)
    line = of(changes, Traffic(1000, 0, 0.002), fault="3x")
    found = [(each.detections[0].at_once, each.detections[0].later) for each in line.segments]
    assert found[0][0] == s(15 + 6 * 15 + 6)
    assert all(later is not None and at_once is not None and later >= at_once for at_once, later in found)
    assert found[0][1] != found[0][0]
    assert found[2:] == [(NEVER, NEVER)] * 2, "at 100 % and in the bake"


@pytest.mark.parametrize(
    ("fault", "guard", "traffic", "found"),
    [
        ("10%", {"events": EVENTS, "is": "> 1%"}, 100, True),
        ("2x", {"events": EVENTS, "is": "> 1%"}, 100, False),
        ("2x", {"events": EVENTS, "is": "> 1%"}, None, False),
        ("10%", {"events": EVENTS, "is": "> 20%"}, 100, False),
        ("10%", {"events": EVENTS, "is": "> 20%"}, None, False),
        ("all", {"events": EVENTS, "is": "> 20%"}, 100, True),
        ("10%", {"events": EVENTS, "is": "> 1%"}, None, None),
        ("10%", {"events": EVENTS, "is": "< 95%"}, 100, True),
        ("2x", {"events": EVENTS, "vsOld": "> 1.5x"}, 1000, True),
        ("2x", {"events": EVENTS, "vsOld": "> 3x"}, 1000, False),
        ("1%", {"query": "RATIO", "is": "> 5%"}, None, False),
        ("10%", {"query": "RATIO", "is": "> 5%"}, None, True),
        ("2x", {"query": "RATIO", "vsOld": "> 1.5x"}, None, True),
        ("2x", {"query": "RATIO", "vsOld": "> 2x"}, None, False),
        ("all", {"query": "RATIO", "is": "> 5%", "minSamples": {"query": "n", "atLeast": 60}}, None, None),
        ("all", {"query": "RATIO", "is": "> 5%", "minSamples": {"query": "n", "atLeast": 60}}, 20, True),
        ("all", {"query": "RATIO", "is": "> 5%", "minSamples": {"query": "n", "atLeast": 61}}, 20, False),
    ],
)  # fmt: skip
def test_what_a_fault_of_a_size_is_found_by(
    fault: str, guard: dict[str, Any], traffic: float | None, found: bool | None
) -> None:
    """At 5 % of the traffic; None: that cannot be said without more."""
    asked = {**guard, "query": RATIO} if "query" in guard else guard
    changes = {"guards": [{"name": "g", **asked}], "stages[0].fail": []}
    rates = None if traffic is None else Traffic(traffic, 0, 0.001)
    canary = of(changes, rates, fault=fault).segments[0]
    times = [(each.at_once, each.later) for each in canary.detections]
    if found is None:
        assert times == [(None, None)]
    else:
        assert [NEVER not in each and None not in each for each in times] == [found], times


def test_too_few_samples_keep_a_stage_from_being_proved() -> None:
    """5 % of 20 requests/s are 60 a minute."""
    few = {"name": "g", "query": RATIO, "is": "> 5%", "minSamples": {"query": "n", "atLeast": 61}}
    canary = of({"guards": [few], "stages[0].pass": []}, Traffic(20, 0, 0.001)).segments[0]
    assert (canary.late, canary.ended_by, canary.shortest) == (("g",), EndedBy("deadline"), m(10))
    wide = {**few, "window": "5m", "minSamples": {"query": "n", "atLeast": 250}}
    canary = of({"guards": [wide], "stages[0].pass": []}, Traffic(20, 0, 0.001)).segments[0]
    assert (canary.late, canary.ended_by, canary.shortest) == ((), EndedBy("guard", "g"), s(250))
    assert canary.detections[0].at_once == s(250 + 6)


@pytest.mark.parametrize(
    ("changes", "ended_by"),
    [
        ({}, EndedBy("soak")),
        ({"stages[0].pass[0].window": "4m"}, EndedBy("pass", "hits")),
        ({"stages[0].pass[0].window": "11m"}, EndedBy("deadline")),
        ({"stages[0].soak": "0s", "stages[0].pass": []}, EndedBy("guard", "errors")),
        ({"stages[0].soak": "0s", "stages[0].pass": [], "guards": [COUNTED]}, EndedBy("fail", "wrong")),
    ],
)
def test_what_ends_a_stage_is_named(changes: dict[str, Any], ended_by: EndedBy) -> None:
    assert of(changes).segments[0].ended_by == ended_by


def test_a_bake_ends_by_itself_or_with_the_drain() -> None:
    assert of().segments[-1].ended_by == EndedBy("bake")
    assert of({"bake": "0s", "traffic.drain": "4m"}).segments[-1].ended_by == EndedBy("drain")


def test_a_stage_that_can_end_before_its_guard_has_found_a_fault_says_so() -> None:
    """Of 12 requests/s, 5 % show three times the usual share of 0.2 % in an hour, and the stage takes 3 minutes."""
    changes = {"guards": [COUNTED], "stages[0].fail": [], "stages[0].pass": []}
    canary, half, *_, bake = of(changes, Traffic(12, 0, 0.002), fault="3x").segments
    assert (canary.outpaced, half.outpaced, bake.outpaced) == (True, True, False), "never is not later"
    assert not of(changes, Traffic(12000, 0, 0.002), fault="3x").segments[0].outpaced


def test_a_proof_of_counts_takes_what_the_traffic_allows() -> None:
    better = {**COUNTED, "name": "better", "vsOld": "< 2x"}
    changes = {"stages[0].pass": [better], "stages[0].soak": "1m"}
    canary = of(changes, Traffic(1000, 0, 0.002)).segments[0]
    assert (canary.late, m(1) < canary.ends.earliest < m(10)) == ((), True)
    canary = of(changes, Traffic(12, 0, 0.002)).segments[0]
    assert (canary.late, canary.ends.earliest) == (("better",), m(10))


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, 18),  # errors, hits and wrong every 10 s
        ({"stages[0].pass[0].minSamples": {"query": "n", "atLeast": 5}}, 24),
        ({"stages[0].pass[0].is": GONE, "stages[0].pass[0].vsOld": "> 1.5x"}, 24),
        ({"guards": [COUNTED]}, 12 + 16),  # two counters of two sides every 15 s
        ({"guards": [{**COUNTED, "vsOld": None, "is": "> 1%"}]}, 12 + 8),
        ({"guards[0].query": "errors{$deployment}"}, 24),  # of the old side too
        ({"guards[0].query": "errors{$deployment}", "onIncident": {"action": "Rollback"}}, 18),
        ({"interval": "1m"}, 3),
    ],
)
def test_how_much_is_asked_a_minute(changes: dict[str, Any], asked: float) -> None:
    assert of(changes).segments[0].queries == asked


# ---- the engine keeps to it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stages[0].pass[0].window": "4m"},
        {"stages[0].pass[0].for": "25s"},
        {"stages[1].soak": "0s"},
        {"bake": "0s", "traffic.drain": "4m"},
        {"bake": "0s", "traffic.drain": "4m", "stages[2].weight": "80%", "stopAt": "80%"},
        {"contract": {"scaleOld": 0}},
    ],
)
def test_a_healthy_run_takes_the_earliest_times(changes: dict[str, Any]) -> None:
    world = World()
    start = world.now
    world.edit(changes)
    world.until(Phase.SUCCEEDED)
    verified = [d.at - start for d in world.trail.values() if d.reason == "WeightShifted"]
    line = of(changes)
    assert verified == [segment.begins.earliest for segment in line.segments[:-1]]
    assert world.now - start == line.ends.earliest


@pytest.mark.parametrize("changes", [{}, {"guards[0].for": "25s"}, {"guards[0].window": "20s"}])
def test_a_fault_from_the_first_moment_is_taken_back_when_it_says(changes: dict[str, Any]) -> None:
    world = World()
    world.edit(changes)
    world.until(Phase.JUDGING)
    since = world.now
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK)
    told = of(changes).segments[0].detections[0].at_once
    assert told is not None
    assert world.now - since == told - s(6)  # answers and writes take no time in this world


@pytest.mark.parametrize("changes", [{}, {"guards[0].for": "25s"}, {"guards[0].window": "20s"}])
@pytest.mark.parametrize("after", [1, 9, 30, 61, 65.5, 119, 170])
def test_a_later_fault_is_taken_back_no_later_than_it_says(changes: dict[str, Any], after: float) -> None:
    """The query shows it once its window lies wholly in it."""
    world = World()
    world.edit({**changes, "stages[0].soak": "10m"})
    world.until(Phase.JUDGING)
    world.advance(s(after))
    since = world.now
    world.advance({"20s": s(20)}.get(changes.get("guards[0].window", ""), m(2)))
    world.says["errors"] = 0.5
    world.until(Phase.ROLLED_BACK)
    told = of(changes).segments[0].detections[0].later
    assert told is not None
    assert told - s(6) - s(10) <= world.now - since <= told - s(6)


SLOW = {"name": "slow", "query": "histogram_quantile(0.99, slow[$window])", "is": "> 0.5", "window": "1m"}
FAST = {"name": "fast", "query": "histogram_quantile(0.99, slow[$window])", "is": "< 0.5", "window": "2m"}


@pytest.mark.parametrize(
    ("what", "changes", "took"),
    [
        ("the first verdict of a guard", {"guards": [SLOW], "stages[0].pass": []}, (180, 600)),
        ("a longer warmup", {"guards": [SLOW], "stages[0].pass": [], "warmup": "150s", "stages[1].soak": "3m",
                             "stages[2].soak": "3m"}, (210, 600)),
        ("a pass predicate", {"guards": [SLOW], "stages[0].pass": [FAST]}, (240, 600)),
        ("what judges no latency", {"warmup": "2m"}, (180, 600)),
    ],
)  # fmt: skip
def test_a_warmup_is_waited_for(what: str, changes: dict[str, Any], took: tuple[int, int]) -> None:
    """The canary has a soak of 3 minutes and a warmup of 2, unless something else is said."""
    found = of({"stages[0].warmup": "2m", **changes}) if "warmup" not in changes else of(changes | SOAKS)
    begins, ends = found.segments[0].begins, found.segments[0].ends
    assert (ends.earliest - begins.earliest, ends.latest - begins.latest) == (s(took[0]), s(took[1])), what


SOAKS = {"stages[1].soak": "3m", "stages[2].soak": "3m"}


def test_a_fault_of_latency_from_the_first_moment_on_lasts_for_the_warmup_longer() -> None:
    slow = {"guards": [PLAN["guards"][0], SLOW], "stages[0].warmup": "2m"}
    (errors, warm), (_, cold) = (
        [each for each in of(changes).segments[0].detections if each.role == "guard"]
        for changes in (slow, {**slow, "stages[0].warmup": "0s"})
    )
    assert warm.at_once is not None
    assert cold.at_once is not None
    assert errors.at_once is not None
    assert warm.at_once == cold.at_once + m(2)
    assert warm.later == cold.later
