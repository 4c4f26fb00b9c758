"""The whole bed: a control plane, a data plane, Prometheus and a node stand-in, in a network namespace."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.bed import gateway, netns, objects, tools
from tests.bed import prometheus as monitoring
from tests.bed.api import Api
from tests.bed.behaviour import CONTROL_PORT
from tests.bed.cluster import Cluster, output
from tests.bed.controlplane import ControlPlane
from tests.bed.load import Load
from tests.bed.processes import Process, answers, python_path, until
from tests.bed.tools import Progress, Tools

NODE = f"http://127.0.0.1:{CONTROL_PORT}"


class Bed(Cluster):
    """A running bed. Use it as a context manager: nothing of it is left afterwards.

    Its parts are `etcd`, `apiserver`, `controller_manager`, `node`, `traefik` and `prometheus`; each can be killed,
    stopped and started. `api` is a client with all rights.
    """

    gateway_url = gateway.URL
    prometheus_url = monitoring.URL
    address = netns.ADDRESS

    @classmethod
    def up(
        cls,
        workdir: Path | None = None,
        scrape: str = "1s",
        progress: Progress = lambda line: None,
        *,
        thrifty: bool = False,
    ) -> "Bed":
        """Bring a bed up, in a network namespace that this process enters; wait until all of it can be used.

        `workdir` gets its logs and data (if absent: a temporary folder, removed in the end); `scrape` is how often
        Prometheus asks each pod; a `thrifty` bed is for tests, and not for figures: its parts take a third less of the
        processor, and more memory, and an operator starts where it has been imported already.
        """
        programs = tools.ensure(progress)
        netns.enter()
        if workdir:
            workdir.mkdir(parents=True, exist_ok=True)
        bed = cls(workdir.resolve() if workdir else temporary_folder(), programs, scrape, thrifty=thrifty)
        bed._remove_workdir = workdir is None
        try:
            bed._start(progress)
        except BaseException:
            bed.down()
            raise
        return bed

    def __init__(self, workdir: Path, programs: Tools, scrape: str, *, thrifty: bool = False) -> None:
        self.workdir = workdir
        self.thrifty = thrifty
        self.programs = programs
        self.kubectl_program = programs.kubectl
        self._control_plane = ControlPlane(workdir, programs, thrifty=thrifty)
        self.etcd = self._control_plane.etcd
        self.apiserver = self._control_plane.apiserver
        self.controller_manager = self._control_plane.controller_manager
        self.node = _node(workdir, self.kubeconfig("node"))
        self.traefik = gateway.traefik(programs.traefik, workdir, self._control_plane)
        self._scrape = scrape
        self.prometheus = monitoring.prometheus(programs.prometheus, workdir, self._control_plane, scrape)
        self.api = self._control_plane.api("admin")
        self._loads: dict[str, list[Load]] = {}
        """Those of each host."""
        self._remove_workdir = False

    @property
    def _parts(self) -> list[Process]:
        return [self.etcd, self.apiserver, self.controller_manager, self.node, self.traefik, self.prometheus]

    def _start(self, progress: Progress) -> None:
        self.etcd.spawn()
        self.apiserver.spawn()
        self.node.spawn()
        # The longest way to a bed leads over the Gateway API, so nothing before it waits for more than it must.
        self.apiserver.wait_until(lambda: gateway.takes_crds(self.api))
        gateway.create_crds(self.api, self.programs.crds)
        progress("the Gateway API is served")
        self.apply(objects.namespace("bed"), gateway.CLASS, gateway.GATEWAY)
        self.traefik.spawn()
        self.controller_manager.spawn()
        self.prometheus.spawn()
        for part in self._parts:
            part.wait_ready()
        until(lambda: gateway.programmed(self.api), 120, "the gateway")
        progress("the bed is up")

    def down(self) -> None:
        """Kill all parts and loads."""
        for host in list(self._loads):
            self.end_loads(host)
        for part in self._parts:
            part.kill()
        if self._remove_workdir:
            shutil.rmtree(self.workdir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def kubeconfig(self, user: str = "admin", as_user: str = "", as_groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file of a user (controlplane.USERS), who may impersonate another one."""
        return self._control_plane.kubeconfig(user, as_user, as_groups)

    def client(self, user: str) -> Api:
        """A client like `api`, in the name of another user."""
        return self._control_plane.api(user)

    def alert(self, name: str, promql: str, **labels: str) -> None:
        """Have Prometheus fire an alert with these labels while `promql` has an answer."""
        monitoring.alert(self.prometheus, self.workdir, name, promql, **labels)

    def another_prometheus(self, name: str, port: int) -> Process:
        """Another replica of Prometheus, which scrapes the same pods at other moments. Whoever starts it, kills it."""
        return monitoring.prometheus(
            self.programs.prometheus, self.workdir, self._control_plane, self._scrape, name, port
        )

    def lead_gateway_through(self, url: str) -> None:
        """Start the gateway again, with a proxy as its API server."""
        self.traefik.kill()
        self.traefik = gateway.traefik(self.programs.traefik, self.workdir, self._control_plane, url)
        self.traefik.start()

    def helm(self, *arguments: str) -> str:
        """What helm prints, as admin; raises RuntimeError with its complaint when it fails."""
        return output(self.run(self.programs.helm, arguments, None))

    def behave(self, deployment: str, namespace: str = "default", pods: int | None = None, **changes: Any) -> list[str]:
        """Change how the pods of a Deployment behave, without touching the Deployment; returns the pods' names.

        `changes` are fields of behaviour.Behaviour, such as errors=0.2, ready=False, crashloop=True; ready=True heals.
        They last for the Deployment's later pods too; with `pods`, only that many of its present ones are changed.
        A node that was started again has forgotten them.
        """
        order = {"namespace": namespace, "name": deployment, "pods": pods, "changes": changes}
        answer = requests.post(f"{NODE}/behave", json=order, timeout=30, proxies={"http": ""})
        answer.raise_for_status()
        names: list[str] = answer.json()
        return names

    def load(
        self,
        host: str,
        rate: float = 200.0,
        seconds: float = 600.0,
        timeout: float = 5.0,
        *,
        url: str = gateway.URL,
        fresh: bool = False,
    ) -> Load:
        """Start sending `rate` requests a second for `host` to the gateway, for at most `seconds`.

        An answer that takes longer than `timeout` seconds is lost. `fresh` makes a connection for each request.
        """
        load = Load(url, self.workdir, host=host, rate=rate, seconds=seconds, timeout=timeout, fresh=fresh)
        self._loads.setdefault(host, []).append(load)
        return load

    def end_loads(self, host: str) -> None:
        """End every load for a host that has not ended yet: nobody counts its answers any more."""
        for load in self._loads.pop(host, []):
            load.kill()

    def query(self, promql: str) -> float | None:
        """The value of an instant query that has at most one; None if it has none."""
        return monitoring.query(promql)

    def series(self, promql: str) -> int:
        """How many series the answer to an instant query has."""
        return monitoring.series(promql)

    def audit(self, user: str | None = None, *, words: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """The audit events of all requests that were answered, oldest first; of one of controlplane.USERS, if given.

        Those only whose text has all of these words: the log is long, and reading JSON takes time. A watch is among
        them once it has ended.
        """
        name = self._control_plane.user_name(user) if user else None
        words = [*words, f'"username":"{name}"'] if name else words
        with self._control_plane.audit_log.open() as log:
            for line in log:
                if not line.endswith("\n"):
                    return  # it is being written
                if any(word not in line for word in words):
                    continue
                event = json.loads(line)
                if event["stage"] == "ResponseComplete" and name in (None, event["user"]["username"]):
                    yield event


def _node(workdir: Path, kubeconfig: Path) -> Process:
    command = [sys.executable, "-m", "tests.bed.node", str(kubeconfig), f"{workdir}/pod.pem", f"{workdir}/pod.key"]
    return Process("node", command, workdir, lambda: answers(f"{NODE}/ready"), env=python_path())


def temporary_folder() -> Path:
    """A folder that tells whose it is; those of processes that were killed are removed."""
    prefix = "rolloutplan-bed-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).split("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
