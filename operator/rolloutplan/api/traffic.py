"""Of a plan's spec: its routes, and how traffic is moved on them."""

from datetime import timedelta
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from rolloutplan.api.added import Sticky
from rolloutplan.api.parsing import SpecModel
from rolloutplan.api.quantities import Duration, at_least, at_most
from rolloutplan.api.route import RouteId, RouteKindName
from rolloutplan.api.shown import shown
from rolloutplan.api.text_format import DNS_NAME, DnsName, cel

MAX_RULES: Final = 16
_RULE_FIX: Final = f"is not a rule of a route: write its name, or its index from 0 to {MAX_RULES - 1}"


def _read_rule(rule: object) -> int | str:
    if isinstance(rule, int) and not isinstance(rule, bool) and 0 <= rule < MAX_RULES:
        return rule
    if isinstance(rule, str) and DNS_NAME.matches(rule):
        return rule
    raise ValueError(f"{shown(rule)} {_RULE_FIX}")


RuleRef: TypeAlias = Annotated[
    int | str,
    BeforeValidator(_read_rule),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": DNS_NAME.longest,
            "x-kubernetes-validations": [
                {
                    "rule": f"type(self) == int ? self >= 0 && self < {MAX_RULES}"
                    f" : self.matches({cel(DNS_NAME.pattern)})",
                    "messageExpression": f"string(self) + {cel(' ' + _RULE_FIX)}",
                }
            ],
        }
    ),
]


_OTHER_APIS: Final = ("VirtualService", "DestinationRule", "Ingress", "TrafficSplit", "IngressRoute", "TraefikService")
"""What other tools move, so that people write it here."""


def _no_other_api(kind: object) -> object:
    if kind in _OTHER_APIS:
        raise ValueError(
            f"{shown(kind)} cannot be moved, only an HTTPRoute of the Gateway API: make one with both Services as"
            " backends, and write HTTPRoute"
        )
    return kind


class RouteRef(SpecModel):
    """A route with both sides as weighted backends."""

    kind: Annotated[RouteKindName, BeforeValidator(_no_other_api)] = Field(description="The kind of the route.")
    name: DnsName = Field(description="The route's name, in the plan's namespace.")
    rules: tuple[RuleRef, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Which of its rules, by name or by index from 0. If left out, every rule with both Services, "
        "except rules that match requests by headers or query parameters and give everything to the new side already.",
    )

    @property
    def id(self) -> RouteId:
        return RouteId(self.kind, self.name)


ACCEPTED_WITHIN: Final = timedelta(minutes=2)
"""The default of `traffic.acceptedWithin`, also for a plan that can no longer be read: a cloud's load balancer may need
a minute or two until it says that it follows a route."""


class Traffic(SpecModel):
    """How traffic is moved."""

    routes: tuple[RouteRef, ...] = Field(
        min_length=1, max_length=16, description="The routes whose weights are changed, all at the same time."
    )
    accepted_within: Annotated[Duration, at_least("1s"), at_most("1h")] = Field(
        default=ACCEPTED_WITHIN,
        description="How long the gateways may take to accept a weight. Guards stay on meanwhile, and after it the"
        " weights go back. Cloud load balancers may need minutes.",
    )
    drain: Duration = Field(
        default=timedelta(seconds=30), description="Time between weight 0 of a side and a scale-down of it."
    )
    share: Literal["Verify", "Ignore"] = Field(
        default="Verify",
        description="Verify holds the run while the counted requests provably do not follow its weight.",
    )
    endpoints: Literal["Verify", "Ignore"] = Field(
        default="Verify",
        description="Verify requires that the Service of each side has ready endpoints, and only pods of that side."
        " Ignore checks none of that: for a Service without a selector, a headless one, or one of type ExternalName.",
    )
    sticky: Sticky | None = Field(
        default=None,
        description="A cookie that keeps a user on the side that answered first, from the first weight on until the"
        " last one. Only where the kind of the route has such a field.",
    )
