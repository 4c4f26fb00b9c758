"""One object of Argo or Flagger, by its kind, as YAML and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rolloutplan.tools.convert.argo import convert_rollout
from rolloutplan.tools.convert.draft import Note, Objects, Raw
from rolloutplan.tools.convert.flagger import convert_canary
from rolloutplan.tools.convert.written import written

KINDS: Final[Mapping[str, str]] = {"Rollout": "argoproj.io", "Canary": "flagger.app"}
"""What can be converted, with its API group."""


def convert_object(raw: Raw, objects: Objects, provider: str = "") -> tuple[str, Sequence[Note]]:
    """The YAML of what an object becomes, and what is not as it was. Raises CannotConvertError with the reason.

    `provider` is that of Flagger's installation, for a Canary that names none.
    """
    is_argo = raw["kind"] == "Rollout"
    draft = convert_rollout(raw, objects) if is_argo else convert_canary(raw, objects, provider)
    return written(draft), draft.notes
