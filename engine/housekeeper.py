"""Erases what is due while the engine is awake and nobody writes. One timer, set for the moment: waiting costs nothing.

Reads never see what has expired, erased or not; this is about not keeping it. A database asleep is woken by the host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from engine.store import housekeeping
from engine.store.database import Database

_ROUND_PAUSE_S = 60.0
"""Between rounds that were not left unfinished: memories that expire one by one are erased by the minute."""

_PIECE_PAUSE_S = 0.02
"""Between the pieces of a large round, so that requests come first."""

_SLEEP_MAX_S = 24 * 60 * 60.0
"""The clock may be set while a timer runs."""


class Housekeeper:
    """A context manager, inside a running loop. ``failed`` is told of errors; the next round tries again."""

    def __init__(self, database: Database, *, failed: Callable[[Exception], object]) -> None:
        self._database = database
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def __enter__(self) -> Self:
        self.plan()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cancel()

    def plan(self) -> None:
        """Set the timer by what the database holds now."""
        self._cancel()
        due = self._database.now() if self._database.owes_erasure else housekeeping.next_due(self._database.connection)
        if due is None:
            return
        loop = asyncio.get_running_loop()
        wait_s = max((due - self._database.now()) / 1_000_000, self._not_before - loop.time(), _PIECE_PAUSE_S)
        self._timer = loop.call_later(min(wait_s, _SLEEP_MAX_S), self._round)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self) -> None:
        connection = self._database.connection
        loop = asyncio.get_running_loop()
        changes = connection.total_changes()
        self._not_before = loop.time() + _ROUND_PAUSE_S
        try:
            with self._database.write_group():
                next_due = self._database.housekeep()
            self._database.checkpoints.run_if_due()
            # A round that changed nothing would change nothing again, whatever is due.
            if next_due is not None and next_due <= self._database.now() and connection.total_changes() > changes:
                self._not_before = 0.0
            self.plan()
        except Exception as error:
            self._failed(error)
            self._timer = loop.call_later(_ROUND_PAUSE_S, self._round)
