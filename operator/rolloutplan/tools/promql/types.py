"""What Prometheus 3 refuses of a query that it can read: types, functions, arguments, matchers, expressions. Pure.

`check` raises PromqlError at the first part that is refused, and yields what only some servers take.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple, TypeAlias

from rolloutplan.tools.promql.nodes import (
    COMPARISONS,
    SETS,
    Aggregate,
    Binary,
    Call,
    Matcher,
    Node,
    Number,
    PromqlError,
    Range,
    Selector,
    Span,
    Subquery,
    Text,
    Unary,
    walk,
)
from rolloutplan.tools.promql.regex import refusal

Type: TypeAlias = str
"""`v` an instant vector, `m` a range vector, `s` a scalar, `t` a string."""
_CALLED: Final = {
    "v": "an instant vector",
    "m": "a range, such as x[$window]",
    "s": "a number",
    "t": "a string in quotes",
}
_IS: Final = {"v": "an instant vector", "m": "a range", "s": "a number", "t": "a string"}


class _Signature(NamedTuple):
    args: str
    optional: int
    """How many of the last arguments may be left out; -1 where the last may also be repeated."""
    returns: Type


def _signatures(table: str) -> dict[str, _Signature]:
    found: dict[str, _Signature] = {}
    for row in table.split():
        names, _, form = row.partition(":")
        args, returns = form.split(">")
        optional = -1 if args.endswith("*") else args.count("?")
        for name in names.split(","):
            found[name] = _Signature(args.rstrip("?*"), optional, returns)
    return found


_FUNCTIONS: Final = _signatures("""
    abs,absent,acos,acosh,asin,asinh,atan,atanh,ceil,cos,cosh,deg,exp,floor,ln,log10,log2,rad,sgn,sin,sinh:v>v
    sort,sort_desc,sqrt,tan,tanh,timestamp:v>v
    histogram_avg,histogram_count,histogram_stddev,histogram_stdvar,histogram_sum:v>v
    absent_over_time,avg_over_time,changes,count_over_time,delta,deriv,first_over_time,idelta,increase,irate:m>v
    last_over_time,mad_over_time,max_over_time,min_over_time,present_over_time,rate,resets:m>v
    stddev_over_time,stdvar_over_time,sum_over_time:m>v
    ts_of_first_over_time,ts_of_last_over_time,ts_of_max_over_time,ts_of_min_over_time:m>v
    clamp:vss>v clamp_max,clamp_min:vs>v round:vs?>v
    day_of_month,day_of_week,day_of_year,days_in_month,hour,minute,month,year:v?>v
    double_exponential_smoothing:mss>v predict_linear:ms>v quantile_over_time:sm>v
    histogram_fraction:ssv>v histogram_quantile:sv>v histogram_quantiles:vtss*>v
    info:vv?>v label_join:vttt*>v label_replace:vtttt>v sort_by_label,sort_by_label_desc:vt*>v
    end,pi,range,start,step,time:>s scalar:v>s vector:s>v
