"""The spec of a PredicateTemplate, and how its parameters are filled in to give a predicate.

A parameter is written `$(name)`, as in the arguments of a container. This differs from the operator's variables
(`$name`, `${name}`), from PromQL, and from what Helm (`{{ }}`) or Flux (`${ }`) would replace.

No value can inject PromQL. A Number, Percent, Duration or Name is always one token. A String must be within quotes,
else the template is refused; it has no quote, no backslash and no line break, so it cannot end the quotes. A `$` in it
must begin one of the operator's variables, whose values are names and times. All values are inserted at once, so a
value is never searched for parameters.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api import suggestions
from rolloutplan.api.limits import MAX_TEMPLATE, check_size
from rolloutplan.api.parsing import SpecError, SpecModel, Violations, read
from rolloutplan.api.predicate import MAX_PARAMETERS, NO_DATA_WORDS, ONE_COMPARISON, NoData, Predicate, unfit_fields
from rolloutplan.api.quantities import format_duration, parse_duration
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.selector import outside_strings
from rolloutplan.api.shown import shown
from rolloutplan.api.text_format import Query, TextFormat, cel

__all__ = ["PredicateTemplateSpec", "fill", "read_template", "samples"]

DUPLICATE_NAME: Final = "two have the same name: choose another name for the second"
ONE_BODY: Final = "set exactly one of query and events"
PARAMETER: Final = TextFormat(
    called="name of a parameter",
    pattern="^[a-z][a-zA-Z0-9]*$",
    longest=63,
    fix="is not a parameter name: write letters and digits, a lower-case letter first",
)

PLACEHOLDER: Final = re.compile(r"\$\(([^()]*)\)")
_PROMQL_FIELDS: Final = ("query", "bad", "total", "histogram")
"""The fields that hold PromQL."""
_COUNT_FIELD: Final = "atLeast"
"""The field that holds a whole number."""

# ---- the types of parameters ----------------------------------------------------------------------

_STRING: Final = TextFormat(
    called="String",
    pattern=r"""^[^"'`\\\x00-\x1f\x7f]*$""",
    longest=256,
    fix="cannot be put in quotes: write it without quotes, backslashes and line breaks",
)
_NAME: Final = TextFormat(
    called="Name",
    pattern="^[a-zA-Z_:][a-zA-Z0-9_:]*$",
    longest=256,
    fix="is not the name of a metric or a label: write letters, digits, '_' and ':'",
)
_NUMBER: Final = TextFormat(
    called="Number",
    pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$",
    longest=32,
    fix='is not a number: write digits, such as "0.99"',
)
_PERCENT: Final = TextFormat(
    called="Percent",
    pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?%$",
    longest=16,
    fix='is not a percentage: write one such as "99%" or "0.5%"',
    suggest=suggestions.percentage,
)


def _string(value: object) -> str:
    text = _STRING.read(value)
    for plain, braced in re.findall(r"\$(?:(\w+)|\{(\w+)\})?", text):
        if plain not in BUILTIN_VARIABLES and braced not in BUILTIN_VARIABLES:
            words = ", ".join(f"${known}" for known in BUILTIN_VARIABLES)
            raise ValueError(f'"{text}" has a $ that starts no variable: write $ only in {words}')
    return text


TypeName: TypeAlias = Literal["String", "Name", "Number", "Percent", "Duration"]


@dataclass(frozen=True, slots=True)
class _Type:
    read: Callable[[object], object]
    """Raises ValueError with the fix."""
    sample: str
    to_promql: Callable[[str], str] = str
    """Its form in PromQL."""


def _fraction(text: str) -> str:
    return format(Decimal(text.removesuffix("%")) / 100, "f")


def _range(text: str) -> str:
    """A duration in PromQL's form, which has no fractions of a unit."""
    duration = parse_duration(text)
    short = format_duration(duration)
    return f"{duration // timedelta(milliseconds=1)}ms" if "." in short else short


_TYPES: Final[Mapping[TypeName, _Type]] = {
    "String": _Type(_string, "text"),
    "Name": _Type(_NAME.read, "name"),
    "Number": _Type(_NUMBER.read, "1"),
    "Percent": _Type(_PERCENT.read, "50%", _fraction),
    "Duration": _Type(parse_duration, "1m", _range),
}

# ---- the template ---------------------------------------------------------------------------------

Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
"""A short text with parameters. It is validated when they are filled in."""


_LONGEST: Final = 64
"""Characters of a short text with parameters."""
_HUNDRED: Final = 100
_PERCENTAGE_FIX: Final = 'is not a percentage: write one such as "95%", or a parameter such as $(confidence)'
_COUNT_FIX: Final = "is not a whole number: write one, or a parameter such as $(samples)"


def _count(value: object) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and 0 < len(value) <= 64:
        return value
    raise ValueError(f"{shown(value)} {_COUNT_FIX}")


