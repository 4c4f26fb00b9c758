"""`make ship-check`: what is handed over is tried, part by part, and a table says what was seen.

A part is a selection of tests. Its rows are the number of its tests, and what these tests say with `record_property`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

_TOLD: Final = "test_errors_put_the_old_weights_back_and_all_that_tells_of_it_tells_the_same"
PARTS: Final[Mapping[str, Sequence[str]]] = {
    "release": ["tests/ship/release.py"],
    "image": ["tests/ship/image.py"],
    "boards": [
        "tests/ship/boards.py",
        "tests/ship/traces.py",
        "tests/unit/test_alerts.py",
        "tests/unit/test_generate_dashboard.py",
        "tests/unit/test_publish_traces.py",
        "tests/unit/test_telemetry_traces.py",
        "tests/e2e/test_alerts.py",
        "tests/e2e/test_failover.py::test_one_acts_and_the_other_takes_over",
        f"tests/e2e/at_once/test_rollout.py::{_TOLD}",
    ],
    "chart": ["tests/e2e/test_chart.py"],
    "gitops": ["tests/unit/test_generate_gitops.py", "tests/unit/test_gitops_scripts.py"],
    "docs": ["tests/ship/site.py", "tests/unit/test_docs.py", "tests/unit/test_pages.py", "tests/e2e/test_pages.py"],
    "package": ["tests/unit/test_packaging.py"],
    "rights": ["tests/ship/rights.py"],
    "upgrade": ["tests/ship/upgrade.py", "tests/e2e/test_previous_version.py"],
    "conversions": ["tests/ship/conversions.py"],
}
"""What pytest is given for each part. The first three need the network (boards: to build the programs that try them),
which a process that has a bed has no more.

Their files and that of "upgrade" take minutes, and have names that no other run collects.
"""


class Seen:
    """What the tests of one part came to. pytest calls the method by its name."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.said: list[tuple[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once; one whose set-up or end failed has failed."""
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1
        if report.when == "call":
            self.said += report.user_properties

    def rows(self, part: str) -> list[str]:
        """The lines of the table for this part, in Markdown."""
        tests = f"{self.passed} passed, {len(self.failed)} failed"
        return [f"| {part} | {what} | {seen} |" for what, seen in [("tests", tests), *self.said]]


def main() -> int:
    """Run the parts and print the table; 1 where one has a failure, or ran no test."""
    parser = argparse.ArgumentParser(prog="tests.ship")
    parser.add_argument("only", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (default: all)")
    chosen = parser.parse_args().only or [*PARTS]
    if unknown := {*chosen} - PARTS.keys():
        parser.error(f"there is no part {' or '.join(sorted(unknown))}: write some of {', '.join(PARTS)}")
    rows, good = ["| part | what | seen |", "|---|---|---|"], True
    for part in filter(chosen.__contains__, PARTS):
        seen = Seen()
        ended = pytest.main(["-q", "-p", "no:cacheprovider", *PARTS[part]], plugins=[seen])
        good = good and ended == pytest.ExitCode.OK
        rows += seen.rows(part)
    print("\n" + "\n".join(rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
