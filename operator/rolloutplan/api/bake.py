"""The bake of a plan, in both of its forms: `bake: 30m`, and `bake: {for: 30m, holdback: 1%}`.

At 100% nobody is left on the old side, so nothing can be compared with it. With a holdback the bake takes place below
that: a small share stays on the old side as the control group, and one last step to 100% follows the bake.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from rolloutplan.api import suggestions
from rolloutplan.api.parsing import Integral, SpecModel, Violations
from rolloutplan.api.quantities import (
    DURATION_SCHEMA,
    Duration,
    format_duration,
    format_weight,
    parse_duration,
    parse_weight,
)
from rolloutplan.api.text_format import OR_TEXT, TextFormat

_HOLDBACK: Final = TextFormat(
    called="holdback",
    pattern=r"^(0\.[1-9]|[1-9](\.[0-9])?|[1-4][0-9](\.[0-9])?|50(\.0)?)%$",
    longest=5,
    fix='is not a holdback: write 0.1% to 50% in steps of 0.1%, such as "1%"',
    suggest=suggestions.holdback,
    whole=range(1, 51),
)
"""At most half: where more stays on the old side the new one is not released yet, and a stage says that better."""

Holdback = Annotated[
    int,
    BeforeValidator(lambda value: parse_weight(_HOLDBACK.read(value))),
    Integral,  # CEL sees nothing here, and the rest of the API server takes 3.0 for a whole number
    PlainSerializer(format_weight, return_type=str),
    WithJsonSchema({**_HOLDBACK.schema(), "minimum": 1, "maximum": 50}),
]
"""The share of the control group, from 1 to 500 permille."""

NO_TIME: Final = "0s leaves no time to compare with the control group: write a longer time, or remove holdback"

HOLDBACK_NEEDS_FULL: Final = (
    "is only for plans that end at 100%: at stopAt the old side keeps traffic to compare with anyway; remove it"
)


class Bake(SpecModel):
    """Time at the last weight before the run ends, with or without a control group on the old side."""

    for_: Duration = Field(alias="for", description="The shortest time that the bake lasts.")
    holdback: Holdback | None = Field(
        default=None,
        description="The share that stays on the old side as a control group until the bake is over, 0.1% to 50%. The"
        " stage with weight 100% then stands at 100% less this share, so that `vsOld` and `onIncident` can still"
        " compare. After the bake one last step gives the new side 100%: it passes the gate, is verified and judged by"
        " the guards like any other, and needs no approval of its own. Not with `stopAt`. It may be edited until the"
        " stage with weight 100% has begun; later it is another plan.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: object) -> object:
        return raw if isinstance(raw, Mapping | Bake) else {"for": parse_duration(raw)}

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.holdback is not None and not self.for_:
            raise Violations(("for", NO_TIME))
        return self

    @model_serializer
    def _written(self) -> str | dict[str, str]:
        """The text alone where there is no holdback: so the hash of a plan from before there was one stays the same."""
        lasts = format_duration(self.for_)
        return lasts if self.holdback is None else {"for": lasts, "holdback": format_weight(self.holdback)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of the mapping; that of the text is next to the field (`BAKE_TEXT`)."""
        return handler(_unwritten(core_schema))


def _unwritten(schema: Any) -> Any:
    """A core schema as if the model were written field by field; pydantic wraps the model in its validators."""
    found = {key: below for key, below in schema.items() if key != "serialization"}
    return {**found, "schema": _unwritten(found["schema"])} if "schema" in found else found


BAKE_TEXT: Final[dict[str, Any]] = {OR_TEXT: DURATION_SCHEMA}
NO_BAKE: Final = Bake(for_=timedelta(0))
