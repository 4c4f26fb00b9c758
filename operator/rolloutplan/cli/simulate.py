"""Show the timeline of the plans in files: how long they take, how many queries they send, how long a fault lasts.

Plans come from cli/plan_files.py, timelines from tools/timeline.py; the result is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

import typer

from rolloutplan.api.printable import printable
from rolloutplan.api.quantities import format_duration
from rolloutplan.api.spec import PlanSpec
from rolloutplan.cli.files import ParsedObject, templates_in
from rolloutplan.cli.objects import swapped
from rolloutplan.cli.options import USUAL_BAD, USUAL_SCRAPE, Bad, Files, ScrapeInterval, reads, traffic_option
from rolloutplan.cli.plan_files import PlanInFile, read_plans
from rolloutplan.cli.screen import show_objects
from rolloutplan.cli.table import table
from rolloutplan.engine.analysis.in_force import unguarded
from rolloutplan.engine.analysis.measurements import asks_both_sides
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.detection import NEVER, Assumed, DetectionTime
from rolloutplan.tools.fault import USUAL_FAULT, Fault, read_fault
from rolloutplan.tools.timeline import Moment, Range, Segment, Timeline, timeline

WIDTH: Final = 60
"""The width of the chart in columns."""
_COLUMNS: Final = ("stage", "weight", "begins", "ends", "ended by", "fault at start", "fault later", "queries/min")
_FIELDS: Final[Mapping[str, Moment]] = {"atOnce": "at_once", "later": "later"}
_MOMENTS: Final[Sequence[Moment]] = ("at_once", "later")
_FAULT: Final = read_fault(USUAL_FAULT)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says: the size of a fault, the usual share of bad requests, and the traffic.

    `traffic` are the requests per second of both sides, None where not known.
    """

    fault: Fault
    bad: float
    traffic: float | None = None

    def assumed(self, plan: PlanInFile) -> Assumed:
        traffic = None if self.traffic is None else Traffic(self.traffic, 0.0, self.bad)
        return Assumed(plan.source, self.fault, self.bad, traffic)


@dataclass(frozen=True, slots=True)
class _Simulated:
    plan: PlanInFile
    assumed: Assumed
    timeline: Timeline
    swapped: str
    """That the new side has all of the traffic already in the route among the files; empty where it has not."""

    @property
    def found(self) -> ParsedObject:
        return self.plan.found

    @property
    def spec(self) -> PlanSpec:
        return self.plan.spec

    @property
    def source_problem(self) -> str:
        """That the plan's metric source is not in the files, and what is assumed; empty where it is."""
        if not self.plan.no_source:
            return ""
        return (
            f"{self.plan.no_source}, so its scrape interval is taken for {format_duration(self.assumed.source.scrape)} "
            f"(--scrape-interval) and its timeout for {format_duration(self.assumed.source.timeout)}: add its file"
        )


def simulate(
    files: Files,
    output: Annotated[Literal["text", "json", "yaml"], typer.Option("-o", "--output")] = "text",
    scrape_interval: ScrapeInterval = USUAL_SCRAPE,
    traffic: Annotated[
        float | None, traffic_option("forecast how long predicates on counts take, and what has its minSamples")
    ] = None,
    bad: Bad = USUAL_BAD,
    fault: Annotated[
        Fault,
        typer.Option(
            metavar="SIZE",
            parser=reads(read_fault),
            help="how large a fault is: 10% (so many requests of the new side go wrong or are slow), 2x (so many times"
            f" the usual share of bad requests, or the usual latency) or all (default: {USUAL_FAULT})",
        ),
    ] = _FAULT,
) -> int:
    """It says when each stage begins and ends, how long a fault can last at it, and how many queries it sends.

    A plan that names a template has a timeline only where the template is in the files. Exit 0, 1 if a plan is
    invalid, 2 if a file cannot be read.
    """
    given = Given(fault, bad, traffic)
    read = read_plans(files, scrape_interval)
    ended = swapped(read.objects, templates_in(read.objects))
    plans = []
    for plan in read.plans:
        assumed = given.assumed(plan)
        plans.append(_Simulated(plan, assumed, timeline(plan.spec, assumed), ended.get(id(plan.found), "")))
    read.complain()
    if output != "text":
        show_objects([_as_json(plan) for plan in plans], output)
    else:
        print(printable("\n\n".join("\n".join(_as_text(plan)) for plan in plans)), end="\n" if plans else "")
    return read.code()


# ---- text output ---------------------------------------------------------------------------------


