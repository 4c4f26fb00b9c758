"""The plan as a decision sees it: what it says, whether that can be read, and what its metadata holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import TemplateStatus


@dataclass(frozen=True, slots=True)
class Readable:
    """A plan as it stands there now, with predicates in the place of references to them (engine/model/templates.py)."""

    spec: PlanSpec
    templates: tuple[TemplateStatus, ...] = ()
    """The templates that `spec` is made with, as the status of a run keeps them."""


@dataclass(frozen=True, slots=True)
class NeedsTemplates:
    """A plan that can be read, and refers to what cannot be had, or was not looked up yet: nothing is judged by it."""

    written: PlanSpec
    problem: str = ""
    """Why it cannot be had, with the fix."""
    reason: StatusReason = StatusReason.TEMPLATE_NOT_FOUND


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A plan that cannot be read. A run is judged on by what it was before, and nothing goes forward."""

    problem: str
    """The field, the value and the fix."""
    last_good: Readable | None = None
    """The plan as it was before it was edited into this, as long as that is known."""


PlanContent: TypeAlias = Readable | NeedsTemplates | Unreadable


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan: what it says, and what stands in its metadata."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: datetime
    content: PlanContent
    deleting: datetime | None = None
    finalizer: bool = False
    """Whether our finalizer stands on it."""
    undo_annotation: str = ""
    """The revert command that stands in its annotations."""
    command: str = ""
    """What a person asks for, as it stands in its annotations."""
    command_by: str = ""
    """The field manager that wrote the command."""
    edited_by: str = ""
    """The field manager that wrote its spec last."""
    replaced: tuple[tuple[str, str], ...] = ()
    """Commands that others took the place of before they were answered, with who wrote them, the newest last."""
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    """Its resourceVersion."""
    finalizers: tuple[str, ...] = ()
    """All that stand on it, ours and others'."""
    annotated: bool = True
    """Whether it has annotations at all."""

    @property
    def last_good(self) -> Readable | None:
        """The newest content that a run can be judged by."""
        match self.content:
            case Readable():
                return self.content
            case Unreadable(last_good=last_good):
                return last_good
            case NeedsTemplates():
                return None

    @property
    def spec(self) -> PlanSpec | None:
        """What a run is judged by; None where there is nothing to judge it by."""
        good = self.last_good
        return good.spec if good else None

    @property
    def templates(self) -> tuple[TemplateStatus, ...]:
        good = self.last_good
        return good.templates if good else ()

    @property
    def written(self) -> PlanSpec | None:
        """The plan as it was written: what to go by where nothing is judged."""
        if isinstance(self.content, NeedsTemplates):
            return self.content.written
        return self.spec.written if self.spec else None

    @property
    def problem(self) -> str:
        """Why `spec` is not what stands there now; empty where it is, and before its templates were looked up."""
        return "" if isinstance(self.content, Readable) else self.content.problem

    @property
    def readable(self) -> bool:
        """Whether `spec` is what stands there now."""
        return isinstance(self.content, Readable)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"
