"""RolloutPolicies in the API server, as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.policy import Selector, read_policy
from rolloutplan.engine.model.policy_view import PolicyView


def view(raw: Mapping[str, Any]) -> PolicyView:
    """Parse a policy. Where not even its selector can be parsed, it applies to every plan."""
    name, spec = raw["metadata"]["name"], safe_get.mapping(raw, "spec")
    try:
        read = read_policy(spec)
    except SpecError as error:
        try:
            selector = read_policy({"selector": spec.get("selector")}).selector
        except SpecError:
            selector = Selector()
        return PolicyView(name, None, str(error), selector)
    return PolicyView(name, read)
