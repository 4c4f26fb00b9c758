"""RolloutPolicies in the API server, as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rolloutplan.api import safe_get
from rolloutplan.api.parsing import SpecError
from rolloutplan.api.policy import Selector, read_policy
from rolloutplan.api.policy_status import read_policy_status
from rolloutplan.engine.model.policy_view import PolicyView


def view(raw: Mapping[str, Any]) -> PolicyView:
    """Parse a policy, with the shift that its status has. One without a readable selector is for every plan."""
    name, spec = raw["metadata"]["name"], safe_get.mapping(raw, "spec")
    try:
        read = read_policy(spec)
    except SpecError as error:
        try:
            selector = read_policy({"selector": spec.get("selector")}).selector
        except SpecError:
            selector = Selector()
        return PolicyView(name, None, str(error), selector)
    return PolicyView(name, read, shifted=bool(read_policy_status(raw).shifted and read.focus.stability))
