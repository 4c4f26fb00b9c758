"""Show the timeline of the plans in files: how long they take, how many queries they send, how long a fault can last.

Objects come from cli/files.py, timelines from tools/timeline.py; the result is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.printable import printable
from rolloutplan.api.quantities import format_duration, format_weight
from rolloutplan.api.spec import PlanSpec
from rolloutplan.cli.files import (
    CLEAN,
    FOUND,
    UNREADABLE,
    Diagnostic,
    ParsedObject,
    cannot_all_be_read,
    format_diagnostic,
    read_files,
    read_object,
    resolve_templates,
    source_of,
    sources_in,
    templates_in,
)
from rolloutplan.cli.table import table
from rolloutplan.engine.analysis.measurements import asks_both_sides
from rolloutplan.engine.model.snapshot import SourceView, source_view
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.promql import Finding
from rolloutplan.tools.timeline import NEVER, DetectionTime, Range, Segment, Timeline, timeline

WIDTH: Final = 60
"""The width of the chart in columns."""
_COLUMNS: Final = ("stage", "weight", "begins", "ends", "fault at start", "fault later", "queries/min")
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Simulated:
    found: ParsedObject
    spec: PlanSpec
    timeline: Timeline


def simulate(files: Sequence[str], output: str, scrape: timedelta, traffic: Traffic | None = None) -> int:
    """Print the timelines of all plans in files (`-` is standard input); return the exit code.

    `scrape` is the scrape interval of sources that are not in the files. A plan that names a template has a timeline
    only where the template is in the files. With `traffic`, the traffic of both sides together, it also forecasts how
    long predicates on counts take.
    """
    objects, unreadable = read_files(files)
    sources, templates = sources_in(objects), templates_in(objects)
    complaints, plans = list(unreadable), []
    for found in objects:
        spec, findings = read_object(found)
        complaints += [row for row in findings if row.finding.severity == "error"]
        if isinstance(spec, PlanSpec):
            resolved_plan, source = resolve_templates(found, spec, templates), source_of(found, spec, sources)
            complaints += [found.row(Finding(p.path, "template", "error", p.words)) for p in resolved_plan.problems]
            if not resolved_plan.problems:
                line = timeline(resolved_plan.spec, _view(source, scrape), traffic)
                plans.append(_Simulated(found, resolved_plan.spec, line))
    _print_errors(complaints, plans)
    if output == "json":
        print(json.dumps([_as_json(plan) for plan in plans], indent=2))
    else:
        print(printable("\n\n".join("\n".join(_as_text(plan)) for plan in plans)), end="\n" if plans else "")
    return UNREADABLE if cannot_all_be_read(unreadable) else FOUND if complaints or not plans else CLEAN


def _view(source: MetricSourceSpec | None, scrape: timedelta) -> SourceView:
    if source is not None:
        return source_view(source)
    fields = MetricSourceSpec.model_fields
    return SourceView(scrape, fields["ingestion_delay"].default, fields["timeout"].default)


def _print_errors(complaints: Iterable[Diagnostic], plans: Sequence[_Simulated]) -> None:
    lines = [format_diagnostic(row) for row in complaints]
    if not lines and not plans:
        lines = ["rolloutplan: the files have no RolloutPlan: name a file with one"]
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


# ---- text output ---------------------------------------------------------------------------------


def _as_text(plan: _Simulated) -> Iterator[str]:
    spec, line = plan.spec, plan.timeline
    yield (
        f"{plan.found.subject}: {spec.old.deployment} -> {spec.new.deployment}, "
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
    yield "ready", "", "0s", _range_words(line.ready), "", "", ""
    for segment in line.parts:
        waited = waited or segment.approval
        yield (
            segment.name,
            format_weight(segment.permille),
            _range_words(segment.begins, open_=waited),
            _range_words(segment.ends, open_=waited) + (" !" if segment.late else ""),
            *(("", "", "") if segment is line.contract else (*_faults(segment), f"{segment.queries:.3g}")),
        )


def _range_words(span: Range, *, open_: bool = False) -> str:
    """Format the earliest and the latest time; with + where the run waits for a person first."""
    first, last = (_time(at) for at in span)
    return (first if first == last else f"{first} - {last}") + ("+" if open_ else "")


def _time(span: timedelta) -> str:
    return format_duration(round(span / _SECOND) * _SECOND) if span >= timedelta(minutes=2) else format_duration(span)


def _faults(segment: Segment) -> tuple[str, str]:
    slowest = segment.slowest
    if slowest is None:
        return "-", "-"
    return _detection_words(slowest.at_once, slowest), _detection_words(slowest.later, slowest)


def _detection_words(span: timedelta | None, detection: DetectionTime) -> str:
    return f"{'?' if span is None else 'never' if span is NEVER else _time(span)} {detection.predicate}"


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
    yield "fault: the longest time from a fault to the old weights on the routes, with the slowest predicate"
    if spec.on_fail == "Hold":
        yield "onFail is Hold: a failure of the new side holds the run, and the weights stay"
    failure_predicates = (*spec.guards, *(predicate for stage in spec.stages for predicate in stage.fail))
    if any(asks_both_sides(spec, predicate, segments[0].permille) for predicate in failure_predicates):
        rule = spec.on_incident
        then = f", and rolls back after {format_duration(rule.after)}" if rule.then == "Rollback" else ""
        yield f"onIncident: a value that is as bad on both sides holds the run{then}"
    if approvals:
        yield f"+: plus the time until a person approves {', '.join(approvals)}"
    yield from _notes_on_steps(spec, segments)
    detections = [segment.slowest for segment in segments]
    if plan.timeline.contract is not None:
        yield "contract: no predicate is evaluated; a failure holds the run until a person decides"
    if any(detection is None for detection in detections):
        yield "-: no guard or fail predicate is evaluated: a fault is detected at the deadline, in the bake not at all"
    if any(detection is not None and detection.later is None for detection in detections):
        yield "?: the predicate counts events, so the time depends on the traffic: give --traffic"
    if any(detection is not None and detection.later is NEVER for detection in detections):
        yield "never: with this traffic its counts prove nothing; at 100% the old side has none to compare with"


def _notes_on_steps(spec: PlanSpec, segments: Sequence[Segment]) -> Iterator[str]:
    if any(predicate.alert is not None for _, predicate in spec.predicates()):
        yield "alert: the time starts when the alert fires"
    if any(segment.conditional for segment in segments):
        yield "half way: runs only if the stage before it had a warning; the latest times include it"
    for segment in segments:
        if segment.late:
            yield (
                f"!: {segment.name} is not decided by its deadline, for {', '.join(segment.late)}; "
                f"onUndecided is {spec.on_undecided}"
            )


# ---- JSON output ---------------------------------------------------------------------------------


def _as_json(plan: _Simulated) -> Mapping[str, Any]:
    """Return a timeline as JSON data. Times are seconds since the start of the run."""
    line = plan.timeline
    return {
        "file": plan.found.file,
        "object": plan.found.subject,
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
        "weight": format_weight(segment.permille),
        "approval": segment.approval,
        "perhaps": segment.conditional,
        "begins": _seconds(segment.begins),
        "ends": _seconds(segment.ends),
        "undecided": list(segment.late),
        "faults": [
            {
                "predicate": detection.predicate,
                "role": detection.role,
                "known": detection.later is not None,
                "atOnce": _span(detection.at_once),
                "later": _span(detection.later),
            }
            for detection in segment.detections
        ],
        "queriesPerMinute": round(segment.queries, 3),
    }


def _seconds(span: Range) -> Mapping[str, float]:
    return {"earliest": span.earliest.total_seconds(), "latest": span.latest.total_seconds()}


def _span(span: timedelta | None) -> float | None:
    """Return seconds; None where the fault is never detected, or where that needs the traffic."""
    return None if span is None or span is NEVER else span.total_seconds()