Count: TypeAlias = Annotated[
    int | str,
    BeforeValidator(_count),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 64,
            "x-kubernetes-validations": [
                {
                    "rule": "type(self) == int || (type(self) == string && self.size() > 0)",
                    "messageExpression": f"string(self) + {cel(' ' + _COUNT_FIX)}",
                }
            ],
        }
    ),
]


def _percentage(value: object) -> str:
    """A percentage with parameters: a whole number is read as if % followed it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _HUNDRED:
        return f"{value}%"
    if isinstance(value, str) and 0 < len(value) <= _LONGEST:
        return value
    raise ValueError(f"{shown(value)} {_PERCENTAGE_FIX}")


Percentage: TypeAlias = Annotated[
    str,
    BeforeValidator(_percentage),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": _LONGEST,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self > 0 && self < {_HUNDRED} : self.size() > 0",
                    "messageExpression": f"string(self) + {cel(' ' + _PERCENTAGE_FIX)}",
                }
            ],
        }
    ),
]


class Parameter(SpecModel):
    """A parameter of a template, written $(name) there."""

    name: Annotated[str, BeforeValidator(PARAMETER.read), WithJsonSchema(PARAMETER.schema())] = Field(
        description="Its name. $(name) is replaced by its value."
    )
    type: TypeName = Field(
        description="String: a text within quotes; Name: of a metric or a label; Number; Percent: in PromQL a fraction"
        " of 1; Duration."
    )
    default: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Its value where a plan sets none. Without a default the plan must set it."
    )
    description: Annotated[str, Field(max_length=512)] = Field(
        default="", description="What it means, for users of the template."
    )


class TemplateEvents(SpecModel):
    """The counters to test, with parameters."""

    bad: Query | None = Field(default=None, description="The counter of bad requests, as scraped. Needs total.")
    total: Query | None = Field(default=None, description="The counter of all requests, as scraped. Needs bad.")
    histogram: Query | None = Field(
        default=None, description="A histogram of seconds, as scraped, without _bucket. Needs slowerThan."
    )
    slower_than: Text | None = Field(default=None, description="A request that takes longer is slow. Needs histogram.")


class TemplateSamples(SpecModel):
    """How many samples the value needs before it counts, with parameters."""

    query: Query = Field(description="PromQL that counts the samples of the value.")
    at_least: Count = Field(description="Below this count the predicate is Undecided.")


class PredicateTemplateSpec(SpecModel):
    """A predicate with parameters, which plans refer to by name."""

    description: Annotated[str, Field(max_length=512)] = Field(default="", description="What the predicate checks.")
    indicates: Literal["Success", "Failure"] = Field(
        description="What it indicates about the new side when it is true. pass needs Success, guards and fail need"
        " Failure: where a plan uses it for the opposite, its comparison is reversed."
    )
    parameters: tuple[Parameter, ...] = Field(
        default=(), max_length=MAX_PARAMETERS, description="The parameters that a plan may or must set."
    )
    query: Query | None = Field(
        default=None,
        description="PromQL that returns one value. Variables such as $deployment are replaced. Set this or events.",
    )
    events: TemplateEvents | None = Field(default=None, description="The counters to test. Set this or query.")
    is_: Text | None = Field(
        default=None, alias="is", description='A comparison with a number, such as ">= $(atLeast)". Set this or vsOld.'
    )
    vs_old: Text | None = Field(
        default=None, description='A comparison with the old side, such as "> $(times)x". Set this or is.'
    )
    for_: Text | None = Field(
        default=None, alias="for", description="How long the comparison must hold. Not with events."
    )
    window_: Text | None = Field(
        default=None, alias="window", description="The value of $window; 1m if left out. Not with events."
    )
    min_samples: TemplateSamples | None = Field(
        default=None, description="How many samples the value needs before it counts. Not with events."
    )
    confidence_: Percentage | None = Field(
        default=None,
        alias="confidence",
        description="The confidence of the test of events, as 99% or 99; 95% if left out.",
    )
    no_data: NoData | None = Field(default=None, description=f"{NO_DATA_WORDS} It does not apply under pass.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if refusals := tuple(_violations(self)):
            raise Violations(*refusals)
        return self


def read_template(raw: Mapping[str, Any]) -> PredicateTemplateSpec:
    """Parse the `spec` of a PredicateTemplate or a ClusterPredicateTemplate. Raises SpecError."""
    check_size(raw, MAX_TEMPLATE)
    return read(PredicateTemplateSpec, raw)


def samples(template: PredicateTemplateSpec) -> dict[str, str]:
    """A sample value for each parameter without a default, so that a template can be checked without a plan."""
    return {p.name: _TYPES[p.type].sample for p in template.parameters if p.default is None}


# ---- filling it in --------------------------------------------------------------------------------


def fill(template: PredicateTemplateSpec, arguments: Mapping[str, str]) -> dict[str, Any]:
    """The fields of the predicate with these values filled in, in the form of a spec.

    Raises SpecError: one line for each value that is unknown, missing or not of its type.
    """
    if refusals := [f"with.{name}: {words}" for name, words in _argument_errors(template.parameters, arguments)]:
        raise SpecError("\n".join(refusals), iter(refusals))
    texts = {p.name: p.default or "" for p in template.parameters} | dict(arguments)
    in_promql = promql_values(template, arguments)

    def fill_field(field: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill_field(name, below) for name, below in value.items()}
        if not isinstance(value, str):
            return value
        values = in_promql if field in _PROMQL_FIELDS else texts
        text = PLACEHOLDER.sub(lambda hole: values[hole[1]], value)
        return int(text) if field == _COUNT_FIELD and re.fullmatch("[0-9]+", text) else text

    plain = template.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"description", "indicates", "parameters"}
    )
    return {field: fill_field(field, value) for field, value in plain.items()}


def promql_values(template: PredicateTemplateSpec, arguments: Mapping[str, str]) -> dict[str, str]:
    """The values of the parameters as PromQL has them, by name. Each must be of its type."""
    types = {p.name: _TYPES[p.type] for p in template.parameters}
    texts = {p.name: p.default or "" for p in template.parameters} | dict(arguments)
    return {name: types[name].to_promql(text) for name, text in texts.items()}


def _argument_errors(parameters: Iterable[Parameter], arguments: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    known = {parameter.name: parameter for parameter in parameters}
    for name, text in arguments.items():
        if name not in known:
            yield name, f"is not a parameter of the template: {_suggestion(name, known)}"
        elif words := _type_error(known[name], text):
            yield name, words
    yield from (
        (name, f"has no default: write a {parameter.type}")
        for name, parameter in known.items()
        if parameter.default is None and name not in arguments
    )


def _type_error(parameter: Parameter, text: str) -> str:
    """Why a text is not of the parameter's type; empty where it is."""
    try:
        _TYPES[parameter.type].read(text)
    except ValueError as refusal:
        return str(refusal)
    return ""


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"write one of {', '.join(known)}" if known else "there are none, remove it"


