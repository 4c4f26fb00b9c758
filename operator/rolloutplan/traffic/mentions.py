"""Which words an object has: one without the words of a Service gives it no traffic, whatever kinds read it.

Words are found in a fraction of the time in which a kind reads the rules. What another object of the resource adds is
not among them (`RouteKind.needs_siblings`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.traffic.metadata import LAST_APPLIED

_WORD: Final = re.compile(r"[\w-]+")
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
"""A character of a JSON text in an annotation."""


def words(raw: Mapping[str, Any]) -> set[str]:
    """The words of all texts and keys of an object, except who wrote its fields and what was applied before."""
    meta = {key: value for key, value in safe_get.mapping(raw, "metadata").items() if key != "managedFields"}
    annotations = safe_get.mapping(meta, "annotations")
    meta["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    return _words_in("\n".join(_texts({**raw, "metadata": meta})))


def words_of(namespace: str, name: str) -> set[str]:
    """The words of a Service: an object that gives it traffic has all of them, its own namespace among them."""
    return {*_words_in(namespace), *_words_in(name)}


def _words_in(text: str) -> set[str]:
    return {*_WORD.findall(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text))}


def _texts(value: object) -> set[str]:
    """The different texts and keys in a value of JSON, however deep."""
    found, rest = set[str](), [value]
    while rest:
        each = rest.pop()
        if isinstance(each, str):
            found.add(each)
        elif isinstance(each, dict):
            found.update(key for key in each if isinstance(key, str))
            rest.extend(each.values())
        elif isinstance(each, list):
            rest.extend(each)
    return found
