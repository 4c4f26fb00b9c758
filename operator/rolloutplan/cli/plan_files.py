"""The plans in files, each with what belongs to it: its templates filled in, and its metric source.

`simulate` and `rehearse` begin with it; cli/files.py reads the objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

from rolloutplan.api.metric_source import MetricSourceSpec
from rolloutplan.api.printable import printable
from rolloutplan.api.resolve import Resolved
from rolloutplan.api.spec import PlanSpec
from rolloutplan.cli.files import (
    CLEAN,
    FOUND,
    UNREADABLE,
    Diagnostic,
    ParsedObject,
    Sources,
    cannot_all_be_read,
    format_diagnostic,
    read_files,
    read_object,
    resolve_templates,
    source_of,
    sources_in,
    templates_in,
)
from rolloutplan.engine.model.snapshot import SourceView, source_view
from rolloutplan.tools.promql.queries import Finding


@dataclass(frozen=True, slots=True)
class PlanInFile:
    """A valid plan, whose templates are all in the files."""

    found: ParsedObject
    whole: Resolved
    source: SourceView
    no_source: str
    """That its metric source is not in the files, so that the usual one is assumed; empty where it is."""

    @property
    def spec(self) -> PlanSpec:
        return self.whole.spec


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """What was read."""

    objects: Sequence[ParsedObject]
    plans: Sequence[PlanInFile]
    complaints: Sequence[Diagnostic]
    all_read: bool

    def complain(self) -> None:
        """Say on stderr what is wrong with the files."""
        lines = [format_diagnostic(row) for row in self.complaints]
        if not lines and not self.plans:
            lines = ["rolloutplan: the files have no RolloutPlan: name a file with one"]
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))

    def code(self, *, good: bool = True) -> int:
        """The exit code: that of files that cannot be read, of what is wrong in them, and of what came out of it."""
        if not self.all_read:
            return UNREADABLE
        return CLEAN if good and self.plans and not self.complaints else FOUND


def read_plans(files: Sequence[str], scrape: timedelta) -> PlanFiles:
    """Read the plans in files; `scrape` is the interval of sources that are not among them."""
    objects, unreadable = read_files(files)
    complaints = [*unreadable]
    plans = [*_plans(objects, complaints, scrape)]
    return PlanFiles(objects, plans, complaints, not cannot_all_be_read(unreadable))


def _plans(objects: Sequence[ParsedObject], complaints: list[Diagnostic], scrape: timedelta) -> Iterator[PlanInFile]:
    """The plans; what is wrong with them is added to `complaints`."""
    sources, templates = sources_in(objects), templates_in(objects)
    for found in objects:
        spec, findings = read_object(found)
        complaints += [row for row in findings if row.finding.severity == "error"]
        if not isinstance(spec, PlanSpec):
            continue
        whole = resolve_templates(found, spec, templates)
        complaints += [found.row(Finding(each.path, "template", "error", each.words)) for each in whole.problems]
        if not whole.problems:
            source = source_of(found, spec, sources)
            view = source_view(source) if source is not None else _usual_source(scrape)
            yield PlanInFile(found, whole, view, "" if source is not None else _no_source(spec, sources))


def _usual_source(scrape: timedelta) -> SourceView:
    """A metric source of which nothing but its scrape interval is known."""
    fields = MetricSourceSpec.model_fields
    return SourceView(scrape, fields["ingestion_delay"].default, fields["timeout"].default)


def _no_source(spec: PlanSpec, sources: Sources) -> str:
    """That a plan's metric source is not in the files, with the nearest name."""
    name = spec.metrics.source
    near = get_close_matches(name, {each for _, each in sources if each != name}, n=1)
    return f"metrics.source: {name} is not in these files{f' (did you mean {near[0]}?)' if near else ''}"
