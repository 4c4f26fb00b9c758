"""Queries as a hostile author writes them: every kind of quote, comment and bracket, whole and in pieces.

`expression` writes what a server takes, `dressed` the same with quotes and brackets in comments, `broken` the same with
characters put in and taken out, `soup` pieces in any order. What is drawn comes from a seeded random, so that a query
can be written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from promql_parser import Call, Expr, MatchOp, VectorSelector, parse

METRICS: Final = ("own", "secret", 'own{job="a"}', '{"a.b"}', '{__name__="secret"}', "secret{namespace=`bank`}")
"""Selectors, as tests have series for them; `secret` is what the author must not hear of."""
MATCHERS: Final = (
    'a="b"', "a!='c'", "job=~`a|b`", 'namespace="bank"', 'namespace=~".*"', '"namespace"!=""',
    'b=~"(x{2})?"', "c='},secret{'", 'd!="\\"}"', "e!=`'`", 'f!="#"', 'namespace!="shop"', 'g=~".*,"',
)  # fmt: skip
WORDS: Final = (
    '"', "'", "`", "#", "(", ")", "{", "}", "[", "]", ",", "\\", '")', "')", "secret", "secret{", ' or secret # "',
    ', "q", "0", "", "")', 'label_replace(vector(1), "q", "1", "", "")', "*/", "/*", "--", ";", "$x", "\u2028", "\x0b",
)  # fmt: skip
"""What stands in comments, and is put in anywhere."""
_ENDS: Final = ("\n", "\r\n", "\n\n")
_PIECES: Final = (
    *WORDS, *METRICS, *MATCHERS, "\n", "\r", "\r\n", " ", " or ", " and ", "+", "-", "[5m]", "[5m:1m]", " offset 5m",
    " @ 1", " by (a)", "sum", "sum(", "count(", "vector(1)", "1", "=~", "!=", '\\"', "\\'", "bool", " on()",
    " group_left", "offset", "a", "\x00", "\ufeff", "info(", "WITH (x = secret) x",
)  # fmt: skip


def expression(random: Random, depth: int = 3) -> str:
    """A query with one number or a few series, none above 1,000 where those that it selects are not."""
    if depth == 0 or random.random() < 0.1:
        return random.choice((_selector(random), _selector(random), "vector(1)"))
    inner, other = expression(random, depth - 1), expression(random, depth - 1)
    return random.choice(
        (
            f"sum({inner})",
            f"max by (job, namespace) ({inner})",
            f"count({inner}) without (instance)",
            f"max_over_time(({inner})[30s:5s])",
            f"max_over_time({_selector(random)}[1m] offset 1s)",
            f"sum(last_over_time({_selector(random)}[1m] @ end()))",
            f"({inner}) or ({other})",
            f"({inner}) and on() ({other})",
            f"({inner}) unless ignoring(job) ({other})",
            f"sum({inner}) - sum({other})",
            f"sum({inner}) + on() group_left max({other})",
            f"-abs({inner})",
            f'label_replace({inner}, "namespace", "shop", "", "")',
            f"absent({_selector(random)})",
            f"({inner}) > bool 0",
            f'topk(1, {inner}) or label_join({other}, "namespace", "", "job")',
        )
    )


def _selector(random: Random) -> str:
    metric = random.choice(METRICS)
    if random.random() < 0.5:
        return metric
    matchers = ", ".join(random.sample(MATCHERS, random.randint(1, 3)))
    return f"{metric[:-1]},{matchers}}}" if metric.endswith("}") else f"{metric}{{{matchers}}}"


def dressed(random: Random, query: str) -> str:
    """The same query to a server, with comments in place of some spaces, and one at its end."""
    parts = query.split(" ")
    comments = (f" # {random.choice(WORDS)}{random.choice(WORDS)}{random.choice(_ENDS)}" for _ in parts)
    gaps = (comment if random.random() < 0.3 else " " for comment in comments)
    joined = "".join(part + gap for part, gap in zip(parts, gaps, strict=True))
    return joined + random.choice(("", " # ", f" # {random.choice(WORDS)}"))


def broken(random: Random, query: str) -> str:
    """A query with a few pieces put in, and a few characters taken out."""
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(query) + 1)
        query = query[:at] + random.choice((random.choice(_PIECES), "")) + query[at + random.choice((0, 0, 1, 2)) :]
    return query


def soup(random: Random) -> str:
    """Pieces in any order."""
    return "".join(random.choice(_PIECES) for _ in range(random.randint(1, 12)))


def hostile(random: Random) -> str:
    """One of all these."""
    query = expression(random, random.randint(0, 3))
    return random.choice(
        (query, dressed(random, query), broken(random, query), broken(random, dressed(random, query)), soup(random))
    )


def forging(quote: str, end: str, value: int, place: str) -> tuple[str, str]:
    """A good query, and one that looks like it, ends what is around it, and answers in another's place."""
    forged = f"label_replace(vector({value}), 'q', '{place}', '', '')"
    good = f"vector(0) # {quote}{end}# {quote}"
    return good, f"vector(0) # {quote}{end}, 'q', '0', '', '') or {forged} or label_replace(vector(0) # {quote}"


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    """Every selector below an expression, found by what its parts are called and not by how the operator finds them."""
    if isinstance(expr, VectorSelector):
        yield expr
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if isinstance(part := getattr(expr, name, None), Expr):
            yield from selectors(part)
    for part in expr.args if isinstance(expr, Call) else ():
        yield from selectors(part)


def bound(query: str, label: str, value: str) -> bool:
    """Whether each selector of a query has the matcher."""
    return all(
        any((m.name, m.op, m.value) == (label, MatchOp.Equal, value) for m in each.matchers.matchers)
        for each in selectors(parse(query))
    )
