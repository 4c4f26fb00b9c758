"""The process behind load.py: requests at a constant rate, every answer counted by who gave it."""

import argparse
import asyncio
import json
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.bed.asking import Ask, asking
from tests.bed.load import Key


class Generator:
    """Each line of its standard input is answered with a line of JSON: what was counted so far."""

    def __init__(self, client: AbstractAsyncContextManager[Ask]) -> None:
        self._client = client
        self._seen: dict[Key, tuple[int, float, float]] = {}
        self._counting = False
        self._running = True

    async def run(self, rate: float, seconds: float) -> None:
        """Send each request at its time, whether or not earlier ones were answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._client as ask, asyncio.TaskGroup() as requests:
            for n in range(int(rate * seconds)):
                await asyncio.sleep(began + n / rate - loop.time())
                requests.create_task(self._count(ask))
        self._running = False

    async def _count(self, ask: Ask) -> None:
        counted = self._counting
        key = await ask()
        if counted:
            now = time.time()
            n, first, _ = self._seen.get(key, (0, now, now))
            self._seen[key] = (n + 1, first, now)
        elif key[0] != "-":
            self._counting = True

    async def report(self) -> None:
        """Answer for as long as there is someone who asks."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        while await reader.readline():
            answers = [[*key, *seen] for key, seen in self._seen.items()]
            print(json.dumps({"running": self._running, "answers": answers}), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--ca", required=True, type=Path)
    for number in ("rate", "seconds", "timeout"):
        parser.add_argument(f"--{number}", required=True, type=float)
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    generator = Generator(asking(options.url, options.host, options.timeout, options.ca, fresh=options.fresh))
    sending = asyncio.create_task(generator.run(options.rate, options.seconds))
    await generator.report()
    sending.cancel()


if __name__ == "__main__":
    asyncio.run(main())
