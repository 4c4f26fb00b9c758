"""What commands tell on stderr, and the error that ends a command with one line."""

from __future__ import annotations

import sys

from rolloutplan.api.printable import line


class CliError(Exception):
    """A fault that ends the command: the message has the fault and the fix in one line, `code` is the exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


def fail(words: str, code: int) -> int:
    """Say in one line what went wrong, whatever the words of others contain; return the exit code."""
    sys.stderr.write(f"rolloutplan: {line(words)}\n")
    return code
