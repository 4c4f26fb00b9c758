"""The API server by itself: no operator touches what these tests store."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def nobody_serves(alone: None) -> None:
    pass