""")
_EXPERIMENTAL: Final = frozenset(
    {"double_exponential_smoothing", "first_over_time", "histogram_quantiles", "info", "limit_ratio", "limitk"}
    | {"mad_over_time", "sort_by_label", "sort_by_label_desc", "ts_of_first_over_time", "ts_of_last_over_time"}
    | {"ts_of_max_over_time", "ts_of_min_over_time", "end", "range", "start", "step"}
)
"""What Prometheus refuses without a flag, or before its newest versions."""
_FLAG: Final = "--enable-feature=promql-experimental-functions"
_REPLACED: Final = {
    "holt_winters": "double_exponential_smoothing", "median": "quantile(0.5, ...)", "mean": "avg", "average": "avg",
    "percentile": "histogram_quantile", "p99": "histogram_quantile(0.99, ...)", "coalesce": "or", "if": "a comparison",
    "default": "or", "stdev": "stddev", "distinct": "count by", "moving_average": "avg_over_time", "per_second": "rate",
}  # fmt: skip
_PARAMETERS: Final = {
    **dict.fromkeys(("topk", "bottomk", "quantile", "limitk", "limit_ratio"), "s"),
    "count_values": "t",
}
"""The types of the parameters of aggregations."""
_RANGE_FUNCTIONS: Final = frozenset(name for name, each in _FUNCTIONS.items() if "m" in each.args)
AGGREGATED: Final = "rate", "increase", "irate"


class Doubt(NamedTuple):
    """What only some servers take."""

    words: str
    span: Span


def type_of(node: Node) -> Type:
    """The type of a part that `check` has taken."""
    match node:
        case Number():
            return "s"
        case Text():
            return "t"
        case Range() | Subquery():
            return "m"
        case Call():
            return _FUNCTIONS[node.name].returns if node.name in _FUNCTIONS else "v"
        case Unary():
            return type_of(node.expr)
        case Binary():
            return "s" if type_of(node.lhs) == type_of(node.rhs) == "s" else "v"
    return "v"


def check(text: str, top: Node) -> Iterator[Doubt]:
    """Yield what only some servers take. Raises PromqlError at what Prometheus refuses. `text` is what was parsed."""
    for part, _ in reversed(list(walk(top))):
        match part:
            case Call():
                _check_call(text, part)
            case Aggregate():
                _check_aggregate(text, part)
            case Binary():
                _check_binary(text, part)
            case Unary() if type_of(part.expr) not in "vs":
                words = f"a sign stands before {_IS[type_of(part.expr)]}, which has none"
                raise PromqlError(words, *part.span)
            case Subquery() if type_of(part.expr) != "v":
                words = f"a subquery needs an instant vector before its range, and {_own(text, part.expr)} is"
                raise PromqlError(f"{words} {_IS[type_of(part.expr)]}", *part.span)
            case Selector():
                _check_selector(part)
        name = part.name if isinstance(part, Call) else part.op if isinstance(part, Aggregate) else ""
        if name in _EXPERIMENTAL:
            yield Doubt(f"{name}() is experimental: Prometheus refuses it unless it runs with {_FLAG}", part.span)


# ---- functions -----------------------------------------------------------------------------------


def _check_call(text: str, call: Call) -> None:
    signature = _FUNCTIONS.get(call.name)
    if signature is None:
        raise PromqlError(_unknown(call.name), call.span.start, call.span.start + len(call.name))
    if call.name == "info":
        return  # its second argument is a selector of labels, which has rules of its own
    wanted, given = len(signature.args), len(call.args)
    least = wanted - (1 if signature.optional < 0 else signature.optional)
    most = given if signature.optional < 0 else wanted
    _check_order(text, call, signature)
    if not least <= given <= most:
        raise PromqlError(f"{call.name}() needs {_count(signature, least, most)}, and has {given}", *call.span)
    for i, argument in enumerate(call.args):
        _check_argument(text, call, signature.args[min(i, wanted - 1)], argument)
    if call.name in ("label_replace", "label_join"):
        _check_labels(call)


def _count(signature: _Signature, least: int, most: int) -> str:
    many = f"{least} argument{'s' * (least != 1)}"
    if signature.optional < 0:
        return f"at least {many}"
    return many if least == most else f"{least} to {most} arguments"


def _check_order(text: str, call: Call, signature: _Signature) -> None:
    """Say so where the arguments are right, but in another order."""
    types = "".join(type_of(each) for each in call.args)
    if (
        types != signature.args
        and sorted(types) == sorted(signature.args)
        and len(set(signature.args)) == len(types) > 1
    ):
        by_type = {type_of(each): _own(text, each) for each in call.args}
        fix = ", ".join(by_type[each] for each in signature.args)
        raise PromqlError(
            f"the arguments of {call.name}() are in the wrong order: write {call.name}({fix})", *call.span
        )


def _check_argument(text: str, call: Call, wanted: Type, argument: Node) -> None:
    given = type_of(argument)
    if given == wanted:
        return
    own, name = _own(text, argument), call.name
    words = f"{name}() needs {_CALLED[wanted]}, and {own} is {_IS[given]}"
    fix = ""
    if wanted == "m" and isinstance(argument, Selector):
        fix = f": write {name}({own}[$window])"
    elif wanted == "m" and isinstance(argument, Aggregate) and name in AGGREGATED:
        inner = _own(text, argument.expr)
        ranged = f"{inner}[$window]" if isinstance(argument.expr, Selector) else "x[$window]"
        fix = f": write the range after the metric, and the {argument.op} outside: {argument.op}({name}({ranged}))"
    elif wanted == "m" and isinstance(argument, Call) and argument.name in _RANGE_FUNCTIONS:
        fix = f": {argument.name}() has taken the range already; write one of the two, or a subquery"
    elif wanted == "v" and given == "m":
        fix = ": remove the range, or put a function such as rate() around it"
    elif wanted == "s" and given == "v":
        fix = ": write a number, or scalar(...) around one series"
    elif wanted == "v" and given == "s":
        fix = ": write vector(...) around the number"
    raise PromqlError(words + fix, *argument.span)


def _check_labels(call: Call) -> None:
    texts = [each.value for each in call.args if isinstance(each, Text)]
    if call.name == "label_replace" and len(texts) == 4 and (problem := refusal(texts[3])):
        raise PromqlError(f"the expression of label_replace() is not one of RE2: {problem[0]}", *call.args[-1].span)


def _unknown(name: str) -> str:
    lower = name.lower()
    near = (
        [lower] if lower in _FUNCTIONS else get_close_matches(lower, [*_FUNCTIONS, *_aggregations()], n=1, cutoff=0.7)
    )
    if lower in _REPLACED:
        return f"{name}() is not a function of PromQL: write {_REPLACED[lower]}"
    return f"{name}() is not a function of PromQL" + (f": did you mean {near[0]}()?" if near else "")


def _aggregations() -> tuple[str, ...]:
    return ("sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", *_PARAMETERS)


def _check_aggregate(text: str, node: Aggregate) -> None:
    wanted = _PARAMETERS.get(node.op, "") + "v"
    if len(node.args) != len(wanted):
        form = {"v": f"{node.op}(x)", "sv": f"{node.op}(5, x)", "tv": f'{node.op}("label", x)'}[wanted]
        if node.op == "quantile":
            form = "quantile(0.99, x)"
        words = f"{node.op} needs {len(wanted)} argument{'s' * (len(wanted) > 1)}, and has {len(node.args)}"
        raise PromqlError(f"{words}: write {form}", *node.span)
    types = "".join(type_of(each) for each in node.args)
    if types != wanted and types == wanted[::-1]:
        swapped = ", ".join(_own(text, each) for each in reversed(node.args))
        raise PromqlError(f"the arguments of {node.op} are in the wrong order: write {node.op}({swapped})", *node.span)
    if node.op == "count_values" and isinstance(node.param, Text) and not node.param.value:
        raise PromqlError("count_values needs the name of a label, and this is empty", *node.param.span)
    for argument, kind in zip(node.args, wanted, strict=True):
        if (given := type_of(argument)) != kind:
            own = _own(text, argument)
            words = f"{node.op} needs {_CALLED[kind]}, and {own} is {_IS[given]}"
            fix = f": write {node.op}(rate({own})), or another function of a range" if given == "m" else ""
            fix = fix or (": remove the aggregation" if given == "s" and kind == "v" else "")
            raise PromqlError(words + fix, *argument.span)


# ---- operators -----------------------------------------------------------------------------------


def _check_binary(text: str, node: Binary) -> None:
    types = type_of(node.lhs), type_of(node.rhs)
    for side, kind in zip((node.lhs, node.rhs), types, strict=True):
        if kind not in "vs":
            fix = "remove the quotes" if kind == "t" else "put a function such as rate() around it"
            words = f'"{node.op}" needs numbers or instant vectors, and {_own(text, side)} is {_IS[kind]}: {fix}'
            raise PromqlError(words, *side.span)
    if node.returns_bool and node.op not in COMPARISONS:
        raise PromqlError(f'bool stands only after a comparison, not after "{node.op}": remove it', *node.at_op)
    if types == ("s", "s") and node.op in COMPARISONS and not node.returns_bool:
        raise PromqlError(f'two numbers are compared: write "{node.op} bool"', *node.at_op)
    if "s" in types and node.op in SETS:
        number = _own(text, node.lhs if types[0] == "s" else node.rhs)
        raise PromqlError(
            f'"{node.op}" needs series on both sides, and {number} is a number: write vector(...)', *node.at_op
        )
    if "s" in types and node.labels:
        raise PromqlError(
            f"{node.matching}(...) needs series on both sides: remove it where one is a number", *node.at_op
        )
    if node.group and node.op in SETS:
        raise PromqlError(f'{node.group} is not allowed with "{node.op}": remove it', *node.at_op)
    if node.group and node.matching == "on" and (both := sorted(set(node.labels) & set(node.included))):
        words = f"{both[0]} is in on(...) and in {node.group}(...): remove it from {node.group}"
        raise PromqlError(words, *node.at_op)


# ---- selectors -----------------------------------------------------------------------------------


def _check_selector(selector: Selector) -> None:
    for matcher in selector.matchers:
        if matcher.op in ("=~", "!~") and (problem := refusal(matcher.value)):
            words = f'{matcher.label}{matcher.op}"{_cut(matcher.value)}" is not an expression of RE2: {problem[0]}'
            raise PromqlError(words, *matcher.at_value)
    if not selector.name and not any(_needs_something(each) for each in selector.matchers):
        words = "this selects every series there is: write a metric's name, or a matcher that nothing empty fits"
        raise PromqlError(words, *selector.span)


def _needs_something(matcher: Matcher) -> bool:
    """Whether a matcher does not fit the empty string, as far as that is certain."""
    match matcher.op:
        case "=":
            return bool(matcher.value)
        case "!=":
            return not matcher.value
        case "=~":
            return matcher.value not in _FIT_EMPTY
        case _:
            return matcher.value in _FIT_EMPTY


_FIT_EMPTY: Final = frozenset({"", ".*", "(.*)", ".*?", ".?", "|", "()", "^.*$", "^$", "^", "$"})


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _own(text: str, node: Node) -> str:
    return _cut(" ".join(text[node.span.start : node.span.end].split()))