def _as_text(plan: _Simulated) -> Iterator[str]:
    spec, line = plan.spec, plan.timeline
    yield (
        f"{plan.found.subject}: {spec.titles.old} -> {spec.titles.new}, "
        f"{_range_words(line.ends, open_=bool(line.approvals))} from its start"
    )
    yield ""
    yield from table([_COLUMNS, *_rows(line)])
    yield ""
    yield from _chart(line)
    yield ""
    yield from _notes(plan)


def _rows(line: Timeline) -> Iterator[Sequence[str]]:
    waited = False
    yield "ready", "", "0s", _range_words(line.ready), "pods", "", "", ""
    for segment in line.parts:
        waited = waited or segment.approval
        yield (
            segment.name,
            segment.judges,
            _range_words(segment.begins, open_=waited),
            _range_words(segment.ends, open_=waited) + (" !" if segment.late else ""),
            " ".join(part for part in segment.ended_by if part),
            *(("", "", "") if segment is line.contract else (*_faults(segment), f"{segment.queries:.3g}")),
        )


def _range_words(span: Range, *, open_: bool = False) -> str:
    """Format the earliest and the latest time; with + where the run waits for a person first."""
    first, last = (_time(at) for at in span)
    return (first if first == last else f"{first} - {last}") + ("+" if open_ else "")


def _time(span: timedelta) -> str:
    return format_duration(round(span / _SECOND) * _SECOND) if span >= timedelta(minutes=2) else format_duration(span)


def _faults(segment: Segment) -> tuple[str, str]:
    return _detected(segment, "at_once") + (" *" if segment.outpaced else ""), _detected(segment, "later")


def _detected(segment: Segment, moment: Moment) -> str:
    """Return how long a fault lasts, with the predicate that finds it first; - where none is there to find it."""
    fastest = segment.fastest(moment)
    if fastest is None:
        return "-"
    time: timedelta | None = getattr(fastest, moment)
    if time is NEVER:
        return "never"
    return f"{'?' if time is None else _time(time)}{'' if fastest.certain else '~'} {fastest.predicate}"


def _chart(line: Timeline) -> Iterator[str]:
    """Draw a bar for each segment: solid from its earliest begin to its earliest end, dots to its latest end."""
    total = max(line.ends.latest, _SECOND)
    margin = max(len(segment.name) for segment in line.parts)
    yield f"{'':{margin}}  0s{_time(total):>{WIDTH - 2}}"
    for segment in line.parts:
        begins, ends, last = (
            round(at / total * WIDTH) for at in (segment.begins.earliest, segment.ends.earliest, segment.ends.latest)
        )
        bar = " " * begins + "█" * max(ends - begins, 1)
        yield f"{segment.name:{margin}}  {bar + '·' * (last - len(bar))}{' approval' if segment.approval else ''}"


def _notes(plan: _Simulated) -> Iterator[str]:
    spec, segments, approvals = plan.spec, plan.timeline.segments, plan.timeline.approvals
    yield from _notes_on_faults(plan)
    if spec.on_fail == "Hold":
        yield "onFail is Hold: a failure of the new side holds the run, and the weights stay"
    failure_predicates = (*spec.guards, *(predicate for stage in spec.stages for predicate in stage.fail))
    if any(asks_both_sides(spec, predicate, segments[0].permille) for predicate in failure_predicates):
        rule = spec.on_incident
        then = f", and rolls back after {format_duration(rule.after)}" if rule.then == "Rollback" else ""
        yield f"onIncident: a value that is as bad on both sides holds the run{then}"
    yield (
        "ended by: what takes longest where all goes well; at the latest the deadline ends a stage, and "
        f"onUndecided is {spec.on_undecided}"
    )
    if approvals:
        yield f"+: plus the time until a person approves {', '.join(approvals)}"
    if any(segment.conditional for segment in segments):
        yield "half way: runs only if the stage before it had a warning; the latest times include it"
    if plan.timeline.contract is not None:
        yield "contract: no predicate is evaluated; a failure holds the run until a person decides"
    for segment in segments:
        if segment.late:
            yield (
                f"!: {segment.name} is not decided by its deadline, for {', '.join(segment.late)}; "
                f"onUndecided is {spec.on_undecided}"
            )
    yield from filter(None, (plan.source_problem, plan.swapped))
    if words := unguarded(spec):
        yield f"warning: {words}"


