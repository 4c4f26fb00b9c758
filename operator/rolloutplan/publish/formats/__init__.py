"""The forms in which decisions are posted: one file for each. A form is a pure function of a notification.

To add one: a file here, a line in `FORMATS`, and its name in `format` of api/notifier.py.
"""

from collections.abc import Mapping
from typing import Final

from rolloutplan.publish.formats import cloud_events, plain, slack, teams
from rolloutplan.publish.formats.base import Format

FORMATS: Final[Mapping[str, Format]] = {
    "Json": plain.body,
    "CloudEvents": cloud_events.body,
    "Slack": slack.body,
    "Teams": teams.body,
}
