"""The status of a Notifier or a ClusterNotifier: whether decisions get through, and how many did."""

from __future__ import annotations

from pydantic import Field

from rolloutplan.api.status import Condition, Instant, Part


class NotifierStatus(Part):
    """What the operator found of a notifier; it writes this, and nobody else, about once a minute at most."""

    observed_generation: int = Field(0, description="The generation of the object for which this was written.")
    delivered: int = Field(0, description="How many decisions the webhook has taken.")
    failed: int = Field(0, description="How many attempts failed.")
    given_up: int = Field(0, description="How many decisions were given up, because the webhook did not take them.")
    last_delivery: Instant | None = Field(None, description="When the webhook last took a decision.")
    conditions: tuple[Condition, ...] = Field(
        (), description="Ready: decisions of the selected plans are sent, and the last one was taken."
    )
