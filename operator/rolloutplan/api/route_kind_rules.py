"""What must hold between the fields of a RouteKind: paths that are paths, and enough to read and to write a weight.

The refusals go to the author of a kind, each with the field below the spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rolloutplan.api.object_path import Path, alternatives, parse
from rolloutplan.api.parsing import FieldErrors

if TYPE_CHECKING:
    from rolloutplan.api.route_kind import Accepted, RouteKindSpec

KEY: Final = "{}"
"""The label of rules that are named by their key in a mapping."""
SETTLES: Final = (
    "nothing reports that weights are in force: write settle, such as 2s, the time that they take; or, where the status"
    " says it for a generation, conditions with good, or value with goodWords, and where the generation is"
)
ONE_ANSWER: Final = "and conditions are two answers: write one of them"
OF_CONDITIONS: Final = "is a field of conditions: write conditions, or generationAt for a field of the object"
ONE_FORM: Final = (
    "needs one place of weights: write rules (fields of the object), annotations, or share (one number on an object of "
    "the new side)"
)
WEIGHT_OF_RULES: Final = "rules need the path of the number in an item: write weight"
SINGLE_OF_RULES: Final = "is read as the items of rules are: write rules, too"
NAME_OF_RULES: Final = "rules need the path of the side's name in an item: write name"
NO_ROUTES: Final = (
    "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps", "authentication.k8s.io",
    "authorization.k8s.io", "batch", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io",
    "rbac.authorization.k8s.io", "rolloutplan.dev",
)  # fmt: skip
"""Groups of the API without weights. What may patch these may do more than to move traffic, and the operator reads some
of them for itself."""
CORE_ROUTES: Final = ("services",)
"""What of the core group may have weights, in annotations."""
NO_ROUTE: Final = (
    "is read by the operator for another purpose, or has no weights, and is no route: name the resource that has the"
    " weights"
)
NO_TRAFFIC: Final = ("metadata", "status")
NOT_TRAFFIC: Final = (
    "leads into metadata or status, where no traffic is: write a path in the spec, and name annotations by annotations"
    " or share"
)
NOT_A_WEIGHT: Final = "leads to the name of a side, too: write the path of the number"
OURS: Final = "rolloutplan.dev"
"""The prefix of the operator's own annotations."""
TOO_MANY: Final = "is above weights.max: no item could have it"


def refusals(spec: RouteKindSpec) -> FieldErrors:
    """Path and message of everything that is wrong between the fields."""
    for where, text in _paths(spec):
        try:
            alternatives(text)
        except ValueError as error:
            yield where, str(error)
            return
    yield from _resource(spec)
    yield from _form(spec)
    yield from _traffic(spec)
    yield from _additions(spec)
    yield from _accepted(spec.accepted)
    if spec.weights.missing > spec.weights.max:
        yield "weights.missing", f"{spec.weights.missing} {TOO_MANY}"
    if spec.label == KEY and not all(path.endswith(KEY) for path in spec.rules):
        yield "label", f"{KEY} is the key of a rule in a mapping, and rules has paths that do not end with {KEY}"
    if spec.weight and isinstance(place := parse(spec.weight)[0], int) and place != len(spec.name):
        yield "weight", f"[{place}] must follow the names of an item that is a list: write [{len(spec.name)}]"


def _resource(spec: RouteKindSpec) -> FieldErrors:
    """Whose objects the operator would patch."""
    if spec.group in NO_ROUTES or (not spec.group and spec.resource not in CORE_ROUTES):
        yield "resource", f"{'.'.join(filter(None, (spec.resource, spec.group)))} {NO_ROUTE}"
    names = [f"{spec.prefix}/", *([spec.share.annotation] if spec.share else [])]
    if any(name.startswith(f"{OURS}/") for name in names):
        yield "prefix", f"{OURS} is that of the operator's own annotations: write the one of the router"


