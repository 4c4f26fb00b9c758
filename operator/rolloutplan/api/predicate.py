"""The model of a predicate: what is queried or counted, what it is compared with, and the rules between its fields."""

import re
from collections.abc import Iterable
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Protocol, Self, TypeAlias

from pydantic import Field, StrictBool, ValidationInfo, model_validator

from rolloutplan.api.parsing import MISSING, DropNulls, FieldErrors, SpecModel, StrictInt, Violations, is_lenient
from rolloutplan.api.quantities import Comparison, Confidence, Duration, Is, ResponseTime, VsOld, at_least, counted
from rolloutplan.api.selector import is_one_instant, read_selector, without_comments
from rolloutplan.api.text_format import DnsLabel, Matchers, Query

MAX_PREDICATES: Final = 16
MAX_PARAMETERS: Final = 16
WINDOW: Final = timedelta(minutes=1)
CONFIDENCE: Final = Fraction(95, 100)
NOT_WITH_EVENTS: Final = {
    "for": "is not allowed with events, which are tested over all counts so far: remove it",
    "window": "is not allowed with events, which are counted from the first evaluation on: remove it",
    "minSamples": "is not allowed with events, whose test itself waits for enough requests: remove it",
}
_FIRES: Final = "is not allowed with alert, which is true while an alert fires: remove it"
NO_DATA_ALERT: Final = "is not allowed with alert, whose query always has an answer: remove it"
NOT_WITH_ALERT: Final = {
    **dict.fromkeys(("is", "vsOld", "window", "minSamples", "confidence"), _FIRES),
    "noData": NO_DATA_ALERT,
}
NoData: TypeAlias = Literal["Undecided", "Clear"]
NO_DATA_WORDS: Final = (
    "What it means that there is no data: no series, or with events no requests. Undecided: the stage and the bake do"
    " not end. Clear: nothing is wrong, as with a count of failures that has no series while none happens. It is for"
    " no other gap: a source that is down, several series and NaN stay Undecided. Undecided if left out."
)
FIRES: Final = Comparison(">", 0.0, "value", "> 0 alerts")
"""The comparison of an alert predicate."""
NOT_CLEAR: Final = (
    "noData: Clear is not allowed under pass, where silence proves nothing: write it under guards, fail or warn"
)
NOT_FOR: Final = "an alert indicates failure, so it is not allowed under pass: write it under fail or guards"
MORE_THAN_SERIES: Final = r"([])@{]|\soffset)[^}]*$"
"""A bracket or a modifier after the labels, or labels that do not end. Short, because the API server limits the cost of
a rule over all predicates; `_scraped` reads the whole selector."""
_BEYOND_LABELS: Final = re.compile(r"[])@{]|\soffset")
AS_SCRAPED: Final = (
    "has a function, a range, an offset, an open brace, or a comment with a bracket: write only the counter's"
    " name and labels; the operator computes the increase"
)
HISTOGRAM_NAME: Final = (
    "is not a histogram: write its name without _bucket before the labels or, in quotes, as the first of them"
)
ONE_SELECTOR: Final = "is more than one histogram: write only one name with its labels"
ONLY_WITH_EVENTS: Final = "is only allowed with events: remove it"
ONE_QUESTION: Final = "set exactly one of query, events, alert, use, template"
ONE_COMPARISON: Final = "set exactly one of is and vsOld"
NOT_WITH_USE: Final = "is not allowed with use, which takes the other predicate unchanged: remove it"
NOT_WITH_TEMPLATE: Final = "is set by the template: remove it"
ONLY_WITH_TEMPLATE: Final = "is only allowed with template, which has the parameters: remove it"
OVERRIDES: Final = {
    "is": "is_",
    "vsOld": "vs_old",
    "for": "for_",
    "window": "window_",
    "confidence": "confidence_",
    "noData": "no_data",
}
"""The fields of a template that a predicate may override, with the names of their attributes."""


class MinSamples(SpecModel):
    """How many samples the value needs before it counts."""

    query: Query = Field(description="PromQL that counts the samples of the value.")
    at_least: StrictInt = Field(ge=1, le=2**53, description="Below this count the predicate is Undecided.")


class Events(SpecModel):
    """The counters to test: all requests and the bad ones, or a histogram and the bound for slow ones."""

    bad: Query | None = Field(
        default=None,
        description="The counter of bad requests, as scraped: no function, no range, no offset. Needs total.",
    )
    total: Query | None = Field(default=None, description="The counter of all requests, as scraped. Needs bad.")
    histogram: Query | None = Field(
        default=None, description="A classic or native histogram of seconds, as scraped. Needs slowerThan."
    )
    slower_than: Annotated[ResponseTime, at_least("1ms")] | None = Field(
        default=None,
        description="A request that takes longer is slow. Must be a bucket bound of the histogram. Needs histogram.",
    )

    @property
    def kind(self) -> Literal["counters", "histogram"]:
        """Which pair is set: bad and total, or histogram and slower_than."""
        return "histogram" if self.histogram is not None else "counters"

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        refusals = tuple(_pairs(self) if is_lenient(info) else _scraped(self))
        if refusals:
            raise Violations(*refusals)
        return self


