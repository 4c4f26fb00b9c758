"""What the pages show: each block of YAML is as good as a file, and each link leads somewhere."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.spec import PlanSpec
from rolloutplan.cli.main import main
from rolloutplan.tools.promql.parse import parse_bounded
from tests.bed import tools
from tests.pages import PAGES, Block, anchors, blocks, links, missing
from tests.shop import ROOT, job

Json = dict[str, Any]

BLOCKS = [block for page in PAGES for block in blocks(page)]
YAML = [block for block in BLOCKS if block.language == "yaml" and block.action != "no"]
API = "rolloutplan.dev/v1alpha1"
GUARD = {"name": "a-guard-of-the-test", "alert": {"matchers": 'severity="page",service="$service"'}}
"""An alert may be about anything, so a plan with one looks for everything at 100 %."""
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


@pytest.mark.parametrize("block", YAML, ids=str)
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
