"""What is refused, once: for the models here and for the CRDs at a real API server."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

PLAN: Final[dict[str, Any]] = {
    "hypothesis": "v2's read cache serves over 90% of reads, and no request gets slower",
    "old": {"deployment": "checkout-v1"},
    "new": {"deployment": "checkout-v2"},
    "traffic": {"routes": [{"kind": "HTTPRoute", "name": "checkout"}]},
    "guards": [{"name": "errors", "query": "errors", "vsOld": "> 1.5x"}],
    "stages": [
        {"name": "canary", "weight": "5%", "pass": [{"name": "hits", "query": "hits", "is": "> 0.9"}]},
        {"name": "ramp", "weights": ["10%", "50%"], "fail": [{"name": "wrong", "query": "wrong", "is": "> 0"}]},
        {"weight": "100%"},
    ],
}
SOURCE: Final[dict[str, Any]] = {"prometheus": {"url": "http://prometheus.monitoring:9090"}}
NOTIFIER: Final[dict[str, Any]] = {"webhook": {"url": "https://hooks.example/rollouts"}}
CLUSTER_NOTIFIER: Final[dict[str, Any]] = {**NOTIFIER, "selector": {"namespaces": ["shop"]}}
CLUSTER_SOURCE: Final[dict[str, Any]] = {**SOURCE, "namespaces": ["shop"]}
POLICY: Final[dict[str, Any]] = {
    "selector": {"namespaces": ["shop", "pay-*"], "matchLabels": {"tier": "prod"}},
    "maxConcurrent": 3,
    "lockGroup": "payments",
    "freeze": {
        "windows": [
            {"reason": "weekend", "weekly": {"from": "Fri 16:00", "to": "Mon 08:00"}, "timeZone": "Europe/Berlin"},
            {"reason": "nights", "daily": {"from": "22:00", "to": "06:00"}},
            {"reason": "holidays", "from": "2026-12-20T00:00:00Z", "to": "2027-01-02T00:00:00+01:00"},
        ]
    },
    "errorBudget": {"query": 'slo_error_budget_remaining{service="$service"}', "atLeast": "20%"},
}
SHIFTS: Final[dict[str, Any]] = {"failureRate": "> 20%", "over": 20}
"""When the focus of a policy shifts by itself."""


class _Change(Enum):
    """What has the same name in every process, so that tests which are called by it have too."""

    GONE = "left out"


GONE: Final = _Change.GONE
"""Set a field to this to take it out."""


@dataclass(frozen=True)
class Refusal:
    """A good spec with some fields set otherwise, by their paths, and the words that the message must hold."""

    name: str
    changes: Mapping[str, Any]
    words: tuple[str, ...]
    good: dict[str, Any] = field(default_factory=lambda: PLAN)

    def spec(self) -> dict[str, Any]:
        return changed(self.good, self.changes)


def changed(spec: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a spec with fields set: `{"stages[0].weight": "0%"}`."""
    spec = copy.deepcopy(spec)
    for path, value in changes.items():
        *above, last = (int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path))
        place: Any = spec
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
        if value is GONE:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return spec


def predicate(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "query": "up", "is": "> 0", **more}


def alert(name: str, matchers: str = 'severity="page"', /, **more: Any) -> dict[str, Any]:
    return {"name": name, "alert": {"matchers": matchers}, **more}


ROUTE: Final = {"kind": "HTTPRoute", "name": "checkout"}
FLAG: Final = {"kind": "FeatureFlag", "name": "checkout", "flag": "new-cart"}
VARIANTS: Final = {"old.variant": "off", "new.variant": "on"}
BY_PODS: Final = {"kind": "Replicas", "name": "checkout"}
DARK: Final[dict[str, Any]] = {"name": "dark", "mirror": "10%", "soak": "1h"}
STAFF: Final[dict[str, Any]] = {"name": "staff", "match": {"header": {"name": "x-staff", "value": "yes"}}}
STICKY: Final[dict[str, Any]] = {"cookie": "side", "for": "1h"}
WEIGHTLESS: Final = changed(PLAN, {"stages": [DARK, STAFF, *PLAN["stages"]], "traffic.sticky": STICKY})
"""A plan with stages that move no weight."""

COUNTERS: Final = {"bad": 'http_requests_total{code=~"5(..|[0-9]{2})"}', "total": "http_requests_total"}
HISTOGRAM: Final = {"histogram": 'http_request_duration_seconds{deployment="$deployment"}', "slowerThan": "500ms"}
COUNTED: Final = changed(
    PLAN,
    {
        "guards[0]": {"name": "errors", "events": COUNTERS, "vsOld": "> 1.5x", "confidence": "99%"},
        "stages[0].fail": [{"name": "slow", "events": HISTOGRAM, "vsOld": "> +50%"}],
        "stages[0].pass": [{"name": "few-errors", "events": COUNTERS, "is": "< 1%"}],
    },
)
"""A plan that is judged by counts."""

PODS: Final = {"spec": {"serviceAccountName": "jobs", "restartPolicy": "Never", "containers": []}}
JOB: Final = {"template": {"spec": {"backoffLimit": 0, "template": PODS}}}
TASKS: Final = changed(
    PLAN,
    {
        "assumptions": [
            {"name": "cache", "belief": "the cache answers", "impact": 5, "uncertainty": 4, "job": JOB},
            {
                "name": "warm",
                "belief": "the cache is warm",
                "impact": 2,
                "uncertainty": 3,
                "predicate": {"query": "hits", "is": "> 0.9"},
            },
        ],
        "expand": {"jobs": [{"name": "add-columns", **JOB}], "scale": {"new": "MatchOld"}},
        "contract": {"scaleOld": 0, "jobs": [{"name": "drop-columns", **JOB}], "approval": "Required"},
    },
)
"""A plan that does more than to move weights."""

_GUARD: Final = "spec.guards[0]"
_CACHE: Final = "spec.assumptions[0]"

_SLOW: Final = "stages[0].fail[0].events"
_FEW: Final = "stages[0].pass[0]"

AS_SCRAPED: Final = "has a function, a range, an offset"
MORE_THAN_COUNTERS: Final = {
    "a rate": "rate(http_requests_total[5m])",
    "an increase in lines": 'increase(\n  http_requests_total{code=~"5.."}[$window]\n)\n',
    "a sum": 'sum(http_requests_total{code=~"5.."})',
    "a sum by": "sum by (job) (http_requests_total)",
    "a range": 'http_requests_total{code=~"5.."}[5m]',
    "a range of the past": "http_requests_total[5m] offset 5m",
    "parentheses": "(http_requests_total)",
    "an offset": 'http_requests_total{code=~"5.."} offset 5m',
    "an offset without labels": "http_requests_total\n  offset 5m",
    "an instant": 'http_requests_total{code=~"5.."} @ 1700000000',
    "an open brace": f"http_requests_total{' ' * 4000}{{",
    "a brace that opens again": 'http_requests_total{code=~"5.."}{',
}
TAKEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "a flag of two Deployments": {"traffic.routes": [FLAG], **VARIANTS},
    "a flag of one Deployment": {"traffic.routes": [FLAG], **VARIANTS, "new.deployment": "checkout-v1"},
    "a flag and a route": {"traffic.routes": [FLAG, ROUTE], **VARIANTS},
    "numbers of pods": {"traffic.routes": [BY_PODS]},
    "numbers of pods behind the Service that both sides name": {
        "traffic.routes": [BY_PODS],
        "old.service": "checkout",
        "new.service": "checkout",
    },
    "a bake as a mapping": {"bake": {"for": "30m"}},
    "a bake with a control group": {"bake": {"for": "30m", "holdback": "1%"}},
    "a bake with the smallest control group": {"bake": {"for": "1s", "holdback": "0.1%"}, "stopAt": "100%"},
    "a bake with the largest control group": {
        "bake": {"for": "1h30m", "holdback": "50.0%"},
        "stages": [{"weight": "49.9%"}, {"weight": "100%"}],
    },
    "stages without weights": {"stages": WEIGHTLESS["stages"], "traffic": WEIGHTLESS["traffic"]},
    "testers by cookie": {
        "stages": [
            {"name": "b", "match": {"cookie": {"name": "Beta_1", "value": "a.b:c/d@e=f,~g+h-"}}},
            {"weight": 100},
        ]
    },
    "alerts": {
        "guards": [alert("page", 'severity=~"page|ticket",deployment!="$deployment"', **{"for": "30s"})],
        "stages[1].fail": [alert("b", "a!~'b'", dryRun=True), {"name": "again", "use": "page"}],
        "stages[2].warn": [alert("c", " alertname = `X` ,")],
    },
    "the longest matchers": {"guards": [alert("page", f'a="{"x" * 1020}"')]},
    "a recording rule": {"guards[0].events.bad": "job:http_requests:total"},
    "a word in a name": {"guards[0].events.bad": "${service}_requests_total"},
    "a word alone": {"guards[0].events.bad": "$requests"},
    "labels alone": {"guards[0].events.bad": '{__name__=~"a_total|b_total", deployment="$deployment"}'},
    "a name in quotes": {"guards[0].events.bad": '{"http.requests", path="é"}'},
    "a function in a label": {"guards[0].events.bad": 'http_requests_total{path="rate(x[5m])"}'},
    "a counter in lines": {"guards[0].events.bad": 'http_requests_total {\n  code=~"5(00|03)"\n}\n'},
    "the longest counter": {"guards[0].events.bad": "x" * 4096},
    "a histogram with a name in quotes": {f"{_SLOW}.histogram": '{"http.duration", "k8s.name"="$deployment"}'},
    "a histogram with a name among its labels": {f"{_SLOW}.histogram": '{a="b", __name__="http_duration"}'},
    "a histogram with a comment": {f"{_SLOW}.histogram": 'http_duration{a="@b"}  # agreed with payments'},
    "a histogram with a word in its name": {f"{_SLOW}.histogram": '${service}_duration{a="/{id}/(x)"}'},
    "a counter with a comment": {"guards[0].events.bad": 'http_requests_total{user=~"a@b"} # all'},
    "a histogram of buckets": {f"{_SLOW}.histogram": 's3_bucket_seconds{name="a_bucket"}'},
    "the shortest time": {f"{_SLOW}.slowerThan": "1ms"},
    "a share": {f"{_FEW}.is": ">=0.001"},
    "a share in per cent": {f"{_FEW}.is": "<= 99.9%"},
    "a small share": {f"{_FEW}.is": "> 1e-3%"},
    "a ratio below 1": {"guards[0].vsOld": "< 0.5x"},
    "a change": {"guards[0].vsOld": "<= +5%"},
    "a change downwards": {"guards[0].vsOld": ">= -99.9%"},
    "the least confidence": {"guards[0].confidence": "50.01%"},
    "the most confidence": {"guards[0].confidence": "99.99%"},
}
"""What may stand in the plan that is judged by counts."""


