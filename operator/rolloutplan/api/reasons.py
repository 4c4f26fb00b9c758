"""The reasons: why a run is held, the reason of an Event, and the other values of `status.reason`.

The status stores the text of a member, and the API's models keep it as text: a status that another version wrote may
hold reasons that this version does not know, and must still be readable.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias


class HoldReason(StrEnum):
    """Why a run waits at its weight: `Held: <reason>`."""

    INVALID = "Invalid"
    """The plan was edited and is now invalid."""
    CONFLICT = "Conflict"
    """Somebody else changed weights, or something that the rollback needs. Before a run starts: another plan holds the
    routes."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """The metric source does not answer."""
    INCIDENT = "Incident"
    """Both sides fail the same check, or an alert was firing before."""
    PAUSED = "Paused"
    """A person sent `pause`."""
    NOT_EFFECTIVE = "WeightNotEffective"
    """The measured share of traffic does not follow the weights."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """The next stage, or the contract, needs a person's approval."""
    FROZEN = "Frozen"
    """A policy freezes all increases now."""
    BUDGET_SPENT = "BudgetSpent"
    """A policy's error budget has too little left."""
    NO_PLACE = "NoPlace"
    """It was held for so long that others got its place in a queue, and it waits for one."""
    POLICY_NOT_MET = "PolicyNotMet"
    """The plan does not have what a policy demands (`require`)."""
    CAPACITY = "Capacity"
    """The new side has too few ready pods for the next weight."""
    NEW_SIDE_AWAY = "NewSideAway"
    """The new side's pods were evicted, lost with their node or scaled to zero by an autoscaler: the weights are back,
    and the stage is taken up again when they are available."""
    WRONG_ENDPOINTS = "WrongEndpoints"
    """The Service of a side has other endpoints than the pods of that side."""
    ENDPOINTS_UNKNOWN = "EndpointsUnknown"
    """The API server does not tell which endpoints the Service of a side has."""
    OLD_SIDE_DOWN = "OldSideDown"
    """The Service of the old side has no ready endpoint: a rollback would turn a fault for some into an outage for
    all."""
    OLD_SIDE_SHORT = "OldSideShort"
    """The old side has fewer ready pods than a rollback needs."""
    NOT_GRANTED = "NotGranted"
    """The installation does not lend what the removal of the old side needs: Jobs, or scaling."""
    OLD_SIDE_IN_USE = "OldSideInUse"
    """A route still gives the old Service traffic, so nothing of the old side is removed."""
    WEIGHTS_NOT_COMMITTED = "WeightsNotCommitted"
    """Who applies a route from Git, or from a file during the run, last applied weights that give the old Service
    traffic, so nothing of the old side is removed."""
    UNDECIDED = "Undecided"
    """The deadline has passed, and nothing is proved either way."""
    FAILED = "Failed"
    """A check failed, and `onFail` is Hold: a person decides about the rollback."""
    CONTRACT_FAILED = "ContractFailed"
    """A part of the old side could not be removed."""


