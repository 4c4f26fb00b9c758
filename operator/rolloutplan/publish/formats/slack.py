"""Slack: a message of an incoming webhook, with the text, the facts in one line, and a colour for its severity."""

from __future__ import annotations

from typing import Any, Final

from rolloutplan.publish.formats.base import Body, as_json, cut
from rolloutplan.publish.notification import Notification

_LONGEST_SECTION: Final = 3000
"""Characters of the text of a block, after escaping."""
_LONGEST_LINK: Final = 2900
"""The runbook has 2,048 characters at most; of those some are escaped."""
_LONGEST_FACT: Final = 250
_LONGEST_FALLBACK: Final = 1000
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
"""With these three a text can make neither links nor mentions such as <!channel>."""
_COLOURS: Final = {"Warning": "#d1242f", "Normal": "#2da44e"}


def body(notification: Notification) -> Body:
    """A message with one attachment: Slack shows a colour only there."""
    facts = [_text(_line(notification))]
    if notification.runbook:
        facts.append(_text(f"<{escaped(notification.runbook, _LONGEST_LINK)}|runbook>"))
    blocks = [
        {"type": "section", "text": _text(escaped(notification.text, _LONGEST_SECTION))},
        {"type": "context", "elements": facts},
    ]
    message = {
        "text": escaped(notification.text, _LONGEST_FALLBACK),
        "attachments": [{"color": _COLOURS[notification.severity], "blocks": blocks}],
    }
    return Body("application/json", as_json(message))


def escaped(text: str, most: int) -> str:
    """A text as Slack shows it and does not read it, in so many characters; no escape is cut in two."""
    return "".join(_ESCAPED.get(each, each) for each in cut(text, most, lambda each: len(_ESCAPED.get(each, each))))


def _text(words: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": words or "-", "verbatim": True}


def _line(notification: Notification) -> str:
    """Where, and by whom."""
    return " · ".join(f"{name} {escaped(value, _LONGEST_FACT)}" for name, value in notification.details().items())
