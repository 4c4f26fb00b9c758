"""Reads weighted items as the description of a kind says: which side each one names, and its weight.

An item is part of a route, or of the JSON in an annotation of it. Reading never raises: what is there in a wrong form
counts as missing, and `Item.fault` says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.object_path import At, Path, Place, alternatives, first, fixed, parse, places, pointer
from rolloutplan.api.route_kind import RouteKindSpec, Via
from rolloutplan.api.shown import shown
from rolloutplan.api.status import Backend, RuleWeights

_OWN_NAME: Final[Path] = ("$name",)
"""In place of a path: an item without a name is about the Service of the object's own name."""
_DIGITS: Final = 16
"""Hex digits: no two of the rules of a route get the same, and the status stays small."""
_ADDRESS: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?([^/:]+)(?::[0-9]+)?/?")
"""A Service as some kinds write it: `https://web.shop:8080`."""
LARGEST_WEIGHT: Final = 2**53
"""No kind takes a weight above its 32 bits; above this, JSON readers no longer agree on what a number is."""


@dataclass(frozen=True, slots=True)
class Item:
    """A weighted item."""

    at: At
    """Where it is, in the object or in the JSON of an annotation."""
    raw: Any
    service: str
    """The Service of the route's namespace, or another side's name, which no Service can have."""
    names: Mapping[str, str]
    """The fields that name it, by their JSON pointers from the item."""
    weight: int | None
    """In 1/units of the kind; None where none is written."""
    weight_at: At
    """Where the weight is, or is to be written."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its items, in the order of the route."""

    index: int
    label: str
    at: At
    """Where its list of items is; of weights in an annotation, the annotation."""
    items: tuple[Item, ...] = ()
    raw: Any = None
    text: str = ""
    """The text of the annotation that has its weights."""
    text_before: str = ""
    """Its text before the run, which is to come back with the weights that it has."""
    place: At | None = None
    """Where it is itself; None where it is no part of the object, but of an annotation."""
    label_at: At = ()
    """Where its label is written; empty where the label is no field."""
    faults: tuple[str, ...] = field(default=(), compare=False)

    @property
    def unread(self) -> frozenset[str]:
        """The sides whose weight is there and could not be read."""
        return frozenset(item.service for item in self.items if item.fault)

    def weights(self, missing: int, *, plain: str) -> RuleWeights:
        """The rule as status and engine have it; `missing` is the weight of an item without one.

        `plain` is the pointer of a field that names an item by its Service alone, so that it need not be kept.
        """
        at = () if self.at == ("spec", "rules", self.index, "backendRefs") else self.at
        found = (
            Backend(
                service=item.service,
                weight=missing if item.weight is None else item.weight,
                missing=True if item.weight is None else None,
                at="" if item.at == (*self.at, place) else pointer(item.at[len(self.at) :]),
                names={} if item.names == {plain: item.service.rpartition("/")[2]} else dict(item.names),
            )
            for place, item in enumerate(self.items)
        )
        return RuleWeights(index=self.index, name=self.label, at=pointer(at), text=self.text, backends=tuple(found))

    def digest(self) -> str:
        """A short digest of all that it has except its items; empty where it is not one of a list."""
        if not self.place or not isinstance(self.place[-1], int):
            return ""
        lists = {item.at[len(self.place) : -1] for item in self.items}
        try:
            text = json.dumps(_without(self.raw, lists), sort_keys=True, default=str)
        except (RecursionError, TypeError, ValueError):
            return ""
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _without(value: Any, left_out: Collection[At], at: At = ()) -> Any:
    """A value without the parts at these places."""
    if at in left_out:
        return None
    if isinstance(value, dict):
        return {key: _without(each, left_out, (*at, key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, left_out, (*at, place)) for place, each in enumerate(value)]
    return value


class Home(NamedTuple):
    """The route whose items are read: its namespace and name, and the Services that names in it stand for."""

    namespace: str
    name: str
    services: Mapping[str, str] | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any], via: Via | None = None) -> Home:
        """The home of the items of an object."""
        namespace, name = (safe_get.text(raw, "metadata", field) for field in ("namespace", "name"))
        if via is None:
            return cls(namespace, name)
        entries = [place.value for place in places(raw, parse(via.list))]
        named = {safe_get.text(entry, via.key): safe_get.text(entry, via.value) for entry in entries}
        return cls(namespace, name, named)

    def service(self, name: str) -> str:
        """The Service for which a name stands; a name that no Service can have, where it stands for none."""
        return name if self.services is None else self.services.get(name) or f"backend/{name}"


