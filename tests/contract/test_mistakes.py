"""A real API server refuses the mistakes of the table as the reader does, and names the field."""

import json

import pytest

from tests.bed.api import ApiError
from tests.bed.bed import Bed
from tests.contract.test_refusals import manifest, try_out
from tests.mistakes import MISTAKES, TAKEN
from tests.refusals import PLAN, changed


def refused(bed: Bed, kind: str, spec: dict[str, object]) -> str:
    """The message of the API server; empty where it accepts the object."""
    try:
        try_out(bed, kind, spec)
    except ApiError as error:
        if error.status not in {400, 422}:
            raise
        return error.message
    return ""


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_refused_at_apply_with_its_field(bed: Bed, kind: str) -> None:
    wrong = {}
    for mistake in MISTAKES[kind]:
        message = refused(bed, kind, mistake.spec)
        if mistake.refused_with not in message if mistake.refused_with else message:
            wrong[mistake.name] = message
    assert not wrong


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN)
def test_what_was_refused_once_is_taken(bed: Bed, changes: dict[str, object]) -> None:
    try_out(bed, "RolloutPlan", changed(PLAN, changes))


def test_kubectl_apply_says_what_to_write(bed: Bed) -> None:
    spec = changed(PLAN, {"stages[0].weight": "5", "stages[0].soak": "30min"})
    stdin = json.dumps(manifest("RolloutPlan", spec))
    result = bed.run_kubectl("apply", "--dry-run=server", "-f", "-", stdin=stdin)
    assert '"5" is not a percentage above 0%: write 0.1% to 100%' in result.stderr
    assert '"30min" is not a duration: write a number with its unit (d, h, m, s, ms)' in result.stderr