class Alert(SpecModel):
    """Alerts of the metric source that must not start to fire. One that fired before holds the next increase."""

    matchers: Matchers = Field(
        description='Selects the firing alerts: label matchers of PromQL without braces, such as severity="page".'
        " Variables such as $deployment are replaced."
    )


def _not_stored(schema: dict[str, Any]) -> None:
    """Remove the default from the schema: predicates are stored as written, the parser applies the default."""
    del schema["default"]


class Predicate(SpecModel):
    """A check of the new side: a value or counted events with a comparison, or an alert.

    It may also be a reference to another predicate: `use` or `template`. References are resolved before evaluation.
    """

    name_: DnsLabel | None = Field(
        default=None,
        alias="name",
        description="Its name, unique in the plan. Default: the name of its template or of the predicate it uses.",
    )
    query: Query | None = Field(
        default=None,
        description="PromQL that returns one value. Variables such as $deployment are replaced. Set exactly one of"
        " query, events, alert, use and template.",
    )
    events: Events | None = Field(
        default=None,
        description="Counters that are tested sequentially: any number of evaluations keeps the confidence. Instead of"
        " query.",
    )
    alert: Alert | None = Field(
        default=None,
        description="Alerts of the metric source. True while one fires that did not fire when the stage's weight was"
        " verified. Not under pass; allows only name, for and dryRun. Instead of query.",
    )
    use: DnsLabel | None = Field(
        default=None,
        description="The name of another predicate of this plan, to evaluate it here too. Where one indicates success"
        " (pass) and the other failure, the comparison is reversed. dryRun is set at each place.",
    )
    template: DnsLabel | None = Field(
        default=None,
        description="The name of a PredicateTemplate of the plan's namespace, else of a ClusterPredicateTemplate. is,"
        " vsOld, for, window and confidence override those of the template.",
    )
    with_: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=MAX_PARAMETERS), DropNulls] = (
        Field(default={}, alias="with", description="Values of the template's parameters, by name; in quotes.")
    )
    is_: Is | None = Field(
        default=None,
        alias="is",
        description='Compare the value, or the share of bad events, with a number: "> 0.9", "< 1%". Set this or vsOld.',
    )
    vs_old: VsOld | None = Field(
        default=None,
        description='Compare new with old: "<= +5%" relative, "<= +0.2" absolute, "> 1.5x" ratio. Set this or is.'
        " For events only relative or ratio: > proves that the new side is worse, < that it is good enough.",
    )
    for_: Duration | None = Field(
        default=None,
        alias="for",
        description="How long the comparison must hold. Up to two missing answers in a row do not reset this time, and"
        " do not count towards it. Not with events.",
    )
    window_: Annotated[Duration, at_least("1s")] | None = Field(
        default=None,
        alias="window",
        description="The value of $window; no window begins before the stage's weight was verified. 1m if left out."
        " Not with events.",
    )
    min_samples: MinSamples | None = Field(
        default=None, description="How many samples the value needs before it counts. Not with events."
    )
    confidence_: Confidence | None = Field(
        default=None,
        alias="confidence",
        description="The confidence of the test of events, over all evaluations together: 99% or 99; 95% if left out.",
    )
    no_data: NoData | None = Field(default=None, description=f"{NO_DATA_WORDS} Not under pass, not with alert.")
    dry_run: StrictBool = Field(
        default=False,
        description="Whether it is only evaluated and recorded. No decision follows from its verdict.",
        json_schema_extra=_not_stored,
    )

    @property
    def name(self) -> str:
        return self.name_ or self.template or self.use or ""

    @property
    def has_references(self) -> bool:
        """Whether it refers to another predicate or to a template."""
        return self.use is not None or self.template is not None

    @property
    def comparison(self) -> Comparison:
        """Only for a predicate without references."""
        comparison = self.is_ or self.vs_old or (FIRES if self.alert is not None else None)
        assert comparison is not None  # the validator below refuses every other predicate
        return comparison

    @property
    def window(self) -> timedelta:
        """How far back the query reads; 0 for an alert, which is read at one instant."""
        return timedelta(0) if self.alert is not None else self.window_ or WINDOW

    @property
    def silence_is_clear(self) -> bool:
        """Whether no data means that nothing is wrong."""
        return self.no_data == "Clear"

    @property
    def judges_latency(self) -> bool:
        """Whether it judges how long requests take, by the form of what it asks."""
        if self.events is not None:
            return self.events.kind == "histogram"
        return self.query is not None and asks_for_latency(self.query)

    @property
    def confidence(self) -> Fraction:
        """An exact fraction of 1: 95% is 19/20."""
        return self.confidence_ or CONFIDENCE

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refusals = (*_one_question(self), *(_reference(self) if self.has_references else _one_test(self)))
        if refusals:
            raise Violations(*refusals)
        return self


_OF_LATENCY: Final = re.compile(
    r"""\bhistogram_(?:quantiles?|avg|fraction|sum)\s*\(|_bucket\b|\bquantile\s*=~?\s*["'`]"""
)
"""A function or the buckets of a histogram, or the label of a summary's quantiles."""
_WORD: Final = re.compile(r"[\w:]+")


