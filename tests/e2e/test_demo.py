"""The demo, as a user runs it where there is no terminal, beside a bed that is up already."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed import Bed
from tests.bed.processes import python_path
from tests.shop import ROOT


@pytest.fixture
def demo() -> Iterator["subprocess.Popen[str]"]:
    others = {key: value for key, value in os.environ.items() if key not in ("KEEP", "FORCE_COLOR")}
    environment = others | python_path()
    command = [sys.executable, "-u", "-m", "tests.demo"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as child:
        yield child
        child.kill()


def leftovers(child: "subprocess.Popen[str]") -> list[str]:
    """What is still there of a bed: its folder, and every process that has it in its command line."""
    folder = f"rolloutplan-bed-{child.pid}-"
    found = [path.name for path in Path(tempfile.gettempdir()).glob(f"{folder}*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [command] if folder in command else []
    return found


def test_v2_succeeds_and_v3_is_rolled_back(bed: Bed, demo: "subprocess.Popen[str]") -> None:
    out, errors = demo.communicate(timeout=240)
    assert demo.returncode == 0, out + errors
    for line in (
        r"weights: v1 50%  v2 50%  v3 0%",
        r"checkout-v2: Succeeded: ",
        r"weights: v1 0%  v2 95%  v3 5%",
        r"checkout-v3: RollbackStarted: guard errors tripped",
        r"checkout-v2 +Succeeded +[0-9.]+ s +5%, 25%, 50%, 100%",
        r"checkout-v3 +RolledBack +[0-9.]+ s +5%; errors: ",
        r"[0-9.]+ s +from bad sample visible to old weights",
        r"[0-9,]+ +[0-9]+ \(v3's 500s\) +0 *\n",
        r"checkout-v3 +RolledBack +1/4 w5 +0% .*GuardTripped",
        r"kubectl -n shop patch httproutes.gateway.networking.k8s.io checkout --type=json -p ",
        r"All as it should be: .* [0-9]+ s after the bed was up",
    ):
        assert re.search(line, out), f"{line!r} is not in:\n{out}"
    assert leftovers(demo) == []
    assert bed.get("/readyz") == "ok"


def test_ctrl_c_leaves_nothing(bed: Bed, demo: "subprocess.Popen[str]") -> None:
    assert demo.stdout
    for line in demo.stdout:
        if "StageStarted" in line:
            break
    demo.send_signal(signal.SIGINT)
    out, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130, out + errors
    assert "Ended; nothing of it is left." in out
    assert errors == ""
    assert leftovers(demo) == []
