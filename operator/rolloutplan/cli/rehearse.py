"""Rehearse the plans in files: the decisions that the operator would take, on a simulated cluster with faults.

Plans come from cli/plan_files.py, the rehearsal is tools/rehearsal; the result is printed and compared with `--expect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

import typer

from rolloutplan.api import safe_get
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.printable import printable
from rolloutplan.api.quantities import format_duration, parse_duration
from rolloutplan.api.resolve import Resolved
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status_patch import status_patch
from rolloutplan.cli.files import UNREADABLE, ParsedObject, read_object
from rolloutplan.cli.options import USUAL_BAD, USUAL_SCRAPE, Bad, Files, ScrapeInterval, instant, reads, traffic_option
from rolloutplan.cli.output import CliError
from rolloutplan.cli.plan_files import PlanFiles, read_plans
from rolloutplan.cli.screen import screen, show_objects
from rolloutplan.cli.session import Plan
from rolloutplan.cli.views.decisions import rendered as rendered_decisions
from rolloutplan.cli.views.evidence import with_evidence
from rolloutplan.cli.views.status import rendered as rendered_plan
from rolloutplan.engine.model.policy_view import PolicyView
from rolloutplan.engine.model.snapshot import SourceView
from rolloutplan.tools.rehearsal.faults import FORMS, GivenAnswer, Incident, read_answer, read_incident
from rolloutplan.tools.rehearsal.host import rehearse as run_through
from rolloutplan.tools.rehearsal.model import (
    APPROVED_AFTER,
    PODS,
    START,
    TESTERS,
    RehearsalError,
    RehearsalInput,
    Rehearsed,
)

USUAL_TRAFFIC: Final = 100.0
"""Requests a second of both sides, where nothing is said: most guards on counts decide within minutes."""
_ENDS: Final = ("Succeeded", "RolledBack", "Held", "Pending", "Invalid")
_SECOND: Final = timedelta(seconds=1)


def _end(text: str) -> str:
    """How a run may end. Raises ValueError with the nearest spelling."""
    if text in _ENDS:
        return text
    plain = {re.sub(r"\W", "", end).lower(): end for end in _ENDS}
    near = get_close_matches(re.sub(r"[\W_]", "", text).lower(), plain, n=1)
    raise ValueError(f'"{text}" is no end of a run: write {plain[near[0]] if near else ", ".join(_ENDS)}')


def rehearse(
    files: Files,
    output: Annotated[Literal["text", "json", "yaml"], typer.Option("-o", "--output")] = "text",
    fault: Annotated[
        list[Incident] | None,
        typer.Option(
            metavar="FAULT",
            parser=reads(read_incident),
            help="what goes wrong, and when: 'errors=5% at 25% after 2m for 10m', 'prometheus down 3m'; several are"
            f" allowed. The others: {', '.join(list(FORMS.values())[3:])}",
        ),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="END", parser=reads(_end), help=f"how it must end, else exit 1: {', '.join(_ENDS)}"),
    ] = None,
    answer: Annotated[
        list[GivenAnswer] | None,
        typer.Option(
            metavar="NAME=VALUE",
            parser=reads(read_answer),
            help="what the query of a predicate usually answers, where its form does not say what it measures",
        ),
    ] = None,
    traffic: Annotated[float, traffic_option("what is simulated (default: 100/s)")] = USUAL_TRAFFIC,
    bad: Bad = USUAL_BAD,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="another number: other requests by chance")] = 0,
    approve_after: Annotated[
        timedelta,
        typer.Option(
            metavar="TIME", parser=reads(parse_duration), help="how long a person takes to approve (default: 1m)"
        ),
    ] = APPROVED_AFTER,
    no_approvals: Annotated[bool, typer.Option("--no-approvals", help="nobody approves anything")] = False,
    start: Annotated[
        datetime,
        typer.Option(
            metavar="TIME",
            parser=reads(instant),
            help=f"when it begins, for the freezes of policies (default: {START:%Y-%m-%dT%H:%M:%SZ})",
        ),
    ] = START,
    scrape_interval: ScrapeInterval = USUAL_SCRAPE,
) -> int:
    """The operator's own rules decide, in virtual time, without a cluster: a unit test for plans.

    Exit 0 if each plan ends as expected, or in any way without --expect; 1 if one does not, or is invalid; 2 if a file
    cannot be read, or the usage is wrong.
    """
    given = _Given(
        tuple(fault or ()), dict(answer or ()), traffic, bad, seed, None if no_approvals else approve_after, start
    )
    read = read_plans(files, scrape_interval)
    plans = []
    for plan in _plans(read, scrape_interval):
        try:
            plans.append((plan, run_through(given.input_of(plan))))
        except RehearsalError as error:
            raise CliError(f"{plan.found.subject}: {error}", UNREADABLE) from None
    read.complain()
    if output != "text":
        show_objects([_as_json(plan, went, expect) for plan, went in plans], output)
    else:
        for number, (plan, went) in enumerate(plans):
            print(end="\n" if number else "")
            _show(plan, went, given, expect)
    return read.code(good=all(expect in (None, went.status.phase) for _, went in plans))


# ---- what is rehearsed -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """A plan in the files, with what belongs to it."""

    found: ParsedObject
    whole: Resolved
    source: SourceView
    policies: tuple[PolicyView, ...]
    namespace_labels: Mapping[str, str]
    pods: Mapping[str, int]
    assumed: tuple[str, ...]
    """What is not in the files, and what is taken instead."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What the command line says."""

    faults: tuple[Incident, ...]
    answers: Mapping[str, float]
    traffic: float
    bad: float
    seed: int
    approved_after: timedelta | None
    start: datetime

    def input_of(self, plan: _Plan) -> RehearsalInput:
        namespace, name = plan.found.name
        return RehearsalInput(
            namespace or "default",
            name,
            plan.whole.spec,
            plan.source,
            self.traffic,
            self.bad,
            self.seed,
            self.faults,
            self.answers,
            self.approved_after,
            plan.pods,
            tuple(each.to_status() for each in plan.whole.used),
            _labels(plan.found),
            plan.namespace_labels,
            plan.policies,
            self.start,
        )


