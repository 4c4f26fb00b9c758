"""The mistakes of people who write their first objects: what they write, and what must be said of it.

Each is an edit of a good object. The message must begin a line with the path of the field and hold the words of the
fix; the API server must name the field too, unless it cannot see the mistake.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.refusals import (
    CLUSTER_SOURCE,
    COUNTED,
    COUNTERS,
    GONE,
    PLAN,
    POLICY,
    SOURCE,
    TASKS,
    TEMPLATE,
    alert,
    changed,
    predicate,
)

SAME: Final = "the same path"


@dataclass(frozen=True)
class Mistake:
    """An edit of a good spec, the path that the message begins with, and its words."""

    name: str
    changes: Mapping[str, Any]
    at: str
    words: tuple[str, ...]
    server: str | None = SAME
    """What the API server's message must hold: the path, unless it names another. None where it accepts the object."""
    good: dict[str, Any] = field(default_factory=lambda: PLAN)

    @property
    def spec(self) -> dict[str, Any]:
        return changed(self.good, self.changes)

    @property
    def refused_with(self) -> str | None:
        """The text that the API server's message must hold."""
        return self.at if self.server == SAME else self.server


def _m(path: str, value: Any, *words: str, at: str = "", server: str | None = SAME, good: Any = PLAN) -> Mistake:
    """A mistake in one field."""
    shown = "left out" if value is GONE else repr(value)
    where = "spec" if at == "." else f"spec.{at or path}"
    return Mistake(f"{path}: {shown}"[:120], {path: value}, where, words, server, good)


def _all(path: str, values: Mapping[Any, str], **more: Any) -> tuple[Mistake, ...]:
    """Mistakes in one field, each with its fix."""
    return tuple(_m(path, value, fix, **more) for value, fix in values.items())


_IS: Final = "stages[0].pass[0].is"
_OLD: Final = "guards[0].vsOld"
_MAPPING: Final = "is not a mapping: write "

PERCENTAGES: Final = (
    *_all(
        "stages[0].weight",
        {
            0.05: 'write "5%"',
            0.5: 'write "50%" or "0.5%"',
            12.5: 'write "12.5%"',
            0: "is not a percentage above 0%",
            -5: "write 0.1% to 100%",
            101: "write 0.1% to 100%",
            "5": 'write "5%"',
            "5 %": 'write "5%"',
            "0.5": 'write "50%" or "0.5%"',
            "5 percent": 'write "5%"',
            "5,5%": 'write "5.5%"',
            "0.55%": "in steps of 0.1%",
            "five": 'such as "5%" or "0.5%"',
            True: "true is not a percentage",
            "101%": "write 0.1% to 100%",
            "0%": "is not a percentage above 0%",
        },
    ),
    _m("stages[0].weight", ["5%", "10%"], "[5%, 10%] is not a percentage"),
    _m("stages[1].weights", [0.1, 0.5], 'write "10%"', at="stages[1].weights[0]"),
    _m("stages[1].weights", [10, "50"], '"50" is not a percentage above 0%: write "50%"', at="stages[1].weights[1]"),
    _m("stages[1].weights", "10%", "is not a list: begin each entry with"),
    _m("stages[1].weights", 10, "10 is not a list: begin each entry with"),
    _m("stages[1].weights", [50, 10], "does not rise", at="stages[1].weights[1]", server="spec.stages[1].weights"),
    _m("stages[1].weights", [10, 10], "does not rise", at="stages[1].weights[1]", server="spec.stages[1].weights"),
    _m("stages[0].weight", 60, "does not rise above 60%", at="stages[1].weights[0]", server="spec.stages"),
    _m(
        "stages[2].weight",
        80,
        "the last weight is 80%: end the stages with 100%, or write stopAt",
        server="spec.stages",
    ),
    _m("stopAt", 60, "end the stages with 60%, as stopAt says", at="stages[2].weight", server="spec.stages"),
    _m("stopAt", 0, "is not a percentage above 0%"),
    *_all("availability.minReady", {0.5: 'write "50%" or "0.5%"', 2: "percentage of pods", "2": 'write "2%"'}),
    _m("availability.minReady", "all", "is not a percentage of pods: write 0% to 100%"),
    _m("availability.old", {"atLeast": 3}, "percentage of pods", at="availability.old.atLeast"),
    *_all(
        "guards[0].confidence",
        {
            0.95: 'write "95%"',
            "0.95": 'write "95%"',
            "95": 'write "95%"',
            50: "write more than 50% and at most 99.99%",
            100: "at most 99.99%",
            "99.999%": "at most 99.99%",
        },
        good=COUNTED,
    ),
)

