"""Moments as the system keeps them: integers, microseconds since 1970-01-01 in UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], int]
"""Returns the present time in microseconds since 1970. Passed in, so that tests can turn it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def system_clock() -> int:
    """Return the machine's time."""
    return time.time_ns() // 1000


def from_datetime(moment: datetime) -> int:
    """Return an aware ``moment`` as microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def to_text(microseconds: int) -> str:
    """Return RFC 3339 in UTC with six decimals, ``2026-03-21T12:52:55.123456Z``."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")[:-6] + "Z"
