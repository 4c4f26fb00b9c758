"""Templates in a run: what is not there is said and heals by itself, and what changes is for the next run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rolloutplan.api.status import Phase
from rolloutplan.engine.decide import decide
from tests.refusals import changed
from tests.situations import (
    BACK,
    BEGUN,
    HALF,
    OLD_WEIGHTS,
    UP,
    Case,
    P,
    delete,
    edit,
    ids,
    m,
    nothing,
    pods,
    put,
    run,
    s,
    say,
    says,
    settle,
    then,
    wait,
)
from tests.world import PLAN, World

SHARE: dict[str, Any] = {
    "indicates": "Failure",
    "parameters": [{"name": "atMost", "type": "Percent", "default": "1%"}],
    "query": "share[$window]",
    "is": "> $(atMost)",
}
OTHER = changed(SHARE, {"query": "other[$window]", "is": "> 0%"})
REFERS = changed(PLAN, {"guards[0]": {"name": "errors", "template": "share", "with": {"atMost": "2%"}, "window": "2m"}})


def made(*, judging: bool = False, templates: Mapping[str, Any] | None = None, spec: Any = None) -> Callable[[], World]:
    """A plan that names a template, before its run or in the first stage of it."""

    def make() -> World:
        world = World(spec=spec or REFERS, templates=dict({"share": SHARE} if templates is None else templates))
        world.settle()
        if judging:
            world.until(Phase.JUDGING)
        return world

    return make


TRIED = changed(
    PLAN,
    {"stages[0].fail": [{"name": "tried", "template": "share", "dryRun": True}], "stages[1].fail": [{"use": "tried"}]},
)
"""A template that is tried out at the first weight and binds at the second."""

GONE: Callable[[World], object] = put(templates={})
ANOTHER: Callable[[World], object] = put(templates={"share": OTHER})
NOT_THERE = edit({"guards[0].template": "lost"})
ENDED = then(wait(m(12)), settle)


def lose(world: World) -> None:
    """Somebody edits the status of a run."""
    world.status_raw = {key: value for key, value in world.status_raw.items() if key != "templates"}


CASES = [
    Case("without its template nothing starts", made(templates={}), nothing, P.INVALID, "TemplateNotFound", [],
         "spec.guards[0]: no template share exists: create one", OLD_WEIGHTS),
    Case("it starts when the template comes", made(templates={}), put(templates={"share": SHARE}), P.JUDGING, "Soaking",
         BEGUN, "", UP),
    Case("a template that cannot be read is none", made(templates={"share": {}}), nothing, P.INVALID, "TemplateInvalid",
         [], "spec.indicates", OLD_WEIGHTS),
    Case("nor is one without the parameter", made(templates={"share": {**SHARE, "parameters": [], "is": "> 1"}}),
         nothing, P.INVALID, "TemplateInvalid", [],
         "with.atMost: is not a parameter of the template: there are none", OLD_WEIGHTS),
    Case("what a template makes is judged", made(judging=True), then(says(errors=0.03), wait(m(2))), P.ROLLED_BACK,
         "GuardTripped", BACK, "guard errors tripped: 3% > 2%", OLD_WEIGHTS),
    Case("as it was when the run began", made(judging=True), then(ANOTHER, says(errors=0.01), wait(m(2))), P.JUDGING,
         "Soaking", [], "", UP),
    Case("at every stage of it", made(judging=True), then(ANOTHER, says(errors=0.01), wait(m(4))), P.JUDGING,
         "Soaking", ["StageProved", "StageStarted", "WeightShifted"], "", HALF),
    Case("also where there is no template any more", made(judging=True), then(GONE, wait(s(10)), says(errors=0.03),
         wait(m(2))), P.ROLLED_BACK, "GuardTripped", BACK, "errors tripped: 3% > 2%", OLD_WEIGHTS),
    Case("another template makes no ended run begin again", made(judging=True), then(ENDED, ANOTHER, wait(m(5))),
         P.SUCCEEDED, "Succeeded"),
    Case("nor does none", made(judging=True), then(ENDED, GONE, wait(m(5))), P.SUCCEEDED, "Succeeded"),
    Case("but the next run misses it", made(judging=True), then(ENDED, GONE, edit({"bake": "1m"}), settle),
         P.INVALID, "TemplateNotFound", None, "no template share exists"),
    Case("a plan that is changed to what is not there goes back first", made(judging=True), NOT_THERE, P.INVALID,
         "TemplateNotFound", [*BACK, "Stalled"], "no template lost exists", OLD_WEIGHTS),
    Case("a deletion heeds such a plan too", made(judging=True, spec={**REFERS, "deletionPolicy": "Keep"}),
         then(NOT_THERE, delete), P.JUDGING, "", None, "", UP),
    Case("what is aborted before its template comes does not start", made(templates={}), then(say("abort t1"), settle,
         put(templates={"share": SHARE}), wait(m(1))), P.ROLLED_BACK, "Aborted", ["Aborted"], "", OLD_WEIGHTS),
    Case("what somebody took out of the status is missed", made(judging=True), then(lose, settle, wait(m(1))), P.HELD,
         "Invalid", ["Held"], "the status no longer holds template share", UP),
    Case("from a dry run nothing follows, and where it is used without that it binds", made(judging=True, spec=TRIED),
         then(says(tried=0.5), wait(m(4))), P.ROLLED_BACK, "FailTripped",
         ["StageProved", "StageStarted", "WeightShifted", *BACK], "fail tried tripped: 50% > 1%", OLD_WEIGHTS),
    Case("a side that is down goes back all the same", made(judging=True), then(lose, pods(ready=0), settle),
         P.ROLLED_BACK, "NewSideDown", BACK, "none of 4 pods", OLD_WEIGHTS),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_templates_in_a_run(case: Case) -> None:
    run(case)


def test_the_status_of_a_run_tells_by_what_it_is_judged() -> None:
    status = made(judging=True)().status
    assert [(each.kind, each.name) for each in status.templates] == [("PredicateTemplate", "share")]
    (errors,) = (row for row in status.predicates if row.name == "errors")
    assert (errors.query, errors.bound) == ("share[120s]", "> 2%")


def test_the_next_run_is_judged_by_the_template_as_it_is_then() -> None:
    world = made(judging=True)()
    ANOTHER(world)
    world.edit({"interval": "20s"})
    world.settle()
    world.until(Phase.JUDGING)
    (errors,) = (row for row in world.status.predicates if row.name == "errors")
    assert (world.status.run, errors.query) == (2, "other[120s]")


def test_queries_of_a_changed_template_are_tried_anew_before_a_run() -> None:
    """Else a run would start on what the source was never asked to take."""
    world = World(spec=REFERS, templates={"share": SHARE}, services=frozenset())
    world.settle()
    assert world.status.reason == "ServiceNotFound"
    ANOTHER(world)
    snapshot = world.snapshot()
    assert snapshot.preflight is not None
    assert snapshot.plan.spec is not None
    assert snapshot.preflight.judged_hash != snapshot.plan.spec.judged_hash()
    assert decide(snapshot).actions


def test_the_seal_is_that_of_the_predicates_themselves() -> None:
    """Whoever compares the seals of two stages compares what judged them, and not how it was written."""
    plain = {"name": "errors", "query": "share[$window]", "is": "> 2%", "window": "2m"}
    seals = []
    for spec in (REFERS, changed(PLAN, {"guards[0]": plain})):
        stage = made(judging=True, spec=spec)().status.stage
        assert stage is not None
        seals.append(stage.predicates_hash)
    assert seals[0] == seals[1]