BAKES: Final = (
    _m("bake", {"for": 30}, 'write "30s", "30m" or "30h"', at="bake.for"),
    _m("bake", {"for": "1 h", "holdback": "1%"}, 'write "1h"', at="bake.for"),
    _m("bake", {"holdback": "1%"}, "required field is missing", at="bake.for", server="spec.bake"),
    _m("bake", {"for": "30m", "holdback": 0.5}, "is not a holdback", at="bake.holdback"),
    _m("bake", {"for": "30m", "holdback": "1"}, 'write "1%"', at="bake.holdback"),
    _m("bake", {"for": "30m", "holdback": 60}, "write 0.1% to 50%", at="bake.holdback"),
    _m("bake", {"for": "30m", "hold": "1%"}, "did you mean holdback?", at="bake.hold", server="spec.bake"),
    _m("bake", {"duration": "30m"}, "write soak", at="bake.duration", server="spec.bake"),
    _m("holdback", "1%", "holdback belongs under spec.bake"),
    _m("stages[0].holdback", "1%", "holdback belongs under spec.bake"),
)

DURATIONS: Final = (
    *_all(
        "bake",
        {
            30: 'write "30s", "30m" or "30h"',
            0: 'write "0s"',
            "30": 'write "30s", "30m" or "30h"',
            "30min": 'write "30m"',
            "1 h": 'write "1h"',
            "1.5d": 'write "36h"',
            "2w": 'write "14d"',
            "1 day": 'write "1d"',
            "1h 30m": 'write "1h30m"',
            "30M": 'write "30m"',
            "PT30M": 'write "30m"',
            "-5m": "write a number with its unit",
            "soon": "write a number with its unit",
            "99999d": "write a number with its unit",
            True: "true is not a duration",
        },
    ),
    _m("stages[0].soak", "10 minutes", 'write "10m"'),
    _m("stages[0].deadline", "4m", "4m is shorter than the soak of 5m"),
    Mistake(
        "a soak of a day over a deadline of hours",
        {"stages[0].soak": "1d", "stages[0].deadline": "12h"},
        "spec.stages[0].deadline",
        ("12h is shorter than the soak of 24h",),
    ),
    _m("interval", "500ms", "below the minimum of 1s"),
    _m("interval", 10, 'write "10s", "10m" or "10h"'),
    _m("traffic.acceptedWithin", "1d", "above the limit of 1h"),
    _m("guards[0].window", "0d", "below the minimum of 1s"),
    _m("guards[0].window", "5min", 'write "5m"'),
    _m("guards[0].for", 30, 'write "30s", "30m" or "30h"'),
    _m("warmup", "5m", "is not shorter than the soak of 5m"),
    _m("availability.grace", 10, 'write "10s", "10m" or "10h"'),
    _m("onMetricsUnavailable", {"after": "5m"}, "after and then belong together"),
)

