"""How far back to look, as agents write it: ``30m``, ``24h``, ``7d``, ``2w``."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

from msgspec import Meta

Timeframe = Annotated[
    str, Meta(pattern=r"^[1-9][0-9]{0,3}[mhdw](?![\s\S])", description="How far back: `30m`, `24h`, `7d`, `2w`.")
]

_UNIT_SECONDS = MappingProxyType({"m": 60, "h": 60 * 60, "d": 24 * 60 * 60, "w": 7 * 24 * 60 * 60})


def microseconds(timeframe: Timeframe) -> int:
    """Return the length of a timeframe."""
    return int(timeframe[:-1]) * _UNIT_SECONDS[timeframe[-1]] * 1_000_000
