"""Telemetry: one shape for every log line, and probes that say why not."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import structlog

from rolloutplan.telemetry.health import Health
from rolloutplan.telemetry.logs import set_up


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_the_same_shape() -> None:
    stream = io.StringIO()
    early = structlog.get_logger("early")
    set_up(stream=stream)
    with structlog.contextvars.bound_contextvars(plan="shop/checkout", run=3):
        early.info("weight shifted", to="25%")
        early.debug("not shown")
        logging.getLogger("kopf.x").warning("watching %s", "plans")
        logging.getLogger("kopf.x").info("not shown")
        try:
            int("boom")
        except ValueError:
            early.exception("went wrong")
    first, second, third = lines(stream)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "weight shifted",
        "to": "25%",
        "level": "info",
        "logger": "early",
        "plan": "shop/checkout",
        "run": 3,
    }
    assert (second["event"], second["logger"], second["plan"]) == ("watching plans", "kopf.x", "shop/checkout")
    assert "ValueError: invalid literal" in third["exception"]


def test_the_level_is_chosen() -> None:
    stream = io.StringIO()
    set_up("debug", stream=stream)
    logging.getLogger("kopf.x").debug("shown")
    set_up("error", stream=stream)
    structlog.get_logger("x").warning("not shown")
    logging.getLogger("kopf.x").warning("not shown")
    assert [line["event"] for line in lines(stream)] == ["shown"]
    with pytest.raises(ValueError, match="write one of debug, info, warning, error"):
        set_up("loud")


def test_a_person_at_a_terminal_gets_no_json() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    set_up(stream=stream)
    structlog.get_logger("x").info("weight shifted", to="25%")
    assert "weight shifted" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_probes() -> None:
    idle, missing = 0.0, ["httproutes (forbidden)"]

    async def run() -> None:
        nonlocal idle, missing
        health = Health(idle=lambda: idle, missing=lambda: missing)
        port = await health.start(0, "127.0.0.1")

        async def probe(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}/{path}") as response:
                return response.status, (await response.text()).strip()

        async with aiohttp.ClientSession() as session:
            assert await probe("livez") == (200, "alive")
            assert await probe("readyz") == (503, "not seen yet: httproutes (forbidden)")
            missing = []
            assert await probe("readyz") == (200, "ready")
            idle = 10.5
            assert await probe("livez") == (503, "the loop has not turned for 10 s")
            assert (await probe("other"))[0] == 404
        await health.close()

    asyncio.run(run())
