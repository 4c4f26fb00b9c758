"""Logs: every line goes through structlog, those of kopf, aiohttp and urllib3 too.

They go to standard error, as JSON unless it is a terminal.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor

from rolloutplan.api.printable import masked

LEVELS: Final = ("debug", "info", "warning", "error")
_CHATTY: Final = ("aiohttp", "asyncio", "kopf")
"""Libraries that log their routine work at INFO; they are shown from WARNING on, or in full at debug."""
_LED: Final = "urllib3"
"""A library that warns of what servers send, as often as they like; shown from ERROR on. The answer says it anyway."""


def set_up(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error by default): as JSON lines, or coloured where it is a terminal.

    Context bound with `structlog.contextvars` (plan, run, stage) is on every line. Raises ValueError for a level that
    is not one of LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r}: write one of {', '.join(LEVELS)}")
    threshold = logging.getLevelNamesMapping()[level.upper()]
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        _timestamp,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(stream.isatty())],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    for name, least in (*((name, logging.WARNING) for name in _CHATTY), (_LED, logging.ERROR)):
        logging.getLogger(name).setLevel(threshold if level == "debug" else max(threshold, least))
    logging.captureWarnings(capture=True)


def _renderers(terminal: bool) -> list[Processor]:
    if terminal:
        return [_masked, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, _masked, structlog.processors.JSONRenderer(default=str)]


def _masked(_: object, __: str, line: EventDict) -> EventDict:
    """No credential of a URL or a header gets into a log, whoever wrote the message."""
    return {name: masked(value) if isinstance(value, str) else value for name, value in line.items()}


def _timestamp(_: object, __: str, line: EventDict) -> EventDict:
    """UTC in milliseconds, which is enough to tell two writes apart."""
    line["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return line
