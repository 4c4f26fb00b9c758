"""What is wrong with a feature flag that a plan is to move, in words with the fix.

The description of the kind (`FeatureFlag`) reads and writes its weights; what it cannot say is why there are none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.spec_fields import Names

_MOST_NAMED = 5
"""The most flags or variants that a message names: an object may have hundreds."""


def flag_fault(raw: Mapping[str, Any], flag: str, variants: Names) -> str:
    """Why a plan cannot divide a flag between two of its variants, as text; empty where it can."""
    found = safe_get.mapping(raw, "spec", "flagSpec", "flags")
    if not isinstance(found.get(flag), Mapping):
        return f"it has no flag {flag} ({_listed(found)}): correct traffic.routes[].flag, or add the flag"
    body = found[flag]
    if safe_get.text(body, "state") == "DISABLED":
        return f"flag {flag} is DISABLED, so nobody gets what its targeting says: write state: ENABLED"
    known = safe_get.mapping(body, "variants")
    for side, variant in variants._asdict().items():
        if variant not in known:
            words = f'flag {flag} has no variant "{variant}" ({_listed(known)})'
            return f"{words}: correct {side}.variant, or add it to the variants"
    if _values(known, variants)[0] == _values(known, variants)[1]:
        words = f'variants "{variants.old}" and "{variants.new}" of flag {flag} have the same value'
        return f"{words}, so a weight would change nothing: give them the values of the two sides"
    return _targeting_fault(body, flag, variants)


def values_digest(raw: Mapping[str, Any], flag: str, variants: Names) -> str:
    """A digest of the values of both sides: while it is the same, a share is that of what the run began to move."""
    known = safe_get.mapping(raw, "spec", "flagSpec", "flags", flag, "variants")
    text = json.dumps(_values(known, variants), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _values(known: Mapping[str, Any], variants: Names) -> list[str]:
    """The values of both sides as text, by which 1 and true are two."""
    return [json.dumps(known.get(variant), sort_keys=True, default=str) for variant in variants]


def _targeting_fault(body: Mapping[str, Any], flag: str, variants: Names) -> str:
    targeting = safe_get.mapping(body, "targeting")
    write = f"write targeting: {{fractional: {json.dumps([[variants.old, 100], [variants.new, 0]])}}}"
    if "fractional" not in targeting:
        has = f"its targeting is {', '.join(sorted(map(str, targeting))[:_MOST_NAMED])}" if targeting else "it has none"
        return f"flag {flag} has no fractional directly in its targeting ({has}), so it has no weights: {write}"
    if len(targeting) > 1:
        others = ", ".join(sorted(str(name) for name in targeting if name != "fractional")[:_MOST_NAMED])
        return f"the targeting of flag {flag} has {others} in addition to fractional, and must be one rule: {write}"
    entries = safe_get.items(targeting, "fractional")
    pairs = [each for each in entries if isinstance(each, list)]
    if not pairs:
        return f"fractional of flag {flag} is no list of [variant, weight]: {write}"
    named = [each[0] for each in pairs if each]
    for variant in variants:
        if named.count(variant) != 1:
            words = f'fractional of flag {flag} must hold "{variant}" once, and holds it {named.count(variant)} times'
            return f"{words}: {write}"
    return ""


def _listed(found: Mapping[str, Any]) -> str:
    names = sorted(map(str, found))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"it has {', '.join(names[:_MOST_NAMED])}{more}" if names else "it has none"