def _traffic(spec: RouteKindSpec) -> FieldErrors:
    """What the operator writes, and by what it knows the place: fields of the spec, and the weight none of a name."""
    for rule, items in spec.rules.items():
        for part in items.split(" + "):
            path = (*parse(rule), *parse(part))
            if not path or not isinstance(path[0], str) or path[0] in NO_TRAFFIC:
                yield "rules", f'"{".".join(filter(None, (rule, part)))}" {NOT_TRAFFIC}'
    texts = {"weight": spec.weight, "sticky": spec.sticky, "name": "|".join(spec.name)}
    texts |= {"single": "|".join(spec.single)} if spec.single else {}
    parts = {
        "share": (spec.share, ("field", "of")),
        "ab": (spec.ab, ("each", "append", "set", "text")),
        "mirror": (spec.mirror, ("append", "set")),
        "affinity": (spec.affinity, ("append", "set")),
    }
    below = {f"{field}.{name}": getattr(part, name) for field, (part, names) in parts.items() if part for name in names}
    for field, text in {**texts, **below}.items():
        if any(path[:1] and path[0] in NO_TRAFFIC for path in alternatives(text)):
            yield field, f'"{text}" {NOT_TRAFFIC}'
    names = [path for text in spec.name for path in alternatives(text)]
    if spec.weight and any(_is_above(parse(spec.weight), name) for name in names):
        yield "weight", f'"{spec.weight}" {NOT_A_WEIGHT}'


def _is_above(one: Path, other: Path) -> bool:
    """Whether one of two paths leads to the other, or both to the same place."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _additions(spec: RouteKindSpec) -> FieldErrors:
    """Where a template of what is added goes: without a place, a copy for testers would be one for everybody."""
    ab, mirror, affinity = spec.ab, spec.mirror, spec.affinity
    if ab is not None and [bool(ab.append), bool(ab.set), bool(ab.text)].count(True) != 1:
        yield "ab", "needs one place for the condition: write append, set or text"
    for field, part in (("mirror", mirror), ("affinity", affinity)):
        if part is not None and bool(part.append) == bool(part.set):
            yield field, "needs one place: write append or set"


def _form(spec: RouteKindSpec) -> FieldErrors:
    """Where the weights are."""
    if [bool(spec.rules), spec.annotations is not None, spec.share is not None].count(True) != 1:
        yield "", ONE_FORM
    if spec.rules and not spec.weight:
        yield "weight", WEIGHT_OF_RULES
    if spec.rules and not spec.name:
        yield "name", NAME_OF_RULES
    if spec.single and not spec.rules:
        yield "single", SINGLE_OF_RULES


def _paths(spec: RouteKindSpec) -> Iterator[tuple[str, str]]:
    """Every path of a description, with its field."""
    for rule, items in spec.rules.items():
        yield "rules", rule
        yield from (("rules", part) for part in items.split(" + "))
    lists = {
        "name": spec.name,
        "own": spec.own,
        "skip": spec.skip,
        "single": spec.single,
        "selective": spec.selective,
    }
    yield from ((field, text) for field, texts in lists.items() for text in texts)
    yield from (("label", spec.label), ("weight", spec.weight), ("sticky", spec.sticky))
    parts = {
        "accepted": (spec.accepted, ("each", "asked", "conditions", "generation_at", "value", "why", "echo")),
        "annotations": (spec.annotations, ("list",)),
        "share": (spec.share, ("field", "of")),
        "via": (spec.via, ("list", "key", "value")),
        "ab": (spec.ab, ("raise_", "of", "each", "append", "set", "text")),
        "mirror": (spec.mirror, ("append", "set", "port", "of", "needs")),
        "affinity": (spec.affinity, ("append", "set")),
    }
    for field, (part, names) in parts.items():
        if part is not None:
            yield from ((f"{field}.{type(part).model_fields[name].alias}", getattr(part, name)) for name in names)
    yield from (("share.same", text) for text in (spec.share.same if spec.share else ()))
    yield from (("annotations.only", text) for text in (spec.annotations.only if spec.annotations else ()))


def _accepted(accepted: Accepted) -> FieldErrors:
    if accepted.conditions and not accepted.good:
        yield "accepted.good", 'is missing: write the condition that says yes, such as {Accepted: "True"}'
    if accepted.value and not accepted.good_words:
        yield "accepted.goodWords", "is missing: write the words that say yes"
    if accepted.conditions and accepted.value:
        yield "accepted.value", ONE_ANSWER
    if accepted.generation and not accepted.conditions:
        yield "accepted.generation", OF_CONDITIONS
    if both := sorted({*accepted.good_words} & {*accepted.bad_words}):
        yield "accepted.badWords", f"{both[0]} is one of goodWords: write it in one of them"
    by_conditions = accepted.conditions and accepted.good and (accepted.generation or accepted.generation_at)
    by_word = accepted.value and accepted.good_words and accepted.generation_at
    if accepted.settle is None and not by_conditions and not by_word:
        yield "accepted.settle", SETTLES
