"""What is generated for Argo CD and Flux: the files are the rendering, and the expressions leave out what we move."""

import json
from pathlib import Path
from typing import Any

import jq
import pytest
import yaml

from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.cli.main import main
from rolloutplan.generate.gitops import files, weight_expressions
from tests.routers.samples import SAMPLES, Sample
from tests.shop import ROOT
from tests.unit.test_route_shapes import EVERY, patched, shifted, without_ours

FOLDER = ROOT / "deploy/gitops"


@pytest.mark.parametrize(("name", "text"), files(FOLDER / "argocd").items())
def test_a_file_is_the_rendering(name: str, text: str) -> None:
    assert (FOLDER / name).read_text() == text, "write it again: make generate"


def test_they_are_written_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "argocd").mkdir()
    for script in (FOLDER / "argocd").glob("*.lua"):
        (tmp_path / "argocd" / script.name).write_text(script.read_text())
    assert main(["gitops", str(tmp_path)]) == 0
    assert {name: (tmp_path / name).read_text() for name in files(FOLDER / "argocd")} == files(FOLDER / "argocd")


def left(expressions: list[str], raw: Any) -> Any:
    """What Argo CD compares of an object: each expression is deleted from it, by jq."""
    for expression in expressions:
        raw = jq.compile(f"del({expression})").input_text(json.dumps(raw)).first()
    return without_ours(raw)


@EVERY
def test_a_route_that_a_run_has_moved_does_not_differ_from_git(sample: Sample) -> None:
    view = sample.view(sample.object)
    moved = patched(sample.object, sample.kind.patch(view, shifted(sample, view, 333), token="main/1.1.1", undo="-"))
    expressions = list(weight_expressions(BUILT_IN[sample.name]))
    assert without_ours(moved) != without_ours(sample.object)
    assert left(expressions, moved) == left(expressions, sample.object)


@EVERY
@pytest.mark.parametrize("spec", [None, {}, {"rules": [{}]}, {"rules": [{"backendRefs": [{"name": "v1"}]}, {}]}])
def test_an_expression_passes_over_what_is_not_there(sample: Sample, spec: Any) -> None:
    """One that fails ignores nothing: a rule with a redirect has no backends."""
    raw = {"metadata": {"name": "web"}, "spec": spec}
    assert left(list(weight_expressions(BUILT_IN[sample.name])), raw)["spec"] == spec


def test_each_kind_has_an_entry() -> None:
    text = (FOLDER / "argocd/ignore-differences.yaml").read_text()
    entries = yaml.safe_load(text)["spec"]["ignoreDifferences"]
    assert len(entries) == len(SAMPLES)
    kinds = {(each["group"], each["kind"]) for each in entries}
    assert kinds == {(sample.kind.resource.group, sample.object["kind"]) for sample in SAMPLES.values()}