COMPARISONS: Final = (
    *_all(
        _IS,
        {
            "5%": 'write "> 5%" or "< 5%"',
            "0.9": 'write "> 0.9" or "< 0.9"',
            0.9: 'write "> 0.9" or "< 0.9"',
            "> 5 %": 'write "> 5%"',
            "=> 5": 'write ">= 5"',
            "=5": 'write "== 5"',
            "gt 5": 'write "> 5"',
            "greater than 5": 'write "> 5"',
            "at least 99%": 'write ">= 99%"',
            "\u2265 5": 'write ">= 5"',
            "> .5": 'write "> 0.5"',
            "> 1,5": 'write "> 1.5"',
            "> 200ms": '"> 0.2" for seconds',
            "> 1.5x": 'write vsOld: "> 1.5x" instead',
            "> high": "write an operator and a number",
            "": "write an operator and a number",
            True: "true is not a comparison",
        },
    ),
    _m(_IS, {"min": 99}, "{min: 99} is not a comparison"),
    *_all(
        _OLD,
        {
            "> 1.5": '"> 1.5x" for 1.5 times the old value, "> +1.5" for a difference of 1.5',
            "> 50%": 'write "> +50%"',
            "> 5 %": 'write "> +5%"',
            "1.5x": 'write "> 1.5x" or "< 1.5x"',
            1.5: '"> 1.5x" for 1.5 times the old value',
            "> 1.5 times": 'write "> 1.5x"',
            "=> +5%": 'write ">= +5%"',
            "> 1x": "noise alone",
            "> +0%": "noise alone",
            "worse": "a relative change with its sign",
        },
    ),
    _m("guards[0].is", "> 1", "set exactly one of is and vsOld", at="guards[0]"),
    _m(_OLD, GONE, "set exactly one of is and vsOld", at="guards[0]"),
    _m("guards[0].vsOld", "> +0.5", "an absolute change, which counts cannot prove", good=COUNTED),
    _m("stages[0].pass[0].is", "< 5", "write one between 0% and 100%", good=COUNTED),
)

NAMES: Final = (
    _m("old.deployment", "Checkout_V1", 'such as "checkout-v1"'),
    _m("old.deployment", "shop/checkout", 'write the name alone: "checkout"'),
    _m("new.deployment", "deployment/checkout-v2", 'write the name alone: "checkout-v2"'),
    _m("new.service", "checkout.shop.svc", 'such as "checkout-shop-svc"'),
    _m("new.deployment", "checkout-v1", "is the old side too"),
    _m("new.service", "checkout-v1", "is the old side's Service too"),
    _m("new.deployment", "x" * 254, "too long: write at most 253 characters"),
    _m("stages[0].name", "Canary", 'such as "canary"'),
    _m("stages[0].name", "first step", 'such as "first-step"'),
    _m("stages[0].name", 1, "1 is not a name"),
    _m("stages[0].name", "x" * 51, "too long: write at most 50 characters"),
    _m("stages[0].name", "w25", "is the name of a weight other than 5%"),
    _m("stages[1].name", "canary", "is already the name of a stage", server="spec.stages"),
    _m("guards[0].name", "new_errors", 'such as "new-errors"'),
    _m("guards[0].name", GONE, "required field is missing"),
    _m("guards[0].name", "hits", "is already the name of a predicate", at="stages[0].pass[0].name", server="spec"),
    _m("traffic.routes[0].name", "shop/checkout", 'write the name alone: "checkout"'),
    _m("traffic.routes[0].kind", "Ingress", "AlbIngress, NginxCanary"),
    _m("traffic.routes[0].kind", "HttpRoute", "write HTTPRoute"),
    _m("traffic.routes[0].kind", "httproute", "write HTTPRoute"),
    _m("traffic.routes[0].new", "web canary", "is not what a route calls a side"),
    _m("variables", {"My-Word": "a"}, '"My-Word" is not a variable name'),
    _m("variables", {"stage": "a"}, '"stage" is a built-in variable'),
    _m("variables", {"limit": 5}, "5 is not a string: put it in quotes", at="variables.limit"),
    _m("variables", ["limit"], "[limit] is not a mapping"),
)

CHOICES: Final = (
    _m("onFail", "rollback", "write Rollback"),
    _m("onFail", "Retreat", "write Rollback or Hold"),
    _m("onFail", True, "true is not one of the choices: write Rollback or Hold"),
    _m("onUndecided", "extend", "write Extend"),
    _m("onUndecided", "Wait", "write Hold or Rollback or Extend"),
    _m("stages[0].approval", True, "true is not one of the choices: write Required"),
    _m("stages[0].approval", "required", "write Required"),
    _m("stages[0].approval", False, "false is not one of the choices"),
    _m("deletionPolicy", "Delete", "write Restore or Keep"),
    _m("guards[0].dryRun", "yes", '"yes" is neither true nor false'),
    _m("guards[0].noData", "OK", "write Undecided or Clear"),
    _m("stages[0].pass[0].noData", "Clear", "noData: Clear is not allowed under pass", server="spec.stages[0].pass"),
    _m("availability.maxRestarts", "3", "write 3 without quotes"),
    _m("availability.maxRestarts", 2.5, "2.5 is not a whole number"),
    _m("availability.maxRestarts", -1, "-1 is too small: write at least 0"),
    _m("expand", {"scale": {"new": "matchOld"}}, "write None, MatchOld", at="expand.scale.new"),
    Mistake(
        "a parameter that is a number",
        {"guards[0]": {"template": "success-rate", "with": {"atLeast": 99}}},
        "spec.guards[0].with.atLeast",
        ("99 is not a string: put it in quotes",),
    ),
)

