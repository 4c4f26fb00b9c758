"""JSON Patches in the spelling of the API server, which compares texts in a `test` as they are spelled.

Its JSON has `&`, `<` and `>` of texts as escapes, and all other characters as themselves. Spelled in another way, the
match of a Traefik route or a name with an umlaut would never be the same as what the object has.
"""

from __future__ import annotations

import json
from typing import Any, Final

_ESCAPES: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "&<>\u2028\u2029"})


def spelled(patch: Any) -> str:
    """The text of a JSON Patch. In JSON only texts have these characters."""
    return json.dumps(patch, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
