"""The parts of a route's patch other than its weights: the tests, and our two annotations.

Each kind of route passes its operations on weights; the whole patch goes to the API server.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from rolloutplan.api import safe_get
from rolloutplan.api.status import Backend, RuleWeights
from rolloutplan.engine.model.fence import others_wrote_last, rule_label, with_fence
from rolloutplan.engine.model.finding import locate
from rolloutplan.engine.model.snapshot import REVERT, SEQ, RouteView
from rolloutplan.traffic.base import Operation, Resource
from rolloutplan.traffic.forms.base import added as put
from rolloutplan.traffic.forms.base import expected, removed
from rolloutplan.traffic.overlay import ADDED

_ANNOTATIONS: Final = "/metadata/annotations"


def whole_patch(
    view: RouteView,
    changes: Sequence[Operation],
    *,
    token: str,
    undo: str,
    added: str | None = None,
    differs: bool = False,
) -> list[Operation]:
    """The patch with these operations on weights and rules and those on our annotations; empty if nothing differs.

    `added` is the annotation with what is added to the rules; None leaves it as it is. Changes of which none `differs`
    are tests: a patch of our annotations alone relies on the weights too, and others may be on their way.

    The tokens of runs on other rules stay. An undo command that such a run wrote last is replaced, but not removed.
    It begins with a test of the token of the last writer. A patch cannot test that a token is absent: where there is
    none, it tests the resourceVersion.
    """
    marks = _marks(view, token, undo, added)
    if not marks and not differs:
        return []
    fence = expected(annotation(SEQ), view.seq) if view.seq else expected("/metadata/resourceVersion", view.version)
    place = [] if view.annotated else [put(_ANNOTATIONS, {})]
    return [fence, *place, *changes, *marks]


def located(view: RouteView, rule: RuleWeights) -> tuple[RuleWeights, dict[int, Backend]]:
    """The rule as it is now, and the backend as desired for each place in it. Raises LookupError."""
    now, where = locate(view, rule), f"{view.id}: rule {rule_label(rule)}"
    if now is None:
        raise LookupError(f"{where} is no longer there")
    places: dict[str, list[int]] = defaultdict(list)
    for place, backend in enumerate(now.backends):
        places[backend.service].append(place)
    wanted = {}
    for backend in rule.backends:
        if not places[backend.service]:
            raise LookupError(f"{where} no longer holds {backend.service}")
        wanted[places[backend.service].pop(0)] = backend
    return now, wanted


def kubectl_patch(namespace: str, resource: Resource, name: str, patch: Sequence[Operation]) -> str:
    """The command that applies a JSON Patch to a route with kubectl alone, as a line for a POSIX shell.

    The resource has its group: several groups have HTTPRoutes, and kubectl would choose one.
    """
    words = ["kubectl", "-n", namespace, "patch", resource.word, name, "--type=json", "-p"]
    return f"{shlex.join(words)} {shlex.quote(json.dumps(patch, separators=(',', ':')))}"


def _marks(view: RouteView, token: str, undo: str, added: str | None) -> list[Operation]:
    """The operations that bring our annotations up to date."""
    if not undo and others_wrote_last(view.seq, token):
        undo = view.undo_annotation
    is_known = token in view.seq.split() and undo == view.undo_annotation
    fences = view.seq if is_known else with_fence(view.seq, token)
    there = safe_get.text(view.raw, "metadata", "annotations", ADDED)
    wanted = {
        SEQ: (view.seq, fences),
        REVERT: (view.undo_annotation, undo),
        ADDED: (there, there if added is None else added),
    }
    changed = ((annotation(key), new) for key, (old, new) in wanted.items() if old != new)
    return [put(path, new) if new else removed(path) for path, new in changed]


def annotation(key: str) -> str:
    """The JSON pointer of an annotation."""
    return f"{_ANNOTATIONS}/{key.replace('~', '~0').replace('/', '~1')}"
