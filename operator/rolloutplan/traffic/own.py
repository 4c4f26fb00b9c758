"""A cluster's own kinds of route: what their RouteKind objects describe, as they are or as a run keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rolloutplan.api.parsing import SpecError, read
from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.traffic.base import RouteKind
from rolloutplan.traffic.described import DescribedKind


def described(name: str, written: Mapping[str, Any]) -> DescribedKind:
    """The kind that a spec describes. Raises SpecError."""
    try:
        return DescribedKind(name, read(RouteKindSpec, written))
    except SpecError:
        raise
    except Exception as error:  # noqa: BLE001 - a kind that cannot be read is a problem of its own plans alone
        raise SpecError(f"spec cannot be read ({type(error).__name__}: {error}): correct its paths") from None


def read_route_kind(written: Mapping[str, Any]) -> RouteKindSpec:
    """The spec of a RouteKind, all of whose paths can be read. Raises SpecError."""
    return described("", written).spec


def kept_kind(name: str, text: str) -> RouteKind | None:
    """The kind that the status of a run keeps as JSON; None where nothing can be read of it."""
    try:
        written = json.loads(text)
        return described(name, written) if isinstance(written, dict) else None
    except (ValueError, RecursionError):
        return None