def _counted(name: str, changes: Mapping[str, Any], *words: str) -> Refusal:
    return Refusal(name, changes, words, COUNTED)


def _task(name: str, changes: Mapping[str, Any], *words: str) -> Refusal:
    return Refusal(name, changes, words, TASKS)


_WITHOUT_WEIGHTS: Final[Sequence[tuple[str, Mapping[str, Any], tuple[str, ...]]]] = (
    ("a weight and a mirror", {"stages[0].mirror": "10%"}, ("spec.stages[0]", "exactly one of weight")),
    ("a mirror of nothing", {"stages[0]": {**DARK, "mirror": "0%"}}, ("spec.stages[0].mirror", "above 0%")),
    (
        "a mirror without a name",
        {"stages[0]": {"mirror": "10%"}},
        ("spec.stages[0].name", "a stage without weights has no name of its own"),
    ),
    (
        "a mirror with the name of a weight",
        {"stages[0]": {**DARK, "name": "ramp-w10"}},
        ("spec.stages[0].name", "is the name of a weight, which this stage has not"),
    ),
    ("a mirror after a weight", {"stages[1]": DARK}, ("spec.stages", "comes after a weight")),
    ("testers after a weight", {"stages[1]": STAFF}, ("spec.stages", "comes after a weight")),
    ("no weight at all", {"stages": [DARK, STAFF]}, ("spec.stages", "no stage has a weight")),
    (
        "testers of nobody",
        {"stages[0]": {**STAFF, "match": {}}},
        ("spec.stages[0].match", "exactly one of header"),
    ),
    (
        "testers by header and by cookie",
        {"stages[0]": STAFF, "stages[0].match.cookie": {"name": "beta", "value": "1"}},
        ("spec.stages[0].match", "exactly one of header"),
    ),
    (
        "testers by any value",
        {"stages[0]": {**STAFF, "match": {"header": {"name": "x-staff"}}}},
        ("spec.stages[0].match.header.value", "equired"),
    ),
    *(
        (
            f"testers by the {part} {text!r}",
            {"stages[0]": STAFF, f"stages[0].match.header.{part}": text},
            (f"spec.stages[0].match.header.{part}", f"is not {what}"),
        )
        for part, what, texts in (
            ("name", "the name of a header or cookie", ("", "x staff", "x-staff:", "-x")),
            ("value", "a value that every kind of route can match", ("", "a b", "a`b", "a.*", '"a"', "(a|b)")),
        )
        for text in texts
    ),
    (
        "a cookie for no time",
        {"traffic.sticky": {**STICKY, "for": "0s"}},
        ("spec.traffic.sticky.for", "minimum of 1s"),
    ),
    (
        "a cookie for ever",
        {"traffic.sticky": {**STICKY, "for": "30d"}},
        ("spec.traffic.sticky.for", "limit of 168h"),
    ),
    ("a cookie without a name", {"traffic.sticky": {"for": "1h"}}, ("spec.traffic.sticky.cookie", "equired")),
)