SHAPES: Final = (
    _m("old", "checkout-v1", _MAPPING, "old: {deployment: checkout-v1}"),
    _m("new", ["checkout-v2"], "[checkout-v2] is not a mapping"),
    _m("metrics", "prom", _MAPPING, "metrics: {source: prom}"),
    _m("traffic", "checkout", "traffic: {routes: [{kind: HTTPRoute, name: checkout}]}"),
    _m("traffic", [{"kind": "HTTPRoute", "name": "a"}], "is not a mapping"),
    _m("traffic.routes", {"kind": "HTTPRoute", "name": "a"}, "is not a list: begin each entry with"),
    _m("traffic.routes", ["checkout"], "{kind: HTTPRoute, name: checkout}", at="traffic.routes[0]"),
    _m("traffic.routes", "checkout", '"checkout" is not a list'),
    _m("stages", {"weights": ["5%", "100%"]}, "{weights: [5%, 100%]} is not a list: begin each entry with"),
    _m("stages", [5, 25, 100], "5 is not a mapping: write {weight: 5}", at="stages[0]"),
    _m("stages", [], "too few: write at least 1"),
    _m("stages", "5%", '"5%" is not a list'),
    _m("guards", ["success-rate"], "write {template: success-rate} for a template", at="guards[0]"),
    _m("guards", "success-rate", '"success-rate" is not a list'),
    _m("guards", predicate("errors"), "is not a list: begin each entry with"),
    _m("guards[0].events", "http_requests_total", "events: {bad: http_requests_total, total: ...}"),
    _m("guards[0].alert", 'severity="page"', "alert: {matchers:"),
    _m("guards[0].minSamples", 500, "minSamples: {query: ..., atLeast: 500}"),
    _m("guards[0].query", 5, "5 is not a string: put it in quotes"),
    _m("guards[0].query", ["up"], "[up] is not a string"),
    _m("availability", {"old": "50%"}, "old: {atLeast: 50%}", at="availability.old"),
    _m("expand", {"scale": 3}, "scale: {new: 3}", at="expand.scale"),
    _m("onIncident", "Rollback", "onIncident: {action: Rollback, after: 5m, then: Rollback}"),
    _m("onMetricsUnavailable", "Hold", "onMetricsUnavailable: {action: Hold}"),
    _m("contract", True, "true is not a mapping: write its fields below it"),
    _m("hypothesis", 5, "5 is not a string: put it in quotes"),
)

