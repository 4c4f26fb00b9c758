"""Starts our own program from a process that has imported it: importing takes a second of a core, each time.

The program runs as it does alone, from its first line on. Only what it imports is there already.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODULE = "rolloutplan"
WITH_ITS_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""What stands before a command that the kernel is to kill with the thread that starts it."""
_IMPORTED = ("rolloutplan.cli.main", "rolloutplan.cli.serve", "rolloutplan.loop.main")
_PR_SET_PDEATHSIG = 1


class Started:
    """A program that the starter has started, with those members of a Popen that a Process uses."""

    stdin = stdout = None

    def __init__(self, starter: "Starter", pid: int) -> None:
        self._starter = starter
        self.pid = pid
        self.returncode: int | None = None
        self._polling = threading.Lock()

    def poll(self) -> int | None:
        """Its status if it has ended, as `subprocess` gives it. It can be asked for only once, whoever asks."""
        with self._polling:
            if self.returncode is None:
                self.returncode = self._starter.ask(status=self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its status."""
        ends = time.monotonic() + timeout if timeout is not None else float("inf")
        while (status := self.poll()) is None:
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired(MODULE, timeout or 0.0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # only `poll` reaps it, so the number is still its own
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Starter:
    """The process that has imported the program. It ends with this one, and all that it has started ends with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """It ends with the thread that makes it, so that one has to last."""
        command = [*WITH_ITS_PARENT, sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment)
        )
        self._asking = threading.Lock()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Started:
        """Start the program in a folder; what it says goes to `log`."""
        order = {"arguments": arguments, "environment": dict(environment), "folder": str(folder), "log": str(log)}
        return Started(self, self.ask(**order))

    def ask(self, **order: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with self._asking:
            print(json.dumps(order), file=stdin, flush=True)
            answer = stdout.readline()
        if not answer:
            raise RuntimeError("the process that starts the program has ended")
        return json.loads(answer)


def main() -> None:
    gc.disable()  # as the program does while it imports
    for module in _IMPORTED:
        __import__(module)
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "status" in order:
            pid, status = os.waitpid(order["status"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif not (answer := os.fork()):
            return _become(**order)
        print(json.dumps(answer), flush=True)
    return None


def _become(arguments: Sequence[str], environment: Mapping[str, str], folder: str, log: str) -> None:
    """Be the program: what a new process gets from its parent is set by hand."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()  # the kernel wakes a stopped process whose group is orphaned
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [MODULE, *arguments]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
