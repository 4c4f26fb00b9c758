"""Find queries that do not say which side they ask, and matchers that fit more than they should. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from rolloutplan.api.rendering import BUILTIN_VARIABLES, VARIABLE
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.engine.analysis.variables import names_a_side, render
from rolloutplan.tools.lint.judged import Judged, filled, texts_of
from rolloutplan.tools.promql.nodes import Matcher, Selector
from rolloutplan.tools.promql.queries import Check, Finding, parsed
from rolloutplan.tools.promql.regex import fits
from rolloutplan.tools.promql.traps import Asking, ParsedQuery, Severity
from rolloutplan.tools.promql.variables import PODS

NO_SIDE: Final = (
    'write a label with $deployment, $service, $old or $new, such as deployment="$deployment" (if it has one already,'
    " another tool has replaced it: Flux and envsubst replace ${...})"
)
NO_VARIANT: Final = (
    'both sides are one Deployment: write a label of your application with $variant, such as variant="$variant"'
)
_MINUTE: Final = timedelta(minutes=1)


def lint_sides(spec: PlanSpec, judged: Judged) -> Iterator[Finding]:
    """Find queries that do not say which side they ask, and comparisons with a side that is not there."""
    predicate = judged.predicate
    if predicate.comparison.kind == "value":
        yield from _names_no_side(spec, judged)
        return
    if _only_at_full_weight(spec, judged):
        fix = "compare with a number (is), or judge at a smaller weight first"
        words = f"at 100% no old side is left to compare with, and it is judged at no smaller weight: {fix}"
        yield Finding(f"{judged.path}.vsOld", "no-old-side", "warning", words)
    texts = [*texts_of(predicate)]
    if predicate.min_samples is not None:
        texts.append(("minSamples.query", predicate.min_samples.query))
    for field, text in texts:
        new, old = (filled(spec, judged.stage, text, side, _MINUTE, _MINUTE).text for side in ("new", "old"))
        if new == old:
            by = "$variant" if spec.is_one_deployment else "$deployment or $service"
            words = f"the query is the same for both sides, which never differ: select one with {by}"
            yield Finding(f"{judged.path}.{field}", "same-sides", "warning", words)


def _names_no_side(spec: PlanSpec, judged: Judged) -> Iterator[Finding]:
    """Find queries that say nothing about one side: another tool may have taken a variable out of them."""
    asked = any(_names(spec, text) for _, text in texts_of(judged.predicate))
    if not asked:
        for field, _ in texts_of(judged.predicate):
            yield Finding(f"{judged.path}.{field}", "no-side", "warning", f"{_does_not_say(spec)}: {_fix(spec)}")
    elif judged.predicate.min_samples is not None and not _names(spec, judged.predicate.min_samples.query):
        words = f"does not say which side it counts, so requests of both are enough: {_fix(spec)}"
        yield Finding(f"{judged.path}.minSamples.query", "no-side", "warning", words)


def _fix(spec: PlanSpec) -> str:
    return NO_VARIANT if spec.is_one_deployment else NO_SIDE


def _names(spec: PlanSpec, text: str) -> bool:
    """Whether a text names a side; one with a variable that nobody fills in may have meant to."""
    known = {*BUILTIN_VARIABLES, *spec.variables}
    if "{{" in text or any((each[1] or each[2]) not in known for each in VARIABLE.finditer(text)):
        return True
    if spec.is_one_deployment:  # `on` is also a word of PromQL
        filled = render(text, spec.variables)
        written = any(f'"{side.variant}"' in filled for side in (spec.old, spec.new))
        return written or any((each[1] or each[2]) == "variant" for each in VARIABLE.finditer(text))
    return names_a_side(text) or _has_name_of_side(spec, text)


def _does_not_say(spec: PlanSpec) -> str:
    old, new = (
        side.variant or side.deployment if spec.is_one_deployment else side.deployment for side in (spec.old, spec.new)
    )
    return f"does not say which side it asks, neither by a variable nor as {old} or {new}, so it judges both together"


def _has_name_of_side(spec: PlanSpec, text: str) -> bool:
    """Whether a query holds the name of a side, or the part in which both names differ (v2 of checkout-v2)."""
    filled = render(text, spec.variables)
    old, new = set(spec.old.deployment.split("-")), set(spec.new.deployment.split("-"))
    names = {spec.old.deployment, spec.old.service_name, spec.new.deployment, spec.new.service_name, *(old ^ new)}
    return any(re.search(rf"(?<![a-zA-Z0-9]){re.escape(name)}(?![a-zA-Z0-9])", filled) for name in names)


def _only_at_full_weight(spec: PlanSpec, judged: Judged) -> bool:
    """Whether all weights at which a predicate is judged leave the old side nothing. A holdback leaves it something."""
    if spec.holdback:
        return False
    places = {f"spec.stages[{i}].": stage.steps for i, stage in enumerate(spec.stages)}
    own = next((steps for start, steps in places.items() if judged.path.startswith(start)), None)
    return all(permille == FULL for permille in own or (step.permille for step in spec.steps()))


# ---- matchers that name a side by hand, or fit more than one -------------------------------------

_OF_PODS: Final = frozenset({"pod", "pod_name", "podname", "kubernetes_pod_name", "exported_pod", "k8s_pod_name"})
_OF_DEPLOYMENTS: Final = frozenset({"deployment", "workload", "destination_workload", "source_workload", "app"})
_OF_SERVICES: Final = frozenset(
    {"service", "service_name", "destination_service_name", "exported_service", "kubernetes_service", "job"}
)
_POD_SUFFIXES: Final = ("-6d4cf56db6-x7k2p", "-7f9c8d5b4-q8z6m")
"""Of pods of a Deployment: the hash of the ReplicaSet has 8 to 10 characters, the last part 5."""
_ONE_PART: Final = ("-x7k2p", "-q8z6m", "-0", "-7f9c8d5b4")
"""As pods of a DaemonSet or a StatefulSet end, and ReplicaSets: what people take for the end of any pod."""


class Sides(NamedTuple):
    """The names of both sides, and of the one that is asked."""

    deployments: tuple[str, str]
    services: tuple[str, str]
    """Old and new."""


def sides_of(spec: PlanSpec) -> Sides:
    """The names of a plan's sides."""
    return Sides((spec.old.deployment, spec.new.deployment), (spec.services.old, spec.services.new))


