"""Find what the operator would refuse in files of objects, and pitfalls of PromQL, before they reach a cluster.

Objects come from cli/files.py, checks from tools/lint/plans.py; the findings are printed.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Final, Literal

import typer

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.notifier import AnyNotifierSpec
from rolloutplan.api.parsing import SpecModel
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.printable import masked, printable
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.template import PredicateTemplateSpec
from rolloutplan.cli.files import (
    CLEAN,
    FOUND,
    UNREADABLE,
    Diagnostic,
    ParsedObject,
    Sources,
    Templates,
    cannot_all_be_read,
    format_diagnostic,
    message_of,
    own_kinds,
    read_files,
    read_object,
    resolve_templates,
    source_of,
    sources_in,
    templates_in,
)
from rolloutplan.cli.inputs import expand
from rolloutplan.cli.objects import compare, is_compared
from rolloutplan.cli.options import USUAL_BAD, USUAL_SCRAPE, Bad, Files, ScrapeInterval, traffic_option
from rolloutplan.cli.output import times_of
from rolloutplan.cli.yaml_read import Place
from rolloutplan.cluster.paths import PLAN_GROUP as GROUP
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.lint.notifier import lint_notifier
from rolloutplan.tools.lint.plans import lint_plan, lint_policy, lint_template, lint_time
from rolloutplan.tools.lint.routes import lint_routes
from rolloutplan.tools.lint.source import lint_source
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.tools.promql.traps import Severity


def lint(
    files: Files,
    output: Annotated[Literal["text", "json", "github"], typer.Option("-o", "--output")] = "text",
    scrape_interval: ScrapeInterval = USUAL_SCRAPE,
    traffic: Annotated[float | None, traffic_option("report stages that cannot be decided by their deadline")] = None,
    bad: Bad = USUAL_BAD,
    strict: Annotated[bool, typer.Option("--strict", help="exit 1 for warnings too")] = False,
) -> int:
    """Checks are those of the operator, and those of PromQL.

    Exit 0 without errors, 1 with errors, 2 if a file cannot be read.
    """
    gc.disable()  # a fifth of the time, spent on thousands of small objects that are all needed to the end
    try:
        expected = None if traffic is None else Traffic(traffic, 0.0, bad)
        return _lint(files, output, scrape_interval, strict=strict, traffic=expected)
    finally:
        gc.enable()


def _lint(files: Sequence[str], output: str, scrape: timedelta, *, strict: bool, traffic: Traffic | None) -> int:
    objects, unreadable = read_files(files)
    rows, sources, templates = list(unreadable), sources_in(objects), templates_in(objects)
    kinds = {**BUILT_IN, **own_kinds(objects)}
    for found in objects:
        spec, refusals = read_object(found)
        traps = _traps(found, spec, sources, templates, kinds, scrape, traffic)
        rows += [*refusals, *(found.row(finding) for finding in traps)]
    rows += compare(objects, templates)
    if not rows and not any(found.is_ours for found in objects):
        words = f"no object of {GROUP} among these files: nothing was checked; name the file of a plan"
        rows.append(Diagnostic(objects[0].file, Place(1, 1), "", Finding("", "nothing-checked", "warning", words)))
    order = {each.name: i for i, each in enumerate(expand(files))}
    rows.sort(key=lambda row: (order.get(row.file, -1), row.place))
    _PRINTERS[output](rows, objects)
    if cannot_all_be_read(unreadable):
        return UNREADABLE
    failing = ("error", "warning") if strict else ("error",)
    return FOUND if any(row.finding.severity in failing for row in rows) else CLEAN


def _traps(
    found: ParsedObject,
    spec: SpecModel | None,
    sources: Sources,
    templates: Templates,
    kinds: Mapping[str, RouteKindSpec],
    scrape: timedelta,
    traffic: Traffic | None,
) -> Iterator[Finding]:
    """Find pitfalls in a valid object. A template that is not in the files is no error: it may be in the cluster."""
    if isinstance(spec, PlanSpec):
        source, whole = source_of(found, spec, sources), resolve_templates(found, spec, templates)
        every = source.scrape_interval if source else scrape
        for problem in whole.problems:
            severity: Severity = "hint" if problem.why == StatusReason.TEMPLATE_NOT_FOUND else "error"
            yield Finding(problem.path, "template", severity, problem.words)
        yield from lint_plan(whole.spec, every, source.prometheus.flavor if source else "Prometheus")
        yield from lint_routes(whole.spec, kinds)
        yield from lint_time(whole.spec, every, traffic) if traffic else ()
    elif isinstance(spec, PredicateTemplateSpec):
        yield from lint_template(spec)
    elif isinstance(spec, RolloutPolicySpec):
        yield from lint_policy(spec)
    elif isinstance(spec, MetricSourceSpec):
        yield from lint_source(spec)
    elif isinstance(spec, AnyNotifierSpec):
        yield from lint_notifier(spec)


# ---- printing ------------------------------------------------------------------------------------

_GITHUB: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "hint": "notice"}


def _print_text(rows: Sequence[Diagnostic], objects: Sequence[ParsedObject]) -> None:
    for row, same in _grouped(rows):
        print(printable(format_diagnostic(row) + same))
    times = Counter(row.finding.severity for row in rows)
    counted = [times_of(times[severity], severity) for severity in _GITHUB if times[severity]]
    again = ", and ".join(words for hides, words in _HIDING if any(map(hides, rows)))
    again = f"; {again}: correct it, and run lint again" if again else ""
    print(f"{_checked_words(objects)}; {', '.join(counted) or 'nothing found'}{again}")


_HIDING: Final[Sequence[tuple[Callable[[Diagnostic], bool], str]]] = (
    (lambda row: row.finding.rule == "refused", "what is refused hides other mistakes in its object"),
    (
        lambda row: row.finding.rule == "unreadable" and row.place != Place(1, 1),
        "what cannot be read hides other mistakes after it in its file",
    ),
)
"""Findings after which other checks do not take place: those between fields and of queries, or of the next objects."""
_FEW: Final = 2
"""So many equal findings are printed in full."""


def _grouped(rows: Sequence[Diagnostic]) -> Iterator[tuple[Diagnostic, str]]:
    """Yield each finding, and of many equal ones of an object the first, with the places of the others."""
    groups: dict[tuple[str, str, Finding], list[Diagnostic]] = {}
    for row in rows:
        groups.setdefault((row.file, row.subject, _anywhere(row.finding)), []).append(row)
    for row in rows:
        first, *others = groups[row.file, row.subject, _anywhere(row.finding)]
        if len(others) < _FEW or row.finding.rule == "refused":  # each field that is refused has a fix of its own
            yield row, ""
        elif row is first:
            places = ", ".join(f"{each.finding.path} (line {each.place.line})" for each in others)
            yield row, f" (the same in {len(others)} more: {places})"


def _anywhere(finding: Finding) -> Finding:
    return Finding("", finding.rule, finding.severity, finding.words)


def _checked_words(objects: Sequence[ParsedObject]) -> str:
    """Return how many objects of which kind were checked, and how many others there are."""
    kinds = Counter(found.kind for found in objects if found.kind and (found.is_ours or is_compared(found)))
    checked = [times_of(times, "plan" if kind == "RolloutPlan" else kind) for kind, times in kinds.items()]
    others = len(objects) - kinds.total()
    left = f", {times_of(others, 'object')} of other kinds not" if others else ""
    return f"{', '.join(checked) or 'nothing'} checked{left}"


def _print_json(rows: Sequence[Diagnostic], _: Sequence[ParsedObject]) -> None:
    found = [
        {
            "file": row.file,
            "line": row.place.line,
            "column": row.place.column,
            "object": row.subject,
            "path": row.finding.path,
            "rule": row.finding.rule,
            "severity": row.finding.severity,
            "message": masked(row.finding.words),
        }
        for row in rows
    ]
    print(json.dumps(found, indent=2))


def _print_github(rows: Sequence[Diagnostic], _: Sequence[ParsedObject]) -> None:
    """Print workflow commands, which GitHub shows at the lines of a pull request."""
    for row in rows:
        line, column = row.place
        where = f"file={_escaped(row.file, ':,')},line={line},col={column},title=rolloutplan {row.finding.rule}"
        print(f"::{_GITHUB[row.finding.severity]} {where}::{_escaped(masked(message_of(row)))}")


def _escaped(text: str, also: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + also else char for char in text)


_PRINTERS: Final[Mapping[str, Callable[[Sequence[Diagnostic], Sequence[ParsedObject]], None]]] = {
    "text": _print_text,
    "json": _print_json,
    "github": _print_github,
}
