"""Objects that are wrong anywhere: a patch is made of plain JSON, or refused with the place and what to write there."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.own import described
from tests.routers.samples import SAMPLES, Raw, Sample

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4) | st.sampled_from(["7", {}, [], [{}], [None]]).map(copy.deepcopy),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
FIELDS = (
    "conditions", "exprs", "filters", "headers", "match", "matchers", "matches", "mirrors", "name", "options",
    "plugins", "port", "predicates", "priority", "servicePort", "shadowing", "sticky", "weight",
)  # fmt: skip
"""What the templates of the descriptions read or write, whether a sample has it or not."""


def holders(raw: Any) -> list[Any]:
    """Every mapping and every list in a value."""
    below = raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ()
    here = [raw] if isinstance(raw, dict | list) and raw else []
    return [*here, *(holder for each in below for holder in holders(each))]


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def added(sample: Sample, mirror: str = "10%") -> tuple[str, ...]:
    """What a run can add to a route, as the status has it."""
    to = f"to {sample.new}"
    return f"mirror {mirror} {to}", f"header x-staff=yes {to}", f"cookie beta=1.0 {to}", "sticky side for 1h"


@given(st.sampled_from(list(SAMPLES.values())), st.integers(0, 3), st.data())
def test_what_is_added_to_an_object_that_is_wrong_anywhere_is_plain_or_refused(
    sample: Sample, which: int, data: st.DataObject
) -> None:
    raw = sample.object
    for _ in range(data.draw(st.integers(1, 2))):
        holder = data.draw(st.sampled_from(holders({"spec": raw.get("spec", {})})[1:] or [raw["metadata"]]))
        if isinstance(holder, list):
            holder[data.draw(st.integers(0, len(holder) - 1))] = data.draw(junk)
        elif holder is not raw["metadata"]:
            holder[data.draw(st.sampled_from([*holder, *FIELDS]))] = data.draw(junk)
    view, text = sample.view(raw), added(sample)[which]
    rules = tuple(rule.with_added((text,)) for rule in view.rules if rule.backends)
    assume(rules)
    target = RouteWeights(kind=sample.name, name="web", rules=rules)
    try:
        patch = sample.kind.patch(view, target, token="0/1.1.1", undo="undo")
        undo = sample.kind.undo_command("shop", target, view, target)
    except LookupError as error:
        assert error.args and isinstance(error.args[0], str)  # noqa: PT017 - a refusal is one of two good ends
        return
    assert is_plain(patch)
    assert " object at 0x" not in f"{patch}{undo}"


def http_route(**rule: Any) -> Raw:
    refs = [{"name": "web", "port": 80, "weight": 1}, {"name": "web-v2", "port": 80, "weight": 1}]
    return {"rules": [{"backendRefs": refs, **rule}]}


def apisix(**rule: Any) -> Raw:
    backends = [{"serviceName": "web", "weight": 1}, {"serviceName": "web-v2", "weight": 1}]
    return {"http": [{"name": "r", "backends": backends, **rule}]}


def skipper(**rule: Any) -> Raw:
    services = [{"name": name, "type": "service", "serviceName": name} for name in ("web", "web-v2")]
    backends = [{"backendName": name, "weight": 1} for name in ("web", "web-v2")]
    return {"backends": services, "routes": [{"backends": backends, **rule}]}


TESTERS, MIRROR = "header x=y to web-v2", "mirror 10% to web-v2"


@pytest.mark.parametrize(
    ("kind", "spec", "text", "words"),
    [
        ("HTTPRoute", http_route(matches="x"), TESTERS, '/spec/rules/0/matches is "x": write a list'),
        ("HTTPRoute", http_route(matches=[1]), TESTERS, "/spec/rules/0/matches/0 is 1: write a mapping"),
        (
            "HTTPRoute", http_route(matches=[{}, {"headers": 5}]), TESTERS,
            "/spec/rules/0/matches/1/headers is 5: write a list",
        ),
        ("HTTPRoute", http_route(filters="x"), MIRROR, '/spec/rules/0/filters is "x": write a list'),
        ("HTTPRoute", http_route(filters={}), MIRROR, "/spec/rules/0/filters is {}: write a list"),
        ("ApisixRoute", apisix(priority="7"), TESTERS, '/spec/http/0/priority is "7": write a number'),
        ("ApisixRoute", apisix(match=[]), TESTERS, "/spec/http/0/match is []: write a mapping"),
        ("ApisixRoute", apisix(), MIRROR, "/spec/http/0 has no port for web-v2: write it"),
        ("RouteGroup", skipper(filters=5), MIRROR.replace("10", "100"), "/spec/routes/0/filters is 5: write a list"),
    ],
)  # fmt: skip
def test_a_rule_without_a_place_for_what_is_added_is_refused_with_the_place(
    kind: str, spec: Raw, text: str, words: str
) -> None:
    meta = {"name": "web", "namespace": "shop", "resourceVersion": "1"}
    view = ROUTE_KINDS[kind].view({"metadata": meta, "spec": spec})
    target = RouteWeights(kind=kind, name="web", rules=tuple(map(with_text(text), view.rules[-1:])))
    with pytest.raises(LookupError) as refused:
        ROUTE_KINDS[kind].patch(view, target, token="0/1.1.1", undo="undo")
    assert str(refused.value) == words


def with_text(text: str) -> Any:
    def rule_with(rule: RuleWeights) -> RuleWeights:
        return rule.with_added((text,))

    return rule_with


def test_a_field_that_is_null_is_as_one_that_is_missing() -> None:
    meta = {"name": "web", "namespace": "shop", "resourceVersion": "1"}
    kind = ROUTE_KINDS["HTTPRoute"]
    for text, rule in ((MIRROR, {"filters": None}), (TESTERS, {"matches": [{"headers": None}]})):
        view = kind.view({"metadata": meta, "spec": http_route(**rule)})
        target = RouteWeights(kind="HTTPRoute", name="web", rules=(view.rules[0].with_added((text,)),))
        assert is_plain(kind.patch(view, target, token="0/1.1.1", undo="undo"))


def test_an_own_kind_whose_condition_has_a_part_of_the_rule_in_a_text_is_read_all_the_same() -> None:
    """Nothing can be found again by such a condition, so the copy counts as a rule of the author."""
    spec = BUILT_IN["RouteGroup"].model_dump(mode="json", by_alias=True, exclude_unset=True)
    spec["ab"]["header"] = "Header($header, $item.name)"
    kept = '[{"added":"header x=y to web-v2","before":"/spec/routes/0","value":{"predicates":[]}}]'
    meta = {"name": "web", "namespace": "shop", "annotations": {"rolloutplan.dev/added": kept}}
    assert len(described("own", spec).view({"metadata": meta, "spec": skipper()}).rules) == 2
