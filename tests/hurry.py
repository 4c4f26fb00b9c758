"""Plans as they stand in examples and on pages, made quick enough for a test.

`python -m tests.hurry FILE...` does it to the plans in files; whatever else is in them stays as it is.
"""

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]


def hurried(plan: Json, deadline: str = "60s") -> Json:
    """The plan for a test's patience and a metric source that scrapes each second.

    Times and numbers of requests are others, also where the plan leaves them to their defaults. Nothing else is.
    """
    plan = deepcopy(plan)
    spec = plan["spec"]
    bake = spec.get("bake")
    spec |= {"interval": "1s", "bake": {**bake, "for": "3s"} if isinstance(bake, dict) else "3s"}
    spec["traffic"]["drain"] = "1s"
    for stage in spec["stages"]:
        stage |= {"soak": "3s", "deadline": deadline}
    for predicate in _predicates(spec):
        if "query" in predicate:
            predicate["window"] = "4s"
        if "for" in predicate:
            predicate["for"] = "2s"
        if "minSamples" in predicate:
            predicate["minSamples"]["atLeast"] = 20
    return plan


def hurry(documents: str) -> str:
    """A file of YAML with its plans hurried."""
    read = yaml.safe_load_all(documents)
    return yaml.safe_dump_all(hurried(each) if each["kind"] == "RolloutPlan" else each for each in read if each)


def _predicates(spec: Json) -> Iterator[Json]:
    yield from spec.get("guards", [])
    for stage in spec["stages"]:
        yield from (*stage.get("pass", []), *stage.get("fail", []))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(hurry(path.read_text()))
