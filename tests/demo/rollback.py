"""How fast the rollback was, from what others saw of it: Prometheus, the API server's audit log, the load generator."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Status
from rolloutplan.engine.analysis.variables import render, variables_for
from rolloutplan.stats.threshold import judge
from rolloutplan.stats.verdict import Answer
from tests.bed import Bed
from tests.bed.load import Load

LOOK_EVERY = 0.05


class Sighting:
    """Asks the first guard's query every 50 ms, to see when it could have been known that the guard holds."""

    def __init__(self, bed: Bed, namespace: str, plan: str, spec: PlanSpec) -> None:
        self.guard = spec.guards[0]
        words = variables_for(spec, namespace=namespace, plan=plan, stage="", window=self.guard.window)
        self.at: float | None = None
        assert self.guard.query is not None, "the demo asks for a value"
        self._query = render(self.guard.query, words)
        self._bed = bed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while self.at is None and not self._over.wait(LOOK_EVERY):
            asked_at = time.time()
            value = self._bed.query(self._query)
            if value is not None and judge(self.guard.comparison, Answer(value)).holds:
                self.at = asked_at


@dataclass(frozen=True)
class Rollback:
    """The instants of a rollback, in seconds since 1970; None where something did not happen."""

    shifted: float | None
    bad: float | None
    visible: float | None
    decided: float | None
    restored: float | None
    over: float | None


def measure(bed: Bed, load: Load, version: str, status: Status, visible: float | None) -> Rollback:
    decided = _decided(status, "RollbackStarted")
    seen = {outcome: times for (name, outcome), times in load.times().items() if name == version}
    return Rollback(
        shifted=_decided(status, "WeightShifted"),
        bad=seen[500][0] if 500 in seen else None,
        visible=visible,
        decided=decided,
        restored=_written(bed, decided) if decided else None,
        over=max((last for _, last in seen.values()), default=None),
    )


def _decided(status: Status, reason: str) -> float | None:
    return next((decision.at.timestamp() for decision in status.decisions if decision.reason == reason), None)


def _written(bed: Bed, after: float) -> float | None:
    """When the API server had taken the first change of a route after an instant."""
    for event in bed.audit():
        ref, at = event.get("objectRef", {}), datetime.fromisoformat(event["stageTimestamp"]).timestamp()
        changes = ref.get("resource") == "httproutes" and "subresource" not in ref and event["verb"] == "patch"
        if changes and at >= after and event["responseStatus"]["code"] == 200:
            return at
    return None
