"""Completion of names that only the cluster knows."""

from __future__ import annotations

import asyncio
from typing import Final

import typer

WITHIN: Final = 0.5
"""Seconds for the answer of the cluster: the program starts in about as many, and a person waits a second for it."""


def plan_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The names of the plans in the namespace that was given; none where they are not read in time, for any reason."""
    from rolloutplan.cli.session import session  # noqa: PLC0415 - takes half a second, which `lint` does not need
    from rolloutplan.cluster.paths import PLANS  # noqa: PLC0415 - as above

    async def names() -> list[str]:
        async with asyncio.timeout(WITHIN), session(ctx.params.get("namespace")) as cluster:
            return await cluster.names(PLANS)

    try:
        return [name for name in asyncio.run(names()) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - whatever it is: a person who presses tab is not helped by a traceback
        return []
