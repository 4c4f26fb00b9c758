"""What a person writes to rule over plans: which, how many at once, when not at all, and on what budget.

A policy is asked before a run starts and before every increment, and never stands in the way of a rollback.
`read_policy` is the door. Only time zones are not known to the CRD: which there are changes from year to year.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.parsing import DropNulls, Integral, SpecError, SpecModel, Violations, read
from rolloutplan.api.quantities import Permille, format_weight
from rolloutplan.api.text_format import LABEL, DnsLabel, LabelValue, NamespacePattern, Query, TextFormat

__all__ = ["Daily", "ErrorBudget", "FreezeSpec", "RolloutPolicySpec", "SpecError", "Weekly", "Window", "read_policy"]

# ---- times, as they are written in a freeze ------------------------------------------------------

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
    fix='is not an instant: write a day that there is, a time and an offset, in quotes, such as "2026-12-20T00:00:00Z"',
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
    except ValueError:  # the 29th of February in most years
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
"""A time of the week, counted from Monday's midnight."""

Instant: TypeAlias = Annotated[datetime, BeforeValidator(_read_instant), WithJsonSchema(INSTANT.schema())]
TimeZone: TypeAlias = Annotated[str, BeforeValidator(_read_zone), WithJsonSchema(ZONE.schema())]
Reason: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]

# ---- the policy ----------------------------------------------------------------------------------


def _label_names(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        LABEL.read(name)
    return labels


class Selector(SpecModel):
    """The plans that a policy is for."""

    namespaces: tuple[NamespacePattern, ...] = Field(
        default=("*",),
        min_length=1,
        max_length=256,
        description='Their namespaces: names, beginnings of names with "*" behind, or "*" for every one.',
    )
    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16), AfterValidator(_label_names), DropNulls] = (
        Field(default={}, description="Labels that the plans themselves must have, all of them.")
    )


class Recurring(SpecModel):
    """What is on from one wall clock time to another, in every `period` anew; `to` may lie in the next."""

    period: ClassVar[timedelta]
    from_: timedelta
    to: timedelta

    @property
    def length(self) -> timedelta:
        """How long it is on by the clock on the wall, which may be put forward or back meanwhile."""
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
    to: WeekTime = Field(description="When it ends; before `from` it is in the next week.")


class Daily(Recurring):
    """From one time of day to another."""

    period = timedelta(days=1)
    from_: ClockTime = Field(alias="from", description='When it begins, such as "22:00".')
    to: ClockTime = Field(description="When it ends; before `from` it is on the next day.")


class Window(SpecModel):
    """A time in which no increment is taken: every week, every day, or once."""

    reason: Reason = Field(description="Why, for the people who wait.")
    weekly: Weekly | None = Field(default=None, description="Every week. This, daily, or from and to.")
    daily: Daily | None = Field(default=None, description="Every day. This, weekly, or from and to.")
    from_: Instant | None = Field(default=None, alias="from", description="When it begins, if it is once.")
    to: Instant | None = Field(default=None, description="When it ends, if it is once.")
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
            raise Violations(("to", "does not come after from: write a later instant"))
        return self


class FreezeSpec(SpecModel):
    """When no increment happens."""

    now: Reason | None = Field(
        default=None, description="Freezes at once and without an end; the reason. Remove it to end the freeze."
    )
    windows: tuple[Window, ...] = Field(
        default=(), max_length=32, description="Times in which no increment happens. A rollback is never frozen."
    )


class ErrorBudget(SpecModel):
    """How much of an error budget rollouts must leave."""

    query: Query = Field(
        description="PromQL for the share that is left, asked of the plan's own source; variables such as $service are "
        "filled in."
    )
    at_least: Permille = Field(
        description="Below this share no increment happens; rollouts may spend what is above it."
    )

    @property
    def at_least_text(self) -> str:
        return format_weight(self.at_least)


class RolloutPolicySpec(SpecModel):
    """Rules for rollouts: checked before every increment, and never in the way of a rollback."""

    selector: Selector = Field(
        default=Selector(), description="The plans that the policy is for; every plan if left out."
    )
    max_concurrent: Annotated[int, Field(strict=True, ge=1, le=10_000), Integral] | None = Field(
        default=None, description="How many of its plans may run at the same time."
    )
    lock_group: DnsLabel | None = Field(
        default=None, description="Plans of all policies with the same lock group run one at a time."
    )
    freeze: FreezeSpec = Field(default=FreezeSpec(), description="When no increment happens.")
    focus: Literal["Stability", "Balanced", "Throughput"] = Field(
        default="Balanced",
        description="Stability doubles soaks, halves the remaining doubt that counts need to go on, and halves"
        " maxConcurrent; Throughput doubles maxConcurrent.",
    )
    error_budget: ErrorBudget | None = Field(
        default=None, description="How much of an error budget rollouts must leave."
    )


def read_policy(raw: Mapping[str, Any]) -> RolloutPolicySpec:
    """Read the `spec` of a RolloutPolicy. Raises SpecError."""
    return read(RolloutPolicySpec, raw)
