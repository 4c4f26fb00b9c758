"""What pytest is given on a cluster of a user."""

import pytest

from tests.own_cluster.cluster import OwnCluster
from tests.own_cluster.left_out import chosen, told


class Plugin:
    """What pytest is given: the cluster in the place of a bed, and the choice of tests."""

    def __init__(self, cluster: OwnCluster) -> None:
        self.cluster = cluster
        self._left_out: list[pytest.Item] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        items[:], self._left_out = chosen(items)
        config.hook.pytest_deselected(items=self._left_out)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("left out: tests that need the bed")
        for line in told(self._left_out):
            terminalreporter.write_line(line)
