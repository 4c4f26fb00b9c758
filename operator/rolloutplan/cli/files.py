"""Read files of objects as kubectl does, and refuse what the operator would refuse.

The files come from inputs.py, their documents from yaml_read.py. Objects and diagnostics go to `lint` and `simulate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from rolloutplan.api import safe_get
from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.notifier import read_notifier
from rolloutplan.api.parsing import SpecError, SpecModel
from rolloutplan.api.policy import read_policy
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import Resolved, Template, resolve
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.template import PredicateTemplateSpec, read_template
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.cli.inputs import Input, Problem, expand, template_words, text_of
from rolloutplan.cli.yaml_read import OddKey, Place, UnreadableError, documents, find, misread, place_in, place_of_mark
from rolloutplan.cluster.paths import PLAN_GROUP as GROUP
from rolloutplan.cluster.paths import PLAN_VERSION as VERSION
from rolloutplan.tools.objects.manifests import nearest
from rolloutplan.tools.promql.queries import Finding
from rolloutplan.traffic.own import read_route_kind

CLEAN, FOUND, UNREADABLE = 0, 1, 2
"""Exit codes: for files without errors, with errors, and for files that cannot be read."""

_API: Final = f"{GROUP}/{VERSION}"
_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], SpecModel]]] = {
    "RolloutPlan": read_plan_spec,
    "MetricSource": partial(read_metric_source, cluster=False),
    "ClusterMetricSource": partial(read_metric_source, cluster=True),
    "PredicateTemplate": read_template,
    "ClusterPredicateTemplate": read_template,
    "RolloutPolicy": read_policy,
    "RouteKind": read_route_kind,
    "Notifier": partial(read_notifier, cluster=False),
    "ClusterNotifier": partial(read_notifier, cluster=True),
}
_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_LONGEST_NAME: Final = 63
_MOST_REFUSALS: Final = 100
"""Of one spec: more than anybody mends before the next run of lint."""

Name: TypeAlias = tuple[str | None, str]
"""The namespace (None for a cluster-wide object) and the name of an object that plans refer to."""
Sources: TypeAlias = Mapping[Name, MetricSourceSpec]
"""The metric sources in the files."""
Templates: TypeAlias = Mapping[Name, Template]
"""The templates in the files."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding and its place: the file as it was given, line and column counted from 1, and the object."""

    file: str
    place: Place
    subject: str
    finding: Finding


@dataclass(frozen=True)
class ParsedObject:
    """One document, or one item of a List; `listed`: its file was named, and not found in a folder."""

    file: str
    text: str
    node: yaml.Node
    raw: Any
    odd_keys: tuple[OddKey, ...] = ()
    listed: bool = True

    @property
    def name(self) -> Name:
        """Return its namespace, if one is written, and its name."""
        meta = self.raw.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        namespace = meta.get("namespace")
        return None if namespace is None else str(namespace), str(meta.get("name"))

    @property
    def place(self) -> Name:
        """Return the namespace and name by which a plan finds it."""
        namespace, name = self.name
        return None if self.raw["kind"].startswith("Cluster") else namespace or "", name

    @property
    def subject(self) -> str:
        if not isinstance(self.raw, dict) or "kind" not in self.raw:
            return ""
        namespace, name = self.name
        named = name if "name" in safe_get.mapping(self.raw, "metadata") else ""
        return f"{self.raw.get('kind')} {'/'.join(part for part in (namespace, named) if part)}".rstrip()

    @property
    def kind(self) -> str:
        """Return its kind; "" where it has none."""
        kind = self.raw.get("kind") if isinstance(self.raw, dict) else None
        return kind if isinstance(kind, str) else ""

    @property
    def is_ours(self) -> bool:
        """Whether it is meant as an object of the operator, however it is misspelt."""
        version = str(self.raw.get("apiVersion", "")) if isinstance(self.raw, dict) else ""
        group = version.partition("/")[0]
        return self.kind in _READERS or bool(get_close_matches(group, [GROUP], cutoff=0.8))

    @property
    def is_object(self) -> bool:
        """Whether it is an object of some kind, or a file of another tool in a folder."""
        if self.is_ours or self.kind:
            return True
        return self.listed and not Path(self.file).name.lower().startswith("kustomization.")

    def row(self, finding: Finding) -> Diagnostic:
        """Return a finding with the place of its field: of the character in it, where the finding names one."""
        place, node = find(self.node, finding.path)
        if finding.offset is not None and isinstance(node, yaml.ScalarNode):
            place = place_in(self.text, node, finding.offset) or place
        return Diagnostic(self.file, place, self.subject, finding)

    @cached_property
    def checked(self) -> tuple[SpecModel | None, tuple[Diagnostic, ...]]:
        """Its spec, if it is one of the operator's kinds and valid, and what the operator would refuse in it."""
        spec, findings = _check(self)
        return spec, tuple(findings)


