"""The operator's clock: steps of the machine's clock do not move it before the API server agrees."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from structlog.testing import capture_logs

from rolloutplan.clock import FAR, Clock

HOUR = 3600.0
START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Machine:
    """A machine whose clock can be set, beside an API server with a clock of its own. Times are in seconds."""

    def __init__(self, wall: float = 0.0) -> None:
        """`wall` is by how much its clock is ahead of the true time."""
        self.true, self.wall, self.server = START, wall, 0.0
        self.clock = Clock(lambda: self.true + self.wall, lambda: self.true - START)

    def answered(self, took: float = 0.01, source: float | None = None) -> None:
        """The API server answers half way through a request of so many seconds.

        Or a metric source, whose clock is ahead of the true time by `source`.
        """
        sent = self.true - START
        self.true += took / 2
        shown = self.true + (self.server if source is None else source)
        date = format_datetime(datetime.fromtimestamp(int(shown), UTC), usegmt=True)
        self.true += took / 2
        take = self.clock.compare if source is None else self.clock.confirm
        take(date, sent, self.true - START)

    def lives(self, seconds: float) -> None:
        """A request every two seconds, as the Lease needs them."""
        for _ in range(int(seconds / 2)):
            self.true += 2
            self.answered()

    @property
    def off(self) -> float:
        """By how much the operator's clock is ahead of the true time."""
        return self.clock.now().timestamp() - self.true


@pytest.mark.parametrize("wall", [-HOUR, -600, -61, 61, 600, HOUR])
def test_a_machine_that_starts_with_a_wrong_clock_goes_by_the_api_server(wall: float) -> None:
    machine = Machine(wall)
    with capture_logs() as logs:
        machine.answered()
        assert abs(machine.off) <= 1
        machine.lives(300)
    assert abs(machine.off) <= 1
    assert [line["log_level"] for line in logs] == ["warning"], "it is told once"
    assert abs(logs[0]["ahead"] - wall) <= 1.1
    assert abs(machine.clock.ahead - wall) <= 1.1


@pytest.mark.parametrize("step", [-HOUR, -20, -3, 3, 20, HOUR])
def test_a_step_of_the_machines_clock_moves_nothing_while_the_api_server_does_not_agree(step: float) -> None:
    machine = Machine()
    machine.lives(10)
    machine.wall = step
    assert abs(machine.off) < 0.01
    machine.lives(300)
    assert abs(machine.off) <= (3.01 if abs(step) == 3 else 1), "so little is followed"


def test_a_clock_that_was_set_right_is_followed_again() -> None:
    machine = Machine(20)
    machine.lives(10)
    assert machine.off == pytest.approx(20), "so little is only a delay"
    machine.wall = 0
    machine.lives(2)
    assert abs(machine.off) < 0.01


def test_small_corrections_are_followed() -> None:
    machine = Machine()
    for _ in range(100):
        machine.true += 10
        machine.wall += 0.5
        assert abs(machine.off - machine.wall) < 0.01


@pytest.mark.parametrize("took", [0.0, 3.0, 25.0, 90.0])
def test_a_slow_answer_says_nothing_against_a_clock(took: float) -> None:
    machine = Machine()
    with capture_logs() as logs:
        for _ in range(10):
            machine.answered(took)
    assert (machine.clock.ahead, logs) == (0.0, [])


def test_one_api_server_of_several_with_a_wrong_clock_is_not_believed() -> None:
    machine = Machine()
    with capture_logs() as logs:
        for turn in range(300):
            machine.server = -600 if turn % 3 else 0
            machine.lives(2)
            assert abs(machine.off) < 0.01
    assert logs == []


def test_an_api_server_alone_is_believed_only_when_it_has_differed_for_a_minute() -> None:
    machine = Machine()
    machine.lives(10)
    machine.server = 2 * FAR
    machine.lives(50)
    assert abs(machine.off) < 0.01
    machine.lives(20)
    assert abs(machine.off - 2 * FAR) <= 1


@pytest.mark.parametrize("off", [-600, 600])
@pytest.mark.parametrize("source", [False, True])
def test_an_api_server_with_a_wrong_clock_is_not_believed_where_the_metric_source_agrees_with_the_machine(
    off: float, source: bool
) -> None:
    machine = Machine()
    machine.server = off
    machine.answered()
    for _ in range(100):
        machine.lives(10)
        if source:
            machine.answered(source=0)
    assert abs(machine.off - (0 if source else off)) <= 1
    assert abs(machine.clock.ahead + off) <= 1.1, "it is told all the same"


def test_a_metric_source_alone_moves_nothing() -> None:
    machine = Machine()
    for _ in range(100):
        machine.lives(10)
        machine.answered(source=600)
        assert abs(machine.off) < 0.01


def test_a_machine_with_a_wrong_clock_goes_by_the_api_server_beside_a_metric_source() -> None:
    machine = Machine(-600)
    for _ in range(100):
        machine.lives(10)
        machine.answered(source=0)
        assert abs(machine.off) <= 1


@pytest.mark.parametrize("date", ["", "now", "Sun, 99 Nov 2026 09:42:32 GMT"])
def test_a_date_that_cannot_be_read_says_nothing(date: str) -> None:
    machine = Machine()
    machine.clock.compare(date, 0, 0)
    assert machine.off == 0


def test_a_metric_source_that_agreed_is_believed_until_it_contradicts() -> None:
    """Silence is no contradiction: plans at rest ask nothing, and the clock does not jump to and fro for that."""
    machine = Machine()
    machine.server = 600
    machine.answered(source=0)
    machine.lives(300)
    assert abs(machine.off) <= 1
    machine.answered(source=600)
    machine.lives(300)
    assert abs(machine.off - 600) <= 1
