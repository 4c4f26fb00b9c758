"""Whom the user of a kubeconfig impersonates (`as`, `as-uid`, `as-groups`, `as-user-extra`), as headers.

The library does not read these fields. Without the headers, a command would act with all rights of the user.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

_KEPT: Final = "!#$&'*+^`|"
"""What a name of a header may have, in addition to what `quote` leaves alone."""


def impersonation(user: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The headers for a user of a kubeconfig, with its groups one by one; none where it impersonates nobody.

    Raises ValueError for a field that cannot be sent, or that has no `as` next to it, as kubectl does.
    """
    found = list(_headers(user))
    if found and not user.get("as"):
        raise ValueError("the kubeconfig has as-uid, as-groups or as-user-extra without as: name the user in as")
    return found


def _headers(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if value := user.get(field):
            yield header, _text(field, value)
    for group in _list("as-groups", user.get("as-groups")):
        yield "Impersonate-Group", group
    extra = user.get("as-user-extra") or {}
    if not isinstance(extra, Mapping):
        raise ValueError("as-user-extra of the kubeconfig is no mapping of names to lists of texts")  # noqa: TRY004 - for all fields
    for key, values in extra.items():
        name = quote(_text("as-user-extra", key).lower(), safe=_KEPT)
        for value in _list("as-user-extra", values):
            yield f"Impersonate-Extra-{name}", value


def _list(field: str, values: object) -> list[str]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise ValueError(f"{field} of the kubeconfig is no list of texts")  # noqa: TRY004 - for all fields
    return [_text(field, value) for value in values]


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{field} of the kubeconfig is {value!r}: write a text in quotes, without line breaks")
    return value
