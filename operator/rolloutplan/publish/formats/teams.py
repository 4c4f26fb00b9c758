"""Teams: an Adaptive Card for a webhook of a workflow. Its texts are runs, in which Teams reads no Markdown."""

from __future__ import annotations

from typing import Any, Final

from rolloutplan.publish.formats.base import Body, as_json, cut, size_in_json
from rolloutplan.publish.notification import Notification

_LONGEST_TEXT: Final = 12_000
"""Bytes of the text as JSON: a message has 28 KB at most, and its facts take a few."""
_LONGEST_FACT: Final = 1_000
_COLOURS: Final = {"Warning": "Attention", "Normal": "Good"}


def body(notification: Notification) -> Body:
    """A message with one card."""
    decision = notification.decision
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [
            _runs(_run(_cut(decision.reason, _LONGEST_FACT), weight="Bolder", color=_COLOURS[notification.severity])),
            _runs(_run(_cut(notification.text, _LONGEST_TEXT))),
            *(
                _runs(_run(f"{name.capitalize()} ", isSubtle=True), _run(_cut(value, _LONGEST_FACT)))
                for name, value in notification.details().items()
            ),
        ],
    }
    if notification.runbook:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Runbook", "url": notification.runbook}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return Body("application/json", as_json({"type": "message", "attachments": [attachment]}))


def _runs(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **more: object) -> dict[str, Any]:
    return {"type": "TextRun", "text": text or "-", **more}


def _cut(text: str, most: int) -> str:
    """A text that takes so many bytes as JSON."""
    return cut(text, most, size_in_json)
