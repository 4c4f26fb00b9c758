"""Routes that a side without endpoints takes down as a whole: nothing of ours makes a side empty that stands in one."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rolloutplan.api.route_kind import GATEWAY_API
from rolloutplan.api.status import Phase
from rolloutplan.engine.model.snapshot import EndpointsView
from tests.situations import ALL, OLD_WEIGHTS, Case, edit, fresh, m, put, run, s, settle, then, wait
from tests.world import Deployment, http_route

P = Phase
ANY: Final[dict[str, Any]] = {"another": {"empty_breaks": "Any"}}
"""As Traefik's own kinds: a Service without endpoints takes the route away."""
OLD: Final[dict[str, Any]] = {"another": {"empty_breaks": "Old"}}
"""As a pair of nginx Ingresses: without endpoints of the main Service there is nothing."""
FIRST: Final[dict[str, Any]] = {
    "another": {"weights": GATEWAY_API.model_copy(update={"first_must_have_endpoints": True})}
}
"""As an HTTPRoute on APISIX: a backend without endpoints is left out, and the weights of others shift."""
NONE: Final = {"contract": {"scaleOld": 0}}

CASES = [
    Case("the old side is not scaled to nothing where any empty side breaks the route", fresh(NONE, **ANY), settle,
         P.INVALID, "EmptySideBreaksRoute", ["Stalled"],
         "would take HTTPRoute shop down as a whole, because v1 stays in it", OLD_WEIGHTS),
    Case("nor where an empty old one does", fresh(NONE, **OLD), settle, P.INVALID, "EmptySideBreaksRoute", ["Stalled"],
         "write scaleOld: 1, or leave it out and take v1 out of the route before you scale it down"),
    Case("nor where it shifts the weights of those after it", fresh(NONE, **FIRST), settle, P.INVALID,
         "EmptySideBreaksRoute"),
    Case("after the last one no weight shifts",
         fresh(NONE, **FIRST, routes={"shop": http_route("shop", [{"v2": 0, "v1": 100}])}), wait(m(20)), P.SUCCEEDED),
    Case("one pod is enough", fresh({"contract": {"scaleOld": 1}}, **ANY), wait(m(20)), P.SUCCEEDED, "", None, "", ALL),
    Case("what is edited into a run is not done either", fresh({"contract": {"scaleOld": 1}}, **ANY),
         then(wait(m(5)), edit(NONE), wait(m(20))), P.HELD, "OldSideInUse", None,
         "contract.scaleOld: 0 would take HTTPRoute shop down as a whole", ALL),
    Case("and once that is taken back, it goes on", fresh({"contract": {"scaleOld": 1}}, **ANY),
         then(wait(m(5)), edit(NONE), wait(m(20)), edit({"contract": {"scaleOld": 1}}), wait(m(1))), P.SUCCEEDED),
    Case("that the new side has none, and what follows, is said with the rollback", fresh(**ANY),
         then(wait(m(1)), put(served={"v2": EndpointsView()}), wait(m(1))), P.ROLLED_BACK, "", None,
         "it answers no request, and v2 takes HTTPRoute shop down as a whole, whatever its weight", OLD_WEIGHTS),
    Case("while its pods are waited for, too",
         fresh(**ANY, new=Deployment("v2", 4, 0), served={"v2": EndpointsView()}), wait(m(1)), P.EXPANDING, "", None,
         "0 of 4 pods of v2 are available, and v2 takes HTTPRoute shop down as a whole", OLD_WEIGHTS),
    Case("where only an empty old side breaks it, it does not", fresh(**OLD),
         then(wait(m(1)), put(served={"v2": EndpointsView()}), wait(m(1))), P.ROLLED_BACK, "", None,
         "it answers no request; weights go back", OLD_WEIGHTS),
    Case("the warning is there from the start", fresh(**ANY), wait(s(30)), P.JUDGING, "", None,
         "HTTPRoute shop (either side) serves nothing while that has no endpoints, whatever the weights"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_a_side_that_breaks_its_route_when_it_is_empty(case: Case) -> None:
    run(case)
