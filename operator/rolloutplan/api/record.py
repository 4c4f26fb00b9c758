"""The RolloutRecord: what one run was to put out, and how that went, with every decision. It outlives its plan.

The operator writes it, and decides nothing about a run by it. Reading is lenient, as that of a status: a record edited
by hand never raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError
from pydantic.config import JsonDict

from rolloutplan.api import safe_get
from rolloutplan.api.status import Decision, Evidence, Instant, Part, read_part

PLAN_LABEL: Final = "rolloutplan.dev/plan"
OUTCOME_LABEL: Final = "rolloutplan.dev/outcome"
STAGES_KEPT: Final = 200
"""A plan has at most 50 stages with a weight each, or a few with many; more are those of stages that started again."""
PEOPLE_KEPT: Final = 50
_LONGEST_NAME: Final = 253
_LONGEST_LABEL: Final = 63
_UID_SHOWN: Final = 8
_LONGEST_RUN: Final = 10
LAST_RUN: Final = 2**31 - 1
"""No plan has so many runs; a status that was edited by hand may say so."""
_INSTANT: Final[JsonDict] = {"maxLength": 32}


class RunOutcome(StrEnum):
    """How a run ended."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"
    SUPERSEDED = "Superseded"
    """The plan or the pod template was changed during the run."""
    ABANDONED = "Abandoned"
    """The plan is gone, or its status was lost, and nobody recorded whether the weights went back."""


class RecordedSide(Part):
    """A side of the run: its Deployment, and what that ran when the run began."""

    deployment: str = Field("", max_length=253, description="The Deployment.")
    variant: str = Field("", max_length=253, description="The variant of a feature flag, where that is the side.")
    images: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        (), max_length=64, description="The images of its containers, in their order."
    )


class RecordSpec(Part):
    """The record of one run: what was to go out, and in its status how that went, with every decision."""

    plan: str = Field("", max_length=253, description="The plan.")
    plan_uid: str = Field("", max_length=64, description="The plan's uid.")
    run: int = Field(0, ge=0, le=LAST_RUN, description="The number of the run; 0 of a run whose status was lost.")
    owner: str = Field("", max_length=253, description="Who answers for the change, as the plan says.")
    runbook: str = Field("", max_length=2048, description="The address of the runbook, as the plan says.")
    hypothesis: str = Field("", max_length=1024, description="The expected effect of the change, in words.")
    plan_hash: str = Field("", max_length=64, description="Hash of the plan's meaning, as `status.planHash`.")
    revision: str = Field(
        "", max_length=253, description="Hashes of the new side's pod template, as `status.revision`."
    )
    old: RecordedSide = Field(RecordedSide(), description="The old side.")
    new: RecordedSide = Field(RecordedSide(), description="The new side.")
    started_at: Instant | None = Field(
        None, description="When the first decision of the run was taken.", json_schema_extra=_INSTANT
    )
    committed_at: Instant | None = Field(
        None,
        description="When the change was committed, by the plan's annotation rolloutplan.dev/committed-at.",
        json_schema_extra=_INSTANT,
    )


class RecordedStage(Part):
    """One stage of the run, as often as it was started."""

    name: str = Field("", description="Its name.")
    weight: str = Field("", description="The new side's share at this stage.")
    run_began: Instant | None = Field(
        None,
        description="Only of a stage of another run that got the same number after the status of the plan was lost:"
        " when that run began.",
    )
    entered_at: Instant | None = Field(None, description="When its weight was requested.")
    verified_at: Instant | None = Field(None, description="When its weight was read back and accepted.")
    ended_at: Instant | None = Field(None, description="When it was left.")
    result: str = Field("", description="Proved, Skipped, RolledBack, or how the run ended; empty while it lasts.")
    evidence: tuple[Evidence, ...] = Field((), description="The evidence of the decision that ended it.")


