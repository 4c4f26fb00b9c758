"""Specs as people might write them, good and broken in every way that the models know.

Each begins with a good one and is edited a few times. The edits know no field by its name: they go by the JSON schema
of the models, so that a field which is new is edited too. What they must be told is how the texts of a new `Spelling`
look (TEXTS), and how a model looks whose fields exclude each other (EXAMPLES); `use` below the examples is the name of
a predicate that may be there or not. The same number always makes the same spec.
"""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import yaml

from rolloutplan.api.metric_source import ClusterMetricSourceSpec, MetricSourceSpec
from rolloutplan.api.notifier import ClusterNotifierSpec, NotifierSpec
from rolloutplan.api.parsing import SpecModel
from rolloutplan.api.policy import RolloutPolicySpec
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.template import PredicateTemplateSpec
from rolloutplan.api.text_format import CALLED, OR_TEXT
from tests.refusals import (
    CLUSTER_NOTIFIER,
    CLUSTER_SOURCE,
    COUNTED,
    COUNTERS,
    COUNTING,
    DARK,
    HISTOGRAM,
    JOB,
    MORE_THAN_COUNTERS,
    NOTIFIER,
    NOTIFIERS,
    ONLY_READ,
    ONLY_READ_TEMPLATES,
    PLAN,
    PLANS,
    POLICIES,
    POLICY,
    SHIFTS,
    SOURCE,
    SOURCES,
    STAFF,
    STICKY,
    TAKEN,
    TASKS,
    TEMPLATE,
    TEMPLATES,
    UNKNOWN,
    Refusal,
    changed,
)

SEED: Final = "what the reader refuses"

Schema = dict[str, Any]


class Texts(NamedTuple):
    """Texts of one spelling: such as it takes, and such as it does not, or hardly."""

    good: Sequence[str | int]
    odd: Sequence[str | int]