PLANS: Final = (
    # sides and routes
    Refusal("no old side", {"old": GONE}, ("spec.old", "equired")),
    Refusal("one Deployment on both sides", {"new.deployment": "checkout-v1"}, ("spec.new.deployment", "new version")),
    Refusal(
        "one Service on both sides", {"new.service": "checkout-v1"}, ("spec.new.service", "give each side its own")
    ),
    Refusal(
        "a Deployment's name",
        {"old.deployment": "Check_out"},
        ("spec.old.deployment", '"Check_out"', "lower-case letters"),
    ),
    Refusal(
        "the old name of onMetricsUnavailable",
        {"onBlind": {"action": "Hold"}},
        ("spec.onBlind", "onBlind is called onMetricsUnavailable now: write onMetricsUnavailable"),
    ),
    Refusal(
        "a variant without a flag", {"new.variant": "on"}, ("spec.new.variant", "no route of the plan is a FeatureFlag")
    ),
    Refusal(
        "a flag without its name",
        {"traffic.routes": [{"kind": "FeatureFlag", "name": "checkout"}], **VARIANTS},
        ("spec.traffic.routes[0].flag", "name the flag"),
    ),
    Refusal(
        "a flag of a route", {"traffic.routes[0].flag": "cart"}, ("spec.traffic.routes[0].flag", "only a FeatureFlag")
    ),
    Refusal(
        "rules of a flag",
        {"traffic.routes": [{**FLAG, "rules": ["all"]}], **VARIANTS},
        ("spec.traffic.routes[0].rules", "its rule is the flag"),
    ),
    Refusal("a side of a flag", {"traffic.routes": [FLAG], "old.variant": "off"}, ("spec.new.variant", "is missing")),
    Refusal(
        "one variant on both sides",
        {"traffic.routes": [FLAG], "old.variant": "on", "new.variant": "on"},
        ("spec.new.variant", "name the variant that the new side gets"),
    ),
    Refusal(
        "a variant as YAML reads it",
        {"traffic.routes": [FLAG], **VARIANTS, "new.variant": True},
        ("spec.new.variant",),
    ),
    Refusal(
        "two Services of one Deployment",
        {"traffic.routes": [FLAG], **VARIANTS, "new.deployment": "checkout-v1", "new.service": "checkout"},
        ("spec.new.service", "both sides are one Deployment"),
    ),
    Refusal(
        "one Deployment that is scaled",
        {"traffic.routes": [FLAG], **VARIANTS, "new.deployment": "checkout-v1", "contract.scaleOld": 0},
        ("spec.contract.scaleOld", "both sides are one Deployment"),
    ),
    Refusal(
        "pods and weights", {"traffic.routes": [BY_PODS, ROUTE]}, ("spec.traffic.routes", "it must be the only route")
    ),
    Refusal(
        "two Services of one",
        {"traffic.routes": [BY_PODS], "new.service": "checkout-v2"},
        ("spec.new.service", "is not the Service that the Replicas route names"),
    ),
    Refusal(
        "pods that the run adds before the weights",
        {"traffic.routes": [BY_PODS], "expand.scale.new": "MatchOld"},
        ("spec.expand.scale.new", "the route sets the number of pods"),
    ),
    Refusal(
        "pods that the run takes away after the weights",
        {"traffic.routes": [BY_PODS], "contract.scaleOld": 0},
        ("spec.contract.scaleOld", "the route sets the number of pods"),
    ),
    Refusal("no route", {"traffic.routes": []}, ("spec.traffic.routes", "at least 1")),
    Refusal("a kind of route", {"traffic.routes[0].kind": "Ingress"}, ("spec.traffic.routes[0].kind", "NginxCanary")),
    Refusal(
        "a route twice",
        {"traffic.routes": [{"kind": "HTTPRoute", "name": "a"}] * 2},
        ("spec.traffic.routes", "name"),
    ),
    Refusal("a rule's index", {"traffic.routes[0].rules": [16]}, ("spec.traffic.routes[0].rules[0]", "from 0 to 15")),
    Refusal(
        "a rule's name", {"traffic.routes[0].rules": ["A b"]}, ("spec.traffic.routes[0].rules[0]", "write its name")
    ),
    # weights
    Refusal("weights that fall", {"stages[1].weights": ["50%", "10%"]}, ("spec.stages[1].weights", "must increase")),
    Refusal("a weight twice", {"stages[1].weights": ["10%", "10%"]}, ("spec.stages[1].weights", "must increase")),
    Refusal("stages that fall", {"stages[0].weight": "60%"}, ("spec.stages", "must increase")),
    Refusal("a weight of 0", {"stages[0].weight": "0%"}, ("spec.stages[0].weight", "above 0%")),
    Refusal("a weight of 0 of several", {"stages[1].weights": ["0.0%"]}, ("spec.stages[1].weights[0]", "above 0%")),
    Refusal("a weight over 100", {"stages[2].weight": "101%"}, ("spec.stages[2].weight", '"101%"', "0.1% to 100%")),
    Refusal("a weight too fine", {"stages[0].weight": "0.55%"}, ("spec.stages[0].weight", "steps of 0.1%")),
    Refusal(
        "a weight without %", {"stages[0].weight": "5"}, ("spec.stages[0].weight", '"5" is not a percentage', '"5%"')
    ),
    Refusal("a weight as a fraction", {"stages[0].weight": 0.5}, ("spec.stages[0].weight",)),
    Refusal("a weight of the number 0", {"stages[0].weight": 0}, ("spec.stages[0].weight", "above 0%")),
    Refusal("a weight of the number 101", {"stages[0].weight": 101}, ("spec.stages[0].weight", "0.1% to 100%")),
    Refusal(
        "an end below 100%",
        {"stages[2].weight": "99%"},
        ("spec.stages", "is 99%: end the stages with 100%, or write stopAt to end there"),
    ),
    Refusal(
        "an end below stopAt",
        {"stopAt": "75.5%", "stages[2].weight": "75%"},
        ("spec.stages", "is 75%: end the stages with 75.5%, as stopAt says"),
    ),
    Refusal(
        "an end above stopAt", {"stopAt": "60%"}, ("spec.stages", "is 100%: end the stages with 60%, as stopAt says")
    ),
    Refusal("a stopAt of nothing", {"stopAt": "0%"}, ("spec.stopAt", '"0%" is not a percentage above 0%')),
    Refusal("a stopAt that is no share", {"stopAt": "half"}, ("spec.stopAt", '"half" is not a percentage')),
    Refusal(
        "weight and weights",
        {"stages[0].weights": ["6%"]},
        ("spec.stages[0]", "exactly one of weight, weights, mirror and match"),
    ),
    Refusal("neither weight nor weights", {"stages[0].weight": GONE}, ("spec.stages[0]", "exactly one of weight")),
    # stages without weights
    *(Refusal(*row) for row in _WITHOUT_WEIGHTS),
    Refusal("no stages", {"stages": []}, ("spec.stages", "at least 1")),
    Refusal("no weights", {"stages[1].weights": []}, ("spec.stages[1].weights", "at least 1")),
    Refusal(
        "too many stages",
        {"stages": [{"weight": f"{i}%"} for i in range(50, 101)]},
        ("spec.stages", "50"),
    ),
    Refusal(
        "too many weights in all",
        {
            "stages": [
                {"weights": [f"{i}%" for i in range(1, 41)]},
                {"weights": [f"{i}%" for i in range(50, 101)][-11:]},
            ]
        },
        ("spec.stages", "at most 50"),
    ),
    # names
    Refusal("a stage's name twice", {"stages[1].name": "canary"}, ("spec.stages", "choose another name")),
    Refusal(
        "a stage's name", {"stages[0].name": "Canary!"}, ("spec.stages[0].name", '"Canary!"', "lower-case letters")
    ),
    Refusal("a stage's long name", {"stages[0].name": "a" * 51}, ("spec.stages[0].name", "50")),
    Refusal(
        "a stage named for another weight", {"stages[0].name": "w7"}, ("spec.stages[0].name", "than 5%: change one")
    ),
    Refusal(
        "a predicate twice in a list", {"guards": [predicate("a"), predicate("a")]}, ("spec", "choose another name")
    ),
    Refusal("a predicate twice in a stage", {"stages[0].fail": [predicate("hits")]}, ("spec", "choose another name")),
    Refusal("a predicate twice in the plan", {"stages[2].pass": [predicate("wrong")]}, ("spec", "choose another name")),
    Refusal("a predicate named as a guard", {"stages[2].pass": [predicate("errors")]}, ("spec", "choose another name")),
    Refusal("a warning named as a predicate", {"stages[2].warn": [predicate("hits")]}, ("spec", "choose another name")),
    Refusal(
        "two warnings of one name",
        {f"stages[{i}].warn": [predicate("slow")] for i in (0, 2)},
        ("spec", "choose another"),
    ),
    Refusal("a predicate's name", {"guards[0].name": "Errors"}, (f"{_GUARD}.name", '"Errors"', "lower-case letters")),
    # predicates
    Refusal("no predicate", {"guards": []}, ("spec.stages", "nothing judges", "guards")),
    Refusal(
        "nothing but dry runs",
        {"guards[0].dryRun": True, "stages[0].pass[0].dryRun": True},
        ("spec.stages", "nothing judges", "without dryRun"),
    ),
    Refusal(
        "nothing but dry runs, by reference",
        {"guards[0]": {"template": "errors", "dryRun": True}, "stages[0].pass[0].dryRun": True},
        ("spec.stages", "nothing judges", "without dryRun"),
    ),
    Refusal(
        "nothing but warnings",
        {"guards": [], "stages[2].warn": [predicate("slow")]},
        ("spec.stages", "nothing judges", "pass or fail predicates"),
    ),
    Refusal("too many warnings", {"stages[0].warn": [predicate(f"p{i}") for i in range(17)]}, ("stages[0].warn", "16")),
    Refusal("a dry run in words", {"guards[0].dryRun": "yes"}, ("spec.guards[0].dryRun",)),
    Refusal("too many predicates", {"guards": [predicate(f"p{i}") for i in range(17)]}, ("spec.guards", "16")),
    Refusal(
        "is: about 5", {"guards[0]": predicate("a", **{"is": "about 5"})}, (f"{_GUARD}.is", '"about 5"', '"> 0.9"')
    ),
    Refusal(
        "is without operator",
        {"guards[0]": predicate("a", **{"is": "0.9"})},
        (f"{_GUARD}.is", '"0.9" is not a comparison'),
    ),
    Refusal(
        "is with x", {"guards[0]": predicate("a", **{"is": "> 2x"})}, (f"{_GUARD}.is", '"> 2x" is not a comparison')
    ),
    Refusal(
        "vsOld without a sign",
        {"guards[0].vsOld": "< 5"},
        (f"{_GUARD}.vsOld", '"< 5" is not a comparison with the old side'),
    ),
    Refusal(
        "vsOld % without a sign",
        {"guards[0].vsOld": "< 5%"},
        (f"{_GUARD}.vsOld", '"< 5%" is not a comparison with the old side'),
    ),
    Refusal("vsOld of 1x", {"guards[0].vsOld": "> 1x"}, (f"{_GUARD}.vsOld", "noise alone", '"> 1.5x"')),
    Refusal("vsOld of 1.0x", {"guards[0].vsOld": "<=01.00x"}, (f"{_GUARD}.vsOld", "noise alone")),
    Refusal("vsOld of too many digits", {"guards[0].vsOld": "> +0.0000000000001%"}, (f"{_GUARD}.vsOld", "a relative")),
    Refusal("vsOld of +0%", {"guards[0].vsOld": "> +0.0%"}, (f"{_GUARD}.vsOld", "noise alone", '"<= +10%"')),
    Refusal("is and vsOld", {"guards[0].is": "> 0"}, (_GUARD, "exactly one of is and vsOld")),
    Refusal("neither is nor vsOld", {"guards[0].vsOld": GONE}, (_GUARD, "exactly one of is and vsOld")),
    Refusal("an empty query", {"guards[0].query": ""}, (f"{_GUARD}.query", "at least 1")),
    Refusal("a query too long", {"guards[0].query": "x" * 4097}, (f"{_GUARD}.query", "4096")),
    Refusal("no query", {"guards[0].query": GONE}, (_GUARD, "exactly one of query, events, alert, use, template")),
    Refusal("query and events", {"guards[0].events": COUNTERS}, (_GUARD, "exactly one of query, events, alert")),
    Refusal("no name", {"guards[0].name": GONE}, (f"{_GUARD}.name", "equired")),
    # alerts
    Refusal(
        "a query and an alert", {"guards[0].alert": {"matchers": 'a="b"'}}, (_GUARD, "exactly one of query, events")
    ),
    Refusal(
        "events and an alert", {"guards[0]": alert("a", events=COUNTERS)}, (_GUARD, "exactly one of query, events")
    ),
    Refusal(
        "an alert and a use", {"guards[0]": alert("a", use="hits")}, (_GUARD, "exactly one of query, events, alert")
    ),
    Refusal("an alert without a name", {"guards[0]": {"alert": {"matchers": 'a="b"'}}}, (f"{_GUARD}.name", "equired")),
    Refusal(
        "an alert without matchers", {"guards[0]": alert("a") | {"alert": {}}}, (f"{_GUARD}.alert.matchers", "equired")
    ),
    *(
        Refusal(
            f"{what} of an alert",
            {"guards[0]": alert("a", text)},
            (f"{_GUARD}.alert.matchers", "is not a list of label matchers"),
        )
        for what, text in {
            "no matchers": "",
            "blank matchers": "  ",
            "a name": "page",
            "a series": 'ALERTS{severity="page"}',
            "an end": 'severity="page"} or vector(1',
        }.items()
    ),
    Refusal(
        "two lines of an alert",
        {"guards[0]": alert("a", 'severity="page",\nteam="shop"')},
        (f"{_GUARD}.alert.matchers",),  # the API server tells no words with an end of a line in them
    ),
    Refusal("long matchers", {"guards[0]": alert("a", f'a="{"x" * 1024}"')}, (f"{_GUARD}.alert.matchers", "1024")),
    *(
        Refusal(
            f"{field} of an alert",
            {"guards[0]": alert("a", **{field: value})},
            (f"{_GUARD}.{field}", "is not allowed with alert, which is true while an alert fires: remove it"),
        )
        for field, value in (
            ("is", "> 1"),
            ("vsOld", "> 2x"),
            ("window", "2m"),
            ("confidence", "99%"),
            ("minSamples", {"query": "up", "atLeast": 1}),
        )
    ),
    Refusal(
        "parameters of an alert", {"guards[0]": alert("a", **{"with": {"a": "b"}})}, (f"{_GUARD}.with", "template")
    ),
    Refusal(
        "an alert that speaks for the new side",
        {"stages[2].pass": [alert("a")]},
        ("spec.stages[2].pass", "an alert indicates failure", "write it under fail or guards"),
    ),
    # references
    Refusal(
        "a query and a template", {"guards[0].template": "errors"}, (_GUARD, "exactly one of query, events, alert")
    ),
    Refusal("a query and a use", {"guards[0].use": "hits"}, (_GUARD, "exactly one of query, events, alert")),
    Refusal("a use and a template", {"guards[0]": {"use": "a", "template": "b"}}, (_GUARD, "exactly one of query")),
    Refusal("a template's name", {"guards[0]": {"template": "a.b"}}, (f"{_GUARD}.template", '"a.b" is not a name')),
    Refusal("the name of what is used", {"guards[0]": {"use": "A"}}, (f"{_GUARD}.use", '"A" is not a name')),
    Refusal(
        "two comparisons for a template",
        {"guards[0]": {"template": "errors", "is": "> 1", "vsOld": "> 2x"}},
        (_GUARD, "exactly one of is and vsOld"),
    ),
    Refusal(
        "other samples than the template's",
        {"guards[0]": {"template": "errors", "minSamples": {"query": "up", "atLeast": 1}}},
        (f"{_GUARD}.minSamples", "is set by the template: remove it"),
    ),
    *(
        Refusal(
            f"{field} of what is used",
            {"stages[2].pass": [{"use": "hits", field: value}]},
            (f"spec.stages[2].pass[0].{field}", "takes the other predicate unchanged: remove it"),
        )
        for field, value in (
            ("is", "> 1"),
            ("vsOld", "> 2x"),
            ("for", "30s"),
            ("window", "2m"),
            ("confidence", "99%"),
            ("minSamples", {"query": "up", "atLeast": 1}),
        )
    ),
    Refusal(
        "parameters of a query", {"guards[0].with": {"a": "b"}}, (f"{_GUARD}.with", "is only allowed with template")
    ),
    Refusal(
        "parameters of what is used",
        {"stages[2].pass": [{"use": "hits", "with": {"a": "b"}}]},
        ("spec.stages[2].pass[0].with", "is only allowed with template"),
    ),
    Refusal(
        "a parameter that is no text",
        {"guards[0]": {"template": "a", "with": {"n": 5}}},
        (f"{_GUARD}.with.n",),
    ),
    Refusal(
        "a parameter too long",
        {"guards[0]": {"template": "a", "with": {"n": "x" * 257}}},
        (f"{_GUARD}.with.n", "256"),
    ),
    Refusal(
        "too many parameters",
        {"guards[0]": {"template": "a", "with": {f"n{i}": "x" for i in range(17)}}},
        (f"{_GUARD}.with", "16"),
    ),
    Refusal(
        "a template twice without a name",
        {"guards[0]": {"template": "errors"}, "stages[2].pass": [{"template": "errors"}]},
        ("spec", "choose another name"),
    ),
    Refusal(
        "a template named as a predicate", {"stages[2].pass": [{"template": "errors"}]}, ("spec", "choose another name")
    ),
    Refusal("a window under 1s", {"guards[0].window": "900ms"}, (f"{_GUARD}.window", "900ms", "1s or more")),
    Refusal(
        "no samples at least", {"guards[0].minSamples": {"query": "up", "atLeast": 0}}, ("minSamples.atLeast", "1")
    ),
    Refusal(
        "a query's confidence", {"guards[0].confidence": "95%"}, (f"{_GUARD}.confidence", "only allowed", "remove")
    ),
    # events
    _counted("no events", {"guards[0].events": {}}, f"{_GUARD}.events", "bad with total, or histogram with slowerThan"),
    _counted("bad without total", {"guards[0].events.total": GONE}, f"{_GUARD}.events", "write one pair"),
    _counted("total without bad", {"guards[0].events.bad": GONE}, f"{_GUARD}.events", "write one pair"),
    _counted("a histogram alone", {f"{_SLOW}.slowerThan": GONE}, f"spec.{_SLOW}", "write one pair"),
    _counted("slower without a histogram", {f"{_SLOW}.histogram": GONE}, f"spec.{_SLOW}", "write one pair"),
    _counted("two pairs of events", {"guards[0].events": {**COUNTERS, **HISTOGRAM}}, f"{_GUARD}.events", "one pair"),
    _counted("a pair and a half", {"guards[0].events.slowerThan": "1s"}, f"{_GUARD}.events", "one pair"),
    _counted("a pair across", {_SLOW: {"bad": "a", "slowerThan": "1s"}}, f"spec.{_SLOW}", "one pair"),
    *(
        _counted(name, {f"guards[0].events.{field}": text}, f"{_GUARD}.events.{field}", AS_SCRAPED, "operator computes")
        for field in COUNTERS
        for name, text in MORE_THAN_COUNTERS.items()
    ),
    _counted("a counter too long", {"guards[0].events.bad": "x" * 4097}, f"{_GUARD}.events.bad", "4096"),
    _counted("an empty counter", {"guards[0].events.total": ""}, f"{_GUARD}.events.total", "at least 1"),
    _counted(
        "a rate of buckets", {f"{_SLOW}.histogram": "rate(h[1m])"}, f"spec.{_SLOW}.histogram", "operator computes"
    ),
    _counted(
        "no histogram's name", {f"{_SLOW}.histogram": '{a="b"}'}, f"spec.{_SLOW}.histogram", "its name without _bucket"
    ),
    _counted(
        "a histogram's buckets", {f"{_SLOW}.histogram": 'h_bucket{a="b"}'}, f"spec.{_SLOW}.histogram", "without _bucket"
    ),
    _counted(
        "a histogram's offset", {f"{_SLOW}.histogram": 'h{a="b"} offset 1m'}, f"spec.{_SLOW}.histogram", AS_SCRAPED
    ),
    _counted("buckets alone", {f"{_SLOW}.histogram": "h_bucket"}, f"spec.{_SLOW}.histogram", "without _bucket"),
    _counted("slow is no time", {f"{_SLOW}.slowerThan": "0.5"}, f"spec.{_SLOW}.slowerThan", '"0.5" is not a duration'),
    _counted("all is slow", {f"{_SLOW}.slowerThan": "0s"}, f"spec.{_SLOW}.slowerThan", "0s is below", "1ms or more"),
    # what counts prove
    _counted("an absolute change of counts", {"guards[0].vsOld": "> +0.2"}, f"{_GUARD}.vsOld", "absolute", '"> 1.5x"'),
    _counted("counts at 1x", {"guards[0].vsOld": "> 1.0x"}, f"{_GUARD}.vsOld", "noise alone", '"> 1.5x"'),
    _counted("counts at +0%", {"guards[0].vsOld": "<= +0%"}, f"{_GUARD}.vsOld", "noise alone", '"<= +10%"'),
    _counted("counts at 0x", {"guards[0].vsOld": "> 0.0x"}, f"{_GUARD}.vsOld", '"> 0.0x" is not a bound', "above 0"),
    _counted(
        "counts at -100%", {"guards[0].vsOld": "> -100%"}, f"{_GUARD}.vsOld", '"> -100%" is not a bound', "above 0"
    ),
    _counted("counts below nothing", {"guards[0].vsOld": "< -150.5%"}, f"{_GUARD}.vsOld", "above 0"),
    _counted("counts that equal", {"guards[0].vsOld": "== 2x"}, f"{_GUARD}.vsOld", '"== 2x"', "write < or >"),
    _counted("a share that equals", {f"{_FEW}.is": "!= 1%"}, f"spec.{_FEW}.is", '"!= 1%"', "write < or >"),
    *(
        _counted(f"a share of {share}", {f"{_FEW}.is": f"< {share}"}, f"spec.{_FEW}.is", "between 0% and 100%")
        for share in ("0", "0%", "-1%", "1", "100%", "100.5%", "2.5", "1e2%", "1e2", "0e9")
    ),
    *(
        _counted(
            f"a confidence of {share}", {"guards[0].confidence": share}, f"{_GUARD}.confidence", "is not a confidence"
        )
        for share in ("50%", "50.00%", "5%", "100%", "0.95", "99.999%", "95 %")
    ),
    # what is not for events
    _counted("events for a time", {"guards[0].for": "30s"}, f"{_GUARD}.for", "is not allowed with events", "remove it"),
    _counted(
        "a window of events", {"guards[0].window": "1m"}, f"{_GUARD}.window", "is not allowed with events", "remove it"
    ),
    _counted(
        "samples of events",
        {"guards[0].minSamples": {"query": "up", "atLeast": 1}},
        f"{_GUARD}.minSamples",
        "is not allowed with events",
        "remove it",
    ),
    # tasks
    _task("an assumption's name", {"assumptions[0].name": "Cache"}, f"{_CACHE}.name", '"Cache"', "lower-case letters"),
    _task("two tasks of one name", {"assumptions[1].name": "cache"}, "spec", "choose another name"),
    _task("no belief", {"assumptions[0].belief": ""}, f"{_CACHE}.belief", "at least 1"),
    _task("an impact of 0", {"assumptions[0].impact": 0}, f"{_CACHE}.impact", "1"),
    _task("an impact of 6", {"assumptions[0].impact": 6}, f"{_CACHE}.impact", "5"),
    _task("an uncertainty in words", {"assumptions[0].uncertainty": "much"}, f"{_CACHE}.uncertainty"),
    _task("nothing to probe with", {"assumptions[0].job": GONE}, _CACHE, "exactly one of job and predicate"),
    _task(
        "two ways to probe",
        {"assumptions[1].job": JOB},
        "spec.assumptions[1]",
        "set exactly one of job and predicate",
    ),
    _task("no time to probe", {"assumptions[0].deadline": "0s"}, f"{_CACHE}.deadline", "0s is below", "1s or more"),
    _task("a Job without a spec", {"assumptions[0].job.template.spec": GONE}, f"{_CACHE}.job.template.spec", "equired"),
    _task(
        "a Job without a template of pods",
        {"assumptions[0].job.template.spec.template": GONE},
        f"{_CACHE}.job.template.spec.template",
        "equired",
    ),
    _task(
        "a Job that removes itself",
        {"assumptions[0].job.template.spec.ttlSecondsAfterFinished": 60},
        f"{_CACHE}.job.template.spec.ttlSecondsAfterFinished",
        "before its result is seen: remove this",
    ),
    *(
        _task(
            f"a Job with {what}",
            {f"assumptions[0].job.template.spec.{field}": value},
            f"{_CACHE}.job.template.spec.{where or field}",
            words,
        )
        for what, field, value, where, words in (
            ("no ServiceAccount", "template.spec.serviceAccountName", GONE, "template.spec", "rolloutplan.dev/jobs"),
            (
                "default",
                "template.spec.serviceAccountName",
                "default",
                "template.spec",
                'other than "default"',
            ),
            ("an empty account", "template.spec.serviceAccountName", "", "template.spec", "name a ServiceAccount"),
            ("a path", "template.spec.serviceAccountName", "../../secrets/x", "", "is not an object's name"),
            ("no spec of its pods", "template.spec", GONE, "template.spec", "name a ServiceAccount"),
            ("a selector", "selector", {"matchLabels": {"app": "checkout"}}, "", "could make pods of others the Job's"),
            ("pods of others", "manualSelector", True, "", "could make pods of others the Job's"),
            ("finalizers", "template.metadata", {"finalizers": ["a.b/c"]}, "template.metadata", "stay for ever"),
            ("a longer life", "activeDeadlineSeconds", 301, "", "longer than the deadline of the plan"),
            ("no life", "activeDeadlineSeconds", 0, "", "1"),
        )
    ),
    _task(
        "a Job that outlives its deadline",
        {"expand.jobs[0].template.spec.activeDeadlineSeconds": 601},
        "spec.expand.jobs[0].template.spec.activeDeadlineSeconds",
        "longer than the deadline of the plan",
    ),
    _task(
        "a window of no time", {"assumptions[1].predicate.window": "0s"}, "spec.assumptions[1].predicate.window", "1s"
    ),
    _task("no comparison", {"assumptions[1].predicate.is": GONE}, "spec.assumptions[1].predicate.is", "equired"),
    _task("too many tasks", {"assumptions": [TASKS["assumptions"][0]] * 17}, "spec.assumptions", "16"),
    _task("a Job named as an assumption", {"expand.jobs[0].name": "cache"}, "spec", "choose another name"),
    _task("a Job twice", {"expand.jobs": [TASKS["expand"]["jobs"][0]] * 2}, "spec", "choose another name"),
    _task("a Job's name", {"expand.jobs[0].name": "Add"}, "spec.expand.jobs[0].name", '"Add"', "lower-case letters"),
    _task("a Job without time", {"expand.jobs[0].deadline": "1ms"}, "spec.expand.jobs[0].deadline", "1s or more"),
    _task("a Job without a template", {"expand.jobs[0].template": GONE}, "spec.expand.jobs[0].template", "equired"),
    *(
        _task(
            f"a size of {size}",
            {"expand.scale.new": size},
            "spec.expand.scale.new",
            "is not a size",
            "MatchOld",
        )
        for size in (0, -1, 10_001, "Match", "7")
    ),
    _task("a Job named as one before", {"contract.jobs[0].name": "add-columns"}, "spec", "choose another name"),
    _task("an old side below nothing", {"contract.scaleOld": -1}, "spec.contract.scaleOld", "0"),
    _task("an old side too large", {"contract.scaleOld": 10_001}, "spec.contract.scaleOld", "10000"),
    _task("an old side in words", {"contract.scaleOld": "None"}, "spec.contract.scaleOld"),
    _task("an approval", {"contract.approval": "Perhaps"}, "spec.contract.approval", "Required"),
    _task(
        "an approval of nothing",
        {"contract": {"approval": "Required"}},
        "spec.contract.approval",
        "nothing to approve: write scaleOld or jobs",
    ),
    *(
        _task(
            f"below full traffic {what}",
            {"stages[2].weight": "80%", "stopAt": "80%", "contract": contract},
            "spec.contract",
            "at stopAt the old side still has traffic: remove it",
        )
        for what, contract in (("a smaller old side", {"scaleOld": 0}), ("Jobs", {"jobs": TASKS["contract"]["jobs"]}))
    ),
    # times
    Refusal("an interval under 1s", {"interval": "500ms"}, ("spec.interval", "500ms", "1s or more")),
    Refusal(
        "a gateway without time", {"traffic.acceptedWithin": "500ms"}, ("spec.traffic.acceptedWithin", "1s or more")
    ),
    Refusal(
        "a route of our own of a kind that has none",
        {"traffic.ownership": "Owned", "traffic.routes[0].kind": "GRPCRoute"},
        ("spec.traffic.ownership", "HTTPRoutes alone"),
    ),
    Refusal("an ownership of no name", {"traffic.ownership": "Own"}, ("spec.traffic.ownership", "Owned")),
    Refusal("a gateway with a day", {"traffic.acceptedWithin": "24h"}, ("spec.traffic.acceptedWithin", "1h or less")),
    Refusal(
        "a time too long",
        {"stages[0].deadline": "99999h1s"},
        ("spec.stages[0].deadline", '"99999h1s" is too long', "at most 99999h"),
    ),
    Refusal("no unit", {"interval": "10"}, ("spec.interval", '"10" is not a duration', '"10s"')),
    Refusal("weeks", {"traffic.drain": "2w"}, ("spec.traffic.drain", '"2w" is not a duration')),
    Refusal(
        "days too many", {"traffic.drain": "4167d"}, ("spec.traffic.drain", '"4167d" is too long', "at most 99999h")
    ),
    Refusal("a time out of order", {"traffic.drain": "12h1d"}, ("spec.traffic.drain", '"12h1d" is not a duration')),
    Refusal(
        "days where hours are too long", {"traffic.acceptedWithin": "1d"}, ("spec.traffic.acceptedWithin", "1h or less")
    ),
    Refusal("no days", {"interval": "0d"}, ("spec.interval", "1s or more")),
    Refusal("a time before now", {"traffic.drain": "-5s"}, ("spec.traffic.drain", '"-5s" is not a duration')),
    Refusal("a for that is no time", {"guards[0].for": "soon"}, (f"{_GUARD}.for", '"soon" is not a duration')),
    Refusal("a deadline before the soak", {"stages[0].deadline": "4m"}, ("spec.stages[0].deadline", "shorter", "5m")),
    Refusal(
        "a deadline before the soak, both written",
        {"stages[0].deadline": "59m", "stages[0].soak": "1h"},
        ("spec.stages[0].deadline", "59m is shorter than the soak of 1h"),
    ),
    Refusal(
        "a warmup as long as a soak",
        {"warmup": "5m"},
        ("spec.warmup", "5m is not shorter than the soak of", "write a longer soak, or a shorter warmup"),
    ),
    Refusal(
        "the warmup of a stage as long as its soak",
        {"stages[0].warmup": "3m", "stages[0].soak": "2m"},
        ("spec.stages[0].warmup", "3m is not shorter than the soak of 2m"),
    ),
    Refusal("a warmup that is no time", {"warmup": "soon"}, ("spec.warmup", '"soon" is not a duration')),
    # the bake, of which CEL sees nothing: the API server names the field, and the reader says the fix
    *(
        Refusal(f"a bake that is {what}", {"bake": bake}, ("spec.bake", *words))
        for what, bake, words in (
            ("no time", "soon", ("soon",)),
            ("a number", 30, ()),
            ("true", True, ()),
            ("a list", ["30m"], ()),
            ("an empty list", [], ()),
            ("a mapping without a time", {"holdback": "1%"}, ("for",)),
            ("an empty mapping", {}, ()),
            ("a mapping with another field", {"for": "30m", "hold": "1%"}, ()),
            ("a mapping with a field too many", {"for": "30m", "holdback": "1%", "hold": "1%"}, ()),
            ("a mapping with a time in other words", {"for": "soon"}, ("spec.bake.for",)),
            ("a mapping with a number", {"for": 30}, ("spec.bake.for",)),
        )
    ),
    *(
        Refusal(f"a holdback of {share}", {"bake": {"for": "30m", "holdback": share}}, ("spec.bake.holdback",))
        for share in ("0%", "50.1%", "100%", "0.05%", "1", "", 0, 51, 0.5, True, ["1%"])
    ),
    # policies
    Refusal("a policy", {"onFail": "Retreat"}, ("spec.onFail", "Rollback", "Hold")),
    Refusal("a policy of incidents", {"onIncident": {"then": "Wait"}}, ("spec.onIncident.then", "Hold", "Rollback")),
    Refusal("a policy of incidents in one word", {"onIncident": "Rollback"}, ("spec.onIncident",)),
    Refusal(
        "after without then",
        {"onMetricsUnavailable": {"after": "5m"}},
        ("spec.onMetricsUnavailable", "write both or neither"),
    ),
    Refusal(
        "then without after",
        {"onMetricsUnavailable": {"then": "Rollback"}},
        ("spec.onMetricsUnavailable", "write both or neither"),
    ),
    Refusal("restarts in quotes", {"availability.maxRestarts": "3"}, ("spec.availability.maxRestarts",)),
    Refusal("restarts that are true", {"availability.maxRestarts": True}, ("spec.availability.maxRestarts",)),
    Refusal("restarts below 0", {"availability.maxRestarts": -1}, ("spec.availability.maxRestarts", "0")),
    Refusal("readiness in words", {"availability.minReady": "half"}, ("spec.availability.minReady", '"half"', '"50%"')),
    # words
    Refusal("a variable like our word", {"variables": {"stage": "a"}}, ("spec.variables", "choose another name")),
    Refusal("a variable's name", {"variables": {"My-Word": "a"}}, ("spec.variables", "lower-case letter first")),
    Refusal(
        "a variable's name of two lines", {"variables": {"team\n": "a"}}, ("spec.variables", "lower-case letter first")
    ),
    Refusal("a long hypothesis", {"hypothesis": "x" * 1025}, ("spec.hypothesis", "1024")),
    Refusal(
        "a team of several words", {"owner": "the checkout team"}, ("spec.owner", "name of a team", "team-checkout")
    ),
    Refusal("a long team", {"owner": "x" * 64}, ("spec.owner", "63")),
    Refusal("a runbook that is no address", {"runbook": "wiki/checkout"}, ("spec.runbook", "http:// or https://")),
    Refusal("a runbook that is a script", {"runbook": "javascript:alert(1)"}, ("spec.runbook", "http:// or https://")),
    Refusal("a runbook of two lines", {"runbook": "https://wiki/a\nb"}, ("spec.runbook",)),
    Refusal("a runbook with a password", {"runbook": "https://me:pw@wiki/"}, ("spec.runbook", "***", "without user")),
    Refusal("a long runbook", {"runbook": "https://wiki/" + "x" * 2048}, ("spec.runbook", "2048")),
)

