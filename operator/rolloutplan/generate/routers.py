"""The page of routers: one row a kind of route, made from the descriptions by which the operator moves its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.route_kind import GATEWAY_API, Accepted, ControllerRules, RouteKindSpec, WeightRules
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.engine.model.division import finest_of

_HEAD: Final = """\
# Routers

Every kind of route that a plan can name in `traffic.routes[].kind`. `make generate` writes this page from the
descriptions of the kinds, which are all that the operator knows of them. [Your router](your-router.md) says how to
begin with one of them, how a plan names its sides, and how to describe a kind that is not here.

- **weights**: the rules of the object, the weighted items of each, and the fields of an item that name a side.
- **finest step**: the smallest share that a side can have. A stage below it is refused by `lint` and before the run.
  Plans divide by 0.1% at the finest.
- **taken when**: what reports that the gateway has taken a weight. Where nothing does, the operator waits, and the
  measured share must show it: leave [`traffic.share: Verify`](reference.md#traffic).
- **testers**, **mirror**: whether a stage may have `match` with a header or a cookie, and `mirror`.
- **stays**: the field that keeps a user on one side: a lower weight does not move those who are there.
"""
_KINDS: Final = """
## The kinds

| kind | weights | finest step | taken when | testers | mirror | stays |
|---|---|---|---|---|---|---|
"""
_NOTES: Final = """
## What to know of each

What is the same everywhere is not repeated: the weights of a rule are relative to each other, other backends keep their
share, and a weight of 0 is no traffic.
"""


def routers() -> str:
    """The whole page, in Markdown; always the same text for the same descriptions."""
    return page(BUILT_IN)


def page(kinds: Mapping[str, RouteKindSpec]) -> str:
    """The page of these kinds, in the order of their groups."""
    ordered = sorted(kinds.items(), key=lambda each: (each[1].group, each[0]))
    rows = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in _row(*each))} |\n" for each in ordered)
    return "".join((_HEAD, _KINDS, *rows, _NOTES, *(_note(*each) for each in ordered)))


def _row(kind: str, spec: RouteKindSpec) -> tuple[str, ...]:
    return (
        f"[{kind}](#{kind.lower()}): `{spec.resource}.{spec.group}`",
        _weights(spec),
        _finest(spec.weights),
        _taken(spec.accepted),
        " or ".join(_testers(spec)) or "no",
        "yes" if spec.mirror else "no",
        f"`{spec.sticky}`" if spec.sticky else "-",
    )


def _weights(spec: RouteKindSpec) -> str:
    """Where the weights are, and what names a side."""
    if spec.share is not None:
        return _share(spec)
    names = " and ".join(f"`{name.partition('|$')[0]}`" for name in spec.name)
    if spec.via is not None:
        names += f", which stands for the `{spec.via.value}` in `{spec.via.list}`"
    if spec.annotations is None:
        rules = (f"`{rule}` → `{items}`" if rule else f"`{items}`" for rule, items in spec.rules.items())
        return f"{', '.join(rules)}: `{spec.weight}`, by {names}"
    if spec.annotations.map:
        return f"annotation `{_prefixed(spec, spec.annotations.map)}`: a weight for each Service, in JSON"
    place = f"annotations `{_prefixed(spec, spec.annotations.rules)}*`, in JSON"
    return f"{place} → `{spec.annotations.list}`: `{spec.weight}`, by {names}"


def _share(spec: RouteKindSpec) -> str:
    share = spec.share
    assert share is not None
    place = f"annotation `{_prefixed(spec, share.annotation)}`" if share.annotation else f"`{share.field}`"
    return f"{place} of the object of the new side (`{share.of}`); the old side has the rest"


def _prefixed(spec: RouteKindSpec, annotation: str) -> str:
    return f"{spec.prefix}/{annotation}" if spec.prefix else annotation


def _finest(rules: WeightRules) -> str:
    if rules.per_endpoint:
        return "by the number of pods"
    return format_weight(finest_of(rules))


def _taken(accepted: Accepted) -> str:
    """What reports that a weight has been taken, in words."""
    waits = f"{format_duration(accepted.settle)} later" if accepted.settle else ""
    if accepted.conditions:
        said = " and ".join(f"`{name}` is {status}" for name, status in accepted.good.items())
        said = f"condition {said}" + (", of this generation" if accepted.generation or accepted.generation_at else "")
    elif accepted.value:
        words = " or ".join(dict.fromkeys(map(str, accepted.good_words)))
        said = f"`{'.'.join(filter(None, (accepted.each, accepted.value)))}` is {words}"
    else:
        return f"nothing reports it: {waits}" if waits else "nothing reports it"
    said += f", and `{accepted.echo}` has the weights" if accepted.echo else ""
    return f"{said}; {waits}, for it names no generation" if waits else said


def _testers(spec: RouteKindSpec) -> Iterator[str]:
    if spec.ab is not None:
        yield from (name for name in ("header", "cookie") if getattr(spec.ab, name) is not None)


# ---- what to know of a kind ----------------------------------------------------------------------


def _note(kind: str, spec: RouteKindSpec) -> str:
    facts = [*_facts(spec), *_of_single(spec), *_of_controllers(spec), *spec.traps]
    served = f"`{spec.group}`, {' or '.join(spec.versions)}"
    return "\n".join((f"\n### {kind}\n", f"Served as {served}.\n", *(f"- {fact}" for fact in facts), ""))


def _facts(spec: RouteKindSpec) -> Iterator[str]:
    rules = spec.weights
    if rules.sum and spec.share is None:
        yield f"The weights of a rule must add up to {rules.sum}."
    elif rules.max < GATEWAY_API.max and spec.share is None:
        yield f"A weight is at most {rules.max:,}."
    if spec.share is None:
        yield f"A weight that is not written counts as {rules.missing}, and is removed again by the way back."
    if rules.alone:
        yield "The only backend of a rule gets all, whatever its weight."
    if rules.all_zero == "Refused":
        yield "If all weights are 0, the object is refused."
    elif rules.all_zero == "Even":
        yield "If all weights are 0, all backends get the same."
    if rules.per_endpoint:
        yield "A weight is divided among the pods of a backend in whole numbers: what can be had depends on the pods."
    if spec.short:
        yield "A side may be written as a host of the cluster, such as web.shop.svc.cluster.local."
    if spec.empty_breaks:
        whose = "any side" if spec.empty_breaks == "Any" else "the old side"
        yield f"**If {whose} has no ready pods, the whole route fails**, also at weight 0: it is not scaled to nothing."


def _of_single(spec: RouteKindSpec) -> Iterator[str]:
    """What is no weight, and traffic all the same."""
    if places := ", ".join(f"`{path}`" for path in spec.single):
        yield f"A backend in {places} gets traffic without a weight: the old side is not removed while it is one."


def _of_controllers(spec: RouteKindSpec) -> Iterator[str]:
    """What controllers do in another way, those together that do the same."""
    named: dict[str, list[str]] = {}
    for name, other in spec.controllers.items():
        named.setdefault(", ".join(_override(spec, other)), []).append(f"`{name}`")
    yield from (f"Where {' or '.join(names)} answers: {said}." for said, names in named.items() if said)


def _override(spec: RouteKindSpec, other: ControllerRules) -> Iterator[str]:
    rules = other.weights
    if rules is not None:
        written = rules.model_fields_set
        if "max" in written:
            yield f"a weight is at most {rules.max:,}"
        if "scale" in written:
            yield f"weights are written out of {rules.scale:,} or more"
        if "per_endpoint" in written:
            yield "a weight is divided among the pods of a backend"
        if "first_must_have_endpoints" in written:
            yield "a backend without pods shifts the weights of those after it"
    if spec.mirror is not None and not other.mirror:
        yield "no mirror"
    elif spec.mirror is not None and other.finest_mirror is not None:
        yield f"mirrors go in steps of {format_weight(other.finest_mirror)} of the requests"
