"""What the pages say of the code and of each other's figures, against these."""

import re
from datetime import timedelta

from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Phase
from rolloutplan.engine.analysis.variables import variables_for
from rolloutplan.generate.states import states
from tests.pages import anchors
from tests.refusals import PLAN, changed
from tests.shop import ROOT

VARIABLE = re.compile(r"^\| `\$(\w+)` \|.*\| `([^`]+)` \|$", re.MULTILINE)
HEALTH = re.compile(r"^\| (Healthy|Progressing|Suspended|Degraded) \| (.*) \|$", re.MULTILINE)


PAGE = re.compile(r"(docs/[\w/-]+\.md)(?:#([\w-]+))?")
NAMESPACE_LAST = re.compile(r"rolloutplan [a-z]+ (?!-)[^`|#\n]*? -n \S+")


def page(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_page_of_the_variables_has_each_with_its_value() -> None:
    sides = {"old": {"deployment": "checkout-v1", "service": "checkout"}, "new": {"deployment": "checkout-v2"}}
    time = timedelta(seconds=90)
    given = variables_for(
        read_plan_spec(changed(PLAN, sides)),
        namespace="shop",
        plan="release",
        stage="canary",
        window=time,
        elapsed=time,
    )
    text = page("docs/variables.md")
    assert dict(VARIABLE.findall(text)) == {name: given[name] for name in BUILTIN_VARIABLES if given[name]}
    assert all(f"\n| `${name}` |" in text for name in BUILTIN_VARIABLES)


def test_the_page_on_gitops_gives_every_phase_a_health() -> None:
    rows = dict(HEALTH.findall(page("docs/gitops.md")))
    assert len(rows) == 4
    assert {phase for phase in Phase if not any(f"`{phase}`" in text for text in rows.values())} == set()


def test_the_picture_of_the_usual_ways_has_no_other_ways_than_the_table() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+)$", page("docs/concepts.md"), re.MULTILINE)
    ways = {(source, to) for source, to in re.findall(r"^    (\w+) --> (\w+):", states(), re.MULTILINE)}
    assert drawn
    assert {*drawn} <= ways


def test_the_readme_has_the_figures_of_the_page_of_figures() -> None:
    """The README leaves columns out, and of a cell what comes after the share that was caught."""
    shown, measured = (_judge_table(name) for name in ("README.md", "docs/figures.md"))
    assert len(shown) > 3
    for release, ours, flagger, argo in shown:
        (row,) = (row for row in measured if row[0].startswith(release))
        assert [cell.partition(",")[0] for cell in (row[1], row[3], row[4])] == [ours, flagger, argo], release


def _judge_table(name: str) -> list[list[str]]:
    _, _, rest = page(name).partition("| release | RolloutPlan")
    table, _, _ = rest.partition("\n\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_commands_name_the_namespace_first_as_on_the_screens() -> None:
    """Half of a command that was cut must not name a plan."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.yaml")]
    assert {found[0] for each in pages for found in NAMESPACE_LAST.finditer(each.read_text())} == set()


def test_the_cookbook_has_every_example() -> None:
    shown = page("docs/cookbook.md") + page("docs/cookbook-routers.md")
    files = [
        file for folder in ("examples", "examples/routers") for file in (ROOT / folder).iterdir() if file.is_file()
    ]
    assert {file for file in files if f'--8<-- "{file.relative_to(ROOT)}"' not in shown} == set()


def test_pages_that_messages_and_files_name_are_there() -> None:
    folders = [(ROOT / name).rglob("*") for name in ("operator", "deploy", "examples")]
    files = [file for folder in folders for file in folder if file.suffix in {".py", ".yaml"}]
    named = {found for file in files for found in PAGE.findall(file.read_text())}
    assert len(named) > 10
    assert {name for name, anchor in named if not (ROOT / name).exists()} == set()
    assert {f"{name}#{anchor}" for name, anchor in named if anchor and anchor not in anchors(ROOT / name)} == set()