def format_diagnostic(row: Diagnostic) -> str:
    """Return a finding as one line in the format of compilers."""
    place = f"{row.file}:{row.place.line}:{row.place.column}"
    return f"{place}: {row.finding.severity}: {message_of(row)} [{row.finding.rule}]"


def message_of(row: Diagnostic) -> str:
    named = " ".join(part for part in (row.subject, row.finding.path) if part)
    return " ".join(f"{named}: {row.finding.words}".split() if named else row.finding.words.split())


# ---- objects in files -----------------------------------------------------------------------------


def read_files(files: Sequence[str]) -> tuple[list[ParsedObject], list[Diagnostic]]:
    """Return all objects in files and folders (`-` is standard input), and the errors of what cannot be read."""
    objects: list[ParsedObject] = []
    unreadable: list[Diagnostic] = []
    for file in expand(files):
        if isinstance(file, Problem):
            unreadable.append(_unreadable(file.name, file.error, left_out=file.left_out))
            continue
        before = len(objects)
        try:
            objects.extend(_objects(file))
        except UnreadableError as error:
            unreadable.append(_unreadable(file.name, error))
            continue
        if file.listed and len(objects) == before:
            words = "has no objects: it is empty, or has nothing but comments"
            unreadable.append(_unreadable(file.name, UnreadableError(words)))
    if not objects and not unreadable:
        unreadable.append(_unreadable(files[0], UnreadableError("has no objects: its files are empty")))
    return objects, unreadable


def _unreadable(name: str, error: UnreadableError, *, left_out: bool = False) -> Diagnostic:
    if left_out:
        return Diagnostic(name, error.place, "", Finding("", "left-out", "hint", str(error)))
    return Diagnostic(name, error.place, "", Finding("", "unreadable", "error", str(error)))


def cannot_all_be_read(unreadable: Iterable[Diagnostic]) -> bool:
    """Whether something that was named cannot be read."""
    return any(row.finding.severity == "error" for row in unreadable)


def _objects(file: Input) -> Iterator[ParsedObject]:
    """Yield the objects of a file. Raises UnreadableError at invalid YAML, after the objects before it."""
    text = text_of(file.name)
    template = template_words(text, invalid=False)
    try:
        for node, raw, odd_keys in documents(text):
            found = ParsedObject(file.name, text, node, raw, odd_keys, file.listed)
            if template and found.is_ours:
                break
            yield from _list_items(found)
        else:
            return
    except UnreadableError as error:
        raise UnreadableError(template_words(text, invalid=True) or str(error), *error.place) from None
    raise UnreadableError(template, *place_of_mark(node.start_mark))


def _list_items(found: ParsedObject) -> Iterator[ParsedObject]:
    """Yield the items of a List, as `kubectl get -o yaml` writes it, and any other object unchanged."""
    items = found.raw.get("items") if found.kind.endswith("List") else None
    if not isinstance(items, list):
        yield found
        return
    *_, nodes = (value for key, value in found.node.value if key.value == "items")
    for node, raw in zip(nodes.value, items, strict=True):
        begins, ends = place_of_mark(node.start_mark), place_of_mark(node.end_mark)
        odd_keys = tuple(key for key in found.odd_keys if begins <= key.place < ends)
        yield ParsedObject(found.file, found.text, node, raw, odd_keys, found.listed)


# ---- what plans refer to --------------------------------------------------------------------------


def sources_in(objects: Iterable[ParsedObject]) -> Sources:
    """Return the metric sources among the objects that can be parsed."""
    specs = ((each, read_object(each)[0]) for each in objects)
    return {each.place: spec for each, spec in specs if isinstance(spec, MetricSourceSpec)}


def source_of(plan: ParsedObject, spec: PlanSpec, sources: Sources) -> MetricSourceSpec | None:
    """Return the metric source of a plan: its namespace's, else the cluster's; None where neither exists."""
    name = spec.metrics.source
    return sources.get((plan.name[0] or "", name)) or sources.get((None, name))


def own_kinds(objects: Iterable[ParsedObject]) -> dict[str, RouteKindSpec]:
    """The kinds of route that the files describe, by the names by which plans name them."""
    found = ((each.name[1], each.checked[0]) for each in objects if each.kind == "RouteKind")
    return {name: spec for name, spec in found if isinstance(spec, RouteKindSpec)}


def templates_in(objects: Iterable[ParsedObject]) -> Templates:
    """Return the templates among the objects, including refused ones: a plan that names one must report the problem."""
    found: dict[Name, Template] = {}
    for each in objects:
        if each.is_ours and _frame_problem(each) is None and each.kind.endswith("PredicateTemplate"):
            spec, _ = read_object(each)
            kind, name = each.raw["kind"], each.name[1]
            good = spec if isinstance(spec, PredicateTemplateSpec) else None
            found[each.place] = Template(kind, name, good, "" if good else f"{kind} {name} is itself invalid")
    return found


