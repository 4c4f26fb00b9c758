"""The image: its steps in a clean root, its files, and the operator that starts from them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.image import check


def test_the_image_is_as_it_must_be(record_property: Callable[[str, object], None], tmp_path: Path) -> None:
    if said := check.missing():
        pytest.fail(said, pytrace=False)
    wrong = []
    for what, seen, well in check.rows(tmp_path):
        record_property(what, seen)
        wrong += [] if well else [f"{what}: {seen}"]
    assert wrong == []
