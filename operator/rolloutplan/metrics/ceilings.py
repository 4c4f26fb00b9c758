"""How much the sources of namespaces may have at most. The options of the operator say it; `pool.py` obeys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rolloutplan.api.metric_source import MetricSourceSpec


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that the source of a namespace may have. Whoever runs the operator chooses it."""

    timeout: timedelta = timedelta(seconds=30)
    """Six times the default of a source: an answer that takes longer says little about now."""
    max_concurrency: int = 16
    """The default of a source."""

    def lower(self, spec: MetricSourceSpec) -> MetricSourceSpec:
        """Lower what is above; a source keeps answering where its owner wrote too much."""
        most = {
            "timeout": min(spec.timeout, self.timeout),
            "max_concurrency": min(spec.max_concurrency, self.max_concurrency),
        }
        return spec.model_copy(update=most)


USUAL: Final = Ceilings()