_NAMES: Final = Texts(
    ("checkout", "errors", "hits", "checkout-v1", "checkout-v2", "a", "0", "a-1", "w5", "ramp-w10", "w0-5", "x" * 50),
    (
        "A",
        "-a",
        "a-",
        "a b",
        "a.b",
        "",
        "a\n",
        "a_b",
        "é",
        "\uff11",
        "x" * 51,
        "x" * 63,
        "x" * 64,
        "W5",
        "w05",
        "a\x00",
    ),
)
TEXTS: Final[Mapping[str, Texts]] = {
    "name": _NAMES,
    "stage name": _NAMES,
    "object's name": Texts((*_NAMES.good, "a.b", "1.2-3.c"), ("a..b", ".a", "a.", "A", "x" * 253, "x" * 254, "a/b")),
    "kind of route": Texts(
        ("HTTPRoute", "GRPCRoute", "TraefikService", "VirtualService", "Replicas", "FeatureFlag", "edge-route", "a.b"),
        ("httproute", "HttpRoute", "Ingress", "", "a..b", "HTTPRoute\n", "x" * 253, "x" * 254),
    ),
    "name of a side": Texts(
        ("web", "web/v2", "web-00001", "On", "a.b_c", "x" * 253), ("", "-a", "/a", "a b", "é", "a\n", "x" * 254)
    ),
    "name of a flag": Texts(("checkout", "a", "a/b:c.d_e", "x" * 128), ("", "-a", "a-", "a b", "é", "a\n", "x" * 129)),
    "team": Texts(("team-checkout", "A.b_c", "x" * 63), ("", "-a", "a-", "a/b", "a b", "é", "on\n", "x" * 64)),
    "address of a page": Texts(
        ("https://wiki.example/runbooks/checkout", "http://10.0.0.1:8080", "http://[::1]:80/", "https://a/b?c=d&e#f%20",
         "https://a/@b"),
        ("wiki/checkout", "javascript:alert(1)", "ftp://a", "http://", "http://a:b@wiki/", "http://a?b", "http://a/b c",
         "http://a/<b>", "http://a\n", "http://a/\nb", "http:///a", "http://é", "http://a/é", "http://a/" + "a" * 2040),
    ),
    "variant": Texts(("on", "off", "v2", "A.b_c", "x" * 63), ("", "-a", "a-", "a/b", "é", "on\n", "x" * 64)),
    "duration": Texts(
        ("0s", "1s", "10s", "500ms", "1h30m", "1.5h", "1m1m", "5m", "35m", "99999h", "1000ms", "0.001s", "100ms", "1h",
         "1d", "1d12h"),
        ("0d", "1d1d", "1h1d", "1.5d", "9999d", "4166d15h", "4166d16h", "10000d", "1d1h1m1s", "1d1h1m1s1ms", "d", "1dh",
         "1ms", "999ms", "0.999s", "99ms", "99999h1m", "99999h59m59s", "99999h99999h", "100000h", "1.5.5s", "1", "s",
         "-5s", "+5s", "1 s", "1us", "1e3s", ".5s", "1.s", "1.0001s", "1S", "1h1h1h1h", "1h1h1h1h1h", "1s\n",
         "99999.999m99999.999h", "0h0m0s0ms", "1.5ms", "soon"),
    ),
    "failure rate": Texts(
        ("> 0%", ">0%", "> 20%", "> 99%"),
        ("20%", "> 100%", "> 20", ">= 20%", "< 20%", ">  20%", "> 05%", "> 2.5%", "> 20%\n", "> 20% ", " > 20%", 20),
    ),
    "holdback": Texts(
        (1, 50, "0.1%", "1%", "9.9%", "10%", "50%", "50.0%", "1.0%", "49.9%"),
        (0, 51, "0%", "0.0%", "50.1%", "51%", "100%", "1", "0.05%", "%", "-1%", "01%", "1 %", "1%\n", "+1%", ".5%",
         "5.%"),
    ),
    "percentage": Texts(
        ("0%", "5%", "50%", "99.9%", "100%", "0.0%", "100.0%", 0, 1, 50, 100),
        ("101%", "5", "0.05%", "%", "-1%", "05%", -1, 101),
    ),
    "percentage of pods": Texts(
        ("0%", "5%", "50%", "99.9%", "100%", "0.0%", "100.0%", 10, 50, 100), ("101%", "5", "0.05%", "%", 0, 9, 101),
    ),
    "weight": Texts(
        ("0.1%", "5%", "5.0%", "50%", "99.9%", "100%", "100.0%", "0.5%", 1, 5, 50, 100),
        (0, -1, 101,
         "0%", "0.0%", "101%", "5", "0.05%", "%", "-1%", "05%", "100.1%", "5 %", "5%\n", "+5%", "1e1%", "5.%", ".5%"),
    ),
    "confidence": Texts(
        ("95%", "99.9%", "50.01%", "99.99%", "51%", "50.1%", 51, 95, 99),
        (50, 100, "50%", "50.0%", "50.00%", "100%", "99.999%", "0.95", "95 %", "95", "5%", "49.99%"),
    ),
    "comparison": Texts(
        ("> 0.9", "<1%", ">=  99%", "== 0", "!= 1", "> 1e-3", "< 1e2%", "> -5", "> +0.5", "<= 0.5", "< 0.001%"),
        ("> 2x", "0.9", "about 5", "> 1e999", "> 1e-99%", "=> 1", "> 1.", "> .5", "> 1 %", "> 1,5", "> NaN", "<>1",
         "< 0e9", "> 100%", "> 99.999999999999%", "> 99.999999999999999%", "< 0.000000000000001%", "> 1\n", "> 1e2%",
         "> 0%", "< 1", "> 1e+0%", "> 123456789012345", "> 1234567890123456", "! 1", "\t> 1", ">\t1"),
    ),
    "comparison with the old side": Texts(
        ("> 1.5x", "<= +5%", "> +50%", "< 1.1x", "<= +0.2", "> -0.5", "<0.5x", "== 2x", "!= +3%", ">= -99.9%"),
        ("> 1x", "<=01.00x", "> +0%", "< -0.0%", "< 5", "< 5%", "> 0x", "> 0.0x", "> -100%", "< -150.5%", "> 1.5 x",
         "> +0.000000000000001%", "> 1.000000000000001x", "> -99.999999999999999%", "> +1e3%", "> 1X", "> +5x",
         "> 0.000000000000001x", "> 1.0000000000000001x", "> -99.9999999999%", "> +0.0000000001%", "> +0"),
    ),
    "address": Texts(
        ("http://prometheus.monitoring:9090", "https://a/b/c", "http://a", "http://[::1]:9090"),
        ("prom:9090", "http://a:b@prom", "http://a?b", "http://a b", "ftp://a", "http://", "http://a#b", "HTTP://a",
         "http://" + "a" * 2041, "http://" + "a" * 2042, "http://a\n", "http:///a", "http://é"),
    ),
    "address of a webhook": Texts(
        ("https://hooks.example/a/b", "http://a", "http://[::1]:9090/", "https://a/b?c=d&e=%2Ff", "http://10.0.0.5:80",
         "https://a?b"),
        ("hooks.example", "http://a:b@hooks", "http://a b", "ftp://a", "http://", "http://a#b", "HTTP://a",
         "http://a/%2f", "http://a/../b", "http://127.1", "http://a\n", "http://a/\nb", "http:///a", "http://é",
         "http://a?é", "http://a/" + "a" * 2040),
    ),
    "namespace": Texts(("shop", "*", "pay-2"), ("Shop", "pay-*", "**", "", "a.b", "x" * 63, "x" * 64, "*\n")),
    "namespaces": Texts(("shop", "*", "pay-*", "pay-2"), ("*-pay", "Shop", "a*b", "**", "", "a.*", "-*", "x" * 64)),
    "enforced value": Texts(
        ("$namespace", "${namespace}", "shop", "eu-1/${namespace}:a_b.c", "$namespace-a", "$namespace$namespace"),
        ("", "$plan", "${plan}", "$namespaces", "$namespace_a", "a b", "a|b", 'a"', "a\\", "$", "${namespace", ".*",
         "a\n", "\u00e9", "a" * 128, "a" * 129),
    ),
    "value of a header": Texts(
        ("shop", "a b", "", "1", "a;b=c", "x" * 1024), (" a", "a ", "a\tb", "\u00e9", "a\nb", "x" * 1025),
    ),
    "name of a credential file": Texts(
        ("prom-token", "a", "ca.crt", "A_b", "x" * 253), ("", "../a", "a/b", ".a", "a.", "a b", "\u00e9", "x" * 254),
    ),
    "user name": Texts(("shop", "a@b", "x" * 256), ("", "a:b", "a b", "\u00e9", "x" * 257)),
    "value of a label": Texts(("prod", "", "a.b_c-D", "0"), ("a b", "-a", "a-", "x" * 63, "x" * 64, "é", "a\n")),
    "time of day": Texts(("00:00", "22:00", "06:00", "23:59"), ("24:00", "6:00", "06:60", "06:00:00", "", "22:00\n")),
    "time of the week": Texts(
        ("Fri 16:00", "Mon 08:00", "Sun 23:59"), ("Friday 16:00", "fri 16:00", "Fri  16:00", "16:00", "Fri 24:00", "")
    ),
    "instant": Texts(
        ("2026-12-20T00:00:00Z", "2027-01-02T00:00:00+01:00", "2028-02-29T12:00:00Z", "2000-01-01T00:00:00-23:59",
         "2999-12-31T23:59:59Z", "2026-12-20T01:00:00+01:00"),
        ("2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-12-20",
         "2026-12-20T00:00:00", "2026-12-20T24:00:00Z", "2026-12-20T23:59:60Z", "1999-12-31T00:00:00Z",
         "2026-12-20T00:00:00z", "2026-12-20 00:00:00Z", "2026-12-20T00:00:00.5Z", "2026-12-20T00:00:00+24:00",
         "2026-12-20T00:00:00+0100", "20261220T000000Z", "2026-W51-7T00:00:00Z", "2026-12-20T00:00:00Z\n"),
    ),
    "time zone": Texts(
        ("UTC", "Europe/Berlin", "Etc/GMT+5", "America/Argentina/Ushuaia"),
        ("Central European Time", "", "/UTC", "Europe/", "../UTC", "Z" * 65, "UTC\n", "+01:00"),
    ),
    "matchers of labels": Texts(
        ('severity="page"', 'a!="b"', 'severity=~"page|ticket",team="shop"', 'a="$deployment"', "=", "!"),
        ("severity", "", 'a="{"', '{a="b"}', 'a="b"}', 'a="b"\n', "a=" + 1022 * "x", "a=" + 1023 * "x"),
    ),
    "name of a header or cookie": Texts(
        ("x-staff", "X-Staff", "beta_1", "0", "a" * 64), ("", "-a", "a b", "a:", "a.b", "\u00e9", "a\n", "a" * 65),
    ),
    "value of a header or cookie": Texts(
        ("yes", "1", "a.b:c/d@e=f,~g+h-", "x" * 128),
        ("", "a b", "a`", 'a"', "a|b", "a*", "$a", "\u00e9", "a\n", "x" * 129),
    ),
    "name of a parameter": Texts(("atLeast", "samples", "a1"), ("At-Least", "1a", "a_b", "", "x" * 64, "a\n")),
}  # fmt: skip
"""By the name of the spelling."""
LIMITS: Final = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minimum", "maximum")
PLAIN: Final = Texts(
    ("up", "hits", 'errors{deployment="$deployment"}', "http_requests_total", "99%", "> 0.9", "5m", "100"),
    ("", " ", "\n", "a\x00b", "😀", "$(atLeast)", "$(nothing)", "'", '"', "\\", "${window}", "null", "true", "5",
     *MORE_THAN_COUNTERS.values(), "h_bucket", 'h_bucket{a="b"}', '{a="b"}', "x}\n", "x]", "x)\n"),
)  # fmt: skip
"""Texts without a spelling, queries among them."""
KEYS: Final = (
    "team", "tier", "atLeast", "a_b", "aB", "stage", "window", "X-Scope-OrgID", "app.kubernetes.io/part-of", "a.b",
    "A", "A b", "My-Word", "-a", "a-", "", "é", "a\n", "1", "x" * 63, "x" * 64, "x" * 128, "x" * 129, "p" * 253 + "/a",
    "p" * 254 + "/a", "a/" + "b" * 63, "a/" + "b" * 64, "a/b/c", "/a", "X" * 400,
)  # fmt: skip
"""Keys of mappings that people fill."""
NUMBERS: Final = (-1, 0, 1, 2, 5, 6, 15, 16, 17, 64, 10_000, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 10**30)
OF_OTHER_TYPES: Final[Sequence[Any]] = (None, True, 5, 3.0, 0.5, "", "5", "true", [], ["text"], [None], {}, {"a": 1})

