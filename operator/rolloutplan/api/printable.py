"""Text of others, made harmless for terminals and logs: hypotheses, last words of Jobs, messages of pods, names.

A control sequence can move the cursor, set the title of a window or hide what follows. Newer versions of kubectl escape
them, others do not. A credential in a message ends up in the log of a pipeline, or in a status that many may read.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 1024
"""Characters of a message, as of the note of an Event."""
HIDDEN: Final = "***"
"""What is shown in place of a credential."""
_USER: Final = re.compile(r"(?<=://)[^\s\"'/]*@")
_AUTHORIZATION: Final = re.compile(r"\b(Bearer|Basic) +[!#-&(-+\--~]+")


def printable(text: str) -> str:
    """The text without credentials, and with a space for each character that is not printable, except ends of lines."""
    text = masked(text)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)


def shortened(text: str, most: int = LONGEST) -> str:
    """At most so many characters of the text; where some are missing, it ends with `…`."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(printable(text).split())


def masked(text: str) -> str:
    """The text without the user and password of URLs, and without what follows the words of an Authorization header."""
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    if "Bearer " in text or "Basic " in text:
        text = _AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)
    return text
