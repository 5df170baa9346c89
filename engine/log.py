"""Logging of every process: one JSON object per line on standard output. What tenants store is never in it.

Tracebacks are logged without the values of variables, for the same reason.
"""

from __future__ import annotations

import logging
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
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def _encode(event: Any, default: Callable[[Any], Any] = repr, **_: Any) -> bytes:
    return msgspec.json.encode(event, enc_hook=default)


class _ToStructlog(logging.Handler):
    """Hands the records of libraries to structlog, which gives them the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger().bind(logger=record.name)
            log.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)
