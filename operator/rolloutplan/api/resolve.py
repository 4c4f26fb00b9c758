"""Replaces references by predicates: `use` within a plan, `template` by a template of the cluster or the status.

A changed template must not change or end a run in progress, because nobody edited the plan. So a run stores its
templates in its status when it starts, and uses these to its end; a changed template applies from the next run on. The
hash of a plan covers only what its author wrote, so a changed template starts no run and ends none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rolloutplan.api.limits import MAX_TEMPLATES_FILLED, MAX_TEMPLATES_KEPT, kib
from rolloutplan.api.parsing import SpecError, read
from rolloutplan.api.predicate import OVERRIDES, Predicate
from rolloutplan.api.quantities import opposite
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.spec_rules import rendered
from rolloutplan.api.status import TemplateStatus
from rolloutplan.api.template import PredicateTemplateSpec, fill

CLUSTER_TEMPLATE: Final = "ClusterPredicateTemplate"
TemplateLookup: TypeAlias = Callable[[str], "Template"]
"""From a name to its template; one with a `problem` where there is none."""


@dataclass(frozen=True, slots=True)
class Template:
    """The result of a lookup. `spec` is None where the template is missing or invalid; `problem` then has the fix."""

    kind: str
    name: str
    spec: PredicateTemplateSpec | None
    problem: str = ""
    why: StatusReason = StatusReason.TEMPLATE_INVALID

    def to_status(self) -> TemplateStatus:
        """Its form in the status of a run."""
        assert self.spec is not None
        excluded: Any = {"description": True, "parameters": {"__all__": {"description"}}}
        text = self.spec.model_dump_json(by_alias=True, exclude_defaults=True, exclude=excluded)
        return TemplateStatus(kind=self.kind, name=self.name, text=text)


def snapshot_lookup(kept: Iterable[TemplateStatus], otherwise: TemplateLookup | None = None) -> TemplateLookup:
    """The templates stored when a run started, `otherwise` for others. Never raises: a status may have been edited."""
    found: dict[str, Template] = {}
    for each in kept:
        try:
            found[each.name] = Template(each.kind, each.name, PredicateTemplateSpec.model_validate_json(each.text))
        except ValueError:
            continue

    def look_up(name: str) -> Template:
        lost = f"the status no longer holds template {name} as it was when the run began: `abort` puts the weights back"
        if name not in found and otherwise is not None:
            return otherwise(name)
        return found.get(name) or Template("", name, None, lost, StatusReason.TEMPLATE_NOT_FOUND)

    return look_up


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a reference cannot be replaced; `words` is the message."""

    path: str
    why: StatusReason
    words: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """A plan with its references replaced. A reference with a problem stays, and cannot be evaluated."""

    spec: PlanSpec
    used: tuple[Template, ...] = ()
    problems: tuple[Problem, ...] = ()

    def raw(self) -> dict[str, Any]:
        """The spec as it could be written without templates. Each `use` stays, so that no name occurs twice."""
        written = dict(self.spec.written.predicates())
        filled = {path: whole for path, whole in self.spec.predicates() if written[path].use is None}
        return self.spec.written.replaced(filled).model_dump(mode="json", exclude_defaults=True)


def resolve(spec: PlanSpec, lookup: TemplateLookup) -> Resolved:
    """Replace all references."""
    written = spec.written
    if not written.has_references:
        return Resolved(written)
    named = {p.template for _, p in written.predicates() if p.template is not None}
    templates = {name: lookup(name) for name in sorted(named)}
    places = dict(_usable_predicates(written))
    problems: list[Problem] = []

    def replaced(path: str, predicate: Predicate) -> Predicate:
        try:
            return _replace(predicate, path, places, templates)
        except _UnresolvedError as error:
            problems.append(Problem(f"spec.{path}", error.why, error.words))
            return predicate

    used = tuple(template for template in templates.values() if template.spec is not None)
    if words := _too_much(written, templates, used):
        return Resolved(written, used, (Problem("spec", StatusReason.TOO_LARGE, words),))
    whole = written.replaced({path: replaced(path, predicate) for path, predicate in written.predicates()})
    problems += (Problem(f"spec.{path}", StatusReason.TOO_LARGE, words) for path, words in rendered(whole))
    return Resolved(whole, used, tuple(problems))


