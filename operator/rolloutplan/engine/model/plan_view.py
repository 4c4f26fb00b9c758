"""The plan in a snapshot: its spec, whether that can be read, and its metadata.

`cluster/plans.py` makes it from the object in the API server; the rules read it.
"""

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
    """The plan as it is now, with its references replaced by predicates (engine/model/templates.py)."""

    spec: PlanSpec
    templates: tuple[TemplateStatus, ...] = ()
    """The templates used in `spec`, as the status of a run keeps them."""


@dataclass(frozen=True, slots=True)
class NeedsTemplates:
    """A readable plan with references that are missing or not looked up yet: nothing is evaluated by it."""

    written: PlanSpec
    problem: str = ""
    """Why a template is missing, with the fix."""
    reason: StatusReason = StatusReason.TEMPLATE_NOT_FOUND


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A plan that cannot be read. A run is evaluated by the last readable plan, and does not go forward."""

    problem: str
    """The field, the value and the fix."""
    last_good: Readable | None = None
    """The last readable plan, if it is known."""
    reason: StatusReason = StatusReason.INVALID_SPEC
    tried: str = ""
    """The hash of the run whose plan was looked for in it: one that began before the rules that refuse the plan."""
    for_now: bool = False
    """Whether the reason is outside of the plan (loop/budget.py, loop/definitions.py): then it is read again."""


PlanContent: TypeAlias = Readable | NeedsTemplates | Unreadable


@dataclass(frozen=True, slots=True)
class PlanView:
    """The plan: its content and its metadata."""

    namespace: str
    name: str
    uid: str
    generation: int
    created: datetime
    content: PlanContent
    deleting: datetime | None = None
    finalizer: bool = False
    """Whether it has our finalizer."""
    undo_annotation: str = ""
    """The undo command in its annotations."""
    undo_by: str = ""
    """Who wrote that, with operation and time, from managedFields."""
    command: str = ""
    """The command of a person, as written in its annotations."""
    command_by: str = ""
    """Who wrote the command: a user, or a field manager that says of itself who it is."""
    edited_by: str = ""
    """The field manager that wrote its spec last."""
    rewritten: bool = False
    """Whether the command was answered before it was written: the operator saw it come back."""
    replaced: tuple[tuple[str, str], ...] = ()
    """Commands that were overwritten before they were answered, with their writers, the newest last."""
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    """Its resourceVersion."""
    finalizers: tuple[str, ...] = ()
    """All of its finalizers, ours and others'."""
    committed_at: datetime | None = None
    """When what it puts out was committed, as its annotation says."""
    annotated: bool = True
    """Whether it has annotations at all."""
    written: PlanSpec | None = field(init=False, repr=False, compare=False)
    """The spec as it was written, for use where nothing is judged. A decision asks for it some fifty times."""

    def __post_init__(self) -> None:
        judged = self.spec.written if self.spec else None
        written = self.content.written if isinstance(self.content, NeedsTemplates) else judged
        object.__setattr__(self, "written", written)

    @property
    def last_good(self) -> Readable | None:
        """The newest content by which a run can be judged."""
        match self.content:
            case Readable():
                return self.content
            case Unreadable(last_good=last_good):
                return last_good
            case NeedsTemplates():
                return None

    @property
    def spec(self) -> PlanSpec | None:
        """The spec by which a run is judged; None where there is none."""
        good = self.last_good
        return good.spec if good else None

    @property
    def templates(self) -> tuple[TemplateStatus, ...]:
        good = self.last_good
        return good.templates if good else ()

    @property
    def problem(self) -> str:
        """Why `spec` is not the present spec; empty where it is, and before its templates were looked up."""
        return "" if isinstance(self.content, Readable) else self.content.problem

    @property
    def readable(self) -> bool:
        """Whether `spec` is the present spec."""
        return isinstance(self.content, Readable)

    @property
    def runbook_words(self) -> str:
        """Where to read what to do, to be appended to a message; empty where the plan does not say."""
        return f"; runbook: {self.written.runbook}" if self.written and self.written.runbook else ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"