class ItemReader:
    """Reads the items of one kind."""

    def __init__(self, spec: RouteKindSpec) -> None:
        self._any_case = bool(spec.annotations and spec.annotations.any_case)
        self._names = [alternatives(path) for path in spec.name]
        self._weight, self._units = fixed(parse(spec.weight)), spec.weights.units
        self._own = {alternatives(path): wanted for path, wanted in spec.own.items()}
        self._skip = {parse(path): value for path, value in spec.skip.items()}
        self._short, self.via = spec.short, spec.via
        keyed = any(isinstance(path[0], str) for paths in self._names for path in paths)
        self._type: type = dict if keyed else list

    @property
    def plain(self) -> str:
        """The pointer of the field that names an item by its Service alone; empty where an item may have no name."""
        return pointer(fixed(self._names[0][0])) if self._names and _OWN_NAME not in self._names[0] else ""

    def holds(self, raw: object) -> bool:
        """Whether this is an item with a weight, and no other entry of the list."""
        if not isinstance(raw, self._type) or not self._skip:
            return isinstance(raw, self._type)
        skipped = (first(raw, (path,), any_case=self._any_case) for path in self._skip)
        return [place.value if place else None for place in skipped] != [*self._skip.values()]

    def read(self, place: Place, home: Home) -> Item:
        """The item at a place."""
        found = [first(place.value, paths, any_case=self._any_case) for paths in self._names]
        names = {pointer(each.at): each.value for each in found if each and isinstance(each.value, str)}
        head, *rest = [safe_get.text({"": each.value if each else None}, "") for each in found] or [""]
        if not head:
            head = home.name if _OWN_NAME in self._names[0] else f"nameless/{place.at[-1]}"
        service = "/".join(filter(None, (self._service(head, place.value, home), *rest)))
        written = places(place.value, self._weight, any_case=self._any_case)
        weight_at = (*place.at, *(written[0].at if written else self._weight))
        value = written[0].value if written else None
        weight, fault = read_weight(value, self._units)
        fault = f"{pointer(weight_at)} {fault}" if fault else ""
        return Item(place.at, place.value, service, names, weight, weight_at, fault)

    def _service(self, name: str, raw: object, home: Home) -> str:
        """The side that an item names: a plain name for a Service of the route's namespace."""
        name = short(home.service(name), home.namespace) if self._short else home.service(name)
        wanted = {paths: text.replace("$namespace", home.namespace) for paths, text in self._own.items()}
        found = {paths: first(raw, paths) for paths in self._own}
        own = {paths: place.value if place and place.value else wanted[paths] for paths, place in found.items()}
        if own == wanted:
            return name
        texts = {paths[0][-1]: own[paths] if isinstance(own[paths], str) else wanted[paths] for paths in own}
        return "/".join((texts.get("kind") or "Service", texts.get("namespace") or home.namespace, name))


def read_weight(value: object, units: int) -> tuple[int | None, str]:
    """A weight in 1/units, and what is wrong with it; None for one that is missing or wrong."""
    if value is None:
        return None, ""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - no number
        return None, f"is {shown(value)}: write a number"
    if abs(value) > LARGEST_WEIGHT:
        return None, f"is {shown(value)}: write a smaller number"
    weight = round(value * units)
    if value < 0 or (units == 1 and weight != value):
        return None, f"is {shown(value)}: write a whole number from 0 on"
    return weight, ""


def written(weight: int, units: int) -> int | float:
    """A weight of 1/units as the object has it."""
    return weight / units if weight % units else weight // units


def short(host: str, namespace: str) -> str:
    """A host of the cluster as the name of a Service: `web.shop.svc.cluster.local` is `web` in the namespace shop."""
    name, *rest = host.split(".")
    if rest != [namespace] and rest[1:2] != ["svc"]:
        return host
    return name if rest[0] == namespace else f"Service/{rest[0]}/{name}"


def bare(address: str, namespace: str) -> str:
    """The Service of an address: `https://web.shop:8080` is `web` in the namespace shop."""
    found = _ADDRESS.fullmatch(address)
    return short(found[1], namespace) if found else address
