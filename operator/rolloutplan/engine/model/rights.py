"""How the engine is told that the operator lacks a right."""

from __future__ import annotations


class MissingRight(str):
    """Why a request is refused for want of a right: verb, resource, place, and what gives the right.

    It is a text, so that it goes wherever the reason of a refusal goes. A sentence made with it is a plain text again.
    """

    __slots__ = ()
