"""Show, evaluation by evaluation, what the operator would have decided.

The plan comes from the cluster or a file, and the answers from a Prometheus; or both come from a record. The replay
itself is in tools/replay.py. Evaluations, decisions and evidence are printed; a plot and a record are optional files.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.printable import printable
from rolloutplan.api.resolve import Template, TemplateLookup, resolve
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Decision, Status
from rolloutplan.api.template import read_template
from rolloutplan.cli import plot
from rolloutplan.cli.files import format_diagnostic, read_files
from rolloutplan.cli.options import Namespace, instant, plan_argument, reads
from rolloutplan.cli.output import fail
from rolloutplan.cli.session import session
from rolloutplan.cli.table import table
from rolloutplan.clock import now
from rolloutplan.cluster import paths, plans
from rolloutplan.cluster.client import Api, if_there
from rolloutplan.engine.model.plan_view import PlanView
from rolloutplan.engine.model.snapshot import source_view
from rolloutplan.engine.run.decision_log import name_words, verdict_word
from rolloutplan.metrics import evaluator
from rolloutplan.metrics.objects import SourceObject, choose_source, read_source, source_name
from rolloutplan.metrics.pool import connect
from rolloutplan.stats.verdict import Answer, Outcome, Why
from rolloutplan.tools import replay as engine
from rolloutplan.tools.replay import AnyQuestion, MetricAnswer, Replayed, ReplayError, ReplayInput, ReplayRow
from rolloutplan.tools.replay_record import RecordError, answer_line, header, read_record

DONE, FAILED, WRONG = 0, 1, 2

_KIND: Final = "RolloutPlan"
_COLUMNS: Final = ("instant", "stage", "predicate", "verdict", "value", "samples", "evidence")

Ask = Callable[[datetime, AnyQuestion], Awaitable[MetricAnswer]]


@dataclass(frozen=True, slots=True)
class Options:
    """The origin of the plan and the answers (a plan of the cluster, a file, or a record), and what to write."""

    plan: str | None = None
    namespace: str | None = None
    file: Path | None = None
    looks: Path | None = None
    prometheus: str | None = None
    trust_source: bool = False
    """Whether to send what a metric source says, to where it says: others wrote it."""
    start: datetime | None = None
    end: datetime | None = None
    scrape: str = "15s"
    record: Path | None = None
    plot: Path | None = None


class WrongError(Exception):
    """The usage is wrong, or an input cannot be read; the message contains the fix."""


class FailedError(Exception):
    """The usage is right, and the replay failed."""


def replay(
    plan: Annotated[str | None, plan_argument("a plan in the cluster")] = None,
    namespace: Namespace = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a plan in YAML; each stage begins when the one before is proved"),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=reads(instant), help="when the first weight of --file takes effect"),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", parser=reads(instant), help="when the evaluations of --file end (default: now)"),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(metavar="URL", help="the Prometheus to query (default: that of the plan's metric source)"),
    ] = None,
    trust_source: Annotated[
        bool,
        typer.Option(
            "--trust-source",
            help="send the queries from this machine to the URL of the plan's metric source (or to --prometheus), with"
            " the headers and parameters that are written there",
        ),
    ] = False,
    scrape_interval: Annotated[
        str, typer.Option(metavar="TIME", help="the scrape interval, for --file (default: 15s)")
    ] = "15s",
    looks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="replay a record, without a cluster or a Prometheus")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write all queries and answers, as JSON Lines")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="draw the evidence: FILE.svg or FILE.png")] = None,
) -> int:
    """It replays a plan's newest run, a plan in a file, or a recorded run.

    Exit 0 if it is replayed, 1 if it cannot be replayed, 2 if the input cannot be read.
    """
    return _report_on(
        Options(plan, namespace, file, looks, prometheus, trust_source, start, end, scrape_interval, record, plot)
    )


def _report_on(options: Options) -> int:
    try:
        _replay(options)
    except (WrongError, RecordError, SpecError) as error:
        return fail(str(error), WRONG)
    except (FailedError, ReplayError, plot.PlotError) as error:
        return fail(str(error), FAILED)
    except OSError as error:
        return fail(": ".join(str(part) for part in (error.filename, error.strerror) if part), FAILED)
    return DONE


def _replay(options: Options) -> None:
    _check(options)
    lines: list[str] = []
    replay_input, replayed = asyncio.run(_replayed(options, lines))
    if options.record:
        options.record.write_text("".join(f"{line}\n" for line in (header(replay_input), *lines)))
    curves = list(_curves(replayed.rows))
    print(printable("\n".join(_report(replay_input, replayed, curves))))
    if options.plot:
        _draw(options.plot, curves)
    if all(row.verdict.value is None for row in replayed.rows):
        span = f"between {_instant(replay_input.start)} and {_instant(replay_input.end)}"
        raise FailedError(f"no measurements {span}: check that the time and the metric source are those of the run")


def _check(options: Options) -> None:
    replay_input = [each for each in (options.plan, options.file, options.looks) if each is not None]
    if len(replay_input) != 1:
        raise WrongError("give one of PLAN, --file and --looks")
    if options.file and (options.start is None or options.prometheus is None):
        raise WrongError("--file needs --prometheus URL and --start TIME")
    if not options.file and (options.start or options.end):
        raise WrongError("--start and --end are only for --file: a plan in the cluster and a record have their own")
    if options.looks and options.prometheus:
        raise WrongError("--prometheus is not allowed with --looks: the record has the answers")
    if options.trust_source and not options.plan:
        raise WrongError("--trust-source is only for a plan in the cluster: nothing else names a metric source")
    if options.plot and options.plot.suffix.lower() not in (".svg", ".png"):
        raise WrongError(f"--plot {options.plot}: write a name that ends with .svg or .png")


async def _replayed(options: Options, lines: list[str]) -> tuple[ReplayInput, Replayed]:
    """Replay, and append each query with its answer to `lines`."""
    if options.looks:
        replay_input, record = read_record(_text(options.looks).splitlines())

        async def recorded(at: datetime, question: AnyQuestion) -> MetricAnswer:
            return record.answer(at, question)

        return replay_input, await _run_through(replay_input, recorded, lines)
    replay_input, spec = _of_file(options, options.file) if options.file else await _of_cluster(options)
    connection = connect(spec)
    source = connection.of(replay_input.namespace)

    async def ask(_: datetime, question: AnyQuestion) -> MetricAnswer:
        answer = await evaluator.ask(source, question)
        if isinstance(answer, Answer) and answer.gap is Why.SOURCE_DOWN:
            raise FailedError(f"{spec.address} does not answer: {answer.detail}")
        return answer

    try:
        return replay_input, await _run_through(replay_input, ask, lines)
    finally:
        connection.close()


async def _run_through(replay_input: ReplayInput, ask: Ask, lines: list[str]) -> Replayed:
    generator = engine.replay(replay_input)
    try:
        due = next(generator)
        while True:
            answers = await asyncio.gather(*(ask(due.now, question) for question in due.questions))
            lines += [answer_line(due.now, q, answer) for q, answer in zip(due.questions, answers, strict=True)]
            due = generator.send(answers)
    except StopIteration as end:
        replayed: Replayed = end.value
        return replayed


# ---- what is replayed ----------------------------------------------------------------------------


def _of_file(options: Options, file: Path) -> tuple[ReplayInput, MetricSourceSpec]:
    spec = read_metric_source(
        {"prometheus": {"url": options.prometheus}, "scrapeInterval": options.scrape}, cluster=False
    )
    raw, templates = _plan_in(file)
    found = resolve(read_plan_spec(raw.get("spec") or {}), templates)
    if found.problems:
        raise WrongError(f"{file}: {found.problems[0].path}: {found.problems[0].words}")
    plain = found.raw() if found.used else raw["spec"]
    meta: Mapping[str, Any] = raw.get("metadata") or {}
    start, end = options.start or now(), options.end or now()
    if end <= start:
        raise WrongError(f"the end, {_instant(end)}, is not after the start: give an --end after --start")
    namespace = options.namespace or str(meta.get("namespace") or "default")
    return ReplayInput(namespace, str(meta.get("name", "")), plain, source_view(spec), start, end), spec


def _plan_in(file: Path) -> tuple[Mapping[str, Any], TemplateLookup]:
    """Return the plan in a file, and a lookup of the templates in the same file."""
    parsed, unreadable = read_files([str(file)])
    if unreadable:
        raise WrongError(format_diagnostic(unreadable[0]))
    objects = [each.raw for each in parsed if isinstance(each.raw, dict)]
    found = [raw for raw in objects if raw.get("kind") == _KIND]
    if len(found) != 1:
        raise WrongError(f"{file}: has {len(found)} plans: give a file with one RolloutPlan")

    def look_up(name: str) -> Template:
        for kind in ("PredicateTemplate", "ClusterPredicateTemplate"):
            for raw in objects:
                if raw.get("kind") == kind and (raw.get("metadata") or {}).get("name") == name:
                    return Template(kind, name, read_template(raw.get("spec") or {}))
        return Template("", name, None, f"template {name} is not in this file: add it to the file")

    return found[0], look_up


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise WrongError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise WrongError(f"{file}: not valid text: {error.reason}") from None


async def _of_cluster(options: Options) -> tuple[ReplayInput, MetricSourceSpec]:
    name = options.plan or ""
    async with session(options.namespace) as cluster:
        plan = await cluster.plan(name)
        raw, status, view = plan.raw, plan.status, plans.view(plan.raw)
        spec = await _source(cluster.api, view, status)
    spec = source_to_ask(options, name, spec)
    return engine.of_run(view, raw["spec"], status, source_view(spec), now()), spec


def source_to_ask(options: Options, plan: str, spec: MetricSourceSpec) -> MetricSourceSpec:
    """The source to ask. Nothing that its owner wrote is sent from this machine unless that is wanted."""
    if options.trust_source:
        asked = spec.at(options.prometheus or spec.address)
    elif options.prometheus:
        asked = spec.at(options.prometheus).model_copy(update={"headers": {}, "params": {}})
    else:
        raise WrongError(
            f"the metric source of {plan} is at {spec.address}: give --trust-source to ask there from this machine,"
            " with the headers and parameters of the source, or --prometheus URL to ask another server"
        )
    sys.stderr.write(f"rolloutplan: asking {asked.address}\n")
    return asked


async def _source(api: Api, plan: PlanView, status: Status) -> MetricSourceSpec:
    """Return the metric source of a plan, found as the operator finds it."""
    own, shared = [await _read_source(api, kind, plan) for kind in (paths.SOURCES, paths.CLUSTER_SOURCES)]
    found = choose_source(plan, own, shared, status.source.kind if status.source else "")
    if found.spec is None:
        raise FailedError(found.problem)
    return found.spec


async def _read_source(api: Api, kind: paths.Kind, plan: PlanView) -> SourceObject | None:
    raw = await if_there(api.get(paths.path(kind, plan.namespace, source_name(plan))))
    return read_source(kind.resource, raw) if raw is not None else None


# ---- what is printed -----------------------------------------------------------------------------


def _report(replay_input: ReplayInput, replayed: Replayed, curves: Sequence[plot.Curve]) -> Iterator[str]:
    yield f"{replay_input.namespace}/{replay_input.name} run {replay_input.run}, from {_instant(replay_input.start)}"
    yield ""
    yield from table([_COLUMNS, *(_cells(row) for row in replayed.rows)])
    for decision in replayed.decisions:
        yield ""
        yield from _decision_lines(decision)
    yield ""
    yield replayed.ended
    for curve in curves:
        yield ""
        yield plot.terminal(curve)


def _cells(row: ReplayRow) -> tuple[str, ...]:
    verdict = row.verdict
    words = verdict_word(row.role, verdict.outcome) + (f" ({verdict.why})" if verdict.why else "")
    samples = "" if verdict.samples is None else f"{verdict.samples:.6g}"
    evidence = ""
    if row.evidence is not None:
        evidence = f"{row.evidence.refuting if verdict.outcome is Outcome.REFUTED else row.evidence.proving:.4g}"
    name = name_words(row.predicate, dry_run=row.dry_run)
    return _instant(row.at), row.stage, name, words, row.value, samples, evidence


def _decision_lines(decision: Decision) -> Iterator[str]:
    weights = f" {decision.weight_from} -> {decision.weight_to}" if decision.weight_to else ""
    yield f"{_instant(decision.at)}  {decision.kind} {decision.reason} {decision.stage}{weights}"
    yield f"  {decision.note}"
    for item in decision.evidence:
        words = [
            name_words(item.predicate, dry_run=bool(item.dry_run)),
            item.bound,
            item.verdict,
            item.value,
            item.samples and f"over {item.samples}",
        ]
        yield f"  {' '.join(word for word in words if word)}{f': {item.why}' if item.why else ''}"


def _curves(rows: Sequence[ReplayRow]) -> Iterator[plot.Curve]:
    """Yield the evidence for every predicate that counts events, and the evidence against every pass predicate."""
    for name in dict.fromkeys(row.predicate for row in rows):
        own = [row for row in rows if row.predicate == name and row.evidence is not None]
        for words, part in ((name, 0), (f"not {name}", 1)):
            points = [plot.Point(row.at, row.stage, row.evidence[part]) for row in own if row.evidence]
            if any(point.evidence for point in points):
                yield plot.Curve(words, own[0].proof, points)


def _draw(path: Path, curves: Sequence[plot.Curve]) -> None:
    if not curves:
        raise FailedError("no predicate has counted events, so there is no evidence to draw")
    plot.write(path, curves)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
