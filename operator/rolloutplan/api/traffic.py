"""Of a plan's spec: its routes, and how traffic is moved on them."""

from datetime import timedelta
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema, model_validator

from rolloutplan.api.added import Sticky
from rolloutplan.api.parsing import SpecModel, Violations
from rolloutplan.api.quantities import Duration, at_least, at_most
from rolloutplan.api.route import FEATURE_FLAG, HTTP_ROUTE, REPLICAS, RouteId, owned_name
from rolloutplan.api.route_kinds import BUILT_IN
from rolloutplan.api.shown import shown
from rolloutplan.api.text_format import DNS_NAME, DnsName, TextFormat, cel

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


KINDS: Final = (*BUILT_IN, REPLICAS)
"""The built-in kinds of route."""
_MEANT: Final = {
    "Ingress": "AlbIngress, NginxCanary or SkipperIngress, by the controller that reads it",
    "DestinationRule": "VirtualService, which has the weights",
    "Gateway": "HTTPRoute, which has the weights",
    "Service": "KnativeService, if it is one of Knative",
    "Route": "OpenShiftRoute, if it is one of OpenShift",
}
"""What to write for an object that has no weights itself, or has another name in plans."""


def _kind(value: object) -> str:
    """The kind that was meant; empty where that cannot be seen."""
    if not isinstance(value, str):
        return ""
    kinds = {kind.lower(): kind for kind in KINDS}
    return _MEANT.get(value) or next((kinds[near] for near in get_close_matches(value.lower(), kinds, n=1)), "")


ROUTE_KIND: Final = TextFormat(
    called="kind of route",
    pattern=f"^({'|'.join(KINDS)}|{DNS_NAME.pattern.strip('^$')})$",
    longest=DNS_NAME.longest,
    fix=f"is not a kind of route: write {', '.join(KINDS)}, or the name of a RouteKind",
    forbidden=(
        (
            f"^({'|'.join(KINDS).lower()})$",
            "is a built-in kind in small letters: write HTTPRoute and its like in capitals too",
        ),
    ),
    suggest=_kind,
)
SIDE: Final = TextFormat(
    called="name of a side",
    pattern="^[A-Za-z0-9][-A-Za-z0-9_./]*$",
    longest=253,
    fix="is not what a route calls a side: write it as the route does, such as web-v2, or web/canary for a subset",
)
SideName: TypeAlias = Annotated[str, BeforeValidator(SIDE.read), WithJsonSchema(SIDE.schema())]


FLAG_KEY: Final = TextFormat(
    called="name of a flag",
    pattern="^[A-Za-z0-9]([-A-Za-z0-9_.:/]*[A-Za-z0-9])?$",
    longest=128,
    fix="is not the name of a flag: write letters, digits, '-', '_', '.', ':' and '/', as in spec.flagSpec.flags",
)
FlagKey: TypeAlias = Annotated[str, BeforeValidator(FLAG_KEY.read), WithJsonSchema(FLAG_KEY.schema())]
WHICH_FLAG: Final = "is missing: name the flag in spec.flagSpec.flags of the FeatureFlag whose weights the plan moves"
NO_FLAG_HERE: Final = "is a flag, and only a FeatureFlag has flags: leave it out"
ONLY_HTTP_ROUTES: Final = (
    f'"Owned" is for plans with {HTTP_ROUTE}s alone: leave it out, and keep the weights of the other kinds out of Git'
)
BY_VARIANTS: Final = "is not for a FeatureFlag: its rule is the flag, and its sides are old.variant and new.variant"


class RouteRef(SpecModel):
    """A route with both sides as weighted backends."""

    kind: Annotated[str, BeforeValidator(ROUTE_KIND.read), WithJsonSchema(ROUTE_KIND.schema())] = Field(
        description="The kind of the route: a built-in one, such as HTTPRoute, or the name of a RouteKind."
    )
    name: DnsName = Field(description="The route's name, in the plan's namespace.")
    rules: tuple[RuleRef, ...] = Field(
        default=(),
        max_length=MAX_RULES,
        description="Which of its rules, by name or by index from 0. If left out, every rule with both Services, "
        "except rules that match requests by headers or query parameters and give everything to the new side already.",
    )

    old: SideName | None = Field(
        default=None,
        description="What the route calls the old side, where that is not its Service: a host with a subset, such as"
        " web/stable, a revision, an upstream.",
    )
    new: SideName | None = Field(default=None, description="What the route calls the new side, in the same way.")
    flag: FlagKey | None = Field(
        default=None,
        description="Of a FeatureFlag: the flag whose targeting.fractional has the weights. Its variants are those of"
        " the sides.",
    )

    _is_owned: bool = PrivateAttr(default=False)

    @cached_property
    def id(self) -> RouteId:
        """The route whose weights are moved: the one of this name, or the one that the operator owns in its place."""
        return RouteId(self.kind, owned_name(self.name) if self._is_owned else self.name)

    @property
    def written(self) -> RouteId:
        """The route as the plan names it, which is the one in Git."""
        return RouteId(self.kind, self.name)

    def owned(self) -> Self:
        """The same reference to the route that the operator owns in place of this one."""
        ref = self.model_copy()
        ref._is_owned = True  # noqa: SLF001 - of its own class
        return ref

    @property
    def rule_names(self) -> tuple[int | str, ...]:
        """The rules that the plan names; none where it means all with both sides."""
        return (self.flag,) if self.flag is not None else self.rules

    @model_validator(mode="after")
    def _flag(self) -> Self:
        if self.kind == FEATURE_FLAG and self.flag is None:
            raise Violations(("flag", WHICH_FLAG))
        if self.kind != FEATURE_FLAG and self.flag is not None:
            raise Violations(("flag", f'"{self.flag}" {NO_FLAG_HERE}'))
        for field in ("rules", "old", "new"):
            if self.kind == FEATURE_FLAG and getattr(self, field):
                raise Violations((field, BY_VARIANTS))
        return self


ACCEPTED_WITHIN: Final = timedelta(minutes=2)
"""The default of `traffic.acceptedWithin`, also for a plan that can no longer be read: a cloud's load balancer may need
a minute or two until it says that it follows a route."""


class Traffic(SpecModel):
    """How traffic is moved."""

    routes: tuple[RouteRef, ...] = Field(
        min_length=1, max_length=16, description="The routes whose weights are changed, all at the same time."
    )
    ownership: Literal["Weights", "Owned"] = Field(
        default="Weights",
        description="Weights moves the weights of the routes themselves. Owned leaves them as they are, for a pipeline"
        " that writes them again and again: the operator makes a route of its own from each, which takes its traffic"
        f" and whose weights are moved. For {HTTP_ROUTE}s alone, where the installation allows it (ownedRoutes).",
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
        description="Verify holds the run while the counted requests provably do not follow its weight. Where no"
        " gateway reports which weights it follows, they also have to prove the last one.",
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

    @model_validator(mode="after")
    def _owned(self) -> Self:
        if self.ownership == "Weights":
            return self
        if any(ref.kind != HTTP_ROUTE for ref in self.routes):
            raise Violations(("ownership", ONLY_HTTP_ROUTES))
        return self.model_copy(update={"routes": tuple(ref.owned() for ref in self.routes)})
