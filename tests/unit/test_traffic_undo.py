"""Undo commands, read back: exactly what was written, or nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.status import Backend, RouteWeights, RuleWeights
from rolloutplan.traffic import read_undo, undo_command

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
BACKENDS = st.lists(st.builds(Backend, service=NAMES, weight=st.integers(0, 1_000_000)), min_size=1, max_size=4)
RULES = st.lists(st.tuples(st.integers(0, 99), st.one_of(st.just(""), NAMES), BACKENDS), min_size=1, max_size=4,
                 unique_by=lambda rule: rule[0])  # fmt: skip


@st.composite
def routes(draw: st.DrawFn) -> RouteWeights:
    rules = sorted(draw(RULES))
    made = (RuleWeights(index=index, name=name, backends=tuple(backends)) for index, name, backends in rules)
    return RouteWeights(name=draw(NAMES), rules=tuple(made))


@given(st.lists(routes(), min_size=1, max_size=3))
def test_what_was_written_is_read(found: list[RouteWeights]) -> None:
    text = " && ".join(undo_command("shop", route) for route in found)
    assert read_undo("shop", ["", text]) == tuple(found)
    assert read_undo("other", [text]) == ()
    scaled = (
        f"kubectl scale deployment/v1 -n shop --replicas=3 && kubectl rollout status deployment/v1 -n shop && {text}"
    )
    assert read_undo("shop", ["no command", scaled]) == tuple(found)


def test_the_command_of_a_long_route_is_read_at_once() -> None:
    """Three times as long as a rule for testers before each rule makes it in the largest HTTPRoute."""
    backends = tuple(Backend(service=f"it's-v{number}", weight=number) for number in range(2))
    rules = tuple(RuleWeights(index=index, name="n" * 250, backends=backends) for index in range(200))
    route = RouteWeights(name="web", rules=rules)
    command = undo_command("shop", route)
    assert 110_000 < len(command) < 128 * 1024
    assert read_undo("shop", [command]) == (route,)
    assert read_undo("shop", [f"{command} ; reboot"]) == ()
    assert read_undo("shop", [f"{command}\n"]) == ()
    assert read_undo("shop", [command.replace(" -p ", "  -p ")]) == ()


def patch(*operations: object) -> str:
    return f"kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p '{json.dumps(operations)}'"


def test_what_an_earlier_version_wrote_is_read() -> None:
    route = RouteWeights(
        name="web", rules=(RuleWeights(index=0, name="main", backends=(Backend(service="v1", weight=3),)),)
    )
    command = undo_command("shop", route)
    assert '"op":"add"' in command
    earlier = command.replace('"op":"add"', '"op":"replace"').replace(
        "httproutes.gateway.networking.k8s.io", "httproute"
    )
    assert read_undo("shop", [earlier]) == (route,)


NAMED = {"op": "test", "path": "/spec/rules/0/backendRefs/0/name", "value": "v1"}
WEIGHT = {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "echo",
        "kubectl -n shop delete httproute web",
        "kubectl -n shop patch grpcroute web --type=json -p '[]'",
        "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p '{}'",
        "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p '['",
        "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p " + "'" + "[" * 100_000 + "'",
        "kubectl -n shop patch httproutes.gateway.networking.k8s.io web --type=json -p 'no end",
        patch(),
        patch(NAMED),
        patch(WEIGHT),
        patch(NAMED, {**WEIGHT, "value": True}),
        patch(NAMED, {**WEIGHT, "value": -1}),
        patch(NAMED, {**WEIGHT, "value": 1.5}),
        patch(NAMED, {**WEIGHT, "value": "1"}),
        patch(NAMED, {**WEIGHT, "op": "remove"}),
        patch(NAMED, {**WEIGHT, "path": "/spec/rules/0/backendRefs/1/weight"}),
        patch(NAMED, WEIGHT, {**NAMED, "path": "/spec/rules/1/name"}),
        patch(NAMED, WEIGHT, {"op": "add", "path": "/metadata/labels", "value": {}}),
        patch(NAMED, WEIGHT, "no operation"),
        f"{patch(NAMED, WEIGHT)} && rm -rf /",
    ],
)
def test_anything_else_gives_no_weights(text: str) -> None:
    assert read_undo("shop", [text]) == ()
