"""The command line, as `rolloutplan` and as `kubectl rolloutplan`: parses arguments and calls the chosen command."""

from __future__ import annotations

import argparse
import math
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rolloutplan import __version__
from rolloutplan.api import suggestions
from rolloutplan.api.command import Command, CommandError, Verb
from rolloutplan.api.quantities import format_duration, parse_duration, parse_rate
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME, TextFormat
from rolloutplan.cli.grants import add_grant_options, grants, unserved
from rolloutplan.cli.judge import add_judge_options
from rolloutplan.cli.output import fail
from rolloutplan.cli.usage import COMMAND, Parser
from rolloutplan.metrics.ceilings import USUAL, Ceilings
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.fault import USUAL_FAULT, Fault, read_fault

VERBS: Final[Mapping[Verb, str]] = {
    Verb.PAUSE: "hold the weights; guards stay on",
    Verb.RESUME: "continue after a pause, or after a hold that needs a person",
    Verb.APPROVE: "approve the next stage, or the removal of the old side",
    Verb.ABORT: "restore the old weights now and end the run",
    Verb.RETRY: "start a rolled-back or finished plan again",
    Verb.PROMOTE: "go straight to the last weight, without the stages in between",
    Verb.SKIP: "end the current stage as if it had passed",
    Verb.REVERT: "restore the old weights, even after the run has succeeded",
    Verb.ADOPT: "take up a run whose status was lost, held at the present weights",
}

CLOSED_PIPE: Final = 141
"""The exit code where the reader of the output has closed it: that of other programs, which SIGPIPE ends."""
REASONS: Final[Mapping[Verb, str]] = {
    Verb.PAUSE: "incident 4711",
    Verb.RESUME: "incident 4711 is over",
    Verb.APPROVE: "seen the dashboards",
    Verb.ABORT: "customers complain",
    Verb.RETRY: "the database is back",
    Verb.PROMOTE: "urgent fix",
    Verb.SKIP: "no traffic at night",
    Verb.REVERT: "wrong prices",
    Verb.ADOPT: "the status was deleted",
}
"""A reason as an example, for the help of each command."""

_DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed, 2 wrong usage, 3 refused, 141 a closed pipe."""
    try:
        try:
            chosen = _parser().parse_args(arguments)
            return int(chosen.run(chosen))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who reads has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more can fail at the exit
        return CLOSED_PIPE


def _parser() -> argparse.ArgumentParser:
    name = "kubectl rolloutplan" if Path(sys.argv[0]).stem == "kubectl-rolloutplan" else "rolloutplan"
    parser = Parser(
        prog=name,
        description="Progressive delivery, one proved step at a time. `COMMAND --help` explains a command.",
        example=f"{name} simulate plan.yaml --traffic 12/s",
    )
    parser.add_argument("--version", action="version", version=f"rolloutplan {__version__}")
    commands = parser.add_subparsers(required=True, metavar=COMMAND)

    def add(command: str, words: str, example: str, description: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(command, help=words, description=description or None, example=f"{name} {example}")

    _add_lint_options(
        add("lint", "check plans, templates, metric sources and policies in files", "lint plan.yaml --strict")
    )
    _add_simulate_options(
        add("simulate", "show the timeline that the plans in files would take", "simulate plan.yaml --traffic 12/s")
    )
    add_judge_options(
        add("judge", "judge counts from a CSV with the operator's own test", "judge looks.csv --vs-old '> 1.5x'")
    )
    _add_replay_options(
        add(
            "replay",
            "show what would have been decided, evaluation by evaluation",
            "replay checkout-v2 -n shop --trust-source",
        )
    )
    for verb, words in VERBS.items():
        sentence = f"{verb.capitalize()}: {words}."
        example = f"{verb.value} checkout-v2 -n shop --reason '{REASONS[verb]}'"
        _add_command_options(add(verb.value, words, example, sentence), verb)
    _add_undo_options(
        add(
            "undo",
            "print the kubectl command that restores the old weights without the operator",
            "undo checkout-v2 -n shop",
        )
    )
    _add_uninstall_options(add("uninstall", "check what an uninstall of the operator would leave", "uninstall --check"))
    _add_operator_options(
        add("operator", "run the operator (KUBECONFIG, else in-cluster)", "operator --namespace shop --log-level debug")
    )
    definitions = add("crds", "write the custom resource definitions", "crds deploy/crds")
    definitions.add_argument("directory", nargs="?", type=Path, help="where to write them (default: standard output)")
    definitions.set_defaults(run=_crds)
    _add_page_command(
        add("reference", "write the field reference of all kinds, in Markdown", "reference docs/reference.md"),
        _reference,
    )
    _add_page_command(add("states", "write all states and decisions, in Markdown", "states docs/states.md"), _states)
    chart = "deploy/helm/rolloutplan/routers.yaml"
    _add_page_command(
        add("rights", "write the rights on each kind of route, for the chart", f"rights {chart}"), _rights
    )
    _add_page_command(
        add("routers", "write what is known of each kind of route, in Markdown", "routers docs/routers.md"), _routers
    )
    return parser


def _add_undo_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print the kubectl command that restores the weights from before the run, built from the plan's status;"
        " annotations are not read for it. Exit 0, 1 if the plan cannot be read, 3 if there is nothing to undo."
    )
    parser.add_argument("plan", metavar="PLAN", type=_text_type(DNS_NAME), help="the plan's name")
    parser.add_argument(
        "-n", "--namespace", type=_text_type(DNS_LABEL), help="its namespace (default: the kubeconfig's)"
    )
    parser.set_defaults(run=_undo)


def _add_uninstall_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the plans that still need the operator, with the commands that end them; nothing is changed. Exit 0 where"
        " there are none, 1 where there are some or the cluster cannot be asked."
    )
    parser.add_argument("--check", action="store_true", required=True, help="list, and change nothing")
    parser.add_argument("-n", "--namespace", type=_text_type(DNS_LABEL), help="only this namespace (default: all)")
    parser.set_defaults(run=_uninstall)


def _add_page_command(parser: argparse.ArgumentParser, page: Callable[[], str]) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="where to write it (default: standard output)")
    parser.set_defaults(run=_page, page=page)


def _add_operator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--namespace", action="append", default=[], help="serve this namespace only; may be repeated")
    parser.add_argument(
        "--health-port",
        type=int,
        default=8080,
        metavar="PORT",
        help="serve /livez, /readyz and /leading here (default: 8080)",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=8081,
        metavar="PORT",
        help="serve /metrics here (default: 8081; 0: nowhere)",
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument(
        "--identity",
        default=os.environ.get("POD_ID") or socket.gethostname(),
        metavar="NAME",
        help="this replica's unique name in the Lease (default: POD_ID, else the host's name)",
    )
    parser.add_argument(
        "--lease-namespace", metavar="NAMESPACE", help="where the Lease is (default: the pod's namespace, else default)"
    )
    parser.add_argument("--lease-name", default="rolloutplan", metavar="NAME", help="default: rolloutplan")
    parser.add_argument(
        "--authenticated-commands",
        action="store_true",
        help="the chart's admission policy checks who sends a command (admission.approvers)",
    )
    add_grant_options(parser)
    parser.add_argument(
        "--max-source-timeout",
        type=_source_timeout,
        default=USUAL.timeout,
        metavar="TIME",
        help=f"MetricSources with a longer timeout have this one (default: {format_duration(USUAL.timeout)})",
    )
    parser.add_argument(
        "--max-source-concurrency",
        type=_source_concurrency,
        default=USUAL.max_concurrency,
        metavar="NUMBER",
        help=f"MetricSources with a larger maxConcurrency have this one (default: {USUAL.max_concurrency})",
    )
    parser.add_argument(
        "--source-hosts",
        action="append",
        default=[],
        metavar="HOST,...",
        help="hosts that MetricSources of a namespace may point to, as prometheus.monitoring:9090 or *.monitoring.svc;"
        " may be repeated (default: none)",
    )
    parser.add_argument(
        "--credentials-dir",
        type=Path,
        metavar="DIRECTORY",
        help="where the credential files of ClusterMetricSources are (default: /etc/rolloutplan/credentials)",
    )
    parser.set_defaults(run=_operator)


def _add_lint_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check plans, templates, metric sources and policies as the operator does, and their PromQL: exit 0 without"
        " errors, 1 with errors, 2 if a file cannot be read."
    )
    _add_file_options(
        parser,
        outputs=("text", "json", "github"),
        traffic_help="report stages that cannot be decided by their deadline",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 for warnings too")
    parser.set_defaults(run=_lint)


def _add_simulate_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show when each stage of a plan begins and ends, at the earliest and at the latest, how long a fault can last"
        " at it, and how many queries it sends: exit 0, 1 if a plan is invalid, 2 if a file cannot be read."
    )
    _add_file_options(
        parser,
        outputs=("text", "json"),
        traffic_help="forecast how long predicates on counts take, and what has its minSamples",
    )
    parser.add_argument(
        "--fault",
        type=_fault,
        default=USUAL_FAULT,
        metavar="SIZE",
        help="how large a fault is: 10%% (so many requests of the new side go wrong or are slow), 2x (so many times"
        f" the usual share of bad requests, or the usual latency) or all (default: {USUAL_FAULT}%)",
    )
    parser.set_defaults(run=_simulate)


def _add_file_options(parser: argparse.ArgumentParser, *, outputs: Sequence[str], traffic_help: str) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON, or a folder of it; - is standard input")
    parser.add_argument("-o", "--output", default="text", choices=outputs)
    parser.add_argument(
        "--scrape-interval",
        type=_duration,
        default="15s",
        metavar="TIME",
        help="the scrape interval of metric sources that are not in the files (default: 15s)",
    )
    parser.add_argument(
        "--traffic",
        type=_rate,
        metavar="RATE",
        help=f"requests of both sides together, such as 12/s, 700/m or 500/h: {traffic_help}",
    )
    parser.add_argument(
        "--bad",
        type=_ratio,
        default="0.1%",
        metavar="SHARE",
        help="the usual share of bad requests, for --traffic (0.1%%)",
    )


def _add_replay_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Replay the decisions, evaluation by evaluation, of a plan's newest run, a plan in a file, or a recorded run."
        " Exit 0 if it is replayed, 1 if it cannot be replayed, 2 if the input cannot be read."
    )
    parser.add_argument("plan", nargs="?", metavar="PLAN", type=_text_type(DNS_NAME), help="a plan in the cluster")
    parser.add_argument(
        "-n", "--namespace", type=_text_type(DNS_LABEL), help="its namespace (default: the kubeconfig's)"
    )
    parser.add_argument("--file", type=Path, help="a plan in YAML; each stage begins when the one before is proved")
    parser.add_argument("--start", type=_instant, metavar="TIME", help="when the first weight of --file takes effect")
    parser.add_argument(
        "--end", type=_instant, metavar="TIME", help="when the evaluations of --file end (default: now)"
    )
    parser.add_argument(
        "--prometheus", metavar="URL", help="the Prometheus to query (default: that of the plan's metric source)"
    )
    parser.add_argument(
        "--trust-source",
        action="store_true",
        help="send the queries from this machine to the URL of the plan's metric source (or to --prometheus), with the"
        " headers and parameters that are written there",
    )
    parser.add_argument(
        "--scrape-interval", default="15s", metavar="TIME", help="the scrape interval, for --file (default: 15s)"
    )
    parser.add_argument("--looks", type=Path, metavar="FILE", help="replay a record, without a cluster or a Prometheus")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all queries and answers, as JSON Lines")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the evidence: FILE.svg or FILE.png")
    parser.set_defaults(run=_replay)


def _add_command_options(parser: argparse.ArgumentParser, verb: Verb) -> None:
    parser.add_argument("plan", metavar="PLAN", type=_text_type(DNS_NAME), help="the plan's name")
    parser.add_argument(
        "-n", "--namespace", type=_text_type(DNS_LABEL), help="its namespace (default: the kubeconfig's)"
    )
    parser.add_argument(
        "--reason", default="", metavar="WORDS", help="the reason, which the decision and its Event show"
    )
    if verb is Verb.APPROVE:
        help_ = "the stage (or: contract) to approve, also before its turn (default: the one that waits)"
        parser.add_argument("--stage", metavar="STAGE", type=_text_type(DNS_LABEL), help=help_)
        help_ = "approve exactly what was seen: the hash that the plan's message shows"
        parser.add_argument("--seal", metavar="HASH", default="", help=help_)
    parser.add_argument("--token", metavar="T", help="a command is carried out once per token (default: a new one)")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long to wait for the operator's answer (default: 5; 0: do not wait)",
    )
    parser.set_defaults(run=_send_command, verb=verb)


def _text_type(spelling: TextFormat) -> Callable[[str], str]:
    def read(text: str) -> str:
        try:
            return spelling.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _seconds(text: str) -> float:
    seconds = float(text) if _DECIMAL.fullmatch(text) else -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time: write seconds, such as 5 or 0.5')
    return seconds


def _rate(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _ratio(text: str) -> float:
    number = text.removesuffix("%")
    if (number == text and "." in text) or not _DECIMAL.fullmatch(number) or not 0 < float(number) < 100:
        meant = (suggestions.percentage(text) if "%" not in text else "") or "one such as 0.2%"
        raise argparse.ArgumentTypeError(f'"{text}" is not a percentage of the requests: write {meant}')
    return float(number) / 100


def _fault(text: str) -> Fault:
    try:
        return read_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _source_timeout(text: str) -> timedelta:
    found = _duration(text)
    if not timedelta(milliseconds=100) <= found <= timedelta(minutes=2):
        raise argparse.ArgumentTypeError(f'"{text}" is not a ceiling for timeout: write 100ms to 2m')
    return found


def _source_concurrency(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]?", text) or int(text) > 64:
        raise argparse.ArgumentTypeError(f'"{text}" is not a ceiling for maxConcurrency: write 1 to 64')
    return int(text)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text) if "T" in text.upper() else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time: write it as in RFC 3339, 2026-03-01T09:00:00Z')
    return at


def _send_command(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.command import send_command  # noqa: PLC0415 - takes half a second, which --help and `crds` do not need

    token = secrets.token_hex(4) if chosen.token is None else chosen.token
    try:
        target = (chosen.stage or "", chosen.seal) if chosen.verb is Verb.APPROVE else ()
        command = Command(chosen.verb, token, chosen.reason, *target)
    except CommandError as error:
        return fail(str(error), 2)
    return send_command(command, chosen.plan, chosen.namespace, chosen.wait)


def _lint(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.lint import lint  # noqa: PLC0415 - see above

    return lint(chosen.files, chosen.output, chosen.scrape_interval, strict=chosen.strict, traffic=_traffic_of(chosen))


def _simulate(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.simulate import Given, simulate  # noqa: PLC0415 - see above

    given = Given(chosen.scrape_interval, chosen.fault, chosen.bad, chosen.traffic)
    return simulate(chosen.files, chosen.output, given)


def _traffic_of(chosen: argparse.Namespace) -> Traffic | None:
    return Traffic(chosen.traffic, 0.0, chosen.bad) if chosen.traffic is not None else None


def _replay(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.replay import Options, replay  # noqa: PLC0415 - see above

    options = Options(
        plan=chosen.plan,
        namespace=chosen.namespace,
        file=chosen.file,
        looks=chosen.looks,
        prometheus=chosen.prometheus,
        trust_source=chosen.trust_source,
        start=chosen.start,
        end=chosen.end,
        scrape=chosen.scrape_interval,
        record=chosen.record,
        plot=chosen.plot,
    )
    return replay(options)


def _operator(chosen: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - see above

    from rolloutplan.cluster.client import ApiError, own_namespace  # noqa: PLC0415 - `crds` needs no cluster
    from rolloutplan.loop.main import run  # noqa: PLC0415
    from rolloutplan.loop.options import Options  # noqa: PLC0415
    from rolloutplan.metrics.access import CREDENTIALS, SourceHosts  # noqa: PLC0415
    from rolloutplan.telemetry.logs import set_up  # noqa: PLC0415

    try:
        hosts = SourceHosts.read(host for given in chosen.source_hosts for host in given.split(",") if host)
    except ValueError as error:
        return fail(f"--source-hosts: {error}", 2)
    set_up(chosen.log_level)
    options = Options(
        namespaces=tuple(chosen.namespace),
        health_port=chosen.health_port,
        metrics_port=chosen.metrics_port,
        identity=chosen.identity,
        lease_namespace=chosen.lease_namespace or own_namespace(),
        lease_name=chosen.lease_name,
        authenticated_commands=chosen.authenticated_commands,
        grants=grants(chosen),
        unserved=unserved(chosen),
        source_ceilings=Ceilings(chosen.max_source_timeout, chosen.max_source_concurrency),
        source_hosts=hosts,
        credentials=chosen.credentials_dir or CREDENTIALS,
    )
    try:
        asyncio.run(run(options))
    except ApiError as error:
        return fail(error.message or str(error), 1)
    return 0


def _undo(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.undo import undo  # noqa: PLC0415 - see above

    return undo(chosen.plan, chosen.namespace)


def _uninstall(chosen: argparse.Namespace) -> int:
    from rolloutplan.cli.uninstall import check  # noqa: PLC0415 - see above

    return check(chosen.namespace)


def _reference() -> str:
    from rolloutplan.generate.reference import reference  # noqa: PLC0415 - see above

    return reference()


def _states() -> str:
    from rolloutplan.generate.states import states  # noqa: PLC0415 - see above

    return states()


def _rights() -> str:
    from rolloutplan.generate.rights import rights  # noqa: PLC0415 - see above

    return rights()


def _routers() -> str:
    from rolloutplan.generate.routers import routers  # noqa: PLC0415 - see above

    return routers()


def _crds(chosen: argparse.Namespace) -> int:
    from rolloutplan.generate.crd import crds, render  # noqa: PLC0415 - see above

    for name, definition in crds().items():
        if chosen.directory is None:
            sys.stdout.write(f"---\n{render(definition)}")
        else:
            chosen.directory.mkdir(parents=True, exist_ok=True)
            (chosen.directory / name).write_text(render(definition))
    return 0


def _page(chosen: argparse.Namespace) -> int:
    if chosen.file is None:
        sys.stdout.write(chosen.page())
    else:
        chosen.file.parent.mkdir(parents=True, exist_ok=True)
        chosen.file.write_text(chosen.page())
    return 0
