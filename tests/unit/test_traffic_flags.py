"""Feature flags: the evaluator of flagd gives the shares that are written, and what was there before comes back."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonpatch
import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from rolloutplan.api.spec_fields import Names
from rolloutplan.api.status import RouteWeights, RuleWeights
from rolloutplan.engine.model.flags import flag_fault
from rolloutplan.engine.model.sides import as_plan_sees
from rolloutplan.engine.model.snapshot import RouteView
from rolloutplan.engine.model.weights import restore, shift
from rolloutplan.traffic import ROUTE_KINDS

KIND = ROUTE_KINDS["FeatureFlag"]
VARIANTS, NAMES = Names("off", "on"), Names("checkout/off", "checkout/on")
BY_EMAIL = {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}
KEYS = 10_000
FORMS: dict[str, list[Any]] = {
    "pairs": [["off", 100], ["on", 0]],
    "the new variant first": [["on", 0], ["off", 100]],
    "bucketed by an expression": [BY_EMAIL, ["off", 100], ["on", 0]],
    "a third variant": [["off", 70], ["on", 0], ["red", 30]],
    "a weight that is not written": [["off"], ["on", 0]],
}


def feature_flag(fractional: Any, **flag: Any) -> dict[str, Any]:
    """An object with two flags: new-cart, and one that nobody touches."""
    body = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False, "red": True},
        "defaultVariant": "off",
        "targeting": {"fractional": fractional},
        **flag,
    }
    other = {**body, "targeting": {"fractional": [["off", 1], ["on", 1]]}}
    return {
        "apiVersion": "core.openfeature.dev/v1beta1",
        "kind": "FeatureFlag",
        "metadata": {"namespace": "shop", "name": "checkout", "resourceVersion": "7", "annotations": {"team": "cart"}},
        "spec": {"flagSpec": {"flags": {"a-flag": other, "new-cart": body}}},
    }


def seen(raw: dict[str, Any]) -> RouteView:
    return as_plan_sees(KIND.view(raw), VARIANTS, NAMES, KIND.plain, "new-cart")


def moved(raw: dict[str, Any], permille: int) -> dict[str, Any]:
    """The object with this share on the new side, as our patch makes it."""
    view = seen(raw)
    rule = shift(view.rules[1], *NAMES, permille, view.weights)
    return patched(raw, view, weights(rule), token="1", undo="kubectl")


def weights(rule: RuleWeights) -> RouteWeights:
    return RouteWeights(kind="FeatureFlag", name="checkout", rules=(rule,))


def patched(raw: dict[str, Any], view: RouteView, target: RouteWeights, *, token: str, undo: str) -> dict[str, Any]:
    after: dict[str, Any] = jsonpatch.apply_patch(raw, KIND.patch(view, target, token=token, undo=undo))
    return after


def variants(raw: dict[str, Any]) -> dict[str, int]:
    """How many of the users get each variant, by the evaluator."""
    flagd = FlagdCore()
    flagd.set_flags({"flags": copy.deepcopy(raw["spec"]["flagSpec"]["flags"])})  # it writes into what it gets
    counts = dict.fromkeys(("off", "on", "red"), 0)
    for number in range(KEYS):
        context = EvaluationContext(f"user-{number}", {"email": f"{number}@example.com"})
        counts[str(flagd.resolve_boolean_value("new-cart", False, context).variant)] += 1
    return counts


@pytest.mark.parametrize("fractional", FORMS.values(), ids=FORMS)
def test_the_evaluator_gives_the_share_that_is_written_and_the_way_back_is_exact(fractional: list[Any]) -> None:
    raw = feature_flag(copy.deepcopy(fractional))
    before, text = seen(raw), json.dumps(raw)
    for permille in (50, 250, 1000, 0):
        raw = moved(raw, permille)
        counts = variants(raw)
        both, share = counts["off"] + counts["on"], permille / 1000
        sigma = (both * share * (1 - share)) ** 0.5
        assert abs(counts["on"] - both * share) <= 3 * sigma, counts
        third = 3000 if "red" in str(fractional) else 0
        assert abs(counts["red"] - third) <= 3 * (KEYS * 0.3 * 0.7) ** 0.5, counts
    raw = moved(raw, 250)
    view = seen(raw)
    back = restore(view.rules[1], before.rules[1], *NAMES, view.weights)
    raw = patched(raw, view, weights(back), token="2", undo="")
    del raw["metadata"]["annotations"]["rolloutplan.dev/seq"]
    assert json.dumps(raw) == text


def test_the_undo_command_restores_a_weight_that_was_not_written() -> None:
    raw = feature_flag([["off"], ["on", 0]])
    snapshot = weights(seen(raw).rules[1])
    command = KIND.undo_command("shop", snapshot)
    changed = jsonpatch.apply_patch(moved(raw, 250), json.loads(command.partition(" -p ")[2].strip("'")))
    assert changed["spec"] == raw["spec"]


def test_another_variant_of_the_same_name_as_a_side_is_no_side() -> None:
    """In a plan of two Deployments, the sides have the names of their Services."""
    view = as_plan_sees(KIND.view(feature_flag([["v1", 1], ["off", 1], ["on", 1]])), VARIANTS, Names("v1", "v2"), "/0")
    assert [each.service for each in view.rules[1].backends] == ["other/v1", "v1", "v2"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (feature_flag([["off", 1], ["on", 0]]), ""),
        ({}, "it has no flag new-cart (it has none): correct traffic.routes[].flag, or add the flag"),
        ({"spec": {"flagSpec": {"flags": {"old-cart": {}}}}}, "it has no flag new-cart (it has old-cart)"),
        (
            feature_flag([], state="DISABLED"),
            "is DISABLED, so nobody gets what its targeting says",
        ),
        (feature_flag([], variants={"off": 0, "new": 1}), 'has no variant "on" (it has new, off): correct new.variant'),
        (feature_flag([], targeting={}), 'write targeting: {fractional: [["off", 100], ["on", 0]]}'),
        (feature_flag([], targeting={"if": []}), "has no fractional directly in its targeting (its targeting is if)"),
        (
            feature_flag([], targeting={"fractional": [], "if": []}),
            "has if in addition to fractional, and must be one rule",
        ),
        (feature_flag([]), "is no list of [variant, weight]"),
        (feature_flag("half"), "is no list of [variant, weight]"),
        (feature_flag([["off", 1]]), 'must hold "on" once, and holds it 0 times'),
        (feature_flag([["off", 1], ["on", 1], ["off", 1]]), 'must hold "off" once, and holds it 2 times'),
        (feature_flag([["off", 1], []]), 'must hold "on" once'),
    ],
)
def test_what_is_wrong_with_a_flag_is_told_with_the_fix(raw: dict[str, Any], words: str) -> None:
    found = flag_fault(raw, "new-cart", VARIANTS)
    assert words in found
    assert bool(found) == bool(words)
