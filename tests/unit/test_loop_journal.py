"""The line of a decision in the log: a machine finds by it which decision it was."""

from datetime import UTC, datetime

from structlog.testing import capture_logs

from rolloutplan.api.status import Decision
from rolloutplan.loop.journal import Journal
from rolloutplan.telemetry.metrics import Metrics


def test_the_line_of_a_decision_has_its_own_run_and_stage_also_where_it_begins_them() -> None:
    decision = Decision(
        seq=7, at=datetime.now(UTC), kind="Start", reason="Started", note="Run 2 starts.", run=2, stage="canary"
    )
    with capture_logs() as lines:
        Journal(Metrics()).log_decisions((decision,))
    named = {"decision": "Started", "run": 2, "stage": "canary", "seq": 7, "by": "rolloutplan"}
    assert lines == [{"event": "Run 2 starts.", "log_level": "info", **named}]
