"""Programs and definitions of kinds that only some tests need: made on first use, each in a folder of its own.

A test names those that it needs by the mark `extras`; they are made before the first test runs.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from tests.bed import tools
from tests.bed.api import Api, ApiError, Manifest
from tests.bed.processes import until
from tests.bed.tools import Build, Progress, Recipe, UnusableError


@dataclass(frozen=True)
class Extra:
    """What one Go module of tests/bed/binaries has: a program, definitions of kinds, or both."""

    module: str
    package: str = ""
    """What is built, if anything is."""
    source: str = ""
    """The project that has the definitions."""
    files: Sequence[str] = ()
    """Where in the project they are."""
    kinds: Sequence[str] = ()
    """Those of them that are wanted; all, if none is named."""
    tags: str = field(default="", repr=False)
    """Tags of the build."""

    @property
    def folder(self) -> Path:
        return tools.version_folder(f"{self.module}-", repr(self) + self.tags, [self.module])


EXTRAS = {
    "contour": Extra(
        "contour",
        package="github.com/projectcontour/contour/cmd/contour",
        source="github.com/projectcontour/contour",
        files=["examples/contour/01-crds.yaml"],
        kinds=["HTTPProxy", "TLSCertificateDelegation", "ContourConfiguration"],
    ),
    "skipper": Extra(
        "skipper",
        package="github.com/zalando/skipper/cmd/skipper",
        source="github.com/zalando/skipper",
        files=["dataclients/kubernetes/deploy/apply/routegroups_crd.yaml"],
    ),
    "istiod": Extra(
        "istiod",
        package="istio.io/istio/pilot/cmd/pilot-discovery",
        source="istio.io/api",
        files=["kubernetes/customresourcedefinitions.gen.yaml"],
        kinds=["VirtualService", "DestinationRule"],
    ),
    "traefik": Extra(
        "traefik",
        source="github.com/traefik/traefik/v3",
        files=["docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"],
    ),
    "grafana": Extra("grafana", package="."),
    "jaeger": Extra("jaeger", package="github.com/jaegertracing/jaeger/cmd/jaeger"),
    "promtool": Extra(
        "promtool", package="github.com/prometheus/prometheus/cmd/promtool", tags="remove_all_sd,enable_kubernetes_sd"
    ),
    "tcproutes": Extra(
        "gateway-api",
        source="sigs.k8s.io/gateway-api",
        files=["config/crd/experimental/gateway.networking.k8s.io_tcproutes.yaml"],
    ),
    "udproutes": Extra(
        "gateway-api",
        source="sigs.k8s.io/gateway-api",
        files=["config/crd/experimental/gateway.networking.k8s.io_udproutes.yaml"],
    ),
    "contour-kinds": Extra(
        "contour",
        source="github.com/projectcontour/contour",
        files=["examples/contour/01-crds.yaml"],
        kinds=["HTTPProxy"],
    ),
    "istio-kinds": Extra(
        "istiod",
        source="istio.io/api",
        files=["kubernetes/customresourcedefinitions.gen.yaml"],
        kinds=["VirtualService"],
    ),
    "skipper-kinds": Extra(
        "skipper",
        source="github.com/zalando/skipper",
        files=["dataclients/kubernetes/deploy/apply/routegroups_crd.yaml"],
    ),
    "knative": Extra(
        "knative", source="knative.dev/serving", files=["config/core/300-resources/service.yaml"], kinds=["Service"]
    ),
    "gloo": Extra(
        "gloo",
        source="github.com/solo-io/gloo",
        files=[
            "install/helm/gloo/crds/gateway.solo.io_v1_RouteTable.yaml",
            "install/helm/gloo/crds/gateway.solo.io_v1_VirtualService.yaml",
            "install/helm/gloo/crds/gloo.solo.io_v1_UpstreamGroup.yaml",
        ],
    ),
}
"""Each has its own version, so that a change of one makes no other one again."""


def ensure(names: Iterable[str], progress: Progress = lambda line: None) -> None:
    """Make what is missing of these (minutes each, the first time)."""
    for name in sorted(set(names)):
        extra = EXTRAS[name]
        recipes: dict[str, Recipe] = {}
        if extra.package:
            recipes[name] = tools.builder(Build(name, extra.module, extra.package, tags=extra.tags))
        if extra.files:
            recipes["crds"] = partial(_copy_crds, extra)
        tools.make({part: (extra.folder / part, recipe) for part, recipe in recipes.items()}, progress)


def ensure_those_that_can(names: Iterable[str], progress: Progress) -> None:
    """Make what is missing of these; one that cannot be made fails the tests that need it, and no others."""
    for name in sorted(set(names)):
        try:
            ensure([name], progress)
        except UnusableError as error:
            progress(str(error))


def program(name: str) -> Path:
    """A program that `ensure` has made. Raises UnusableError where it has not."""
    return _made(name, name)


def _made(name: str, part: str) -> Path:
    path = EXTRAS[name].folder / part
    if not path.exists():
        raise UnusableError(f"{name} is not made; this says why: python -m tests.bed.binaries {name}")
    return path


def serve(api: Api, name: str) -> None:
    """Have the API server serve the kinds that `ensure` has fetched, and wait until it does."""
    definitions = _definitions(name)
    for definition in definitions:
        api.apply(definition)
    for definition in definitions:
        until(partial(_served, api, definition), 120, f"the API of {definition['metadata']['name']}")


def _copy_crds(extra: Extra, path: Path, progress: Progress) -> None:
    folder = tools.module_files(extra.module, extra.source, progress)
    path.mkdir()
    for file in extra.files:
        shutil.copyfile(folder / file, path / file.replace("/", "-"))


def _definitions(name: str) -> list[Manifest]:
    kinds, files = EXTRAS[name].kinds, sorted(_made(name, "crds").iterdir())
    documents = (document for path in files for document in yaml.safe_load_all(path.read_text()))
    return [
        document
        for document in documents
        if document and document["kind"] == "CustomResourceDefinition"
        if not kinds or document["spec"]["names"]["kind"] in kinds
    ]


def _served(api: Api, definition: Manifest) -> bool:
    spec = definition["spec"]
    versions = [version["name"] for version in spec["versions"] if version["served"]]
    try:
        for version in versions:
            api.get(f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")
    except ApiError:
        return False
    return True
