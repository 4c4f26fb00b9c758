"""The variables of queries: `$deployment`, `$window` and the plan's own.

Their values come from the plan and its status; the rendered queries go to the metric source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rolloutplan.api.predicate import Predicate
from rolloutplan.api.rendering import MAX_QUERY, VARIABLE, rendered_size
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import Stage

_OF_A_SIDE = frozenset({"deployment", "service", "variant", "old", "new"})


def render(query: str, variables: Mapping[str, str]) -> str:
    """Fill the variables of a query. An unknown one is left as it is, so that the source can refuse the query.

    So is a query that would become too large. Plans are refused before that; a policy's query has variables of others.
    """
    if rendered_size(query, {name: len(value.encode()) for name, value in variables.items()}) > MAX_QUERY:
        return query
    return VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), query)


def names_a_side(query: str) -> bool:
    """Whether a query names a side by a variable."""
    return any((match[1] or match[2]) in _OF_A_SIDE for match in VARIABLE.finditer(query))


def is_side_specific(spec: PlanSpec, query: str) -> bool:
    """Whether a query differs between the sides. In one Deployment only `$variant` does."""
    old, new = _of_side(spec, "old"), _of_side(spec, "new")
    named = {match[1] or match[2] for match in VARIABLE.finditer(query)}
    return any(old[name] != new[name] for name in named & set(old))


def _of_side(spec: PlanSpec, side: str) -> dict[str, str]:
    """The variables whose values may differ between the sides. Without a flag, both have an empty variant."""
    ref = spec.old if side == "old" else spec.new
    service = spec.services.old if side == "old" else spec.services.new
    return {"deployment": ref.deployment, "service": service, "variant": ref.variant or ""}


def variables_for(
    spec: PlanSpec,
    *,
    namespace: str,
    plan: str,
    stage: str,
    side: str = "new",
    window: timedelta,
    elapsed: timedelta = timedelta(0),
) -> dict[str, str]:
    """The variables and their values for one side. Durations are whole seconds, as `90s`."""
    return {
        **spec.variables,
        "namespace": namespace,
        "plan": plan,
        "stage": stage,
        **_of_side(spec, side),
        "old": spec.old.deployment,
        "new": spec.new.deployment,
        "window": _seconds(window),
        "elapsed": _seconds(elapsed),
    }


def predicates_hash(stage: Stage, guards: Iterable[Predicate]) -> str:
    """Hash of all predicates that will judge a stage, taken before its weight changes: 16 hexadecimal digits."""
    judged: dict[str, Any] = {
        "stage": stage.name,
        "permille": stage.permille,
        "pass": [_judging_fields(p) for p in stage.pass_],
        "fail": [_judging_fields(p) for p in (*guards, *stage.fail)],
        "warn": [_judging_fields(p) for p in stage.warn],
    }
    if stage.additions:
        judged["added"] = stage.additions
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:16]


def _judging_fields(predicate: Predicate) -> dict[str, Any]:
    return predicate.model_dump(mode="json", by_alias=True, exclude={"use", "template", "with_"})


def _seconds(duration: timedelta) -> str:
    return f"{max(1, int(duration.total_seconds()))}s"
