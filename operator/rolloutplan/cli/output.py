"""What commands tell on stderr."""

from __future__ import annotations

import sys

from rolloutplan.api.printable import printable


def fail(words: str, code: int) -> int:
    """Say what went wrong, without what a terminal would take for commands of its own; return the exit code."""
    sys.stderr.write(f"rolloutplan: {printable(words)}\n")
    return code
