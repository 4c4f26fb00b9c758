"""What commands tell on stderr, the error that ends a command with one line, and numbers with what they count."""

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


def times_of(number: int, name: str) -> str:
    """A number with the name of what is counted, as in `2 RolloutPolicies`."""
    if number == 1:
        return f"1 {name}"
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{number} {plural}"