def _too_much(written: PlanSpec, templates: Mapping[str, Template], used: Iterable[Template]) -> str:
    """Why a plan takes too much of its templates, which are read again for each predicate; empty where it does not."""
    sizes = {template.name: len(template.to_status().text.encode()) for template in used}
    if (kept := sum(sizes.values())) > MAX_TEMPLATES_KEPT:
        return f"its templates have {kib(kept)} together: name smaller ones, of at most {kib(MAX_TEMPLATES_KEPT)}"
    filled = sum(sizes.get(templates[p.template].name, 0) for _, p in written.predicates() if p.template is not None)
    if filled > MAX_TEMPLATES_FILLED:
        words = f"its predicates fill in templates of {kib(filled)} together"
        return f"{words}: write fewer of them, or smaller templates, of at most {kib(MAX_TEMPLATES_FILLED)}"
    return ""


class _UnresolvedError(Exception):
    def __init__(self, why: StatusReason, words: str) -> None:
        super().__init__(words)
        self.why = why
        self.words = words


def _usable_predicates(spec: PlanSpec) -> Iterator[tuple[str, tuple[str, Predicate]]]:
    """Path and predicate, by name, of each predicate that others may use."""
    yield from ((p.name, (path, p)) for path, p in spec.predicates() if p.use is None)


def _replace(
    predicate: Predicate, path: str, places: Mapping[str, tuple[str, Predicate]], templates: Mapping[str, Template]
) -> Predicate:
    if predicate.use is not None:
        where, used = places[predicate.use]
        whole = _replace(used, where, places, templates)
        own: dict[str, Any] = {"name_": predicate.name, "dry_run": predicate.dry_run}
        if _indicates_success(path):
            own["no_data"] = None  # silence proves nothing
        return _reversed(whole, _indicates_success(where) != _indicates_success(path)).model_copy(update=own)
    if predicate.template is not None:
        return _filled_template(predicate, _indicates_success(path), templates[predicate.template])
    return predicate


def _indicates_success(path: str) -> bool:
    """Whether a predicate at this path indicates success of the new side when it is true."""
    return ".pass[" in path


def _reversed(predicate: Predicate, reverse: bool) -> Predicate:
    if not reverse:
        return predicate
    is_, vs_old = (comparison and opposite(comparison) for comparison in (predicate.is_, predicate.vs_old))
    return predicate.model_copy(update={"is_": is_, "vs_old": vs_old})


def _filled_template(predicate: Predicate, indicates_success: bool, template: Template) -> Predicate:
    if template.spec is None:
        raise _UnresolvedError(template.why, template.problem)
    overrides = predicate.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(OVERRIDES.values()))
    own_comparison = bool({"is", "vsOld"} & overrides.keys())
    where = f"{template.kind} {template.name}"
    try:
        body = fill(template.spec, predicate.with_)
    except SpecError as error:
        raise _UnresolvedError(StatusReason.TEMPLATE_INVALID, f"{where}: {_line(error)}") from None
    if indicates_success:
        body.pop("noData", None)  # silence proves nothing
    if own_comparison:
        body = {field: value for field, value in body.items() if field not in ("is", "vsOld")}
    try:
        whole = read(Predicate, {**body, **overrides, "name": predicate.name, "dryRun": predicate.dry_run})
    except SpecError as error:
        raise _UnresolvedError(
            StatusReason.TEMPLATE_INVALID, f"{where}, with the values of this plan: {_line(error)}"
        ) from None
    return whole if own_comparison else _reversed(whole, (template.spec.indicates == "Success") != indicates_success)


def _line(error: SpecError) -> str:
    return "; ".join(str(error).splitlines())
