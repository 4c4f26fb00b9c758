"""Routes that any cluster takes: an Ingress and its canary, of a class that no controller serves."""

from collections.abc import Mapping

from tests.bed.api import Api, Manifest
from tests.bed.netns import POD_PORT

CLASS = "rolloutplan-e2e"
_NGINX = "nginx.ingress.kubernetes.io"
_INGRESS = "/apis/networking.k8s.io/v1/namespaces/{}/ingresses/{}"


class CanaryIngresses:
    """The old side's Ingress, and the new side's next to it, whose annotation has the share in percent."""

    def manifests(self, name: str, weights: Mapping[str, int], namespace: str, host: str) -> list[Manifest]:
        (old, rest), (new, share) = weights.items()
        percent = round(100 * share / (rest + share))
        annotations = {f"{_NGINX}/canary": "true", f"{_NGINX}/canary-weight": str(percent)}
        return [
            _ingress(name, namespace, host, old, {}),
            _ingress(canary(name), namespace, host, new, annotations),
        ]

    def traffic(self, name: str) -> Manifest:
        # no requests come, so nothing can prove that they follow the weights
        return {"routes": [{"kind": "NginxCanary", "name": canary(name)}], "drain": "0s", "share": "Ignore"}

    def weights(self, api: Api, namespace: str, name: str) -> dict[str, int]:
        old, new = (api.get(_INGRESS.format(namespace, each)) for each in (name, canary(name)))
        share = int(new["metadata"]["annotations"][f"{_NGINX}/canary-weight"])
        return {_service(old): 100 - share, _service(new): share}


def canary(name: str) -> str:
    return f"{name}-canary"


def _ingress(name: str, namespace: str, host: str, service: str, annotations: Mapping[str, str]) -> Manifest:
    backend = {"service": {"name": service, "port": {"number": POD_PORT}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace, "annotations": dict(annotations)},
        "spec": {
            "ingressClassName": CLASS,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }


def _service(ingress: Manifest) -> str:
    return str(ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"])
