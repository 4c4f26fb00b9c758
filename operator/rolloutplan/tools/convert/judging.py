"""Queries and bounds of others as predicates: templates that the operator reads and that lint has nothing against."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from rolloutplan.api.parsing import SpecError
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.stage import DEADLINE_AFTER_SOAK
from rolloutplan.api.template import read_template
from rolloutplan.tools.convert.draft import API, Draft, Raw
from rolloutplan.tools.lint.plans import lint_template

_RANGE: Final = re.compile(r"\[([1-9][0-9]{0,5}(?:s|m|h|d))\]")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]+")
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/?")
_ENDINGS: Final = {
    "VirtualService": "-istio",
    "NginxCanary": "-nginx",
    "TraefikService": "-traefik",
    "HTTPProxy": "-envoy",
    "GlooVirtualService": "-envoy",
    "RouteTable": "-envoy",
    "TrafficSplit": "-linkerd",
    "OpenShiftRoute": "-openshift",
    "KnativeService": "-knative",
    "ServiceSplitter": "-consul",
    "MeshHTTPRoute": "-kuma",
}
"""The endings of the templates in deploy/predicates, for what the router of a kind counts itself."""


_LONGEST: Final = DEADLINE_AFTER_SOAK / 2
"""Of `for`: a fault that begins at the end of a soak has to trip before the deadline, which only holds the run."""


def forgiven(failures: int, every: timedelta) -> str:
    """The `for` of a predicate of which so many failures, one after the other, are forgiven."""
    return format_duration(min(failures * every, _LONGEST))


def ending_of(kind: str) -> str:
    return _ENDINGS.get(kind, "")


def name_of(draft: Draft, *words: str) -> str:
    """The name of a template of a draft, made of words of others; it hides none of deploy/predicates."""
    joined = _NOT_IN_NAMES.sub(
        "-", "-".join(dict.fromkeys(each for each in (draft.base, *words) if each)).lower()
    ).strip("-")
    return joined[:63].strip("-")


def windowed(query: str) -> tuple[str, str]:
    """The query with $window where it had one range, and that range; without change where it has several, or none."""
    query = "\n".join(map(str.rstrip, query.split("\n")))
    ranges = set(_RANGE.findall(query))
    if len(ranges) != 1 or "$window" in query:
        return query, ""
    (found,) = ranges
    return _RANGE.sub("[$window]", query), found


def add_template(draft: Draft, path: str, name: str, body: Raw) -> str:
    """Add a template; return its name. Empty, with a note, where lint or the operator would refuse it."""
    try:
        spec = read_template(body)
        faults = [each.words for each in lint_template(spec) if each.severity == "error"]
    except SpecError as error:
        faults = [str(error)]
    if faults:
        draft.left_out(path, f"as a template it would be refused: {faults[0]}", "spec.guards")
        return ""
    raw: dict[str, Any] = {**draft.named(API, "PredicateTemplate", name), "spec": dict(body)}
    for number in range(2, 100):
        if draft.templates.setdefault(raw["metadata"]["name"], raw) == raw:
            return str(raw["metadata"]["name"])
        raw = {**raw, "metadata": {**raw["metadata"], "name": f"{name[:59]}-{number}"}}
    draft.left_out(path, "too many templates of this name", "spec.guards")
    return ""


def asks(draft: Draft, path: str, address: str) -> bool:
    """Whether the source of the plan is the one of this address, which the first one makes; if not, there is a note."""
    if not address:
        return True
    raw = {**draft.named(API, "MetricSource", draft.base), "spec": {"prometheus": {"url": address}}}
    if not draft.sources and _ADDRESS.fullmatch(address):
        draft.sources.append(raw)
        draft.spec["metrics"] = {"source": draft.base}
        draft.to_do(path, "scrapeInterval is 15s if left out: write the one of this Prometheus", "MetricSource")
    if raw in draft.sources:
        return True
    draft.left_out(path, f"{address} is not the source of this plan, which has one: metrics.source", "spec.guards")
    return False


def add_usual_guards(draft: Draft, kind: str) -> None:
    """Complete the guards: a plan needs something that judges, and something that counts the requests of both sides."""
    guards: list[dict[str, Any]] = draft.spec.setdefault("guards", [])
    ending = ending_of(kind)
    judged = bool(guards) or any(stage.get("pass") or stage.get("fail") for stage in draft.spec["stages"])
    if not judged:
        guards.append({"template": f"success-rate{ending}", **draft.told_apart(f"success-rate{ending}")})
        draft.changed(
            "spec", "nothing of it judges by a query here, so the usual guards do: set their bounds", "spec.guards"
        )
    guards.append({"template": f"more-errors{ending}"})
    words = f"more-errors{ending} compares both sides, and shows that the traffic follows the weights"
    draft.changed(
        "spec", f"{words}; it is one of the templates in deploy/predicates", f"spec.guards[{len(guards) - 1}]"
    )
