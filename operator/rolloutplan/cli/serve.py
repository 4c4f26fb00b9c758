"""Run the operator: reads its options, and starts the loop with them."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

from rolloutplan.api.quantities import format_duration, parse_duration
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.cli.options import reads
from rolloutplan.cli.output import fail
from rolloutplan.cli.versions import crds_lack
from rolloutplan.cluster.client import Api, ApiError, own_namespace
from rolloutplan.cluster.serving import NAME
from rolloutplan.engine.model.grants import Grants
from rolloutplan.loop.definitions import Difference
from rolloutplan.loop.main import run
from rolloutplan.loop.options import Options
from rolloutplan.loop.record_pruning import Retention
from rolloutplan.metrics.access import CREDENTIALS, SourceHosts
from rolloutplan.metrics.ceilings import USUAL, Ceilings
from rolloutplan.telemetry.logs import set_up
from rolloutplan.telemetry.spans import can_be_sent, receiver

SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
"""The cluster's own: whoever may write plans there would get a part in the cluster itself."""
_NONE: Final = Grants()
_RECORDS: Final = Retention()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f'"{text[:40]}" is not a number: write a whole one, such as 4')
    return int(text)


def _records_kept(text: str) -> int:
    if not 1 <= (found := _count(text)) <= 1000:
        raise ValueError(f'"{text}" is not a number of records: write 1 to 1000')
    return found


def _source_timeout(text: str) -> timedelta:
    found = parse_duration(text)
    if not timedelta(milliseconds=100) <= found <= timedelta(minutes=2):
        raise ValueError(f'"{text}" is not a ceiling for timeout: write 100ms to 2m')
    return found


def _source_concurrency(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]?", text) or int(text) > 64:
        raise ValueError(f'"{text}" is not a ceiling for maxConcurrency: write 1 to 64')
    return int(text)


def _most(words: str) -> Any:
    return typer.Option(metavar="N", parser=reads(_count), help=f"at most so many {words}")


def _namespace(words: str, *, or_empty: bool = False) -> Any:
    """An option that names a namespace: one that cannot exist would be served without a word."""
    parser = reads(lambda text: text if or_empty and not text else DNS_LABEL.read(text))
    return typer.Option(metavar="NAMESPACE", parser=parser, help=words)


Names: TypeAlias = list[str] | None