MISSING: Final = (
    _m("old", GONE, "required field is missing"),
    _m("new", GONE, "required field is missing"),
    _m("traffic", GONE, "required field is missing"),
    _m("stages", GONE, "required field is missing"),
    _m("old.deployment", GONE, "required field is missing"),
    _m("traffic.routes", GONE, "required field is missing"),
    _m("traffic.routes[0].kind", GONE, "required field is missing"),
    _m("traffic.routes[0].name", GONE, "required field is missing"),
    _m("stages[0].weight", GONE, "set exactly one of weight, weights, mirror and match", at="stages[0]"),
    _m("stages[0].weights", ["6%"], "set exactly one of weight, weights, mirror and match", at="stages[0]"),
    _m("guards[0].query", GONE, "set exactly one of query, events, alert, use, template", at="guards[0]"),
    _m("guards[0].events", COUNTERS, "set exactly one of query, events, alert, use, template", at="guards[0]"),
    _m("guards[0].template", "errors", "set exactly one of query, events, alert, use, template", at="guards[0]"),
    _m("guards[0].use", "hits", "set exactly one of query, events, alert, use, template", at="guards[0]"),
    _m("guards[0].events.total", GONE, "write one pair", at="guards[0].events", good=COUNTED),
    _m("guards[0].events.bad", GONE, "write one pair", at="guards[0].events", good=COUNTED),
    _m("guards[0].events.total", "sum(rate(x[5m]))", "the operator computes the increase", good=COUNTED),
    _m("guards[0].window", "5m", "is not allowed with events", good=COUNTED),
    _m("guards[0].minSamples", {"query": "up"}, "required field is missing", at="guards[0].minSamples.atLeast"),
    _m("guards", [], "nothing judges this stage", at="stages[2]", server="spec.stages"),
    _m("guards[0].dryRun", True, "nothing judges this stage", at="stages[2]", server="spec.stages"),
    _m("stages[2].pass", [{"use": "hit"}], "did you mean hits?", at="stages[2].pass[0].use", server=None),
    _m("stages[2].pass", [{"use": "nothing"}], "write the name of one", at="stages[2].pass[0].use", server=None),
    _m(
        "stages[2].pass",
        [alert("page")],
        "an alert indicates failure",
        at="stages[2].pass[0].alert",
        server="spec.stages[2].pass",
    ),
)

MISPLACED: Final = (
    _m("soack", "20m", "did you mean soak? It belongs to a stage"),
    _m("stages[0].soack", "20m", "did you mean soak?"),
    _m("stages[0].weigth", "5%", "did you mean weight?"),
    _m("stage", [], "did you mean stages?"),
    _m("guard", [], "did you mean guards?"),
    _m("on_fail", "Hold", "did you mean onFail?"),
    _m("stages[0].bake", "5m", "bake belongs under spec"),
    _m("stages[0].onFail", "Hold", "onFail belongs under spec"),
    _m("stages[0].interval", "5s", "interval belongs under spec"),
    _m("stages[0].guards", [], "guards hold for the whole run: write them under spec; for one stage write fail"),
    _m("stages[0].contract", {}, "contract belongs under spec"),
    _m("stages[0].query", "up", "query belongs to a predicate, under guards, pass, fail or warn"),
    _m("stages[0].jobs", [], "Jobs run before and after the stages"),
    _m("soak", "5m", "soak belongs to a stage, under spec.stages"),
    _m("deadline", "1h", "deadline belongs to a stage, under spec.stages"),
    _m("pass", [], "pass belongs to a stage"),
    _m("fail", [], "fail belongs to a stage"),
    _m("weight", 5, "weight belongs to a stage"),
    _m("weights", [5, 100], "weights belongs to a stage"),
    _m("approval", "Required", "approval belongs to a stage"),
    _m("routes", [], "routes belongs under spec.traffic"),
    _m("drain", "5s", "drain belongs under spec.traffic"),
    _m("deployment", "checkout", "deployment belongs under spec.old or spec.new"),
    _m("service", "checkout", "service belongs under spec.old or spec.new"),
    _m("source", "prom", "source belongs under spec.metrics"),
    _m("minReady", "50%", "minReady belongs under spec.availability"),
    _m("maxRestarts", 3, "maxRestarts belongs under spec.availability"),
    _m("scaleOld", 0, "scaleOld belongs under spec.contract"),
    _m("jobs", [], "jobs belongs under spec.expand or spec.contract"),
    _m("name", "checkout-v2", "the name of a plan is metadata.name"),
    _m("query", "up", "query belongs to a predicate"),
    _m("guards[0].interval", "5s", "interval belongs under spec"),
    _m("guards[0].soak", "5m", "a predicate has for"),
    _m("guards[0].bad", "x", "bad belongs under spec.guards[].events"),
    _m("guards[0].matchers", "x", "matchers belongs under spec.guards[].alert"),
    _m("guards[0].onFail", "Hold", "onFail belongs under spec"),
    _m("old.name", "checkout-v1", "write deployment"),
    _m("old.namespace", "shop", "in the plan's own namespace"),
    _m("traffic.routes[0].namespace", "shop", "in the plan's own namespace"),
    _m("new.image", "checkout:2", "write deployment"),
    _m("prometheus", {"url": "http://prom"}, "write metrics: {source: NAME}"),
    _m("onBlind", {"action": "Hold"}, "onBlind is called onMetricsUnavailable now"),
    _m("zzz", 1, "unknown field: remove it"),
    _m("labels", {}, "labels belong under metadata"),
    _m("metadata", {}, "metadata is next to spec"),
    _m("old.selector", {}, "unknown field: remove it"),
    _m("description", "x", "write hypothesis"),
    _m("team", "checkout", "write owner"),
    _m("stages[0].percent", 5, "write weight"),
    _m("contract", {"delete": True}, "write scaleOld: 0", at="contract.delete"),
    _m("guards[0].events", {"errors": "x", "total": "y"}, "write bad", at="guards[0].events.errors"),
)

