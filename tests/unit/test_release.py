"""What a release is made of, and what it says of itself."""

import hashlib
import re
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.release import describe
from deploy.release.describe import Commit, Locked

ROOT = Path(__file__).parents[2]
LOCK = describe.locked((ROOT / "requirements.lock").read_text())
COMMIT = Commit("a" * 40, 1_700_000_000)
SUM = hashlib.sha256(b"").hexdigest()


def found(*names: str) -> dict[str, Any]:
    """What cyclonedx-py says of an environment."""
    licence = [{"license": {"id": "MIT"}}]
    components = [{"name": name, "version": LOCK[name].version, "licenses": licence} for name in names]
    return {"metadata": {"component": {"name": "rolloutplan"}}, "components": components}


@pytest.mark.parametrize(
    "registry",
    ["example.org", "example.org/team", "localhost", "localhost:5000/a/b", "r:443/t", "eu.example.org/a_b-c"],
)
def test_a_registry_is_taken(registry: str) -> None:
    assert describe.registry_fault(registry) == ""


@pytest.mark.parametrize(
    "registry",
    [
        "team",
        "https://example.org",
        "example.org/",
        "Example.org/t",
        "example.org/t:1",
        "a b",
        "example.org//t",
        "$(id)",
    ],
)
def test_what_is_no_registry_is_refused_with_an_example(registry: str) -> None:
    said = describe.registry_fault(registry)
    assert said.startswith(f'REGISTRY "{registry}" is not the address of a registry: ')
    assert said.endswith("such as example.org/team")


def test_without_a_registry_there_is_no_default() -> None:
    assert describe.registry_fault("").startswith("REGISTRY is missing: write where you push the image")


@pytest.mark.parametrize(
    ("changes", "words"),
    [("", ""), (" M Makefile\n", "and Makefile of the tree"), ("?? a\n?? b\n M c\n", "and a and 2 more of the tree")],
)
def test_a_tree_with_changes_is_refused(changes: str, words: str) -> None:
    said = describe.tree_fault(changes)
    assert words in said
    assert bool(said) == bool(changes)


def test_a_lock_is_read_with_hashes_and_conditions() -> None:
    text = f"a-b==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{SUM} \\\n    --hash=sha256:{SUM}\n    # via c\n"
    assert describe.locked(text) == {"a-b": Locked("1.0", "sys_platform == 'win32'", [SUM, SUM])}
    assert [name for name, each in LOCK.items() if not each.hashes] == []


def test_the_chart_names_the_image_after_it() -> None:
    text = (ROOT / "deploy/helm/rolloutplan/values.yaml").read_text()
    values, before = (
        yaml.safe_load(each) for each in (describe.with_image(text, "example.org/team/rolloutplan", "0.1.0"), text)
    )
    image = values["image"] | {"repository": "", "tag": ""}
    assert (values["image"]["repository"], values["image"]["tag"]) == ("example.org/team/rolloutplan", "0.1.0")
    assert values | {"image": image} == before


def test_each_component_has_the_hashes_of_its_lock_and_ours_that_of_the_wheel() -> None:
    sbom = describe.bill(found("typing-extensions", "promql-parser"), LOCK, "0.1.0", SUM, COMMIT)
    typing_extensions, promql_parser = sbom["components"]
    assert [each["content"] for each in typing_extensions["hashes"]] == LOCK["typing-extensions"].hashes
    assert promql_parser["licenses"] == [{"license": {"id": "MIT", "acknowledgement": "concluded"}}]
    assert sbom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": SUM}]
    assert sbom["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    again = describe.bill(found("typing-extensions", "promql-parser"), LOCK, "0.1.0", SUM, COMMIT)
    assert again == sbom


def test_an_sbom_that_lacks_a_package_or_a_licence_is_refused() -> None:
    always = [name for name, each in LOCK.items() if not each.only]
    whole = found(*always)
    assert describe.bill_fault(whole, LOCK) == ""
    assert "the SBOM lacks aiohttp, " in describe.bill_fault(found(*(set(always) - {"aiohttp"})), LOCK)
    whole["components"][0]["licenses"] = [{"license": {"name": "ours"}}]
    assert "name no licence of SPDX: read their" in describe.bill_fault(whole, LOCK)


def test_each_locked_package_names_its_licence_or_it_was_read_by_hand() -> None:
    unnamed = {name for name, each in LOCK.items() if not each.only and not names_a_licence(metadata(name))}
    assert unnamed <= describe.CONCLUDED.keys() <= LOCK.keys()


def names_a_licence(package: PackageMetadata) -> bool:
    """Whether it does so in a form that `make release` can read in most packages; free words are none."""
    known = any(each.startswith("License :: OSI Approved :: ") for each in package.get_all("Classifier", []))
    words = str(package["License"]) if "License" in package else ""
    return "License-Expression" in package or known or re.fullmatch("[A-Za-z0-9.-]+", words) is not None


def test_the_provenance_names_sources_builder_and_files() -> None:
    made = describe.statement(COMMIT, "example.org/team", {"helm": "v4"}, {"requirements.lock": SUM}, {"a.whl": SUM})
    assert made["subject"] == [{"name": "a.whl", "digest": {"sha256": SUM}}]
    definition = made["predicate"]["buildDefinition"]
    source, lock = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT.sha}
    assert lock == {"name": "requirements.lock", "digest": {"sha256": SUM}}
    assert made["predicate"]["runDetails"]["builder"]["version"] == {"helm": "v4"}
