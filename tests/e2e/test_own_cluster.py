"""What `make e2e` asks of a cluster before it changes anything there."""

import copy

import pytest

from tests.bed import Bed, until
from tests.own_cluster.refusals import DEFINITIONS, RefusedError, check, of_another_version
from tests.shop import Operator


def test_a_cluster_with_an_operator_is_refused_and_its_definitions_are_compared(bed: Bed, running: Operator) -> None:
    until(running.leads, 30, "the Lease")
    with pytest.raises(RefusedError, match="holds the Lease default/rolloutplan: another operator serves this cluster"):
        check(bed.api)
    stored = [each for each in bed.get(DEFINITIONS)["items"] if each["spec"]["group"] == "rolloutplan.dev"]
    assert of_another_version(bed.api, stored) == []
    older = copy.deepcopy(stored)
    plans = next(each for each in older if each["spec"]["names"]["plural"] == "rolloutplans")
    fields = plans["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del fields["stopAt"]
    assert of_another_version(bed.api, older[1:]) == [older[0]["metadata"]["name"], plans["metadata"]["name"]]
