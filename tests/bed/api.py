"""A small client of the bed's API server: JSON in, JSON out, in the name of one user."""

from pathlib import Path
from typing import Any

import requests

Manifest = dict[str, Any]
"""A Kubernetes object."""

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class ApiError(Exception):
    """An answer of 400 or more: `status` is its code, `message` what the server said."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status
        self.message = message


class Api:
    """Requests to the API server with one user's token; without one through a proxy that has logged in."""

    def __init__(self, server: str, token: str, ca: Path) -> None:
        self._server = server
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}

    def __call__(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", timeout: float = 30.0
    ) -> Any:
        """Send a request and return the answer as JSON. `body` is bytes, or anything that JSON can hold."""
        content: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Content-Type": content_type} if body is not None else {}
        answer = self._session.request(method, self._server + path, headers=headers, timeout=timeout, **content)
        if answer.status_code >= 400:
            raise ApiError(method, path, answer.status_code, _message(answer))
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text

    def get(self, path: str) -> Any:
        return self("GET", path)

    def apply(self, manifest: Manifest, manager: str = "bed", force: bool = True) -> Manifest:
        """Server-side apply, as `manager`; returns the object as stored."""
        path = f"{self.path(manifest)}?fieldManager={manager}&force={str(force).lower()}"
        stored: Manifest = self("PATCH", path, manifest, "application/apply-patch+yaml")
        return stored

    def path(self, manifest: Manifest) -> str:
        """The path of an object, from its apiVersion, kind, namespace (if absent: default) and name."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        if (version, kind) not in self._kinds:
            self._discover(version)
        plural, namespaced = self._kinds[version, kind]
        metadata = manifest["metadata"]
        scope = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{_root(version)}{scope}/{plural}/{metadata['name']}"

    def _discover(self, version: str) -> None:
        for resource in self.get(_root(version))["resources"]:
            if "/" not in resource["name"]:
                self._kinds[version, resource["kind"]] = (resource["name"], resource["namespaced"])


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text
