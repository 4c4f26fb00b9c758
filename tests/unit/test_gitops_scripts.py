"""What Argo CD and Flux make of our objects: the scripts in Lua by a real Lua, the expressions by a real CEL.

Lua runs with what Argo CD opens for a script and no more; kstatus is read as its documentation has it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel
from lupa.lua51 import LuaRuntime, lua_type

from rolloutplan.api.command import Verb, read_command
from rolloutplan.api.status import Phase
from rolloutplan.engine.rules.commands.answer import is_accepted
from rolloutplan.generate.gitops import ACTIONS, CONFIGURING
from tests.shop import ROOT
from tests.situations import (
    HALF,
    OLD_WEIGHTS,
    UP,
    Situation,
    adding,
    awaiting,
    awaiting_the_first,
    baking,
    blocked,
    contract_failed,
    contracting,
    fresh,
    held_blind,
    held_conflict,
    held_failed,
    held_frozen,
    held_invalid,
    held_undecided,
    invalid,
    judging,
    paused,
    paused_before_start,
    probing,
    reverting,
    rolled_back,
    shifting,
    status_lost,
    succeeded,
)
from tests.world import World

Raw = dict[str, Any]
FOLDER = ROOT / "deploy/gitops"
GROUP = "rolloutplan.dev"
HEALTH, ACTION = (f"resource.customizations.{part}.{GROUP}_" for part in ("health", "actions"))
UNSEEN = {"status": {"observedGeneration": -1}}
"""As the API server makes a plan."""


def set_back() -> World:
    """Git has given the old side its traffic back after the end."""
    made = succeeded()
    made.drift(OLD_WEIGHTS)
    made.settle()
    assert made.status.reason == "WeightsSetBack"
    return made


# situation, phase, what Argo CD shows, what kstatus makes of it
ROWS: list[tuple[Situation, Phase, str, str]] = [
    (blocked, Phase.PENDING, "Degraded", "Failed"),
    (paused_before_start, Phase.PENDING, "Suspended", "InProgress"),
    (probing(), Phase.PROBING, "Progressing", "InProgress"),
    (adding(), Phase.EXPANDING, "Progressing", "InProgress"),
    (shifting(), Phase.SHIFTING, "Progressing", "InProgress"),
    (judging(), Phase.JUDGING, "Progressing", "InProgress"),
    (baking, Phase.BAKING, "Progressing", "InProgress"),
    (contracting(), Phase.CONTRACTING, "Progressing", "InProgress"),
    (reverting(), Phase.ROLLING_BACK, "Progressing", "InProgress"),
    (held_blind, Phase.HELD, "Suspended", "InProgress"),
    (held_frozen, Phase.HELD, "Suspended", "InProgress"),
    (held_undecided, Phase.HELD, "Suspended", "InProgress"),
    (awaiting, Phase.HELD, "Suspended", "InProgress"),
    (awaiting_the_first, Phase.HELD, "Suspended", "InProgress"),
    (paused, Phase.HELD, "Suspended", "InProgress"),
    (held_conflict, Phase.HELD, "Degraded", "Failed"),
    (held_failed, Phase.HELD, "Degraded", "Failed"),
    (held_invalid, Phase.HELD, "Degraded", "Failed"),
    (contract_failed, Phase.HELD, "Degraded", "Failed"),
    (invalid, Phase.INVALID, "Degraded", "Failed"),
    (status_lost, Phase.INVALID, "Degraded", "Failed"),
    (rolled_back, Phase.ROLLED_BACK, "Degraded", "Failed"),
    (set_back, Phase.SUCCEEDED, "Degraded", "Failed"),
    (succeeded, Phase.SUCCEEDED, "Healthy", "Current"),
]
EVERY = pytest.mark.parametrize(("situation", "phase", "health", "kstatus"), ROWS)


def plan(world: World) -> Raw:
    metadata = {"namespace": "shop", "name": world.name, "generation": world.generation}
    return {"metadata": metadata, "spec": world.spec, "status": {**UNSEEN["status"], **world.status_raw}}


def ready(word: str | None, *, seen: bool = True) -> Raw:
    """An object that configures the operator, of the second generation; None: nobody has looked at it."""
    conditions = [{"type": "Ready", "status": word, "message": "the message", "observedGeneration": 2}]
    status = {} if word is None else {"status": {"observedGeneration": 2 if seen else 1, "conditions": conditions}}
    return {"metadata": {"name": "one", "generation": 2}, "spec": {}, **status}


@cache
def config() -> Mapping[str, str]:
    """The data of argocd-cm."""
    found: Mapping[str, str] = yaml.safe_load((FOLDER / "argocd/argocd-cm.yaml").read_text())["data"]
    return found


def run_lua(script: str, obj: Raw) -> Any:
    """What a script returns for an object."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute(
        'getmetatable("").__index = nil; os = {time = os.time, date = os.date};'
        "string, math, io, debug, coroutine, python, dofile, loadfile, require = nil"
    )
    lua.globals().obj = lua.table_from(obj, recursive=True)
    return _plain(lua.execute(script))


