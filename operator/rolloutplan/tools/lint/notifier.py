"""Find credentials in notifiers, and what would never be sent.

Specs come from `cli`; the findings go to `lint`'s output. No value is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Final
from urllib.parse import urlsplit

from rolloutplan.api.notifier import AnyNotifierSpec, ClusterNotifierSpec
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import Kind
from rolloutplan.engine.model.transitions import TRANSITIONS, Severity
from rolloutplan.tools.lint.source import lint_auth, lint_headers
from rolloutplan.tools.promql.queries import Finding

_HOLDER: Final = "ClusterNotifier"
_SECRET_HOSTS: Final = re.compile(
    r"(^|\.)(hooks\.slack\.com|webhook\.office\.com|logic\.azure\.com|powerplatform\.com|discord\.com)$"
)
"""Of their webhooks the path or the query is what lets a sender in."""
_SECRET_QUERY: Final = re.compile(r"(?i)(^|&)(sig|key|token|code|secret|apikey|api_key|access_token)=")
_KNOWN_IS_IN: Final = (
    "its address lets in whoever knows it, and whoever may read this can post there: in a ClusterNotifier write it into"
    " a file of the chart's value credentials, and name that in webhook.urlFile (docs/security.md)"
)


def lint_notifier(spec: AnyNotifierSpec) -> Iterator[Finding]:
    """Find credentials, and a filter that no decision passes."""
    yield from lint_headers(spec.headers, _HOLDER)
    if isinstance(spec, ClusterNotifierSpec):
        yield from lint_auth(spec.auth)
    if spec.webhook.url is not None and _is_secret(spec.webhook.url):
        yield Finding("spec.webhook.url", "credential", "warning", _KNOWN_IS_IN)
    if not any(spec.decisions.takes(*each) for each in _possible()):
        words = "no decision has a reason, a kind and a severity of these: nothing would be sent; leave one of them out"
        yield Finding("spec.decisions", "nothing-sent", "error", words)


def _is_secret(url: str) -> bool:
    parts = urlsplit(url)
    return bool(_SECRET_HOSTS.search(parts.hostname or "") or _SECRET_QUERY.search(parts.query))


def _possible() -> Iterator[tuple[str, str, str]]:
    """Reason, kind and severity of every decision that there can be, and of every notice."""
    for row in TRANSITIONS.values():
        if row.kind is not None and row.event_reason is not None:
            yield str(row.event_reason), str(row.kind), str(row.severity)
    notices = (EventReason.STATUS_NOT_WRITTEN, EventReason.CLOCK_BEHIND, EventReason.OPERATOR_FAULT)
    for reason, kind, severity in product(notices, (Kind.HOLD, Kind.PERSIST), Severity):
        yield str(reason), str(kind), str(severity)
