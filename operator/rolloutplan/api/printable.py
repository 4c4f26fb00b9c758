"""Text of others, made harmless for a terminal: hypotheses, last words of Jobs, messages of pods and gateways, names.

A control sequence can move the cursor, set the title of a window or hide what follows. Newer versions of kubectl escape
them, others do not.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with a space for each character that is neither printable nor the end of a line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)
