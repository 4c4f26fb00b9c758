"""What ships stays right however it is edited without harm: lint finds no more in it than before."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

import pytest
import yaml

from rolloutplan.api.resolve import Template, resolve
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.template import read_template
from rolloutplan.tools.lint.plans import lint_plan, lint_template
from tests.repetition import times

ROOT: Final = Path(__file__).parents[2]
EDITS: Final = 15
"""Edits of each file and seed; each has several in each query."""
_QUERIES: Final = ("query", "bad", "total", "histogram")
_PIECES: Final = re.compile(r'("(?:[^"\\]|\\.)*")')


def documents(folder: str) -> list[dict[str, Any]]:
    files = sorted((ROOT / folder).glob("*.yaml"))
    return [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]


PLANS: Final = [each for each in documents("examples") if each["kind"] == "RolloutPlan"]
TEMPLATES: Final = [
    each for each in (*documents("deploy/predicates"), *documents("examples")) if each["kind"].endswith("Template")
]


def spaced(random: Random, text: str) -> str:
    """Other spaces where there are some, outside of strings."""
    gaps = (" ", "  ", "\n", "\n    ", "\t", " # a note (\n")
    parts = _PIECES.split(text)
    return "".join(part if i % 2 else re.sub(" ", lambda _: random.choice(gaps), part) for i, part in enumerate(parts))


def other_quotes(random: Random, text: str) -> str:
    """Single quotes around some strings."""

    def quoted(found: re.Match[str]) -> str:
        plain = not set("'`\\") & set(found[0])
        return f"'{found[0][1:-1]}'" if plain and random.random() < 0.5 else found[0]

    return _PIECES.sub(quoted, text)


def one_more_label(random: Random, text: str) -> str:
    """A further matcher that says nothing about a side."""
    more = random.choice(('cluster="eu"', 'env=~"prod|stage"', 'job!=""', 'path!~"/(live|ready)z"'))
    return text.replace("}", f",{more}}}", 1)


def other_metrics(random: Random, text: str) -> str:
    """A prefix before the names of metrics."""
    prefix = random.choice(("acme_", "shop:", "x_"))
    return re.sub(r"\b(?=(?:http_|mails_|cache_)\w+\{)", prefix.replace(":", "_"), text)


Edit: TypeAlias = Callable[[Random, str], str]
FORM: Final[tuple[Edit, ...]] = (spaced, other_quotes)
SUBJECT: Final[tuple[Edit, ...]] = (one_more_label, other_metrics)
"""What bad and total have to go through together: they count the same requests."""


def some(random: Random, edits: Sequence[Edit], text: str) -> str:
    for edit in random.sample(edits, random.randint(0, len(edits))):
        text = edit(random, text)
    return text


def edited(random: Random, node: Any, field: str = "", subject: float = 0.0) -> Any:
    """An object with its queries edited without harm; texts of one `subject` come to be about the same."""
    if isinstance(node, dict):
        subject = random.random()
        return {name: edited(random, value, name, subject) for name, value in node.items()}
    if isinstance(node, list):
        return [edited(random, each, field) for each in node]
    if isinstance(node, str) and field in _QUERIES:
        node = some(random, FORM, some(Random(subject), SUBJECT, node))
        if field == "query" and random.random() < 0.3:
            node = f"({node})"
    return node


def found_in_plan(spec: dict[str, Any]) -> set[str]:
    known = {each["metadata"]["name"]: each for each in TEMPLATES}

    def look_up(name: str) -> Template:
        return Template(known[name]["kind"], name, read_template(known[name]["spec"]), "")

    plan = resolve(read_plan_spec(spec), look_up).spec
    return {f"{each.severity} {each.rule} {each.path}" for each in lint_plan(plan, None) if each.severity != "hint"}


@pytest.mark.parametrize("seed", range(times(2)))
@pytest.mark.parametrize("plan", PLANS, ids=[each["metadata"]["name"] for each in PLANS])
def test_a_plan_that_ships(plan: dict[str, Any], seed: int) -> None:
    random, before = Random(seed), found_in_plan(plan["spec"])
    for _ in range(EDITS):
        spec = edited(random, plan["spec"])
        assert found_in_plan(spec) <= before, yaml.safe_dump(spec)


@pytest.mark.parametrize("template", TEMPLATES, ids=[each["metadata"]["name"] for each in TEMPLATES])
def test_a_template_that_ships(template: dict[str, Any]) -> None:
    random = Random(7)
    for _ in range(EDITS):
        spec = edited(random, template["spec"])
        found = [each for each in lint_template(read_template(spec)) if each.severity != "hint"]
        assert found == [], yaml.safe_dump(spec)
