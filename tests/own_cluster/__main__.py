"""`make e2e`: those end-to-end tests that need no part of the bed, on the cluster of a kubeconfig.

They need CONTEXT, which confirms the context of KUBECONFIG, and IMAGE, which the cluster can pull.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bed import UnusableError, tools
from tests.bed.api import ApiError
from tests.own_cluster.cluster import OwnCluster, pinned
from tests.own_cluster.plugin import Plugin
from tests.own_cluster.refusals import RefusedError, confirmed

NO_IMAGE = (
    "IMAGE is not given: it names an image that the cluster can pull and that stays running without arguments, "
    "as in: make e2e IMAGE=registry.k8s.io/pause:3.10"
)


def main() -> int:
    """Run the tests; 2 where they are refused, before anything of the cluster is changed."""
    parser = argparse.ArgumentParser(prog="tests.own_cluster")
    for name, what in (("context", "the context of KUBECONFIG, as a confirmation"), ("image", "of the pods")):
        parser.add_argument(f"--{name}", default="", help=what)
    parser.add_argument("tests", nargs="*", default=[], help="words for pytest")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments.context, arguments.image, arguments.tests)
    except (RefusedError, UnusableError) as error:
        print(error, file=sys.stderr)
        return 2
    except ApiError as error:
        print(f"the API server refuses what the tests need: {error}", file=sys.stderr)
        return 2


def _run(context: str, image: str, words: Sequence[str]) -> int:
    kubectl = tools.script("kubectl")
    if refusal := confirmed(*_current(kubectl), context) or ("" if image else NO_IMAGE):
        raise RefusedError(refusal)
    with tempfile.TemporaryDirectory(prefix="rolloutplan-e2e-") as folder:
        workdir = Path(folder)
        kubeconfig = pinned(kubectl, context, workdir, _kubectl)
        with OwnCluster(kubeconfig, image, kubectl, workdir) as cluster, cluster.prepared():
            print(f"the tests run on the cluster of the context {context}", flush=True)
            asked = ["-q", "-p", "no:cacheprovider", "tests/e2e", *words]
            return int(pytest.main(asked, plugins=[Plugin(cluster)]))


def _current(kubectl: Path) -> tuple[str, str]:
    """The current context, and the address of its server; both empty where there is none."""
    config = json.loads(_kubectl([kubectl, "config", "view", "-o=json"]))
    context = config.get("current-context") or ""
    by_name = {each["name"]: each["context"] for each in config.get("contexts") or ()}
    servers = {each["name"]: each["cluster"].get("server", "") for each in config.get("clusters") or ()}
    return context, servers.get(by_name.get(context, {}).get("cluster", ""), "no server")


def _kubectl(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    if done.returncode:
        raise RefusedError(f"the kubeconfig cannot be read: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
