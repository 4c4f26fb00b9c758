"""Read files of objects as kubectl does, and refuse what the operator would refuse.

The files come from the command line. Objects and diagnostics go to `lint` and `simulate`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from rolloutplan.api.metric_source import MetricSourceSpec, read_metric_source
from rolloutplan.api.parsing import SpecError, SpecModel
from rolloutplan.api.policy import read_policy
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.resolve import Resolved, Template, resolve
from rolloutplan.api.spec import PlanSpec, read_plan_spec
from rolloutplan.api.template import PredicateTemplateSpec, read_template
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.generate.crd import GROUP, VERSION
from rolloutplan.tools.promql import Finding

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
}
_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_LONGEST_NAME: Final = 63
_LARGEST: Final = 200_000
"""The most parts a document may have. The content of an alias counts at each use, because it is read at each use."""

Place: TypeAlias = tuple[str | None, str]
"""The namespace (None for a cluster-wide object) and the name of an object that plans refer to."""
Sources: TypeAlias = Mapping[Place, MetricSourceSpec]
"""The metric sources in the files."""
Templates: TypeAlias = Mapping[Place, Template]
"""The templates in the files."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding and its place: the file as it was given, the line counted from 1, and the object."""

    file: str
    line: int
    subject: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class ParsedObject:
    """One document, or one item of a List; `duplicate_keys` are the keys written twice, with their lines."""

    file: str
    node: yaml.Node
    raw: Any
    duplicate_keys: tuple[tuple[int, str], ...]

    @property
    def name(self) -> tuple[str | None, str]:
        """Return its namespace, if one is written, and its name."""
        meta = self.raw.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        namespace = meta.get("namespace")
        return None if namespace is None else str(namespace), str(meta.get("name"))

    @property
    def place(self) -> Place:
        """Return the place at which a plan finds it."""
        namespace, name = self.name
        return None if self.raw["kind"].startswith("Cluster") else namespace or "", name

    @property
    def subject(self) -> str:
        if not isinstance(self.raw, dict) or "kind" not in self.raw:
            return ""
        return f"{self.raw.get('kind')} {'/'.join(str(part) for part in self.name if part is not None)}"

    def line(self, path: str) -> int:
        """Return the line of the field at a path, else of its nearest parent field."""
        node, line = self.node, self.node.start_mark.line
        for key, index in re.findall(r"([^.\[\]]+)|\[([0-9]+)\]", path):
            if isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
                node = node.value[int(index)]
                line = node.start_mark.line
                continue
            fields = node.value if isinstance(node, yaml.MappingNode) else ()
            named = [(name, value) for name, value in fields if name.value == key]
            if not named:
                break
            line, node = named[-1][0].start_mark.line, named[-1][1]
        return int(line) + 1

    def row(self, finding: Finding) -> Diagnostic:
        return Diagnostic(self.file, self.line(finding.path), self.subject, finding)


def format_diagnostic(row: Diagnostic) -> str:
    """Return a finding as one line in the format of compilers."""
    return f"{row.file}:{row.line}: {row.finding.severity}: {message_of(row)} [{row.finding.rule}]"


def message_of(row: Diagnostic) -> str:
    named = " ".join(part for part in (row.subject, row.finding.path) if part)
    return " ".join(f"{named}: {row.finding.words}".split() if named else row.finding.words.split())


# ---- objects in files -----------------------------------------------------------------------------


def read_files(files: Sequence[str]) -> tuple[list[ParsedObject], list[Diagnostic]]:
    """Return all objects in the files (`-` is standard input), and the errors of files that cannot be read."""
    objects: list[ParsedObject] = []
    unreadable: list[Diagnostic] = []
    for file in files:
        try:
            objects.extend(_objects(file))
        except _UnreadableError as error:
            unreadable.append(Diagnostic(file, error.line, "", Finding("", "unreadable", "error", str(error))))
    return objects, unreadable


def sources_in(objects: Iterable[ParsedObject]) -> Sources:
    """Return the metric sources among the objects that can be parsed."""
    specs = ((each, read_object(each)[0]) for each in objects)
    return {each.place: spec for each, spec in specs if isinstance(spec, MetricSourceSpec)}


def source_of(plan: ParsedObject, spec: PlanSpec, sources: Sources) -> MetricSourceSpec | None:
    """Return the metric source of a plan: its namespace's, else the cluster's; None where neither exists."""
    name = spec.metrics.source
    return sources.get((plan.name[0] or "", name)) or sources.get((None, name))


def templates_in(objects: Iterable[ParsedObject]) -> Templates:
    """Return the templates among the objects, including refused ones: a plan that names one must report the problem."""
    found: dict[Place, Template] = {}
    for each in objects:
        if _unsupported(each.raw) is None and each.raw["kind"].endswith("PredicateTemplate"):
            spec, _ = read_object(each)
            kind, name = each.raw["kind"], each.name[1]
            good = spec if isinstance(spec, PredicateTemplateSpec) else None
            found[each.place] = Template(kind, name, good, "" if good else f"{kind} {name} is itself invalid")
    return found


