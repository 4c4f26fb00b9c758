"""The templates that ship: each is read, makes a predicate wherever a plan names it, and asks what it means to ask."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.resolve import Template, resolve
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.template import read_template
from rolloutplan.tools.lint.plans import lint_plan, lint_template
from tests.refusals import PLAN, changed

FOLDER = Path(__file__).parents[2] / "deploy" / "predicates"
LIBRARY: dict[str, dict[str, Any]] = {
    each["metadata"]["name"]: each
    for file in sorted(FOLDER.glob("*.yaml"))
    for each in yaml.safe_load_all(file.read_text())
}
ANY = {"name": "any", "query": 'sum(rate(x_total{d="$new"}[$window]))', "is": "> 0"}
STAGE = {"weights": ["5%", "100%"], "soak": "10m", "fail": [ANY]}
WHAT = ("success-rate", "more-errors", "latency", "slow-requests")
STACKS = {
    **dict.fromkeys(("", "-istio", "-envoy", "-traefik", "-nginx", "-linkerd"), WHAT),
    **dict.fromkeys(("-nginx-inc", "-knative", "-consul", "-kuma"), WHAT),
    "-openshift": ("success-rate", "more-errors", "latency"),
    **dict.fromkeys(("-apisix", "-skipper"), ("success-rate", "latency")),
}
"""What each says of a side. Where it has no counter with a label for the side, nothing can be counted; and not all have
histograms."""
WHOSE = tuple(STACKS)


def plan(**changes: Any) -> PlanSpec:
    def known(name: str) -> Template:
        return Template("ClusterPredicateTemplate", name, read_template(LIBRARY[name]["spec"]))

    found = resolve(read_plan_spec(changed(PLAN, {"guards": [], "stages": [STAGE], **changes})), known)
    assert found.problems == ()
    return found.spec


def warnings(spec: PlanSpec) -> list[str]:
    """Of one template; a plan needs others next to it to look for every kind of fault at 100 % (`unseen`)."""
    found = (each for each in lint_plan(spec, None) if each.severity != "hint" and each.rule != "unseen")
    return [f"{each.path}: {each.words}" for each in found]


def test_every_stack_has_the_templates_that_its_metrics_allow() -> None:
    of_pods = {"cpu-throttling", "memory-saturation", "restarts"}
    assert LIBRARY.keys() == {what + whose for whose, whats in STACKS.items() for what in whats} | of_pods
    assert {each["kind"] for each in LIBRARY.values()} == {"ClusterPredicateTemplate"}


@pytest.mark.parametrize("name", LIBRARY)
def test_each_can_be_named_with_nothing_beside_it(name: str) -> None:
    """In each sort of place: what speaks for the new side, turned round, speaks against it."""
    assert warnings(plan(guards=[{"template": name}])) == []
    assert warnings(plan(stages=[{**STAGE, "pass": [{"template": name}]}])) == []


@pytest.mark.parametrize("name", LIBRARY)
def test_each_asks_about_one_side(name: str) -> None:
    """Else both sides together are judged, and a comparison of them would never find a difference."""
    worse = "< 0.5x" if LIBRARY[name]["spec"]["indicates"] == "Success" and "success" in name else "> 2x"
    assert warnings(plan(guards=[{"template": name, "vsOld": worse}])) == []


@pytest.mark.parametrize("name", LIBRARY)
def test_each_is_explained_and_has_no_traps(name: str) -> None:
    spec = read_template(LIBRARY[name]["spec"])
    assert spec.description.endswith(".")
    assert all(parameter.description.endswith(".") for parameter in spec.parameters)
    assert all(parameter.default is not None for parameter in spec.parameters)
    assert [found for found in lint_template(spec) if found.severity != "hint"] == []


@pytest.mark.parametrize("whose", WHOSE)
def test_the_smallest_plan_rolls_back_on_a_low_share(whose: str) -> None:
    (guard,) = plan(guards=[{"template": f"success-rate{whose}", "with": {"atLeast": "99.5%"}}]).guards
    assert guard.comparison.text == "< 99.5%"
