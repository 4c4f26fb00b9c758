"""What is added to a rule, built from the templates of a kind's description: a mirror, a rule for testers, a cookie."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rolloutplan.api import safe_get
from rolloutplan.api.added import Addition, read_addition
from rolloutplan.api.object_path import At, Place, first, fixed, parse, places, pointer
from rolloutplan.api.route_kind import RouteKindSpec, Selected
from rolloutplan.api.shown import shown

_WORD: Final = re.compile(r"\$(item(?:\.[A-Za-z]+)*|[A-Za-z]+)")
_GONE: Final = object()
"""What a template asks for and the item of the new side does not have: the field is left out."""
_MAPPING: Final = "a mapping"
_LIST: Final = "a list"
_SPECIAL: Final = re.compile("[.+]")
"""The characters of a header's or cookie's value that mean something in a pattern."""


@dataclass(frozen=True, slots=True)
class Target:
    """A rule to which something is added, and its item of the new side."""

    at: At
    """Where the rule is; empty where the object is the one rule."""
    raw: Any
    items: At
    """Where its list of items is, from the rule on."""
    item: Any
    namespace: str
    port: Any = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that is added to a route, as its annotation keeps it."""

    text: str
    """The addition, as the status has it."""
    how: Literal["before", "in", "as"]
    """An item of its own before the rule at `at`; a new item in the list at `at`; or the field `at`."""
    at: At
    """In the route without additions."""
    value: Any


def build(spec: RouteKindSpec, target: Target, addition: Addition, number: int) -> Piece:
    """What is added to a rule for this; `number` counts the rules for testers of one rule, from 1.

    Raises LookupError where the kind has no template for it, or the rule no place: also where the object has something
    of another form there.
    """
    try:
        return _built(spec, target, addition, number)
    except _UnfitError as error:
        raise LookupError(f"{pointer((*target.at, *error.below))} {error.words}") from None


class _UnfitError(Exception):
    """A rule has no place for what is to be added to it."""

    def __init__(self, below: At, words: str) -> None:
        super().__init__(words)
        self.below, self.words = below, words
        """Where that is, from the rule on; and what is wrong there, with the fix."""


def _unfit(below: At, value: object, form: str) -> _UnfitError:
    return _UnfitError(below, f"is {shown(value)}: write {form}")


def _built(spec: RouteKindSpec, target: Target, addition: Addition, number: int) -> Piece:
    variables = _variables(addition, target)
    if addition.word in ("header", "cookie"):
        if spec.ab is None or not target.at or not isinstance(target.at[-1], int):
            raise LookupError("this rule cannot be copied for testers")
        value = _copied(spec, spec.ab, target, addition, {**variables, "n": number})
        return Piece(str(addition), "before", target.at, value)
    template = spec.mirror if addition.word == "mirror" else spec.affinity
    if template is None:
        raise LookupError(f"nothing says how to add {addition.title}")
    below = fixed(parse(template.append or template.set))
    there = _there(target.raw, below)
    if template.append and not isinstance(there, list | None):
        raise _unfit(below, there, _LIST)
    value = _filled(template.value, variables)
    return Piece(str(addition), "in" if template.append else "as", (*target.at, *below), value)


def is_built(spec: RouteKindSpec, piece: Piece) -> bool:
    """Whether a piece can be what `build` made for its text, whatever the rule was like then."""
    addition = read_addition(piece.text)
    if addition is None:
        return False
    if addition.word in ("header", "cookie"):
        template = spec.ab and (spec.ab.header if addition.word == "header" else spec.ab.cookie)
        try:
            condition = _filled(template, _variables(addition, Target((), None, (), None, "")))
        except _UnfitError:  # it has a part of the rule in a text, and could not be told from others
            return False
        return piece.how == "before" and template is not None and _holds(piece.value, condition)
    made = spec.mirror if addition.word == "mirror" else spec.affinity
    how = "in" if made and made.append else "as"
    return made is not None and piece.how == how and is_like(piece.value, made.value)


def _holds(value: Any, condition: Any) -> bool:
    """Whether a condition is in a value: as a part of it, or of a text."""
    if value == condition or (isinstance(value, str) and isinstance(condition, str) and condition in value):
        return True
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(_holds(part, condition) for part in parts)


def is_like(value: Any, template: Any) -> bool:
    """Whether a value has what a template says without its variables."""
    if isinstance(template, Mapping):
        said = {key: part for key, part in template.items() if not _is_variable(part)}
        return isinstance(value, Mapping) and all(key in value and is_like(value[key], said[key]) for key in said)
    if isinstance(template, str):
        return isinstance(value, str) and value.startswith(template.partition("$")[0])
    return bool(value == template)


def _is_variable(template: Any) -> bool:
    return isinstance(template, str) and _WORD.fullmatch(template) is not None


def _variables(addition: Addition, target: Target) -> dict[str, Any]:
    value = {
        "new": addition.to,
        "namespace": target.namespace,
        "item": target.item,
        "port": _GONE if target.port is None else target.port,
    }
    match addition.word:
        case "mirror":
            permille = addition.permille
            share = permille // 10 if permille % 10 == 0 else permille / 10
            return {**value, "percent": share, "permille": permille, "ratio": permille / 1000}
        case "sticky":
            return {**value, "cookie": addition.name, "seconds": int(addition.lifetime.total_seconds())}
    quoted = _SPECIAL.sub(r"[\g<0>]", addition.value)
    return {**value, "header": addition.name, "value": addition.value, "pattern": quoted}


