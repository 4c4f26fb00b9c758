"""A real Prometheus refuses what lint calls an error, and takes what lint takes."""

from collections.abc import Callable, Iterator
from random import Random

import pytest
import requests

from rolloutplan.tools.promql.nodes import PromqlError
from rolloutplan.tools.promql.parse import TooLargeError
from rolloutplan.tools.promql.syntax import UnclearError
from rolloutplan.tools.promql.tree import read_tree
from rolloutplan.tools.promql.types import check
from tests.bed.bed import Bed
from tests.bed.prometheus import scraping
from tests.hostile_queries import broken, expression, hostile
from tests.promql_refusals import PIECES, REFUSED, REGEX_PIECES, TAKEN

PORT = 9096
EACH = 250
"""Queries of each sort: all together take some seconds, and find any rule that is left out."""


@pytest.fixture(scope="module")
def refused(bed: Bed) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Why a Prometheus without any series refuses a query, with the sort of error; empty where it does not."""
    process = scraping(bed.programs.prometheus, bed.workdir, "refusing", PORT, [])
    process.start()
    session = requests.Session()

    def ask(query: str) -> tuple[str, str]:
        url = f"http://127.0.0.1:{PORT}/api/v1/query"
        answer = session.post(url, data={"query": query, "time": "1767225600"}, timeout=10).json()
        return answer.get("errorType", ""), answer.get("error", "")

    try:
        yield ask
    finally:
        process.kill()


def ours(query: str) -> str | None:
    """What lint says of a query: why it is refused, empty where it is not, and None where it depends on the server."""
    try:
        return None if list(check(query, read_tree(query))) else ""
    except PromqlError as error:
        return str(error)
    except (TooLargeError, UnclearError):
        return None


def queries() -> Iterator[str]:
    random = Random(15)
    yield from (query for query, *_ in REFUSED)
    yield from TAKEN
    for _ in range(EACH):
        yield hostile(random)
        yield broken(random, expression(random))
        yield " ".join(random.choices(PIECES, k=random.randint(1, 9)))
        yield 'x{a=~"' + "".join(random.choices(REGEX_PIECES, k=random.randint(1, 7))) + '"}'


def test_prometheus_refuses_what_lint_calls_an_error_and_reads_all_else(
    refused: Callable[[str], tuple[str, str]],
) -> None:
    """What it can read may still fail over its series, such as two of the same labels."""
    asked = [(query, ours(query), refused(query)) for query in queries()]
    decided = [each for each in asked if each[1] is not None]
    assert len(decided) > len(asked) * 0.9
    assert [each for each in decided if each[1] and not each[2][0]] == []
    assert [each for each in decided if not each[1] and each[2][0] == "bad_data"] == []