FOREIGN: Final = (
    *(
        _m(name, {}, words)
        for name, words in {
            "strategy": "write stages",
            "steps": "write stages",
            "analysis": "write guards under spec for the whole run, or pass, fail or warn in a stage",
            "targetRef": "write old: {deployment: NAME}",
            "workloadRef": "write old: {deployment: NAME}",
            "trafficRouting": "write traffic: {routes: [...]}",
            "canary": "write new for the new side",
            "canaryWeight": "write weight in a stage",
            "webhooks": "write assumptions or expand.jobs",
            "skipAnalysis": "promote",
            "progressDeadlineSeconds": "availability.readyWithin",
            "paused": "rolloutplan pause PLAN",
            "replicas": "expand: {scale: {new: MatchOld}}",
        }.items()
    ),
    *(
        _m(f"stages[0].{name}", 5, words)
        for name, words in {
            "setWeight": "write weight in a stage",
            "stepWeight": "weights: [5%, 25%, 50%, 100%]",
            "maxWeight": "write stopAt",
            "pause": "write soak: 5m in the stage, or approval: Required",
            "duration": "write soak",
            "analysis": "pass, fail or warn in a stage",
            "threshold": "write is",
            "setMirrorRoute": "write mirror: 10% in a stage",
            "setHeaderRoute": "write match: {header:",
        }.items()
    ),
    *(
        _m(f"guards[0].{name}", 5, words)
        for name, words in {
            "successCondition": "under pass",
            "failureCondition": "under guards or fail",
            "failureLimit": "has for: 1m",
            "threshold": "vsOld",
            "thresholdRange": 'is: ">= 99"',
            "expr": "write query",
            "templateRef": "write template in a predicate",
            "args": "write with",
            "count": "write soak",
        }.items()
    ),
)

MANY: Final = (
    _m("stages", [{"weight": f"{i}%"} for i in range(50, 101)], "too many: write at most 50"),
    _m("guards", [predicate(f"p{i}") for i in range(17)], "too many: write at most 16"),
    _m("hypothesis", "x" * 1025, "too long: write at most 1024"),
    _m("guards[0].query", "x" * 4097, "too long: write at most 4096"),
    _m("guards[0].query", "", "too short: write at least 1"),
    _m(
        "traffic.routes",
        [{"kind": "HTTPRoute", "name": "a"}] * 2,
        "is already the name of a route",
        at="traffic.routes[1].name",
        server="spec.traffic.routes",
    ),
)

_JOB: Final = "assumptions[0].job.template"
JOBS: Final = (
    _m(
        f"{_JOB}.spec.template.spec.serviceAccountName",
        GONE,
        "name a ServiceAccount",
        server=f"spec.{_JOB}.spec.template.spec",
        good=TASKS,
    ),
    _m(
        f"{_JOB}.spec.template.spec.serviceAccountName",
        "default",
        "other than",
        server=f"spec.{_JOB}.spec.template.spec",
        good=TASKS,
    ),
    _m(f"{_JOB}.spec", GONE, "required field is missing", good=TASKS),
    _m(f"{_JOB}.spec.template", GONE, "required field is missing", good=TASKS),
    _m(f"{_JOB}.spec.ttlSecondsAfterFinished", 60, "remove this", good=TASKS),
    _m("assumptions[0].impact", 6, "6 is too large: write at most 5", good=TASKS),
    _m("assumptions[0].impact", "high", '"high" is not a whole number: write one', good=TASKS),
    _m("assumptions[0].job", GONE, "set exactly one of job and predicate", at="assumptions[0]", good=TASKS),
    _m("assumptions[0].job", "check-cache", '"check-cache" is not a mapping', good=TASKS),
    _m("assumptions[0].name", GONE, "required field is missing", good=TASKS),
    _m("assumptions[0].deadline", 300, 'write "300s", "300m" or "300h"', good=TASKS),
    _m("contract.scaleOld", "0", "write 0 without quotes", good=TASKS),
    _m("contract", {"approval": "Required"}, "nothing to approve", at="contract.approval", good=TASKS),
    _m("expand.jobs", {"name": "a"}, "{name: a} is not a list", good=TASKS),
    _m("expand.jobs[0].name", "cache", "is already the name of a task", server="spec", good=TASKS),
)

