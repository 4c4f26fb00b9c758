"""The same as tests/e2e/test_previous_version.py with a plan in every phase; `make ship-check ONLY=upgrade` runs it."""

from collections.abc import Callable
from pathlib import Path

from tests import previous, upgrades
from tests.bed import Bed
from tests.e2e.test_previous_version import older

__all__ = ["older"]


def test_a_plan_in_every_phase_goes_on(bed: Bed, older: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("previous version", previous.version())
    for what, seen in upgrades.change_versions(bed, older, upgrades.ALL):
        record_property(what, seen)
