"""What ends a wait for a plan, and with which exit code."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.cli import wait as cli_wait
from rolloutplan.cli.main import main
from rolloutplan.cli.output import CliError
from rolloutplan.cli.session import Change, Plan
from rolloutplan.cli.wait import Goal, Outcome, end_of
from rolloutplan.cluster.client import ApiError, Raw
from tests.refusals import PLAN

HASH = read_plan_spec(PLAN).plan_hash()
STALLED = {"type": "Stalled", "status": "True", "reason": "x", "lastTransitionTime": "2026-03-01T09:00:00Z"}


def raw(phase: str, reason: str = "", *, stalled: bool = False, **status: Any) -> Raw:
    """A plan of generation 2 whose operator has seen it, at run 3."""
    known = {"phase": phase, "reason": reason or phase, "message": "said", "observedGeneration": 2, "run": 3}
    known |= {"planHash": HASH, "weights": {"desired": "25%"}, "conditions": [STALLED] if stalled else []}
    meta = {"namespace": "shop", "name": "checkout-v2", "uid": "u-1", "generation": 2}
    return {"kind": "RolloutPlan", "metadata": meta, "spec": PLAN, "status": known | status}


def decided(seq: int, reason: str, run: int = 3) -> Raw:
    kind = {"RolledBack": "Rollback", "Aborted": "Kill"}.get(reason, "Finish")
    return {"seq": seq, "at": "2026-03-01T09:00:00Z", "kind": kind, "reason": reason, "note": "why", "run": run}


SUCCEEDED, ROLLED_BACK = raw("Succeeded"), raw("RolledBack", "GuardTripped", stalled=True)
HELD, AT_5 = raw("Held", "Frozen"), raw("Judging", stage={"name": "canary", "index": 0, "display": "1/4 canary"})


@pytest.mark.parametrize(
    ("plan", "goal", "run", "end"),
    [
        (SUCCEEDED, "succeeded", None, Outcome.MET),
        (SUCCEEDED, "verdict", None, Outcome.MET),
        (SUCCEEDED, "rolled-back", None, Outcome.MISSED),
        (SUCCEEDED, "held", None, Outcome.MISSED),
        (ROLLED_BACK, "succeeded", None, Outcome.MISSED),
        (ROLLED_BACK, "verdict", None, Outcome.MISSED),
        (ROLLED_BACK, "rolled-back", None, Outcome.MET),
        (HELD, "held", None, Outcome.MET),
        (HELD, "succeeded", None, None),
        (AT_5, "verdict", None, None),
        (raw("Judging", verdict="Undecided"), "verdict", None, None),
        (raw("Judging", verdict="Proved"), "verdict", None, Outcome.MET),
        (raw("Judging", verdict="Refuted"), "verdict", None, Outcome.MISSED),
        (raw("Judging", verdict="Proved"), "succeeded", None, None),
        (raw("RollingBack"), "succeeded", None, None),
        ({**SUCCEEDED, "status": {}}, "succeeded", None, None),
        # the end of a former run is not that of the plan as it is now
        (raw("Succeeded", observedGeneration=1), "succeeded", None, None),
        (raw("Succeeded", planHash="0123456789abcdef"), "succeeded", None, None),
        (raw("RolledBack", "Superseded", stalled=True), "succeeded", None, None),
        # a field that cannot be read tells no end
        (raw("Succeeded", conditions=[{"type": 7}]), "succeeded", None, None),
        (raw("Arrived"), "succeeded", None, None),
        # a run that is named
        (SUCCEEDED, "succeeded", 3, Outcome.MET),
        (SUCCEEDED, "succeeded", 4, None),
        (raw("RolledBack", "Superseded", stalled=True), "succeeded", 3, Outcome.MISSED),
        (raw("Judging", decisions=[decided(7, "Succeeded", run=2)]), "succeeded", 2, Outcome.MET),
        (raw("Judging", decisions=[decided(7, "RolledBack", run=2)]), "succeeded", 2, Outcome.MISSED),
        (raw("Judging", decisions=[decided(7, "Aborted", run=2)]), "rolled-back", 2, Outcome.MET),
        (
            raw("Judging", decisions=[decided(7, "Succeeded", run=2), decided(9, "RolledBack", run=2)]),
            "succeeded",
            2,
            Outcome.MISSED,
        ),
        (raw("Judging", decisions=[]), "rolled-back", 2, Outcome.UNKNOWN),
        (raw("Judging", decisions=[decided(7, "StageProved", run=2)]), "rolled-back", 2, Outcome.UNKNOWN),
        (
            raw("Judging", decisions=[{**decided(7, "Succeeded", run=2), "kind": "New"}]),
            "succeeded",
            2,
            Outcome.UNKNOWN,
        ),
    ],
)
def test_what_ends_a_wait(plan: Raw, goal: Goal, run: int | None, end: Outcome | None) -> None:
    found = end_of(Plan(plan), goal, run)
    assert (found.outcome if found else None) == end
    assert found is None or found.certain


@pytest.mark.parametrize(
    "plan",
    [
        raw("Invalid", "DeploymentNotFound", stalled=True),
        raw("Held", "Conflict", stalled=True),
        raw("Succeeded", "WeightsSetBack", stalled=True),
    ],
    ids=lambda plan: plan["status"]["reason"],
)
def test_a_plan_that_needs_a_person_ends_a_wait_only_if_that_lasts(plan: Raw) -> None:
    """The Deployments of a commit may come after its plan."""
    found = end_of(Plan(plan), "succeeded")
    assert found is not None
    assert (found.outcome, found.certain) == (Outcome.MISSED, False)
    assert found.words.startswith("needs a person: ")


# ---- the command -----------------------------------------------------------------------------------------------------


class Told:
    """A cluster that tells these states of a plan, one after the other, and then nothing."""

    namespace = "shop"

    def __init__(self, *states: Raw | CliError | ApiError, records: Sequence[Raw] = ()) -> None:
        self.states, self.records = [*states], [*records]

    async def find(self, name: str) -> Plan | None:
        try:
            return await self.plan(name)
        except CliError:
            return None

    async def pages(self, *_: Any) -> AsyncIterator[list[Raw]]:
        yield self.records

    async def plan(self, _: str) -> Plan:
        state = self.states.pop(0)
        if isinstance(state, CliError | ApiError):
            raise state
        return Plan(state)

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Change]:
        for state in self.states:
            assert not isinstance(state, CliError | ApiError)
            yield Change(state, gone=not state.get("status"))
        await asyncio.Event().wait()


States = list[Raw | CliError | ApiError]


def waited(monkeypatch: pytest.MonkeyPatch, states: States, *options: str, records: Sequence[Raw] = ()) -> int:
    @asynccontextmanager
    async def session(_: str | None) -> AsyncIterator[Told]:
        yield Told(*states, records=records)

    monkeypatch.setattr(cli_wait, "session", session)
    monkeypatch.setattr(cli_wait, "POLL_EVERY", 0.001)
    monkeypatch.setattr(cli_wait, "STALLS_FOR", 0.02)
    return main(["wait", "checkout-v2", "--timeout=100ms", *options])


MISSING = CliError("there is no RolloutPlan checkout-v2 in namespace shop: did you mean checkout-v1?")
BUSY = ApiError(503, "ServiceUnavailable", "starting")
INVALID = raw("Invalid", "DeploymentNotFound", stalled=True)


@pytest.mark.parametrize(
    ("states", "options", "code"),
    [
        ([AT_5, SUCCEEDED], [], 0),
        ([AT_5, ROLLED_BACK], [], 1),
        ([AT_5, {**AT_5, "status": {}}], [], 1),
        ([INVALID], [], 1),
        ([INVALID, AT_5, SUCCEEDED], [], 0),
        ([AT_5], [], 2),
        ([AT_5], ["--timeout=0s"], 2),
        ([SUCCEEDED], ["--timeout=0s"], 0),
        ([MISSING], [], 3),
        ([MISSING, MISSING, SUCCEEDED], ["--exists-within=1s"], 0),
        ([MISSING, BUSY, SUCCEEDED], ["--exists-within=1s"], 0),
    ],
    ids=[
        "succeeded",
        "rolled back",
        "deleted",
        "invalid",
        "valid soon",
        "late",
        "asked",
        "over",
        "missing",
        "created",
        "busy",
    ],
)
def test_the_exit_code_says_how_it_went(
    states: States, options: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited(monkeypatch, states, *options) == code


@pytest.mark.parametrize("wrong", [["--for=success"], ["--timeout=soon"], ["--run=0"], ["--frobnicate"], ["a", "b"]])
def test_a_wrong_call_is_no_timeout(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wait", "checkout-v2", *wrong])
    assert ended.value.code == 3


@pytest.mark.parametrize(
    ("outcome", "goal", "code"),
    [
        ("Succeeded", "succeeded", 0),
        ("Succeeded", "rolled-back", 1),
        ("RolledBack", "rolled-back", 0),
        ("Abandoned", "rolled-back", 1),
        ("Running", "succeeded", 3),
    ],
)
def test_the_end_of_a_run_that_the_plan_forgot_is_that_of_its_record(
    outcome: str, goal: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"spec": {"plan": "checkout-v2", "planUid": "u-1", "run": 2}, "status": {"outcome": outcome}}
    assert waited(monkeypatch, [AT_5], "--run=2", f"--for={goal}", records=[record]) == code


def test_without_decisions_and_record_the_end_of_a_run_is_not_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"spec": {"plan": "checkout-v2", "planUid": "u-0", "run": 2}, "status": {"outcome": "Succeeded"}}
    assert waited(monkeypatch, [AT_5], "--run=2", records=[other]) == 3
    said = capsys.readouterr().err
    assert "how run 2 ended is not known any more: rolloutplan record checkout-v2 --run 2" in said


def test_decisions_go_to_stderr_as_they_come_and_the_end_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, new = decided(6, "Started"), decided(7, "Succeeded")
    states = [raw("Judging", decisions=[before], seq=6), raw("Succeeded", decisions=[before, new], seq=7)]
    assert waited(monkeypatch, [*states]) == 0
    said = capsys.readouterr()
    assert said.err == "09:00:00 shop/checkout-v2 Succeeded: why\n"
    assert said.out == "shop/checkout-v2: Succeeded, run 3 at 25%: said\n"
    assert waited(monkeypatch, [*states], "--quiet", "-o=json") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert {"outcome": "Met", "phase": "Succeeded", "run": 3}.items() <= json.loads(said.out).items()


def test_the_end_is_one_line_whatever_the_message_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for phase in ("Succeeded", "RolledBack"):
        waited(monkeypatch, [raw(phase, message="said\nshop/other: Succeeded")])
        said = capsys.readouterr()
        assert (said.out + said.err).count("\n") == 1


def test_a_timeout_says_where_the_plan_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waited(monkeypatch, [HELD])
    assert capsys.readouterr().err == (
        "rolloutplan: shop/checkout-v2: not succeeded within 100ms: Held: Frozen, run 3 at 25%: said\n"
    )
    waited(monkeypatch, [raw("Succeeded", observedGeneration=1)])
    assert "the operator has not seen the plan as it is (generation 2)" in capsys.readouterr().err
    waited(monkeypatch, [raw("Arrived")])
    assert "cannot be read: phase (another version?)" in capsys.readouterr().err
