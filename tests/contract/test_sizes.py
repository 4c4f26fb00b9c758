"""Kinds and plans as large as they come are within the limits of a real API server."""

import copy
from collections.abc import Iterator
from uuid import uuid4

import pytest

from rolloutplan.generate.crd import crds
from tests.bed import Bed, objects
from tests.bench.applying import large
from tests.shop import PLANS, Shop, timed

CRDS = crds()


@pytest.fixture
def empty(bed: Bed) -> Iterator[Shop]:
    """A namespace with nothing in it."""
    shop = Shop(bed, f"sizes-{uuid4().hex[:6]}")
    bed.apply(objects.namespace(shop.namespace))
    yield shop
    shop.close()


@pytest.mark.parametrize("file", CRDS)
def test_a_kind_is_taken_by_a_cluster_that_has_none_yet(bed: Bed, file: str) -> None:
    """Under another group, so that it is created: what is there already is looked at less closely."""
    crd = copy.deepcopy(CRDS[file])
    crd["spec"]["group"] = "sizes.example"
    crd["metadata"]["name"] = f"{crd['spec']['names']['plural']}.sizes.example"
    taken = bed.api("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All", crd)
    assert taken["spec"]["group"] == "sizes.example"


def test_a_plan_of_fifty_stages_with_sixteen_predicates_each_is_taken(bed: Bed, empty: Shop) -> None:
    """How long that takes stands among the figures (tests/bench, `apply`)."""
    plan = large(empty)
    with timed() as took:
        bed.api("POST", PLANS.format(empty.namespace, ""), plan)
    print(f"accepted in {took[0]:.2f} s")
    stages = empty.stored("large")["spec"]["stages"]
    assert [len(stage["pass"]) + len(stage["fail"]) for stage in stages] == [16] * 50


def test_a_hundred_plans_are_taken(bed: Bed, empty: Shop) -> None:
    for i in range(100):
        bed.api("POST", PLANS.format(empty.namespace, ""), empty.plan(f"p{i}"))
    assert len(bed.get(PLANS.format(empty.namespace, ""))["items"]) == 100