_ROUTE: Final = {"kind": "HTTPRoute", "name": "checkout"}
_WARNING: Final = {"name": "w", "query": "up", "is": "> 0"}
EXAMPLES: Final[Mapping[str, Sequence[Any]]] = {
    "Predicate": (
        {"name": "p", "query": "up", "is": "> 0"},
        {"name": "p", "query": "up", "vsOld": "<= +5%", "for": "30s", "window": "2m"},
        {"name": "p", "query": "up", "is": "> 0", "minSamples": {"query": "sum(up)", "atLeast": 10}, "dryRun": True},
        {"name": "p", "events": COUNTERS, "vsOld": "> 1.5x", "confidence": "99%"},
        {"name": "p", "events": HISTOGRAM, "is": "< 1%"},
        {"name": "p", "alert": {"matchers": 'severity="page"'}, "for": "30s"},
        {"name": "p", "template": "errors"},
        {"name": "p", "template": "errors", "with": {"atLeast": "99%"}, "is": "> 1%", "window": "2m"},
        {"name": "p", "template": "errors", "vsOld": "> 2x", "for": "10s", "confidence": "99%", "dryRun": False},
        {"name": "p", "use": "hits"},
        {"use": "errors", "dryRun": True},
    ),
    "Events": (COUNTERS, HISTOGRAM),
    "Bake": ("0s", "5m", {"for": "30m"}, {"for": "30m", "holdback": "1%"}, {"for": "1h", "holdback": "0.5%"}),
    "Focus": ("Throughput", {"base": "Stability"}, {"base": "Balanced", "stability": SHIFTS}),
    "Shift": (SHIFTS,),
    "StageSpec": ({"weight": "7%"}, {"name": "s", "weights": ["20%", "30.5%"], "warn": [_WARNING]}, DARK, STAFF),
    "Match": (STAFF["match"], {"cookie": {"name": "beta", "value": "1"}}),
    "Sticky": (STICKY,),
    "OnMetricsUnavailable": ({"action": "Rollback"}, {"after": "5m", "then": "Rollback"}),
    "Assumption": TASKS["assumptions"],
    "NamedJob": ({"name": "j", **JOB}, {"name": "j", **JOB, "deadline": "5s"}),
    "Job": (JOB,),
    "JobTemplate": (JOB["template"], {**JOB["template"], "metadata": {"labels": {"a": "b"}}}),
    "Contract": (TASKS["contract"], {"scaleOld": 0}, {}),
    "RouteRef": (_ROUTE, {**_ROUTE, "rules": [0, "main"]}),
    "Window": POLICY["freeze"]["windows"],
    "Parameter": TEMPLATE["parameters"],
    "PredicateTemplateSpec": (TEMPLATE, COUNTING),
    "TemplateEvents": (COUNTERS, COUNTING["events"]),
}
"""Good ones of a model, by its name, where to fill in its fields by themselves would seldom make one."""