ONLY_READ: Final = (
    Refusal("a bake of too many hours", {"bake": "99999h1s"}, ("spec.bake", '"99999h1s" is too long', "99999h")),
    Refusal(
        "a control group without a bake",
        {"bake": {"for": "0s", "holdback": "1%"}},
        ("spec.bake.for", "0s leaves no time to compare with the control group", "remove holdback"),
    ),
    Refusal(
        "a control group of a plan that ends below 100%",
        {"bake": {"for": "30m", "holdback": "1%"}, "stages[2].weight": "90%", "stopAt": "90%"},
        ("spec.bake.holdback", "is only for plans that end at 100%", "remove it"),
    ),
    *(
        Refusal(
            f"a weight of {weight} below a control group of 1%",
            {"bake": {"for": "30m", "holdback": "1%"}, "stages[1].weights[1]": weight},
            (f"spec.stages[1].weights[1]: {weight} is not below 99%", "bake.holdback 1%", "write a lower weight"),
        )
        for weight in ("99%", "99.5%")
    ),
    _counted(
        "buckets in quotes", {f"{_SLOW}.histogram": '{"h_bucket",a="b"}'}, f"spec.{_SLOW}.histogram", "without _bucket"
    ),
    _counted(
        "labels alone", {f"{_SLOW}.histogram": '{"a.b"="c"}'}, f"spec.{_SLOW}.histogram", "its name without _bucket"
    ),
    _counted(
        "two histograms", {f"{_SLOW}.histogram": 'h{a="b"} or g{a="b"}'}, f"spec.{_SLOW}.histogram", "more than one"
    ),
    Refusal(
        "a use of nothing",
        {"stages[2].pass": [{"use": "hit"}]},
        ("stages[2].pass[0].use", '"hit"', "did you mean hits?"),
    ),
    Refusal(
        "a use of a use",
        {"stages[1].pass": [{"name": "again", "use": "hits"}], "stages[2].pass": [{"use": "again"}]},
        ("spec.stages[2].pass[0].use", '"again" itself uses another predicate: write the name of that one'),
    ),
    Refusal(
        "a use of an alert that speaks for the new side",
        {"stages[1].warn": [alert("page")], "stages[2].pass": [{"use": "page"}]},
        ("spec.stages[2].pass[0].use", '"page": an alert indicates failure'),
    ),
    Refusal("a use of itself", {"stages[2].pass": [{"name": "a", "use": "a"}]}, ("pass[0].use", "itself uses another")),
    Refusal(
        "a use of what is judged there",
        {"stages[0].fail": [{"use": "hits"}]},
        ("spec.stages[0].fail[0].use", '"hits" is already evaluated here, as stages[0].pass[0]', "another name"),
    ),
    Refusal(
        "a use of a guard",
        {"stages[2].pass": [{"use": "errors"}]},
        ("stages[2].pass[0].use", "evaluated here, as guards[0]"),
    ),
    Refusal(
        "too many templates",
        {f"stages[{i}].pass": [{"template": f"t{i}-{j}"} for j in range(6)] for i in range(3)},
        ("spec", "18 templates are too many: name at most 16"),
    ),
)
"""What the API server takes, because to look for it there is too dear: it makes the plan Invalid."""

