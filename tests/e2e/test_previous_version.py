"""An upgrade from the previous version and a downgrade to it, with plans under way: its CRDs, its operator."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import previous, upgrades
from tests.bed import Bed
from tests.shop import define


@pytest.fixture
def older(bed: Bed, alone: None, tmp_path: Path) -> Iterator[Path]:
    """The previous version, unpacked. Afterwards the bed has the CRDs of this one."""
    try:
        yield previous.unpack(tmp_path)
    except previous.NotThereError as error:
        pytest.skip(str(error))
    finally:
        define(bed)


def test_plans_go_on_across_an_upgrade_and_a_downgrade(bed: Bed, older: Path) -> None:
    upgrades.change_versions(bed, older, upgrades.FEW)