# ---- the rules of a template ----------------------------------------------------------------------


def _violations(template: PredicateTemplateSpec) -> Iterator[tuple[str, str]]:
    wrong = [*unfit_fields(template), *_default_errors(template), *_placeholder_errors(template)]
    if (template.query is None) == (template.events is None):
        wrong.insert(0, ("", ONE_BODY))
    if (template.is_ is None) == (template.vs_old is None):
        wrong.insert(0, ("", ONE_COMPARISON))
    yield from wrong
    if not wrong and all(parameter.default is not None for parameter in template.parameters):
        yield from _predicate_errors(template)


def _default_errors(template: PredicateTemplateSpec) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for index, parameter in enumerate(template.parameters):
        if parameter.name in seen:
            yield "parameters", DUPLICATE_NAME
        seen.add(parameter.name)
        if parameter.default is not None and (words := _type_error(parameter, parameter.default)):
            yield f"parameters[{index}].default", words


def _placeholder_errors(template: PredicateTemplateSpec) -> Iterator[tuple[str, str]]:
    types = {parameter.name: parameter.type for parameter in template.parameters}
    for path, text in _texts(template):
        names = PLACEHOLDER.findall(text)
        for name in dict.fromkeys(names):
            if name not in types:
                yield path, f"$({name}) is not a parameter: {_suggestion(name, types)}, or list it in parameters"
        if path.rpartition(".")[2] in _PROMQL_FIELDS:
            bare = [name for name in PLACEHOLDER.findall(outside_strings(text)) if types.get(name) == "String"]
            for name in dict.fromkeys(bare):
                fix = 'write quotes around it, or make it a Name or a Number, such as {label="$(value)"}'
                yield path, f"$({name}) is a String outside of quotes: {fix}"


def _texts(template: PredicateTemplateSpec) -> Iterator[tuple[str, str]]:
    """Path and text of each field that may hold parameters."""
    plain = template.model_dump(by_alias=True, exclude_none=True, exclude={"description", "indicates", "parameters"})
    for field, value in plain.items():
        below = value.items() if isinstance(value, dict) else ()
        yield from ((f"{field}.{name}", text) for name, text in below if isinstance(text, str))
        if isinstance(value, str):
            yield field, value


def _predicate_errors(template: PredicateTemplateSpec) -> Iterator[tuple[str, str]]:
    """The violations of the predicate that all defaults give."""
    try:
        read(Predicate, {**fill(template, {}), "name": "template"})
    except SpecError as error:
        yield from _lines(error)


def _lines(error: SpecError) -> Iterator[tuple[str, str]]:
    """The lines of an error: the path below `spec`, and the message."""
    for line in str(error).splitlines():
        path, _, words = line.partition(": ")
        if path.startswith("spec"):
            yield path.removeprefix("spec").removeprefix("."), words