def _plans(read: PlanFiles, scrape: timedelta) -> Iterator[_Plan]:
    """The plans in the files, with the policies, Deployments and labels that they meet there."""
    objects = read.objects
    policies = tuple(
        PolicyView(each.name[1], spec)
        for each in objects
        if isinstance(spec := read_object(each)[0], RolloutPolicySpec)
    )
    for plan in read.plans:
        namespace, spec = plan.found.name[0], plan.spec
        near = [each for each in objects if (each.name[0] or namespace) == namespace]
        pods = {name: count for ref in (spec.old, spec.new) for name, count in _replicas(near, ref.deployment)}
        labels = _labels_of_namespace(objects, namespace or "")
        unknown = () if labels is not None else tuple(_not_selected(policies))
        source = (f"{plan.no_source}: scraped every {format_duration(scrape)}",) if plan.no_source else ()
        assumed = (*source, *_simulated(spec, pods), *unknown)
        yield _Plan(plan.found, plan.whole, plan.source, policies, labels or {}, pods, assumed)


def _replicas(objects: Iterable[ParsedObject], deployment: str) -> Iterator[tuple[str, int]]:
    """The replicas of a Deployment in the files, where they are written."""
    for each in objects:
        if each.kind == "Deployment" and each.name[1] == deployment:
            count = safe_get.value(safe_get.mapping(each.raw, "spec"), "replicas")
            if isinstance(count, int) and not isinstance(count, bool):
                yield deployment, count


def _simulated(spec: PlanSpec, pods: Mapping[str, int]) -> Iterator[str]:
    routes = ", ".join(str(ref.written) for ref in spec.traffic.routes)
    yield f"{routes}: all traffic on {spec.titles.old} at first; weights are in force at once"
    for name in dict.fromkeys((spec.old.deployment, spec.new.deployment)):
        if name not in pods:
            yield f"Deployment {name} has no replicas in the files: {PODS} ready pods"


def _labels_of_namespace(objects: Iterable[ParsedObject], name: str) -> Mapping[str, str] | None:
    """The labels of a namespace; None where it is not in the files."""
    return next((_labels(each) for each in objects if each.kind == "Namespace" and each.name[1] == name), None)