def _notes_on_faults(plan: _Simulated) -> Iterator[str]:
    """Say how large a fault is, and explain every mark in the two columns about it."""
    spec, segments, assumed = plan.spec, plan.timeline.segments, plan.assumed
    yield f"fault (--fault): {_size_words(assumed)}"
    yield (
        "fault at start, fault later: the longest time from the fault until the old weights are back, and the predicate"
        " that is first to find it, if it measures such faults"
    )
    yield "-o json has the time of each predicate; crashed or unready pods are found within a second"
    cells = [(segment.fastest(moment), moment) for segment in segments for moment in _MOMENTS]
    times = [None if found is None else getattr(found, moment) for found, moment in cells]
    if outpaced := [segment.name for segment in segments if segment.outpaced]:
        yield f"*: {', '.join(outpaced)} can end before that, and the run goes on"
    if any(found is not None and not found.certain and found.later is not NEVER for found, _ in cells):
        yield "~: nothing says whether a fault of this size shows in what its query measures; the time is right if so"
    if any(predicate.alert is not None for _, predicate in spec.predicates()):
        yield "alert: the time starts when the alert fires"
    if any(found is None for found, _ in cells):
        yield "-: no guard or fail predicate is evaluated: a fault is found at the deadline, in the bake not at all"
    if any(found is not None and time is None for (found, _), time in zip(cells, times, strict=True)):
        yield "?: the time depends on the traffic, for counts and for minSamples: give --traffic"
    if any(time is NEVER for time in times):
        yield (
            "never: no predicate finds it: it is within every bound, the traffic is too low (minSamples, counts), or "
            "vsOld has no old side to compare with (100%)"
        )


def _size_words(assumed: Assumed) -> str:
    fault, usual = assumed.fault, f"{100 * assumed.bad:.4g}%"
    if fault.times is not None:
        bad = f"{100 * fault.bad_share(assumed.bad):.4g}%"
        return (
            f"{fault.text}: {bad} of the new side's requests go wrong instead of {usual} (--bad), or all take "
            f"{fault.text} as long"
        )
    share = "all requests" if fault.share == 1 else f"{fault.text} of the requests"
    return f"{share} of the new side fail, or are slow; {usual} is usual (--bad)"


# ---- JSON output ---------------------------------------------------------------------------------


def _as_json(plan: _Simulated) -> Mapping[str, Any]:
    """Return a timeline as JSON data. Times are seconds since the start of the run."""
    line = plan.timeline
    return {
        "file": plan.found.file,
        "object": plan.found.subject,
        "fault": plan.assumed.fault.text,
        "usualBad": plan.assumed.bad,
        "traffic": None if plan.assumed.traffic is None else plan.assumed.traffic.new,
        "warnings": [words for words in (plan.source_problem, unguarded(plan.spec)) if words],
        "ready": _seconds(line.ready),
        "stages": [_segment(segment) for segment in line.stages],
        "bake": _segment(line.bake),
        "completion": None if line.completion is None else _segment(line.completion),
        "contract": None if line.contract is None else _segment(line.contract),
        "ends": _seconds(line.ends),
        "approvals": list(line.approvals),
    }


def _segment(segment: Segment) -> Mapping[str, Any]:
    return {
        "name": segment.name,
        "weight": segment.judges,
        "approval": segment.approval,
        "perhaps": segment.conditional,
        "begins": _seconds(segment.begins),
        "ends": _seconds(segment.ends),
        "undecided": list(segment.late),
        "endedBy": {"what": segment.ended_by.what, "predicate": segment.ended_by.predicate or None},
        "fastest": {name: _name(segment.fastest(moment)) for name, moment in _FIELDS.items()},
        "outpaced": segment.outpaced,
        "faults": [_detection(detection) for detection in segment.detections],
        "queriesPerMinute": round(segment.queries, 3),
    }


def _name(detection: DetectionTime | None) -> str | None:
    return None if detection is None or detection.later is NEVER else detection.predicate


def _detection(detection: DetectionTime) -> Mapping[str, Any]:
    return {
        "predicate": detection.predicate,
        "role": detection.role,
        "known": detection.later is not None,
        "certain": detection.certain,
        "never": detection.later is NEVER,
        **{name: _span(getattr(detection, moment)) for name, moment in _FIELDS.items()},
    }


def _seconds(span: Range) -> Mapping[str, float]:
    return {"earliest": span.earliest.total_seconds(), "latest": span.latest.total_seconds()}


def _span(span: timedelta | None) -> float | None:
    """Return seconds; None where the fault is never detected, or where that needs the traffic."""
    return None if span is None or span is NEVER else span.total_seconds()