class Place(NamedTuple):
    """Where a value stands in a spec, with the schema for it."""

    holder: Any
    key: Any
    schema: Schema

    @property
    def value(self) -> Any:
        return self.holder[self.key]

    def put(self, value: Any) -> None:
        self.holder[self.key] = value


@dataclass(frozen=True)
class Kind:
    """A kind of object, its model, what its specs begin with, and what is known to be refused."""

    name: str
    model: type[SpecModel]
    good: Sequence[dict[str, Any]]
    """The first has everything in it."""
    refusals: Sequence[Refusal] = ()

    @property
    def full(self) -> dict[str, Any]:
        return self.good[0]

    @cached_property
    def schema(self) -> Schema:
        return {**self.model.model_json_schema(mode="serialization"), "x-model": self.model.__name__}

    def plain(self, schema: Schema) -> Schema:
        """A schema without references and without the choice of nothing."""
        while "$ref" in schema or "anyOf" in schema:
            if "$ref" in schema:
                name, text = schema["$ref"].rpartition("/")[2], schema.get(OR_TEXT)
                schema = {"x-model": name, **self.schema["$defs"][name], **({OR_TEXT: text} if text else {})}
            else:
                (schema,) = (choice for choice in schema["anyOf"] if choice != {"type": "null"})
        return schema

    def places(self, draft: Draft) -> list[Place]:
        """Every place that is filled, the whole spec first."""
        return list(self._below(Place(draft.root, "spec", self.schema)))

    def _below(self, place: Place) -> Iterator[Place]:
        yield place
        value, schema = place.value, place.schema
        if isinstance(value, dict):
            for key in value:
                known = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
                if isinstance(known, dict):
                    yield from self._below(Place(value, key, self.plain(known)))
        if isinstance(value, list) and "items" in schema:
            for i in range(len(value)):
                yield from self._below(Place(value, i, self.plain(schema["items"])))


@dataclass
class Draft:
    """A spec that is being edited."""

    kind: Kind
    random: Random
    root: dict[str, Any]
    edits: list[str] = field(default_factory=list)

    def places(self, like: Callable[[Place], object] = lambda place: True) -> list[Place]:
        return [place for place in self.kind.places(self) if like(place)]

    def one(self, like: Callable[[Place], object] = lambda place: True) -> Place | None:
        """Some place that is like this; each sort of value is as likely, however often it stands there."""
        sorts: dict[tuple[str, str], list[Place]] = {}
        for place in self.places(like):
            sorts.setdefault((str(place.key), place.schema.get("title", "")), []).append(place)
        return self.random.choice(self.random.choice(list(sorts.values()))) if sorts else None

    def sample(self, schema: Schema) -> Any:
        """A value that is probably good by itself."""
        schema, random = self.kind.plain(schema), self.random
        examples = EXAMPLES.get(schema.get("x-model", ""))
        if examples and random.random() < 0.85:
            return self.named(copy.deepcopy(random.choice(examples)))
        if "enum" in schema or "const" in schema:
            return random.choice(schema.get("enum") or [schema["const"]])
        if "x-kubernetes-int-or-string" in schema and CALLED not in schema:
            return random.choice((1, 2, 15, "main", "MatchOld", "None"))
        match schema.get("type"):
            case "object":
                return self._sampled_object(schema)
            case "array":
                least = schema.get("minItems", 0)
                return [self.sample(schema["items"]) for _ in range(random.randint(least, least + 2))]
            case "boolean":
                return random.random() < 0.5
            case "integer":
                least = schema.get("minimum", 0)
                return random.choice((least, least + 1, schema.get("maximum", least)))
        if schema.get(CALLED) in ("name", "stage name") and random.random() < 0.7:
            return f"n{random.randrange(10**6)}"
        return random.choice(texts(schema).good)

    def _sampled_object(self, schema: Schema) -> dict[str, Any]:
        if isinstance(values := schema.get("additionalProperties"), dict):
            return {self.random.choice(KEYS[:6]): self.sample(values) for _ in range(self.random.randint(0, 2))}
        required = schema.get("required", ())
        fields = schema.get("properties", {})
        return {name: self.sample(fields[name]) for name in fields if name in required or self.random.random() < 0.3}

    def sized(self, place: Place, limit: str, by: int) -> Any:
        """What is there, made as large or as small as a limit says, or by so much more or less."""
        schema, value = place.schema, place.value
        size = max(schema[limit] + (-by if limit.startswith("min") else by), 0 if "imum" not in limit else -by)
        match limit:
            case "maxLength" | "minLength":
                text = value if isinstance(value, str) and value else "a"
                return (text + "a" * size)[:size]
            case "minimum" | "maximum":
                return size
            case "maxProperties":
                return {f"k{i}": self.sample(schema["additionalProperties"]) for i in range(size)}
            case _:
                items = [*value] if isinstance(value, list) else []
                more = [
                    self.named(copy.deepcopy(items[0])) if items else self.sample(schema["items"])
                    for _ in range(size - len(items))
                ]
                return [*items, *more][:size]

    def named(self, value: Any) -> Any:
        """The same under a name of its own, if it has one."""
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            value["name"] = f"{value['name'][:40]}{self.random.randrange(10**6)}"
        return value


