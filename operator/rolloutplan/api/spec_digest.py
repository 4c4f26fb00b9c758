"""The digest of a spec: one line for each part. A run stores it in its status, to find what an edit changed.

During a run its sides, its checks and the stages that have started are fixed. The parts in EDITABLE and the stages
that have not started may still be edited.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import SpecSection

EDITABLE: Final = frozenset(
    {"hypothesis", "bake", "holdback", "contract", "onFail", "onUndecided", "onIncident", "onMetricsUnavailable"}
)
"""Parts that apply later, or that choose a reaction. None of them changes how the present stage is judged: the holdback
is part of the weight of the last stage too."""
_STAGE: Final = "stage "
_LONGEST: Final = 60
"""Characters. The text of a part is stored up to this length; of a longer one the hash is stored."""


def spec_digest(spec: PlanSpec) -> tuple[SpecSection, ...]:
    """The parts of a plan that differ from their defaults, and its stages in order, one line for each weight.

    A predicate with `use` includes the one it uses, so an edit of the used one changes both.
    """
    normalized = spec.written.normalized().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    written = list(_predicates(normalized))
    named = {_name(each): dict(each) for each in written if "use" not in each}
    for each in written:
        if "use" in each:
            each["uses"] = named.get(each["use"])
    stages = normalized.pop("stages")
    if spec.holdback:
        normalized |= {"bake": normalized["bake"]["for"], "holdback": normalized["bake"]["holdback"]}
    parts = (SpecSection(name=name, text=_text(value)) for name, value in normalized.items())
    steps = zip((step for step in spec.written.steps() if not step.completes), stages, strict=True)
    stage_texts = ((step, _stage_text(step.title, stage)) for step, stage in steps)
    return (*parts, *(SpecSection(name=_STAGE + step.name, text=text) for step, text in stage_texts))


def changes(before: Sequence[SpecSection], after: Sequence[SpecSection]) -> dict[str, str]:
    """The differences between two digests: `before -> after` by the names of the parts."""
    old, new = ({part.name: part.text for part in parts} for parts in (before, after))
    differ = (name for name in {**old, **new} if old.get(name) != new.get(name))
    return {name: f"{old.get(name, 'left out')} -> {new.get(name, 'left out')}" for name in differ}


def is_allowed_edit(before: Sequence[SpecSection], after: Sequence[SpecSection], started: int) -> bool:
    """Whether an edit changed nothing that is fixed during a run, including its first `started` weights."""
    fixed = {name for name in changes(before, after) if not name.startswith(_STAGE)} - EDITABLE
    return not fixed and bool(before) and _stage_sections(before)[:started] == _stage_sections(after)[:started]


def _predicates(normalized: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from normalized.get("guards", ())
    for stage in normalized["stages"]:
        yield from (each for key in ("pass", "fail", "warn") for each in stage.get(key, ()))


def stage_part(name: str) -> str:
    """The name of the part for the stage of this name."""
    return _STAGE + name


def _stage_sections(parts: Sequence[SpecSection]) -> list[SpecSection]:
    return [part for part in parts if part.name.startswith(_STAGE)]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _LONGEST else _hash(text)


def _hash(text: str) -> str:
    return "#" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _stage_text(title: str, stage: Mapping[str, Any]) -> str:
    """A stage in one line, at the weight at which it stands: `25% soak 10m pass hit-rate#1f0c2a44`."""
    words = [title]
    for key, value in stage.items():
        if isinstance(value, list):
            words += [f"{key} {_name(each)}{_hash(json.dumps(each, sort_keys=True))}" for each in value]
        elif key not in ("name", "weight", "mirror", "match"):
            words.append(f"{key} {value}")
    return " ".join(words)


def _name(predicate: Mapping[str, Any]) -> str:
    return str(predicate.get("name") or predicate.get("template") or predicate.get("use"))
