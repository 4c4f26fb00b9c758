"""The wall clock, for whoever may have one: the pure rooms are told what time it is."""

from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, to the millisecond, as instants stand in a status."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