def own(spec: Any) -> Any:
    """A copy in which no part stands in two places."""
    return json.loads(json.dumps(spec))


def texts(schema: Schema) -> Texts:
    called = schema.get(OR_TEXT, schema).get(CALLED)
    return TEXTS[called] if called else PLAIN


Edit = Callable[[Draft], bool]
"""Changes a draft; False where there is nothing that it could change."""
GENTLE: Final[dict[str, Edit]] = {}
"""Edits that mostly leave a good spec good, by their names."""
ROUGH: Final[dict[str, Edit]] = {}


def _edit(edits: dict[str, Edit]) -> Callable[[Edit], Edit]:
    def kept(edit: Edit) -> Edit:
        edits[edit.__name__.replace("_", " ").strip()] = edit
        return edit

    return kept


def _is_text(place: Place) -> bool:
    return isinstance(place.value, str)


def _is_list(place: Place) -> bool:
    return isinstance(place.value, list) and "items" in place.schema


def _is_map(place: Place) -> bool:
    return isinstance(place.value, dict) and isinstance(place.schema.get("additionalProperties"), dict)


def _is_model(place: Place) -> bool:
    return isinstance(place.value, dict) and "properties" in place.schema


# ---- gentle edits ----------------------------------------------------------------------------------------------------


@_edit(GENTLE)
def _another_value(draft: Draft) -> bool:
    """Weights are left alone: alone they would seldom be good."""
    place = draft.one(
        lambda p: not isinstance(p.value, dict | list) and p.schema.get(CALLED) not in ("weight", "object's name")
    )
    if place is not None:
        place.put(draft.sample(place.schema))
    return place is not None


@_edit(GENTLE)
def _a_field_more(draft: Draft) -> bool:
    return _more(draft, _is_free)


@_edit(GENTLE)
def _a_field_less(draft: Draft) -> bool:
    return _less(draft, _is_free, lambda p: set(p.schema.get("required", ())))


@_edit(GENTLE)
def _an_item_more(draft: Draft) -> bool:
    place = draft.one(_is_list)
    if place is not None:
        place.value.insert(draft.random.randint(0, len(place.value)), draft.sample(place.schema["items"]))
    return place is not None


@_edit(GENTLE)
def _an_entry_more(draft: Draft) -> bool:
    place = draft.one(_is_map)
    if place is not None:
        place.value[draft.random.choice(KEYS[:6])] = draft.sample(place.schema["additionalProperties"])
    return place is not None


@_edit(GENTLE)
def _as_large_as_may_be(draft: Draft) -> bool:
    return _at_a_limit(draft, lambda p: CALLED not in p.schema, by=0)


@_edit(GENTLE)
def _another_ladder(draft: Draft) -> bool:
    """Other weights that rise, in as many stages as may be at most."""
    if draft.kind.name != "RolloutPlan":
        return False
    random = draft.random
    count = random.choice((1, 2, 3, 5, 10, 49, 50, 51)) - 1
    end = random.choice((1000, 1000, 1000, 995, 60))
    permille = sorted(random.sample(range(1, end), min(count, end - 1)))
    weights = [f"{each // 10}.{each % 10}%" if each % 10 else f"{each // 10}%" for each in [*permille, end]]
    stages: list[dict[str, Any]] = []
    while weights:
        some = random.randint(1, 5)
        stages.append({"weight": weights.pop(0)} if some == 1 else {"weights": weights[:some]})
        weights = weights[some:] if some > 1 else weights
    stages[0]["pass"] = [draft.named({"name": "p", "query": "up", "is": "> 0"})]
    draft.root["spec"]["stages"] = stages
    draft.root["spec"].pop("stopAt", None)
    if end < 1000:
        draft.root["spec"]["stopAt"] = f"{end / 10:g}%"
    return True


# ---- rough edits -----------------------------------------------------------------------------------------------------


@_edit(ROUGH)
def _another_type(draft: Draft) -> bool:
    place = draft.one()
    if place is not None:
        place.put(copy.deepcopy(draft.random.choice(OF_OTHER_TYPES)))
    return place is not None


