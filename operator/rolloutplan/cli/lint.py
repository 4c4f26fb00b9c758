"""Find what the operator would refuse in files of objects, and pitfalls of PromQL, before they reach a cluster.

Objects come from cli/files.py, checks from tools/lint.py; the findings are printed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from rolloutplan.api.parsing import SpecModel
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.printable import printable
from rolloutplan.api.reasons import StatusReason
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
    format_diagnostic,
    message_of,
    read_files,
    read_object,
    resolve_templates,
    source_of,
    sources_in,
    templates_in,
)
from rolloutplan.stats.feasibility import Traffic
from rolloutplan.tools.lint import lint_plan, lint_policy, lint_template, lint_time
from rolloutplan.tools.promql import Finding, Severity


def lint(files: Sequence[str], output: str, scrape: timedelta, *, strict: bool, traffic: Traffic | None = None) -> int:
    """Check files (`-` is standard input), print the findings, and return the exit code.

    `scrape` is the scrape interval of sources that are not in the files. `strict` makes warnings count as errors. With
    `traffic`, the traffic of both sides together, it also reports stages that cannot be decided by their deadline.
    """
    objects, unreadable = read_files(files)
    rows, sources, templates = list(unreadable), sources_in(objects), templates_in(objects)
    for found in objects:
        spec, refusals = read_object(found)
        traps = _traps(found, spec, sources, templates, scrape, traffic)
        rows += [*refusals, *(found.row(finding) for finding in traps)]
    rows.sort(key=lambda row: (files.index(row.file), row.line))
    _PRINTERS[output](rows)
    if unreadable:
        return UNREADABLE
    failing = ("error", "warning") if strict else ("error",)
    return FOUND if any(row.finding.severity in failing for row in rows) else CLEAN


def _traps(
    found: ParsedObject,
    spec: SpecModel | None,
    sources: Sources,
    templates: Templates,
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
        yield from lint_plan(whole.spec, every)
        yield from lint_time(whole.spec, every, traffic) if traffic else ()
    elif isinstance(spec, PredicateTemplateSpec):
        yield from lint_template(spec)
    elif isinstance(spec, RolloutPolicySpec):
        yield from lint_policy(spec)


# ---- printing ------------------------------------------------------------------------------------

_GITHUB: Final[Mapping[Severity, str]] = {"error": "error", "warning": "warning", "hint": "notice"}


def _print_text(rows: Sequence[Diagnostic]) -> None:
    for row in rows:
        print(printable(format_diagnostic(row)))
    times = Counter(row.finding.severity for row in rows)
    counted = [f"{times[severity]} {severity}{'s' * (times[severity] != 1)}" for severity in _GITHUB if times[severity]]
    print(", ".join(counted) or "nothing found")


def _print_json(rows: Sequence[Diagnostic]) -> None:
    found = [
        {
            "file": row.file,
            "line": row.line,
            "object": row.subject,
            "path": row.finding.path,
            "rule": row.finding.rule,
            "severity": row.finding.severity,
            "message": row.finding.words,
        }
        for row in rows
    ]
    print(json.dumps(found, indent=2))


def _print_github(rows: Sequence[Diagnostic]) -> None:
    """Print workflow commands, which GitHub shows at the lines of a pull request."""
    for row in (row for row in rows if row.finding.rule != "skipped"):
        where = f"file={_escaped(row.file, ':,')},line={row.line},title=rolloutplan {row.finding.rule}"
        print(f"::{_GITHUB[row.finding.severity]} {where}::{_escaped(message_of(row))}")


def _escaped(text: str, also: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + also else char for char in text)


_PRINTERS: Final[Mapping[str, Callable[[Sequence[Diagnostic]], None]]] = {
    "text": _print_text,
    "json": _print_json,
    "github": _print_github,
}