def matcher_check(sides: Sides, path: str) -> Check:
    """A check of the matchers in a query, as it asks for the new side."""

    def check(query: ParsedQuery) -> Iterator[Finding]:
        for selector, _ in query.selectors():
            yield from _of_selector(query, selector, sides, path)

    return check


def _of_selector(query: ParsedQuery, selector: Selector, sides: Sides, path: str) -> Iterator[Finding]:
    exact = any(_is_exact(each, sides) for each in selector.matchers)
    for matcher in selector.matchers:
        if matcher.op not in ("=", "=~"):
            continue
        for rule, severity, words in _of_matcher(query, matcher, sides, exact=exact):
            yield Finding(path, rule, severity, words, query.text.place(matcher.span.start))


def _is_exact(matcher: Matcher, sides: Sides) -> bool:
    """Whether a matcher takes one side and no other, whatever else the selector says."""
    return matcher.op == "=" and matcher.value in (*sides.deployments, *sides.services)


def _of_matcher(
    query: ParsedQuery, matcher: Matcher, sides: Sides, *, exact: bool
) -> Iterator[tuple[str, Severity, str]]:
    label, shown = matcher.label.lower(), query.text.shown(*matcher.span)
    written = query.text.shown(*matcher.at_value)
    pods = label in _OF_PODS
    names = sides.services if label in _OF_SERVICES else sides.deployments
    if pods and matcher.value in (*sides.deployments, *sides.services):
        why = "it is the name of the Deployment, and its pods have longer ones"
        words = f"{shown} fits no pod, because {why}: write {_pods(label)}"
        yield "no-pod", "warning", words
        return
    if pods and (why := _no_pod(matcher, sides)):
        yield "no-pod", "warning", f"{shown} fits no pod, because {why}: write {_pods(label)}"
        return
    if "$" not in written and (by_hand := _by_hand(matcher, sides)):
        words = f"{shown} names a side by hand, so a copy for the next release judges this one again: write {by_hand}"
        yield "by-hand", "hint", words
    if matcher.op == "=" or not (pods or label in _OF_DEPLOYMENTS | _OF_SERVICES):
        return
    yield from _of_pattern(matcher, names, shown, pods=pods, exact=exact)


def _no_pod(matcher: Matcher, sides: Sides) -> str:
    """Why an expression with the name of a side fits no pod of it; empty where it may fit one."""

    def one_of(names: Iterable[str], ends: tuple[str, ...]) -> bool:
        return any(fits(matcher.value, name + end) for name in names for end in ends)

    if matcher.op != "=~" or one_of(sides.deployments, _POD_SUFFIXES):
        return ""
    if one_of(sides.deployments, _ONE_PART):
        return "those of a Deployment end with two parts, the hash of the ReplicaSet and five characters"
    if one_of(set(sides.services) - set(sides.deployments), (*_POD_SUFFIXES, *_ONE_PART)):
        return "it has the name of the Service, and pods have that of their Deployment"
    return ""


