"""The spec of a RolloutPolicy: which plans it selects, how many may run at once, freezes and error budgets.

A policy is checked before a run starts and before every increase. It never stops a rollback. `read_policy` parses it.
The CRD does not check the names of time zones, because these change from year to year.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.focus import FOCUS_WORD, Focus
from rolloutplan.api.limits import MAX_POLICY, check_size
from rolloutplan.api.parsing import DropNulls, Integral, SpecError, SpecModel, Violations, read
from rolloutplan.api.quantities import Duration, Permille, at_least, format_weight
from rolloutplan.api.text_format import LABEL, DnsLabel, DnsName, LabelValue, NamespacePattern, Query, TextFormat

__all__ = ["Daily", "ErrorBudget", "FreezeSpec", "RolloutPolicySpec", "SpecError", "Weekly", "Window", "read_policy"]

# ---- the formats of times in a freeze ------------------------------------------------------------

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HH_MM: Final = "([01][0-9]|2[0-3]):[0-5][0-9]"
_CLOCK: Final = TextFormat(
    called="time of day",
    pattern=f"^{_HH_MM}$",
    longest=64,
    fix='is not a time of day: write it in quotes, from "00:00" to "23:59"',
)
_WEEK: Final = TextFormat(
    called="time of the week",
    pattern=f"^({'|'.join(_DAYS)}) {_HH_MM}$",
    longest=64,
    fix=f'is not a time of the week: write a day ({", ".join(_DAYS)}) and a time, such as "Fri 16:00"',
)
_MM_DD: Final = "((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|02-29|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
INSTANT: Final = TextFormat(
    called="instant",
    pattern=rf"^2[0-9]{{3}}-{_MM_DD}T{_HH_MM}:[0-5][0-9](Z|[+-]{_HH_MM})$",
    longest=64,
    fix='is not a timestamp: write an existing date, a time and an offset, in quotes, such as "2026-12-20T00:00:00Z"',
)
ZONE: Final = TextFormat(
    called="time zone",
    pattern="^[A-Za-z][-+A-Za-z0-9_]*(/[-+A-Za-z0-9_]+)*$",
    longest=64,
    fix="is not a time zone: write its name in the IANA database, such as Europe/Berlin or UTC",
)


def _read_clock(text: object) -> timedelta:
    hours, minutes = _CLOCK.read(text).split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _read_week(text: object) -> timedelta:
    day, clock = _WEEK.read(text).split(" ")
    return timedelta(days=_DAYS.index(day)) + _read_clock(clock)


def _read_instant(text: object) -> datetime:
    written = INSTANT.read(text)
    try:
        return datetime.fromisoformat(written)
    except ValueError:  # 29 February in most years
        raise ValueError(f'"{written}" {INSTANT.fix}') from None


def _read_zone(text: object) -> str:
    name = ZONE.read(text)
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a part of a name, such as Europe, is a directory
        raise ValueError(f'"{name}" {ZONE.fix}') from None


ClockTime: TypeAlias = Annotated[timedelta, BeforeValidator(_read_clock), WithJsonSchema(_CLOCK.schema())]
"""A time of day, counted from midnight."""

WeekTime: TypeAlias = Annotated[timedelta, BeforeValidator(_read_week), WithJsonSchema(_WEEK.schema())]
"""A time of the week, counted from Monday 00:00."""

Instant: TypeAlias = Annotated[datetime, BeforeValidator(_read_instant), WithJsonSchema(INSTANT.schema())]
TimeZone: TypeAlias = Annotated[str, BeforeValidator(_read_zone), WithJsonSchema(ZONE.schema())]
Reason: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]

# ---- the policy ----------------------------------------------------------------------------------


Labels: TypeAlias = Annotated[dict[str, LabelValue], Field(max_length=16), AfterValidator(LABEL.read_names), DropNulls]

PLAN_LABELS: Final = (
    "authors can leave the policy: who may edit a plan may also take its labels off before a run; select by namespaces"
    " or namespaceLabels"
)
"""What is wrong with a selection by labels of the plans themselves."""


class Selector(SpecModel):
    """The plans that a policy applies to: those for which all of its fields are true."""

    namespaces: tuple[NamespacePattern, ...] = Field(
        default=("*",),
        min_length=1,
        max_length=256,
        description='Their namespaces: names, prefixes followed by "*", or "*" for every namespace.',
    )
    namespace_labels: Labels = Field(
        default={},
        description="Labels that their namespaces must have, all of them. A run keeps those with which it began.",
    )
    match_labels: Labels = Field(
        default={},
        description="Labels that the plan objects must have, all of them. A run keeps those with which it began, but "
        + PLAN_LABELS
        + ".",
    )


class Recurring(SpecModel):
    """A time that repeats in every `period`, between two wall clock times; `to` may be in the next period."""

    period: ClassVar[timedelta]
    from_: timedelta
    to: timedelta

    @property
    def length(self) -> timedelta:
        """Its length by the wall clock, which daylight saving time may change meanwhile."""
        return (self.to - self.from_) % self.period

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.from_ == self.to:
            raise Violations(("to", "is the same as from: write another time, or freeze.now to freeze without an end"))
        return self


class Weekly(Recurring):
    """From one time of the week to another."""

    period = timedelta(days=7)
    from_: WeekTime = Field(alias="from", description='When it begins, such as "Fri 16:00".')
    to: WeekTime = Field(description="When it ends; a time before `from` is in the next week.")


class Daily(Recurring):
    """From one time of day to another."""

    period = timedelta(days=1)
    from_: ClockTime = Field(alias="from", description='When it begins, such as "22:00".')
    to: ClockTime = Field(description="When it ends; a time before `from` is on the next day.")


class Window(SpecModel):
    """A freeze window, in which no weight is increased: every week, every day, or once."""

    reason: Reason = Field(description="The reason, shown to people whose plans wait.")
    weekly: Weekly | None = Field(default=None, description="Every week. Set this, daily, or from and to.")
    daily: Daily | None = Field(default=None, description="Every day. Set this, weekly, or from and to.")
    from_: Instant | None = Field(default=None, alias="from", description="When it begins, if it happens once.")
    to: Instant | None = Field(default=None, description="When it ends, if it happens once.")
    time_zone: TimeZone = Field(
        default="UTC",
        description="The time zone of weekly and daily, such as Europe/Berlin; daylight saving time is applied.",
    )

    @property
    def recurring(self) -> Recurring | None:
        return self.weekly or self.daily

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        once = self.from_ is not None or self.to is not None
        if (self.weekly is not None) + (self.daily is not None) + once != 1:
            raise Violations(("", "needs exactly one time: write weekly, daily, or from with to"))
        if (self.from_ is None) != (self.to is None):
            raise Violations(("", "from and to belong together: write both"))
        if self.from_ and self.to and self.from_ >= self.to:
            raise Violations(("to", "is not after from: write a later timestamp"))
        return self


class FreezeSpec(SpecModel):
    """When no weight is increased."""

    now: Reason | None = Field(
        default=None, description="Freezes at once and without an end, for this reason. Remove it to end the freeze."
    )
    windows: tuple[Window, ...] = Field(
        default=(), max_length=32, description="Times in which no weight is increased. A rollback is never frozen."
    )


class ErrorBudget(SpecModel):
    """The part of an error budget that rollouts must leave."""

    query: Query = Field(
        description="PromQL for the share of the budget that is left. Variables such as $service are replaced, but not"
        " those of the plan's own `variables`."
    )
    source: DnsName = Field(
        default="default",
        description="The ClusterMetricSource that is asked; never a MetricSource of the plan's namespace. It must admit"
        " the namespace.",
    )
    at_least: Permille = Field(description="Below this percentage, such as 20% or 20, no weight is increased.")

    @property
    def at_least_text(self) -> str:
        return format_weight(self.at_least)


class RequiredSource(SpecModel):
    """The metric source that plans must ask."""

    kind: Literal["ClusterMetricSource", "MetricSource"] = Field(default="ClusterMetricSource", description="Its kind.")
    name: DnsName | None = Field(default=None, description="Its name; any of this kind if left out.")


Approvals: TypeAlias = Annotated[tuple[Literal["All", "Last", "Contract"], ...], Field(max_length=3)]


class Require(SpecModel):
    """What a policy demands of plans. One that does not meet it waits, and says what is missing."""

    approvals: Approvals = Field(
        default=(),
        description="What a person must approve, whether or not the plan says so: All stages, the Last stage, the"
        " Contract. `promote` and `skip` do not get around it.",
    )
    sealed_approvals: bool = Field(
        default=False, description="Whether an approval must name the seal of what it approves (`approve --seal`)."
    )
    templates: Literal["Any", "Cluster"] = Field(
        default="Any",
        description="Cluster: the templates that a plan names must be ClusterPredicateTemplates, and none of its"
        " namespace may have their name.",
    )
    source: RequiredSource | None = Field(default=None, description="The metric source that the plan must ask.")
    soak_at_least: Duration = Field(
        default=timedelta(0),
        description="The shortest soak of every stage. `promote` and `skip` do not end a stage before.",
    )


class RolloutPolicySpec(SpecModel):
    """Rules for rollouts, checked before every increase. They never stop a rollback."""

    selector: Selector = Field(
        default=Selector(), description="The plans that the policy applies to; every plan if left out."
    )
    max_concurrent: Annotated[int, Field(strict=True, ge=1, le=10_000), Integral] | None = Field(
        default=None, description="How many of the selected plans may run at the same time."
    )
    max_concurrent_per_namespace: Annotated[int, Field(strict=True, ge=1, le=10_000), Integral] | None = Field(
        default=None, description="How many of them may run at the same time in one namespace."
    )
    lock_group: DnsLabel | None = Field(
        default=None, description="Plans of all policies with the same lock group run one at a time."
    )
    release_after: Annotated[Duration, at_least("1m")] | None = Field(
        default=None,
        description="How long a run that is held keeps its place among those that may run at the same time; to its end"
        " if left out. Without its place it waits for one before its next increase.",
    )
    freeze: FreezeSpec = Field(default=FreezeSpec(), description="When no weight is increased.")
    focus: Focus = Field(
        default=Focus(base="Balanced"),
        description="Stability doubles soaks, halves the remaining doubt that counts may leave, and halves"
        " maxConcurrent and maxConcurrentPerNamespace; Throughput doubles these two. With `stability` it shifts by"
        " itself.",
        json_schema_extra=FOCUS_WORD,
    )
    error_budget: ErrorBudget | None = Field(
        default=None, description="The part of an error budget that rollouts must leave."
    )
    require: Require = Field(default=Require(), description="What plans must have, and people must approve.")


def read_policy(raw: Mapping[str, Any]) -> RolloutPolicySpec:
    """Read the `spec` of a RolloutPolicy. Raises SpecError."""
    check_size(raw, MAX_POLICY)
    return read(RolloutPolicySpec, raw)
