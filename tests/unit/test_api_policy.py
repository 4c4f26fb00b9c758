"""The spec of a policy: what is refused and how it is said, and what it means."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from rolloutplan.api.policy import SpecError, read_policy
from tests.refusals import GONE, POLICIES, POLICY, Refusal, changed

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.yaml"
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("refusal", POLICIES, ids=lambda refusal: refusal.name)
def test_policies_that_are_refused(refusal: Refusal) -> None:
    with pytest.raises(SpecError) as refused:
        read_policy(refusal.spec())
    assert all(word in str(refused.value) for word in refusal.words), refused.value


@pytest.mark.parametrize("zone", ["Europe/Berlim", "Europe", "europe/berlin", "CEST", "tzdata/zones"])
def test_a_time_zone_that_is_none_is_refused_here_alone(zone: str) -> None:
    with pytest.raises(SpecError, match=rf'windows\[0\]\.timeZone: "{zone}" is not a time zone: .* Europe/Berlin'):
        read_policy(changed(POLICY, {"freeze.windows[0].timeZone": zone}))


@pytest.mark.parametrize("zone", ["../etc/passwd", "/etc/localtime", "UTC/..", "a//b", "UTC\n", ""])
def test_a_time_zone_never_leads_out_of_the_database(zone: str) -> None:
    with pytest.raises(SpecError, match="timeZone"):
        read_policy(changed(POLICY, {"freeze.windows[0].timeZone": zone}))


@pytest.mark.parametrize("raw", [None, [], "spec", 5, {"freeze": []}, {"freeze": {"windows": [None]}}])
def test_what_is_no_policy_at_all(raw: Any) -> None:
    with pytest.raises(SpecError, match=r"^spec"):
        read_policy(raw)


def test_the_example_is_good() -> None:
    everyone, production, payments = (read_policy(each["spec"]) for each in yaml.safe_load_all(EXAMPLE.read_text()))
    assert [window.reason for window in everyone.freeze.windows] == ["weekend", "nights", "holidays"]
    assert (production.max_concurrent, production.focus.base) == (6, "Stability")
    assert payments.lock_group == "payments"


def test_a_policy_of_nothing_is_for_every_plan_and_asks_nothing() -> None:
    policy = read_policy({})
    assert (policy.selector.namespaces, policy.selector.match_labels) == (("*",), {})
    assert (policy.max_concurrent, policy.lock_group, policy.focus.base) == (None, None, "Balanced")
    assert (policy.freeze.now, policy.freeze.windows, policy.error_budget) == (None, (), None)


def test_windows() -> None:
    weekend, nights, holidays = read_policy(POLICY).freeze.windows
    assert weekend.recurring
    assert (weekend.recurring.from_, weekend.recurring.to) == (4 * 24 * HOUR + 16 * HOUR, 8 * HOUR)
    assert (weekend.recurring.length, weekend.time_zone) == (64 * HOUR, "Europe/Berlin")
    assert nights.recurring
    assert (nights.recurring.from_, nights.recurring.length, nights.time_zone) == (22 * HOUR, 8 * HOUR, "UTC")
    assert holidays.recurring is None
    assert (holidays.from_, holidays.to) == (datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 1, 1, 23, tzinfo=UTC))


@pytest.mark.parametrize(
    ("share", "permille", "text"), [("20%", 200, "20%"), ("0.5%", 5, "0.5%"), ("0%", 0, "0%"), ("100.0%", 1000, "100%")]
)
def test_the_share_of_a_budget_that_must_be_left(share: str, permille: int, text: str) -> None:
    budget = read_policy(changed(POLICY, {"errorBudget.atLeast": share})).error_budget
    assert budget
    assert (budget.at_least, budget.at_least_text) == (permille, text)


def test_each_part_may_be_left_out() -> None:
    for part in POLICY:
        read_policy(changed(POLICY, {part: GONE}))
