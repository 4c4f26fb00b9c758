"""`lint` says what no route of a kind can do, from the description of the kind alone."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rolloutplan.api.parsing import read
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.lint.routes import lint_routes
from tests.refusals import changed
from tests.world import PLAN

WORSE: Final = {"name": "worse", "events": {"bad": "bad", "total": "all"}, "vsOld": "> 1.5x"}
COUNTED: Final = {"guards": [WORSE]}
SILENT: Final = {"accepted": {"settle": "2s"}}
PERCENT: Final = {"weights": {"sum": 100}}


PLACE: Final = {"rules": {"": "spec.backends[]"}, "name": ["name"], "weight": "weight"}
REPORTED: Final = {"conditions": "status.conditions[]", "good": {"Ready": "True"}, "generation": "observedGeneration"}


def kind(fields: dict[str, Any]) -> RouteKindSpec:
    """A kind whose gateways report what they follow, and which has nothing special, but for these fields."""
    place = {} if "share" in fields else PLACE
    plain = {"group": "example.com", "versions": ["v1"], "resource": "things", "accepted": REPORTED, **place}
    return read(RouteKindSpec, {**plain, **fields})


def found(changes: dict[str, Any], fields: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The path, the rule and the severity of each finding for a plan whose routes are of such a kind."""
    spec = read_plan_spec(changed(PLAN, changes))
    return [(each.path, each.rule, each.severity) for each in lint_routes(spec, {"HTTPRoute": kind(fields)})]


FINDINGS: Final[dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, str]]]]] = {
    "a share between two steps": (
        {"stages[0].weight": "2.5%"}, PERCENT, [("spec.stages[0].weight", "too-fine", "error")]),
    "one of several": (
        {"stages[1].weight": None, "stages[1].weights": ["10%", "12.5%", "50%"]}, PERCENT,
        [("spec.stages[1].weights[1]", "too-fine", "error")]),
    "what a bake holds back": (
        {"bake": {"for": "5m", "holdback": "0.5%"}}, PERCENT, [("spec.bake.holdback", "too-fine", "error")]),
    "steps of hundredths are fine enough": (
        {"stages[0].weight": "2.5%"}, {"weights": {"sum": 100, "units": 100}}, []),
    "a small share of small numbers": (
        {"stages[0].weight": "0.1%"}, {"weights": {"max": 256}}, [("spec.stages[0].weight", "too-fine", "error")]),
    "where the route may say its total, it may be fine enough": (
        {"stages[0].weight": "2.5%"},
        {**PERCENT, "share": {"annotation": "canary-weight", "total": "canary-weight-total", "of": "spec.service"}},
        [("spec.stages[0].weight", "too-fine", "warning")]),
    "an old side that is scaled to nothing, where that breaks the route": (
        {"contract": {"scaleOld": 0}}, {"emptyBreaks": "Old"}, [("spec.contract.scaleOld", "empty-side", "error")]),
    "one pod is none": ({"contract": {"scaleOld": 1}}, {"emptyBreaks": "Any"}, []),
    "other kinds bear it": ({"contract": {"scaleOld": 0}}, {}, []),
    "a plan that could never be proved": ({}, SILENT, [("spec.traffic.routes", "unproved", "error")]),
    "a plan that is not to be": (
        {"traffic.share": "Ignore"}, SILENT, [("spec.traffic.share", "unproved", "warning")]),
    "a plan that can": (COUNTED, SILENT, []),
    "a template may be what counts": ({"guards": [{"template": "success-rate", "with": {}}]}, SILENT, []),
    "where gateways report, share is not asked about": ({"traffic.share": "Ignore"}, {}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", FINDINGS)
def test_what_no_route_of_a_kind_can_do(case: str) -> None:
    changes, fields, findings = FINDINGS[case]
    assert found(changes, fields) == findings


def test_the_finding_names_the_finest_step_and_what_to_write() -> None:
    spec = read_plan_spec(changed(PLAN, {"stages[0].weight": "2.5%"}))
    (finding,) = lint_routes(spec, {"HTTPRoute": kind(PERCENT)})
    assert finding.words == (
        "HTTPRoute: its weights cannot give v2 the 2.5% of stage canary: they are whole numbers that add up to 100, "
        "so the finest step is 1%; write 2% or 3%"
    )


def test_an_httproute_divides_every_share_and_bears_an_empty_side() -> None:
    spec = read_plan_spec(changed(PLAN, {"stages[0].weight": "0.1%", "contract": {"scaleOld": 0}}))
    assert list(lint_routes(spec, BUILT_IN)) == []
