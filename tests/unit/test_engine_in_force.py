"""What can act where: plans that leave 100 % or the bake unguarded say so wherever one looks, and once as an Event."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.resolve import Template, resolve
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.api.template import read_template
from rolloutplan.engine.analysis.in_force import can_act, unguarded
from rolloutplan.tools.lint.plans import lint_plan, warnings_of
from tests.refusals import GONE, changed
from tests.situations import m, s
from tests.world import PLAN, World

ROOT = Path(__file__).parents[2]
EVENTS = {"bad": 'bad{d="$deployment"}', "total": 'all{d="$deployment"}'}
QUERY = 'sum(rate(bad_total{d="$deployment"}[$window]))'
WORSE: dict[str, Any] = {"name": "worse", "query": QUERY, "vsOld": "> 1.5x"}
COUNTED: dict[str, Any] = {"name": "counted", "events": EVENTS, "vsOld": "> 1.5x"}
ALONE: dict[str, Any] = {"name": "alone", "query": QUERY, "is": "> 3"}
EARLIER: dict[str, Any] = {**ALONE, "name": "earlier"}
ALERT: dict[str, Any] = {"name": "page", "alert": {"matchers": 'severity="page",d="$deployment"'}}
BELOW = {"stages[2].weight": "80%", "stopAt": "80%"}
BOTH, BAKE, FULL = "at 100% and in the bake of 5m", "in the bake of 5m", "at 100%"

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("a number", {"guards": [ALONE]}, "", ""),
    ("a number on counts", {"guards": [{**COUNTED, "vsOld": None, "is": "> 1%"}]}, "", ""),
    ("an alert", {"guards": [ALERT]}, "", ""),
    ("one of several", {"guards": [WORSE, COUNTED, ALONE]}, "", ""),
    ("a value compared", {"guards": [WORSE]}, BOTH, "worse compares with the old side"),
    ("counts compared", {"guards": [COUNTED]}, BOTH, "counted compares with the old side"),
    ("both compared", {"guards": [WORSE, COUNTED]}, BOTH, "worse and counted compare with the old side"),
    ("four compared", {"guards": [{**WORSE, "name": f"w{i}"} for i in range(4)]}, BOTH, "all 4 predicates in force"),
    ("a change, not a ratio", {"guards": [{**WORSE, "vsOld": "> +5%"}]}, BOTH, "worse compares"),
    ("a number as a dry run", {"guards": [WORSE, {**ALONE, "dryRun": True}]}, BOTH, "worse compares"),
    ("fail at 100 % alone", {"guards": [WORSE], "stages[2].fail": [ALONE]}, BAKE, "worse compares"),
    ("pass at 100 % alone", {"guards": [WORSE], "stages[2].pass": [ALONE]}, BAKE, "worse compares"),
    ("pass that compares", {"guards": [WORSE], "stages[2].pass": [{**COUNTED, "vsOld": "< 2x"}]}, BOTH,
     "worse and counted compare"),
    ("no guard", {"guards": GONE, "stages[1].fail": [EARLIER], "stages[2].fail": [ALONE]}, BAKE, "the plan has none"),
    ("pass alone", {"guards": GONE, "stages[1].pass": [EARLIER], "stages[2].pass": [ALONE]}, BAKE, "the plan has none"),
    ("warn at 100 %", {"guards": [WORSE], "stages[2].warn": [ALONE]}, BOTH, "worse compares"),
    ("no bake", {"guards": [WORSE], "bake": "0s"}, FULL, "worse compares"),
    ("no bake, and fail at 100 %", {"guards": [WORSE], "bake": "0s", "stages[2].fail": [ALONE]}, "", ""),
    ("no bake, and pass at 100 %", {"guards": GONE, "bake": "0s", "stages[1].pass": [EARLIER],
                                    "stages[2].pass": [ALONE]}, "", ""),
    ("below 100 %", {"guards": [WORSE], **BELOW}, "", ""),
    ("a control group", {"guards": [WORSE], "bake": {"for": "5m", "holdback": "1%"}}, "", ""),
    ("a control group and no guard", {"guards": GONE, "stages[1].fail": [EARLIER], "stages[2].fail": [ALONE],
                                      "bake": {"for": "5m", "holdback": "1%"}}, BAKE, "the plan has none"),
    ("no guard below 100 %", {"guards": GONE, "stages[1].fail": [EARLIER], "stages[2].fail": [WORSE], **BELOW}, BAKE,
     "the plan has none"),
    ("a template that is not known", {"guards": [{"template": "slow"}]}, "", ""),
]  # fmt: skip


def spec_of(changes: dict[str, Any]) -> PlanSpec:
    cleaned = {
        key: [{k: v for k, v in each.items() if v is not None} for each in value] if isinstance(value, list) else value
        for key, value in changes.items()
    }
    return read_plan_spec(changed(PLAN, cleaned))


@pytest.mark.parametrize(("_", "changes", "places", "why"), CASES, ids=[each[0] for each in CASES])
def test_where_nothing_can_act_is_told_with_the_reason_and_the_fix(
    _: str, changes: dict[str, Any], places: str, why: str
) -> None:
    words = unguarded(spec_of(changes))
    if not places:
        assert words == ""
        return
    assert words.startswith(f"nothing can act {places}: ")
    assert why in words
    assert "add a guard that compares the new side with a number (is)" in words
    fix = f"bake: {{for: {'15m' if changes.get('bake') == '0s' else '5m'}, holdback: 1%}}"
    assert (fix in words) == (changes["guards"] is not GONE), "a control group helps those that compare"


@pytest.mark.parametrize(("_", "changes", "places", "why"), CASES, ids=[each[0] for each in CASES])
def test_lint_and_the_condition_say_the_same(_: str, changes: dict[str, Any], places: str, why: str) -> None:
    spec = spec_of(changes)
    found = [(each.severity, each.words) for each in lint_plan(spec, s(15)) if each.rule == "unguarded"]
    assert found == ([("warning", unguarded(spec))] if places else [])
    assert ("nothing can act" in warnings_of(spec, s(15))) == bool(places)


@pytest.mark.parametrize(
    ("predicate", "permille", "acts"),
    [
        (WORSE, 999, True),
        (WORSE, 1000, False),
        (COUNTED, 1, True),
        (COUNTED, 1000, False),
        (ALONE, 1000, True),
        (ALERT, 1000, True),
        ({**ALONE, "dryRun": True}, 1, False),
        ({**WORSE, "dryRun": True}, 1, False),
    ],
)
def test_what_can_act_at_a_weight(predicate: dict[str, Any], permille: int, acts: bool) -> None:
    assert can_act(read_plan_spec(changed(PLAN, {"guards": [EARLIER, predicate]})).guards[1], permille) is acts


def shipped() -> list[tuple[str, dict[str, Any]]]:
    """Every plan among the examples and on the pages, with its place."""
    texts = [(str(file.relative_to(ROOT)), file.read_text()) for file in sorted((ROOT / "examples").rglob("*.yaml"))]
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        blocks = page.read_text().split("```yaml\n")[1:]
        texts += [(f"{page.relative_to(ROOT)} {i}", each.partition("```")[0]) for i, each in enumerate(blocks)]
    return [
        (where, raw["spec"])
        for where, text in texts
        if "kind: RolloutPlan" in text and "{{" not in text  # Helm fills those in
        for raw in yaml.safe_load_all(text)
        if isinstance(raw, dict) and raw.get("kind") == "RolloutPlan"
    ]


@cache
def library(name: str) -> Template:
    """A template of the shipped library, or of the examples."""
    for file in (*(ROOT / "deploy" / "predicates").glob("*.yaml"), *(ROOT / "examples").rglob("*.yaml")):
        for raw in [] if "{{" in file.read_text() else yaml.safe_load_all(file.read_text()):
            if raw and raw["kind"].endswith("PredicateTemplate") and raw["metadata"]["name"] == name:
                return Template(raw["kind"], name, read_template(raw["spec"]))
    raise AssertionError(f"no template {name} is shipped")


@pytest.mark.parametrize(("where", "raw"), shipped(), ids=[where for where, _ in shipped()])
def test_every_plan_that_is_shipped_has_something_that_acts_to_the_end(where: str, raw: dict[str, Any]) -> None:
    whole = resolve(read_plan_spec(raw), library)
    assert not whole.problems
    assert unguarded(whole.spec) == "", where


# ---- told once, as an Event ----------------------------------------------------------------------


def told(world: World) -> list[str]:
    return [decision.note for decision in world.trail.values() if decision.reason == "Unguarded"]


def compared() -> World:
    world = World(spec=changed(PLAN, {"guards": [WORSE]}))
    world.says |= {"worse": 1.0, "worse/old": 1.0}
    return world


def test_a_run_tells_once_that_its_end_is_unguarded_before_any_weight_moves() -> None:
    world = compared().until(Phase.JUDGING)
    assert world.told()[:3] == ["Started", "Unguarded", "NewSideReady"]
    world.crash()
    world.until(Phase.SUCCEEDED)
    assert told(world) == [unguarded(spec_of({"guards": [WORSE]}))]


def test_a_guarded_run_has_nothing_to_tell() -> None:
    assert told(World().until(Phase.SUCCEEDED)) == []


def test_the_next_run_of_the_plan_tells_it_again() -> None:
    world = compared().until(Phase.JUDGING)
    world.says["worse"] = 9.0
    world.until(Phase.ROLLED_BACK)
    world.command = "retry t1"
    world.until(Phase.JUDGING)
    assert len(told(world)) == 2


def test_an_edit_that_leaves_the_end_unguarded_tells_it() -> None:
    """The guards are fixed by then; a `fail` predicate of the last stage is not."""
    world = World(spec=changed(PLAN, {"guards": [WORSE], "stages[2].fail": [ALONE], "bake": "0s"}))
    world.says |= {"worse": 1.0, "worse/old": 1.0, "alone": 0.0}
    world.until(Phase.JUDGING)
    assert told(world) == []
    world.edit({"stages[2].fail": []})
    world.advance(s(30))
    assert told(world) == [unguarded(spec_of({"guards": [WORSE], "bake": "0s"}))]
    world.edit({"stages[2].soak": "3m"})
    world.advance(s(30))
    world.edit({"stages[2].soak": "4m"})
    world.advance(m(1))
    assert len(told(world)) == 1, "another edit says nothing new"
