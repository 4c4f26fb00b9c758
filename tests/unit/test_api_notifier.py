"""Notifiers: what is refused, with field and fix, which plans they select, and which decisions they take."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.notifier import WORDS, ClusterNotifierSpec, DecisionFilter, read_notifier
from rolloutplan.api.parsing import SpecError
from tests.refusals import CLUSTER_NOTIFIER, NOTIFIER, NOTIFIERS, Refusal, changed


@pytest.mark.parametrize("refusal", NOTIFIERS, ids=lambda refusal: refusal.name)
def test_notifiers_that_are_refused(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as error:
        read_notifier(refusal.spec(), cluster=refusal.good is CLUSTER_NOTIFIER)
    assert all(word in str(error.value) for word in refusal.words), str(error.value)


@pytest.mark.parametrize(
    "url", ["https://hooks.example/T0/B0/secret word", "https://a:secret@b", "https://hooks.example/x?sig=secret#"]
)
def test_no_refusal_repeats_an_address(url: str) -> None:
    with pytest.raises(SpecError) as error:
        read_notifier(changed(NOTIFIER, {"webhook.url": url}), cluster=False)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.shop:8080",
        "https://hooks.slack.com/services/T0/B0/x",
        "https://prod-1.logic.azure.example:443/workflows/a/triggers/manual/paths/invoke?api-version=2016&sp=%2Fx&sig=a-b",
        "https://10.0.0.5/hook",
        "https://[fd00::1]/hook",
    ],
)
def test_addresses_as_receivers_give_them_are_taken(url: str) -> None:
    assert read_notifier(changed(NOTIFIER, {"webhook.url": url}), cluster=False).webhook.url == url


def test_every_word_of_a_template_is_taken_with_and_without_braces() -> None:
    text = " ".join(f"${word} ${{{word}}}" for word in WORDS) + " $5 $ ${ 100$"
    assert read_notifier(NOTIFIER | {"template": text}, cluster=False).template == text


def test_an_unknown_word_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"spec\.template: \$wieghtTo is no word of a decision: write \$weightTo$"):
        read_notifier(NOTIFIER | {"template": "$wieghtTo"}, cluster=False)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"namespaces": ["shop"]}, True),
        ({"namespaces": ["pay", "sh*"]}, True),
        ({"namespaces": ["pay"]}, False),
        ({"matchLabels": {"tier": "front"}}, True),
        ({"matchLabels": {"tier": "front", "zone": "a"}}, False),
        ({"owners": ["team-a", "team-b"]}, True),
        ({"owners": ["team-a"]}, False),
        ({"namespaces": ["pay"], "owners": ["team-b"]}, False),
    ],
)
def test_the_plans_that_a_selector_selects(selector: dict[str, Any], selected: bool) -> None:
    spec = read_notifier({**NOTIFIER, "selector": selector}, cluster=True)
    assert isinstance(spec, ClusterNotifierSpec)
    assert spec.selector.selects("shop", {"tier": "front"}, "team-b") is selected


def test_a_plan_without_an_owner_is_selected_where_none_is_named() -> None:
    spec = read_notifier(NOTIFIER, cluster=False)
    assert spec.selector.selects("shop", {}, None)
    spec = read_notifier({**NOTIFIER, "selector": {"owners": ["team-a"]}}, cluster=False)
    assert not spec.selector.selects("shop", {}, None)


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ({}, True),
        ({"reasons": ["RolledBack", "Held"]}, True),
        ({"reasons": ["Held"]}, False),
        ({"kinds": ["Rollback"]}, True),
        ({"kinds": ["Hold"]}, False),
        ({"severity": "Warning"}, True),
        ({"severity": "Normal"}, False),
        ({"reasons": ["RolledBack"], "severity": "Normal"}, False),
    ],
)
def test_the_decisions_that_a_notifier_takes(written: dict[str, Any], taken: bool) -> None:
    found = DecisionFilter.model_validate(written)
    assert found.takes("RolledBack", "Rollback", "Warning") is taken
