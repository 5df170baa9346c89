"""Logging of every process: one JSON object per line on standard output. What tenants store is never in it.

Tracebacks are logged without the values of variables, for the same reason. A line that can't be written, because nobody reads
any more or the disk is full, is lost: it must not fail what it tells of.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import structlog


def configure(program: str) -> None:
    """Set up structlog and the standard library's logging for the process called ``program``."""

    def name_program(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["program"] = program
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_program,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _encode(event: Any, default: Callable[[Any], Any] = repr, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=default)


class _Lines:
    """Writes lines to standard output, each at once."""

    def __init__(self, *_: Any) -> None:
        pass

    def msg(self, line: bytes) -> None:
        """Write one line."""
        with contextlib.suppress(OSError):
            os.write(1, line + b"\n")

    debug = info = warning = error = critical = exception = fatal = msg


class _ToStructlog(logging.Handler):
    """Hands the records of libraries to structlog, which gives them the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger().bind(logger=record.name)
            log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)
