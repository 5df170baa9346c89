"""Why a state can't be brought back."""

from __future__ import annotations


class BrokenHistory(Exception):
    """What is in the store does not make the state that was asked for. The message says what is missing or damaged."""


class NothingToRestore(Exception):
    """There is nothing as old as that, or nothing at all."""

    def __init__(self, earliest_ms: int | None) -> None:
        """``earliest_ms``: the first moment that can be restored, in milliseconds since 1970; ``None`` when none can."""
        super().__init__("nothing that old can be restored" if earliest_ms is not None else "nothing was stored yet")
        self.earliest_ms = earliest_ms
