"""Find credentials in metric sources: anyone who may read the object, or the repository, can use them.

Specs come from `cli`; the findings go to `lint`'s output. No value is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from rolloutplan.api.auth import Auth
from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec
from rolloutplan.api.suggestions import credential_file
from rolloutplan.tools.promql.queries import Finding

_HOLDER: Final = "ClusterMetricSource"
_NAME: Final = re.compile(
    r"(?i)(^|[-_.])(api-?_?key|access-?_?key|key|token|secret|password|passwd|pwd|pass|credentials?|cookie|session"
    r"|jwt|auth|authorization|signature|sig)([-_.]|$)|(token|secret|password|apikey|cookie)$"
)
"""Names of what only one side should know. Names of tenants, such as X-Scope-OrgID, are none of them."""
_VALUE: Final = re.compile(r"(?i)^(bearer|basic|token|digest) +\S|^eyJ[A-Za-z0-9_-]{8,}\.")
"""Values of an Authorization header, and the begin of every JSON Web Token."""


def lint_source(spec: MetricSourceSpec) -> Iterator[Finding]:
    """Find headers and parameters that hold a credential, and credentials in place of the names of their files."""
    yield from lint_headers(spec.headers, _HOLDER)
    yield from lint_headers(spec.params, _HOLDER, "params")
    if isinstance(spec, ClusterMetricSourceSpec):
        yield from lint_auth(spec.auth)


def lint_headers(values: Mapping[str, str], holder: str, field: str = "headers") -> Iterator[Finding]:
    """Find the values of a field that are a credential; `holder` is the kind of object that may have credentials."""
    fix = (
        "whoever may read this can use it; remove it, put it into a file of the chart's value credentials, and name"
        f" that file in auth of a {holder}, as auth: {{bearer: FILE}} (docs/security.md)"
    )
    for name, value in values.items():
        if value and (_NAME.search(name) or _VALUE.search(value)):
            yield Finding(f"spec.{field}.{name}", "credential", "error", f"looks like a credential: {fix}")


def lint_auth(auth: Auth | None) -> Iterator[Finding]:
    """Find credentials in place of the names of their files."""
    for field, file in _files(auth) if auth is not None else ():
        if meant := credential_file(file):
            yield Finding(f"spec.auth.{field}", "credential", "error", f"write {meant}")


def _files(auth: Auth) -> Iterator[tuple[str, str | None]]:
    """The fields that name a file. A token has the form of such a name, so the reader cannot refuse it for sure."""
    yield "bearer", auth.bearer
    yield "caBundle", auth.ca_bundle
    if auth.basic is not None:
        yield "basic.password", auth.basic.password
    if auth.mtls is not None:
        yield from (("mtls.cert", auth.mtls.cert), ("mtls.key", auth.mtls.key))
