"""A new command with its snapshot, and why it cannot be carried out."""

from __future__ import annotations

from dataclasses import dataclass

from rolloutplan.api.command import Command
from rolloutplan.engine.model.snapshot import Snapshot
from rolloutplan.engine.run.decision_log import CommandSource


class DeniedError(Exception):
    """The command cannot be carried out now; has the reason, and what to do instead."""


class AskedAgainError(DeniedError):
    """The command is carried out if it comes a second time."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """A snapshot with a new command."""

    snapshot: Snapshot
    command: Command
    commanded_by: CommandSource

    @property
    def words(self) -> str:
        """The command as the record of decisions has it: verb, person, and the reason if one was given."""
        reason = f": {self.command.reason}" if self.command.reason else ""
        return f"{self.command.verb} by {self.commanded_by.by}{reason}"