def _copied(
    spec: RouteKindSpec, ab: Selected, target: Target, addition: Addition, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """A copy of the rule for testers: with the item of the new side alone, and with the condition in each match."""
    made: dict[str, Any] = copy.deepcopy(target.raw)
    for name in ab.drop:
        made.pop(name, None)
    if ab.rename and (named := spec.label):
        made[named] = _filled(ab.rename, {**variables, "rule": safe_get.text(target.raw, named) or "rule"})
    if (priority := _priority(ab, made)) is not None:
        made[ab.raise_] = priority + 1
    item, weight = copy.deepcopy(target.item), fixed(parse(spec.weight))
    _remove(item, weight)
    if not (spec.weights.alone or spec.weights.missing):  # an item without a weight would get nothing
        _put(item, weight, spec.weights.sum or 1)
    _put(made, target.items, [item])
    condition = _filled(ab.header if addition.word == "header" else ab.cookie, variables)
    for each in _matches(ab, made):
        _narrow(ab, each, condition, addition, variables)
    return made


def _priority(ab: Selected, rule: Mapping[str, Any]) -> int | float | None:
    """The number that is one more in the copy of a rule; None where the rule has none, and counts as none."""
    number = rule.get(ab.raise_)
    if number is None:
        return ab.unraised
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _unfit((ab.raise_,), number, "a number")
    return number


def _matches(ab: Selected, rule: dict[str, Any]) -> list[Place]:
    """The matches of a copy, each of which gets the condition: itself, or the entries of a list."""
    if not ab.each:
        return [Place((), rule)]
    path = parse(ab.each)
    if found := places(rule, path):
        return found
    at = fixed(path)
    there = _there(rule, at)
    if not isinstance(there, list | None):
        raise _unfit(at, there, _LIST)
    _put(rule, at, [copy.deepcopy(ab.none) if ab.none is not None else {}])
    return places(rule, path)


def _narrow(ab: Selected, match: Place, condition: Any, addition: Addition, variables: Mapping[str, Any]) -> None:
    """Add the condition to a match."""
    at = fixed(parse(ab.text or ab.append or ab.set))
    there = _there(match.value, at, match.at)
    if ab.text:
        if not isinstance(there, str | None):
            raise _unfit((*match.at, *at), there, "a text")
        whole: Any = f"({there}){ab.join}{condition}" if there else condition
    elif ab.append:
        if not isinstance(there, list | None):
            raise _unfit((*match.at, *at), there, _LIST)
        whole = [*(there or ()), condition]
    else:
        if not isinstance(there, dict | None):
            raise _unfit((*match.at, *at), there, _MAPPING)
        whole = {**(there or {}), _filled(ab.key if addition.word == "header" else ab.cookie_key, variables): condition}
    _put(match.value, at, whole)


def _there(holder: Any, at: At, base: At = ()) -> Any:
    """What is at a place below a mapping, which is itself at `base`; None where nothing is, and it can be made."""
    for depth, step in enumerate(at):
        if holder is None and depth:
            return None
        holder = _below(holder, step, (*base, *at[:depth]))
    return holder


def _below(holder: Any, step: str | int, at: At) -> Any:
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    if not isinstance(holder, dict) or isinstance(step, int):
        raise _unfit(at, holder, _LIST if isinstance(step, int) else _MAPPING)
    return holder.get(step)


def _remove(holder: Any, at: At) -> None:
    """Take a field out of a mapping, where it is there."""
    place = first(holder, (at[:-1],))
    if place is not None and isinstance(place.value, dict):
        place.value.pop(at[-1], None)


def _put(holder: Any, at: At, value: Any) -> None:
    """Set a field below a mapping; what is missing on the way is made."""
    *above, last = at
    for depth, step in enumerate(above):
        below = _below(holder, step, at[:depth])
        if below is None:
            below = holder[step] = {}
        holder = below
    _below(holder, last, at[:-1])
    holder[last] = value


def _filled(template: Any, variables: Mapping[str, Any]) -> Any:
    """A template with its variables: a text that is one variable becomes its value, of whatever type."""
    if isinstance(template, Mapping):
        made = {key: _filled(value, variables) for key, value in template.items()}
        return {key: value for key, value in made.items() if value is not _GONE}
    if isinstance(template, list):
        return [value for each in template if (value := _filled(each, variables)) is not _GONE]
    if not isinstance(template, str):
        return template
    if whole := _WORD.fullmatch(template):
        return _value(whole, variables)
    return _WORD.sub(lambda found: _text(found, variables), template)


def _text(found: re.Match[str], variables: Mapping[str, Any]) -> str:
    """A variable within a text."""
    value = _value(found, variables)
    if value is _GONE:
        raise _UnfitError((), f"has no {found[1]} for {variables['new']}: write it")
    if not isinstance(value, str | int | float):
        raise _UnfitError((), f"has {shown(value)} as {found[1]} of {variables['new']}: write a text or a number")
    return str(value)


def _value(found: re.Match[str], variables: Mapping[str, Any]) -> Any:
    name, *path = found[1].split(".")
    if name not in variables:
        return found[0]
    value = variables[name]
    for step in path:
        value = value.get(step, _GONE) if isinstance(value, Mapping) else _GONE
    return copy.deepcopy(value) if value is not _GONE else _GONE
