"""What is refused, once: for the models here and for the CRDs at a real API server."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
CLUSTER_SOURCE: Final[dict[str, Any]] = {**SOURCE, "namespaces": ["shop"]}

GONE: Final = object()
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
            place[last] = value
    return spec


def predicate(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "query": "up", "is": "> 0", **more}


_GUARD: Final = "spec.guards[0]"

PLANS: Final = (
    # sides and routes
    Refusal("no old side", {"old": GONE}, ("spec.old", "equired")),
    Refusal("one Deployment on both sides", {"new.deployment": "checkout-v1"}, ("spec.new.deployment", "new version")),
    Refusal(
        "one Service on both sides", {"new.service": "checkout-v1"}, ("spec.new.service", "give each side its own")
    ),
    Refusal(
        "a Deployment's name", {"old.deployment": "Check_out"}, ("spec.old.deployment", '"Check_out"', "small letters")
    ),
    Refusal("no route", {"traffic.routes": []}, ("spec.traffic.routes", "at least 1")),
    Refusal("a kind of route", {"traffic.routes[0].kind": "Ingress"}, ("spec.traffic.routes[0].kind", "HTTPRoute")),
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
    Refusal("a weight of 0", {"stages[0].weight": "0%"}, ("spec.stages[0].weight", "begin above 0%")),
    Refusal("a weight of 0 of several", {"stages[1].weights": ["0.0%"]}, ("spec.stages[1].weights[0]", "above 0%")),
    Refusal("a weight over 100", {"stages[2].weight": "101%"}, ("spec.stages[2].weight", '"101%"', "0% to 100%")),
    Refusal("a weight too fine", {"stages[0].weight": "0.55%"}, ("spec.stages[0].weight", "steps of 0.1%")),
    Refusal("a weight without %", {"stages[0].weight": "5"}, ("spec.stages[0].weight", '"5" is not a share', '"5%"')),
    Refusal("a weight as a number", {"stages[0].weight": 5}, ("spec.stages[0].weight",)),
    Refusal("an end below 100%", {"stages[2].weight": "99%"}, ("spec.stages", "is 99%: end the ladder with 100%")),
    Refusal(
        "weight and weights", {"stages[0].weights": ["6%"]}, ("spec.stages[0]", "exactly one of weight and weights")
    ),
    Refusal("neither weight nor weights", {"stages[0].weight": GONE}, ("spec.stages[0]", "exactly one of weight")),
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
    Refusal("a stage's name", {"stages[0].name": "Canary!"}, ("spec.stages[0].name", '"Canary!"', "small letters")),
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
    Refusal("a predicate's name", {"guards[0].name": "Errors"}, (f"{_GUARD}.name", '"Errors"', "small letters")),
    # predicates
    Refusal("no predicate", {"guards": []}, ("spec.stages", "nothing judges", "guards")),
    Refusal("too many predicates", {"guards": [predicate(f"p{i}") for i in range(17)]}, ("spec.guards", "16")),
    Refusal(
        "is: about 5", {"guards[0]": predicate("a", **{"is": "about 5"})}, (f"{_GUARD}.is", '"about 5"', '"> 0.9"')
    ),
    Refusal("is without operator", {"guards[0]": predicate("a", **{"is": "0.9"})}, (f"{_GUARD}.is", "an operator")),
    Refusal("is with x", {"guards[0]": predicate("a", **{"is": "> 2x"})}, (f"{_GUARD}.is", "an operator and a number")),
    Refusal(
        "vsOld without a sign", {"guards[0].vsOld": "< 5"}, (f"{_GUARD}.vsOld", '"<= +5%"', '"<= +0.2"', '"> 1.5x"')
    ),
    Refusal("vsOld % without a sign", {"guards[0].vsOld": "< 5%"}, (f"{_GUARD}.vsOld", "with its sign")),
    Refusal("vsOld of 1x", {"guards[0].vsOld": "> 1x"}, (f"{_GUARD}.vsOld", "noise alone", '"> 1.5x"')),
    Refusal("vsOld of 1.0x", {"guards[0].vsOld": "<=01.00x"}, (f"{_GUARD}.vsOld", "noise alone")),
    Refusal("vsOld of +0%", {"guards[0].vsOld": "> +0.0%"}, (f"{_GUARD}.vsOld", "noise alone", '"<= +10%"')),
    Refusal("is and vsOld", {"guards[0].is": "> 0"}, (_GUARD, "either is or vsOld")),
    Refusal("neither is nor vsOld", {"guards[0].vsOld": GONE}, (_GUARD, "either is or vsOld")),
    Refusal("an empty query", {"guards[0].query": ""}, (f"{_GUARD}.query", "at least 1")),
    Refusal("a query too long", {"guards[0].query": "x" * 4097}, (f"{_GUARD}.query", "4096")),
    Refusal("no query", {"guards[0].query": GONE}, (f"{_GUARD}.query", "equired")),
    Refusal("a window under 1s", {"guards[0].window": "900ms"}, (f"{_GUARD}.window", "900ms", "1s or more")),
    Refusal(
        "no samples at least", {"guards[0].minSamples": {"query": "up", "atLeast": 0}}, ("minSamples.atLeast", "1")
    ),
    # times
    Refusal("an interval under 1s", {"interval": "500ms"}, ("spec.interval", "500ms", "1s or more")),
    Refusal("no unit", {"interval": "10"}, ("spec.interval", '"10" is not a duration', '"10s"')),
    Refusal("days", {"bake": "1d"}, ("spec.bake", '"1d" is not a duration', "h, m, s, ms")),
    Refusal("a time before now", {"traffic.drain": "-5s"}, ("spec.traffic.drain", '"-5s" is not a duration')),
    Refusal("a for that is no time", {"guards[0].for": "soon"}, (f"{_GUARD}.for", '"soon" is not a duration')),
    Refusal("a deadline before the soak", {"stages[0].deadline": "4m"}, ("spec.stages[0].deadline", "shorter", "5m")),
    Refusal(
        "a deadline before the soak, both written",
        {"stages[0].deadline": "59m", "stages[0].soak": "1h"},
        ("spec.stages[0].deadline", "59m is shorter than the soak of 1h"),
    ),
    # policies
    Refusal("a policy", {"onFail": "Retreat"}, ("spec.onFail", "Rollback", "Hold")),
    Refusal("after without then", {"onBlind": {"after": "5m"}}, ("spec.onBlind", "write both or neither")),
    Refusal("then without after", {"onBlind": {"then": "Rollback"}}, ("spec.onBlind", "write both or neither")),
    Refusal("restarts below 0", {"availability.maxRestarts": -1}, ("spec.availability.maxRestarts", "0")),
    Refusal("readiness in words", {"availability.minReady": "half"}, ("spec.availability.minReady", '"half"', '"5%"')),
    # words
    Refusal("a variable like our word", {"variables": {"stage": "a"}}, ("spec.variables", "choose another name")),
    Refusal("a variable's name", {"variables": {"My-Word": "a"}}, ("spec.variables", "small letter first")),
    Refusal("a long hypothesis", {"hypothesis": "x" * 1025}, ("spec.hypothesis", "1024")),
)

UNKNOWN: Final = (
    Refusal("a field that is not there", {"assumptions": []}, ("unknown field", "spec.assumptions")),
    Refusal("a field mistyped", {"intervall": "5s"}, ("unknown field", "spec.intervall")),
    Refusal("a field of a stage", {"stages[0].approval": "Required"}, ("unknown field", "spec.stages[0].approval")),
    Refusal("a field of a predicate", {"guards[0].template": "a"}, ("unknown field", "spec.guards[0].template")),
    Refusal("a name in our own spelling", {"on_fail": "Hold"}, ("unknown field", "spec.on_fail")),
)

SOURCES: Final = (
    Refusal("no Prometheus", {"prometheus": GONE}, ("spec.prometheus", "equired"), SOURCE),
    Refusal("an address", {"prometheus.url": "prom:9090"}, ("spec.prometheus.url", '"prom:9090"', "http://"), SOURCE),
    Refusal("a password", {"prometheus.url": "http://a:b@prom"}, ("spec.prometheus.url", "without user"), SOURCE),
    Refusal("no time", {"timeout": "0s"}, ("spec.timeout", "100ms or more"), SOURCE),
    Refusal("no interval", {"scrapeInterval": "50ms"}, ("spec.scrapeInterval", "100ms or more"), SOURCE),
    Refusal("too many at once", {"maxConcurrency": 65}, ("spec.maxConcurrency", "64"), SOURCE),
    Refusal("a header's name", {"headers": {"A b": "c"}}, ("spec.headers", "name of a header"), SOURCE),
    Refusal("a field of later", {"auth": {}}, ("unknown field", "spec.auth"), SOURCE),
    Refusal("namespaces of one namespace's", {"namespaces": ["a"]}, ("unknown field", "spec.namespaces"), SOURCE),
    Refusal("a namespace", {"namespaces": ["Shop"]}, ("spec.namespaces[0]", '"Shop"', '"*"'), CLUSTER_SOURCE),
    Refusal("no namespace", {"namespaces": []}, ("spec.namespaces", "at least 1"), CLUSTER_SOURCE),
)
