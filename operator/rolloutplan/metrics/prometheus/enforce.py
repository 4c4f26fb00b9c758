"""Puts label matchers into every selector of a query, so that it reads no other series. Pure.

`tenant.py` passes the queries of one namespace and the matchers that it is bound to.

A query is rewritten by where its selectors stand in it, and then parsed by another parser, which must find as many
selectors, each with the matchers. What either of them does not read to the end is refused, and never sent. The matchers
are added to those of the author: a server takes only series that fit all of them, so nothing can widen a selector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Final

from promql_parser import Expr, VectorSelector

from rolloutplan.tools.promql.parse import ParseError, TooLargeError, below, parse_bounded, pins
from rolloutplan.tools.promql.syntax import SelectorPlace, Syntax, UnclearError, read_syntax

_READS_BY_ITSELF: Final = frozenset({"info"})
"""Functions that read series for which no selector stands in the query."""
_OF_SERIES: Final = frozenset({"__name__", "__type__", "__unit__"})
"""The labels of series that begin with two underscores. Servers give meanings of their own to others, such as
`__graphite__`."""
_LONGEST_REMEMBERED: Final = 1000
"""Characters. With 4,096 queries, what is remembered stays below 10 MiB whatever plans ask."""


class CannotEnforceError(ValueError):
    """The query cannot be rewritten for sure; the message says why."""


def enforced(query: str, matchers: Mapping[str, str]) -> str:
    """Return the query with the matchers, label to value, in each selector. Raises CannotEnforceError."""
    if not matchers:
        return query
    rewrite = _remembered if len(query) <= _LONGEST_REMEMBERED else _rewritten
    return rewrite(query, tuple(matchers.items()))


def _rewritten(query: str, matchers: tuple[tuple[str, str], ...]) -> str:
    try:
        syntax = read_syntax(query)
        for function in _READS_BY_ITSELF.intersection(syntax.calls):
            raise CannotEnforceError(f"{function}() reads series that no selector names")
        rewritten = "".join(_parts(syntax, ",".join(f'{label}="{value}"' for label, value in matchers)))
        _check(parse_bounded(rewritten), len(syntax.selectors), dict(matchers))
    except UnclearError as error:
        raise CannotEnforceError(str(error)) from None
    except TooLargeError as error:
        raise CannotEnforceError(f"it has {error}") from None
    except ParseError as error:
        raise CannotEnforceError(f"the operator's parser does not read it: {error}") from None
    return rewritten


_remembered: Final = lru_cache(maxsize=4096)(_rewritten)


def _parts(syntax: Syntax, matchers: str) -> Iterator[str]:
    """The query without comments, with the matchers after the name or the brace that begins each selector."""
    places = {place.into: place for place in syntax.selectors}
    end = 0
    for token in syntax.tokens:
        if token.start > end > 0:
            yield " "
        end = token.end
        yield token.text
        if (place := places.get(end)) is not None:
            yield _inserted(place, matchers)


def _inserted(place: SelectorPlace, matchers: str) -> str:
    if not place.braces:
        return f"{{{matchers}}}"
    return matchers if place.empty else f"{matchers},"


def _check(tree: Expr, selectors: int, matchers: Mapping[str, str]) -> None:
    found = [part for part in below(tree) if isinstance(part, VectorSelector)]
    bound = all(
        not part.matchers.or_matchers
        and matchers.items() <= {(each.name, each.value) for each in part.matchers.matchers if pins(each)}
        for part in found
    )
    if len(found) != selectors or not bound:
        raise CannotEnforceError("it is not clear where its selectors are")
    for each in chain.from_iterable(part.matchers.matchers for part in found):
        if each.name.startswith("__") and each.name not in _OF_SERIES:
            raise CannotEnforceError(f"{each.name} is not a label of series, and servers may read more into it")
