"""What a conversion builds: the objects to be, and a note for each thing that does not come along as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from rolloutplan.api import safe_get
from rolloutplan.api.quantities import parse_duration
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME

Raw: TypeAlias = Mapping[str, Any]
API: Final = "rolloutplan.dev/v1alpha1"
LONGEST: Final = 60
"""Of a name that gets an ending such as -v2, and has to be a label's value."""
_DEEPEST: Final = 40
"""Levels of an object that is copied; real ones have some dozen, and the writer goes down level by level."""


class CannotConvertError(Exception):
    """The object has no plan that would do what it does. The message has the reason and what to do."""


class Note(NamedTuple):
    """One thing that is not as it was.

    `path` is the field in the source, `at` the field of the plan, or the kind of the object, where the note is written.
    """

    path: str
    what: Literal["left out", "changed", "to do"]
    words: str
    at: str = ""


@dataclass(slots=True)
class Draft:
    """The plan of one object, and the objects that come with it, in the order in which they are written."""

    base: str
    namespace: str
    spec: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, Raw] = field(default_factory=dict)
    sources: list[Raw] = field(default_factory=list)
    workloads: list[Raw] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)

    @property
    def old(self) -> str:
        return f"{self.base}-v1"

    @property
    def new(self) -> str:
        return f"{self.base}-v2"

    def left_out(self, path: str, words: str, at: str = "") -> None:
        self.notes.append(Note(path, "left out", words, at))

    def changed(self, path: str, words: str, at: str = "") -> None:
        self.notes.append(Note(path, "changed", words, at))

    def to_do(self, path: str, words: str, at: str = "") -> None:
        self.notes.append(Note(path, "to do", words, at))

    def leave_out(self, raw: Raw, path: str, reasons: Mapping[str, str], known: Iterable[str], at: str = "") -> None:
        """Note each field that is set and not carried over: with its reason of `reasons`, or as not known."""
        for name, value in raw.items():
            if name not in known and value not in (None, False, "", [], {}):
                words = reasons.get(str(name), "this field is not known to the converter")
                self.left_out(f"{path}.{name}", words, at)

    def told_apart(self, template: str) -> dict[str, str]:
        """The name of a predicate whose template has been used before; the first one needs none."""
        self.uses[template] += 1
        return {"name": f"{template[:58]}-{self.uses[template]}"} if self.uses[template] > 1 else {}

    def named(self, api_version: str, kind: str, name: str) -> dict[str, Any]:
        """The beginning of an object in the namespace of the plan."""
        namespace = {"namespace": self.namespace} if self.namespace and not kind.startswith("Cluster") else {}
        return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **namespace}}


def draft_of(raw: Raw) -> Draft:
    """An empty draft with the names of the object. Raises CannotConvertError where they can be none of a plan."""
    name, namespace = safe_get.text(raw, "metadata", "name"), safe_get.text(raw, "metadata", "namespace")
    if not DNS_LABEL.matches(name) or len(name) > LONGEST:
        words = (
            f"metadata.name has to be lower-case letters, digits and '-', at most {LONGEST}: two names are made of it"
        )
        raise CannotConvertError(words)
    if namespace and not DNS_LABEL.matches(namespace):
        raise CannotConvertError(f'metadata.namespace "{namespace}" is no name of a namespace')
    if not is_shallow(raw):
        raise CannotConvertError(f"it has more than {_DEEPEST} levels in each other: is it an object of a cluster?")
    return Draft(name, namespace)


def is_shallow(raw: object) -> bool:
    """Whether an object has few enough levels to be copied."""
    level = [raw]
    for _ in range(_DEEPEST):
        level = [each for one in level for each in _parts(one)]
        if not level:
            return True
    return False


def _parts(raw: object) -> Iterable[object]:
    if isinstance(raw, Mapping):
        return raw.values()
    return raw if isinstance(raw, list) else ()


class Objects:
    """The objects of all files, found by kind and name."""

    def __init__(self, every: Iterable[object]) -> None:
        self.every: Sequence[Raw] = [each for each in every if isinstance(each, Mapping)]

    def find(self, kind: str, name: str, namespace: str = "") -> Raw:
        """The object of this name; empty where there is none. One that says no namespace is in any."""
        for each in self.every:
            meta = safe_get.mapping(each, "metadata")
            where = safe_get.text(meta, "namespace")
            if (
                each.get("kind") == kind
                and meta.get("name") == name
                and (not (where and namespace) or where == namespace)
            ):
                return each if is_shallow(each) else {}
        return {}


def duration(value: object) -> timedelta | None:
    """A time as both projects write it: 30, "30", "30s", "1h30m"; None where it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value}s"
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = f"{value}s"
    try:
        return parse_duration(value)
    except ValueError:
        return None


def is_name(text: str) -> bool:
    return DNS_NAME.matches(text)
