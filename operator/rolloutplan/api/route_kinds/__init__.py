"""The built-in kinds of route: one description each, as the spec of a RouteKind.

`like` begins with another kind; what is written over it replaces a field, and null takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import yaml

from rolloutplan.api.parsing import SpecError, read
from rolloutplan.api.route_kind import RouteKindSpec


def built_in(texts: Mapping[str, str]) -> dict[str, RouteKindSpec]:
    """The kinds of these YAML texts, by name. Raises SpecError, with the kind and the field."""
    raw = {kind: yaml.load(text, _LOADER) for kind, text in texts.items()}  # noqa: S506 - a safe one, in C if possible
    return {kind: _read(kind, _whole(raw, kind)) for kind in sorted(raw)}


def _read(kind: str, spec: Mapping[str, Any]) -> RouteKindSpec:
    try:
        return read(RouteKindSpec, spec)
    except SpecError as error:
        raise SpecError(f"{kind}: {error}") from None


def _whole(raw: Mapping[str, Any], kind: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A description with what it takes from another one. Raises SpecError."""
    own = dict(raw[kind])
    base = own.pop("like", None)
    if base is None:
        return own
    if base not in raw or base in (kind, *above):
        raise SpecError(f"{kind}: spec.like: {base} is no other kind: name one")
    return _over(_whole(raw, base, (kind, *above)), own)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Of a field with fields of its own, these go over the others one by one; `rules` are replaced as a whole."""
    merged = {**base, **own}
    for name in base.keys() & own.keys() - {"rules"}:
        if isinstance(base[name], Mapping) and isinstance(own[name], Mapping):
            merged[name] = {**base[name], **own[name]}
    return {name: value for name, value in merged.items() if value is not None}


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BUILT_IN: Final[Mapping[str, RouteKindSpec]] = built_in(
    {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".yaml")
    }
)
"""Every built-in kind, by its name in plans, in the order of the names."""
