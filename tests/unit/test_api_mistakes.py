"""What people get wrong at first, alone and in pairs: the message names the field and what to write."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec, read_metric_source
from rolloutplan.api.parsing import SpecError, SpecModel, Violations
from rolloutplan.api.policy import RolloutPolicySpec, read_policy
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.template import PredicateTemplateSpec, read_template
from tests.mistakes import MISTAKES, TAKEN, Mistake
from tests.refusals import PLAN, changed

READERS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "RolloutPlan": read_plan_spec,
    "MetricSource": lambda raw: read_metric_source(raw, cluster=False),
    "ClusterMetricSource": lambda raw: read_metric_source(raw, cluster=True),
    "PredicateTemplate": read_template,
    "RolloutPolicy": read_policy,
}
MODELS: Mapping[str, type[SpecModel]] = {
    "RolloutPlan": PlanSpec,
    "MetricSource": MetricSourceSpec,
    "ClusterMetricSource": ClusterMetricSourceSpec,
    "PredicateTemplate": PredicateTemplateSpec,
    "RolloutPolicy": RolloutPolicySpec,
}
ALL = [(kind, mistake) for kind, mistakes in MISTAKES.items() for mistake in mistakes]
PARTNERS = 8
"""Mistakes that each one is paired with: enough that each is the first and the second of many."""
OF_PYTHON = re.compile(r"\b(True|False|None|NoneType|dict|tuple|str|bool|Literal|pydantic)\b|Input |\[type=|datetime\.")


def refusal(kind: str, spec: Mapping[str, Any]) -> list[str]:
    """The lines of the message."""
    with pytest.raises(SpecError) as refused:
        READERS[kind](spec)
    return str(refused.value).splitlines()


def paths(lines: list[str]) -> set[str]:
    return {line.partition(": ")[0] for line in lines if line.startswith("spec")}


def test_there_are_more_mistakes_than_were_ever_counted() -> None:
    assert len(ALL) >= 2 * 86
    assert len({(kind, str(mistake.changes), str(mistake.good)) for kind, mistake in ALL}) == len(ALL)


@pytest.mark.parametrize(("kind", "mistake"), ALL, ids=lambda value: getattr(value, "name", value))
def test_a_mistake_is_answered_with_its_field_and_its_fix(kind: str, mistake: Mistake) -> None:
    READERS[kind](mistake.good)
    lines = refusal(kind, mistake.spec)
    (line, *_) = [line for line in lines if line.startswith(f"{mistake.at}: ")] or [""]
    assert all(words in line for words in mistake.words), lines
    assert not OF_PYTHON.search(re.sub("or None|None,", "", line)), "Python is not what people write"
    assert all(len(line) < 400 for line in lines)


def pairs(mistakes: tuple[Mistake, ...]) -> Iterator[tuple[Mistake, Mistake]]:
    """Each mistake with some others of the same object that are made elsewhere in it."""
    for number, one in enumerate(mistakes):
        others = Random(number).sample(mistakes, len(mistakes))
        yield from islice(((one, other) for other in others if apart(one, other)), PARTNERS)


def apart(one: Mistake, other: Mistake) -> bool:
    """Whether two mistakes can be made at once."""
    touched = [{re.split(r"[.\[]", path)[0] for path in each.changes} for each in (one, other)]
    return one.good is other.good and not touched[0] & touched[1]


@pytest.mark.parametrize("kind", MISTAKES)
def test_of_two_mistakes_neither_is_silent_and_nothing_else_is_blamed(kind: str) -> None:
    """A rule between fields is not looked at while a field cannot be read: then that field is named."""
    alone = {id(each): paths(refusal(kind, each.spec)) for each in MISTAKES[kind]}
    for one, other in pairs(MISTAKES[kind]):
        lines = refusal(kind, changed(one.spec, other.changes))
        of_one, of_other = alone[id(one)], alone[id(other)]
        named, seen = paths(lines), f"{one.name} and {other.name}: {lines}"
        assert named & (of_one | of_other), seen
        assert named <= of_one | of_other, seen
        for mine, hidden in ((of_one, one), (of_other, other)):
            assert named & mine or is_of_a_rule(kind, hidden) or lines[-1].startswith("and "), seen


def is_of_a_rule(kind: str, mistake: Mistake) -> bool:
    """Whether a mistake is one between fields that can all be read."""
    with pytest.raises(ValidationError) as refused:
        MODELS[kind].model_validate(mistake.spec, by_alias=True, by_name=False)
    return all(isinstance(each.get("ctx", {}).get("error"), Violations) for each in refused.value.errors())


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN)
def test_what_was_refused_once_is_taken(changes: Mapping[str, Any]) -> None:
    read_plan_spec(changed(PLAN, changes))


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ({"stages[0].weight": 5}, {"stages[0].weight": "5%"}),
        ({"stages[1].weights": [10, 50]}, {"stages[1].weights": ["10%", "50.0%"]}),
        ({"bake": "1d12h"}, {"bake": "36h"}),
        ({"availability": {"minReady": 60}}, {"availability": {"minReady": "60%"}}),
    ],
)
def test_the_same_plan_in_another_form_does_not_start_again(written: dict[str, Any], same: dict[str, Any]) -> None:
    one, other = (read_plan_spec(changed(PLAN, changes)) for changes in (written, same))
    assert one == other
    assert one.plan_hash() == other.plan_hash()
