"""A second in which something waited for a processor counts less, and never less than a third."""

import time
from pathlib import Path

import pytest

from tests.bed import Stopwatch, processes, until


@pytest.fixture
def pressure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel would say, and a clock that the test moves."""
    monkeypatch.setattr(processes, "_PRESSURE", tmp_path / "cpu")
    return tmp_path / "cpu"


def says(pressure: Path, waited: float) -> None:
    pressure.write_text(f"some avg10=1.00 avg60=1.00 avg300=1.00 total={waited * 1e6:.0f}\nfull avg10=0.00 total=0\n")


@pytest.mark.parametrize(("waited", "counts"), [(0.0, 30.0), (15.0, 20.0), (30.0, 10.0), (300.0, 10.0)])
def test_how_much_half_a_minute_counts(
    pressure: Path, monkeypatch: pytest.MonkeyPatch, waited: float, counts: float
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    says(pressure, 7.0)
    watch = Stopwatch()
    now[0] += 30.0
    says(pressure, 7.0 + waited)
    assert watch.seconds() == pytest.approx(counts)
    assert watch.pace() == pytest.approx(counts / 30)


def test_where_the_kernel_does_not_say_a_second_is_a_second(pressure: Path) -> None:
    watch = Stopwatch()
    time.sleep(0.05)
    assert watch.pace() == pytest.approx(1.0)


def test_what_does_not_come_is_waited_for_no_longer_than_that(pressure: Path) -> None:
    with pytest.raises(TimeoutError, match=r"nothing did not come within 0\.1 s"):
        until(lambda: False, 0.1, "nothing")