UNKNOWN: Final = (
    Refusal("a field that is not there", {"analysis": []}, ("unknown field", "spec.analysis")),
    Refusal("a field mistyped", {"intervall": "5s"}, ("unknown field", "spec.intervall")),
    Refusal("a field of a stage", {"stages[0].pauseFor": "Required"}, ("unknown field", "spec.stages[0].pauseFor")),
    Refusal("a field of a predicate", {"guards[0].alerts": "a"}, ("unknown field", "spec.guards[0].alerts")),
    Refusal("a name in our own spelling", {"on_fail": "Hold"}, ("unknown field", "spec.on_fail")),
    _task("a name of a Job", {"assumptions[0].job.template.metadata": {"name": "a"}}, "unknown field", "metadata.name"),
    _task(
        "an assumption of both sides", {"assumptions[1].predicate.vsOld": "> 2x"}, "unknown field", "predicate.vsOld"
    ),
    *(
        _task(
            f"an assumption that refers by {field}",
            {f"assumptions[1].predicate.{field}": "hits"},
            "unknown field",
            f"assumptions[1].predicate.{field}",
        )
        for field in ("use", "template", "alert")
    ),
)

SOURCES: Final = (
    Refusal("no Prometheus", {"prometheus": GONE}, ("spec.prometheus", "equired"), SOURCE),
    Refusal("an address", {"prometheus.url": "prom:9090"}, ("spec.prometheus.url", '"prom:9090"', "http://"), SOURCE),
    Refusal("a password", {"prometheus.url": "http://a:b@prom"}, ("spec.prometheus.url", "is not an address"), SOURCE),
    Refusal("a flavor", {"prometheus.flavor": "Cortex"}, ("spec.prometheus.flavor", "Thanos", "Mimir"), SOURCE),
    Refusal("no time", {"timeout": "0s"}, ("spec.timeout", "100ms or more"), SOURCE),
    Refusal("a time without end", {"timeout": "99999h"}, ("spec.timeout", "limit of 2m: write 2m or less"), SOURCE),
    Refusal("no interval", {"scrapeInterval": "50ms"}, ("spec.scrapeInterval", "100ms or more"), SOURCE),
    Refusal("too many at once", {"maxConcurrency": 65}, ("spec.maxConcurrency", "64"), SOURCE),
    Refusal("an address of two lines", {"prometheus.url": "http://a\n"}, ("spec.prometheus.url",), SOURCE),
    *(
        Refusal(f"the address {url}", {"prometheus.url": url}, ("spec.prometheus.url", "write"), SOURCE)
        for url in (
            "http://[",
            "http://]",
            "http://[]",
            "http://[::1",
            "http://[1::2::3]",
            "http://[fe80::1%25eth0]",
            "http://[::ffff:127.0.0.1]",
            "http://127.1",
            "http://0x7f000001",
            "http://0177.0.0.1",
            "http://2130706433",
            "http://127.0.0.1.",
            "http://127.0.0.256",
            "http://a..b",
            "http://.a",
            "http://" + "a" * 64,
            "http://a:0",
            "http://a:65536",
            "http://a:",
            "http://a:b",
            "http://a/../b",
            "http://a/./b",
            "http://a/%2e%2e/b",
            "http://a/b c",
            "http://a\\b",
            "http://a?b",
            "http://a#b",
            "HTTP://a",
            "ftp://a",
            "http://pröm",
        )
    ),
    Refusal("a header's name", {"headers": {"A b": "c"}}, ("spec.headers", "name of a header"), SOURCE),
    Refusal("a header's long name", {"headers": {"x" * 129: "c"}}, ("spec.headers", "128"), SOURCE),
    *(
        Refusal(f"the header {name}", {"headers": {name: "c"}}, ("spec.headers", "use auth"), SOURCE)
        for name in (
            "Authorization",
            "Cookie",
            "Host",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Proxy-Authorization",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-Real-IP",
            "X-Original-URL",
            "X-Remote-User",
            "X-HTTP-Method-Override",
            "X-WebAuth-User",
        )
    ),
    Refusal("two lines in a header", {"headers": {"X-A": "b\r\nHost: c"}}, ("spec.headers.X-A",), SOURCE),
    Refusal("an umlaut in a header", {"headers": {"X-A": "ä"}}, ("X-A", "value of a header"), SOURCE),
    *(
        Refusal(f"the parameter {name}", {"params": {name: "c"}}, ("spec.params", "operator sets"), SOURCE)
        for name in ("query", "time", "start", "end", "step", "timeout", "partial_response", "nocache")
    ),
    Refusal("a parameter's name", {"params": {"a b": "c"}}, ("spec.params", "name of a parameter"), SOURCE),
    Refusal("another method", {"method": "PUT"}, ("spec.method", "GET"), SOURCE),
    Refusal(
        "credentials of one namespace's",
        {"auth": {"bearer": "token"}},
        ("spec.auth", "only allowed on a ClusterMetricSource"),
        SOURCE,
    ),
    *(
        Refusal(name, {"prometheus.url": "https://prom", "auth": auth}, words, CLUSTER_SOURCE)
        for name, auth, words in (
            ("no credential", {}, ("spec.auth", "is empty")),
            (
                "two credentials",
                {"bearer": "a", "basic": {"username": "u", "password": "b"}},
                ("spec.auth", "more than one of bearer, basic and mtls"),
            ),
            ("a path", {"bearer": "../token"}, ("spec.auth.bearer", '"../token"', "without a path")),
            ("a whole path", {"caBundle": "/etc/passwd"}, ("spec.auth.caBundle", "without a path")),
            ("the folder itself", {"bearer": "."}, ("spec.auth.bearer", "without a path")),
            ("a hidden file", {"bearer": "..data"}, ("spec.auth.bearer", "without a path")),
            ("a user's name", {"basic": {"username": "a:b", "password": "p"}}, ("spec.auth.basic.username", '":"')),
            ("no password", {"basic": {"username": "a"}}, ("spec.auth.basic.password", "equired")),
            ("a certificate without its key", {"mtls": {"cert": "a"}}, ("spec.auth.mtls.key", "equired")),
        )
    ),
    Refusal(
        "credentials over http",
        {"auth": {"bearer": "token"}},
        ("spec.auth", "only used over https"),
        CLUSTER_SOURCE,
    ),
    Refusal("namespaces of one namespace's", {"namespaces": ["a"]}, ("unknown field", "spec.namespaces"), SOURCE),
    Refusal("a namespace", {"namespaces": ["Shop"]}, ("spec.namespaces[0]", '"Shop"', '"*"'), CLUSTER_SOURCE),
    Refusal("a switch that is neither", {"batching": "on"}, ("spec.batching", "On", "Off"), SOURCE),
    Refusal("labels of one namespace's", {"enforce": {"a": "b"}}, ("unknown field", "spec.enforce"), SOURCE),
    Refusal("a label", {"enforce": {"a.b": "c"}}, ("spec.enforce", "is not a label of series"), CLUSTER_SOURCE),
    Refusal("a name of metrics", {"enforce": {"__name__": "c"}}, ("spec.enforce", "without '__'"), CLUSTER_SOURCE),
    Refusal("a plan's word", {"enforce": {"a": "$plan"}}, ("spec.enforce", '"$plan"', "authors"), CLUSTER_SOURCE),
    Refusal("a pattern", {"enforce": {"a": "b|c"}}, ("spec.enforce", '"b|c"', "is not a value"), CLUSTER_SOURCE),
    Refusal("no value", {"enforce": {"a": ""}}, ("spec.enforce", '""', "is not a value"), CLUSTER_SOURCE),
    Refusal("a longer word", {"enforce": {"a": "$namespaces"}}, ("spec.enforce", "${namespace}"), CLUSTER_SOURCE),
    Refusal("no namespace", {"namespaces": []}, ("spec.namespaces", "at least 1"), CLUSTER_SOURCE),
)

