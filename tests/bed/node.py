"""A stand-in for the one node of the bed's cluster, as a process: `python -m tests.bed.node CONFIG CERTIFICATE KEY`.

It runs no containers. It binds pods, gives each an address of 10.244.0.0/16, writes the status that a kubelet would
write, ends pods that are not restarted, completes deletions, and answers HTTP for every pod as the pod's behaviour says
(behaviour.py).
"""

import asyncio
import base64
import ipaddress
import json
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.bed import netns
from tests.bed.api import Manifest
from tests.bed.behaviour import CONTROL_PORT, Behaviour, healed
from tests.bed.pod import Endpoint
from tests.bed.writes import unmarked

NAME = "bed-node"
RETRY = 0.2
"""Seconds until the API server is asked again after it could not be."""
CRASH_EVERY = 2.0

NODE: Manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}}
NODE_STATUS: Manifest = {
    "status": {
        "capacity": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": "runs no containers"}],
    }
}

Workload = tuple[str, str]
"""The namespace and name of a Deployment, or of another owner of pods."""


class Client:
    """Requests to the API server that are repeated until it answers."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._session = aiohttp.ClientSession(
            cluster["server"],
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=ca), limit=30),
            headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2),
            read_bufsize=2**22,  # an event of a watch is one line
        )

    async def __call__(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer, or None where the server says that it cannot be done: gone, or there already."""
        data = json.dumps(body) if body is not None else None
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                headers = {"Content-Type": content_type}
                timeout = aiohttp.ClientTimeout(total=10)
                async with self._session.request(method, path, data=data, headers=headers, timeout=timeout) as answer:
                    if answer.status < 400:
                        return await answer.json()
                    if answer.status in (404, 409, 422):
                        return None
            await asyncio.sleep(RETRY)

    async def events(self, path: str, version: str) -> AsyncIterator[Manifest]:
        """The events of one watch from a resource version on, until the server ends it or breaks."""
        parameters = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(path, params=parameters, raise_for_status=True) as answer:
                async for line in answer.content:
                    yield json.loads(line)