def _plain(value: Any) -> Any:
    return {key: _plain(each) for key, each in value.items()} if lua_type(value) == "table" else value


def kstatus_of(obj: Raw) -> str:
    """The status by the rules of kstatus for kinds that it does not know."""
    status = obj.get("status", {})
    if status.get("observedGeneration", obj["metadata"]["generation"]) != obj["metadata"]["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"


@cache
def checks() -> Mapping[str, Mapping[str, str]]:
    """The expressions for Flux by kind."""
    patch = yaml.safe_load((FOLDER / "flux/health-checks.yaml").read_text())
    return {each["kind"]: each for each in patch["spec"]["healthCheckExprs"]}


def flux_status(kind: str, obj: Raw) -> str:
    """The status by the expressions, in the order of Flux: another generation, failed, current, else in progress."""
    status = obj.get("status", {})
    if "observedGeneration" in status and status["observedGeneration"] != obj["metadata"]["generation"]:
        return "InProgress"
    return next((name for name in ("failed", "current") if _holds(checks()[kind][name], obj)), "inProgress").title()


def _holds(expression: str, obj: Raw) -> bool:
    return bool(_program(expression).evaluate({name: json_to_cel(value) for name, value in obj.items()}))


@cache
def _program(expression: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


# ---- health ------------------------------------------------------------------------------------------------------


def test_the_rows_have_every_phase() -> None:
    assert {phase for _, phase, _, _ in ROWS} == {*Phase}


@EVERY
def test_each_state_of_a_plan_has_its_health(situation: Situation, phase: Phase, health: str, kstatus: str) -> None:
    world = situation()
    assert world.phase is phase
    obj = plan(world)
    shown = run_lua(config()[f"{HEALTH}RolloutPlan"], obj)
    assert shown["status"] == health
    assert shown["message"].startswith(world.status.message)
    assert kstatus_of(obj) == kstatus
    assert flux_status("RolloutPlan", obj) == ("Failed" if kstatus == "Failed" else "Current")


@pytest.mark.parametrize("change", [{}, UNSEEN, {"metadata": {"generation": 7}}], ids=["no status", "new", "edited"])
def test_a_plan_that_nobody_has_seen_in_this_version_is_progressing(change: Raw) -> None:
    obj = {"metadata": {"generation": 1}, "spec": {}, **({"status": plan(succeeded())["status"]} if change else {})}
    obj |= change
    assert run_lua(config()[f"{HEALTH}RolloutPlan"], obj)["status"] == "Progressing"
    if "status" in obj:
        assert (kstatus_of(obj), flux_status("RolloutPlan", obj)) == ("InProgress", "InProgress")


@pytest.mark.parametrize("kind", CONFIGURING)
@pytest.mark.parametrize(
    ("obj", "health", "flux"),
    [
        (ready("True"), "Healthy", "Current"),
        (ready("False"), "Degraded", "Failed"),
        (ready("True", seen=False), "Progressing", "InProgress"),
    ],
    ids=["applies", "does not apply", "edited"],
)
def test_an_object_is_healthy_when_it_applies(kind: str, obj: Raw, health: str, flux: str) -> None:
    shown = run_lua(config()[f"{HEALTH}{kind}"], obj)
    assert (shown["status"], flux_status(kind, obj)) == (health, flux)


@pytest.mark.parametrize("kind", CONFIGURING)
def test_an_object_that_nobody_has_seen_is_progressing(kind: str) -> None:
    assert run_lua(config()[f"{HEALTH}{kind}"], ready(None))["status"] == "Progressing"


# ---- actions -----------------------------------------------------------------------------------------------------


@cache
def actions() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(config()[f"{ACTION}RolloutPlan"])
    return found


def offered(obj: Raw) -> set[str]:
    found = run_lua(actions()["discovery.lua"], obj)
    assert set(found) == {each["name"] for each in actions()["definitions"]} == set(ACTIONS)
    return {verb for verb, how in found.items() if not how["disabled"]}


def acted(verb: str, obj: Raw) -> Raw:
    (script,) = (each["action.lua"] for each in actions()["definitions"] if each["name"] == verb)
    found: Raw = run_lua(script, obj)
    return found


@EVERY
def test_what_the_operator_would_carry_out_is_offered(
    situation: Situation, phase: Phase, health: str, kstatus: str
) -> None:
    world = situation()
    accepted = {verb for verb in ACTIONS if phase is not Phase.ROLLING_BACK and is_accepted(world.snapshot(), verb)}
    assert accepted <= offered(plan(world))


@pytest.mark.parametrize(
    ("situation", "verbs"),
    [
        (fresh(), {"abort", "pause", "revert"}),
        (judging(), {"abort", "pause", "promote", "revert", "skip"}),
        (baking, {"abort", "pause", "revert"}),
        (awaiting, {"abort", "approve", "pause", "promote", "resume", "revert", "skip"}),
        (paused, {"abort", "promote", "resume", "revert", "skip"}),
        (reverting(), set()),
        (rolled_back, {"retry"}),
        (succeeded, {"retry", "revert"}),
    ],
)
def test_a_phase_offers_its_commands(situation: Situation, verbs: set[str]) -> None:
    assert offered(plan(situation())) == verbs


def test_a_plan_without_status_offers_what_stops_it() -> None:
    assert offered({"metadata": {"name": "new"}, "spec": {}}) == {"abort", "pause", "revert"}


@pytest.mark.parametrize("verb", ACTIONS)
def test_an_action_writes_the_command_and_names_no_sender(verb: Verb) -> None:
    before = plan(judging()())
    others = {"team": "checkout", f"{GROUP}/command-by": "ann", f"{GROUP}/command": "pause old"}
    for annotations in ({}, {"annotations": others}):
        obj = {**before, "metadata": {**before["metadata"], **annotations}}
        written = acted(verb, obj)["metadata"]["annotations"]
        command = read_command(written.pop(f"{GROUP}/command"))
        assert (command.verb, command.token[:7], command.reason) == (verb, "argocd-", "sent with Argo CD")
        assert written == ({"team": "checkout"} if annotations else {})


@pytest.mark.parametrize(
    ("verb", "situation", "weights"),
    [
        (Verb.SKIP, held_undecided, HALF),
        (Verb.APPROVE, awaiting, HALF),
        (Verb.ABORT, judging(), OLD_WEIGHTS),
        (Verb.RETRY, rolled_back, UP),
    ],
)
def test_the_operator_carries_an_action_out(verb: Verb, situation: Situation, weights: Mapping[str, int]) -> None:
    world = situation()
    world.say(acted(verb, plan(world))["metadata"]["annotations"][f"{GROUP}/command"], by="argocd-server")
    world.settle()
    answer = next(each for each in world.status.decisions if each.token.startswith("argocd-"))
    assert answer.reason != "CommandRejected"
    assert "sent with Argo CD" in answer.note
    assert world.weights()[0] == weights
