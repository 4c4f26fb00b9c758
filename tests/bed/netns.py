"""The network namespace that a bed lives in: nothing leaves the machine, and no fixed port can clash."""

import ctypes
import os
import subprocess
from functools import cache
from pathlib import Path

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
ADDRESS = "10.99.0.1"
"""Where the API server, the gateway and Prometheus listen: not loopback, which EndpointSlices reject."""

POD_PORT = 8080
"""The port that every pod answers on."""

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def entered() -> bool:
    """Whether this process has entered its namespace."""
    return enter.cache_info().currsize > 0


@cache
def enter() -> None:
    """Put this process, and the children it will have, into a network namespace of its own. A second call does nothing.

    A namespace belongs to a thread, so this must come before the process has a second one.
    """
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("netns.enter() was called after a thread was started; call it first")
    try:
        _unshare(CLONE_NEWNET)
    except PermissionError:
        _unshare_as_user()
    _ip("link", "set", "lo", "up")
    for addresses in (POD_RANGE, SERVICE_RANGE, f"{ADDRESS}/32"):
        _ip("route", "add", "local", addresses, "dev", "lo")


def nsenter() -> list[str]:
    """The command that runs another one in this process's namespace, from any shell of the same user."""
    namespaces = f"/proc/{os.getpid()}/ns"
    has_one_user = Path("/proc/self/uid_map").read_text().split()[2] == "1"
    user = [f"--user={namespaces}/user", "--preserve-credentials"] if has_one_user else []
    return ["nsenter", *user, f"--net={namespaces}/net"]


def _unshare_as_user() -> None:
    """Become root of a user namespace too, where one may set up a network."""
    uid, gid = os.geteuid(), os.getegid()
    _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace can be made: {os.strerror(error)}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
