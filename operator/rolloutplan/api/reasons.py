"""The words for why: why a run is held, what an Event is called, and what else `status.reason` says.

What is stored is the text of a member, and stays text in the API's models: a status that another version has written
may hold words that this one does not know, and is read all the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias


class HoldReason(StrEnum):
    """Why a run waits at its weight: `Held: <reason>`."""

    INVALID = "Invalid"
    """The plan was edited into what cannot be read."""
    CONFLICT = "Conflict"
    """Weights, or what the way back needs, were changed by somebody else; of a plan that has not begun, its routes
    belong to another one."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """The metric source does not answer."""
    INCIDENT = "Incident"
    """Both sides are bad together, or an alert fires already."""
    PAUSED = "Paused"
    """A person said so."""
    NOT_EFFECTIVE = "WeightNotEffective"
    """The traffic is not where the weights ask for it."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """The next stage, or the contract, wants a person's word."""
    FROZEN = "Frozen"
    """A policy lets nothing go forward now."""
    BUDGET_SPENT = "BudgetSpent"
    """A policy's error budget has too little left."""
    CAPACITY = "Capacity"
    """The new side has too few ready pods for the next weight."""
    UNDECIDED = "Undecided"
    """The deadline has come, and nothing is proved either way."""
    FAILED = "Failed"
    """Something is proved against the new side, and the plan says that a person goes back."""
    CONTRACT_FAILED = "ContractFailed"
    """A part of the old could not be taken away."""


class EventReason(StrEnum):
    """What a decision is called: the reason of its Event, and of its entry in `status.decisions`.

    The table of transitions says which follows from what.
    """

    STARTED = "Started"
    ASSUMPTION_TRUE = "AssumptionTrue"
    ASSUMPTION_FALSE = "AssumptionFalse"
    EXPANDED = "Expanded"
    EXPAND_FAILED = "ExpandFailed"
    NEW_SIDE_READY = "NewSideReady"
    STAGE_STARTED = "StageStarted"
    WEIGHT_SHIFTED = "WeightShifted"
    WEIGHT_DRIFT = "WeightDrift"
    STAGE_PROVED = "StageProved"
    STAGE_SKIPPED = "StageSkipped"
    STAGE_CANNOT_CONCLUDE = "StageCannotConclude"
    DEADLINE_EXTENDED = "DeadlineExtended"
    PROMOTED = "Promoted"
    ADAPTED = "Adapted"
    WARNED = "Warned"
    HELD = "Held"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    REQUEST_REFUSED = "RequestRefused"
    SHIFT_REFUSED = "ShiftRefused"
    STALLED = "Stalled"
    ROLLBACK_STARTED = "RollbackStarted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    RETRIED = "Retried"
    CONTRACT_STARTED = "ContractStarted"
    CONTRACTED = "Contracted"
    SUCCEEDED = "Succeeded"
    COMMAND_REJECTED = "CommandRejected"
    STATUS_NOT_WRITTEN = "StatusNotWritten"
    """No decision, and in no table: the API server refuses the status, so that nothing can be recorded."""


class StatusReason(StrEnum):
    """What `status.reason` says where it is not that of a hold."""

    # Where a run stands.
    PENDING = "Pending"
    PROBING = "Probing"
    EXPANDING = "Expanding"
    SHIFTING = "Shifting"
    SOAKING = "Soaking"
    JUDGING = "Judging"
    BAKING = "Baking"
    CONTRACTING = "Contracting"
    SUCCEEDED = "Succeeded"

    # Why a run cannot start. Those of templates and routes say what is wrong with what the plan names.
    INVALID_SPEC = "InvalidSpec"
    STATUS_LOST = "StatusLost"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_INVALID = "TemplateInvalid"
    DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    METRIC_SOURCE_NOT_FOUND = "MetricSourceNotFound"
    QUERY_REJECTED = "QueryRejected"
    ROUTE_NOT_FOUND = "RouteNotFound"
    ROUTE_WITHOUT_BOTH_SERVICES = "RouteWithoutBothServices"
    RULE_NOT_FOUND = "RuleNotFound"
    WEIGHTS_TOO_LARGE = "WeightsTooLarge"
    NO_TRAFFIC_TO_SHIFT = "NoTrafficToShift"
    NEW_SIDE_ALREADY_SERVING = "NewSideAlreadyServing"
    WAITING = "Waiting"

    # Why a task is not over yet, or why the run ended with it.
    JOB_REFUSED = "JobRefused"
    JOB_NOT_OURS = "JobNotOurs"
    JOB_NOT_MADE = "JobNotMade"
    NOT_SCALED = "NotScaled"
    ASSUMPTION_FALSE = "AssumptionFalse"
    EXPAND_FAILED = "ExpandFailed"
    NEW_SIDE_NOT_READY = "NewSideNotReady"

    # Why a run has ended before any weight.
    SHIFT_REFUSED = "ShiftRefused"

    # Why the weights go back, or have gone.
    ABORTED = "Aborted"
    REVERTED = "Reverted"
    DELETED = "Deleted"
    SUPERSEDED = "Superseded"
    INTERRUPTED = "Interrupted"
    NEW_SIDE_GONE = "NewSideGone"
    NEW_SIDE_DOWN = "NewSideDown"
    NEW_SIDE_SHORT = "NewSideShort"
    NEW_SIDE_RESTARTING = "NewSideRestarting"
    FAIL_TRIPPED = "FailTripped"
    GUARD_TRIPPED = "GuardTripped"
    PASS_REFUTED = "PassRefuted"  # noqa: S105  # no password
    WEIGHT_NOT_ACCEPTED = "WeightNotAccepted"
    WEIGHT_CONFLICT = "WeightConflict"
    RESTORED_NOT_ACCEPTED = "RestoredNotAccepted"


Reason: TypeAlias = HoldReason | StatusReason
"""What `status.reason` may say: a plan that cannot start waits for some of the things for which a run is held."""