SOURCES: Final = (
    _m("prometheus", GONE, "required field is missing", good=SOURCE),
    _m("prometheus", "http://prom:9090", "prometheus: {url:", good=SOURCE),
    _m("prometheus.url", "prom:9090", 'write "http://prom:9090"', good=SOURCE),
    _m(
        "prometheus.url",
        "https://user:secret@prom:9090",
        'write "https://prom:9090", and the user and password as auth of a ClusterMetricSource',
        good=SOURCE,
    ),
    _m("prometheus.url", "http://prom/api?x=1", "without user, query", good=SOURCE),
    _m("prometheus.flavor", "thanos", "write Thanos", good=SOURCE),
    _m("prometheus.flavor", "Cortex", "write Prometheus or Thanos", good=SOURCE),
    _m("url", "http://prom", "url belongs under spec.prometheus", good=SOURCE),
    _m("address", "http://prom", "write prometheus: {url:", good=SOURCE),
    _m("timeout", 5, 'write "5s", "5m" or "5h"', good=SOURCE),
    _m("timeout", "1d", "above the limit of 2m", good=SOURCE),
    _m("scrapeInterval", "30sec", 'write "30s"', good=SOURCE),
    _m("interval", "30s", "write scrapeInterval", good=SOURCE),
    _m("method", "get", "write GET", good=SOURCE),
    _m("maxConcurrency", "16", "write 16 without quotes", good=SOURCE),
    _m("token", "abc", "write auth in a ClusterMetricSource", good=SOURCE),
    _m("auth", {"bearer": "token"}, "only allowed on a ClusterMetricSource", good=SOURCE),
    _m("auth", {"bearer": "token"}, "only used over https", good=CLUSTER_SOURCE),
    _m("namespaces", "shop", '"shop" is not a list', good=CLUSTER_SOURCE),
    _m("namespaces", ["Shop"], '"Shop" is not a namespace', at="namespaces[0]", good=CLUSTER_SOURCE),
)

_COUNTING: Final = {"indicates": "Failure", "events": COUNTERS, "vsOld": "> 1.5x"}
TEMPLATES: Final = (
    _m("indicates", GONE, "required field is missing", good=TEMPLATE),
    _m("indicates", "success", "write Success", good=TEMPLATE),
    _m("indicates", True, "write Success or Failure", good=TEMPLATE),
    _m("is", GONE, "set exactly one of is and vsOld", at=".", server="spec", good=TEMPLATE),
    _m("confidence", 0.95, "is not a percentage: write one such as", good=_COUNTING),
    _m("parameters", {"name": "a"}, "{name: a} is not a list", good=TEMPLATE),
    _m("parameters[0].type", "string", "write String", good=TEMPLATE),
    _m("parameters[0].name", "at-least", "is not a parameter name", good=TEMPLATE),
    _m("parameters[2].default", "99", 'write "99%"', server=None, good=TEMPLATE),
    _m("args", [], "write parameters", good=TEMPLATE),
    _m("is", ">= $(atleast)", "did you mean atLeast?", server=None, good=TEMPLATE),
    _m("is", "$(atLeast)", 'write "> 99%" or "< 99%"', server=None, good=TEMPLATE),
    _m("speaks", "For", "speaks is called indicates now", good=TEMPLATE),
    _m("name", "x", "the name of a template is metadata.name", good=TEMPLATE),
)

