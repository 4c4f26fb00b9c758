"""All comparisons of one plan with the objects among its files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from rolloutplan.tools.objects.manifests import Note, Objects, PlanFile
from rolloutplan.tools.objects.others import compare_others
from rolloutplan.tools.objects.plans import compare_plans
from rolloutplan.tools.objects.routes import compare_routes
from rolloutplan.tools.objects.sides import compare_sides

_NO_NAMESPACE: Final = re.compile("(?<=[A-Za-z]) /(?=[a-z0-9])")
"""The place of the namespace in the operator's messages, where a plan has none."""


def compared(plan: PlanFile, objects: Objects) -> Iterator[Note]:
    """Yield what does not fit between a plan and the other objects."""
    seen = objects.snapshot(plan)
    for comparison in (compare_sides, compare_others, compare_routes, compare_plans):
        for about, finding in comparison(plan, objects, seen):
            words = finding.words if plan.namespace else _NO_NAMESPACE.sub(" ", finding.words)
            yield Note(about, replace(finding, words=words))