@_edit(ROUGH)
def _nothing_written(draft: Draft) -> bool:
    """A field with nothing behind it, which is null."""
    place = draft.one(_is_model)
    if place is not None:
        place.value[draft.random.choice(list(place.schema["properties"]))] = None
    return place is not None


@_edit(ROUGH)
def _null(draft: Draft) -> bool:
    place = draft.one()
    if place is not None:
        place.put(None)
    return place is not None


@_edit(ROUGH)
def _a_field_missing(draft: Draft) -> bool:
    return _less(draft, lambda p: True, lambda p: set())


@_edit(ROUGH)
def _a_field_beside_others(draft: Draft) -> bool:
    return _more(draft, lambda p: True)


@_edit(ROUGH)
def _an_item_missing(draft: Draft) -> bool:
    place = draft.one(lambda p: _is_list(p) and p.value)
    if place is not None:
        del place.value[draft.random.randrange(len(place.value))]
    return place is not None


@_edit(ROUGH)
def _a_field_misspelled(draft: Draft) -> bool:
    place = draft.one(lambda p: isinstance(p.holder, dict) and p.holder is not draft.root and p.key)
    if place is None:
        return False
    key = place.key
    at = draft.random.randrange(len(key))
    snake = "".join("_" + c.lower() if c.isupper() else c for c in key)
    wrong = (key[:at] + key[at + 1 :], key[:at] + key[at] + key[at:], key.upper(), key.capitalize(), snake, key + "_")
    place.holder[draft.random.choice(wrong)] = place.holder.pop(key)
    return True


@_edit(ROUGH)
def _a_field_of_another_model(draft: Draft) -> bool:
    source = draft.one(lambda p: isinstance(p.holder, dict) and p.holder is not draft.root)
    place = draft.one(_is_model)
    if source is None or place is None:
        return False
    place.value[source.key] = copy.deepcopy(source.value)
    return True


@_edit(ROUGH)
def _an_odd_key(draft: Draft) -> bool:
    """In a mapping that may not have been there."""
    place = draft.one(lambda p: _is_model(p) and _maps(draft.kind, p.schema))
    if place is None:
        return False
    name, values = draft.random.choice(_maps(draft.kind, place.schema))
    place.value[name] = {**(place.value.get(name) or {}), draft.random.choice(KEYS): draft.sample(values)}
    return True


@_edit(ROUGH)
def _an_odd_text(draft: Draft) -> bool:
    place = draft.one(_is_text)
    if place is not None:
        place.put(draft.random.choice(texts(place.schema).odd))
    return place is not None


@_edit(ROUGH)
def _a_text_garbled(draft: Draft) -> bool:
    place = draft.one(_is_text)
    if place is None:
        return False
    text, random = place.value, draft.random
    at = random.randint(0, len(text))
    letter = random.choice(string.ascii_letters + string.digits + " .-_%+<>=:/\n\t$(){}[]'\"\\éx\uff11")
    place.put(random.choice((text[:at] + letter + text[at:], text[:at] + letter + text[at + 1 :], text[:at], text * 2)))
    return True


@_edit(ROUGH)
def _a_number_out_of_range(draft: Draft) -> bool:
    place = draft.one(lambda p: isinstance(p.value, int) or "x-kubernetes-int-or-string" in p.schema)
    if place is not None:
        place.put(draft.random.choice(NUMBERS))
    return place is not None


@_edit(ROUGH)
def _larger_than_may_be(draft: Draft) -> bool:
    return _at_a_limit(draft, lambda p: True, by=1)


@_edit(ROUGH)
def _as_large_as_hardly_may_be(draft: Draft) -> bool:
    return _at_a_limit(draft, lambda p: True, by=0)


@_edit(ROUGH)
def _an_item_twice(draft: Draft) -> bool:
    place = draft.one(lambda p: _is_list(p) and p.value)
    if place is not None:
        place.value.insert(0, copy.deepcopy(draft.random.choice(place.value)))
    return place is not None


@_edit(ROUGH)
def _items_in_another_order(draft: Draft) -> bool:
    place = draft.one(lambda p: _is_list(p) and len(p.value) > 1)
    if place is not None:
        place.value.reverse()
    return place is not None


@_edit(ROUGH)
def _a_value_from_elsewhere(draft: Draft) -> bool:
    """One of the same sort, so that names come twice and times are too short."""
    place = draft.one(lambda p: not isinstance(p.value, dict | list))
    if place is None:
        return False
    sort = place.schema.get(CALLED, place.schema.get("type"))
    alike = draft.places(
        lambda p: p.schema.get(CALLED, p.schema.get("type")) == sort and not isinstance(p.value, dict | list)
    )
    place.put(draft.random.choice(alike).value)
    return True


Like = Callable[[Place], object]


def _more(draft: Draft, like: Like) -> bool:
    place = draft.one(lambda p: _is_model(p) and like(p) and p.schema["properties"].keys() - p.value.keys())
    if place is not None:
        name = draft.random.choice(sorted(place.schema["properties"].keys() - place.value.keys()))
        place.value[name] = draft.sample(place.schema["properties"][name])
    return place is not None


def _less(draft: Draft, like: Like, kept: Callable[[Place], set[str]]) -> bool:
    place = draft.one(lambda p: _is_model(p) and like(p) and p.value.keys() - kept(p))
    if place is not None:
        del place.value[draft.random.choice(sorted(place.value.keys() - kept(place)))]
    return place is not None


