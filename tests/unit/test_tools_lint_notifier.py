"""What lint finds in notifiers: credentials that anyone can read, and filters that nothing passes."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.notifier import read_notifier
from rolloutplan.tools.lint.notifier import lint_notifier
from tests.refusals import NOTIFIER, changed


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"headers": {"X-Api-Key": "abc"}}, ["spec.headers.X-Api-Key: error"]),
        ({"headers": {"X-Team": "Bearer abc"}}, ["spec.headers.X-Team: error"]),
        ({"headers": {"X-Team": "shop"}}, []),
        ({"webhook.url": "https://hooks.slack.com/services/T0/B0/x"}, ["spec.webhook.url: warning"]),
        ({"webhook.url": "https://prod-1.logic.azure.com/workflows/a?sig=x"}, ["spec.webhook.url: warning"]),
        ({"webhook.url": "https://hooks.example/?v=1&token=x"}, ["spec.webhook.url: warning"]),
        ({"webhook": {"urlFile": "slack", "format": "Slack"}}, []),
        ({"auth": {"bearer": "eyJhbGciOiJIUzI1NiJ9"}}, ["spec.auth.bearer: error"]),
        ({"decisions": {"reasons": ["RolledBack"], "kinds": ["Advance"]}}, ["spec.decisions: error"]),
        ({"decisions": {"reasons": ["Succeeded"], "severity": "Warning"}}, ["spec.decisions: error"]),
        ({"decisions": {"reasons": ["OperatorFault"]}}, []),
        ({"decisions": {"severity": "Warning"}}, []),
    ],
)
def test_what_lint_finds(changes: dict[str, Any], found: list[str]) -> None:
    findings = list(lint_notifier(read_notifier(changed(NOTIFIER, changes), cluster=True)))
    assert [f"{each.path}: {each.severity}" for each in findings] == found
    assert not any("abc" in each.words or "T0" in each.words for each in findings)
