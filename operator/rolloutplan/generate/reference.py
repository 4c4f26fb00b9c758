"""The field reference, made from the models as the CRDs are: every field of every kind, for people.

Each model has a table once, wherever it stands. Rules between fields are told in the words in which they are refused.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from rolloutplan.api.text_format import CALLED, OR_TEXT
from rolloutplan.generate.cel import RULES
from rolloutplan.generate.crd import GROUP, KINDS, VERSION, ObjectKind, summary

_INTRODUCTION: Final = f"""\
# Field reference

All kinds of `{GROUP}/{VERSION}`, field by field. `make generate` writes this page and the CRDs from the models with
which the operator reads the objects. `kubectl explain rp.spec` shows the fields of the installed version.

Fields without a default are optional unless marked required. `kubectl apply`, `rolloutplan lint` and the operator
refuse the same things; `lint` and the operator also say what was probably meant.
"""
_COLUMNS: Final = ("field", "type", "default", "limits", "meaning")
_STATUS_COLUMNS: Final = ("field", "type", "meaning")
_LIMITS: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
    ("minProperties", "maxProperties", " entries"),
)
_PLAIN: Final = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}
_NO_DEFAULT: Final[tuple[object, ...]] = (None, [], {}, "")

Schema = dict[str, Any]


def reference() -> str:
    """The whole page, in Markdown; always the same text for the same models."""
    kinds = [_Kind(kind) for kind in KINDS]
    told: dict[str, str] = {}
    lines = [_INTRODUCTION]
    lines += [f"- [{kind.of.name}](#{_anchor(kind.of.name)}): {summary(kind.of.spec)}" for kind in kinds]
    lines += [f"- [{_WRITTEN}](#{_anchor(_WRITTEN)})", ""]
    for kind in kinds:
        lines += kind.section(told)
    lines += _spellings(schema for kind in kinds for schema in kind.models.values())
    return "\n".join(lines)


class _Kind:
    """A kind with the schemas of its models by name, in the order in which they are met."""

    def __init__(self, of: ObjectKind) -> None:
        self.of = of
        self.written = _models(of.spec)
        self.models = self.written | (_models(of.status) if of.status else {})
        self.titles = {name: name.removesuffix("Spec") for name in self.models}
        self.titles[of.spec.__name__] = f"{of.name} spec"
        if of.status is not None:
            self.titles[of.status.__name__] = f"{of.name} status"

    def section(self, told: dict[str, str]) -> Iterator[str]:
        """Everything of the kind that was not told with an earlier one; `told` are the titles of models by name."""
        scope = "in a namespace" if self.of.scope == "Namespaced" else "of the whole cluster"
        yield f"## {self.of.name}\n"
        yield f"{summary(self.of.spec)} An object {scope}; `kubectl get {self.of.short}` for short.\n"
        if title := told.get(self.of.spec.__name__):
            yield f"Its fields are those of [{title}](#{_anchor(title)}).\n"
        for name in self.models:
            if name not in told:
                told[name] = self.titles[name]
                yield from self._model(name)

    def _model(self, name: str) -> Iterator[str]:
        schema = self.models[name]
        yield f"### {self.titles[name]}\n"
        yield f"{_first(schema)} {self._places(name)}".rstrip() + "\n"
        if name in self.written:
            yield from _table(_COLUMNS, (self._row(schema, field, node) for field, node in _fields(schema).items()))
        else:
            rows = ((f"`{f}`", self._type(node), self._words(node)) for f, node in _fields(schema).items())
            yield from _table(_STATUS_COLUMNS, rows)
        yield ""
        refused = list(_refused(name))
        if refused:
            yield "Refused:\n"
            yield from (f"- {words}" for words in refused)
            yield ""

    def _places(self, name: str) -> str:
        """Where the model stands, each with a link to what it stands in."""
        owners = {
            owner: [f"`{field}`" for field, node in _fields(schema).items() if _refers(node) == name]
            for owner, schema in self.models.items()
        }
        places = [f"{' and '.join(fields)} of {self._link(owner)}" for owner, fields in owners.items() if fields]
        return f"Used as {', '.join(places)}." if places else ""

    def _row(self, schema: Schema, field: str, node: Schema) -> Sequence[str]:
        default = "**required**" if field in schema.get("required", ()) else _default(node)
        return f"`{field}`", self._type(node), default, _limits(node), self._words(node)

    def _type(self, node: Schema) -> str:
        if "items" in node:
            return f"list of {self._type(node['items'])}"
        if node.get("x-kubernetes-preserve-unknown-fields") and "type" not in node:
            return "any value"
        if "additionalProperties" in node:
            return f"map of {self._type(node['additionalProperties'])}"
        if OR_TEXT in node:
            return f"{self._type(node[OR_TEXT])} or {self._link(_refers(node))}"
        if name := _refers(node):
            return self._link(name)
        if CALLED in node:
            return f"[{node[CALLED]}](#{_anchor(node[CALLED])})"
        if choices := node.get("enum") or ([node["const"]] if "const" in node else []):
            return " or ".join(f"`{choice}`" for choice in choices if not isinstance(choice, bool))
        return _PLAIN.get(node.get("type", ""), "text or number")

    def _link(self, model: str) -> str:
        return f"[{self.titles[model]}](#{_anchor(self.titles[model])})"

    def _words(self, node: Schema) -> str:
        return str(node.get("description") or _first(self.models[_refers(node)]))


# ---- models --------------------------------------------------------------------------------------


def _models(model: type[BaseModel]) -> dict[str, Schema]:
    """The schemas of a model and of all below it. Choices are put where they are chosen."""
    schema = model.model_json_schema(mode="serialization")
    known = {model.__name__: schema, **schema.get("$defs", {})}
    choices = {name: node for name, node in known.items() if "enum" in node}
    for node in known.values():
        node["properties"] = {f: _chosen(below, choices) for f, below in node.get("properties", {}).items()}
    found: dict[str, Schema] = {}
    waiting = [model.__name__]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = known[name]
            waiting += [below for node in _fields(known[name]).values() if (below := _refers(node))]
    return found


def _fields(schema: Schema) -> dict[str, Schema]:
    fields: dict[str, Schema] = schema["properties"]
    return fields


def _chosen(node: Schema, choices: Mapping[str, Schema]) -> Schema:
    """A field as what it is when it is written, though it may be left out."""
    if "anyOf" in node:
        (choice,) = (choice for choice in node["anyOf"] if choice != {"type": "null"})
        node = {**choice, **{key: value for key, value in node.items() if key != "anyOf"}}
    if (name := _refers(node)) in choices:
        node = {**choices[name], **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _refers(node: Schema) -> str:
    """The model that a field, or each item or value of it, is made of; empty where it is a plain value."""
    values = node.get("additionalProperties")
    each = node.get("items", values if isinstance(values, dict) else node)
    return str(each.get("$ref", "")).rpartition("/")[2]


def _first(schema: Schema) -> str:
    return str(schema.get("description", "")).partition("\n")[0]


# ---- cells ---------------------------------------------------------------------------------------


def _default(node: Schema) -> str:
    default = node.get("default")
    if default in _NO_DEFAULT or isinstance(default, dict):
        return ""
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def _limits(node: Schema) -> str:
    """The limits of a field; those of a text with a spelling are told there."""
    if CALLED in node:
        return ""
    own = [_range(node.get(low), node.get(high)) + of for low, high, of in _LIMITS if low in node or high in node]
    items = node.get("items", node.get("additionalProperties"))
    each = _limits(items) if isinstance(items, dict) else ""
    return ", ".join([*own, *([f"each {each}"] if each else [])])


def _range(low: int | None, high: int | None) -> str:
    return f"{low:,} to {high:,}" if low is not None and high is not None else f"at most {high or low:,}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _anchor(heading: str) -> str:
    """The link of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# ---- what is refused -----------------------------------------------------------------------------


