"""The seal of a stage, or of the contract: a hash of what a person approves.

It is shown where an approval is asked for, and `approve --seal` refuses another one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.policy.demands import CONTRACT

_DIGITS: Final = 32
"""128 bits: with fewer, an author could prepare two stages with the same seal."""


def seal_of(spec: PlanSpec, name: str) -> str:
    """The seal of a stage of a plan, or of its contract: hexadecimal digits; empty where it has no such stage."""
    stage = next((stage for stage in spec.steps() if stage.name == name), None)
    whole = spec.model_dump(mode="json", by_alias=True)
    sealed: dict[str, Any] = {key: whole[key] for key in ("old", "new", "traffic", "metrics")}
    if name == CONTRACT:
        sealed["contract"] = whole["contract"]
    elif stage is None:
        return ""
    else:
        sealed["stage"] = [stage.name, stage.permille, stage.soak.total_seconds(), stage.deadline.total_seconds()]
        sealed["warmup"] = stage.warmup.total_seconds()
        sealed |= {key: whole[key] for key in ("guards", "variables", "interval", "availability")}
        roles = {"pass": stage.pass_, "fail": stage.fail, "warn": stage.warn}
        sealed |= {
            role: [each.model_dump(mode="json", by_alias=True) for each in predicates]
            for role, predicates in roles.items()
        }
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()[:_DIGITS]
