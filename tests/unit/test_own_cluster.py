"""The end-to-end tests on a cluster of a user: on which they run, which of them, and what is said of the others."""

import importlib
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import Any

import pytest

from tests.own_cluster.ingress import CanaryIngresses
from tests.own_cluster.left_out import MARK, needs
from tests.own_cluster.refusals import confirmed, held, image_trouble
from tests.shop import ROOT

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("current", "named", "words"),
    [
        ("kind-kind", "kind-kind", ""),
        ("prod", "", 'the current context is "prod" (https://p:6443): .* make e2e CONTEXT=prod'),
        ("prod", "kind-kind", 'the current context is "prod" .* CONTEXT is "kind-kind"'),
        ("", "kind-kind", "has no current context"),
    ],
)
def test_a_cluster_is_used_only_where_its_context_is_named(current: str, named: str, words: str) -> None:
    said = confirmed(current, "https://p:6443", named)
    assert (not said) is (not words)
    for part in words.split(" .* "):
        assert part in said


@pytest.mark.parametrize(
    ("name", "seconds", "holder", "is_held"),
    [
        ("rolloutplan", 5, "pod-1", True),
        ("my-rolloutplan", 15, "pod-1", True),
        ("rolloutplan", 16, "pod-1", False),
        ("rolloutplan", 5, "", False),
        ("kube-scheduler", 5, "pod-1", False),
    ],
)
def test_who_holds_the_lease_of_another_operator_is_named(name: str, seconds: int, holder: str, is_held: bool) -> None:
    renewed = (NOW - timedelta(seconds=seconds)).isoformat()
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
    said = held([{"metadata": {"name": name, "namespace": "ops"}, "spec": spec}, _never_taken()], NOW)
    assert said.startswith(f"{holder} holds the Lease ops/{name}: another operator") if is_held else not said


def test_a_run_that_was_killed_a_moment_ago_is_told_from_another_operator() -> None:
    spec = {"holderIdentity": "laptop", "renewTime": NOW.isoformat()}
    said = held([{"metadata": {"name": "rolloutplan", "namespace": "rolloutplan-e2e"}, "spec": spec}], NOW)
    assert "a run of these tests is on, or was killed a moment ago: try again in a minute" in said


def _never_taken() -> dict[str, Any]:
    return {"metadata": {"name": "rolloutplan", "namespace": "other"}, "spec": None}


def test_an_image_that_cannot_be_pulled_is_told_in_the_words_of_the_cluster() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
    pods = [{}, {"status": {"containerStatuses": [{"state": {"waiting": waiting}}]}}]
    assert 'no pod of the image x became ready (ImagePullBackOff: Back-off pulling image "x")' in image_trouble(
        "x", pods
    )


def test_weights_are_the_share_of_the_canary() -> None:
    stable, canary = CanaryIngresses().manifests("web", {"v1": 30, "v2": 10}, "shop", "example.com")
    assert canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "25"
    assert (stable["metadata"]["name"], canary["metadata"]["name"]) == ("web", "web-canary")


def test_a_test_that_runs_on_any_cluster_uses_no_part_of_the_bed() -> None:
    marked = 0
    for path in (ROOT / "tests/e2e").rglob("test_*.py"):
        if f"mark.{MARK}" not in path.read_text():
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for function in vars(module).values():
            if isinstance(function, FunctionType) and any(m.name == MARK for m in getattr(function, "pytestmark", ())):
                marked += 1
                assert not needs(function), function.__name__
    assert marked > 15


def _bakes(shop: Any) -> None:
    def inner() -> None:
        _calls(shop)

    inner()


def _calls(shop: Any) -> None:
    shop.bed.load(shop.host)


def test_what_a_test_needs_is_found_in_what_it_calls() -> None:
    assert needs(_bakes) == "sends requests through the bed's gateway"
    assert not needs(needs)
    assert needs(needs, ["proxy"]) == "puts a proxy before the API server"
