"""What the pages show: each block is as good as a file or a command, and each link leads somewhere."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.spec import PlanSpec
from rolloutplan.cli.main import main
from rolloutplan.tools.promql.parse import parse_bounded
from tests.bed import tools
from tests.commands import ENTRIES, calls, refused, shell, unknown
from tests.pages import PAGES, Block, anchors, blocks, links, missing, prose
from tests.shop import ROOT, job

Json = dict[str, Any]

BLOCKS = [block for page in PAGES for block in blocks(page)]
YAML = [block for block in BLOCKS if block.language == "yaml"]
SHELL = [block for block in BLOCKS if block.language in ("sh", "console") and block.action != "load"]
SCREENS = [block for block in BLOCKS if block.language == "console"]
SENTENCES = {
    page: re.findall(r"`((?:kubectl )?rolloutplan [a-z][^`]*)`", " ".join(line for _, line in prose(page)))
    for page in PAGES
}
"""Commands in the sentences of a page: often without what they are about."""
OFFLINE = {"judge", "rehearse", "simulate"}
"""Commands whose screens can be made again without a cluster."""
API = "rolloutplan.dev/v1alpha1"
GUARD = {"name": "a-guard-of-the-test", "alert": {"matchers": 'severity="page",service="$service"'}}
"""An alert may be about anything, so a plan with one looks for everything at 100 %."""
KINDS = ROOT / "operator/rolloutplan/api/route_kinds"
FIELDS = {field.alias or name for name, field in PlanSpec.model_fields.items()}
JOB = {"template": {"spec": {**job()["template"]["spec"]}}}
"""What stands for a Job of which a page shows a part."""


def whole(part: object) -> object:
    """An object from a part of one: predicates, fields of a plan's spec, or the spec of a metric source.

    What a page leaves out with `...` is filled in.
    """
    if isinstance(part, list):
        return whole({"guards": [*part, GUARD]})
    if not isinstance(part, dict) or "kind" in part:
        return part
    if part.keys() == {"spec"}:
        return {"apiVersion": API, "kind": "ClusterMetricSource", "metadata": {"name": "default"}, **part}
    unknown = part.keys() - FIELDS
    assert not unknown, f"not fields of a plan: {unknown}"
    sides = {side: {"deployment": f"checkout-{version}"} for side, version in (("old", "v1"), ("new", "v2"))}
    routes = {"traffic": {"routes": [{"kind": "HTTPRoute", "name": "checkout"}]}}
    rest = {"guards": [GUARD], "stages": [{"weights": ["5%", "100%"], "soak": "10m"}]}
    meta = {"name": "checkout-v2", "namespace": "shop"}
    return {"apiVersion": API, "kind": "RolloutPlan", "metadata": meta, "spec": {**sides, **routes, **rest, **part}}


def filled(part: Any) -> Any:
    """With a whole Job for each template that is only hinted at."""
    if isinstance(part, list):
        return [filled(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: JOB["template"] if key == "template" and "..." in str(each) else filled(each) for key, each in part.items()
    }


def test_each_block_is_of_a_language_that_is_checked() -> None:
    """A picture is drawn by the code; a text is what was printed, or a list of files."""
    checked = {"yaml", "promql", "sh", "console", "json", "csv"}
    assert {block.language for block in BLOCKS} <= checked | {"mermaid", "text"}


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml_on_a_page_can_be_read(block: Block) -> None:
    assert all(isinstance(each, dict | list) for each in yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", [block for block in YAML if block.action == "kind"], ids=str)
def test_a_kind_of_route_on_a_page_is_the_one_that_is_built_in(block: Block) -> None:
    said = yaml.safe_load(block.text)
    built_in = yaml.safe_load((KINDS / f"{block.argument}.yaml").read_text())
    assert said.items() <= built_in.items()


@pytest.mark.parametrize("block", [block for block in YAML if block.action in ("", "file", "converted")], ids=str)
def test_yaml_on_a_page_would_be_taken(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [filled(whole(each)) for each in yaml.safe_load_all(block.text)]
    if not any(each["apiVersion"] == API for each in objects):
        return  # others read it
    file = tmp_path / "block.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    code = main(["lint", "--strict", "--output=json", str(file)])
    found = [(row["path"], row["message"]) for row in json.loads(capsys.readouterr().out) if row["severity"] != "hint"]
    assert not found, f"{block}: {found}"
    assert code == 0


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "promql"], ids=str)
def test_promql_on_a_page_can_be_read(block: Block) -> None:
    parse_bounded(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=str)
def test_json_on_a_page_can_be_read(block: Block) -> None:
    """It may be a part of an object."""
    json.loads(f"{{{block.text}}}" if block.text.startswith('"') else block.text)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_and_the_programs_would_take_what_a_page_has_typed(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=shell(block), text=True, check=True)
    for words in calls(shell(block)):
        program, *rest = words
        if ours := _ours(words):
            assert not refused(ours), words
        elif program == "kubectl" and block.action == "" and rest[0] != "krew":  # a plug-in, and what is run anyway
            assert not unknown(words, tools.script("kubectl")), words


@pytest.mark.parametrize("page", [page for page in PAGES if SENTENCES[page]], ids=lambda page: page.name)
def test_commands_in_sentences_exist_with_their_flags(page: Path) -> None:
    for said in SENTENCES[page]:
        ours = _ours(next(calls(said)))
        assert ours[1] in ENTRIES, said
        assert not unknown(ours), said


def _ours(words: list[str]) -> list[str]:
    """A call of `rolloutplan`, also where kubectl makes it; nothing of any other."""
    words = words[1:] if words[:2] == ["kubectl", "rolloutplan"] else words
    return words if Path(words[0]).name == "rolloutplan" else []


@pytest.mark.parametrize("block", SCREENS, ids=str)
def test_a_screen_on_a_page_is_what_is_printed(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for file in (each for each in blocks(block.page) if each.action == "file"):
        Path(file.argument).write_text(file.text)
    called, _, printed = block.text.partition("\n")
    words = next(calls(called.removeprefix("$ ")))
    if words[1] in OFFLINE:
        assert main(words[1:]) == 0
        assert missing(printed, capsys.readouterr().out) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for number, link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"line {number}: {link}"
        assert not anchor or anchor in anchors(target), f"line {number}: {link}"


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("NAME AGE\ncheckout 14m", "NAME        AGE\nother   1h\ncheckout    3s\n"),
        ("...\ncheckout ... 5%", "checkout Judging 1/4 5%"),
        ("checkout ...", "checkout Judging 1/4 5%"),
        ("deployment.apps/checkout-v1 created", "deployment.apps/checkout-v1 created"),
        ("", "anything"),
    ],
)
def test_lines_that_were_printed(expected: str, printed: str) -> None:
    assert missing(expected, printed) == []


@pytest.mark.parametrize(
    ("expected", "printed", "absent"),
    [
        ("a\nb", "b\na", ["b"]),
        ("checkout 5%", "checkout 25%", ["checkout 5%"]),
        ("checkout 5%", "", ["checkout 5%"]),
        ("weight 100", "weight 0", ["weight 100"]),
    ],
)
def test_lines_that_were_not_printed(expected: str, printed: str, absent: list[str]) -> None:
    assert missing(expected, printed) == absent


def test_blocks_and_what_is_said_of_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n<!-- bed: load shop.example.com -->\n- item\n\n"
        "  <!-- bed: file a.yaml -->\n  ```yaml\n  a: 1\n    b\n  ```\n"
        "```sh\nls\n```\n<!-- bed: $ hurry a.yaml -->\n"
    )
    found = [(block.line, block.language, block.text, block.action, block.argument) for block in blocks(page)]
    assert found == [
        (2, "sh", "shop.example.com", "load", "shop.example.com"),
        (6, "yaml", "a: 1\n  b\n", "file", "a.yaml"),
        (10, "sh", "ls\n", "", ""),
        (13, "sh", "hurry a.yaml", "$", "hurry a.yaml"),
    ]


def test_a_comment_that_is_away_from_its_block_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bed: run -->\ntext\n```sh\nls\n```\n")
    with pytest.raises(ValueError, match="2: a comment stands before a text"):
        list(blocks(page))


# ---- the samples that a page has its reader release ------------------------------------------------------------------


@pytest.mark.parametrize(
    "commit", sorted((ROOT / "examples/kustomize/commits").iterdir())[1:], ids=lambda path: path.name
)
def test_each_commit_of_the_kustomize_sample_is_good(
    commit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(tools.script("kubectl")), "kustomize", str(commit)]
    made = tmp_path / "made.yaml"
    made.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert main(["lint", "--strict", str(made)]) == 0, capsys.readouterr().out


# ---- calls that are taken apart --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b # c\nd", [["a", "b"], ["d"]]),
        ("a 'b > c' \\\n  d | e", [["a", "b > c", "d"], ["e"]]),
        ("a > b 2> c d; X=1 e", [["a", "d"], ["e"]]),
        ('while a; do b "$c"; done < d', [["a"], ["b", "name"]]),
        ("a -f - <<EOF\nb: c\nEOF\nd", [["a", "-f", "-"], ["d"]]),
    ],
)
def test_a_text_for_a_shell_as_calls(text: str, expected: list[list[str]]) -> None:
    assert list(calls(text)) == expected


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("rolloutplan wait -n shop checkout-v2 --timeout 4h", ""),
        ("rolloutplan wate", "there is no command wate"),
        ("rolloutplan wait -n shop checkout-v2 --timout 4h", "No such option"),
        ("rolloutplan wait -n shop checkout-v2 --timeout soon", "Invalid value"),
    ],
)
def test_a_call_is_read_as_the_command_line_reads_it(call: str, problem: str) -> None:
    assert refused(next(calls(call))).startswith(problem)
