"""Several replicas of an HTTP server behind one address, as behind a Service: `python -m tests.bed.balancer`.

Each request goes to one that is drawn by lot; to another one where it refuses the connection.
"""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import aiohttp
import requests
from aiohttp import web

from tests.bed.bed import Bed
from tests.bed.processes import Process, answers, python_path

PORT = 7490
COUNTS = "/-/answered"
TIMEOUT = 30.0
"""Seconds that one which hangs is waited for; clients have given up by then."""


class Balancer:
    """The balancer as a child process. Use it as a context manager."""

    def __init__(self, bed: Bed, replicas: Sequence[str], port: int = PORT) -> None:
        """`replicas` are URLs."""
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.bed.balancer", str(port), *replicas]
        self.process = Process("balancer", command, bed.workdir, lambda: answers(self.url + COUNTS), env=python_path())

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    @property
    def answered(self) -> Counter[str]:
        """How many requests each replica has answered, by its URL."""
        session = requests.Session()
        session.trust_env = False
        return Counter(session.get(self.url + COUNTS, timeout=10).json())


async def main(port: int, replicas: Sequence[str]) -> None:
    answered = Counter(dict.fromkeys(replicas, 0))
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT), auto_decompress=False)

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == COUNTS:
            return web.json_response(answered)
        body = await request.read()
        for replica in random.sample(replicas, len(replicas)):
            try:
                async with session.request(
                    request.method, replica + request.path_qs, data=body, headers=_passed(request.headers.items())
                ) as said:
                    content = await said.read()
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, TimeoutError):
                break
            answered[replica] += 1
            return web.Response(status=said.status, body=content, headers=_passed(said.headers.items()))
        return web.Response(status=503, text="no replica answers\n")

    listener = await asyncio.get_running_loop().create_server(web.Server(answer, access_log=None), "127.0.0.1", port)
    await listener.serve_forever()


def _passed(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    hop_by_hop = ("connection", "content-length", "host", "transfer-encoding")
    return {key: value for key, value in headers if key.lower() not in hop_by_hop}


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
