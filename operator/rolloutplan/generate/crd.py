"""The CRDs, made from the models: one source for what is read here and what the API server accepts.

A field that no model has is refused by the API server (`kubectl apply` asks for strict decoding): the schema is
structural and preserves nothing unknown. A status has types alone, so that one broken by hand can be healed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import yaml
from pydantic import BaseModel

from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec
from rolloutplan.api.notifier import ClusterNotifierSpec, NotifierSpec
from rolloutplan.api.notifier_status import NotifierStatus
from rolloutplan.api.parsing import RENAMED, SpecModel, renamed
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.policy_status import PolicyStatus
from rolloutplan.api.record import RecordSpec, RecordStatus
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.api.route_kind_status import RouteKindStatus
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.status import Status
from rolloutplan.api.template import PredicateTemplateSpec
from rolloutplan.api.text_format import CALLED, OR_TEXT, cel
from rolloutplan.generate.cel import GIVEN, RULES

Schema: TypeAlias = dict[str, Any]

GROUP: Final = "rolloutplan.dev"
VERSION: Final = "v1alpha1"

_KEPT: Final = (
    "description", "type", "format", "default", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "required", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip
_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})
_MANY: Final = frozenset({"Predicate"})
"""Models of which there may be so many in an object that the API server takes long over each of their rules."""
_PLAIN: Final = (
    "description", "type", "enum", "maxLength", "pattern", "minimum", "maximum", "required",
    "x-kubernetes-int-or-string",
)  # fmt: skip
"""What holds in a field that CEL does not see."""
_LENIENT: Final = ("description", "type", "maxItems", "x-kubernetes-int-or-string")

_COLUMNS: Final = (
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Stage", "type": "string", "jsonPath": ".status.stage.display"},
    {"name": "Weight", "type": "string", "jsonPath": ".status.weights.desired"},
    {"name": "Verdict", "type": "string", "jsonPath": ".status.verdict"},
    {"name": "Reason", "type": "string", "jsonPath": ".status.reason"},
    {"name": "Measured", "type": "string", "jsonPath": ".status.weights.measured", "priority": 1},
    {"name": "Deadline", "type": "string", "jsonPath": ".status.stage.deadlineAt", "priority": 1},
    {"name": "Run", "type": "integer", "jsonPath": ".status.run", "priority": 1},
    {"name": "Looked", "type": "date", "jsonPath": ".status.lastLook"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
_SOURCE_COLUMNS: Final = (
    {"name": "URL", "type": "string", "jsonPath": ".spec.prometheus.url"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
_TEMPLATE_COLUMNS: Final = (
    {"name": "Indicates", "type": "string", "jsonPath": ".spec.indicates"},
    {"name": "Is", "type": "string", "jsonPath": ".spec.is"},
    {"name": "VsOld", "type": "string", "jsonPath": ".spec.vsOld"},
    {"name": "Description", "type": "string", "jsonPath": ".spec.description"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
_ROUTE_KIND_COLUMNS: Final = (
    {"name": "Resource", "type": "string", "jsonPath": ".spec.resource"},
    {"name": "Group", "type": "string", "jsonPath": ".spec.group"},
    {"name": "Served", "type": "string", "jsonPath": ".status.served"},
    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    {"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
_POLICY_COLUMNS: Final = (
    {"name": "Focus", "type": "string", "jsonPath": ".status.focus"},
    {"name": "Plans", "type": "integer", "jsonPath": ".status.plans"},
    {"name": "Max", "type": "integer", "jsonPath": ".spec.maxConcurrent"},
    {"name": "Lock", "type": "string", "jsonPath": ".spec.lockGroup"},
    {"name": "Frozen", "type": "string", "jsonPath": ".spec.freeze.now"},
    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    {"name": "Why", "type": "string", "jsonPath": ".status.focusWhy", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
_RECORD_COLUMNS: Final = (
    {"name": "Plan", "type": "string", "jsonPath": ".spec.plan"},
    {"name": "Run", "type": "integer", "jsonPath": ".spec.run"},
    {"name": "Outcome", "type": "string", "jsonPath": ".status.outcome"},
    {"name": "Reason", "type": "string", "jsonPath": ".status.reason"},
    {"name": "Owner", "type": "string", "jsonPath": ".spec.owner"},
    {"name": "Started", "type": "string", "jsonPath": ".spec.startedAt"},
    {"name": "Ended", "type": "string", "jsonPath": ".status.endedAt"},
    {"name": "Weight", "type": "string", "jsonPath": ".status.weight", "priority": 1},
    {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
)
"""Instants, not ages: who asks for last month's releases asks for a date."""
_NOTIFIER_COLUMNS: Final = (
    {"name": "Format", "type": "string", "jsonPath": ".spec.webhook.format"},
    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    {"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].reason"},
    {"name": "Delivered", "type": "integer", "jsonPath": ".status.delivered"},
    {"name": "GivenUp", "type": "integer", "jsonPath": ".status.givenUp"},
    {"name": "Last", "type": "date", "jsonPath": ".status.lastDelivery"},
    {"name": "Message", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].message", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
"""Without the address: that of many webhooks lets in whoever knows it."""


class _InFull(yaml.SafeDumper):
    """Writes a part that stands in two places twice: anchors are hard to read in a diff."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


class ObjectKind(NamedTuple):
    """A kind of object: its name and short name, its models, and what `kubectl get` shows."""

    name: str
    short: str
    scope: str
    spec: type[BaseModel]
    columns: Sequence[Schema]
    status: type[BaseModel] | None = None
    unset: Mapping[str, Any] = MappingProxyType({})
    """The status of an object that nobody has looked at yet, where it has one."""
    selectable: Sequence[str] = ()
    """The fields by which objects can be selected."""
    written_whole: bool = False
    """Whether the status is written with the object, and not as a subresource: nobody but the operator writes it."""


KINDS: Final = (
    ObjectKind(
        "RolloutPlan", "rp", "Namespaced", PlanSpec, _COLUMNS, Status, {"observedGeneration": -1}, (".status.phase",)
    ),
    ObjectKind("MetricSource", "ms", "Namespaced", MetricSourceSpec, _SOURCE_COLUMNS),
    ObjectKind("ClusterMetricSource", "cms", "Cluster", ClusterMetricSourceSpec, _SOURCE_COLUMNS),
    ObjectKind("PredicateTemplate", "pt", "Namespaced", PredicateTemplateSpec, _TEMPLATE_COLUMNS),
    ObjectKind("ClusterPredicateTemplate", "cpt", "Cluster", PredicateTemplateSpec, _TEMPLATE_COLUMNS),
    ObjectKind("RolloutPolicy", "rpol", "Cluster", RolloutPolicySpec, _POLICY_COLUMNS, PolicyStatus),
    ObjectKind("RouteKind", "rk", "Cluster", RouteKindSpec, _ROUTE_KIND_COLUMNS, RouteKindStatus),
    ObjectKind("Notifier", "nt", "Namespaced", NotifierSpec, _NOTIFIER_COLUMNS, NotifierStatus),
    ObjectKind("ClusterNotifier", "cnt", "Cluster", ClusterNotifierSpec, _NOTIFIER_COLUMNS, NotifierStatus),
    ObjectKind("RolloutRecord", "rr", "Namespaced", RecordSpec, _RECORD_COLUMNS, RecordStatus, written_whole=True),
)


def crds() -> dict[str, Schema]:
    """Give the CustomResourceDefinitions by the names of their files."""
    made = map(_crd, KINDS)
    return {f"{GROUP}_{crd['spec']['names']['plural']}.yaml": crd for crd in made}


def render(crd: Schema) -> str:
    """Write a CRD as YAML, always the same text for the same CRD."""
    return yaml.dump(crd, Dumper=_InFull, sort_keys=False, width=120, allow_unicode=True)


def _crd(of: ObjectKind) -> Schema:
    kind, short, scope, spec, columns, status, unset, selectable, written_whole = of
    plural = re.sub("y$", "ie", kind.lower()) + "s"
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": _schema_of(spec, _KEPT),
    }
    version: Schema = {"name": VERSION, "served": True, "storage": True}
    if status:
        properties["status"] = _schema_of(status, _LENIENT) | ({"default": dict(unset)} if unset else {})
        if not written_whole:
            version["subresources"] = {"status": {}}
        if selectable:
            version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    version["additionalPrinterColumns"] = [dict(column) for column in columns]
    version["schema"] = {
        "openAPIV3Schema": {
            "description": summary(spec),
            "type": "object",
            "required": ["spec"],
            **({"x-kubernetes-validations": list(RULES[kind])} if kind in RULES else {}),
            "properties": properties,
        }
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
            },
            "scope": scope,
            "versions": [version],
        },
    }


def summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


# ---- from pydantic's JSON schema to a structural one ----


def _schema_of(model: type[BaseModel], kept: Sequence[str]) -> Schema:
    schema = model.model_json_schema(mode="serialization")
    made = _structural({"$ref": model.__name__}, {**schema.pop("$defs", {}), model.__name__: schema}, kept)
    for name in model.refused if issubclass(model, SpecModel) else ():  # so that the rule on it has the word
        made["properties"][name] = {
            "description": "Not a field of this kind.",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
    return made


def _structural(node: Schema, models: Mapping[str, Schema], kept: Sequence[str]) -> Schema:
    """Put a referenced model in its place, with its rules; an optional field is one that may be left out."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        rules = RULES.get(name, ())
        node = {**models[name], "x-kubernetes-validations": _one_a_field(rules) if name in _MANY else [*rules], **node}
        del node["$ref"]
        return _structural(node, models, kept)
    if "anyOf" in node:
        (choice,) = (choice for choice in node["anyOf"] if choice != {"type": "null"})
        return _structural({**choice, **{key: value for key, value in node.items() if key != "anyOf"}}, models, kept)
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    if CALLED in node:
        node = {**node, "x-kubernetes-validations": _one_a_field(node["x-kubernetes-validations"])}
    flat = {key: _plain(node[key]) for key in kept if _plain(node.get(key)) not in _EMPTY}
    if "properties" in node:
        flat["properties"] = {name: _structural(below, models, kept) for name, below in node["properties"].items()}
        _refuse_old_names(flat)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            flat[key] = _structural(node[key], models, kept)
    return _or_text(flat, node[OR_TEXT]) if OR_TEXT in node else flat


def _or_text(mapping: Schema, text: Schema) -> Schema:
    """A field that is a text or a mapping: one without a type, in which CEL sees nothing.

    So what CEL says elsewhere is said by plain limits here, and unknown fields are refused by their number: each choice
    names all fields of a mapping that it allows. Limits that nothing meets refuse what is neither text nor mapping.
    """
    fields = {name: _without_rules(node) for name, node in mapping["properties"].items()}
    optional = [name for name in fields if name not in mapping["required"]]
    choices = [[*mapping["required"], *some] for n in range(len(optional) + 1) for some in combinations(optional, n)]
    return {
        **{key: mapping[key] for key in ("description", "default") if key in mapping},
        "x-kubernetes-preserve-unknown-fields": True,
        **{key: text[key] for key in ("pattern", "maxLength")},
        "properties": fields,
        "anyOf": [{"required": names, "maxProperties": len(names)} for names in choices],
        "not": {"enum": [True, False]},
        "minimum": 1,
        "maximum": 0,
        "minItems": 1,
        "maxItems": 0,
    }


def _without_rules(node: Schema) -> Schema:
    """A field of such a mapping, with what is below it."""
    plain: Schema = {key: node[key] for key in _PLAIN if key in node}
    below = {name: _without_rules(each) for name, each in node.get("properties", {}).items()}
    return {**plain, "properties": below} if below else plain


def _refuse_old_names(model: Schema) -> None:
    """Let the API server name the new field to whoever writes the old one: one that no schema has is only unknown."""
    properties = model["properties"]
    for old, new in RENAMED.items():
        if new in properties:
            anything: dict[str, Schema] = {
                "object": {"x-kubernetes-preserve-unknown-fields": True},
                "string": {"maxLength": 64},
            }
            kind = properties[new]["type"]
            properties[old] = {"description": f"Is called {new} now.", "type": kind, **anything[kind]}
            rule = {"rule": f"!has(self.{old})", "message": renamed(old), "fieldPath": f".{old}"}
            model.setdefault("x-kubernetes-validations", []).append(rule)


def _one_a_field(rules: Iterable[Schema]) -> list[Schema]:
    """Make one rule of those on the same field: each is paid for anew. The first that is broken has the word."""
    by_field: dict[str, list[Schema]] = {}
    for rule in rules:
        by_field.setdefault(rule.get("fieldPath", ""), []).append(rule)
    return [_joined(each) for each in by_field.values()]


def _joined(rules: Sequence[Schema]) -> Schema:
    """One rule of several on one field: those with a precondition last, of which there is one, looked at once."""
    free, bound = [rule for rule in rules if GIVEN not in rule], [rule for rule in rules if GIVEN in rule]
    *others, last = ordered = [*free, *bound]
    words = _words(last)
    for rule in reversed(others):
        words = f"!({rule['rule']}) ? {_words(rule)} : {words}"
    parts = [rule["rule"] for rule in free]
    if bound:
        (given,) = {rule[GIVEN] for rule in bound}
        parts.append(f"!({given}) || ({' && '.join(rule['rule'] for rule in bound)})")
    if len(ordered) == 1:
        return {**{key: value for key, value in last.items() if key != GIVEN}, "rule": parts[0]}
    field = {"fieldPath": last["fieldPath"]} if "fieldPath" in last else {}
    return {"rule": " && ".join(f"({part})" for part in parts), "messageExpression": words, **field}


def _words(rule: Schema) -> str:
    return str(rule["messageExpression"]) if "messageExpression" in rule else cel(rule["message"])


def _plain(value: object) -> object:
    """Leave out of a default what is not set in it."""
    if isinstance(value, dict):
        return {key: below for key, below in value.items() if below not in _EMPTY}
    return value
