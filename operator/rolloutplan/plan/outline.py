"""The outline of a plan: each part of it in a line. A run keeps it, so that it can be told what an edit changed.

What a run has begun with is fixed: its sides, what it is judged by, and the stages that have started. What has not had
its turn may still be edited: EDITABLE, and the stages that have not started.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rolloutplan.plan.spec import PlanSpec
from rolloutplan.plan.status import PlanPart

EDITABLE: Final = frozenset({"hypothesis", "bake", "contract", "onFail", "onUndecided", "onIncident", "onBlind"})
"""Parts that say what comes later, or what is done then; by none of them is the present stage judged."""
_STAGE: Final = "stage "
_LONGEST: Final = 60
"""Letters of a part that is written out; of a longer one the hash is."""


def outline(spec: PlanSpec) -> tuple[PlanPart, ...]:
    """The parts of a plan that differ from their defaults, and its stages in their order, one line a weight.

    What a part uses of another belongs to it too: an edit of that other one changes both.
    """
    meant = spec.written.meant().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    written = list(_predicates(meant))
    named = {_name(each): dict(each) for each in written if "use" not in each}
    for each in written:
        if "use" in each:
            each["uses"] = named.get(each["use"])
    stages = meant.pop("stages")
    parts = (PlanPart(name=name, text=_text(value)) for name, value in meant.items())
    rungs = zip(spec.written.ladder(), stages, strict=True)
    return (*parts, *(PlanPart(name=_STAGE + rung.name, text=_stage_text(stage)) for rung, stage in rungs))


def changes(before: Sequence[PlanPart], after: Sequence[PlanPart]) -> dict[str, str]:
    """What changed from one outline to another, as `before -> after` by the names of the parts."""
    old, new = ({part.name: part.text for part in parts} for parts in (before, after))
    differ = (name for name in {**old, **new} if old.get(name) != new.get(name))
    return {name: f"{old.get(name, 'left out')} -> {new.get(name, 'left out')}" for name in differ}


def allowed(before: Sequence[PlanPart], after: Sequence[PlanPart], started: int) -> bool:
    """Whether an edit left alone what a run has begun with, its first `started` weights among it."""
    fixed = {name for name in changes(before, after) if not name.startswith(_STAGE)} - EDITABLE
    return not fixed and bool(before) and _rungs(before)[:started] == _rungs(after)[:started]


def _predicates(meant: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from meant.get("guards", ())
    for stage in meant["stages"]:
        yield from (each for key in ("pass", "fail", "warn") for each in stage.get(key, ()))


def stage_part(name: str) -> str:
    """The name of the part that is the stage of this name."""
    return _STAGE + name


def _rungs(parts: Sequence[PlanPart]) -> list[PlanPart]:
    return [part for part in parts if part.name.startswith(_STAGE)]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _LONGEST else _hash(text)


def _hash(text: str) -> str:
    return "#" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _stage_text(stage: Mapping[str, Any]) -> str:
    """A stage in a line: `25% soak 10m pass hit-rate#1f0c2a44`."""
    words = [stage["weight"]]
    for key, value in stage.items():
        if isinstance(value, list):
            words += [f"{key} {_name(each)}{_hash(json.dumps(each, sort_keys=True))}" for each in value]
        elif key not in ("name", "weight"):
            words.append(f"{key} {value}")
    return " ".join(words)


def _name(predicate: Mapping[str, Any]) -> str:
    return str(predicate.get("name") or predicate.get("template") or predicate.get("use"))