def _refused(model: str) -> Iterator[str]:
    for rule in RULES.get(model, ()):
        field, words = rule.get("fieldPath", "").lstrip("."), rule.get("message") or _said(rule["messageExpression"])
        yield f"`{field}`: {words}" if field else words


def _said(expression: str) -> str:
    """What an expression in CEL says, with … for what it fills in."""
    parts = re.split(r"'((?:[^'\\]|\\.)*)(?:'|\\?\Z)", expression)
    words = (
        re.sub(r"\\(.)", r"\1", part) if literal else "…" if part.strip(" +") else ""
        for part, literal in ((part, i % 2) for i, part in enumerate(parts))
    )
    return re.sub(r"…\s*…", "…", "".join(words))


# ---- how values are written ----------------------------------------------------------------------

_WRITTEN: Final = "How values are written"


def _spellings(models: Iterable[Schema]) -> Iterator[str]:
    found = {node[CALLED]: node for schema in models for node in _spelled(schema)}
    yield f"## {_WRITTEN}\n"
    for called, node in sorted(found.items()):
        (first, *never) = (_said(rule["messageExpression"]) for rule in node["x-kubernetes-validations"])
        fix = first.partition(": ")[2]
        yield f"### {called}\n"
        yield f"{fix[0].upper()}{fix[1:]}; at most {node['maxLength']:,} characters.\n"
        if "x-kubernetes-int-or-string" in node:
            yield "A whole number is read as if % followed it: 95 is 95%. A fraction such as 0.95 is refused.\n"
        if never:
            yield from (f"- {words}" for words in never)
            yield ""


def _spelled(node: Any) -> Iterator[Schema]:
    """All parts of a schema that have a spelling."""
    if isinstance(node, Mapping):
        if CALLED in node:
            yield dict(node)
        for below in node.values():
            yield from _spelled(below)
    elif isinstance(node, list):
        for below in node:
            yield from _spelled(below)
