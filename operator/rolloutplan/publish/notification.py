"""One decision as a receiver of notifications gets it: the facts of the plan, and the text of the message.

It is made from the snapshot of the decision; the formats (`formats/`) turn it into the body of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from rolloutplan.api.notifier import WORD
from rolloutplan.api.printable import printable
from rolloutplan.api.status import Decision
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.transitions import severity_of

USUAL: Final = "$namespace/$plan $reason: $note"
"""The text of a message where a notifier has no template."""
LONGEST_TEXT: Final = 4096
"""Characters of the text of a message. Slack and Teams show less."""
LONGEST_UNDO: Final = 8192
"""Characters of the undo command: of more routes than that, the status of the plan has it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A decision of a plan, and its message. `recorded` is False for a notice, which is no decision."""

    plan: PlanView
    decision: Decision
    undo: str = ""
    template: str | None = None
    recorded: bool = True

    @property
    def key(self) -> str:
        """By this a receiver recognises what comes twice: the plan's uid and the number of the decision.

        A notice has the number of the decision before it, and may come again later with other words.
        """
        key = f"{self.plan.uid}/{self.decision.seq}"
        return key if self.recorded else f"{key}/{self.decision.reason.lower()}/{self.decision.at.timestamp():.0f}"

    @property
    def owner(self) -> str:
        return (self.plan.written.owner if self.plan.written else None) or ""

    @property
    def runbook(self) -> str:
        return (self.plan.written.runbook if self.plan.written else None) or ""

    @property
    def severity(self) -> str:
        return str(severity_of(self.decision))

    @property
    def share(self) -> str:
        """The new side's share: before and after, where it changed."""
        before, after = self.decision.weight_from, self.decision.weight_to
        return f"{before} -> {after}" if before and after and before != after else after or before

    @property
    def text(self) -> str:
        """The message."""
        words = self.words()
        filled = WORD.sub(lambda word: words.get(word[1] or word[2], word[0]), self.template or USUAL)
        return printable(filled)[:LONGEST_TEXT]

    def words(self) -> Mapping[str, str]:
        """What the words of a template stand for (api/notifier.py)."""
        plan, decision, spec = self.plan, self.decision, self.plan.written
        return {
            "plan": plan.name,
            "namespace": plan.namespace,
            "owner": self.owner,
            "runbook": self.runbook,
            "run": str(decision.run),
            "seq": str(decision.seq),
            "stage": decision.stage,
            "kind": str(decision.kind),
            "reason": decision.reason,
            "severity": self.severity,
            "state": decision.state,
            "note": decision.note,
            "why": decision.why,
            "observed": decision.observed,
            "by": decision.by,
            "at": decision.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "old": spec.old.deployment if spec else "",
            "new": spec.new.deployment if spec else "",
            "weightFrom": decision.weight_from,
            "weightTo": decision.weight_to,
            "undo": self.undo[:LONGEST_UNDO],
        }

    def details(self) -> dict[str, str]:
        """What a person reads below the message, by its name. What is empty is left out."""
        details = {
            "plan": f"{self.plan.namespace}/{self.plan.name}",
            "run": str(self.decision.run),
            "stage": self.decision.stage,
            "weight": self.share,
            "owner": self.owner,
            "by": self.decision.by,
        }
        return {name: value for name, value in details.items() if value}

    def facts(self) -> dict[str, Any]:
        """All of it, as what becomes JSON; the decision as the plan's status has it. What is empty is left out."""
        more = {"owner": self.owner, "runbook": self.runbook, "undo": self.undo[:LONGEST_UNDO]}
        plan = {"namespace": self.plan.namespace, "name": self.plan.name, "uid": self.plan.uid}
        return {
            "id": self.key,
            "plan": plan,
            **{name: value for name, value in more.items() if value},
            "severity": self.severity,
            "recorded": self.recorded,
            "text": self.text,
            "decision": self.decision.to_raw(),
        }
