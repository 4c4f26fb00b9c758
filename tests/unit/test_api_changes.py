"""Typed changes: their fields are those of the models, with the same types, so that mypy checks what is true."""

from typing import get_type_hints

import pytest

from rolloutplan.api.changes import RunChange, StageChange, StatusChange, TaskChange, WeightsChange, change
from rolloutplan.api.status import Part, Phase, StageStatus, Status, Task, Weights


def fields(model: type[Part]) -> dict[str, object]:
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def test_every_field_of_a_status_may_be_changed_and_nothing_else() -> None:
    assert get_type_hints(StatusChange, include_extras=True) == fields(Status)


@pytest.mark.parametrize(
    ("change", "model"), [(StageChange, StageStatus), (WeightsChange, Weights), (TaskChange, Task)]
)
def test_what_may_be_changed_of_a_part_is_of_it(change: type[object], model: type[Part]) -> None:
    assert get_type_hints(change, include_extras=True).items() <= fields(model).items()


def test_a_rule_changes_neither_the_phase_nor_the_reason_nor_the_trail() -> None:
    left_to_the_table = {"phase", "reason", "seq", "epoch", "tokens", "decisions"}
    reported = {
        "observed_generation",
        "verdict",
        "waiting_for",
        "conditions",
        "published_through",
        "damaged",
        "last_look",
    }
    assert set(get_type_hints(StatusChange)) - set(get_type_hints(RunChange)) == left_to_the_table | reported


def test_a_change_leaves_all_else_as_it_was() -> None:
    before = Status(run=3, message="as before")
    after = change(before, phase=Phase.HELD, message="")
    assert (after.phase, after.message, after.run) == (Phase.HELD, "", 3)
    assert before.phase is Phase.PENDING