def _is_free(place: Place) -> bool:
    """Whether its fields go with each other, as far as is known."""
    return place.schema.get("x-model") not in EXAMPLES


def _maps(kind: Kind, schema: Schema) -> list[tuple[str, Schema]]:
    """The fields of a model that are mappings, with what their values are."""
    fields = ((name, kind.plain(each).get("additionalProperties")) for name, each in schema["properties"].items())
    return [(name, values) for name, values in fields if isinstance(values, dict)]


def _at_a_limit(draft: Draft, like: Like, by: int) -> bool:
    """Make something as large or as small as may be, or by one larger or smaller."""
    place = draft.one(lambda p: like(p) and any(limit in p.schema for limit in LIMITS))
    if place is None:
        return False
    limit = draft.random.choice([limit for limit in LIMITS if limit in place.schema])
    place.put(draft.sized(place, limit, by))
    return True


# ---- what is made ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A spec, the number that it was made from, and the names of all that was done to a good one."""

    number: int
    spec: Any
    edits: Sequence[str]


def made(kind: Kind, number: int) -> Made:
    """The spec of this number. Of five, three are edited gently only."""
    random = Random(f"{SEED} {kind.name} {number}")
    broken = number % 5 < 2
    draft = Draft(kind, random, {"spec": own(random.choice(kind.good))})
    if known := broken and random.random() < 0.2:
        draft.root["spec"] = own(random.choice(kind.refusals).spec())
        draft.edits.append("a refusal that is known")
    for _ in range(random.choice((0, 1, 2) if broken else (0, 1, 2, 3, 5))):
        _apply(draft, GENTLE)
    for _ in range(random.choice((1, 1, 1, 2, 3)) if broken and not known else 0):
        _apply(draft, ROUGH)
    return Made(number, draft.root["spec"], draft.edits)


def every_field(kind: Kind) -> Iterator[Made]:
    """A spec with everything in it, again and again, each time with one field of it wrong in one way."""
    start = Draft(kind, Random(SEED), {"spec": kind.full})
    sorts = {
        (place.schema.get("title", ""), str(place.key)): at for at, place in reversed([*enumerate(start.places())])
    }
    for at in sorted(sorts.values()):
        for words, value in _wrong(start, start.places()[at]):
            draft = Draft(kind, start.random, {"spec": own(kind.full)})
            place = draft.places()[at]
            place.put(copy.deepcopy(value))
            yield Made(at, draft.root["spec"], [f"{place.key}: {words}"])


def _wrong(draft: Draft, place: Place) -> Iterator[tuple[str, Any]]:
    """What could stand at a place by mistake, with words for it."""
    schema, value = place.schema, place.value
    yield from ((f"of another type, {each!r}", each) for each in OF_OTHER_TYPES)
    for limit in (limit for limit in LIMITS if limit in schema):
        yield from ((f"{limit} and {by} beyond", draft.sized(place, limit, by)) for by in (0, 1))
    if isinstance(value, str):
        yield from ((f"the text {text!r}", text) for text in texts(schema).odd)
    if isinstance(value, int):
        yield from ((f"the number {number}", number) for number in NUMBERS)
    if _is_map(place):
        yield from ((f"the key {key!r}", {key: draft.sample(schema["additionalProperties"])}) for key in KEYS)
        yield from ((f"{each!r} behind a key", {KEYS[0]: each}) for each in (None, 5))
    if _is_model(place):
        yield from ((f"without {key}", {name: value[name] for name in value if name != key}) for key in value)
        yield from ((f"{key} misspelled", {**value, f"{key}s": value[key]}) for key in value)
        for name in sorted(schema["properties"].keys() - value.keys()):
            yield from (
                (f"{name} too", {**value, name: more}) for more in (None, draft.sample(schema["properties"][name]))
            )


def _apply(draft: Draft, edits: Mapping[str, Edit]) -> None:
    """Edit in some way; a spec that an edit before has left without any place for one stays as it is."""
    if not isinstance(draft.root["spec"], dict):
        return
    for name in draft.random.sample(list(edits), len(edits)):
        if edits[name](draft):
            draft.edits.append(name)
            return


_ROOT: Final = Path(__file__).parents[1]


_FILES: Final = sorted([*_ROOT.glob("examples/*.yaml"), *_ROOT.glob("deploy/predicates/*.yaml")])
_SHIPPED: Final = [each for file in _FILES for each in yaml.safe_load_all(file.read_text())]


def _shipped(kind: str) -> list[dict[str, Any]]:
    return [each["spec"] for each in _SHIPPED if each["kind"] == kind]