class DoraFigures(Part):
    """What the run says about delivery: whether it failed, for how long, and for whom."""

    failed: bool = Field(False, description="Whether the change failed.")
    bad_at: Instant | None = Field(
        None, description="The instant of the first sample that showed the fault, or when pods or endpoints showed it."
    )
    restored_at: Instant | None = Field(None, description="When the old weights were back.")
    restore_seconds: float | None = Field(None, description="Seconds between these two, of a change that failed.")
    lead_seconds: float | None = Field(None, description="Seconds from the commit to the end of a success.")
    exposed_requests: float | None = Field(
        None, description="Requests of the new side that the guard had counted when it tripped."
    )


class RecordStatus(Part):
    """How the run went. It is written with each decision."""

    outcome: RunOutcome = Field(RunOutcome.RUNNING, description="How it ended; Running until then.")
    reason: str = Field("", description="Why, in one word, such as GuardTripped; of a run under way, its state.")
    message: str = Field("", description="The same in a sentence.")
    weight: str = Field("", description="The new side's share, as last known.")
    ended_at: Instant | None = Field(None, description="When it ended.")
    seq: int = Field(0, description="The number of the newest decision in it.")
    folded: int = Field(0, description="How many decisions were left out because the record would have been too large.")
    missing: int = Field(
        0,
        description="At least how many decisions are not in it: they left the plan's status before they could be"
        " written here, or somebody removed them.",
    )
    shortened: int = Field(
        0, description="How many decisions have no evidence any more, and short texts, for the same reason as `folded`."
    )
    decisions: tuple[Decision, ...] = Field((), description="The decisions, the newest last.")
    stages: tuple[RecordedStage, ...] = Field((), description="The stages, in the order in which they started.")
    people: tuple[str, ...] = Field((), description="Who took part, other than the operator.")
    dora: DoraFigures | None = Field(
        None, description="What the run says about delivery; absent while no request has gone to the new side."
    )

    @property
    def change(self) -> DoraFigures | None:
        """Its figures, if it counts as a change: it gave the new side traffic, and it is known how it ended."""
        return None if self.outcome in (RunOutcome.RUNNING, RunOutcome.ABANDONED) else self.dora


class RolloutRecord(Part):
    """One run of a plan: what was to go out, and how that went."""

    spec: RecordSpec = RecordSpec()
    status: RecordStatus = RecordStatus()

    @property
    def name(self) -> str:
        """The name of the object: plan, first characters of its uid, run. A long name of a plan is cut."""
        return record_name(self.spec.plan, self.spec.plan_uid, self.spec.run)


def record_name(plan: str, uid: str, run: int) -> str:
    """The name of the record of a run; it stays a DNS subdomain."""
    return f"{record_prefix(plan, uid)}{recorded_run(run)}"


def recorded_run(run: int) -> int:
    """The number of a run as a record has it, whatever somebody has written into the status."""
    return min(max(run, 0), LAST_RUN)


def record_prefix(plan: str, uid: str) -> str:
    """With what the names of all records of a plan begin."""
    suffix = f"-{uid[:_UID_SHOWN]}-"
    return plan[: _LONGEST_NAME - len(suffix) - _LONGEST_RUN].rstrip(".-") + suffix


def plan_label(plan: str) -> str:
    """The value of the plan's label: its name; of a longer one than a label may be, its beginning and a hash."""
    if len(plan) <= _LONGEST_LABEL:
        return plan
    mark = hashlib.sha256(plan.encode()).hexdigest()[:8]
    return f"{plan[: _LONGEST_LABEL - len(mark) - 1].rstrip('.-')}-{mark}"


def read_record(raw: Mapping[str, Any]) -> RolloutRecord:
    """Read a record. Never raises: a field that cannot be read is left out, a decision is counted as missing."""
    decisions = tuple(_decisions(safe_get.items(raw, "status", "decisions")))
    unread = len(safe_get.items(raw, "status", "decisions")) - len(decisions)
    status, _ = read_part(RecordStatus, {**safe_get.mapping(raw, "status"), "decisions": decisions})
    status = status.model_copy(update={"missing": status.missing + unread}) if unread else status
    return RolloutRecord(spec=read_part(RecordSpec, safe_get.mapping(raw, "spec"))[0], status=status)


def _decisions(raw: Any) -> Iterator[Decision]:
    for each in raw:
        try:
            yield Decision.model_validate(each)
        except ValidationError:
            continue
