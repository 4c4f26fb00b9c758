"""Which version a pod template is: the same one after a restart, and after a default that nobody wrote.

A revision is three hashes of 16 hexadecimal digits, with dots between: of the whole template, of the template without
marks of a restart, and of what of that somebody wrote. Two templates are the same version where one of these agrees
(engine/model/revision.py):

- `kubectl rollout restart`, Reloader, Wave, a chart's `checksum/config` or `rollme` change only marks of a restart;
- a new version of the API server that begins to write one more default adds a field that no manager owns in
  managedFields, and so changes the first two hashes alone. What an admission webhook adds to a server-side apply is
  owned by an Update of the same manager, and does not count either. What a webhook adds to any other update is
  attributed to its sender, cannot be told from it, and is a new version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rolloutplan.api import safe_get

_RESTART_MARK: Final = re.compile(
    r"checksum|restart|rollme|reload|redeploy|force-?(update|roll)|timestamp|(deploy(ed|ment)?|update|rollout)-?(at|time|date)$"
    r"|(config(map)?s?|secrets?)[-_./]?(hash|sha\d*|digest|version)",
    re.IGNORECASE,
)
"""What the key of a pod annotation holds that only makes the pods start again."""
_PROGRAM: Final = ("name", "image", "command", "args", "env")
_RESTART_VARIABLE: Final = "STAKATER_"
"""Reloader restarts pods by an environment variable of such a name where it is not told to use annotations."""


def revision(raw: Mapping[str, Any]) -> str:
    """The revision of a Deployment's pod template, independent of the order of its fields."""
    template = safe_get.mapping(raw, "spec", "template")
    unmarked = without_restart_marks(template)
    owners = _owners(raw)
    written = [_written(unmarked, owners), _programs(unmarked)] if owners else unmarked
    return ".".join(map(_hash, (template, unmarked, written)))


def _programs(template: Mapping[str, Any]) -> list[list[object]]:
    """What the containers run: never a default, whoever owns it."""
    containers = safe_get.items(template, "spec", "containers")
    return [[safe_get.value(container, name) for name in _PROGRAM] for container in containers]


def without_restart_marks(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template without what is only there to start its pods again."""
    meta = {key: value for key, value in safe_get.mapping(template, "metadata").items() if value is not None}
    annotations = safe_get.mapping(meta, "annotations")
    kept = {key: value for key, value in annotations.items() if not _RESTART_MARK.search(str(key))}
    meta = {key: value for key, value in meta.items() if key != "annotations"} | ({"annotations": kept} if kept else {})
    spec = dict(safe_get.mapping(template, "spec"))
    if containers := safe_get.items(spec, "containers"):
        spec["containers"] = [_without_variables(container) for container in containers]
    return {**template, "metadata": meta, "spec": spec}


def _without_variables(container: Any) -> Any:
    if not isinstance(container, Mapping) or "env" not in container:
        return container
    variables = [v for v in safe_get.items(container, "env") if not _name(v).startswith(_RESTART_VARIABLE)]
    return {key: value for key, value in container.items() if key != "env"} | ({"env": variables} if variables else {})


def _name(variable: object) -> str:
    return safe_get.text(variable, "name")


def _owners(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What each manager owns of the template, as fieldsV1; without what admission added to a server-side apply."""
    entries = [entry for entry in safe_get.items(raw, "metadata", "managedFields") if _of_object(entry)]
    applies = {safe_get.text(e, "manager") for e in entries if safe_get.text(e, "operation") == "Apply"}
    wrote = [
        safe_get.mapping(entry, "fieldsV1", "f:spec", "f:template")
        for entry in entries
        if safe_get.text(entry, "operation") == "Apply" or safe_get.text(entry, "manager") not in applies
    ]
    return [fields for fields in wrote if fields]


def _of_object(entry: object) -> bool:
    return not safe_get.text(entry, "subresource")


def _written(value: Any, owners: Sequence[Mapping[str, Any]]) -> Any:
    """The parts of a value that somebody owns. A part that is owned as one stays whole."""
    if any(not fields for fields in owners):
        return value
    if isinstance(value, Mapping):
        owned = {key: [f[f"f:{key}"] for f in owners if isinstance(f.get(f"f:{key}"), Mapping)] for key in value}
        return {key: _written(inner, owned[key]) for key, inner in value.items() if owned[key]}
    if isinstance(value, list) and any(key.startswith("k:") for fields in owners for key in fields):
        found = ((item, [f[key] for f in owners for key in f if _is_item(key, item, f[key])]) for item in value)
        return [_written(item, fields) for item, fields in found if fields]
    return value


def _is_item(key: str, item: object, fields: object) -> bool:
    """Whether a key of fieldsV1, as `k:{"name":"app"}`, is that of an item of a list."""
    if not key.startswith("k:") or not isinstance(item, Mapping) or not isinstance(fields, Mapping):
        return False
    try:
        wanted = json.loads(key.removeprefix("k:"))
    except ValueError:
        return False
    return isinstance(wanted, dict) and all(item.get(name) == value for name, value in wanted.items())


def _hash(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