@lru_cache(maxsize=1024)
def asks_for_latency(query: str) -> bool:
    """Whether PromQL reads a histogram or a summary for how long requests take, not for how many there are."""
    text = without_comments(query)
    words = set(_WORD.findall(text))
    averages = any(word.endswith("_sum") and word.removesuffix("sum") + "count" in words for word in words)
    return averages or _OF_LATENCY.search(text) is not None


Predicates: TypeAlias = Annotated[tuple[Predicate, ...], Field(max_length=MAX_PREDICATES)]


def as_normalized(predicates: Iterable[Predicate]) -> tuple[Predicate, ...]:
    """The predicates without values that equal the default.

    With a template, a value that equals our default is kept: it overrides the template's.
    """
    return tuple(
        predicate.model_copy(
            update={"name_": None if predicate.name_ in (predicate.template, predicate.use) else predicate.name_}
            if predicate.has_references
            else {
                "window_": None if predicate.window_ == WINDOW else predicate.window_,
                "confidence_": None if predicate.confidence_ == CONFIDENCE else predicate.confidence_,
                "no_data": None if predicate.no_data == "Undecided" else predicate.no_data,
            }
        )
        for predicate in predicates
    )


# ---- the rules between its fields: each yields path and message of every violation -------------------


def _pairs(events: Events) -> FieldErrors:
    written = [field is not None for field in (events.bad, events.total, events.histogram, events.slower_than)]
    if written not in ([True, True, False, False], [False, False, True, True]):
        yield "", "needs bad with total, or histogram with slowerThan: write one pair"


def _scraped(events: Events) -> FieldErrors:
    yield from _pairs(events)
    for name, series in (("bad", events.bad), ("total", events.total), ("histogram", events.histogram)):
        if series is not None and _is_more_than_series(series):
            yield name, AS_SCRAPED
        elif name == "histogram" and series is not None:
            yield from _one_histogram(series)


def _is_more_than_series(text: str) -> bool:
    """Whether a text is anything but a name with labels, as far as that can be seen without PromQL's grammar.

    What MORE_THAN_SERIES finds is looked for behind the last brace alone: Python would begin it again at each bracket.
    """
    labels = text.rfind("}") + 1
    return _BEYOND_LABELS.search(text, labels) is not None or not is_one_instant(text)


def _one_histogram(text: str) -> FieldErrors:
    selector = read_selector(text)
    if selector is not None and not selector.name.endswith("_bucket"):
        return
    one = selector is not None or without_comments(text).startswith("{")
    yield "histogram", HISTOGRAM_NAME if one else ONE_SELECTOR


def _one_question(predicate: Predicate) -> FieldErrors:
    kinds = (predicate.query, predicate.events, predicate.alert, predicate.use, predicate.template)
    if sum(each is not None for each in kinds) != 1:
        yield "", ONE_QUESTION
    if predicate.name_ is None and not predicate.has_references:
        yield "name", MISSING
    compares = not predicate.has_references and predicate.alert is None
    if compares and (predicate.is_ is None) == (predicate.vs_old is None):
        yield "", ONE_COMPARISON
    if predicate.with_ and predicate.template is None:
        yield "with", ONLY_WITH_TEMPLATE


def _reference(predicate: Predicate) -> FieldErrors:
    if predicate.use is not None:
        yield from ((name, NOT_WITH_USE) for name, field in OVERRIDES.items() if getattr(predicate, field) is not None)
    elif predicate.is_ is not None and predicate.vs_old is not None:
        yield "", ONE_COMPARISON
    if predicate.min_samples is not None:
        yield "minSamples", NOT_WITH_USE if predicate.use is not None else NOT_WITH_TEMPLATE


class ComparisonFields(Protocol):
    """The fields that depend on query or events, in a predicate and in a template."""

    @property
    def events(self) -> object: ...
    @property
    def for_(self) -> object: ...
    @property
    def window_(self) -> object: ...
    @property
    def min_samples(self) -> object: ...
    @property
    def confidence_(self) -> object: ...


def unfit_fields(fields: ComparisonFields) -> FieldErrors:
    """The fields that are set but not allowed with a query, or not with events."""
    if fields.events is None:
        if fields.confidence_ is not None:
            yield "confidence", ONLY_WITH_EVENTS
        return
    of_values = {"for": fields.for_, "window": fields.window_, "minSamples": fields.min_samples}
    yield from ((name, NOT_WITH_EVENTS[name]) for name, value in of_values.items() if value is not None)


def _one_test(predicate: Predicate) -> FieldErrors:
    if predicate.alert is not None:
        fields = {**OVERRIDES, "minSamples": "min_samples"}
        yield from ((name, why) for name, why in NOT_WITH_ALERT.items() if getattr(predicate, fields[name]) is not None)
        return
    yield from unfit_fields(predicate)
    for name, comparison in (("is", predicate.is_), ("vsOld", predicate.vs_old)):
        if predicate.events is None or comparison is None:
            continue
        try:
            counted(comparison)
        except ValueError as refusal:
            yield name, str(refusal)