def _of_pattern(
    matcher: Matcher, names: tuple[str, str], shown: str, *, pods: bool, exact: bool
) -> Iterator[tuple[str, Severity, str]]:
    """What else an expression fits: pods of the other side, or Deployments that begin with the same name."""
    suffixes, label = _POD_SUFFIXES if pods else ("",), matcher.label
    old, new = (any(fits(matcher.value, name + suffix) for suffix in suffixes) for name in names)
    fix = _pods(label) if pods else f'{label}="{_variable(label)}"'
    everything = matcher.value in (".*", ".+", "")
    if old and new and names[0] != names[1] and not exact and not everything:
        what = "pods" if pods else "series"
        yield "both-sides", "warning", f"{shown} fits the {what} of both sides ({names[0]} and {names[1]}): write {fix}"
        return
    own = next((name for name, fitted in zip(names, (old, new), strict=True) if fitted), "")
    if not own and not pods and any(name in matcher.value for name in names) and label.lower() == "deployment":
        yield "no-deployment", "warning", f"{shown} does not fit {names[1]} itself, only longer names: write {fix}"
    if exact or everything or not own or own not in matcher.value:
        return
    others = [f"{own}0", f"{own}-canary"]
    if clash := [name for name in others if any(fits(matcher.value, name + suffix) for suffix in suffixes)]:
        severity: Severity = "warning" if others[0] in clash else "hint"  # the next releases have such names
        yield "prefix", severity, f"{shown} also fits what is called {' or '.join(clash)}: write {fix}"


def _pods(label: str) -> str:
    return f'{label}=~"{PODS}"'


def _variable(label: str) -> str:
    return "$service" if label.lower() in _OF_SERVICES else "$deployment"


def _by_hand(matcher: Matcher, sides: Sides) -> str:
    """How to write a matcher that has the name of a side in it; empty where it has none."""
    names = {sides.deployments[0]: "$old", sides.services[0]: "$old", sides.deployments[1]: "$deployment"}
    names |= {sides.services[1]: _variable(matcher.label), sides.deployments[1]: _variable(matcher.label)}
    if sides.services[1] != sides.deployments[1]:
        names[sides.deployments[1]] = "$deployment"
    if sides.services[0] != sides.deployments[0]:
        del names[sides.services[0]]
    for name in sorted(names, key=len, reverse=True):
        if matcher.op == "=" and matcher.value == name:
            return f'{matcher.label}="{names[name]}"'
        if matcher.op == "=~" and matcher.value.startswith(f"{name}-"):
            if matcher.label.lower() in _OF_PODS:
                return f'{matcher.label}=~"{PODS.replace("$deployment", names[name])}"'
            return f'{matcher.label}=~"{names[name]}{matcher.value.removeprefix(name)}"'
    return ""


def lint_old_matchers(spec: PlanSpec, judged: Judged) -> Iterator[Finding]:
    """Find matchers that fit the new side too when the old one is asked: checkout-.* fits checkout-v2-..., too."""
    if judged.predicate.comparison.kind == "value":
        return
    for field, text in texts_of(judged.predicate):
        path, asked = f"{judged.path}.{field}", filled(spec, judged.stage, text, "old", _MINUTE, _MINUTE)
        tree, _ = parsed(asked, path, "Prometheus")
        if tree is not None:
            found = matcher_check(sides_of(spec), path)(ParsedQuery.of(asked, tree, Asking()))
            yield from (each for each in found if each.rule == "both-sides")


# ---- the namespace -------------------------------------------------------------------------------


def lint_namespaces(judged: tuple[Judged, ...]) -> Iterator[Finding]:
    """Find queries without the namespace, in a plan whose other queries have it."""
    texts = [(f"{each.path}.{field}", text) for each in judged for field, text in texts_of(each.predicate)]
    if not any(_has_namespace(text) for _, text in texts):
        return
    for path, text in texts:
        if not _has_namespace(text) and ":" not in text.partition("{")[0]:
            words = (
                "does not select the namespace, as other queries of this plan do, so it also asks namesakes in other"
                ' namespaces: write namespace="$namespace"'
            )
            yield Finding(path, "no-namespace", "hint", words)


def _has_namespace(text: str) -> bool:
    return "$namespace" in text or "${namespace}" in text or re.search(r"namespace\w{0,20}\s{0,5}=", text) is not None