POLICIES: Final = (
    _m("errorBudget.atLeast", 0.2, 'write "20%" or "0.2%"', good=POLICY),
    _m("errorBudget.atLeast", "20", 'write "20%"', good=POLICY),
    _m("errorBudget.atLeast", 101, "write 0% to 100%", good=POLICY),
    _m("errorBudget.query", GONE, "required field is missing", good=POLICY),
    _m("maxConcurrent", "3", "write 3 without quotes", good=POLICY),
    _m("maxConcurrent", 0, "0 is too small: write at least 1", good=POLICY),
    _m("focus", "stability", "write Stability", good=POLICY),
    _m("focus", {"base": "balanced"}, "write Balanced", at="focus.base", good=POLICY),
    _m(
        "focus",
        {"base": "Balanced", "stability": {"failureRate": "20%", "over": 20}},
        'such as "> 20%"',
        at="focus.stability.failureRate",
        good=POLICY,
    ),
    _m("failureRate", "> 20%", "failureRate belongs under spec.focus.stability", good=POLICY),
    _m("releaseAfter", "1 hour", 'write "1h"', good=POLICY),
    _m("selector", "shop", "selector: {namespaces: [shop]}", good=POLICY),
    _m("selector.namespaces", "shop", '"shop" is not a list', good=POLICY),
    _m("lockGroup", "Pay Ments", 'such as "pay-ments"', good=POLICY),
    _m("freeze", "holidays", "freeze: {now: holidays}", good=POLICY),
    _m("freeze.windows[0].weekly.from", "Friday 16:00", 'such as "Fri 16:00"', good=POLICY),
    _m("freeze.windows[1].daily.from", "25:00", "is not a time of day", good=POLICY),
    _m("freeze.windows[2].to", GONE, "from and to belong together", at="freeze.windows[2]", good=POLICY),
    _m("windows", [], "windows belongs under spec.freeze", good=POLICY),
    _m("namespaces", ["shop"], "namespaces belongs under spec.selector", good=POLICY),
    _m("limit", 3, "write maxConcurrent", good=POLICY),
)

OF_PLANS: Final = (
    *PERCENTAGES,
    *BAKES,
    *DURATIONS,
    *COMPARISONS,
    *NAMES,
    *CHOICES,
    *SHAPES,
    *MISSING,
    *MISPLACED,
    *FOREIGN,
    *MANY,
    *JOBS,
)
MISTAKES: Final[Mapping[str, tuple[Mistake, ...]]] = {
    "RolloutPlan": OF_PLANS,
    "MetricSource": tuple(each for each in SOURCES if each.good is SOURCE),
    "ClusterMetricSource": tuple(each for each in SOURCES if each.good is CLUSTER_SOURCE),
    "PredicateTemplate": TEMPLATES,
    "RolloutPolicy": POLICIES,
}
"""By the kind of the object."""

TAKEN: Final[Mapping[str, Mapping[str, Any]]] = {
    "a number as a weight": {"stages[0].weight": 5},
    "numbers as weights": {"stages": [{"weights": [5, 25, 50, 100]}]},
    "numbers and texts as weights": {"stages": [{"weights": ["0.5%", 25, "50%", 100]}]},
    "a number as the end": {"stages[2].weight": 80, "stopAt": 80},
    "a number and a text as the end": {"stages[2].weight": "80%", "stopAt": 80},
    "numbers of availability": {"availability": {"minReady": 50, "old": {"atLeast": 70}}},
    "a day": {"bake": "1d"},
    "a number as a holdback": {"bake": {"for": "30m", "holdback": 1}},
    "a day and a half": {"bake": "1d12h", "stages[0].soak": "1d", "stages[0].deadline": "2d"},
    "days beside hours": {"stages[0].soak": "24h", "stages[0].deadline": "1d"},
    "hours beside days": {"stages[0].soak": "1d", "stages[0].deadline": "24h"},
    "a window of a day": {"guards[0].window": "1d"},
    "a stage named for its number": {"stages[0]": {"name": "canary-w5", "weight": 5}},
}
"""What may stand in a plan, though it was refused once."""
