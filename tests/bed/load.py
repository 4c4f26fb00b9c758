"""Requests at a constant rate, from a process of their own, every answer counted by who gave it."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.bed.processes import Process, python_path

Key = tuple[str, int | str]
"""The version of the pod that answered ("-": none did), and the status code or the kind of failure."""


class Load:
    """A running load, and what it has counted since its first good answer."""

    def __init__(
        self, url: str, workdir: Path, *, host: str, rate: float, seconds: float, timeout: float, fresh: bool = False
    ) -> None:
        """`rate` requests a second to `url` for the host `host`, which end by themselves after `seconds`.

        `url` and `fresh` are as in asking.py.
        """
        options = {"url": url, "host": host, "rate": rate, "seconds": seconds, "timeout": timeout}
        words = [f"--{name}={value}" for name, value in options.items()]
        words += ["--fresh"] if fresh else []
        command = [sys.executable, "-m", "tests.bed.generator", *words, f"--ca={workdir}/ca.pem"]
        self._process = Process(f"load-{host}", command, workdir, env=python_path(), pipes=True)
        self._process.spawn()
        self._asking = threading.Lock()
        self._last: dict[str, Any] | None = None

    def counts(self) -> dict[Key, int]:
        """The answers so far, such as {("v1", 200): 950, ("v2", 500): 12, ("-", "refused"): 1}."""
        return {(version, outcome): n for version, outcome, n, _, _ in self._snapshot()["answers"]}

    def times(self) -> dict[Key, tuple[float, float]]:
        """When the first and the last answer of each kind came, in seconds since 1970."""
        return {(version, outcome): (first, last) for version, outcome, _, first, last in self._snapshot()["answers"]}

    def lost(self) -> int:
        """The requests that no pod answered."""
        return sum(n for (version, _), n in self.counts().items() if version == "-")

    def total(self) -> int:
        return sum(self.counts().values())

    def running(self) -> bool:
        """Whether requests are still sent, or waited for."""
        return bool(self._snapshot()["running"])

    def wait(self) -> dict[Key, int]:
        """Wait until the load has ended by itself, and return its counts."""
        while self.running():
            time.sleep(0.1)
        return self.stop()

    def stop(self) -> dict[Key, int]:
        """End the load now, and return its counts; those that are still on their way are not waited for."""
        self._last = self._snapshot() | {"running": False}
        self.kill()
        return self.counts()

    def kill(self) -> None:
        """End the load without asking for its counts."""
        self._process.kill()

    def _snapshot(self) -> dict[str, Any]:
        if self._last:
            return self._last
        stdin, stdout = self._process.child.stdin, self._process.child.stdout
        assert stdin is not None
        assert stdout is not None
        with self._asking:
            stdin.write("\n")
            stdin.flush()
            answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"the load has ended; see {self._process.log}")
        snapshot: dict[str, Any] = json.loads(answer)
        return snapshot