def resolve_templates(plan: ParsedObject, spec: PlanSpec, templates: Templates) -> Resolved:
    """Resolve a plan's references with the templates of its namespace, else with the cluster's."""

    def look_up(name: str) -> Template:
        own = templates.get((plan.name[0] or "", name))
        if found := own or templates.get((None, name)):
            return found
        near = nearest(name, {each for namespace, each in templates if namespace in (None, plan.name[0] or "")})
        meant = f" (did you mean {near}?)" if near else ""
        missing = f"template {name} is not in these files{meant}, so its query cannot be checked: add its file"
        return Template("", name, None, missing, StatusReason.TEMPLATE_NOT_FOUND)

    return resolve(spec, look_up)


# ---- validation -----------------------------------------------------------------------------------


def read_object(found: ParsedObject) -> tuple[SpecModel | None, tuple[Diagnostic, ...]]:
    """Parse an object as the operator does: return its spec, if its kind is known and it is valid, and the findings."""
    return found.checked


def _check(found: ParsedObject) -> tuple[SpecModel | None, list[Diagnostic]]:
    if not found.is_object or (found.kind and not found.is_ours):
        return None, []
    if problem := _frame_problem(found):
        return None, [found.row(problem)]
    odd_keys = [
        Diagnostic(found.file, place, found.subject, Finding("", "twice", "error", words))
        for place, words in found.odd_keys
    ]
    spec, refusals = _read(found.raw)
    rows = [found.row(finding) for finding in (*_frame_findings(found.raw), *map(partial(_explained, found), refusals))]
    return spec, [*odd_keys, *rows]


def _explained(found: ParsedObject, refusal: Finding) -> Finding:
    """Return a refusal, or why YAML does not read the value as it is written."""
    _, node = find(found.node, refusal.path)
    words = misread(found.text, refusal.path.rpartition(".")[2], node)
    return Finding(refusal.path, refusal.rule, refusal.severity, words) if words else refusal


def _frame_problem(found: ParsedObject) -> Finding | None:
    """Return why this cannot be checked as an object; None where it can."""
    if not found.kind:
        return Finding("", "object", "error", "is not a Kubernetes object: write apiVersion, kind, metadata and spec")
    version, kind = found.raw.get("apiVersion"), found.kind
    if kind not in _READERS:
        words = f'"{kind}" is not a kind of {GROUP}: write {" or ".join(_nearest_kinds(kind))}'
        return Finding("kind", "object", "error", words)
    if version is None:
        return Finding("apiVersion", "object", "error", f"required field is missing: write {_API}")
    if version != _API:
        return Finding("apiVersion", "object", "error", f'"{version}" is not a version of {kind}: write {_API}')
    return None


def _nearest_kinds(kind: str) -> Iterable[str]:
    kinds = {each.lower(): each for each in _READERS}
    return [kinds[near] for near in get_close_matches(kind.lower(), kinds, n=1)] or _READERS


def _frame_findings(raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the fields outside the spec."""
    for field in raw:
        if field not in _FIELDS:
            yield Finding(str(field), "object", "error", f"unknown field: write one of {', '.join(_FIELDS)}")
    meta = raw.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name, namespace = meta.get("name"), meta.get("namespace")
    if name is None and not meta.get("generateName"):
        yield Finding("metadata.name", "object", "error", "required field is missing")
    for field, text, spelling in (("name", name, DNS_NAME), ("namespace", namespace, DNS_LABEL)):
        if text is not None:
            try:
                spelling.read(text)
            except ValueError as refusal:
                yield Finding(f"metadata.{field}", "object", "error", str(refusal))
    if raw["kind"] == "RolloutPlan" and len(str(name)) > _LONGEST_NAME:
        words = f"too long for the names of Events and for labels: write at most {_LONGEST_NAME} characters"
        yield Finding("metadata.name", "object", "error", words)
    if raw["kind"].endswith("PredicateTemplate") and not DNS_LABEL.matches(str(name)):
        words = f"is not a name that a plan can use: write at most {_LONGEST_NAME} lower-case letters, digits and '-'"
        yield Finding("metadata.name", "object", "error", words)


def _read(raw: Mapping[str, Any]) -> tuple[SpecModel | None, list[Finding]]:
    """Parse a spec as the operator does: return the spec, or why it is refused."""
    if not isinstance(raw.get("spec"), dict):
        return None, [Finding("spec", "refused", "error", "required field is missing")]
    try:
        return _READERS[raw["kind"]](raw["spec"]), []
    except SpecError as error:
        return None, [_refusal(line) for line in islice(error.violations, _MOST_REFUSALS)]


def _refusal(line: str) -> Finding:
    path, _, words = line.partition(": ")
    known = path.startswith("spec")
    return Finding(path if known else "spec", "refused", "error", words if known else line)
