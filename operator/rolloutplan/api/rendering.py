"""How large the queries of a plan are once their variables are filled in, computed from lengths alone.

A variable of 1,024 characters may stand 2,000 times in one query, in each of 816 predicates, at each of 50 weights. So
the sizes are known, and refused with the field, before any such text is made. Sizes are bytes of UTF-8.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from rolloutplan.api.limits import KIB, kib
from rolloutplan.api.parsing import FieldErrors
from rolloutplan.api.predicate import Predicate

VARIABLE: Final = re.compile(r"\$(\w+)|\$\{(\w+)\}")
MAX_QUERY: Final = 8 * KIB
"""Twice the longest text of a query; a proxy in front of a source usually takes no more in a line of its log."""
MAX_QUERIES: Final = 4096
"""816 predicates that are asked for both sides, with their samples. A source with the default of 16 requests at a time
and 100 ms for each has tried them in half a minute."""
MAX_TEXT: Final = 2048 * KIB
"""The queries of one plan together: 4,096 of 512 bytes. They are in memory at once while the source tries them."""
SIDES: Final = 2
"""A predicate may be asked for both sides, also where it judges one: an outage of both is nobody's fault."""
BUILTIN_VARIABLES: Final = (
    "namespace",
    "plan",
    "stage",
    "deployment",
    "service",
    "variant",
    "old",
    "new",
    "window",
    "elapsed",
)
LONGEST_BUILTIN: Final = 63
"""Bytes of `$namespace`, `$plan`, `$stage`, `$window` and `$elapsed` at most: names of objects, and whole seconds."""


class Text(NamedTuple):
    """A text with variables, and how often it is asked with different values of them."""

    path: str
    text: str
    times: int


def rendered_size(text: str, sizes: Mapping[str, int]) -> int:
    """The bytes of a text once variables of these sizes are filled in; unknown ones stay as they are."""
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    if "$" in text:
        for plain, braced in VARIABLE.findall(text):
            if (name := plain or braced) in sizes:
                # One in braces is counted as if it stood without them: two bytes too many, never too few.
                size += sizes[name] - len(name) - 1
    return size


def rendered_refusals(texts: Iterable[Text], sizes: Mapping[str, int]) -> FieldErrors:
    """Refuse a text that is too large once its variables are filled in, and the one with which all become too large."""
    queries = total = 0
    for path, text, times in texts:
        size = rendered_size(text, sizes)
        if size > MAX_QUERY:
            yield path, f"with its variables filled in it has {kib(size)}: write a query of at most {kib(MAX_QUERY)}"
            return
        queries, total = queries + times, total + size * times
        if queries > MAX_QUERIES:
            yield path, f"the plan asks more than {MAX_QUERIES} different queries: write fewer predicates or stages"
            return
        if total > MAX_TEXT:
            words = f"the plan's queries, with their variables filled in, have more than {kib(MAX_TEXT)} together"
            yield path, f"{words}: write shorter ones, or fewer"
            return


def texts_of(path: str, predicate: Predicate, steps: int) -> Iterator[Text]:
    """The texts of a predicate that is evaluated at so many steps."""
    found = {
        "query": predicate.query,
        "minSamples.query": predicate.min_samples.query if predicate.min_samples else None,
        "alert.matchers": predicate.alert.matchers if predicate.alert else None,
    }
    if predicate.events is not None:
        found |= {f"events.{name}": getattr(predicate.events, name) for name in ("bad", "total", "histogram")}
    for field, text in found.items():
        if text is not None:
            yield Text(f"{path}.{field}", text, SIDES * (steps if names_the_stage(text) else 1))


def names_the_stage(text: str) -> bool:
    """Whether a text differs from stage to stage, at the same window."""
    return "$stage" in text or "${stage}" in text
