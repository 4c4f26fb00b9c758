"""Hostile queries: what is sent with others ends where it seems to end, and what is bound reads nothing else."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from promql_parser import BinaryExpr, Call, StringLiteral, VectorSelector, parse

from rolloutplan.metrics.prometheus.enforce import enforced
from rolloutplan.tools.promql.syntax import UnclearError, read_syntax
from tests.hostile_queries import bound, dressed, expression, hostile
from tests.repetition import times

QUERIES = 400
SHOP = {"namespace": "shop"}


def readable(query: str) -> bool:
    try:
        read_syntax(query)
    except UnclearError:
        return False
    return True


@pytest.mark.parametrize("seed", range(times(4)))
def test_a_query_that_is_sent_with_others_is_a_part_of_its_own(seed: int) -> None:
    """To the parser of others, it is exactly the first argument of what is written around it."""
    random, found = Random(seed), 0
    for query in filter(readable, (hostile(random) for _ in range(QUERIES))):
        whole = f'label_replace(\n{query}\n, "row_a", "b", "", "") or label_replace(\nvictim\n, "row_a", "c", "", "")'
        try:
            tree = parse(whole)
        except ValueError:
            continue  # such as a number where series are wanted: the server refuses the whole
        found += 1
        assert isinstance(tree, BinaryExpr), query
        for side, own, row in ((tree.lhs, parse(query), "b"), (tree.rhs, parse("victim"), "c")):
            assert isinstance(side, Call), query
            first, *strings = side.args
            assert first.prettify() == own.prettify(), query
            assert [each.val for each in strings if isinstance(each, StringLiteral)] == ["row_a", row, "", ""], query
    assert found > QUERIES / 10


@pytest.mark.parametrize("seed", range(times(4)))
def test_each_selector_of_a_query_that_is_sent_is_bound(seed: int) -> None:
    random, found = Random(seed), 0
    for query in (hostile(random) for _ in range(QUERIES)):
        try:
            sent = enforced(query, SHOP)
            is_bound = bound(sent, "namespace", "shop")
        except ValueError:
            continue  # it is not sent, or the parser without the operator's help does not take it
        found += 1
        assert is_bound, query
        parts = read_syntax(sent).tokens
        gaps = {sent[one.end : other.start] for one, other in pairwise(parts)}
        assert gaps <= {"", " "}, "no comment is sent"
    assert found > QUERIES / 4


@pytest.mark.parametrize("seed", range(times(4)))
def test_a_query_that_a_server_takes_is_bound_however_it_is_dressed(seed: int) -> None:
    random = Random(seed)
    for query in (expression(random) for _ in range(100)):
        parts = read_syntax(query)
        assert read_syntax(dressed(random, query)).form() == parts.form()
        sent = enforced(query, SHOP)
        assert len(read_syntax(sent).selectors) == len(parts.selectors)
        assert sent.count('namespace="shop"') >= len(parts.selectors)


def test_the_check_finds_what_is_not_bound() -> None:
    assert bound('up{namespace="shop"}', "namespace", "shop")
    assert not bound('sum(up{namespace="shop"}) / on() (max_over_time(secret[5m:1m]))', "namespace", "shop")
    assert isinstance(parse("a"), VectorSelector)
