"""AnalysisTemplates of Argo as templates of predicates: conditions as bounds, arguments filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.tools.convert.draft import Draft, Objects, Raw, duration
from rolloutplan.tools.convert.judging import add_template, asks, forgiven, name_of, windowed

_NUMBER: Final = r"(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)"
_RESULT: Final = r"(?:asFloat|float)?\(? ?result(?:\[0\])? ?\)?"
_COMPARED: Final = re.compile(rf"{_RESULT} ?(<=|>=|==|!=|<|>) ?{_NUMBER}")
_ALL: Final = re.compile(rf"all\( ?result ?, ?{{? ?# ?(<=|>=|==|!=|<|>) ?{_NUMBER} ?}}? ?\)")
_SILENT: Final = re.compile(r"(?:len\(result\) ?== ?0|isNaN\(result(?:\[0\])?\)|result ?== ?nil) ?\|\| ?")
"""Conditions, with one space for all white space: so each takes time in proportion to its text."""
_ARGUMENT: Final = re.compile(r"{{\s*args\.([A-Za-z0-9_-]+)\s*}}")
_MOST: Final = 1000
"""Measurements of one metric: more would be days."""
_READ: Final = (
    "name",
    "interval",
    "initialDelay",
    "count",
    "successCondition",
    "failureCondition",
    "failureLimit",
    "provider",
)
_LEFT: Final = {
    "inconclusiveLimit": "an undecided predicate holds the run at its deadline, and never counts as a failure",
    "consecutiveErrorLimit": "an error is no failure: onMetricsUnavailable says what follows where no answer comes",
    "consecutiveSuccessLimit": "a predicate under pass has to be true once the soak is over",
}


class Analysis(Enum):
    STEP = "step"
    BACKGROUND = "background"


@dataclass(slots=True)
class Found:
    """The predicates of an analysis, by what they do, and how long it takes."""

    passing: list[dict[str, Any]] = field(default_factory=list)
    failing: list[dict[str, Any]] = field(default_factory=list)
    lasts: timedelta = timedelta()


def read_analyses(draft: Draft, raw: object, path: str, objects: Objects, where: Analysis) -> Found:
    """The predicates of all templates that a step, or the strategy, refers to; a note for each that is none."""
    found = Found()
    dry = {safe_get.text(each, "metricName") for each in safe_get.items(raw, "dryRun")}
    refs = [*safe_get.items(raw, "templates")]
    if name := safe_get.text(raw, "templateName"):
        refs.append({"templateName": name})
    for ref in refs:
        old_style = safe_get.text(ref, "clusterTemplateName")
        name = safe_get.text(ref, "templateName") or old_style
        cluster = safe_get.value(ref, "clusterScope") is True or bool(old_style)
        template = objects.find("ClusterAnalysisTemplate" if cluster else "AnalysisTemplate", name, draft.namespace)
        spec = safe_get.mapping(template, "spec")
        if not spec:
            draft.left_out(path, f"its template {name} is not in these files: add its file", "spec.guards")
            continue
        if "templates" in spec:
            words = "a template that refers to templates: convert it with these written out"
            draft.left_out(f"{path}: {name}.templates", words, "spec.guards")
        reader = _Reader(draft, path, name, _arguments(draft, spec, raw), where)
        for metric in safe_get.items(spec, "metrics"):
            dry_here = {safe_get.text(each, "metricName") for each in safe_get.items(spec, "dryRun")}
            reader.read(metric, dry | dry_here, found)
    return found


def _arguments(draft: Draft, spec: Raw, raw: object) -> Mapping[str, str]:
    """The values of arguments as texts: those of the template, then those of the Rollout. Of others there is none."""
    values: dict[str, str] = {}
    for each in (*safe_get.items(spec, "args"), *safe_get.items(raw, "args")):
        if value := safe_get.text(each, "value"):
            values[safe_get.text(each, "name")] = value
        elif safe_get.text(each, "valueFrom", "fieldRef", "fieldPath") == "metadata.namespace":
            values[safe_get.text(each, "name")] = "$namespace"
    service = safe_get.text(draft.spec, "new", "service")
    return {name: _by_side(value, service) for name, value in values.items()}


def _by_side(value: str, service: str) -> str:
    """A value with the variable for the Service of the new side in it, which may be a host."""
    named, dot, rest = value.partition(".")
    return f"$service{dot}{rest}" if service and named == service else value


@dataclass(slots=True)
class _Reader:
    """Reads the metrics of one template, as one analysis uses them."""

    draft: Draft
    path: str
    template: str
    values: Mapping[str, str]
    where: Analysis

    def read(self, metric: object, dry: set[str], found: Found) -> None:
        name = safe_get.text(metric, "name")
        self.draft.leave_out(safe_get.mapping(metric), self._at(name), _LEFT, _READ, "spec.guards")
        query = safe_get.text(metric, "provider", "prometheus", "query")
        if not query:
            kinds = ", ".join(map(str, safe_get.mapping(metric, "provider"))) or "no provider"
            self._left(name, _PROVIDERS.get(kinds, f"{kinds}: plans ask the HTTP API of Prometheus only"))
            return
        if not asks(
            self.draft, self._at(name), self._filled(safe_get.text(metric, "provider", "prometheus", "address"))
        ):
            return
        count = len(found.passing) + len(found.failing)
        for indicates, condition in self._conditions(metric, name):
            use = self._predicate(name, query, indicates, condition)
            if use is None:
                continue
            self._add(use, metric, found, indicates, dry=bool({name, "*"} & dry))
        if len(found.passing) + len(found.failing) > count and self.where is Analysis.STEP:
            found.lasts = max(found.lasts, _lasts(metric), duration(windowed(query)[1]) or timedelta())

    def _at(self, name: str) -> str:
        return f"{self.path}: {self.template}.{name}"

    def _left(self, name: str, words: str) -> None:
        self.draft.left_out(self._at(name), words, "spec.guards")

    def _conditions(self, metric: object, name: str) -> Iterator[tuple[str, str]]:
        """What decides, as the bound of a predicate and what it indicates when it is true."""
        success, failure = safe_get.text(metric, "successCondition"), safe_get.text(metric, "failureCondition")
        if not (success or failure):
            self._left(name, "has neither successCondition nor failureCondition, so it decides nothing")
        if self.where is Analysis.BACKGROUND and success and failure:
            self.draft.changed(self._at(name), "the failureCondition alone is a guard", "spec.guards")
            success = ""
        for indicates, text in (("Success", success), ("Failure", failure)):
            if text and (bound := self._bound(text, name)):
                yield indicates, bound

    def _bound(self, text: str, name: str) -> str:
        condition = " ".join(self._filled(text).split())
        while said := _SILENT.match(condition):
            condition = condition[said.end() :]
            words = f'"{text}": no data decides nothing here; write noData: Clear where silence is good news'
            self.draft.changed(self._at(name), words, "spec.guards")
        if compared := _COMPARED.fullmatch(condition) or _ALL.fullmatch(condition):
            return f"{compared[1]} {compared[2]}"
        self._left(name, f'"{text}" is no comparison of one value with a number')
        return ""

    def _predicate(self, name: str, query: str, indicates: str, bound: str) -> str | None:
        text = self._filled(query)
        if missing := _ARGUMENT.search(text):
            words = f"its query needs the argument {missing[1]}, which has no value that is known before the run"
            self._left(name, f"{words}: write $deployment or $service for what tells the sides apart")
            return None
        text, window = windowed(text)
        if window:
            words = f"[{window}] is $window now, which never looks back to before the weight"
            self.draft.changed(self._at(name), words, "spec.guards")
        body = {"indicates": indicates, "query": text, "is": bound, **({"window": window} if window else {})}
        ending = "" if indicates == "Success" else "failure" if self.where is Analysis.STEP else ""
        title = name_of(self.draft, self.template, name, ending)
        return add_template(self.draft, self._at(name), title, body) or None

    def _add(self, use: str, metric: object, found: Found, indicates: str, *, dry: bool) -> None:
        raw: dict[str, Any] = {"template": use, **self.draft.told_apart(use), **({"dryRun": True} if dry else {})}
        limit = min(max(safe_get.number(metric, "failureLimit"), 0), _MOST)
        every = duration(safe_get.value(metric, "interval"))
        if self.where is Analysis.STEP and indicates == "Success":
            found.passing.append(raw)
            return
        if limit and every:
            raw["for"] = forgiven(limit, every)
            words = f"failureLimit: {limit} failures in all are forgiven; here it trips when it is true without a break"
            self.draft.changed(self._at(use), f"{words} for {raw['for']}", "spec.guards")
        found.failing.append(raw)

    def _filled(self, text: str) -> str:
        return _ARGUMENT.sub(lambda found: self.values.get(found[1], found[0]), text)


_PROVIDERS: Final = {
    "job": "a Job decides: write it under assumptions or expand.jobs, where it runs before any traffic",
    "web": "plans ask no web address but the HTTP API of Prometheus: a Job under assumptions can",
}


def _lasts(metric: object) -> timedelta:
    every = duration(safe_get.value(metric, "interval")) or timedelta()
    count = min(max(safe_get.number(metric, "count"), 1), _MOST)
    return (duration(safe_get.value(metric, "initialDelay")) or timedelta()) + every * (count - 1)
