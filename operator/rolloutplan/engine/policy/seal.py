"""The seal of a stage, or of the contract: a hash of what a person approves.

It is shown where an approval is asked for, and `approve --seal` refuses another one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from rolloutplan.api.spec import PlanSpec
from rolloutplan.engine.policy.demands import CONTRACT

_DIGITS: Final = 32
"""128 bits: with fewer, an author could prepare two stages with the same seal."""


def seal_of(spec: PlanSpec, name: str) -> str:
    """The seal of a stage of a plan, or of its contract: hexadecimal digits; empty where it has no such stage.

    Only what is sealed is written out: a plan with many stages is looked at as quickly as one with few.
    """
    stage = next((stage for stage in spec.steps() if stage.name == name), None)
    if stage is None and name != CONTRACT:
        return ""
    fields = {"contract"} if stage is None else {"guards", "variables", "interval", "availability"}
    sealed = spec.model_dump(mode="json", by_alias=True, include={"old", "new", "traffic", "metrics", *fields})
    if stage is not None:
        times = [each.total_seconds() for each in (stage.soak, stage.deadline, stage.warmup)]
        sealed["stage"] = [stage.name, stage.permille, *times, *stage.additions]
        roles = {"pass": stage.pass_, "fail": stage.fail, "warn": stage.warn}
        sealed |= {
            role: [each.model_dump(mode="json", by_alias=True) for each in predicates]
            for role, predicates in roles.items()
        }
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()[:_DIGITS]
