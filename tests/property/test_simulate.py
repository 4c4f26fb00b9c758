"""The engine keeps to what `simulate` says: a fault is taken back in time, and what it calls never stays never."""

from datetime import timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.stage import FULL
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.stats.verdict import Why
from rolloutplan.tools.detection import NEVER, Assumed
from rolloutplan.tools.fault import read_fault
from rolloutplan.tools.timeline import timeline
from tests.refusals import changed
from tests.repetition import times
from tests.situations import P, m, s
from tests.world import PLAN, SOURCE, World

BAD = 0.002
"""The usual share of bad requests."""
RATIO = 'sum(rate(all{code="5",d="$deployment"}[$window])) / sum(rate(all{d="$deployment"}[$window]))'
EVENTS = {"bad": 'bad{d="$deployment"}', "total": 'all{d="$deployment"}'}
STEP = s(10)
"""How exactly the world follows the weights."""
WATCHED = m(10)
"""How long it is watched that nothing happens."""
STARTED_WITHIN = m(30)
"""How long a run may take to its place in the plan."""

COMPARISONS = st.sampled_from(
    [{"is": "> 1%"}, {"is": "> 8%"}, {"is": "> 30%"}, {"vsOld": "> 1.5x"}, {"vsOld": "> 4x"}, {"vsOld": "> +100%"}]
)
WINDOWS = st.sampled_from(["20s", "1m", "3m"])
VALUES = st.builds(
    lambda comparison, window, for_: {"query": RATIO, **comparison, "window": window, **for_},
    COMPARISONS,
    WINDOWS,
    st.sampled_from([{}, {"for": "25s"}]),
)
COUNTS = st.builds(lambda comparison: {"events": EVENTS, **comparison}, COMPARISONS)
GUARDS = st.lists(st.one_of(VALUES, COUNTS), min_size=1, max_size=3)


class Service:
    """Two sides with so many requests a second, and what a source says of them."""

    def __init__(
        self, guards: list[dict[str, Any]], weights: list[int], place: int, rate: float, *, holdback: bool
    ) -> None:
        self.guards = [{"name": f"g{i}", **guard} for i, guard in enumerate(guards)]
        stages = [
            {"name": f"s{i}", "weight": f"{weight}%", "soak": "8h" if i == place else "90s", "deadline": "10h"}
            for i, weight in enumerate(weights)
        ]
        below = {} if weights[-1] == 100 else {"stopAt": f"{weights[-1]}%"}
        bake: dict[str, Any] = {"bake": "8h" if place == len(weights) else "0s"}
        if holdback:
            bake = {"bake": {"for": bake["bake"], "holdback": "2%"}}
        self.spec = changed(PLAN, {"guards": self.guards, "stages": stages, **below, **bake})
        self.world, self.rate, self.bad, self.shown = World(spec=self.spec), rate, BAD, {"weight": -1.0, "bad": -1.0}

    @property
    def taken_back(self) -> bool:
        return self.world.phase is P.ROLLED_BACK

    def follow(self, faulty: timedelta) -> None:
        """Let the source say what it would, `faulty` after the fault began."""
        world = self.world
        share = world.weights()[0]["v2"] / sum(world.weights()[0].values())
        new, old = self.rate * share, self.rate * (1 - share)
        for guard in self.guards:
            if "events" in guard and self.shown != {"weight": share, "bad": self.bad}:
                world.counts(guard["name"], new=(new * self.bad, new), old=(old * BAD, old))
            elif "query" in guard:
                window = {"20s": s(20), "1m": m(1), "3m": m(3)}[guard["window"]]
                world.says[guard["name"]] = self.bad if faulty >= window else BAD
                world.says[f"{guard['name']}/old"] = BAD if old else Why.NO_DATA
        self.shown = {"weight": share, "bad": self.bad}

    def live(self, phase: P, stage: str | None = None, limit: timedelta = STARTED_WITHIN) -> bool:
        """Go on without a fault until it is there; returns whether it came to that."""
        end = self.world.now + limit
        while self.world.phase is not phase or (
            stage and self.world.status.stage and self.world.status.stage.name != stage
        ):
            if self.world.now > end:
                return False
            self.follow(timedelta(0))
            self.world.advance(STEP)
        return True


@settings(max_examples=times(7), deadline=None)
@given(
    guards=GUARDS,
    weights=st.sampled_from([[5, 50, 100], [20, 100], [100], [10, 80]]),
    place=st.integers(0, 3),
    rate=st.sampled_from([20.0, 200.0, 3000.0]),
    size=st.sampled_from(["all", "10%", "3x", "1%"]),
    after=st.sampled_from([0, 100, 1000]),
    holdback=st.booleans(),
)
def test_a_fault_is_taken_back_when_simulate_says_or_never(
    guards: list[dict[str, Any]], weights: list[int], place: int, rate: float, size: str, after: int, holdback: bool
) -> None:
    """The place is a stage, or the bake. With counts that take less than two looks more, for whole requests."""
    assume(place <= len(weights))
    holdback = holdback and weights[-1] == 100 and place == len(weights)
    service = Service(guards, weights, place, rate, holdback=holdback)
    fault = read_fault(size)
    line = timeline(read_plan_spec(service.spec), Assumed(SOURCE, fault, BAD, Traffic(rate, 0.0, BAD)))
    segment = line.segments[place]
    found = [each.later if after else each.at_once for each in segment.detections]
    assert None not in found
    assume(service.live(*((P.BAKING, None) if place == len(weights) else (P.JUDGING, f"s{place}"))))
    since = service.world.now + s(after)
    while service.world.now < since:
        service.follow(timedelta(0))
        service.world.advance(min(STEP, since - service.world.now))
    assert not service.taken_back, service.world.status.message
    service.bad = fault.bad_share(BAD)
    latest = min(each for each in found if each is not None)
    limit = WATCHED if latest is NEVER else latest + s(30) + STEP
    assume(limit < m(400))
    while not service.taken_back and service.world.now - since < limit:
        service.follow(m(60) if not after else service.world.now - since)
        service.world.advance(STEP)
    assert service.taken_back == (latest is not NEVER), service.world.status.message
    if segment.permille == FULL and all("vsOld" in guard for guard in guards):
        assert latest is NEVER
