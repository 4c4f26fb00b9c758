"""Paths of the API server: a name never leads to another object."""

import pytest

from rolloutplan.cluster import paths


@pytest.mark.parametrize("name", ["../../secrets/x", "a/b", "a?watch=1", "a#b", "a%2fb", "a b", "\u00e4"])
def test_a_name_stays_one_part_of_a_path(name: str) -> None:
    path = paths.service_account(name, name)
    assert path.count("/") == paths.service_account("ns", "jobs").count("/")
    assert not {"?", "#", " "} & {*path}
