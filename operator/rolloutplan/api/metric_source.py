"""The specs of MetricSource and ClusterMetricSource: the Prometheus that answers predicates.

A plan holds no address. It names a source, and the owner of the source decides which server that is.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.auth import Auth, cluster_only, only_https
from rolloutplan.api.limits import MAX_SOURCE, check_size
from rolloutplan.api.parsing import DropNulls, SpecError, SpecModel, StrictInt, Violations, read
from rolloutplan.api.quantities import Duration, at_least, at_most
from rolloutplan.api.text_format import (
    HEADER,
    PARAMETER,
    SERIES_LABEL,
    Enforced,
    HeaderValue,
    Namespace,
    Url,
)

__all__ = [
    "ClusterMetricSourceSpec",
    "MetricSourceSpec",
    "Prometheus",
    "SpecError",
    "read_metric_source",
]

EVERYWHERE: Final = "*"
_MANNERS: Final = (
    "timeout",
    "scrape_interval",
    "ingestion_delay",
    "max_concurrency",
    "batching",
    "method",
    "namespaces",
)
"""Fields that change how a source is asked, and no answer."""
MAX_HEADERS: Final = 16
"""Also the most parameters: nobody needs more than a few."""
CLUSTER_ONLY: Final = cluster_only("ClusterMetricSource")
ONLY_HTTPS: Final = only_https("prometheus.url")


class Prometheus(SpecModel):
    """A server with the HTTP API of Prometheus."""

    url: Url = Field(description="The server's address, without /api/v1.")
    flavor: Literal["Prometheus", "Thanos", "VictoriaMetrics", "Mimir"] = Field(
        default="Prometheus",
        description="Which server it is. Some give partial answers, and each marks them differently.",
    )


def _switch(value: object) -> object:
    """On and Off also as true and false: most readers of YAML take the one for the other."""
    return {True: "On", False: "Off"}[value] if isinstance(value, bool) else value


Batching: TypeAlias = Annotated[
    Literal["On", "Off"],
    BeforeValidator(_switch),
    WithJsonSchema({"enum": ["On", "Off", True, False], "x-kubernetes-preserve-unknown-fields": True}),
]


class MetricSourceSpec(SpecModel):
    """A Prometheus that answers the predicates of plans."""

    refused: ClassVar[Mapping[str, str]] = {"auth": CLUSTER_ONLY}

    prometheus: Prometheus = Field(description="A server with the HTTP API of Prometheus.")
    headers: Annotated[
        dict[str, HeaderValue], Field(max_length=MAX_HEADERS), AfterValidator(HEADER.read_names), DropNulls
    ] = Field(
        default={},
        description="Headers of every request: X-Scope-OrgID, or others with X-. Put no credentials here: anyone can"
        " read them.",
    )
    method: Literal["GET", "POST"] = Field(
        default="POST", description="How queries are sent. GET is for proxies that take nothing else."
    )
    params: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=MAX_HEADERS),
        AfterValidator(PARAMETER.read_names),
        DropNulls,
    ] = Field(
        default={},
        description="Parameters added to every request; the operator sets its own as well.",
    )
    timeout: Annotated[Duration, at_least("100ms"), at_most("2m")] = Field(
        default=timedelta(seconds=5),
        description="Time-out of one query. The operator may have a lower ceiling for MetricSources.",
    )
    scrape_interval: Annotated[Duration, at_least("100ms")] = Field(
        default=timedelta(seconds=15), description="The scrape interval of the metrics."
    )
    ingestion_delay: Duration = Field(
        default=timedelta(0), description="Time from the scrape of a sample until a query can read it."
    )
    max_concurrency: StrictInt = Field(
        default=16,
        ge=1,
        le=64,
        description="The most queries at the same time. The operator may have a lower ceiling for MetricSources.",
    )
    batching: Batching = Field(
        default="On",
        description="On sends the queries of one namespace for the same instant as one query, Off sends each alone.",
    )

    @cached_property
    def digest(self) -> str:
        """Hash of all that decides who is asked, and for what: not of how often and how long."""
        asked = self.model_dump(mode="json", by_alias=True, exclude=set(_MANNERS))
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def address(self) -> str:
        """The address that messages show."""
        return self.prometheus.url

    def enforced(self, namespace: str) -> Mapping[str, str]:  # noqa: ARG002 - a namespace's own source has no bounds
        """The labels, with their values, that plans of this namespace are bound to."""
        return {}

    def at(self, url: str) -> Self:
        """Return the same source at another address. Raises SpecError."""
        redirected = self.prometheus.model_dump(by_alias=True) | {"url": url}
        return self.model_copy(update={"prometheus": read(MetricSourceSpec, {"prometheus": redirected}).prometheus})


class ClusterMetricSourceSpec(MetricSourceSpec):
    """A Prometheus that plans of many namespaces may use."""

    refused: ClassVar[Mapping[str, str]] = {}

    auth: Auth | None = Field(
        default=None,
        description="What the operator shows to the source, over https only. Files that change are read again.",
    )
    namespaces: tuple[Namespace, ...] = Field(
        default=(EVERYWHERE,),
        min_length=1,
        max_length=256,
        description='The namespaces whose plans may use this source; "*" is every namespace.',
    )
    enforce: Annotated[dict[str, Enforced], Field(max_length=8), AfterValidator(SERIES_LABEL.read_names), DropNulls] = (
        Field(
            default={},
            description="Labels, with the value that each selector of each query must match, such as namespace:"
            " $namespace. A query in which they cannot be put for sure is refused.",
        )
    )

    @model_validator(mode="after")
    def _over_https(self) -> Self:
        if self.auth is not None and not self.prometheus.url.startswith("https://"):
            raise Violations(("auth", ONLY_HTTPS))
        return self

    def allows(self, namespace: str) -> bool:
        """Whether plans of this namespace may use this source."""
        return EVERYWHERE in self.namespaces or namespace in self.namespaces

    @staticmethod
    def not_admitted(name: str, namespace: str) -> str:
        """That the source of this name does not admit a namespace, with the fix."""
        return f"ClusterMetricSource {name} does not admit namespace {namespace}: add it to spec.namespaces"

    def enforced(self, namespace: str) -> Mapping[str, str]:
        """The labels, with their values, that plans of this namespace are bound to."""
        words = {label: value.replace("${namespace}", "$namespace") for label, value in self.enforce.items()}
        return {label: value.replace("$namespace", namespace) for label, value in words.items()}


def read_metric_source(raw: Mapping[str, Any], cluster: bool) -> MetricSourceSpec:
    """Read the `spec` of a MetricSource or a ClusterMetricSource. Raises SpecError."""
    check_size(raw, MAX_SOURCE)
    return read(ClusterMetricSourceSpec if cluster else MetricSourceSpec, raw)
