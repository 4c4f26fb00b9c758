"""A cluster of a user: reached by a kubeconfig alone, left as it was found."""

import copy
import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.bed import objects, tools
from tests.bed import prometheus as monitoring
from tests.bed.api import MERGE_PATCH, Api, ApiError, Manifest
from tests.bed.cluster import Cluster
from tests.bed.processes import Process, answers, until
from tests.own_cluster.ingress import CanaryIngresses
from tests.own_cluster.refusals import (
    GROUP,
    LABEL,
    NAMESPACE,
    RefusedError,
    check,
    image_trouble,
    own_definitions,
)
from tests.shop import metric_source

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OURS = f"/apis/{GROUP}/v1alpha1"
_LABELLED = f"?labelSelector={LABEL}%3Dtrue"
_PULL = 300.0
"""Seconds until a pod of the image runs: it may have to be pulled over a slow line."""


class OwnCluster(Cluster):
    """The cluster of one kubeconfig. Everything that is applied has LABEL, and Deployments run `image`."""

    routing = CanaryIngresses()
    operator_options = (f"--lease-namespace={NAMESPACE}",)
    address = "127.0.0.1"

    def __init__(self, kubeconfig: Path, image: str, kubectl: Path, workdir: Path) -> None:
        self.workdir, self.kubectl_program, self.image = workdir, kubectl, image
        self._kubeconfig = kubeconfig
        port = _free_port()
        # kubectl logs in, in whichever way the kubeconfig says
        command = [str(kubectl), "proxy", f"--port={port}"]
        url = f"http://127.0.0.1:{port}"
        env = {"KUBECONFIG": str(kubeconfig), "HOME": str(Path.home())}
        self._proxy = Process("kubectl-proxy", command, workdir, lambda: answers(f"{url}/version"), env=env)
        try:
            self._proxy.start(timeout=30)
        except (RuntimeError, TimeoutError) as error:
            self._proxy.kill()
            raise RefusedError(f"the API server of the context does not answer: {error}") from None
        self.api = Api(url, "", workdir)
        self.prometheus_url = ""
        self._prometheus: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._prometheus, self._proxy):
            if process:
                process.kill()

    def kubeconfig(self, user: str = "admin", as_user: str = "", as_groups: Sequence[str] = ()) -> Path:
        """The one that there is."""
        return self._kubeconfig

    def apply(self, *manifests: Manifest, manager: str = "bed", force: bool = True) -> None:
        super().apply(*(self._ours(each) for each in manifests), manager=manager, force=force)

    def _ours(self, manifest: Manifest) -> Manifest:
        own = copy.deepcopy(manifest)
        own["metadata"].setdefault("labels", {})[LABEL] = "true"
        if own["kind"] == "Deployment":
            for container in own["spec"]["template"]["spec"]["containers"]:
                container["image"] = self.image
        return own

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """With the CRDs, a metric source and an image that runs. Raises RefusedError before anything is changed."""
        check(self.api)
        self._remove_ours()
        try:
            self._start_prometheus()
            self.apply(objects.namespace(NAMESPACE))
            self._try_image()
            self._install()
            yield
        finally:
            self._remove_ours()

    def _start_prometheus(self) -> None:
        """One that scrapes nothing: tests that run on any cluster ask for numbers that they name themselves."""
        program = tools.ensure_parts(["prometheus"], print)["prometheus"]
        port = _free_port()
        self._prometheus = monitoring.scraping(program, self.workdir, "prometheus", port, [])
        self._prometheus.start()
        self.prometheus_url = f"http://127.0.0.1:{port}"

    def _try_image(self) -> None:
        """Wait until a pod of the image runs: what pulling takes is no time of a test."""
        self.apply(objects.deployment("image", NAMESPACE, replicas=1))
        try:
            self.wait_ready(NAMESPACE, "image", _PULL)
        except TimeoutError:
            pods = self.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
            raise RefusedError(image_trouble(self.image, pods)) from None
        self.delete(objects.deployment("image", NAMESPACE))

    def _install(self) -> None:
        """The CRDs, where there are none, and the metric source of every plan."""
        there = {each["metadata"]["name"] for each in self.get(_DEFINITIONS)["items"]}
        for definition in own_definitions():
            if definition["metadata"]["name"] not in there:
                self.apply(definition)
        until(self._served, 60, "the CRDs")
        self.apply(metric_source(self.prometheus_url))

    def _served(self) -> bool:
        try:
            names = {each["name"] for each in self.get(_OURS)["resources"]}
            for definition in own_definitions():
                self.get(f"{_OURS}/{definition['spec']['names']['plural']}")
        except ApiError:
            return False
        return bool(names)

    def _remove_ours(self) -> None:
        """Remove everything with LABEL, and wait until it is gone."""
        namespaces = f"/api/v1/namespaces{_LABELLED}"
        for each in self.get(namespaces)["items"]:
            name = each["metadata"]["name"]
            self._free_plans(name)
            self._delete(f"/api/v1/namespaces/{name}")
        until(lambda: not self.get(namespaces)["items"], 120, "the end of the namespaces of the tests", every=0.5)
        for plural in self._cluster_kinds():
            for each in self.get(f"{_OURS}/{plural}{_LABELLED}")["items"]:
                self._delete(f"{_OURS}/{plural}/{each['metadata']['name']}")
        definitions = f"{_DEFINITIONS}{_LABELLED}"
        for each in self.get(definitions)["items"]:
            self._delete(f"{_DEFINITIONS}/{each['metadata']['name']}")
        until(lambda: not self.get(definitions)["items"], 60, "the end of the CRDs", every=0.5)

    def _cluster_kinds(self) -> list[str]:
        try:
            resources: list[dict[str, Any]] = self.get(_OURS)["resources"]
        except ApiError:
            return []
        return [each["name"] for each in resources if not each["namespaced"] and "/" not in each["name"]]

    def _free_plans(self, namespace: str) -> None:
        """No operator may be left that would take the finalizer away."""
        path = f"{_OURS}/namespaces/{namespace}/rolloutplans"
        try:
            for each in self.get(path)["items"]:
                self.api("PATCH", f"{path}/{each['metadata']['name']}", {"metadata": {"finalizers": None}}, MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise

    def _delete(self, path: str) -> None:
        try:
            self.api("DELETE", path)
        except ApiError as error:
            if error.status not in (404, 409):  # it is gone, or on its way
                raise


def pinned(kubectl: Path, context: str, workdir: Path, run: Any) -> Path:
    """A copy of the kubeconfig with this context alone, so that a change of it meanwhile leads nowhere else."""
    said = run([kubectl, "config", "view", "--raw", "--minify", "--flatten", "-o=json", f"--context={context}"])
    config = json.loads(said)
    config["current-context"] = context
    path = workdir / f"{re.sub('[^A-Za-z0-9.-]', '-', context)}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
