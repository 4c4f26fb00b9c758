"""The bed's parts as child processes that can be killed, stopped and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import requests

from tests.bed.starter import WITH_ITS_PARENT, Started, Starter

T = TypeVar("T")

_http = requests.Session()
_http.trust_env = False

# The kernel kills a child when the *thread* that made it ends, so all children are made by one thread that lasts.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


_PRESSURE = Path("/proc/pressure/cpu")
_BUSY = 2 / 3
"""How much less a second counts in which something waited for a processor all the time."""


class Stopwatch:
    """Seconds since it was made, as far as the machine had time for what runs on it.

    Where others keep the processors busy, a second counts less, down to a third of one: what is to happen within a time
    may take up to three times that there, and on a machine of its own not a moment longer.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited = _waited()

    def seconds(self) -> float:
        """What it shows now."""
        return self.pace() * (time.monotonic() - self._began)

    def pace(self) -> float:
        """How many of its seconds one second was, on average until now."""
        waited, elapsed = _waited() - self._waited, max(1e-9, time.monotonic() - self._began)
        return 1 - _BUSY * min(1.0, waited / elapsed)


def _waited() -> float:
    """The seconds in which something waited for a processor, of all so far; 0 where the kernel does not say."""
    try:
        some = _PRESSURE.read_text().splitlines()[0]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


def until(condition: Callable[[], T], timeout: float = 10.0, what: str = "the condition", every: float = 0.1) -> T:
    """Ask `condition` every `every` seconds until it answers something true, and return that answer.

    Raises TimeoutError after `timeout` seconds of a Stopwatch.
    """
    watch = Stopwatch()
    while True:
        if answer := condition():
            return answer
        if watch.seconds() > timeout:
            raise TimeoutError(f"{what} did not come within {timeout:g} s")
        time.sleep(every)


def answers(url: str, ca: Path | None = None) -> bool:
    """Whether a GET of `url` is answered with 200 within a second."""
    try:
        return _http.get(url, timeout=1, verify=str(ca) if ca else True).status_code == 200
    except requests.RequestException:
        return False


def page(url: str) -> str:
    """What a GET of `url` answers; empty where it does not answer within a second."""
    try:
        return _http.get(url, timeout=1).text
    except requests.RequestException:
        return ""


def environment(workdir: Path) -> dict[str, str]:
    """What a program of the bed gets for its environment: none of the user's own settings, such as proxies."""
    return {"PATH": os.environ["PATH"], "HOME": str(workdir)}


def python_path() -> dict[str, str]:
    """The part of the environment by which a Python program finds what this one can import."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


@cache
def _starter() -> Starter:
    """The one of this process."""
    return Starter(os.environ | python_path())


class Process:
    """One part of the bed. It is killed with its parent, and writes what it says to `<workdir>/<name>.log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        workdir: Path,
        ready: Callable[[], bool] = lambda: True,
        *,
        env: Mapping[str, str] | None = None,
        pipes: bool = False,
        imported: bool = False,
    ) -> None:
        """`ready` tells whether the part can be used; `pipes` opens its standard input and output as text.

        `env` is added to what `environment` gives. Where `imported`, the command is the arguments of our own program,
        and it starts where that has been imported already (starter.py).
        """
        self.name = name
        self.log = workdir / f"{name}.log"
        self._command = command
        self._workdir = workdir
        self._ready = ready
        self._env = environment(workdir) | dict(env or {})
        self._pipes = pipes
        self._imported = imported
        self._child: subprocess.Popen[str] | Started | None = None

    @property
    def child(self) -> "subprocess.Popen[str] | Started":
        """The running child, with its pipes."""
        if self._child is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def spawn(self) -> None:
        """Start it without waiting until it can be used."""
        if self.running():
            raise RuntimeError(f"{self.name} is running already")
        self._child = _spawner.submit(self._popen).result()

    def _popen(self) -> "subprocess.Popen[str] | Started":
        if self._imported:
            return _starter().start(self._command, self._env, self._workdir, self.log)
        pipe = subprocess.PIPE if self._pipes else subprocess.DEVNULL
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*WITH_ITS_PARENT, *self._command],
                stdin=pipe,
                stdout=pipe if self._pipes else log,
                stderr=log,
                env=self._env,
                cwd=self._workdir,
                text=True,
                # The kernel wakes a stopped process whose group is orphaned: each has a session of its own.
                start_new_session=True,
            )

    def wait_ready(self, timeout: float = 180.0) -> None:
        """Wait until it can be used; fail, with the end of its log, if it ends or takes over `timeout` s."""
        self.wait_until(self._ready, timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 180.0) -> None:
        """Wait, as `wait_ready` does, for something else that it is to do."""
        watch = Stopwatch()
        while not condition():
            if not self.running():
                raise RuntimeError(f"{self.name} ended with status {self.child.returncode}:\n{self._tail()}")
            if watch.seconds() > timeout:
                raise TimeoutError(f"{self.name} was not ready within {timeout:g} s:\n{self._tail()}")
            time.sleep(0.03)

    def _tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def start(self, timeout: float = 180.0) -> None:
        """Start it, first or again, and wait until it can be used."""
        self.spawn()
        self.wait_ready(timeout)

    def ends(self, timeout: float) -> int:
        """Wait until it has ended by itself, for at most so many seconds of a Stopwatch; returns its status."""
        until(lambda: not self.running(), timeout, f"the end of {self.name}")
        return self.child.wait()

    def kill(self) -> None:
        """Kill it as `kill -9` does, and wait until it is gone."""
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()

    def stop(self) -> None:
        """Freeze it (SIGSTOP): it keeps its connections and answers nothing."""
        self.child.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        self.child.send_signal(signal.SIGCONT)