NOTIFIERS: Final = (
    Refusal("no webhook", {"webhook": GONE}, ("spec.webhook", "equired"), NOTIFIER),
    Refusal("no address", {"webhook.url": GONE}, ("spec.webhook.url", "equired"), NOTIFIER),
    *(
        Refusal(f"the webhook {url}", {"webhook.url": url}, ("spec.webhook.url", "***", "of a webhook"), NOTIFIER)
        for url in (
            "hooks.example",
            "ftp://hooks.example",
            "https://user:password@hooks.example",
            "https://hooks.example/a b",
            "https://hooks.example/../b",
            "https://hooks.example/a%2fb",
            "https://hooks.example/#a",
            "https://127.1/",
            "https://2130706433/",
            "https://hooks.example:65536",
            "https://hooks.example/a\r\nX-A: b",
            "https://hooks.exämple",
        )
    ),
    Refusal("a format", {"webhook.format": "Mail"}, ("spec.webhook.format", "Json", "Slack", "Teams"), NOTIFIER),
    Refusal("a file of one namespace's", {"webhook.urlFile": "a"}, ("unknown field", "spec.webhook.urlFile"), NOTIFIER),
    Refusal("two addresses", {"webhook.urlFile": "slack"}, ("spec.webhook", "write url or urlFile"), CLUSTER_NOTIFIER),
    Refusal("no address at all", {"webhook.url": GONE}, ("spec.webhook", "write url or urlFile"), CLUSTER_NOTIFIER),
    Refusal("a path of a file", {"webhook": {"urlFile": "/etc/a"}}, ("spec.webhook.urlFile", "path"), CLUSTER_NOTIFIER),
    Refusal("no time", {"timeout": "0s"}, ("spec.timeout", "100ms or more"), NOTIFIER),
    Refusal("more time than a run has", {"timeout": "9s"}, ("spec.timeout", "limit of 8s: write 8s or less"), NOTIFIER),
    Refusal("no patience", {"giveUpAfter": "59s"}, ("spec.giveUpAfter", "1m or more"), NOTIFIER),
    Refusal("too much patience", {"giveUpAfter": "25h"}, ("spec.giveUpAfter", "24h or less"), NOTIFIER),
    *(
        Refusal(f"the header {name}", {"headers": {name: "c"}}, ("spec.headers", "ClusterNotifier"), NOTIFIER)
        for name in ("Authorization", "Idempotency-Key", "Content-Type", "Host", "X-Forwarded-For", "A b")
    ),
    *(
        Refusal(name, {"headers": {"X-A": value}}, ("spec.headers.X-A", "***", "value of a header"), NOTIFIER)
        for name, value in (("two lines in a header", "b\r\nHost: c"), ("a NUL in a header", "a\0b"), ("DEL", "a\x7f"))
    ),
    Refusal("too many headers", {"headers": {f"X-{i}": "a" for i in range(17)}}, ("spec.headers", "16"), NOTIFIER),
    Refusal("credentials of a team", {"auth": {"bearer": "a"}}, ("spec.auth", "only allowed on a Cluster"), NOTIFIER),
    Refusal(
        "credentials over http",
        {"webhook.url": "http://hooks.example", "auth": {"bearer": "token"}},
        ("spec.auth", "only used over https", "webhook.url"),
        CLUSTER_NOTIFIER,
    ),
    Refusal("no credential", {"auth": {}}, ("spec.auth", "is empty"), CLUSTER_NOTIFIER),
    Refusal(
        "namespaces of a team", {"selector": {"namespaces": ["a"]}}, ("unknown field", "selector.namespaces"), NOTIFIER
    ),
    Refusal("a namespace", {"selector.namespaces": ["Shop"]}, ("spec.selector.namespaces[0]", '"*"'), CLUSTER_NOTIFIER),
    Refusal("no namespace", {"selector.namespaces": []}, ("selector.namespaces", "at least 1"), CLUSTER_NOTIFIER),
    Refusal("a label", {"selector": {"matchLabels": {"-a": "b"}}}, ("matchLabels", "name of a label"), NOTIFIER),
    Refusal("an owner", {"selector": {"owners": ["a b"]}}, ("spec.selector.owners[0]", "name of a team"), NOTIFIER),
    Refusal("a reason", {"decisions": {"reasons": ["Rolledback"]}}, ("decisions.reasons[0]", "RolledBack"), NOTIFIER),
    Refusal("a kind", {"decisions": {"kinds": ["rollback"]}}, ("spec.decisions.kinds[0]", "Rollback"), NOTIFIER),
    Refusal("a severity", {"decisions": {"severity": "Error"}}, ("spec.decisions.severity", "Warning"), NOTIFIER),
    Refusal("a word", {"template": "$plan: $reasn"}, ("spec.template", "word", "$reason"), NOTIFIER),
    Refusal("a word in braces", {"template": "${plans}"}, ("spec.template", "word", "plan"), NOTIFIER),
    Refusal("no text", {"template": ""}, ("spec.template", "at least 1"), NOTIFIER),
    Refusal("too much text", {"template": "x" * 1025}, ("spec.template", "1024"), NOTIFIER),
    Refusal("a field of policies", {"freeze": {}}, ("unknown field", "spec.freeze"), NOTIFIER),
)

