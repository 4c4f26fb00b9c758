"""The command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from rolloutplan import __version__
from rolloutplan.plan.crd import crds, render


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 it failed, 2 it was called wrongly."""
    chosen = _parser().parse_args(arguments)
    return int(chosen.run(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rolloutplan", description="Progressive delivery, one proved step at a time.")
    parser.add_argument("--version", action="version", version=f"rolloutplan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    operator = commands.add_parser("operator", help="run the operator (KUBECONFIG, else in-cluster)")
    operator.add_argument("--namespace", action="append", default=[], help="serve this namespace only; may be repeated")
    operator.add_argument("--health-port", type=int, default=8080, help="serve /livez and /readyz here (default: 8080)")
    operator.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    operator.set_defaults(run=_operator)

    definitions = commands.add_parser("crds", help="write the custom resource definitions")
    definitions.add_argument("directory", nargs="?", type=Path, help="where to write them (default: standard output)")
    definitions.set_defaults(run=_crds)
    return parser


def _operator(chosen: argparse.Namespace) -> int:
    from rolloutplan.cluster.client import ApiError  # noqa: PLC0415 - the other commands need no cluster
    from rolloutplan.loop.run import run  # noqa: PLC0415
    from rolloutplan.telemetry.logs import set_up  # noqa: PLC0415

    set_up(chosen.log_level)
    try:
        asyncio.run(run(chosen.namespace, chosen.health_port))
    except ApiError as error:
        sys.stderr.write(f"rolloutplan: {error.message or error}\n")
        return 1
    return 0


def _crds(chosen: argparse.Namespace) -> int:
    for name, definition in crds().items():
        if chosen.directory is None:
            sys.stdout.write(f"---\n{render(definition)}")
        else:
            chosen.directory.mkdir(parents=True, exist_ok=True)
            (chosen.directory / name).write_text(render(definition))
    return 0