class EventReason(StrEnum):
    """The reason of a decision's Event, and of its entry in `status.decisions`.

    engine/model/transitions.py assigns one to each transition.
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
    BAKED = "Baked"
    STAGE_SKIPPED = "StageSkipped"
    STAGE_CANNOT_CONCLUDE = "StageCannotConclude"
    UNGUARDED = "Unguarded"
    DEADLINE_EXTENDED = "DeadlineExtended"
    PROMOTED = "Promoted"
    ADAPTED = "Adapted"
    PLACE_LOST = "PlaceLost"
    SOURCE_CHANGED = "SourceChanged"
    WARNED = "Warned"
    HELD = "Held"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    APPROVED = "Approved"
    ADOPTED = "Adopted"
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
    WEIGHTS_SET_BACK = "WeightsSetBack"
    UNJUDGED_CHANGE = "UnjudgedChange"
    COMMAND_REJECTED = "CommandRejected"
    UNDO_RESTORED = "UndoRestored"
    STATUS_NOT_WRITTEN = "StatusNotWritten"
    CLOCK_BEHIND = "ClockBehind"
    OPERATOR_FAULT = "OperatorFault"
    """These three are no decisions and in no table: no status can hold them, or nothing was decided."""


class StatusReason(StrEnum):
    """The values of `status.reason` other than those of a hold."""

    # The state of a run.
    PENDING = "Pending"
    PROBING = "Probing"
    EXPANDING = "Expanding"
    SHIFTING = "Shifting"
    SOAKING = "Soaking"
    JUDGING = "Judging"
    BAKING = "Baking"
    CONTRACTING = "Contracting"
    SUCCEEDED = "Succeeded"

    # Why a run cannot start. Those of templates and routes are about an object that the plan names.
    INVALID_SPEC = "InvalidSpec"
    TOO_LARGE = "TooLarge"
    STATUS_LOST = "StatusLost"
    NAMESPACE_NOT_SERVED = "NamespaceNotServed"
    CRDS_OUTDATED = "CRDsOutdated"
    FORBIDDEN = "Forbidden"
    """The operator lacks a right that the plan needs. Also why a run ended before any weight moved."""
    SWITCHED_OFF = "SwitchedOff"
    NOT_GRANTED = "NotGranted"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_INVALID = "TemplateInvalid"
    DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    SERVICE_NOT_USABLE = "ServiceNotUsable"
    SERVICE_SELECTS_WRONG_PODS = "ServiceSelectsWrongPods"
    NO_READY_ENDPOINTS = "NoReadyEndpoints"
    ENDPOINTS_UNKNOWN = "EndpointsUnknown"
    METRIC_SOURCE_NOT_FOUND = "MetricSourceNotFound"
    QUERY_REJECTED = "QueryRejected"
    ROUTE_KIND_NOT_FOUND = "RouteKindNotFound"
    ROUTER_NOT_INSTALLED = "RouterNotInstalled"
    ROUTE_NOT_FOUND = "RouteNotFound"
    ROUTE_WITHOUT_BOTH_SERVICES = "RouteWithoutBothServices"
    ROUTE_UNREADABLE = "RouteUnreadable"
    ROUTE_NOT_OWNED = "RouteNotOwned"
    FLAG_NOT_USABLE = "FlagNotUsable"
    RULE_NOT_FOUND = "RuleNotFound"
    WEIGHTS_TOO_LARGE = "WeightsTooLarge"
    WEIGHTS_WRONG_SUM = "WeightsWrongSum"
    WEIGHT_TOO_FINE = "WeightTooFine"
    SHARE_NOT_MEASURED = "ShareNotMeasured"
    EMPTY_SIDE_BREAKS_ROUTE = "EmptySideBreaksRoute"
    NO_TRAFFIC_TO_SHIFT = "NoTrafficToShift"
    STAGE_NOT_POSSIBLE = "StageNotPossible"
    ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
    NEW_SIDE_ALREADY_SERVING = "NewSideAlreadyServing"
    NEW_SIDE_SCALED_TO_ZERO = "NewSideScaledToZero"
    AUTOSCALED = "Autoscaled"
    WAITING = "Waiting"

    # Why a task has not ended yet, or why the run ended with it.
    JOB_REFUSED = "JobRefused"
    JOB_NOT_OURS = "JobNotOurs"
    JOB_NOT_MADE = "JobNotMade"
    JOB_WAITS = "JobWaits"
    JOB_NOT_RUNNING = "JobNotRunning"
    NOT_SCALED = "NotScaled"
    ASSUMPTION_FALSE = "AssumptionFalse"
    EXPAND_FAILED = "ExpandFailed"
    NEW_SIDE_NOT_READY = "NewSideNotReady"

    # Why a run ended before any weight moved.
    SHIFT_REFUSED = "ShiftRefused"

    # Why the run rolls back, or rolled back.
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

    # Why a run that has succeeded is not Ready.
    WEIGHTS_SET_BACK = "WeightsSetBack"


Reason: TypeAlias = HoldReason | StatusReason
"""A value of `status.reason`. A plan that cannot start may wait for some of the reasons of a hold."""
