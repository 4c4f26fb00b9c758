"""The commands of docs/on-call.md, as they stand there: what they print while a run goes on, and after it."""

import os
import re
import shutil
import subprocess

from tests.bed import Bed, until
from tests.shop import ROOT, Operator, Shop

WIDEST = 100
"""Characters of a line that a terminal shows on one line."""
SECTIONS = re.split(r"^## ", (ROOT / "docs/on-call.md").read_text(), flags=re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(title: str) -> list[str]:
    """The lines of the shell blocks of a section."""
    (section,) = (text for text in SECTIONS if text.startswith(title))
    return "".join(BLOCK.findall(section)).splitlines()


def printed(bed: Bed, shop: Shop, command: str) -> str:
    """What a command prints, with the names of this shop in place of those in the docs."""
    ours = command.replace("-n shop", f"-n {shop.namespace}").replace("checkout-v2", "checkout")
    env = {**os.environ, "KUBECONFIG": str(bed.kubeconfig())}
    env["PATH"] = f"{bed.programs.kubectl.parent}:{env['PATH']}"
    words = ["bash", "-o", "pipefail", "-c", ours]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, env=env)
    assert done.returncode == 0, f"{ours}\n{done.stderr}"
    return done.stdout


def test_what_is_asked_of_a_run_is_answered_by_the_commands_of_the_docs(
    shop: Shop, bed: Bed, running: Operator
) -> None:
    shop.open()
    never = {"name": "never", "query": "vector(0)", "is": "> 1", "window": "1s"}
    shop.start(guards=[never], stages=[{"weight": "25%", "soak": "4s"}, {"weight": "100%", "soak": "1s"}])
    shop.until("Judging/w25")
    alive = printed(bed, shop, commands("Is the operator alive?")[0])
    header, *rows = alive.splitlines()
    (row,) = (row for row in rows if row.startswith(shop.namespace))
    assert re.fullmatch(r"\d+s\s*", row[header.index("LOOKED") : header.rindex("AGE")]), alive
    assert running.counted("rolloutplan_oldest_look_seconds") < 60
    one = bed.kubectl("get", "rp", "-n", shop.namespace)
    assert max(map(len, one.splitlines())) <= WIDEST

    shop.until("Succeeded")
    until(lambda: "Succeeded" in shop.reasons(), 30, "the last Event")
    events, decisions, hour, plan, route = commands("What changed in the last hour")
    narrower = [f"regarding.kind=RolloutPlan,{more}" for more in ("type=Normal", "regarding.name=checkout-v2")]
    for command in (
        events,
        *(events.replace("regarding.kind=RolloutPlan", more) for more in narrower),
        decisions,
        hour,
    ):
        if command == hour and not shutil.which("jq"):
            continue
        told = [line for line in printed(bed, shop, command).splitlines() if shop.namespace in line]
        assert "Started" in told[0], command
        assert "Succeeded" in " ".join(told[-2:]), command  # in the same second as the proof before it
    assert "rolloutplan Update status" in printed(bed, shop, plan)
    assert " rolloutplan Update" in printed(bed, shop, route)
    header, *rows = printed(bed, shop, commands("Is the operator alive?")[0]).splitlines()
    (row,) = (row for row in rows if row.startswith(shop.namespace))
    assert not row[header.index("LOOKED") : header.rindex("AGE")].strip(), "nobody looks at a run that is over"
