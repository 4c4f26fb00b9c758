"""What a stage adds without weights: testers told by a header or a cookie, mirrors, a sticky cookie.

Each is carried over where the kinds of all routes of the plan can have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from rolloutplan.api import safe_get
from rolloutplan.api.abilities import described, lacks
from rolloutplan.api.added import TESTER, TOKEN, Addition, mirrored
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.tools.convert.draft import Draft, duration

_COOKIE: Final = re.compile(r"\^\(\.\*\??; ?\)\?\(?([A-Za-z0-9_-]{1,64})=([A-Za-z0-9_-]{1,128})\)?\(;\.\*\)\?\$")
"""One cookie with one value among others, as both projects write it: `^(.*?;)?(canary=always)(;.*)?$`."""
_DAY: Final = 24 * 3600
_LONGEST: Final = 168 * 3600
"""Seconds that a sticky cookie may last."""


class Told(NamedTuple):
    """What a header must have: an exact value, or a pattern; both empty where it is something else."""

    name: str
    exact: str = ""
    pattern: str = ""


def told(name: str, value: object) -> Told:
    """A header with what both projects write for its value."""
    return Told(name, safe_get.text(value, "exact"), safe_get.text(value, "regex"))


def match_of(draft: Draft, headers: Iterable[Told]) -> dict[str, Any]:
    """The match of a stage; empty where it is not one header or cookie with a value, or a route of the plan cannot."""
    found = [*headers]
    if len(found) != 1:
        return {}
    word, name, value = _tester(found[0])
    if not (TOKEN.matches(name) and TESTER.matches(value)) or not _can(draft, Addition(word, name, value)):
        return {}
    return {word: {"name": name, "value": value}}


def _tester(told: Told) -> tuple[Literal["header", "cookie"], str, str]:
    if told.name.lower() != "cookie":
        return "header", told.name, told.exact
    found = _COOKIE.fullmatch(told.pattern)
    return ("cookie", found[1], found[2]) if found else ("cookie", "", "")


def mirror_of(draft: Draft, percent: object) -> str:
    """The share of a stage that mirrors so many percent; empty where that is none, or a route of the plan cannot."""
    if not isinstance(percent, int) or isinstance(percent, bool) or not 0 < percent <= 100:
        return ""
    return f"{percent}%" if _can(draft, mirrored(10 * percent, "")) else ""


def sticky_of(draft: Draft, raw: object) -> Mapping[str, str]:
    """traffic.sticky for the sessionAffinity of a Canary; empty as above. Its cookie lasts a day if it does not say."""
    name = safe_get.text(raw, "cookieName")
    lasts = duration(safe_get.value(raw, "maxAge") or _DAY)
    if not TOKEN.matches(name) or lasts is None or not 0 < lasts.total_seconds() <= _LONGEST:
        return {}
    span = format_duration(lasts)
    return {"cookie": name, "for": span} if _can(draft, Addition("sticky", name, span)) else {}


def _can(draft: Draft, addition: Addition) -> bool:
    kinds = [BUILT_IN.get(route["kind"]) for route in draft.spec["traffic"]["routes"]]
    return all(kind is not None and not lacks(addition, described(kind)) for kind in kinds)