def _not_selected(policies: Iterable[PolicyView]) -> Iterator[str]:
    for each in policies:
        if each.selector.namespace_labels:
            yield f"policy {each.name} is left out: it selects by labels of the namespace, which is not in the files"


def _labels(found: ParsedObject) -> Mapping[str, str]:
    labels = safe_get.mapping(safe_get.mapping(found.raw, "metadata"), "labels")
    return {key: value for key, value in labels.items() if isinstance(value, str)}


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _show(plan: _Plan, went: Rehearsed, given: _Given, expect: str | None) -> None:
    """Print the decisions, the plan as `status` shows it at the end, and what was assumed."""
    console = screen()
    decisions = [moment.decision for moment in went.moments]
    raw = {**plan.found.raw, "metadata": {**plan.found.raw["metadata"], **_METADATA}}
    ended = Plan({**raw, "status": status_patch({}, went.status)})
    console.print(rendered_decisions(decisions, console.width, since=went.started))
    console.print()
    console.show(rendered_plan(ended, with_evidence({}, went.status), went.ended, console.width))
    console.print()
    console.print(printable("\n".join(_notes(plan, went, given, expect))))


_METADATA: Final = {"uid": "rehearsal", "generation": 1, "resourceVersion": "1"}
"""What an object in a file has not, and every one in a cluster has."""


def _notes(plan: _Plan, went: Rehearsed, given: _Given, expect: str | None) -> Iterator[str]:
    gave_up = f" ({went.gave_up})" if went.gave_up else ""
    yield f"{plan.found.subject}: {went.status.phase} after {_time(went.ended - went.started)}{gave_up}"
    yield from _figures(went)
    yield ""
    yield (
        f"seed {given.seed}, {given.traffic:.6g} requests/s, of which {100 * given.bad:.4g}% usually go wrong or are"
        " slow (--bad)"
    )
    yield from (f"fault: {each.text}" for each in given.faults)
    yield _approvals(given)
    yield from plan.assumed
    if any(stage.match is not None for stage in plan.whole.spec.steps()):
        yield f"testers send {100 * TESTERS:g}% of the requests"
    yield from _answers(went)
    if expect is not None and expect != went.status.phase:
        yield ""
        yield f"expected {expect}, but the run is {went.status.phase}"


def _figures(went: Rehearsed) -> Iterator[str]:
    yield f"{went.requests:,} requests, {went.exposed:,} of them to the new side"
    if went.fault_at is not None:
        began = _time(went.fault_at - went.started)
        yield f"{went.harmed:,} requests went wrong or were slow under the faults; the first began after {began}"
    if (restored := went.restored_after) is not None:
        yield f"the old weights were back {_time(restored)} after that"


def _answers(went: Rehearsed) -> Iterator[str]:
    """How queries were answered; those that were answered in the same way share a line."""
    for words in dict.fromkeys(went.answers.values()):
        yield f"{', '.join(name for name, each in went.answers.items() if each == words)}: {words}"


def _approvals(given: _Given) -> str:
    after = given.approved_after
    return "approvals: nobody approves" if after is None else f"approvals: a person approves after {_time(after)}"


def _time(span: timedelta) -> str:
    return format_duration(round(span / _SECOND) * _SECOND)


def _as_json(plan: _Plan, went: Rehearsed, expect: str | None) -> Mapping[str, Any]:
    """A rehearsal as data. Times are seconds; decisions are as in the status of a plan."""
    restored = went.restored_after
    return {
        "file": plan.found.file,
        "object": plan.found.subject,
        "end": str(went.status.phase),
        "expected": expect,
        "reason": str(went.status.reason),
        "message": went.status.message,
        "gaveUp": went.gave_up,
        "seconds": (went.ended - went.started).total_seconds(),
        "requests": went.requests,
        "exposedRequests": went.exposed,
        "harmedRequests": went.harmed,
        "faultAt": None if went.fault_at is None else (went.fault_at - went.started).total_seconds(),
        "restoredAfter": None if restored is None else restored.total_seconds(),
        "assumed": list(plan.assumed),
        "answers": dict(went.answers),
        "decisions": [
            moment.decision.model_dump(mode="json", by_alias=True, exclude_defaults=True) for moment in went.moments
        ],
    }
