"""What the operator may do with the objects of each kind of route: a file of the chart, made of the kinds themselves.

`deploy/helm/rolloutplan/routers.yaml` has the rules of RBAC by kind; the chart takes those of the kinds in `routers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from rolloutplan.api.route import REPLICAS
from rolloutplan.traffic import ROUTE_KINDS
from rolloutplan.traffic.base import Resource

_HEAD: Final = """\
# `make generate` writes this file: what the operator may do with the objects of each kind of route that plans may name.
"""
_MOVES: Final = ("get", "list", "watch", "patch")
"""Watched, patched, and read again when a patch is refused."""
_SIZES: Final = ({"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]},)
"""The kind without a router moves traffic by the numbers of pods."""


def rights() -> str:
    """The rules by kind, as YAML. Always the same text for the same kinds."""
    rules = {name: [_rule(kind.resource), *_more(name)] for name, kind in sorted(ROUTE_KINDS.items())}
    return _HEAD + yaml.dump(rules, sort_keys=False, default_flow_style=None, width=120)


def _rule(resource: Resource) -> Mapping[str, Any]:
    return {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": [*_MOVES]}


def _more(kind: str) -> Sequence[Mapping[str, Any]]:
    return _SIZES if kind == REPLICAS else ()
