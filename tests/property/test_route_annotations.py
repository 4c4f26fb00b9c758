"""What anybody writes into the annotations of a route never keeps it from being read."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.described import DescribedKind
from rolloutplan.traffic.metadata import LAST_APPLIED
from rolloutplan.traffic.overlay import ADDED

HUGE = "1" + "0" * 400
NUMBERS = st.sampled_from([HUGE, f"-{HUGE}", "1e308", "-1e308", "1e999", "NaN", "0.1", "true", "null", '"5"', "[]"])
LEAVES = st.one_of(NUMBERS, st.text(max_size=4).map(json.dumps))
JSON = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3).map(lambda each: f"[{','.join(each)}]"),
        st.tuples(st.sampled_from(["spec", "rules", "metadata", "weight", "backendRefs", "name", "value"]), below).map(
            lambda pair: f'{{"{pair[0]}":{pair[1]}}}'
        ),
    ),
)
"""Texts of JSON, with numbers that no float can hold."""
DEEP = st.integers(1, 3000).map(lambda n: '{"a":' * n + "1" + "}" * n)


def route(weight: str = "10", **annotations: str) -> dict[str, Any]:
    spec = f'{{"rules":[{{"backendRefs":[{{"name":"v1","weight":90}},{{"name":"v2","weight":{weight}}}]}}]}}'
    meta = {"name": "shop", "namespace": "shop", "generation": 1, "resourceVersion": "1", "annotations": annotations}
    return {"metadata": meta, "spec": json.loads(spec), "status": {}}


KINDS = [kind for kind in ROUTE_KINDS.values() if isinstance(kind, DescribedKind)]


def names(kind: DescribedKind) -> list[str]:
    """The annotations that a kind reads."""
    prefix, where, share = kind.spec.prefix, kind.spec.annotations, kind.spec.share
    own = [where.rules, where.map] if where else []
    own += [share.annotation, share.total, *share.needs] if share else []
    return [LAST_APPLIED, ADDED, *(f"{prefix}/{name}".removeprefix("/") for name in own if name), f"{prefix}/actions.a"]


@given(kind=st.sampled_from(KINDS), text=st.one_of(JSON, DEEP, st.text(max_size=8)), weight=NUMBERS)
def test_any_annotation_and_any_weight_can_be_read(kind: DescribedKind, text: str, weight: str) -> None:
    raw = route(weight)
    for name in names(kind):
        written = copy.deepcopy(raw)
        written["metadata"]["annotations"][name] = text
        view = kind.view(written)
        assert all(abs(backend.weight) <= 2**63 for rule in view.rules for backend in rule.backends)


@given(weight=NUMBERS, deep=DEEP)
def test_what_was_applied_and_what_was_added_can_be_anything_in_a_route_as_it_is(weight: str, deep: str) -> None:
    applied = json.dumps(route()).replace('"weight": 10', f'"weight": {weight}')
    piece = json.dumps([{"added": "header x-staff=yes to v2", "before": "/spec/rules/0", "value": None}])
    view = ROUTE_KINDS["HTTPRoute"].view(route(**{LAST_APPLIED: applied, ADDED: piece.replace("null", deep)}))
    assert [backend.weight for backend in view.rules[0].backends] == [90, 10]
