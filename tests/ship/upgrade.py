"""Upgrades at length: a plan in every phase, and by Helm with the rights of its chart. `make ship-check` runs it."""

from collections.abc import Callable
from pathlib import Path

from tests import previous, upgrades
from tests.bed import Bed, objects
from tests.e2e import test_chart as chart
from tests.e2e.test_chart import empty
from tests.e2e.test_previous_version import older
from tests.shop import metric_source

__all__ = ["empty", "older"]

Tell = Callable[[str, object], None]
WITHOUT_JOBS = upgrades.ALL.keys() - {"probing", "contracting"}


def test_a_plan_in_every_phase_goes_on(bed: Bed, older: Path, record_property: Tell) -> None:
    record_property("previous version", previous.version())
    for what, seen in upgrades.change_versions(bed, older, upgrades.ALL):
        record_property(what, seen)


def test_helm_upgrades_and_rolls_back_with_runs_under_way(empty: Bed, older: Path, record_property: Tell) -> None:
    """The charts of both versions, and operators with the rights that each of them gives."""
    empty.apply(objects.namespace(chart.NAMESPACE))

    def installs(bed: Bed, checkout: Path) -> None:
        chart.upgrade(bed, checkout / "deploy/helm/rolloutplan")
        bed.apply(metric_source(bed.prometheus_url))

    lease = (f"--lease-namespace={chart.NAMESPACE}", f"--lease-name={chart.NAME}")
    courses = {name: upgrades.ALL[name] for name in upgrades.ALL if name in WITHOUT_JOBS}
    for what, seen in upgrades.change_versions(empty, older, courses, installs, "chart", lease):
        record_property(f"helm: {what}", seen)
