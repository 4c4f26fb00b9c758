"""The specs of MetricSource and ClusterMetricSource: the Prometheus that answers predicates.

A plan holds no address. It names a source, and the owner of the source decides which server that is.
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
    """A server with the HTTP API of Prometheus."""

    url: Url = Field(description="The server's address, without /api/v1.")
    flavor: Literal["Prometheus", "Thanos", "VictoriaMetrics", "Mimir"] = Field(
        default="Prometheus",
        description="Which server it is. Some give partial answers, and each marks them differently.",
    )


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        HEADER.read(name)
    return headers


class MetricSourceSpec(SpecModel):
    """A Prometheus that answers the predicates of plans."""

    prometheus: Prometheus = Field(description="A server with the HTTP API of Prometheus.")
    headers: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=16),
        AfterValidator(_header_names),
        DropNulls,
    ] = Field(
        default={},
        description="Headers of every request, such as X-Scope-OrgID. Put no credentials here: anyone can read them.",
    )
    timeout: Annotated[Duration, at_least("100ms")] = Field(
        default=timedelta(seconds=5), description="Time-out of one query."
    )
    scrape_interval: Annotated[Duration, at_least("100ms")] = Field(
        default=timedelta(seconds=15), description="The scrape interval of the metrics."
    )
    ingestion_delay: Duration = Field(
        default=timedelta(0), description="Time from the scrape of a sample until a query can read it."
    )
    max_concurrency: StrictInt = Field(
        default=16, ge=1, le=64, description="The most queries in flight at the same time."
    )

    @property
    def address(self) -> str:
        """The address that messages show."""
        return self.prometheus.url

    def at(self, url: str) -> Self:
        """Return the same source at another address. Raises SpecError."""
        redirected = self.prometheus.model_dump(by_alias=True) | {"url": url}
        return self.model_copy(update={"prometheus": read(MetricSourceSpec, {"prometheus": redirected}).prometheus})


class ClusterMetricSourceSpec(MetricSourceSpec):
    """A Prometheus that plans of many namespaces may use."""

    namespaces: tuple[Namespace, ...] = Field(
        default=(EVERYWHERE,),
        min_length=1,
        max_length=256,
        description='The namespaces whose plans may use this source; "*" is every namespace.',
    )

    def allows(self, namespace: str) -> bool:
        """Whether plans of this namespace may use this source."""
        return EVERYWHERE in self.namespaces or namespace in self.namespaces


def read_metric_source(raw: Mapping[str, Any], cluster: bool) -> MetricSourceSpec:
    """Read the `spec` of a MetricSource or a ClusterMetricSource. Raises SpecError."""
    return read(ClusterMetricSourceSpec if cluster else MetricSourceSpec, raw)