TEMPLATE: Final[dict[str, Any]] = {
    "description": "The share of requests that do not fail.",
    "indicates": "Success",
    "parameters": [
        {"name": "deployment", "type": "String", "default": "$deployment"},
        {"name": "metric", "type": "Name", "default": "http_requests_total"},
        {"name": "atLeast", "type": "Percent", "default": "99%"},
        {"name": "samples", "type": "Number", "default": "100"},
    ],
    "query": """sum(rate($(metric){deployment="$(deployment)",code!~"5.."}[$window]))
        / sum(rate($(metric){deployment="$(deployment)"}[$window]))""",
    "is": ">= $(atLeast)",
    "minSamples": {
        "query": 'sum(increase($(metric){deployment="$(deployment)"}[$window]))',
        "atLeast": "$(samples)",
    },
}
COUNTING: Final[dict[str, Any]] = {
    "indicates": "Failure",
    "parameters": [{"name": "slowerThan", "type": "Duration"}, {"name": "sure", "type": "Percent", "default": "99%"}],
    "events": {
        "histogram": 'http_request_duration_seconds{deployment="$deployment"}',
        "slowerThan": "$(slowerThan)",
    },
    "vsOld": "> 1.5x",
    "confidence": "$(sure)",
}


def _template(name: str, changes: Mapping[str, Any], *words: str) -> Refusal:
    return Refusal(name, changes, words, TEMPLATE)


TEMPLATES: Final = (
    _template("it says nothing", {"indicates": GONE}, "spec.indicates", "equired"),
    _template("what it indicates", {"indicates": "Both"}, "spec.indicates", "Success", "Failure"),
    _template("the old name of indicates", {"speaks": "For"}, "spec.speaks", "speaks is called indicates now"),
    _template("nothing is asked", {"query": GONE, "minSamples": GONE}, "spec", "exactly one of query and events"),
    _template("two things are asked", {"events": COUNTERS}, "spec", "exactly one of query and events"),
    _template("nothing is compared", {"is": GONE}, "spec", "exactly one of is and vsOld"),
    _template("two comparisons in it", {"vsOld": "> 2x"}, "spec", "exactly one of is and vsOld"),
    _template("a query that is sure", {"confidence": "99%"}, "spec.confidence", "only allowed"),
    Refusal("counts for a time", {"for": "30s"}, ("spec.for", "is not allowed with events"), COUNTING),
    Refusal("a window of counts", {"window": "1m"}, ("spec.window", "is not allowed with events"), COUNTING),
    _template(
        "a parameter twice",
        {"parameters[1].name": "atLeast"},
        "spec.parameters",
        "two have the same name: choose another name",
    ),
    _template("a parameter's name", {"parameters[1].name": "At-Least"}, "parameters[1].name", '"At-Least"', "letters"),
    _template("a parameter's type", {"parameters[1].type": "Label"}, "spec.parameters[1].type", "String", "Duration"),
    _template(
        "too many parameters",
        {"parameters": [{"name": f"p{i}", "type": "Number"} for i in range(17)]},
        "spec.parameters",
        "16",
    ),
    _template("a query too long", {"query": "x" * 4097}, "spec.query", "4096"),
    _template("no number of samples", {"minSamples.atLeast": ""}, "minSamples.atLeast", "is not a whole number"),
    _template("a broken number of samples", {"minSamples.atLeast": 3.5}, "minSamples.atLeast"),
    _template("no time of evaluation", {"for": ""}, "spec.for", "at least 1"),
)
ONLY_READ_TEMPLATES: Final = (
    _template("a hole for nothing", {"is": ">= $(atleast)"}, "spec.is: $(atleast) is not a parameter", "mean atLeast?"),
    _template("a hole that is none", {"is": ">= $(at least)"}, "spec.is", "$(at least) is not a parameter"),
    _template(
        "a String without quotes",
        {"query": "sum($(deployment))"},
        "spec.query: $(deployment) is a String outside of quotes",
        "write quotes around it",
    ),
    _template("a String behind quotes", {"query": 'x{a="b"} + $(deployment)'}, "spec.query", "outside of quotes"),
    _template("a String in half a quote", {"query": 'x{a="$(deployment)}'}, "spec.query", "outside of quotes"),
    _template(
        "a default of another type",
        {"parameters[2].default": "0.99"},
        'spec.parameters[2].default: "0.99" is not a percentage',
    ),
    _template("a default that ends the quotes", {"parameters[0].default": 'a"'}, "parameters[0].default", "quotes"),
    _template("a default without a word", {"parameters[0].default": "$team"}, "parameters[0].default", "$service"),
    _template("a comparison that is none", {"is": "about $(atLeast)"}, 'spec.is: "about 99%" is not a comparison'),
    _template("a number of samples", {"minSamples.atLeast": "some"}, "spec.minSamples.atLeast", "whole number"),
)
"""What the API server takes of a template: it makes the plans Invalid that name it."""

_WEEKLY: Final = "spec.freeze.windows[0]"
_DAILY: Final = "spec.freeze.windows[1]"
_ONCE: Final = "spec.freeze.windows[2]"


def _policy(name: str, changes: Mapping[str, Any], *words: str) -> Refusal:
    return Refusal(name, changes, words, POLICY)


ROUTE_KIND: Final[dict[str, Any]] = {
    "group": "mesh.example.com",
    "versions": ["v1", "v1beta1"],
    "resource": "meshsplits",
    "rules": {"spec.routes[]": "targets[]"},
    "name": ["service"],
    "weight": "share",
    "weights": {"missing": 0, "max": 1000},
    "accepted": {"settle": "5s"},
}


def _route_kind(name: str, changes: Mapping[str, Any], *words: str) -> Refusal:
    return Refusal(name, changes, words, ROUTE_KIND)


