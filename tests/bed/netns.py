"""The network namespace that a bed lives in: nothing leaves the machine, and no fixed port can clash."""

import ctypes
import os
import subprocess
import threading
from functools import cache
from pathlib import Path

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
ADDRESS = "10.99.0.1"
"""Where the API server, the gateway and Prometheus listen: not loopback, which EndpointSlices reject."""

POD_PORT = 8080
"""The port that every pod answers on."""

PORTS = {"http": POD_PORT, "tls": 8443, "grpc": 8082}
"""By their names, the ports that a pod may answer on."""

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CAP_SYS_ADMIN = 21


def entered() -> bool:
    """Whether this process has entered its namespace."""
    return enter.cache_info().currsize > 0


@cache
def enter() -> None:
    """Put this thread, and the threads and children it will have, into a network namespace of its own.

    A second call does nothing. What a thread that runs already does stays outside: so only the main thread may call,
    and before it has started another. Threads that Python's `threading` does not know, such as the one by which a
    worker of pytest-xdist is told what to do, do not matter: they have no business in the network.
    """
    if threading.current_thread() is not threading.main_thread() or threading.active_count() > 1:
        raise RuntimeError("netns.enter() was called in or after another thread than the main one; call it first")
    if not may_enter():
        become_root()
    _unshare(CLONE_NEWNET)
    _ip("link", "set", "lo", "up")
    for addresses in (POD_RANGE, SERVICE_RANGE, f"{ADDRESS}/32"):
        _ip("route", "add", "local", addresses, "dev", "lo")


def may_enter() -> bool:
    """Whether this process may make a network namespace as it is."""
    fields = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return bool(int(fields["CapEff"], 16) >> CAP_SYS_ADMIN & 1)


def become_root() -> None:
    """Become root of a user namespace, with the children to come: there one may set up a network.

    The kernel wants a process without any second thread, of whatever kind.
    """
    uid, gid = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def nsenter() -> list[str]:
    """The command that runs another one in this process's namespace, from any shell of the same user."""
    namespaces = f"/proc/{os.getpid()}/ns"
    has_one_user = Path("/proc/self/uid_map").read_text().split()[2] == "1"
    user = [f"--user={namespaces}/user", "--preserve-credentials"] if has_one_user else []
    return ["nsenter", *user, f"--net={namespaces}/net"]


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace can be made: {os.strerror(error)}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