def serve(
    namespace: Annotated[Names, _namespace("serve this namespace only; may be repeated")] = None,
    health_port: Annotated[
        int, typer.Option(metavar="PORT", help="serve /livez, /readyz and /leading here (default: 8080)")
    ] = 8080,
    metrics_port: Annotated[
        int, typer.Option(metavar="PORT", help="serve /metrics here (default: 8081; 0: nowhere)")
    ] = 8081,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="default: info")] = "info",
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="this replica's unique name in the Lease (default: POD_ID, else the host's name)"
        ),
    ] = None,
    lease_namespace: Annotated[
        str | None, _namespace("where the Lease is (default: the pod's namespace, else default)")
    ] = None,
    lease_name: Annotated[
        str, typer.Option(metavar="NAME", parser=reads(DNS_NAME.read), help="default: rolloutplan")
    ] = "rolloutplan",
    cluster_lease_namespace: Annotated[
        str,
        _namespace(
            f"the namespace of the Lease {NAME}, by which one installation serves all namespaces (default:"
            " kube-system; empty: another one is not looked for); ignored with --namespace",
            or_empty=True,
        ),
    ] = "kube-system",
    authenticated_commands: Annotated[
        bool,
        typer.Option(
            "--authenticated-commands",
            help="the chart's admission policy checks who sends a command (admission.approvers)",
        ),
    ] = False,
    jobs: Annotated[bool, typer.Option("--jobs", help="plans may run Jobs (default: they may not)")] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="plans may scale their Deployments (default: they may not)")
    ] = False,
    owned_routes: Annotated[
        bool,
        typer.Option("--owned-routes", help="plans may have routes of the operator's own made (default: they may not)"),
    ] = False,
    max_parallelism: Annotated[
        int, _most(f"pods of a Job at a time ({_NONE.max_parallelism})")
    ] = _NONE.max_parallelism,
    max_completions: Annotated[
        int, _most(f"pods of a Job that must succeed ({_NONE.max_completions})")
    ] = _NONE.max_completions,
    max_backoff_limit: Annotated[
        int, _most(f"tries of a Job after the first ({_NONE.max_backoff_limit})")
    ] = _NONE.max_backoff_limit,
    max_replicas: Annotated[int, _most(f"replicas that a plan may set ({_NONE.max_replicas})")] = _NONE.max_replicas,
    job_metadata: Annotated[
        Names,
        typer.Option(
            metavar="NAME",
            help="a label or annotation that Jobs and their pods may have, or a prefix as example.com/*;"
            " may be repeated",
        ),
    ] = None,
    own_account: Annotated[
        str, typer.Option(metavar="NAMESPACE/NAME", help="the operator's ServiceAccount, under which no Job runs")
    ] = "",
    exclude_namespace: Annotated[
        Names,
        _namespace(
            "serve all namespaces but this one and the cluster's own; may be repeated; ignored with --namespace"
        ),
    ] = None,
    max_source_timeout: Annotated[
        timedelta,
        typer.Option(
            metavar="TIME",
            parser=reads(_source_timeout),
            help=f"MetricSources with a longer timeout have this one (default: {format_duration(USUAL.timeout)})",
        ),
    ] = USUAL.timeout,
    max_source_concurrency: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            parser=reads(_source_concurrency),
            help=f"MetricSources with a larger maxConcurrency have this one (default: {USUAL.max_concurrency})",
        ),
    ] = USUAL.max_concurrency,
    source_hosts: Annotated[
        Names,
        typer.Option(
            metavar="HOST,...",
            help="hosts that MetricSources of a namespace may point to, as prometheus.monitoring:9090 or"
            " *.monitoring.svc; may be repeated (default: none)",
        ),
    ] = None,
    notifier_hosts: Annotated[
        Names,
        typer.Option(
            metavar="HOST,...",
            help="hosts that Notifiers of a namespace may point to, as hooks.slack.com or *.shop.svc;"
            " may be repeated (default: none)",
        ),
    ] = None,
    records_kept: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=reads(_records_kept),
            help=f"RolloutRecords that are kept of each plan, unless it says recordsKept (default: {_RECORDS.kept})",
        ),
    ] = _RECORDS.kept,
    records_max_age: Annotated[
        timedelta,
        typer.Option(
            metavar="TIME",
            parser=reads(parse_duration),
            help=f"RolloutRecords that are older are deleted (default: {_RECORDS.age.days}d)",
        ),
    ] = _RECORDS.age,
    credentials_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIRECTORY",
            help=f"where the credential files of metric sources and notifiers are (default: {CREDENTIALS})",
        ),
    ] = CREDENTIALS,
    traces: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            parser=reads(receiver),
            help="send each run as a trace to this OTLP/HTTP receiver, as http://collector.monitoring:4318"
            " (default: nowhere)",
        ),
    ] = None,
) -> int:
    """Without --jobs, --scaling and --owned-routes, plans may move weights and nothing else."""
    hosts: dict[str, SourceHosts] = {}
    for option, given in (("--source-hosts", source_hosts), ("--notifier-hosts", notifier_hosts)):
        try:
            hosts[option] = SourceHosts.read(host for each in given or () for host in each.split(",") if host)
        except ValueError as error:
            return fail(f"{option}: {error}", 2)
    if traces and not can_be_sent():
        return fail("--traces: OpenTelemetry is not installed: pip install 'rolloutplan[traces]'", 2)
    set_up(log_level)
    options = Options(
        namespaces=tuple(namespace or ()),
        health_port=health_port,
        metrics_port=metrics_port,
        identity=identity or os.environ.get("POD_ID") or socket.gethostname(),
        lease_namespace=lease_namespace or own_namespace(),
        lease_name=lease_name,
        authenticated_commands=authenticated_commands,
        grants=Grants(
            jobs=jobs,
            scaling=scaling,
            owned_routes=owned_routes,
            max_parallelism=max_parallelism,
            max_completions=max_completions,
            max_backoff_limit=max_backoff_limit,
            max_replicas=max_replicas,
            job_metadata=tuple(job_metadata or ()),
            own_account=own_account,
        ),
        unserved=frozenset() if namespace else frozenset({*SYSTEM_NAMESPACES, *(exclude_namespace or ())}),
        source_ceilings=Ceilings(max_source_timeout, max_source_concurrency),
        source_hosts=hosts["--source-hosts"],
        notifier_hosts=hosts["--notifier-hosts"],
        records=Retention(records_kept, records_max_age),
        credentials=credentials_dir,
        traces=traces or "",
        cluster_lease="" if namespace else cluster_lease_namespace,
    )
    try:
        asyncio.run(run(options, compared))
    except ApiError as error:
        return fail(error.message or str(error), 1)
    return 0


async def compared() -> Difference:
    """How the CRDs of the cluster differ from those of this program. Raises ApiError where it does not tell."""
    api = await Api.connect(whole=True)
    try:
        return Difference(*await crds_lack(api))
    finally:
        await api.close()
