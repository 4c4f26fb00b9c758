"""What a bed has in common with any other cluster: an API server on which we have all rights, and kubectl."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.bed import objects
from tests.bed.api import Api, ApiError, Manifest
from tests.bed.processes import environment, until


class Routing(Protocol):
    """What divides requests between the Services of a shop: a kind of route, as manifests and as weights."""

    def manifests(self, name: str, weights: Mapping[str, int], namespace: str, host: str) -> list[Manifest]: ...

    def traffic(self, name: str) -> Manifest:
        """`spec.traffic` of a plan that moves the weights of this one."""

    def weights(self, api: Api, namespace: str, name: str) -> dict[str, int]:
        """The weight of each Service, as stored now."""


class HttpRoutes:
    """HTTPRoutes on the bed's gateway."""

    def manifests(self, name: str, weights: Mapping[str, int], namespace: str, host: str) -> list[Manifest]:
        return [objects.httproute(name, weights, namespace, host)]

    def traffic(self, name: str) -> Manifest:
        return {"routes": [{"kind": "HTTPRoute", "name": name}], "drain": "0s"}

    def weights(self, api: Api, namespace: str, name: str) -> dict[str, int]:
        route = api.get(f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{name}")
        return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}


class Cluster:
    """`api` is a client with all rights; `workdir` has the logs of what is started for the cluster."""

    api: Api
    workdir: Path
    kubectl_program: Path
    prometheus_url: str
    address: str
    """Where namespaced metric sources of tests point."""
    routing: Routing = HttpRoutes()
    thrifty = False
    """Whether it is for tests, and not for figures: what runs on it then takes little of the processor."""
    operator_options: Sequence[str] = ()
    """What every operator is told in addition."""

    def kubeconfig(self, user: str = "admin", as_user: str = "", as_groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file of a user, who may impersonate another one."""
        raise NotImplementedError

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, as admin; raises RuntimeError with its complaint when it fails."""
        return output(self.run_kubectl(*arguments, stdin=stdin))

    def run_kubectl(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as admin, whatever comes of it."""
        return self.run(self.kubectl_program, arguments, stdin)

    def run(self, program: Path, arguments: Sequence[str], stdin: str | None) -> "subprocess.CompletedProcess[str]":
        """Run a program that finds the cluster by KUBECONFIG, as admin."""
        env = environment(self.workdir) | {"KUBECONFIG": str(self.kubeconfig())}
        return subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, text=True, env=env, timeout=120, check=False
        )

    def get(self, path: str) -> Any:
        """An object or a list, by its path on the API server."""
        return self.api.get(path)

    def apply(self, *manifests: Manifest, manager: str = "bed", force: bool = True) -> None:
        """Server-side apply of each, in their order."""
        for manifest in manifests:
            self.api.apply(manifest, manager, force)

    def delete(self, *manifests: Manifest) -> None:
        """Delete each, if it is there; does not wait until they are gone."""
        for manifest in manifests:
            try:
                self.api("DELETE", self.api.path(manifest))
            except ApiError as error:
                if error.status != 404:
                    raise

    def wait_ready(self, namespace: str, deployment: str, timeout: float = 90.0) -> None:
        """Wait until all pods that a Deployment wants are ready, and of its newest template."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"

        def ready() -> bool:
            stored = self.get(path)
            wanted, status = stored["spec"]["replicas"], stored.get("status", {})
            seen = status.get("observedGeneration") == stored["metadata"]["generation"]
            counts = [
                status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
            ]
            return seen and counts == [wanted] * 4

        until(ready, timeout, f"readiness of {namespace}/{deployment}")

    def end_loads(self, host: str) -> None:
        """End what was started to send requests for a host, if anything was."""


def output(result: "subprocess.CompletedProcess[str]") -> str:
    """What a program printed; raises RuntimeError with its complaint when it failed."""
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, result.args))}: {result.stderr.strip()}")
    return result.stdout
