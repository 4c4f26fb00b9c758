"""`python -m tests.bed`: bring a bed up, tell how to reach it, and keep it until Ctrl-C."""

import shlex
import signal
import sys
from pathlib import Path

from tests.bed import Bed, UnusableError, netns


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Bed.up(progress=lambda line: print(line, flush=True)) as bed:
            print(_directions(bed), flush=True)
            signal.pause()
            return 0
    except KeyboardInterrupt:
        return 0
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 2


def _directions(bed: Bed) -> str:
    enter = bed.workdir / "enter"
    kubectl = bed.workdir / "kubectl"
    kubeconfig = bed.kubeconfig()
    _script(enter, f'KUBECONFIG={kubeconfig} exec {" ".join(netns.nsenter())} "$@"')
    _script(kubectl, f'exec {enter} {shlex.quote(str(bed.programs.kubectl))} "$@"')
    return "\n".join(
        [
            "",
            f"kubectl, from any shell:   {kubectl} get pods -A",
            f"any command in the bed:    {enter} COMMAND ...    (KUBECONFIG={kubeconfig})",
            f"gateway: {bed.gateway_url}    Prometheus: {bed.prometheus_url}    logs: {bed.workdir}",
            "Ctrl-C ends it.",
        ]
    )


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
