"""`lint` finds stages that a kind of route cannot have by its description, and says which kinds can."""

from __future__ import annotations

from typing import Any

import pytest

from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.lint.additions import lint_additions
from tests.refusals import DARK, STAFF, STICKY, changed
from tests.world import PLAN


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("HTTPRoute", {"stages": [DARK, STAFF, *PLAN["stages"]]}, ""),
        ("HTTPRoute", {}, ""),
        ("TraefikService", {"traffic.sticky": STICKY}, ""),
        ("VirtualService", {"stages": [{**DARK, "mirror": "0.5%"}, *PLAN["stages"]]}, ""),
        (
            "TCPRoute",
            {"stages": [STAFF, *PLAN["stages"]]},
            "TCPRoute shop cannot send the requests with a header to one side: leave the stage staff out, or move a",
        ),
        ("HTTPRoute", {"traffic.sticky": STICKY}, "cannot keep users on a side by a cookie: leave spec.traffic.sticky"),
        ("HTTPProxy", {"stages": [{**DARK, "mirror": "0.5%"}, *PLAN["stages"]]}, "in steps of 1%, not 0.5%: leave"),
        (
            "RouteGroup",
            {"stages": [DARK, *PLAN["stages"]]},
            "can mirror all requests or none, not 10%: leave the stage",
        ),
        ("my-kind", {"stages": [DARK, *PLAN["stages"]]}, ""),
    ],
)
def test_a_stage_that_a_kind_cannot_have_is_an_error(kind: str, changes: dict[str, Any], words: str) -> None:
    spec = read_plan_spec(changed(PLAN, {"traffic.routes": [{"kind": kind, "name": "shop"}], **changes}))
    found = list(lint_additions(spec))
    assert [(each.path, each.rule, each.severity) for each in found] == (
        [("spec.traffic.routes[0]", "stage-not-possible", "error")] if words else []
    )
    assert all(words in each.words for each in found)
