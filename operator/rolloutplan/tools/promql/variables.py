"""Variables in queries that nobody fills in, with what was probably meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from rolloutplan.api.rendering import VARIABLE
from rolloutplan.api.text_format import QUOTED
from rolloutplan.tools.promql.nodes import Call, Node, Text, walk
from rolloutplan.tools.promql.text import FilledText

PODS: Final = "$deployment-[a-z0-9]+-[a-z0-9]{5}"
"""The names of the pods of a Deployment: its own, the hash of its ReplicaSet, and five characters."""
_MEANINGS: Final[Mapping[str, str]] = {
    "namespace": "the plan's namespace",
    "plan": "the plan's name",
    "stage": "the stage's name",
    "deployment": "the Deployment of the side that is asked",
    "service": "its Service",
    "old": "the old Deployment",
    "new": "the new Deployment",
    "window": "the predicate's window",
    "elapsed": "the time at this weight",
    "variant": "its variant of a feature flag",
}
_ANOTHER_WORD: Final[Mapping[str, str]] = {
    name: meant
    for names, meant in (
        ("ns kube_namespace k8s_namespace project", "write $namespace."),
        ("svc service_name servicename destination_service", "write $service."),
        ("app workload target name deploy deployment_name job job_name", "write $deployment."),
        ("interval range rate_interval __rate_interval __interval __range duration time", "write $window."),
        ("canary candidate green", "write $new, or $deployment for the side that is asked."),
        ("stable baseline primary blue previous", "write $old."),
        ("pod pods pod_name podname replicaset rs", f'for pods write pod=~"{PODS}".'),
        ("labels value", "it is of alerting rules, and nothing fills it in here."),
    )
    for name in names.split()
}
"""Names in other tools, and what to write here."""
_NEAR: Final = 0.75
"""How alike a name must be for a guess: $deploymnt is, and $pod is not like $old."""
_OF_TEMPLATE: Final = re.compile(r"\$\(([A-Za-z]\w*)\)")
_OF_ANOTHER_TOOL: Final = re.compile(r"\{\{[^{}\n]{0,80}\}\}")


class UnfilledVariable(NamedTuple):
    """A variable that nobody fills in: where it stands in the author's text, and what to write."""

    start: int
    words: str


def unfilled(query: FilledText, tree: Node | None) -> Iterator[UnfilledVariable]:
    """Yield the variables that nobody fills in. `tree` is the parsed query, None where it cannot be parsed."""
    if "$" not in query.written and "{{" not in query.written:
        return
    comments = [found.span() for found in QUOTED.finditer(query.written) if found[0].startswith("#")]
    groups = _groups(tree)
    others = [found for pattern in (_OF_ANOTHER_TOOL, _OF_TEMPLATE) for found in pattern.finditer(query.written)]
    left_out = [*comments, *(found.span() for found in others)]
    told = set[str]()
    for found in VARIABLE.finditer(query.written):
        words = _words(found, query, groups)
        if words and found[0] not in told and not any(start <= found.start() < end for start, end in left_out):
            yield UnfilledVariable(found.start(), words if told else f"{words} Known: {known(query.names)}")
            told.add(found[0])
    for found in others:
        is_filled = found[0].startswith("$(") and found[1] in query.parameters
        if not is_filled and not any(start <= found.start() < end for start, end in comments):
            yield UnfilledVariable(found.start(), _of_others(found))


def _groups(tree: Node | None) -> str:
    """The replacements of label_replace(), whose $1 and $name are groups of its expression."""
    calls = (part for part, _ in walk(tree) if isinstance(part, Call) and part.name == "label_replace") if tree else ()
    return "\n".join(each.value for call in calls for each in call.args if isinstance(each, Text))


def _words(found: re.Match[str], query: FilledText, groups: str) -> str:
    name = found[1] or found[2]
    if name in query.names or name[0].isdigit() or found[0] in groups:
        return ""
    near = get_close_matches(name.lower(), query.names, n=1, cutoff=_NEAR)
    meant = _ANOTHER_WORD.get(name.lower(), f"did you mean ${near[0]}?" if near else "define it in variables.")
    if found[2] is not None and not near and name.lower() not in _ANOTHER_WORD:
        meant = "define it in variables; if another tool fills it in (envsubst, Flux), it has not yet."
    return f"{found[0]} is not a variable: {meant}"


def known(names: tuple[str, ...]) -> str:
    """The variables, each with its meaning."""
    own = ", ".join(f"${name}" for name in names if name not in _MEANINGS)
    builtin = ", ".join(f"${name} ({meaning})" for name, meaning in _MEANINGS.items() if name in names)
    return f"{builtin}, and of this plan {own}" if own else builtin


def _of_others(found: re.Match[str]) -> str:
    if found[0].startswith("$("):
        fix = f"in a plan write ${found[1]}, and define it in variables"
        return f"{found[0]} is a parameter of a template, and nothing fills it in here: {fix}"
    fix = "render the file with it first, or write a variable such as $deployment"
    return f"{found[0]} is of another tool (Helm, alerting rules), and nothing fills it in here: {fix}"
