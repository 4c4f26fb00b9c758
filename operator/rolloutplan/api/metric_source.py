"""The other kinds that people write: where metrics are asked.

Plans hold no address: a plan names a source, and whoever owns the sources decides what that is.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field

from rolloutplan.api.parsing import DropNulls, SpecError, SpecModel, StrictInt, read
from rolloutplan.api.quantities import Duration, at_least
from rolloutplan.api.text_format import HEADER, Namespace, Url

__all__ = ["ClusterMetricSourceSpec", "MetricSourceSpec", "Prometheus", "SpecError", "read_metric_source"]

EVERYWHERE: Final = "*"


class Prometheus(SpecModel):
    """A server that speaks the HTTP API of Prometheus."""

    url: Url = Field(description="Its address, without /api/v1.")
    flavor: Literal["Prometheus", "Thanos", "VictoriaMetrics", "Mimir"] = Field(
        default="Prometheus",
        description="Which server it is: some give partial answers, and each marks them in its own way.",
    )


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        HEADER.read(name)
    return headers


class MetricSourceSpec(SpecModel):
    """A Prometheus that answers the predicates of plans."""

    prometheus: Prometheus = Field(description="A server that speaks the HTTP API of Prometheus.")
    headers: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=16),
        AfterValidator(_header_names),
        DropNulls,
    ] = Field(
        default={}, description="Headers of every request, such as X-Scope-OrgID; no credentials, anyone can read this."
    )
    timeout: Annotated[Duration, at_least("100ms")] = Field(
        default=timedelta(seconds=5), description="How long one question may take."
    )
    scrape_interval: Annotated[Duration, at_least("100ms")] = Field(
        default=timedelta(seconds=15), description="How often the samples come."
    )
    ingestion_delay: Duration = Field(
        default=timedelta(0), description="How long a sample needs until it can be asked for."
    )
    max_concurrency: StrictInt = Field(default=16, ge=1, le=64, description="Questions asked at the same time.")

    @property
    def address(self) -> str:
        """Where it is asked, as people know it."""
        return self.prometheus.url

    def at(self, url: str) -> Self:
        """Return the same source at another address. Raises SpecError."""
        there = self.prometheus.model_dump(by_alias=True) | {"url": url}
        return self.model_copy(update={"prometheus": read(MetricSourceSpec, {"prometheus": there}).prometheus})


class ClusterMetricSourceSpec(MetricSourceSpec):
    """A Prometheus that plans of many namespaces may use."""

    namespaces: tuple[Namespace, ...] = Field(
        default=(EVERYWHERE,),
        min_length=1,
        max_length=256,
        description='The namespaces that may ask here; "*" is every one.',
    )

    def allows(self, namespace: str) -> bool:
        """Say whether a plan of this namespace may ask here."""
        return EVERYWHERE in self.namespaces or namespace in self.namespaces


def read_metric_source(raw: Mapping[str, Any], cluster: bool) -> MetricSourceSpec:
    """Read the `spec` of a MetricSource or a ClusterMetricSource. Raises SpecError."""
    return read(ClusterMetricSourceSpec if cluster else MetricSourceSpec, raw)