ROUTE_KINDS: Final = (
    _route_kind("no place of weights", {"rules": GONE}, "spec", "needs one place of weights: write rules"),
    _route_kind("two places of weights", {"share": {"of": "spec.service"}}, "spec", "needs one place of weights"),
    _route_kind("no weight", {"weight": GONE}, "spec", "write weight"),
    _route_kind("no name of a side", {"name": GONE}, "spec", "write name"),
    _route_kind(
        "single items without rules",
        {"rules": GONE, "share": {"of": "spec.service"}, "single": ["spec.to"]},
        "spec.single",
        "write rules, too",
    ),
    _route_kind("no version", {"versions": []}, "spec.versions", "at least 1"),
    _route_kind("no resource", {"resource": GONE}, "spec.resource"),
    _route_kind("a resource in capitals", {"resource": "MeshSplits"}, "spec.resource", "MeshSplits"),
    _route_kind("a weight as text", {"weights.max": "many"}, "spec.weights.max"),
    _route_kind("a settle time that is none", {"accepted.settle": "soon"}, "spec.accepted.settle", "soon"),
    _route_kind("no settle time", {"accepted.settle": "0s"}, "spec.accepted.settle", "0s is below the minimum of 1s"),
    _route_kind(
        "a settle time for ever", {"accepted.settle": "10000h"}, "spec.accepted.settle", "above the limit of 10m: write"
    ),
    _route_kind(
        "nothing that says when weights are in force", {"accepted": {}}, "accepted", "write settle, such as 2s"
    ),
    _route_kind(
        "a generation of nothing",
        {"accepted": {"generationAt": "status.observedGeneration"}},
        "accepted",
        "write settle, such as 2s",
    ),
    _route_kind(
        "weights that nobody accepts",
        {"accepted": {"echo": "status.targets[]", "generationAt": "status.seen"}},
        "accepted",
        "write settle, such as 2s",
    ),
    _route_kind(
        "a word without a generation",
        {"accepted": {"value": "status.state", "goodWords": ["Valid"]}},
        "accepted",
        "write settle, such as 2s",
    ),
    _route_kind(
        "a generation in no condition",
        {"accepted.generation": "observedGeneration"},
        "spec.accepted.generation",
        "write conditions, or generationAt",
    ),
    _route_kind(
        "two answers",
        {
            "accepted.value": "status.state",
            "accepted.goodWords": ["Valid"],
            "accepted.good": {"Valid": "True"},
            "accepted.conditions": "status.conditions[]",
        },
        "spec.accepted.value",
        "write one of them",
    ),
    _route_kind("a field that there is not", {"weihgt": "share"}, "weihgt"),
    *(
        _route_kind(f"{resource} of {group}", {"group": group, "resource": resource}, "spec.resource", "has no weights")
        for group, resource in (
            ("apps", "deployments"),
            ("", "secrets"),
            ("", "configmaps"),
            ("", "namespaces"),
            ("rbac.authorization.k8s.io", "clusterroles"),
            ("rolloutplan.dev", "rolloutplans"),
            ("coordination.k8s.io", "leases"),
            ("discovery.k8s.io", "endpointslices"),
        )
    ),
    _route_kind("a core resource without a group", {"group": GONE, "resource": "pods"}, "spec.resource", "no weights"),
    _route_kind(
        "a weight in the metadata", {"weight": "metadata.generation"}, "spec.weight", "write a path in the spec"
    ),
    _route_kind("a weight in the status", {"weight": "status"}, "spec.weight", "write a path in the spec"),
)
"""RouteKinds that are refused."""

POLICIES: Final = (
    # whom it is for
    _policy("no namespace", {"selector.namespaces": []}, "spec.selector.namespaces", "at least 1"),
    _policy(
        "a namespace", {"selector.namespaces": ["Shop"]}, "spec.selector.namespaces[0]", '"Shop"', "write a name", '"*"'
    ),
    _policy("a * in front", {"selector.namespaces": ["*-pay"]}, "spec.selector.namespaces[0]", 'followed by "*"'),
    _policy(
        "the name of a label", {"selector.matchLabels": {"-a": "b"}}, "spec.selector.matchLabels", "name of a label"
    ),
    _policy(
        "a label's name too long", {"selector.matchLabels": {"a" * 64: "b"}}, "spec.selector.matchLabels", "of a label"
    ),
    _policy(
        "the value of a label", {"selector.matchLabels.tier": "a b"}, "spec.selector.matchLabels", "value of a label"
    ),
    _policy(
        "the name of a label of namespaces",
        {"selector.namespaceLabels": {"-a": "b"}},
        "spec.selector.namespaceLabels",
        "name of a label",
    ),
    _policy("a source of budgets", {"errorBudget.source": "Shop/default"}, "spec.errorBudget.source", "object's name"),
    _policy("an approval", {"require.approvals": ["First"]}, "spec.require.approvals[0]", "All", "Last", "Contract"),
    _policy("a demanded soak", {"require.soakAtLeast": "soon"}, "spec.require.soakAtLeast", "duration"),
    _policy("a demanded kind", {"require.source": {"kind": "Prometheus"}}, "spec.require.source.kind", "MetricSource"),
    _policy("demanded templates", {"require.templates": "Own"}, "spec.require.templates", "Any", "Cluster"),
    _policy("a label that is no text", {"selector.matchLabels.tier": True}, "spec.selector.matchLabels.tier"),
    # how many
    _policy("none at once", {"maxConcurrent": 0}, "spec.maxConcurrent", "1"),
    _policy("too many at once", {"maxConcurrent": 10_001}, "spec.maxConcurrent", "10000"),
    _policy("none of a namespace", {"maxConcurrentPerNamespace": 0}, "spec.maxConcurrentPerNamespace", "1"),
    _policy("a place for no time", {"releaseAfter": "1s"}, "spec.releaseAfter", "1m"),
    _policy("a lock group", {"lockGroup": "Pay Ments"}, "spec.lockGroup", '"Pay Ments"', "lower-case letters"),
    _policy("a focus", {"focus": "Speed"}, "spec.focus", "Stability", "Balanced", "Throughput"),
    _policy("a focus that is a list", {"focus": ["Stability"]}, "spec.focus"),
    _policy("a focus without a base", {"focus": {"stability": SHIFTS}}, "spec.focus"),
    _policy("a base", {"focus": {"base": "Speed"}}, "spec.focus.base", "Stability", "Balanced", "Throughput"),
    _policy("a shift by no rate", {"focus": {"base": "Balanced", "stability": {"over": 5}}}, "spec.focus.stability"),
    _policy(
        "a failure rate",
        {"focus": {"base": "Balanced", "stability": {**SHIFTS, "failureRate": "20%"}}},
        "spec.focus.stability.failureRate",
    ),
    _policy(
        "a rate of too many releases",
        {"focus": {"base": "Balanced", "stability": {**SHIFTS, "over": 101}}},
        "spec.focus.stability.over",
        "100",
    ),
    _policy("another field of a focus", {"focus": {"base": "Balanced", "shift": SHIFTS}}, "spec.focus"),
    # when not
    _policy("a freeze without a reason", {"freeze.now": ""}, "spec.freeze.now", "at least 1"),
    _policy(
        "too many windows",
        {"freeze.windows": [POLICY["freeze"]["windows"][1]] * 33},
        "spec.freeze.windows",
        "32",
    ),
    _policy("a window without a reason", {"freeze.windows[0].reason": GONE}, f"{_WEEKLY}.reason", "equired"),
    _policy("a window without a time", {"freeze.windows[1].daily": GONE}, _DAILY, "exactly one", "weekly, daily"),
    _policy(
        "a window of two times",
        {"freeze.windows[0].daily": {"from": "01:00", "to": "02:00"}},
        _WEEKLY,
        "needs exactly one time: write weekly, daily, or from with to",
    ),
    _policy("a window of two sorts", {"freeze.windows[2].daily": {"from": "01:00", "to": "02:00"}}, _ONCE, "one time"),
    _policy("from without to", {"freeze.windows[2].to": GONE}, _ONCE, "from and to belong together: write both"),
    _policy("to without from", {"freeze.windows[2].from": GONE}, _ONCE, "from and to belong together: write both"),
    _policy(
        "an end before the beginning",
        {"freeze.windows[2].to": "2026-12-20T00:30:00+01:00"},
        f"{_ONCE}.to",
        "is not after from: write a later timestamp",
    ),
    _policy(
        "an end at the beginning", {"freeze.windows[2].to": "2026-12-20T00:00:00Z"}, f"{_ONCE}.to", "write a later"
    ),
    _policy(
        "a date without a time",
        {"freeze.windows[2].from": "2026-12-20"},
        f"{_ONCE}.from",
        '"2026-12-20" is not a timestamp',
        "2026-12-20T00:00:00Z",
    ),
    _policy(
        "a time without an offset",
        {"freeze.windows[2].from": "2026-12-20T00:00:00"},
        f"{_ONCE}.from",
        "a time and an offset",
    ),
    _policy(
        "a day that no month has", {"freeze.windows[2].from": "2026-12-32T00:00:00Z"}, f"{_ONCE}.from", "timestamp"
    ),
    _policy(
        "a day that its month lacks",
        {"freeze.windows[2].from": "2026-11-31T00:00:00Z"},
        f"{_ONCE}.from",
        "write an existing date",
    ),
    _policy("a day that its year lacks", {"freeze.windows[2].from": "2026-02-29T00:00:00Z"}, _ONCE),
    _policy(
        "a time of day",
        {"freeze.windows[1].daily.from": "24:00"},
        f"{_DAILY}.daily.from",
        '"24:00" is not a time of day',
        '"23:59"',
    ),
    _policy("a time of day in figures", {"freeze.windows[1].daily.to": 360}, f"{_DAILY}.daily.to"),
    _policy("no end of a day", {"freeze.windows[1].daily.to": GONE}, f"{_DAILY}.daily.to", "equired"),
    _policy(
        "a day without an end",
        {"freeze.windows[1].daily.to": "22:00"},
        f"{_DAILY}.daily.to",
        "is the same as from: write another time",
    ),
    _policy(
        "a week without an end", {"freeze.windows[0].weekly.to": "Fri 16:00"}, f"{_WEEKLY}.weekly.to", "freeze.now"
    ),
    _policy(
        "a day of the week",
        {"freeze.windows[0].weekly.from": "Friday 16:00"},
        f"{_WEEKLY}.weekly.from",
        "Mon, Tue, Wed, Thu, Fri, Sat, Sun",
    ),
    _policy(
        "a time of day of a week", {"freeze.windows[0].weekly.to": "08:00"}, f"{_WEEKLY}.weekly.to", '"08:00"', "a day"
    ),
    _policy(
        "a time zone's look",
        {"freeze.windows[0].timeZone": "Central European Time"},
        f"{_WEEKLY}.timeZone",
        "Europe/Berlin",
    ),
    # on what budget
    _policy("a budget without a share", {"errorBudget.atLeast": GONE}, "spec.errorBudget.atLeast", "equired"),
    _policy(
        "a share without %", {"errorBudget.atLeast": "0.2"}, "spec.errorBudget.atLeast", '"0.2" is not a percentage'
    ),
    _policy("a budget without a query", {"errorBudget.query": ""}, "spec.errorBudget.query", "at least 1"),
    # what is not there
    _policy("a field of a policy", {"maxConcurent": 3}, "unknown field", "spec.maxConcurent"),
    _policy("a field of a window", {"freeze.windows[0].timezone": "UTC"}, "unknown field", f"{_WEEKLY}.timezone"),
    _policy("a name in our own spelling", {"lock_group": "a"}, "unknown field", "spec.lock_group"),
)