_SAMPLES: Final = {"query": "sum(up)", "atLeast": 10}
FULL: Final = changed(
    TASKS,
    {
        "old.service": "checkout-old",
        "new.service": "checkout-new",
        "traffic": {
            "routes": [{**_ROUTE, "rules": [0, "main"]}],
            "drain": "10s",
            "share": "Ignore",
            "acceptedWithin": "5m",
            "ownership": "Owned",
        },
        "metrics": {"source": "default"},
        "interval": "5s",
        "assumptions[0].job.template.metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
        "assumptions[0].deadline": "1m",
        "assumptions[1].predicate.window": "2m",
        "availability": {"readyWithin": "5m", "minReady": "50%", "grace": "10s", "maxRestarts": 3},
        "guards": [
            {"name": "errors", "query": "up", "vsOld": "> 1.5x", "for": "10s", "window": "1m", "minSamples": _SAMPLES},
            {"name": "many", "events": COUNTERS, "is": "> 1%", "confidence": "99%", "dryRun": True},
            {"name": "few", "template": "errors", "with": {"atLeast": "99%"}},
            {"name": "slow", "events": HISTOGRAM, "vsOld": "> +50%"},
        ],
        "stages[0].soak": "2m",
        "stages[0].deadline": "5m",
        "stages[0].approval": "Required",
        "stages[2].pass": [{"use": "hits", "dryRun": True}],
        "stopAt": "100%",
        "bake": {"for": "5m", "holdback": "1%"},
        "onFail": "Hold",
        "onUndecided": "Extend",
        "onIncident": {"action": "Hold", "after": "5m", "then": "Rollback"},
        "onMetricsUnavailable": {"action": "Hold", "after": "5m", "then": "Rollback"},
        "deletionPolicy": "Keep",
        "variables": {"team": "payments"},
    },
)
REFERRING: Final = changed(
    PLAN,
    {
        "guards": [
            {"template": "errors", "with": {"atLeast": "99%"}, "window": "2m"},
            PLAN["guards"][0] | {"name": "e"},
        ],
        "stages[1].pass": [{"use": "hits"}],
        "stages[2].pass": [{"use": "hits", "dryRun": True}, {"name": "wrong-again", "use": "wrong"}],
        "variables": {"team": "payments"},
        "onMetricsUnavailable": {"after": "5m", "then": "Rollback"},
        "stages[0].approval": "Required",
    },
)
_FULL_SOURCE: Final = {
    "prometheus": {"url": "http://prometheus.monitoring:9090", "flavor": "Thanos"},
    "headers": {"X-Scope-OrgID": "shop"},
    "method": "GET",
    "params": {"dedup": "true"},
    "timeout": "2s",
    "scrapeInterval": "10s",
    "ingestionDelay": "1s",
    "maxConcurrency": 8,
    "batching": "Off",
}
_AUTHS: Final = (
    {"bearer": "token", "caBundle": "ca.crt"},
    {"basic": {"username": "prometheus", "password": "password"}},
    {"mtls": {"cert": "tls.crt", "key": "tls.key"}, "caBundle": "ca.crt"},
    {"caBundle": "ca.crt"},
)
_FULL_NOTIFIER: Final[dict[str, Any]] = {
    "webhook": {"url": "https://hooks.example:8443/a?b=c", "format": "Slack"},
    "headers": {"X-Team": "shop"},
    "timeout": "2s",
    "selector": {"matchLabels": {"tier": "front"}, "owners": ["team-checkout"]},
    "decisions": {"reasons": ["RolledBack", "Held"], "kinds": ["Rollback"], "severity": "Warning"},
    "template": "$plan ${reason}: $note, for $5",
    "giveUpAfter": "10m",
}
KINDS: Final = (
    Kind(
        "RolloutPlan",
        PlanSpec,
        [
            FULL,
            PLAN,
            COUNTED,
            TASKS,
            REFERRING,
            *_shipped("RolloutPlan"),
            *(changed(COUNTED, each) for each in TAKEN.values()),
        ],
        [*PLANS, *UNKNOWN, *ONLY_READ],
    ),
    Kind("MetricSource", MetricSourceSpec, [_FULL_SOURCE, SOURCE], [each for each in SOURCES if each.good is SOURCE]),
    Kind(
        "ClusterMetricSource",
        ClusterMetricSourceSpec,
        [
            {**_FULL_SOURCE, "namespaces": ["shop", "*"], "enforce": {"namespace": "$namespace"}},
            *({**CLUSTER_SOURCE, "prometheus": {"url": "https://prom"}, "auth": auth} for auth in _AUTHS),
            CLUSTER_SOURCE,
            *_shipped("ClusterMetricSource"),
        ],
        [each for each in SOURCES if each.good is CLUSTER_SOURCE],
    ),
    Kind("Notifier", NotifierSpec, [_FULL_NOTIFIER, NOTIFIER], [each for each in NOTIFIERS if each.good is NOTIFIER]),
    Kind(
        "ClusterNotifier",
        ClusterNotifierSpec,
        [
            *({**CLUSTER_NOTIFIER, "auth": auth} for auth in _AUTHS),
            {**CLUSTER_NOTIFIER, "webhook": {"urlFile": "slack", "format": "Teams"}},
            CLUSTER_NOTIFIER,
            *_shipped("ClusterNotifier"),
        ],
        [each for each in NOTIFIERS if each.good is CLUSTER_NOTIFIER],
    ),
    Kind(
        "PredicateTemplate",
        PredicateTemplateSpec,
        [{**TEMPLATE, "for": "10s", "window": "2m"}, COUNTING, TEMPLATE, *_shipped("ClusterPredicateTemplate")],
        [*TEMPLATES, *ONLY_READ_TEMPLATES],
    ),
    Kind(
        "RolloutPolicy",
        RolloutPolicySpec,
        [
            {
                **POLICY,
                "focus": {"base": "Balanced", "stability": SHIFTS},
                "freeze": {"now": "a reason", **POLICY["freeze"]},
            },
            POLICY,
            {},
            *_shipped("RolloutPolicy"),
        ],
        POLICIES,
    ),
)
