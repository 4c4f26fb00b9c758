"""Skipper, one process that reads the cluster and takes requests: RouteGroups, and Ingresses with its annotation."""

from collections.abc import Sequence
from typing import ClassVar

from tests.bed import extras, netns
from tests.bed.bed import Bed
from tests.bed.faults import FaultProxy
from tests.bed.processes import Process, answers

PORT = 8200
SUPPORT_PORT = 8201
PROXY_PORT = 8202
"""Where the proxy listens through which it reads the cluster, and on the next one."""
POLL = 1000
"""It asks for changes every so many milliseconds: three times as often as by default, for quick tests."""

NAME = "skipper"


class Skipper:
    """Skipper, and the proxy that can keep it from hearing of changes."""

    extras: ClassVar[Sequence[str]] = (NAME,)
    url = f"http://{netns.ADDRESS}:{PORT}"

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._proxy = FaultProxy(bed, "proxy-of-skipper", PROXY_PORT)
        self.skipper = self._process()

    def _process(self) -> Process:
        token = self._bed.workdir / "skipper.token"
        token.write_text(self._proxy.token(NAME))
        command = [
            str(extras.program(NAME)),
            f"-address={netns.ADDRESS}:{PORT}",
            f"-support-listener=127.0.0.1:{SUPPORT_PORT}",
            "-kubernetes",
            f"-kubernetes-url={self._proxy.url}",
            f"-kubernetes-token-file={token}",
            "-kubernetes-https-redirect=false",
            "-enable-kubernetes-endpointslices",
            f"-source-poll-timeout={POLL}",
            "-access-log-disabled",
            "-metrics-flavour=prometheus",
            "-serve-route-metrics",
            "-wait-first-route-load",
        ]
        ready = f"{self.url}/kube-system/healthz"
        return Process(NAME, command, self._bed.workdir, lambda: answers(ready))

    def start(self) -> None:
        """Start it, and wait until requests are taken."""
        extras.serve(self._bed.api, NAME)
        self._proxy.start()
        self.skipper.start()

    def kill(self) -> None:
        self.skipper.kill()
        self._proxy.kill()

    def deafen(self) -> None:
        """Keep it from every change from now on: it serves on as it is."""
        self._proxy.down()

    def hear(self) -> None:
        """Let it hear again."""
        self._proxy.up()
