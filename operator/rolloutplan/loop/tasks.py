"""The tasks in which effects are carried out: one for each key, and a new one replaces the former."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from typing import Any


class Tasks:
    """Tasks by key. For one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, key: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """Start a task. It replaces one in flight with the same key."""
        if (former := self._tasks.pop(key, None)) is not None:
            former.cancel()
        task = self._tasks[key] = asyncio.get_running_loop().create_task(work)

        def on_done(_: object) -> None:
            if self._tasks.get(key) is task:
                del self._tasks[key]

        task.add_done_callback(on_done)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel all of them; return them."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        self._tasks.clear()
        return tasks

    async def close(self) -> None:
        """Cancel all of them, and wait until they have ended."""
        await asyncio.gather(*self.cancel(), return_exceptions=True)
