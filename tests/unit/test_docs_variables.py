"""The page of the variables has those that the operator fills in, with the values that it gives them."""

import re
from datetime import timedelta

from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.engine.analysis.variables import variables_for
from tests.refusals import PLAN, changed
from tests.shop import ROOT

ROW = re.compile(r"^\| `\$(\w+)` \|.*\| `([^`]+)` \|$", re.MULTILINE)


def test_the_page_has_every_variable_with_its_value() -> None:
    sides = {"old": {"deployment": "checkout-v1", "service": "checkout"}, "new": {"deployment": "checkout-v2"}}
    time = timedelta(seconds=90)
    given = variables_for(
        read_plan_spec(changed(PLAN, sides)),
        namespace="shop",
        plan="release",
        stage="canary",
        window=time,
        elapsed=time,
    )
    page = (ROOT / "docs/variables.md").read_text()
    assert dict(ROW.findall(page)) == {name: given[name] for name in BUILTIN_VARIABLES}