class Pod:
    """A pod of the node: what its object says, its address, and how it fares."""

    def __init__(self, manifest: Manifest, ip: str, behaviour: Behaviour, tls: ssl.SSLContext) -> None:
        metadata = manifest["metadata"]
        self.uid: str = metadata["uid"]
        self.name: str = metadata["name"]
        self.path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{self.name}"
        self.workload = workload(manifest)
        ports = [port for container in manifest["spec"]["containers"] for port in container.get("ports", ())]
        named = {port["name"]: port["containerPort"] for port in ports if "name" in port}
        self.endpoint = Endpoint(ip, self.name, behaviour, named, tls)
        self.writing = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        self.leaving = False
        self.started = False
        self.restarts = 0
        self._containers = [(c["name"], c["image"]) for c in manifest["spec"]["containers"]]
        self.ends = manifest["spec"]["restartPolicy"] != "Always"
        """Whether its containers run to an end."""
        self._born = _now()
        self._ready = False
        self._ready_since = self._born

    @property
    def behaviour(self) -> Behaviour:
        return self.endpoint.behaviour

    def status(self) -> Manifest:
        """The status of a pod that runs, or tries to."""
        behaviour = self.behaviour
        ready = behaviour.running and behaviour.ready and self.started
        if ready != self._ready:
            self._ready, self._ready_since = ready, _now()
        reasons = {} if ready else {"reason": "ContainersNotReady", "message": behaviour.reason or self._complaint()}
        condition = {"status": str(ready), "lastTransitionTime": self._ready_since, **reasons}
        return {
            "phase": "Pending" if behaviour.start else "Running",
            "podIP": self.endpoint.ip,
            "podIPs": [{"ip": self.endpoint.ip}],
            "hostIP": netns.ADDRESS,
            "startTime": self._born,
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._born},
                {"type": "Initialized", "status": "True", "lastTransitionTime": self._born},
                {"type": "ContainersReady", **condition},
                {"type": "Ready", **condition},
            ],
            "containerStatuses": self._container_statuses(self._state(), ready),
        }

    def end_status(self) -> Manifest:
        """The status of a Job's pod that has ended."""
        code = self.behaviour.exit_code
        end = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": _now()}
        state = {"terminated": {**end, "message": self.behaviour.says}}
        return {"phase": "Failed" if code else "Succeeded", "containerStatuses": self._container_statuses(state, False)}

    def _complaint(self) -> str:
        return f"containers with unready status: [{' '.join(name for name, _ in self._containers)}]"

    def _state(self) -> Manifest:
        behaviour = self.behaviour
        if behaviour.running:
            return {"running": {"startedAt": self._born}}
        return {"waiting": {"reason": behaviour.start or "CrashLoopBackOff", "message": "said by the bed's node"}}

    def _container_statuses(self, state: Manifest, ready: bool) -> list[Manifest]:
        last = {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": _now()}} if self.restarts else {}
        common = {"ready": ready, "started": ready, "restartCount": self.restarts, "state": state, "lastState": last}
        return [{"name": name, "image": image, "imageID": image, **common} for name, image in self._containers]


class Node:
    """Keeps the pods of the cluster."""

    def __init__(self, client: Client, tls: ssl.SSLContext) -> None:
        """`tls` has the certificate that all pods show."""
        self._client = client
        self._tls = tls
        self._pods: dict[str, Pod] = {}
        self._changes: dict[Workload, dict[str, Any]] = {}
        self._addresses = _addresses()
        self.listed = False

    async def run(self) -> None:
        """Follow the pods for ever."""
        await self._client("POST", "/api/v1/nodes", NODE)
        await self._client("PATCH", f"/api/v1/nodes/{NAME}/status", NODE_STATUS, "application/merge-patch+json")
        crashing = asyncio.create_task(self._crash())
        try:
            while True:
                await self._follow(await self._list())
                await asyncio.sleep(RETRY)
        finally:
            crashing.cancel()

    async def _list(self) -> str:
        """Take over all pods as they are now; returns the resource version to watch from."""
        listing = await self._client("GET", "/api/v1/pods")
        for uid in self._pods.keys() - {item["metadata"]["uid"] for item in listing["items"]}:
            self._forget(uid)
        for item in listing["items"]:
            self._see(item)
        self.listed = True
        version: str = listing["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> None:
        """Follow watches from `version` on until one fails: the version too old, or the server gone."""
        progress = True
        while progress:
            progress = False
            async for event in self._client.events("/api/v1/pods", version):
                if event["type"] == "ERROR":
                    return
                progress = True
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._forget(event["object"]["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    self._see(event["object"])

    def _see(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        pod = self._pods.get(metadata["uid"])
        if pod is None:
            if manifest.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return
            pod = self._pods[metadata["uid"]] = self._new(manifest)
            pod.task = asyncio.create_task(self._bring_up(pod, bound="nodeName" in manifest["spec"]))
        if "deletionTimestamp" in metadata and not pod.leaving:
            pod.leaving = True
            if pod.task:
                pod.task.cancel()
            pod.task = asyncio.create_task(self._bring_down(pod))

    def _new(self, manifest: Manifest) -> Pod:
        behaviour = Behaviour.of(manifest["metadata"].get("annotations", {}))
        ip = manifest.get("status", {}).get("podIP") or self._free_address()
        return Pod(manifest, ip, replace(behaviour, **self._changes.get(workload(manifest), {})), self._tls)

    def _free_address(self) -> str:
        taken = {pod.endpoint.ip for pod in self._pods.values()}
        return next(ip for ip in self._addresses if ip not in taken)

    def _forget(self, uid: str) -> None:
        if pod := self._pods.pop(uid, None):
            pod.endpoint.close()
            if pod.task:
                pod.task.cancel()

    async def _bring_up(self, pod: Pod, bound: bool) -> None:
        if not bound:
            target = {"apiVersion": "v1", "kind": "Node", "name": NAME}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name}, "target": target}
            await self._client("POST", f"{pod.path}/binding", binding)
        if pod.behaviour.ready_after:
            await self._publish(pod)
            await asyncio.sleep(pod.behaviour.ready_after)
        pod.started = True
        await self._publish(pod)
        if pod.ends and pod.behaviour.running:
            await asyncio.sleep(pod.behaviour.runs)
            pod.endpoint.close()
            await self._write(pod, pod.end_status())

    async def _bring_down(self, pod: Pod) -> None:
        """Let it answer a while longer, as a program that drains does, and then be gone."""
        if pod.behaviour.running:
            await asyncio.sleep(pod.behaviour.stop)
        pod.endpoint.close()
        await self._client("DELETE", pod.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}})

    async def _publish(self, pod: Pod) -> None:
        """Open or close its endpoint, and write its status, as its behaviour says."""
        async with pod.writing:
            if pod.behaviour.running:
                await pod.endpoint.open()
            else:
                pod.endpoint.close()
            await self._write(pod, pod.status())

    async def _write(self, pod: Pod, status: Manifest) -> None:
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        await self._client("PATCH", f"{pod.path}/status", patch, "application/merge-patch+json")

    async def _crash(self) -> None:
        """Count the restarts of crashing containers."""
        while True:
            await asyncio.sleep(CRASH_EVERY)
            crashing = [pod for pod in self._pods.values() if pod.behaviour.crashloop and not pod.leaving]
            for pod in crashing:
                pod.restarts += 1
            await asyncio.gather(*map(self._publish, crashing))

    async def behave(self, whose: Workload, changes: dict[str, Any], first: int | None) -> list[str]:
        """Change the behaviour of a workload's pods, of now and later; or only of the `first` so many that it has now.

        Returns the names of the pods that were changed, once their status is written.
        """
        changes = healed(changes)
        pods = sorted((pod for pod in self._pods.values() if pod.workload == whose), key=lambda pod: pod.name)[:first]
        if first is None:
            self._changes[whose] = self._changes.get(whose, {}) | changes
        for pod in pods:
            pod.restarts += bool(changes.get("crashloop"))
            pod.endpoint.behaviour = replace(pod.behaviour, **changes)
        await asyncio.gather(*map(self._publish, pods))
        return [pod.name for pod in pods]


def workload(manifest: Manifest) -> Workload:
    """Whose pod it is: its Deployment, else its owner, else itself. A Job of a plan has its name without the mark."""
    metadata = manifest["metadata"]
    owner = _owner(manifest).get("name", metadata["name"])
    if _owner(manifest).get("kind") == "Job":
        return metadata["namespace"], unmarked(owner)
    replica_set = metadata.get("labels", {}).get("pod-template-hash", "")
    return metadata["namespace"], owner.removesuffix(f"-{replica_set}")


def _owner(manifest: Manifest) -> Manifest:
    owners: Iterable[Manifest] = manifest["metadata"].get("ownerReferences", ())
    return next((owner for owner in owners if owner.get("controller")), {})


def _addresses() -> Iterable[str]:
    """The addresses of the pod range, over and over."""
    while True:
        yield from map(str, ipaddress.ip_network(netns.POD_RANGE).hosts())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def control(node: Node) -> web.Application:
    """The bed's own way to talk to the node."""

    async def ready(request: web.Request) -> web.Response:
        return web.Response(status=200 if node.listed else 503)

    async def behave(request: web.Request) -> web.Response:
        order = await request.json()
        whose = (order["namespace"], order["name"])
        return web.json_response(await node.behave(whose, order["changes"], order["pods"]))

    application = web.Application()
    application.add_routes([web.get("/ready", ready), web.post("/behave", behave)])
    return application


async def main(kubeconfig: Path, certificate: Path, key: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    node = Node(Client(kubeconfig), tls)
    runner = web.AppRunner(control(node), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", CONTROL_PORT).start()
    await node.run()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))