def resolve_templates(plan: ParsedObject, spec: PlanSpec, templates: Templates) -> Resolved:
    """Resolve a plan's references with the templates of its namespace, else with the cluster's."""

    def look_up(name: str) -> Template:
        missing = f"template {name} is not in these files, so its query cannot be checked: add its file"
        own = templates.get((plan.name[0] or "", name))
        return own or templates.get((None, name)) or Template("", name, None, missing, StatusReason.TEMPLATE_NOT_FOUND)

    return resolve(spec, look_up)


class _UnreadableError(Exception):
    def __init__(self, words: str, line: int = 1) -> None:
        super().__init__(words)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Parses unquoted values as kubectl does: 22:00 and 2026-12-20 are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in looks if tag.rpartition(":")[2] in ("bool", "null", "merge")]
    for first, looks in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _look in (
    ("int", "[-+]?(0b[01][01_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0[0-7_]*|[1-9][0-9_]*)$"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_look), list("-+.0123456789"))


def _objects(file: str) -> Iterator[ParsedObject]:
    """Yield the objects of a file. Raises _UnreadableError at invalid YAML, after the objects before it."""
    text = _text(file)
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # there is a next one
            duplicate_keys = tuple(_check_node(node))
            raw = loader.construct_document(node)
            if raw is not None:
                yield from _list_items(ParsedObject(file, node, raw, duplicate_keys))
    except yaml.reader.ReaderError as error:
        raise _UnreadableError(f"not valid text: {error.reason}", text.count("\n", 0, error.position) + 1) from None
    except yaml.MarkedYAMLError as error:
        words = " ".join(part for part in (error.problem, error.context) if part)
        mark = error.problem_mark or error.context_mark
        raise _UnreadableError(f"invalid YAML: {words}", mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise _UnreadableError("nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise _UnreadableError(f"invalid YAML: {error}") from None


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"not valid text: {error.reason}", data.count(b"\n", 0, error.start) + 1) from None
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_node(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Find duplicate keys: a cluster would refuse the second, and YAML drops the first.

    Raises _UnreadableError at what no cluster would accept and what could not be printed.
    """
    waiting, count = [node], 0
    while waiting:
        node, count = waiting.pop(), count + 1
        if count > _LARGEST:
            raise _UnreadableError(f"more than {_LARGEST} parts in one object", node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode) and re.search("[\ud800-\udfff]", node.value):
            raise _UnreadableError("not valid text: an incomplete character", node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    yield key.start_mark.line + 1, key.value
                keys.add(str(key.value))
                waiting += [key, value]


def _list_items(found: ParsedObject) -> Iterator[ParsedObject]:
    """Yield the items of a List, as `kubectl get -o yaml` writes it, and any other object unchanged."""
    if isinstance(found.raw, dict) and found.raw.get("kind") == "List" and isinstance(found.raw.get("items"), list):
        *_, items = (value for key, value in found.node.value if key.value == "items")
        for node, raw in zip(items.value, found.raw["items"], strict=True):
            yield ParsedObject(found.file, node, raw, ())
    else:
        yield found


# ---- validation -----------------------------------------------------------------------------------


def read_object(found: ParsedObject) -> tuple[SpecModel | None, list[Diagnostic]]:
    """Parse an object as the operator does: return its spec, if its kind is known and it is valid, and the findings."""
    if unsupported := _unsupported(found.raw):
        return None, [found.row(unsupported)]
    duplicate_keys = [
        Diagnostic(
            found.file, line, found.subject, Finding("", "twice", "error", f"{key} is written twice: keep one of them")
        )
        for line, key in found.duplicate_keys
    ]
    spec, refusals = _read(found.raw)
    return spec, [*duplicate_keys, *(found.row(finding) for finding in (*_frame_findings(found.raw), *refusals))]


def _unsupported(raw: Any) -> Finding | None:
    """Return why this cannot be checked as an object; None where it can."""
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if not isinstance(kind, str):
        return Finding("", "object", "error", "is not a Kubernetes object: write apiVersion, kind, metadata and spec")
    version = str(raw.get("apiVersion", ""))
    if version.partition("/")[0] != GROUP and kind not in _READERS:
        return Finding("", "skipped", "hint", "is not a kind of rolloutplan.dev and is not checked")
    if version != _API:
        return Finding("apiVersion", "object", "error", f'"{version}" is not a version of {kind}: write {_API}')
    if kind not in _READERS:
        suggestions = get_close_matches(kind, _READERS, n=1) or _READERS
        return Finding(
            "kind", "object", "error", f'"{kind}" is not a kind of {GROUP}: write {" or ".join(suggestions)}'
        )
    return None


def _frame_findings(raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the fields outside the spec."""
    for field in raw:
        if field not in _FIELDS:
            yield Finding(str(field), "object", "error", f"unknown field: write one of {', '.join(_FIELDS)}")
    meta = raw.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name, namespace = meta.get("name"), meta.get("namespace")
    if name is None and not meta.get("generateName"):
        yield Finding("metadata.name", "object", "error", "required field is missing: write it")
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
        return None, [Finding("spec", "refused", "error", "required field is missing: write it")]
    try:
        return _READERS[raw["kind"]](raw["spec"]), []
    except SpecError as error:
        return None, [_refusal(line) for line in re.split(r"\n(?=spec\b|and [0-9]+ more$)", str(error))]


def _refusal(line: str) -> Finding:
    path, _, words = line.partition(": ")
    known = path.startswith("spec")
    return Finding(path if known else "spec", "refused", "error", words if known else line)
