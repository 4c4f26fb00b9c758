"""The spec of a RouteKind: where a kind of route keeps its weights, and what reports that they are in force.

The built-in kinds are descriptions of this form in `route_kinds/`; a cluster has its own ones as objects. Paths are
fields joined by dots: `[]` is each item of a list, `{}` each value of a mapping, `a|b` the first that is there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, WithJsonSchema, model_validator

from rolloutplan.api import route_kind_rules
from rolloutplan.api.parsing import SpecModel, Violations
from rolloutplan.api.quantities import Duration, Weight, at_least, at_most
from rolloutplan.api.text_format import DnsName

Json: TypeAlias = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
"""A part of an object, as the kind itself writes it."""
Text: TypeAlias = Annotated[str, Field(max_length=512)]
"""A path, a name or a word of a description; 512 characters are four times what the longest built-in one has."""
Texts: TypeAlias = Annotated[tuple[Text, ...], Field(max_length=16)]
Fields: TypeAlias = Annotated[dict[str, Text], Field(max_length=16)]
"""Texts by the name of a field, a condition or a path."""


class WeightRules(SpecModel):
    """What the weights of a kind may be, and what they mean.

    The engine counts in whole numbers of 1/`units`; `max` and `sum` are in the kind's own numbers.
    """

    missing: int = Field(0, ge=0, le=100, description="What an item without a weight counts as.")
    max: int = Field(2147483647, ge=1, le=4294967295, description="The largest weight of an item.")
    sum: int | None = Field(
        None, ge=1, le=1000000, description="What the weights of a rule must add up to, if to anything."
    )
    units: int = Field(
        1, ge=1, le=1000, description="How finely a weight may be written: 100 for hundredths, 1 for whole numbers."
    )
    scale: int = Field(
        1, ge=1, le=1000000, description="The least total of a rule in which the kind divides traffic finely."
    )
    all_zero: Literal["Refused", "Even", "None"] = Field(
        "None",
        description="What happens if all weights are 0: refused, all get the same, or nobody gets any.",
    )
    alone: bool = Field(default=False, description="Whether the only item of a rule takes all, whatever its weight.")
    per_endpoint: bool = Field(
        default=False,
        description="Whether a weight is divided among the pods of an item, in whole numbers: of what is written, or,"
        " with a scale of 1, in the largest numbers that there are.",
    )
    first_must_have_endpoints: bool = Field(
        default=False, description="Whether an item without pods shifts the weights of those after it."
    )


GATEWAY_API: Final = WeightRules(missing=1, max=1_000_000)
"""The weights of HTTPRoutes and their like, as the Gateway API defines them."""


class Accepted(SpecModel):
    """What tells that a gateway has taken the weights."""

    each: Text = Field("", description="Path of the entries, one a gateway, where there are several.")
    asked: Text = Field("", description="Path of the gateways that must answer, where the object names them.")
    answered: Text = Field("", description="The field of an entry that names the gateway for which it answers.")
    controller: Text = Field("", description="The field of an entry that names the controller that answers.")
    conditions: Text = Field("", description="Path of the conditions, in an entry or in the object.")
    good: Fields = Field(default_factory=dict, description="Conditions that say yes: type and status.")
    bad: Fields = Field(default_factory=dict, description="Conditions that say no.")
    generation: Text = Field("", description="Where a condition names the generation that it is about.")
    generation_at: Text = Field("", description="Where the object's status names the generation that it is about.")
    value: Text = Field("", description="Path of one word that says it, instead of conditions.")
    good_words: Texts = Field((), description="The words that say yes.")
    bad_words: Texts = Field((), description="The words that say no.")
    why: Text = Field("", description="Path of the reason for a no; in a condition, where its message does not say it.")
    echo: Text = Field("", description="Path of the weights in force, as the gateway reports them.")
    # No router follows within the second that its watch takes; the slowest balancers of clouds need a few minutes. With
    # more than ten a run would call each weight in force long after its stage could have judged it.
    settle: Annotated[Duration, at_least("1s"), at_most("10m")] | None = Field(
        None, description="How long a weight takes to be in force where nothing, or no generation, is reported."
    )


class AnnotationWeights(SpecModel):
    """Weights in an annotation, as JSON."""

    rules: Text = Field("", description="How the names of annotations begin that hold a rule each.")
    map: Text = Field("", description="The annotation that is one mapping of names to weights.")
    list: Text = Field("", description="Path of the weighted items in a rule's text.")
    only: Fields = Field(default_factory=dict, description="Fields that a rule's text must have; others are no rules.")
    any_case: bool = Field(default=False, description="Whether fields are found in capital and small letters alike.")


class ShareWeight(SpecModel):
    """One number for the new side on an object of its own; the old side has the rest."""

    annotation: Text = Field("", description="The annotation with the number.")
    field: Text = Field("", description="Path of the number, where it is a field.")
    total: Text = Field("", description="The annotation with what it is a part of; 100 without it.")
    of: Text = Field(description="Path of the new side's name in the object.")
    same: Texts = Field((), description="Paths that the object of the old side has in common with it.")
    needs: Fields = Field(default_factory=dict, description="Annotations without which the number means nothing.")
    host: bool = Field(
        default=False, description="Whether the name is an address: scheme, namespace and port are no part of it."
    )


class Via(SpecModel):
    """A list of the object in which a name stands for a Service."""

    list: Text = Field(description="Path of the list.")
    key: Text = Field(description="The field with the name.")
    value: Text = Field(description="The field with the Service.")


class Selected(SpecModel):
    """How a rule for testers is made from a rule of the user."""

    drop: Texts = Field((), description="Fields that the copy leaves out.")
    rename: Text = Field("", description="The name of the copy: $rule, and $n, the number of the copy.")
    raise_: Text = Field("", alias="raise", description="A number that is one more in the copy.")
    unraised: int | None = Field(
        None,
        ge=0,
        le=1000000,
        description="What a rule without that number counts as; left out, its copy has none either.",
    )
    of: Text = Field("", description="The path of the rules that can be copied, where not all can.")
    each: Text = Field("", description="Path of the matches of a rule, each of which gets the condition.")
    none: Json = Field(None, description="The match of a rule that has none.")
    append: Text = Field("", description="Path of a list to which the condition is added.")
    set: Text = Field("", description="Path of a mapping in which the condition is set.")
    text: Text = Field("", description="Path of a text to which the condition is joined.")
    join: Text = Field("", description="What stands between the text and the condition.")
    most: int | None = Field(
        None, ge=1, le=100000, description="How many rules an object may have, copies included, where that is limited."
    )
    first: bool = Field(default=False, description="Whether the copy must come before the rule.")
    key: Text = Field("", description="Under which key a header is set.")
    cookie_key: Text = Field("", description="Under which key a cookie is set.")
    header: Json = Field(None, description="The condition for a header: $header and $value.")
    cookie: Json = Field(
        None, description="The condition for a cookie: $header and $value; $pattern is the value for a pattern."
    )


class Mirrored(SpecModel):
    """What is added to a rule so that the new side gets copies of its requests."""

    append: Text = Field("", description="Path of a list to which it is added.")
    set: Text = Field("", description="Path that it becomes.")
    value: Json = Field(
        description="What is added: $item and $item.FIELD of the new side, $new, $namespace, $port; $percent or $ratio."
    )
    port: Text = Field("", description="Where the new side's item, or what its name stands for, has the port.")
    finest: Weight = Field(
        10, description="The finest share of the requests that can be mirrored; 100% where that is all or none."
    )
    of: Text = Field("", description="The path of the rules that can be mirrored, where not all can.")
    alone: bool = Field(default=False, description="Whether a rule can have one mirror only.")
    needs: Text = Field("", description="A field without which an item cannot be mirrored to.")


class Affinity(SpecModel):
    """What is added to a rule so that a cookie keeps a user on the side that answered first."""

    append: Text = Field("", description="Path of a list to which it is added.")
    set: Text = Field("", description="Path that it becomes.")
    value: Json = Field(description="What is added: $cookie and $seconds.")


class ControllerRules(SpecModel):
    """What one controller of the kind does in another way."""

    weights: WeightRules | None = Field(None, description="The weights that it can do.")
    mirror: bool = Field(default=True, description="Whether it can mirror.")
    finest_mirror: Weight | None = Field(
        None, description="The finest share of the requests that it can mirror; 100% where that is all or none."
    )


class RouteKindSpec(SpecModel):
    """A kind of route: where its weights are, what they may be, and what reports that they are in force."""

    group: Text = Field("", description="The API group; empty for the core group.")
    versions: tuple[Text, ...] = Field(
        min_length=1, max_length=8, description="Its versions; the first that is served is used."
    )
    resource: DnsName = Field(description="The plural name of the resource.")
    rules: Fields = Field(default_factory=dict, description="Paths of rules, each with the path of its weighted items.")
    single: Texts = Field((), description="Paths of items that have no weight, and get all that comes to them.")
    label: Text = Field("", description="The field that names a rule; `{}` for its key in a mapping.")
    name: Texts = Field((), description="Paths in an item that name its side, joined by /.")
    own: Fields = Field(
        default_factory=dict, description="Fields that make an item a Service of the route's namespace."
    )
    short: bool = Field(default=False, description="Whether a name may be a host such as web.shop.svc.cluster.local.")
    via: Via | None = Field(None, description="Where the names of items stand for Services.")
    skip: dict[str, Json] = Field(
        default_factory=dict, max_length=16, description="Fields of items that are no weights."
    )
    weight: Text = Field("", description="Path of the weight in an item.")
    weights: WeightRules = Field(default_factory=WeightRules, description="What weights may be.")
    accepted: Accepted = Field(default_factory=Accepted, description="What tells that weights are in force.")
    annotations: AnnotationWeights | None = Field(None, description="Weights in annotations.")
    share: ShareWeight | None = Field(None, description="One number on an object of the new side.")
    prefix: Text = Field("", description="What stands before / in the names of annotations.")
    empty_breaks: Literal["", "Any", "Old"] = Field(
        "", description="Which side without pods takes the whole route down."
    )
    selective: Texts = Field((), description="Fields of matches by which a rule is for some users only.")
    sticky: Text = Field("", description="Path in a rule that keeps a user on one side.")
    ab: Selected | None = Field(None, description="How a rule for testers is made.")
    mirror: Mirrored | None = Field(None, description="How requests are mirrored.")
    affinity: Affinity | None = Field(None, description="How a cookie keeps users on a side.")
    controllers: dict[str, ControllerRules] = Field(
        default_factory=dict, max_length=16, description="What controllers do in another way, by name."
    )
    traps: Texts = Field((), description="What users should know, a sentence each.")

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if wrong := tuple(route_kind_rules.refusals(self)):
            raise Violations(*wrong)
        return self
